"""Rows dealt into folds: all rows of a client in one, leavers in each."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Folds = NDArray[np.intp]


def by_client(client: NDArray[Any], outcome: Floats, folds: int, seed: int) -> Folds | None:
    """Fold of each row, shape (rows,), or None where not even two folds are possible.

    All rows of a client are in one fold. Clients are dealt out in turn, first those who ever left, so that
    each fold has its share. Folds are as many as the smaller class has clients, at most `folds`.
    """
    ids, at = np.unique(client, return_inverse=True)
    ever = {label: np.bincount(at[outcome == label], minlength=len(ids)) > 0 for label in (0, 1)}
    possible = min(folds, int(ever[0].sum()), int(ever[1].sum()))
    if possible < 2:
        return None
    shuffled = np.random.default_rng(seed).permutation(len(ids))
    dealt = np.concatenate([shuffled[ever[1][shuffled]], shuffled[~ever[1][shuffled]]])
    of_client = np.empty(len(ids), dtype=np.intp)
    of_client[dealt] = np.arange(len(ids)) % possible
    fold = of_client[at]
    learnable = all(len(np.unique(outcome[fold != held_out])) == 2 for held_out in range(possible))
    return fold if learnable else None
