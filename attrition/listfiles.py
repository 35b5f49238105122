"""The risk list as files: the columns of risklist.csv and shortlist.csv, and the summary that is kept by run.

header, columns = export(clients, entries)
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrition import keptlists
from attrition.risklist import REASONS, Entry, by_owner
from attrition.settings import Clients

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

# what a model can tell, not the last bits of a processor
PROBABILITY_DIGITS = 6
POINT_DIGITS = 1
MONEY_DIGITS = 2


def export(clients: Clients, entries: Sequence[Entry]) -> tuple[list[str], list[Sequence[Any]]]:
    """Header and columns of risklist.csv: what was found out, then the client's row as it was ingested."""
    passed = [column for column in (*clients.columns, *clients.derived, "dataset") if column != clients.id]
    header = [clients.id, *_OWN_COLUMNS, *(placed(clients, column) for column in passed)]
    rows = [entry.row for entry in entries]
    return header, [*_own_columns(entries), *([row[column] for row in rows] for column in passed)]


def placed(clients: Clients, column: str) -> str:
    """What risklist.csv calls a column of the client's row: its own columns keep their names."""
    return f"input_{column}" if column in (clients.id, *_OWN_COLUMNS) else column


def short_export(clients: Clients, entries: Sequence[Entry]) -> tuple[list[str], list[Sequence[Any]]]:
    """Header and columns of shortlist.csv: what an owner needs of each client, by owner."""
    header, columns = export(clients, by_owner(entries))
    own = [clients.id, *(column for column in _OWN_COLUMNS if column not in _REASON_DETAILS)]
    owner = [placed(clients, clients.owner)] if clients.owner else []
    return [*owner, *own], [columns[header.index(column)] for column in (*owner, *own)]


class Keeper:
    """The summary of a list that is kept (see attrition.keptlists), from its entries, some at a time."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._rows: list[Any] = []
        self._datasets: dict[str, int] = {}
        self._actions: dict[str, int] = {}

    def add(self, entries: Sequence[Entry]) -> None:
        import numpy as np

        names = [entry.client for entry in entries]
        rows = np.zeros(len(entries), dtype=np.dtype(keptlists.ROW))
        columns: dict[str, Any] = {
            "client": keptlists.keys(names),
            "rank": [entry.rank or 0 for entry in entries],
            "probability": [np.nan if entry.probability is None else entry.probability for entry in entries],
            "dataset": [_place(self._datasets, entry.row["dataset"]) for entry in entries],
            "action": [_place(self._actions, entry.action) for entry in entries],
            "due": [entry.due.toordinal() if entry.due else keptlists.NO_DATE for entry in entries],
        }
        for field, values in columns.items():
            rows[field] = values
        self._names += names
        self._rows.append(rows)

    def packed(
        self,
        clients: Clients,
        short: Sequence[Entry],
        pieces: "Iterable[pd.DataFrame]",
        number: int,
        release_id: str,
        threshold: float,
        scored_at: str,
    ) -> bytes:
        """As the `number`-th list. `pieces` have every row: of how many of a client's an outcome is known."""
        import numpy as np

        rows, listed = np.concatenate(self._rows), {entry.client for entry in short}
        rows["listed"] = [name in listed for name in self._names]
        rows["known"] = _known(clients, pieces, self._names, rows["dataset"], self._datasets)
        facts = {"number": number, "scored_at": scored_at, "release": release_id, "threshold": threshold}
        return keptlists.pack(facts, [*self._datasets], [*self._actions], rows, self._names)


def _reason_columns() -> list[str]:
    numbers = range(1, REASONS + 1)
    return [f"reason_{n}_{part}" for n in numbers for part in ("feature", "value", "typical", "effect")]


_REASON_DETAILS = _reason_columns()
_OWN_COLUMNS = (
    *("probability", "risk_band", "rank", "expected_loss"),
    *("previous_probability", "change_points", "status"),
    *(f"reason_{n}" for n in range(1, REASONS + 1)),
    *_REASON_DETAILS,
    *("suggested_action", "act_by"),
    *("warnings", "release", "threshold", "scored_at"),
)


def _own_columns(entries: Sequence[Entry]) -> list[Sequence[Any]]:
    by_place = [
        [entry.reasons[place] if place < len(entry.reasons) else None for entry in entries]
        for place in range(REASONS)
    ]
    details = [
        column
        for reasons in by_place
        for column in (
            [reason and reason.feature for reason in reasons],
            [reason and reason.value for reason in reasons],
            [reason and reason.typical for reason in reasons],
            [reason and round(reason.effect, PROBABILITY_DIGITS) for reason in reasons],
        )
    ]
    return [
        [entry.client for entry in entries],
        [_rounded(entry.probability, PROBABILITY_DIGITS) for entry in entries],
        [entry.band for entry in entries],
        [entry.rank for entry in entries],
        [_rounded(entry.expected_loss, MONEY_DIGITS) for entry in entries],
        [_rounded(entry.change.before, PROBABILITY_DIGITS) for entry in entries],
        [_rounded(entry.change.points, POINT_DIGITS) for entry in entries],
        [entry.status for entry in entries],
        *([reason and reason.sentence for reason in reasons] for reasons in by_place),
        *details,
        [entry.action for entry in entries],
        [entry.act_by for entry in entries],
        [entry.cause or "; ".join(entry.warnings) for entry in entries],
        [entry.release for entry in entries],
        [entry.threshold for entry in entries],
        [entry.scored_at for entry in entries],
    ]


def _place(places: dict[str, int], text: str) -> int:
    """Each text has the place at which it came first."""
    return places.setdefault(text, len(places))


def _known(
    clients: Clients,
    pieces: "Iterable[pd.DataFrame]",
    names: Sequence[str],
    newest: "NDArray[np.uint32]",
    datasets: Mapping[str, int],
) -> "NDArray[np.intp]":
    """How many rows with an outcome each client has in the dataset that its latest row came from."""
    import numpy as np

    from attrition import census

    index, counts = census.Index(names), np.zeros(len(names), dtype=np.intp)
    for piece in pieces:
        labelled = piece[piece[clients.target] != ""]
        at, there = index.places(labelled[clients.id])
        origin, found = labelled["dataset"].factorize()
        dataset = np.array([datasets.get(name, -1) for name in found], dtype=np.intp)[origin]
        hit = at[there]
        np.add.at(counts, hit[newest[hit] == dataset[there]], 1)
    return counts


def _rounded(number: float | None, digits: int) -> float | None:
    return None if number is None else round(number, digits)
