"""What the API says about clients: predictions, the risk list, the newest score. Rows in, plain facts out."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attrition import changes, plays, scorecard, tables
from attrition.contract import NUMBER, Contract
from attrition.problems import Refused
from attrition.quick import Usual
from attrition.scorecard import Scorecard
from attrition.settings import Clients

REASON = ("feature", "value", "typical", "effect", "sentence")
NUMBERS = ("probability", "rank", "expected_loss", "previous_probability", "change_points", "threshold")
REASON_NUMBERS = ("_value", "_typical", "_effect")
FEW_ROWS = 8
NAMED = ("release", "threshold", "scored_at")
ABOUT = ("active", "at_risk", "at_stake", "since", "changed", "look_back")
ASKED_BY = {"band": "risk_band", "status": "status"}


@dataclass(frozen=True)
class RiskList:
    """risklist.csv as text: the header, and the rows in their order."""

    header: Sequence[str]
    rows: Sequence[Mapping[str, str]]

    @property
    def named(self) -> dict[str, Any]:
        """What every answer about risk names; all None for a list without clients."""
        first = self.rows[0] if self.rows else dict.fromkeys(NAMED, "")
        return {name: number(first[name]) if name == "threshold" else first[name] or None for name in NAMED}


def predictions(
    contract: Contract,
    card: Scorecard,
    usual: Usual,
    rows: Sequence[Mapping[str, Any]],
    ids: Sequence[Any],
    reasons: int,
) -> list[dict[str, Any]]:
    """One entry a row, in the order of the rows; `usual` are those of the scorecard."""
    probabilities = _probabilities(card, rows)
    entries = [
        {
            "id": client,
            "prediction": int(probability >= card.threshold),
            "probability": probability,
            "risk_band": card.band(probability),
            "warnings": [*_broken_rules(contract, row), *(() if usual.is_usual(row) else card.warnings(row))],
        }
        for client, row, probability in zip(ids, rows, probabilities, strict=True)
    ]
    if reasons:
        table = _table(card, rows)
        for entry, explained in zip(entries, card.explain(table, top=reasons), strict=True):
            entry["reasons"] = [
                {part: known(getattr(reason, part)) for part in REASON} for reason in explained
            ]
    return entries


def as_csv(
    id_column: str, named: Mapping[str, Any], entries: Sequence[Mapping[str, Any]], reasons: int
) -> str:
    """The same as CSV: one line a row, what is named of the answer repeated on each."""
    header = [id_column, "prediction", "probability", "risk_band", "warnings"]
    header += [f"reason_{place}" for place in range(1, reasons + 1)]
    rows = (
        [
            *(entry[key] for key in ("id", "prediction", "probability", "risk_band")),
            "; ".join(entry["warnings"]),
            *_sentences(entry, reasons),
            *named.values(),
        ]
        for entry in entries
    )
    return tables.export_text([*header, *named], rows)


def newest_score(history: Iterable[Mapping[str, Any]], release: str) -> Mapping[str, Any] | None:
    """The release's score on the newest labelled rows, from the run history; None before there were any."""
    newest = None
    for entry in history:
        score = (entry.get("facts") or {}).get("live_score") if entry["stage"] == "fullprocess" else None
        if score and score.get("release") == release:
            newest = {"run": entry["run"], **score}
    return newest


def read_list(path: Path) -> RiskList:
    """ValueError where the file is no list."""
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            header, *rows = csv.reader(stream, strict=True)
    except csv.Error as fault:
        raise ValueError(str(fault)) from None
    if missing := {*NAMED, *ASKED_BY.values()} - set(header):
        raise ValueError(f"it has no column {', '.join(sorted(missing))}")
    return RiskList(header, [dict(zip(header, row, strict=True)) for row in rows])


def chosen(clients: Clients, listed: RiskList, asked: Mapping[str, str]) -> list[Mapping[str, str]]:
    """The rows that a query asks for by owner, band and status, or Refused."""
    columns = dict(ASKED_BY)
    for column in (f"{clients.owner}", f"input_{clients.owner}"):
        if clients.owner and column in listed.header:
            columns["owner"] = column
    allowed = {"band": plays.BANDS, "status": changes.STATUSES}
    for key, value in asked.items():
        if key not in columns:
            raise Refused(400, f"This list can be asked for by limit, {', '.join(columns)}.")
        if key in allowed and value not in allowed[key]:
            raise Refused(400, f"{key} must be one of {', '.join(allowed[key])}.")
    return [r for r in listed.rows if all(tables.unguarded(r[columns[key]]) == asked[key] for key in asked)]


def about(listed: RiskList, facts: Mapping[str, Any] | None) -> dict[str, Any]:
    """What risklist.json says of the whole list; all None where it is not about this very list.

    The two files are written one after the other: for a moment one of them can be the older.
    """
    same = facts is not None and listed.named["scored_at"] in (facts.get("scored_at"), None)
    return {key: facts.get(key) if facts is not None and same else None for key in ABOUT}


def typed(clients: Clients, rows: Iterable[Mapping[str, str]]) -> list[dict[str, Any]]:
    """Rows of the list as JSON has them: numbers are numbers, blank ones null, text without its guard."""
    numbers = {*NUMBERS, *clients.numbers, *clients.derived}
    numbers |= {f"input_{column}" for column in (*clients.numbers, *clients.derived)}
    return [
        {
            column: number(cell)
            if column in numbers or (column.startswith("reason_") and column.endswith(REASON_NUMBERS))
            else tables.unguarded(cell)
            for column, cell in row.items()
        }
        for row in rows
    ]


def number(cell: str) -> Any:
    """A number, or None for a blank cell; the value of a category stays text."""
    if not NUMBER.fullmatch(cell):
        return tables.unguarded(cell) or None
    value = float(cell)
    return int(value) if value.is_integer() and "." not in cell else value


def _table(card: Scorecard, rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    return {column: [row[column] for row in rows] for column in card.features}


def _probabilities(card: Scorecard, rows: Sequence[Mapping[str, Any]]) -> list[float]:
    # below this, arrays cost more than they save
    if len(rows) > FEW_ROWS:
        found: list[float] = card.probability(_table(card, rows)).tolist()
        return found
    return [scorecard.logistic(card.score_row(row)) for row in rows]


def _broken_rules(contract: Contract, row: Mapping[str, Any]) -> list[str]:
    return [f"the row breaks the rule {rule.text}" for rule, _ in contract.rules if rule.broken_by(row)]


def _sentences(entry: Mapping[str, Any], reasons: int) -> list[str]:
    sentences = [reason["sentence"] for reason in entry.get("reasons", ())]
    return sentences + [""] * (reasons - len(sentences))


def known(value: Any) -> Any:
    """JSON has no NaN: what is missing is null."""
    return None if value != value else value
