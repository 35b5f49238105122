"""Each client's latest row, and who is gone, from a table that comes piece by piece.

census = census.taken(clients, pieces)
for table, here in census.of(pieces): table[here.active]

Clients are told apart by 64 bits of a hash of their ids: among ten million of them that two share one is a
chance of three in a million.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from attrition import contract as contracts
from attrition import sampling
from attrition.settings import Clients

if TYPE_CHECKING:
    import pandas as pd

Flags = NDArray[np.bool_]
Hashes = NDArray[np.uint64]
UNKNOWN, STAYED, LEFT = 0, 1, 2
# any: here the numbers only tell clients apart
KEY = 0


@dataclass(frozen=True)
class Census:
    """Of each row of the table, shape (rows,): whether it is its client's latest, and that one is gone.

    Gone is who left by the latest outcome that is known, whatever rows without one came after it.
    """

    latest: Flags
    gone: Flags

    @property
    def active(self) -> Flags:
        return self.latest & ~self.gone

    def of(self, pieces: "Iterable[pd.DataFrame]") -> "Iterator[tuple[pd.DataFrame, Census]]":
        """Each piece with its own part of the census."""
        first = 0
        for piece in pieces:
            mine = slice(first, first + len(piece))
            yield piece, Census(self.latest[mine], self.gone[mine])
            first += len(piece)


class Index:
    """The place of each client among those given, who are told apart as in a census."""

    def __init__(self, ids: Sequence[str]) -> None:
        hashes = sampling.numbers(ids, KEY)
        self._order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[self._order]

    def places(self, ids: Sequence[str]) -> tuple[NDArray[np.intp], Flags]:
        """The place of each id, shape (ids,), and whether it is among them at all."""
        at, there = found(self._hashes, sampling.numbers(ids, KEY))
        return self._order[at] if len(self._order) else at, there


def found(known: Hashes, asked: Hashes) -> tuple[NDArray[np.intp], Flags]:
    """The place of each hash among those known, which are sorted, and whether it is there."""
    if not len(known):
        return np.zeros(len(asked), dtype=np.intp), np.zeros(len(asked), dtype=bool)
    at = np.minimum(np.searchsorted(known, asked), len(known) - 1)
    return at, known[at] == asked


def taken(clients: Clients, pieces: "Iterable[pd.DataFrame]") -> Census:
    ids, outcomes = [], []
    for piece in pieces:
        ids.append(sampling.numbers(piece[clients.id], KEY))
        outcome = contracts.outcomes(clients, piece)
        outcomes.append(np.where(outcome == 1, LEFT, np.where(outcome == 0, STAYED, UNKNOWN)).astype(np.int8))
    return _census(np.concatenate(ids), np.concatenate(outcomes))


def _census(client: Hashes, outcome: NDArray[np.int8]) -> Census:
    rows = len(client)
    latest, gone = np.zeros(rows, dtype=bool), np.zeros(rows, dtype=bool)
    if not rows:
        return Census(latest, gone)
    # the rows of a client together, in the order of the table
    order = np.argsort(client, kind="stable")
    client = client[order]
    starts = np.flatnonzero(np.append(True, client[1:] != client[:-1]))
    del client
    outcome = outcome[order]
    ends = np.append(starts[1:], rows) - 1
    told = np.maximum.reduceat(np.where(outcome != UNKNOWN, np.arange(rows), -1), starts)
    left = (told >= 0) & (outcome[told] == LEFT)
    latest[order[ends]] = True
    gone[order[ends[left]]] = True
    return Census(latest, gone)
