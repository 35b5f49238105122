"""Which clients to look after first, and why: tables in, rows out. Touches no disk; same input, same list.

active, gone = current_clients(clients, table)
rows = rank(clients, config.settings.risk, scorecard, active, release.id, stage.now())
header, cells = export(clients, rows)
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from attrition.settings import Clients, Risk

if TYPE_CHECKING:
    import pandas as pd

    from attrition.scorecard import Reason, Scorecard

REASONS = 3
BANDS = ("high", "medium", "low")
LISTED, NOT_SCORED = "listed", "not_scored"
# in the export: what a model can tell, not the last bits of a processor
PROBABILITY_DIGITS = 6
MONEY_DIGITS = 2


@dataclass(frozen=True)
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

    @property
    def status(self) -> str:
        return NOT_SCORED if self.probability is None else LISTED

    @property
    def expected_loss(self) -> float | None:
        """Probability x value; None where either is not known."""
        if self.probability is None or self.value is None:
            return None
        return self.probability * self.value

    @property
    def at_risk(self) -> bool:
        return self.probability is not None and self.probability >= self.threshold


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
) -> list[Entry]:
    """Every row as an entry, by risk as configured, then value, then id; those not scored come last."""
    causes = _causes(scorecard.features, table)
    scorable = table[[not cause for cause in causes]]
    probabilities = iter(scorecard.probability(scorable) if len(scorable) else ())
    reasons = iter(scorecard.explain(scorable, top=REASONS) if len(scorable) else ())
    entries = []
    for row, cause in zip(table.to_dict("records"), causes, strict=True):
        probability = None if cause else float(next(probabilities))
        entries.append(
            Entry(
                client=row[clients.id],
                probability=probability,
                band="" if probability is None else scorecard.band(probability),
                rank=None,
                value=_known(row[clients.value]) if clients.value else None,
                owner=row[clients.owner] if clients.owner else "",
                reasons=[] if cause else next(reasons),
                warnings=[] if cause else scorecard.warnings(row),
                cause=cause,
                row=row,
                release=release_id,
                threshold=scorecard.threshold,
                scored_at=scored_at,
            )
        )
    return _numbered(sorted(entries, key=lambda entry: _urgency(entry, risk.order_by)))


def short_list(entries: Sequence[Entry], capacity: int) -> list[Entry]:
    """The first clients of the list, `capacity` for each owner; without owners all are one owner's."""
    taken: Counter[str] = Counter()
    short = []
    for entry in entries:
        if entry.status == LISTED and taken[entry.owner] < capacity:
            taken[entry.owner] += 1
            short.append(entry)
    return short


def stakes(entries: Sequence[Entry]) -> dict[str, Stake]:
    """What is at stake in each band, and in all of them under "total"; clients not scored are in none."""
    listed = [entry for entry in entries if entry.status == LISTED]
    bands = {band: stake([entry for entry in listed if entry.band == band]) for band in BANDS}
    return bands | {"total": stake(listed)}


def stake(entries: Sequence[Entry]) -> Stake:
    values = [entry.value for entry in entries if entry.value is not None]
    losses = [entry.expected_loss for entry in entries if entry.expected_loss is not None]
    return Stake(len(entries), len(values), sum(values) if values else None, sum(losses) if losses else None)


def export(clients: Clients, entries: Sequence[Entry]) -> tuple[list[str], list[list[Any]]]:
    """Header and rows of risklist.csv: what was found out, then the client's row as it was ingested."""
    passed = [column for column in (*clients.columns, *clients.derived, "dataset") if column != clients.id]
    own = [clients.id, *_OWN_COLUMNS]
    header = [*own, *(f"input_{column}" if column in own else column for column in passed)]
    return header, [[*_own_cells(entry), *(entry.row[column] for column in passed)] for entry in entries]


def _reason_columns() -> list[str]:
    numbers = range(1, REASONS + 1)
    details = [f"reason_{n}_{part}" for n in numbers for part in ("feature", "value", "typical", "effect")]
    return [*(f"reason_{n}" for n in numbers), *details]


_OWN_COLUMNS = (
    *("probability", "risk_band", "rank", "expected_loss", "status"),
    *_reason_columns(),
    *("warnings", "release", "threshold", "scored_at"),
)


def _own_cells(entry: Entry) -> list[Any]:
    blank = [None] * (REASONS - len(entry.reasons))
    sentences = [reason.sentence for reason in entry.reasons]
    details = [
        cell
        for reason in entry.reasons
        for cell in (
            reason.feature,
            reason.value,
            reason.typical,
            round(float(reason.effect), PROBABILITY_DIGITS),
        )
    ]
    return [
        entry.client,
        _rounded(entry.probability, PROBABILITY_DIGITS),
        entry.band,
        entry.rank,
        _rounded(entry.expected_loss, MONEY_DIGITS),
        entry.status,
        *sentences, *blank,
        *details, *(4 * blank),
        "; ".join([entry.cause] if entry.cause else entry.warnings),
        entry.release,
        entry.threshold,
        entry.scored_at,
    ]  # fmt: skip


def _causes(features: Sequence[str], table: "pd.DataFrame") -> list[str]:
    """Why each row cannot be scored; "" where it can."""
    absent = [column for column in features if column not in table.columns]
    if absent:
        return [f"the live model reads {', '.join(absent)}, which the data does not have"] * len(table)
    seen = table[list(features)]
    nothing = (seen.isna() | (seen == "")).all(axis=1)
    return ["none of the columns that the model reads has a value" if blank else "" for blank in nothing]


def _urgency(entry: Entry, order_by: str) -> tuple[Any, ...]:
    """Sorting key: the greatest first, what is not known last."""
    probability = _descending(entry.probability)
    value = _descending(entry.value)
    loss = _descending(entry.expected_loss)
    scored = entry.status != LISTED
    if order_by == "expected_loss":
        return (scored, loss, value, probability, entry.client)
    return (scored, probability, value, entry.client)


def _descending(number: float | None) -> tuple[bool, float]:
    return (number is None, -(number or 0.0))


def _numbered(entries: Sequence[Entry]) -> list[Entry]:
    return [
        replace(entry, rank=place) if entry.status == LISTED else entry
        for place, entry in enumerate(entries, start=1)
    ]


def _known(value: float) -> float | None:
    return None if value != value else float(value)


def _rounded(number: float | None, digits: int) -> float | None:
    return None if number is None else round(number, digits)
