"""Near-identical rows: the same client under two ids. Apart in cross-validation they would tell each other.

Rows are twins that differ in at most one column of nine, and in no more than two. Pairs are found without
comparing all with all: the columns are dealt into four blocks, and twins agree on two blocks at least.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
Places = NDArray[np.intp]

COLUMNS_PER_DIFFERENCE = 9
MOST_DIFFERENCES = 2
BLOCKS = 4
# rows with equal blocks are compared with this many neighbours: a larger heap is no heap of twins
NEIGHBOURS = 12
# larger families are no twins either, but a kind of client
LARGEST_FAMILY = 8
# twins have one outcome; rows alike by chance agree no more often than their kind does
AGREEMENT = 0.98
FEWEST_PAIRS = 10


def groups(table: "pd.DataFrame", features: Sequence[str], outcome: Floats, client: NDArray[Any]) -> Places:
    """A number for each row, shape (rows,): equal for rows of one client and for twins with one outcome."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    _, own = np.unique(client, return_inverse=True)
    one, other = pairs(table, features)
    foreign = own[one] != own[other]
    one, other = one[foreign], other[foreign]
    agree = outcome[one] == outcome[other]
    if len(one) < FEWEST_PAIRS or agree.mean() < AGREEMENT:
        return own
    kin = coo_matrix((np.ones(len(one)), (own[one], own[other])), shape=(own.max() + 1,) * 2)
    _, family = connected_components(kin, directed=False)
    too_large = np.bincount(family)[family] > LARGEST_FAMILY
    # those keep to themselves, under numbers that no family has
    family = np.where(too_large, family.max() + 1 + np.arange(len(family)), family)
    numbers: Places = np.unique(family[own], return_inverse=True)[1]
    return numbers


def pairs(table: "pd.DataFrame", features: Sequence[str]) -> tuple[Places, Places]:
    """Places of twins, the earlier and the later of each pair once; shape (pairs,) each."""
    most = _most_differences(features)
    if most == 0 or len(table) < 2:
        return np.zeros(0, dtype=np.intp), np.zeros(0, dtype=np.intp)
    codes = _codes(table, features)
    found = list(_found(codes, most))
    one, other = (np.concatenate(side) for side in zip(*found, strict=True))
    keys: Places = np.unique(np.minimum(one, other) * len(table) + np.maximum(one, other))
    return keys // len(table), keys % len(table)


def with_one_outcome(
    test: "pd.DataFrame", training: "Iterable[pd.DataFrame]", features: Sequence[str], target: str
) -> int:
    """How many test rows have a twin in the training data; 0 where twins differ in outcome as others do.

    The training data come piece by piece: a twin is looked for in each.
    """
    import pandas as pd

    if not _most_differences(features):
        return 0
    columns = [*features, target]
    found, agreed, twins = 0, 0, np.zeros(len(test), dtype=bool)
    for piece in training:
        both = pd.concat([test[columns], piece[columns]], ignore_index=True)
        one, other = pairs(both, features)
        straddling = (one < len(test)) & (other >= len(test))
        one, other = one[straddling], other[straddling]
        outcome = both[target].to_numpy()
        found += len(one)
        agreed += int(np.sum(outcome[one] == outcome[other]))
        twins[one] = True
    return int(twins.sum()) if found >= FEWEST_PAIRS and agreed >= AGREEMENT * found else 0


def _most_differences(features: Sequence[str]) -> int:
    return min(MOST_DIFFERENCES, len(features) // COLUMNS_PER_DIFFERENCE)


def _codes(table: "pd.DataFrame", features: Sequence[str]) -> NDArray[np.int32]:
    """Each column's values as numbers, columns of many values first, shape (rows, features)."""
    import pandas as pd

    columns = [pd.factorize(table[column], use_na_sentinel=False)[0] for column in features]
    columns.sort(key=lambda codes: -int(codes.max()))
    return np.column_stack(columns).astype(np.int32)


def _found(codes: NDArray[np.int32], most: int) -> Iterator[tuple[Places, Places]]:
    weights: Any = np.random.default_rng(0).integers(1, 2**62, codes.shape[1])
    for blocks in combinations(range(BLOCKS), BLOCKS - MOST_DIFFERENCES):
        mine = [column for column in range(codes.shape[1]) if column % BLOCKS in blocks]
        # a sum that overflows is as good a hash as any: equal rows have equal ones
        key = np.sum(codes[:, mine].astype(np.int64) * weights[mine], axis=1)
        order = np.argsort(key, kind="stable")
        key = key[order]
        for lag in range(1, min(NEIGHBOURS, len(order) - 1) + 1):
            same = np.flatnonzero(key[lag:] == key[:-lag])
            one, other = order[same], order[same + lag]
            alike = np.count_nonzero(codes[one] != codes[other], axis=1) <= most
            yield one[alike], other[alike]
