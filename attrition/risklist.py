"""Which clients to look after first, why, and what to do. No disk; same input, same list.

active, gone = current_clients(clients, table)
entries = rank(clients, config.settings.risk, scorecard, active, release.id, stage.now(), plays, last_list)
short = short_list(entries, config.settings.risk.capacity)
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
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


def current_clients(clients: Clients, table: "pd.DataFrame") -> "tuple[pd.DataFrame, pd.DataFrame]":
    """The latest row of each client, last in the order of the table: of those still there, and of those gone.

    Gone is who left by the latest outcome that is known, whatever rows without one came after it.
    """
    latest = table.drop_duplicates(clients.id, keep="last")
    known = table[table[clients.target] != ""].drop_duplicates(clients.id, keep="last")
    left = known.loc[known[clients.target] == clients.left, clients.id]
    gone = latest[clients.id].isin(left)
    return latest[~gone], latest[gone]


def rank(
    clients: Clients,
    risk: Risk,
    scorecard: "Scorecard",
    table: "pd.DataFrame",
    release_id: str,
    scored_at: str,
    plays: Plays | None = None,
    before: KeptList | None = None,
) -> list[Entry]:
    """Every row as an entry, by risk as configured, then value, then id; those not scored come last.

    `table` has one row a client; `before` is the last list, None where there is none to compare with.
    """
    import numpy as np

    plays = plays or load_plays(None)
    causes = _causes(scorecard.features, table)
    can = np.array([not cause for cause in causes], dtype=bool)
    scorable = table[can]
    probability = np.full(len(table), np.nan)
    if len(scorable):
        probability[can] = scorecard.probability(scorable)
    value = table[clients.value].to_numpy(dtype=float) if clients.value else np.full(len(table), np.nan)
    names = table[clients.id].tolist()
    keys = keptlists.keys(names)
    found = changes.compare(before, release_id, scorecard.threshold, keys, probability, risk.delta_points)
    given = _given(before, keys)
    explained = scorecard.explain(scorable, top=REASONS) if len(scorable) else []
    place = (np.cumsum(can) - 1).tolist()
    rows = _records(table)
    today, values, owners = date.fromisoformat(scored_at[:10]), value.tolist(), _owners(clients, table)
    remarkable = set(_remarkable(scorecard, table)) if can.any() else set()
    entries = []
    order = _order(probability, value, names, risk.order_by)
    for number, (at, chance) in enumerate(
        zip(order.tolist(), probability[order].tolist(), strict=True), start=1
    ):
        scored = chance == chance
        band = scorecard.band(chance) if scored else ""
        reasons = explained[place[at]] if scored else []
        play = plays.of(reasons[0].feature if reasons else "", band) if scored else None
        action, due = given[at] if given else ("", None)
        entries.append(
            Entry(
                client=names[at],
                probability=chance if scored else None,
                band=band,
                rank=number if scored else None,
                value=values[at] if values[at] == values[at] else None,
                owner=owners[at],
                reasons=reasons,
                warnings=scorecard.warnings(rows[at]) if scored and at in remarkable else [],
                cause=causes[at],
                row=rows[at],
                release=release_id,
                threshold=scorecard.threshold,
                scored_at=scored_at,
                change=found[at],
                play=play,
                due=play.due(today, due if action == play.action else None) if play else None,
            )
        )
    return entries


def short_list(entries: Sequence[Entry], capacity: int) -> list[Entry]:
    """The first clients of the list, `capacity` for each owner; without owners all are one owner's."""
    taken: Counter[str] = Counter()
    short = []
    for entry in entries:
        if entry.probability is not None and taken[entry.owner] < capacity:
            taken[entry.owner] += 1
            short.append(entry)
    return short


def by_owner(entries: Iterable[Entry]) -> list[Entry]:
    """The entries of each owner together, in the order of their names, nobody's last; as they came within."""
    return sorted(entries, key=lambda entry: (not entry.owner, entry.owner))


def stakes(entries: Sequence[Entry]) -> dict[str, Stake]:
    """What is at stake in each band, and in all of them under "total"; clients not scored are in none."""
    scored = [entry for entry in entries if entry.probability is not None]
    bands = {band: stake([entry for entry in scored if entry.band == band]) for band in BANDS}
    return bands | {"total": stake(scored)}


def stake(entries: Sequence[Entry]) -> Stake:
    values = [entry.value for entry in entries if entry.value is not None]
    losses = [entry.expected_loss for entry in entries if entry.expected_loss is not None]
    return Stake(len(entries), len(values), sum(values) if values else None, sum(losses) if losses else None)


def changed(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    """Whom to tell of since the last list, by status, in the order of the list; and who is not scored."""
    return {
        status: [entry for entry in entries if entry.status == status]
        for status in (*changes.TOLD, NOT_SCORED)
    }


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
    at = before.find(clients).tolist()
    actions, due = before.rows["action"].tolist(), before.rows["due"].tolist()
    dates = {ordinal: date.fromordinal(ordinal) for ordinal in set(due) if ordinal != keptlists.NO_DATE}
    return [(before.actions[actions[row]], dates.get(due[row])) if row >= 0 else ("", None) for row in at]
