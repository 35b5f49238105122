"""A sample of whole clients from rows that come piece by piece, the same however they are cut into pieces.

Each client has a number, a keyed hash of its id: kept are the rows of the clients with the least numbers, as
many as fit (bottom-k sampling: Cohen and Kaplan 2007). Who is drawn depends on the ids and the seed alone.

drawn = sampling.Sample(most, seed)
for table in pieces:
    drawn.add(table, table[clients.id])
table = drawn.table
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

Numbers = NDArray[np.uint64]


class Sample:
    """At most `most` rows, all or none of a client; all rows where they are no more than that."""

    def __init__(self, most: int, seed: int) -> None:
        self.most, self.seed = most, seed
        # how many rows came in all
        self.of = 0
        self._tables: list[pd.DataFrame] = []
        self._numbers: list[Numbers] = []
        self._kept = 0
        self._below: int | None = None

    def add(self, table: "pd.DataFrame", client: Any) -> None:
        """More rows, with their clients' ids, shape (rows,)."""
        self.of += len(table)
        found = numbers(client, self.seed)
        if self._below is not None:
            mine = found < self._below
            table, found = table[mine], found[mine]
        if len(table) or not self._tables:
            self._tables.append(table)
            self._numbers.append(found)
            self._kept += len(table)
        if self._kept > 2 * self.most:
            self._trim()

    @property
    def table(self) -> "pd.DataFrame":
        """The rows drawn, in the order in which they came."""
        import pandas as pd

        if self._kept > self.most:
            self._trim()
        whole = self._tables[0] if len(self._tables) == 1 else pd.concat(self._tables)
        return whole.reset_index(drop=True)

    def _trim(self) -> None:
        """Let the clients go that cannot be among those drawn any more, whatever comes."""
        client, rows = np.unique(np.concatenate(self._numbers), return_counts=True)
        first_out = int(np.searchsorted(np.cumsum(rows), self.most, side="right"))
        if first_out == len(client):
            return
        self._below = below = int(client[first_out])
        kept = [found < below for found in self._numbers]
        self._tables = [table[mine] for table, mine in zip(self._tables, kept, strict=True)]
        self._numbers = [found[mine] for found, mine in zip(self._numbers, kept, strict=True)]
        self._kept = sum(len(found) for found in self._numbers)


def numbers(client: Any, seed: int) -> Numbers:
    """The number of each row's client by its id, shape (rows,): the same on every machine."""
    from pandas.util import hash_array

    ids, key = np.asarray(client, dtype=object), f"{seed % 10**16:016d}"
    try:
        return hash_array(ids, hash_key=key, categorize=False)
    except UnicodeEncodeError:
        # half a pair of surrogates is no UTF-8; text and its bytes have one hash
        encoded = [each.encode("utf-8", "surrogatepass") for each in ids.tolist()]
        return hash_array(np.array(encoded, dtype=object), hash_key=key, categorize=False)
