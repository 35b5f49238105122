"""Which clients to look after first, why, and what to do. No disk; same input, same list.

active, gone = current_clients(clients, pieces)
overview = Overview(config.settings.risk.capacity)
for entries in ranked(clients, config.settings.risk, scorecard, active, release.id, stage.now(), plays, last):
    overview.add(entries)

A list may be long: its entries are made some at a time, and forgotten once they were counted and written.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from attrition import changes, keptlists
from attrition.changes import NOT_SCORED, Change
from attrition.keptlists import KeptList
from attrition.plays import BANDS, Play, Plays
from attrition.plays import load as load_plays
from attrition.settings import Clients, Risk

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from attrition.scorecard import Reason, Scorecard

REASONS = 3
# entries that are in memory at once
BATCH = 16_384
# clients of each status that a report shows
MOST_CHANGED = 10


@dataclass(frozen=True, slots=True)
class Entry:
    """One active client. One who cannot be scored has neither probability, band nor rank, and a cause."""

    client: str
    probability: float | None
    band: str
    rank: int | None
    value: float | None
    owner: str
    reasons: Sequence["Reason"]
    warnings: Sequence[str]
    cause: str
    row: Mapping[str, Any]
    release: str
    threshold: float
    scored_at: str
    change: Change
    play: Play | None
    due: date | None

    @property
    def status(self) -> str:
        return self.change.status

    @property
    def expected_loss(self) -> float | None:
        """Probability x value; None where either is not known."""
        if self.probability is None or self.value is None:
            return None
        return self.probability * self.value

    @property
    def at_risk(self) -> bool:
        return self.probability is not None and self.probability >= self.threshold

    @property
    def action(self) -> str:
        return self.play.action if self.play else ""

    @property
    def act_by(self) -> str:
        return self.due.isoformat() if self.due else ""


@dataclass(frozen=True)
class Stake:
    """What a group of clients is worth. Sums are None where no client of the group has a value."""

    clients: int
    valued: int
    value: float | None
    expected_loss: float | None


def current_clients(clients: Clients, pieces: "Iterable[pd.DataFrame]") -> "tuple[pd.DataFrame, list[str]]":
    """The latest row of each client still there, in the order of the table, and the ids of those gone.

    Gone is who left by the latest outcome that is known, whatever rows without one came after it. The pieces
    are gone through twice.
    """
    import pandas as pd

    from attrition import census

    active, gone = [], []
    for piece, here in census.taken(clients, pieces).of(pieces):
        active.append(piece[here.active])
        gone += piece.loc[here.latest & here.gone, clients.id].tolist()
    return pd.concat(active, ignore_index=True), gone


def ranked(
    clients: Clients,
    risk: Risk,
    scorecard: "Scorecard",
    table: "pd.DataFrame",
    release_id: str,
    scored_at: str,
    plays: Plays | None = None,
    before: KeptList | None = None,
) -> Iterator[list[Entry]]:
    """Every row as an entry, by risk as configured, then value, then id; those not scored come last.

    `table` has one row a client; `before` is the last list, None where there is none to compare with. The
    entries come in batches of at most BATCH; a list without clients is one that is empty.
    """
    import numpy as np

    plays = plays or load_plays(None)
    probability = np.full(len(table), np.nan)
    for first in range(0, len(table), BATCH):
        part = table[first : first + BATCH]
        can = np.array([not cause for cause in _causes(scorecard.features, part)], dtype=bool)
        if can.any():
            probability[first : first + BATCH][can] = scorecard.probability(part[can])
    value = table[clients.value].to_numpy(dtype=float) if clients.value else np.full(len(table), np.nan)
    order = _order(probability, value, table[clients.id].tolist(), risk.order_by)
    about = Scoring(clients, risk, scorecard, release_id, scored_at, plays, before)
    for first in range(0, max(len(table), 1), BATCH):
        at = order[first : first + BATCH]
        yield about.entries(table.iloc[at], probability[at], value[at], first + 1)


@dataclass(frozen=True)
class Scoring:
    """What all entries of a list are made with."""

    clients: Clients
    risk: Risk
    scorecard: "Scorecard"
    release_id: str
    scored_at: str
    plays: Plays
    before: KeptList | None

    def entries(
        self,
        table: "pd.DataFrame",
        probability: "NDArray[np.float64]",
        value: "NDArray[np.float64]",
        rank: int,
    ) -> list[Entry]:
        """The rows in their order, with their figures, shape (rows,); `rank` is that of the first."""
        import numpy as np

        clients, scorecard = self.clients, self.scorecard
        causes = _causes(scorecard.features, table)
        can = np.array([not cause for cause in causes], dtype=bool)
        scorable = table[can]
        names = table[clients.id].tolist()
        keys = keptlists.keys(names)
        found = changes.compare(
            self.before, self.release_id, scorecard.threshold, keys, probability, self.risk.delta_points
        )
        given = _given(self.before, keys)
        explained = iter(scorecard.explain(scorable, top=REASONS) if len(scorable) else [])
        today, owners = date.fromisoformat(self.scored_at[:10]), _owners(clients, table)
        remarkable = set(_remarkable(scorecard, table)) if can.any() else set()
        values, rows = value.tolist(), _records(table)
        entries = []
        for at, chance in enumerate(probability.tolist()):
            scored = chance == chance
            band = scorecard.band(chance) if scored else ""
            reasons = next(explained) if scored else []
            play = self.plays.of(reasons[0].feature if reasons else "", band) if scored else None
            action, due = given[at] if given else ("", None)
            entries.append(
                Entry(
                    client=names[at],
                    probability=chance if scored else None,
                    band=band,
                    rank=rank + at if scored else None,
                    value=values[at] if values[at] == values[at] else None,
                    owner=owners[at],
                    reasons=reasons,
                    warnings=scorecard.warnings(rows[at]) if scored and at in remarkable else [],
                    cause=causes[at],
                    row=rows[at],
                    release=self.release_id,
                    threshold=scorecard.threshold,
                    scored_at=self.scored_at,
                    change=found[at],
                    play=play,
                    due=play.due(today, due if action == play.action else None) if play else None,
                )
            )
        return entries


class Overview:
    """What is told of a whole list, from its entries in their order, some at a time.

    `short` are the first clients, `capacity` for each owner (without owners all are one owner's); `changed`
    the first of each status that a person is told of, and of those not scored; `of` and `at_risk_of` count
    clients that were scored by owner.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.active = self.at_risk = 0
        self.short: list[Entry] = []
        self.changed: dict[str, list[Entry]] = {status: [] for status in (*changes.TOLD, NOT_SCORED)}
        self.statuses: Counter[str] = Counter()
        self.causes: Counter[str] = Counter()
        self.of: Counter[str] = Counter()
        self.at_risk_of: Counter[str] = Counter()
        self._stakes = dict.fromkeys(BANDS, Stake(0, 0, None, None))
        self._total = Stake(0, 0, None, None)

    def add(self, entries: Sequence[Entry]) -> None:
        scored = [entry for entry in entries if entry.probability is not None]
        self.active += len(entries)
        self.at_risk += sum(entry.at_risk for entry in entries)
        self.of.update(entry.owner for entry in scored)
        self.at_risk_of.update(entry.owner for entry in scored if entry.at_risk)
        self.short += short_list(scored, self.capacity, Counter(entry.owner for entry in self.short))
        self.statuses.update(entry.status for entry in entries)
        self.causes.update(entry.cause for entry in entries if entry.cause)
        for status, known in self.changed.items():
            if len(known) < MOST_CHANGED:
                known += [entry for entry in entries if entry.status == status][: MOST_CHANGED - len(known)]
        for band in BANDS:
            self._stakes[band] = stake([entry for entry in scored if entry.band == band], self._stakes[band])
        self._total = stake(scored, self._total)

    @property
    def stakes(self) -> dict[str, Stake]:
        """What is at stake in each band, and in all of them under "total"; clients not scored are in none."""
        return self._stakes | {"total": self._total}

    @property
    def scored(self) -> int:
        return self._total.clients

    @property
    def cause(self) -> str:
        """Why the first client that was not scored was not; "" where all were."""
        return next(iter(self.causes), "")

    @property
    def moved(self) -> dict[str, int]:
        """How many clients of each status that is told of."""
        return {status: self.statuses[status] for status in self.changed}


def short_list(entries: Sequence[Entry], capacity: int, taken: Counter[str] | None = None) -> list[Entry]:
    """The first clients of the list, `capacity` for each owner; without owners all are one owner's.

    `taken` are clients of each owner that come before these.
    """
    taken = Counter() if taken is None else taken
    short = []
    for entry in entries:
        if entry.probability is not None and taken[entry.owner] < capacity:
            taken[entry.owner] += 1
            short.append(entry)
    return short


def by_owner(entries: Iterable[Entry]) -> list[Entry]:
    """The entries of each owner together, in the order of their names, nobody's last; as they came within."""
    return sorted(entries, key=lambda entry: (not entry.owner, entry.owner))


def stake(entries: Sequence[Entry], before: Stake | None = None) -> Stake:
    """What these clients are worth, and with them those `before`, whose sums go on."""
    before = before or Stake(0, 0, None, None)
    values = [entry.value for entry in entries if entry.value is not None]
    losses = [entry.expected_loss for entry in entries if entry.expected_loss is not None]
    return Stake(
        before.clients + len(entries),
        before.valued + len(values),
        sum(values, before.value or 0) if values else before.value,
        sum(losses, before.expected_loss or 0) if losses else before.expected_loss,
    )


def _causes(features: Sequence[str], table: "pd.DataFrame") -> list[str]:
    """Why each row cannot be scored; "" where it can."""
    absent = [column for column in features if column not in table.columns]
    if absent:
        return [f"the live model reads {', '.join(absent)}, which the data does not have"] * len(table)
    seen = table[list(features)]
    nothing = (seen.isna() | (seen == "")).all(axis=1)
    return ["none of the columns that the model reads has a value" if blank else "" for blank in nothing]


def _remarkable(scorecard: "Scorecard", table: "pd.DataFrame") -> list[int]:
    """The rows that the scorecard may have a warning about: only these are looked at one by one."""
    import numpy as np

    from attrition.scorecard import NumberColumn

    found = np.zeros(len(table), dtype=bool)
    for each in scorecard.columns:
        column = table[each.column]
        if not isinstance(each, NumberColumn):
            found |= ~column.isin([value for value in each.known if value]).to_numpy()
        elif each.low is None or each.high is None:
            found |= column.notna().to_numpy()
        else:
            found |= ~column.between(each.low, each.high).to_numpy()
    return np.flatnonzero(found).tolist()


def _order(
    probability: "NDArray[np.float64]", value: "NDArray[np.float64]", names: Sequence[str], order_by: str
) -> "NDArray[np.intp]":
    """Places in the order of urgency: the greatest first, what is not known last, equals by id."""
    import numpy as np

    by_name = np.empty(len(names), dtype=int)
    by_name[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names))
    first = (value * probability, value, probability) if order_by == "expected_loss" else (probability, value)
    descending = [np.where(np.isnan(figure), np.inf, -figure) for figure in first]
    return np.lexsort((by_name, *reversed(descending), np.isnan(probability)))


def _records(table: "pd.DataFrame") -> list[dict[str, Any]]:
    names = [str(name) for name in table.columns]
    columns = [table[name].tolist() for name in table.columns]
    return [dict(zip(names, cells, strict=True)) for cells in zip(*columns, strict=True)]


def _owners(clients: Clients, table: "pd.DataFrame") -> Sequence[str]:
    owners: Sequence[str] = table[clients.owner].tolist() if clients.owner else [""] * len(table)
    return owners


def _given(before: KeptList | None, clients: "NDArray[np.uint64]") -> list[tuple[str, date | None]]:
    """Each client's action on the last list, and by when; empty where there is no such list."""
    if before is None or not len(before.rows):
        return []
    at = before.find(clients)
    rows = before.rows[at]
    known = set(rows["due"].tolist()) - {keptlists.NO_DATE}
    dates = {ordinal: date.fromordinal(ordinal) for ordinal in known}
    each = zip(at.tolist(), rows["action"].tolist(), rows["due"].tolist(), strict=True)
    # of who was not on it the last row was taken
    return [(before.actions[action], dates.get(due)) if row >= 0 else ("", None) for row, action, due in each]
