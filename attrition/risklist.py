"""Which clients to look after first, why, and what to do. No disk; same input, same list.

active, gone = current_clients(clients, table)
entries = rank(clients, config.settings.risk, scorecard, active, release.id, stage.now(), plays, last_list)
header, columns = export(clients, entries)
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
# in the export: what a model can tell, not the last bits of a processor
PROBABILITY_DIGITS = 6
POINT_DIGITS = 1
MONEY_DIGITS = 2


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
    for number, (at, chance) in enumerate(zip(order, probability[order].tolist(), strict=True), start=1):
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


def export(clients: Clients, entries: Sequence[Entry]) -> tuple[list[str], list[Sequence[Any]]]:
    """Header and columns of risklist.csv: what was found out, then the client's row as it was ingested."""
    passed = [column for column in (*clients.columns, *clients.derived, "dataset") if column != clients.id]
    own = [clients.id, *_OWN_COLUMNS]
    header = [*own, *(f"input_{column}" if column in own else column for column in passed)]
    rows = [entry.row for entry in entries]
    return header, [*_own_columns(entries), *([row[column] for row in rows] for column in passed)]


def short_export(clients: Clients, entries: Sequence[Entry]) -> tuple[list[str], list[Sequence[Any]]]:
    """Header and columns of shortlist.csv: what an owner needs of each client, by owner."""
    header, columns = export(clients, by_owner(entries))
    own = [clients.id, *(column for column in _OWN_COLUMNS if column not in _REASON_DETAILS)]
    owner = [f"input_{clients.owner}" if clients.owner in own else clients.owner] if clients.owner else []
    return [*owner, *own], [columns[header.index(column)] for column in (*owner, *own)]


def kept(
    clients: Clients,
    entries: Sequence[Entry],
    short: Sequence[Entry],
    table: "pd.DataFrame",
    number: int,
    release_id: str,
    threshold: float,
    scored_at: str,
) -> bytes:
    """The list's summary as it is kept (see attrition.keptlists), as the `number`-th one.

    `table` has every row: it tells of how many rows of a client the outcome is known.
    """
    import numpy as np

    names, listed = [entry.client for entry in entries], {entry.client for entry in short}
    origins, given = [entry.row["dataset"] for entry in entries], [_action(entry) for entry in entries]
    datasets, actions = _places(origins), _places(given)
    known = _known(clients, table, dict(zip(names, origins, strict=True)))
    columns: dict[str, Any] = {
        "client": keptlists.keys(names),
        "rank": [entry.rank or 0 for entry in entries],
        "probability": [np.nan if entry.probability is None else entry.probability for entry in entries],
        "listed": [name in listed for name in names],
        "dataset": [datasets[origin] for origin in origins],
        "known": [known.get(name, 0) for name in names],
        "action": [actions[action] for action in given],
        "due": [entry.due.toordinal() if entry.due else keptlists.NO_DATE for entry in entries],
    }
    rows = np.empty(len(entries), dtype=np.dtype(keptlists.ROW))
    for field, values in columns.items():
        rows[field] = values
    facts = {"number": number, "scored_at": scored_at, "release": release_id, "threshold": threshold}
    return keptlists.pack(facts, [*datasets], [*actions], rows, names)


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
        [_action(entry) for entry in entries],
        [entry.act_by for entry in entries],
        [entry.cause or "; ".join(entry.warnings) for entry in entries],
        [entry.release for entry in entries],
        [entry.threshold for entry in entries],
        [entry.scored_at for entry in entries],
    ]


def _action(entry: Entry) -> str:
    return entry.play.action if entry.play else ""


def _places(texts: Iterable[str]) -> dict[str, int]:
    """Each text once, with its place."""
    return {text: place for place, text in enumerate(dict.fromkeys(texts))}


def _known(clients: Clients, table: "pd.DataFrame", newest: Mapping[str, str]) -> Mapping[str, int]:
    """How many rows with an outcome each client has in the dataset that its latest row came from."""
    known = table[table[clients.target] != ""]
    pairs = zip(known[clients.id].tolist(), known["dataset"].tolist(), strict=True)
    return Counter(client for client, dataset in pairs if newest.get(client) == dataset)


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


def _rounded(number: float | None, digits: int) -> float | None:
    return None if number is None else round(number, digits)
