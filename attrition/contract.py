"""What a client row must look like: columns, types, ranges, rules; verdicts with a code and a sentence.

Compiled once from `clients` in config.json; ingestion, the test data and the API judge rows by it alike.
"""

import hashlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from attrition import arithmetic, sources, tables
from attrition.settings import Clients
from attrition.sources import Dataset

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
WHITE = " \t\n\v\f\r"
LARGEST = 1e9
QUOTED = 40


@dataclass(frozen=True)
class Problem:
    """Why a row is set aside, or what is remarkable about one that is kept."""

    column: str
    code: str
    message: str


@dataclass(frozen=True)
class Verdict:
    """A judged row: values by column (float or text; NaN and "" are missing), or why it is rejected."""

    values: Mapping[str, Any]
    problems: Sequence[Problem] = ()
    warnings: Sequence[Problem] = ()

    @property
    def accepted(self) -> bool:
        return not self.problems


@dataclass(frozen=True)
class Rejected:
    """A row of a dataset, or (line None) a whole dataset, set aside."""

    dataset: str
    line: int | None
    problem: Problem
    row: str


@dataclass(frozen=True)
class Judged:
    """A dataset under the contract: accepted rows in the order of the file, and what was set aside."""

    rows: Sequence[Mapping[str, Any]]
    rejected: Sequence[Rejected]
    rows_read: int
    warnings: int = 0


@dataclass(frozen=True)
class Contract:
    clients: Clients
    derived: Mapping[str, arithmetic.Formula] = field(repr=False)
    rules: Sequence[tuple[arithmetic.Comparison, str]] = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """Equal for equal contracts: data judged under another one is judged again."""
        return hashlib.sha256(self.clients.model_dump_json(exclude={"words"}).encode()).hexdigest()[:16]

    def needed(self, to_predict: bool) -> list[str]:
        """Columns that must be there: all, or for a row to predict the id and what the model reads."""
        clients = self.clients
        return [clients.id, *clients.numeric, *clients.categorical] if to_predict else list(clients.columns)

    def limits(self, column: str) -> tuple[float, float]:
        """Lowest and highest number a column may hold."""
        low, high = self.clients.ranges.get(column, (None, None))
        return (-LARGEST if low is None else low), (LARGEST if high is None else high)

    def judge(self, cells: Mapping[str, str], to_predict: bool = False) -> Verdict:
        """Judge one row of text cells; of a row to predict the outcome is not looked at."""
        clients = self.clients
        values: dict[str, Any] = {}
        problems: list[Problem] = []
        client = cells[clients.id].strip(WHITE)
        values[clients.id] = client
        if not client:
            problems.append(Problem(clients.id, "no_id", f"{clients.id} is blank: whose row is it?"))
        for column in clients.texts:
            values[column] = cells.get(column, "").strip(WHITE)
        problems += self._text_problems(values, to_predict)
        for column in clients.numbers:
            text = cells.get(column, "").strip(WHITE)
            if not text:
                values[column] = math.nan
                if column in clients.required and (column in clients.numeric or not to_predict):
                    problems.append(_blank(column))
            elif not NUMBER.fullmatch(text):
                problems.append(
                    Problem(column, "not_a_number", f"{column} is {quoted(text)}, which is no number")
                )
            else:
                self._judge_number(column, float(text), values, problems)
        if not to_predict:
            target = values[clients.target] = cells[clients.target].strip(WHITE)
            if target not in (clients.left, clients.stayed, ""):
                allowed = f"{clients.left} (left), {clients.stayed} (stayed) or blank (not known yet)"
                problems.append(
                    Problem(
                        clients.target,
                        "bad_outcome",
                        f"{clients.target} is {quoted(target)}; it must be {allowed}",
                    )
                )
        return self._completed(values, problems)

    def judge_instance(self, instance: Mapping[str, Any]) -> Verdict:
        """Judge one JSON object as a row to predict: numbers must be numbers, text must be text."""
        clients = self.clients
        problems: list[Problem] = []
        cells: dict[str, str] = {}
        values: dict[str, Any] = {}
        for column in (clients.id, *clients.texts):
            value = instance.get(column, "" if column not in clients.categorical else None)
            if isinstance(value, str):
                cells[column] = values[column] = value.strip(WHITE)
            elif isinstance(value, int) and not isinstance(value, bool):
                cells[column] = values[column] = str(value)
            else:
                problems.append(_wrong_type(column, "text", instance))
        problems += self._text_problems(values, to_predict=True)
        for column in clients.numbers:
            value = instance.get(column)
            if isinstance(value, int | float) and not isinstance(value, bool):
                self._judge_number(column, float(value) if abs(value) < 1e300 else math.inf, values, problems)
            elif column in clients.numeric or column in instance:
                problems.append(_wrong_type(column, "a number", instance))
            else:
                values[column] = math.nan
        return self._completed(values, problems)

    def _text_problems(self, values: Mapping[str, Any], to_predict: bool) -> Iterator[Problem]:
        """What a column of text may not hold; of a row to predict only what the model reads counts."""
        clients = self.clients
        for column in clients.categorical if to_predict else clients.texts:
            value = values.get(column)
            if value == "" and column in clients.required:
                yield _blank(column)
            if value and value not in clients.categories.get(column, (value,)):
                allowed = ", ".join(clients.categories[column])
                message = f"{column} is {quoted(value)}; it must be one of {allowed}"
                yield Problem(column, "unknown_category", message)

    def _judge_number(
        self, column: str, value: float, values: dict[str, Any], problems: list[Problem]
    ) -> None:
        low, high = self.limits(column)
        values[column] = value
        if not low <= value <= high:
            outside = f"{column} is {value:g}, outside {low:g} to {high:g}"
            problems.append(Problem(column, "out_of_range", outside))

    def _completed(self, values: dict[str, Any], problems: list[Problem]) -> Verdict:
        """Add derived columns and judge the rules between columns; a row already rejected needs neither."""
        if problems:
            return Verdict(values, problems)
        for column, formula in self.derived.items():
            values[column] = formula(values)
        warnings: list[Problem] = []
        for rule, severity in self.rules:
            if rule.broken_by(values):
                broken = Problem(
                    ", ".join(sorted(rule.columns)), "rule", f"the row breaks the rule {rule.text}"
                )
                (problems if severity == "reject" else warnings).append(broken)
        return Verdict(values, problems, warnings)


def compiled(clients: Clients) -> Contract:
    derived = {column: arithmetic.formula(text) for column, text in clients.derived.items()}
    rules = [(arithmetic.comparison(rule.rule), rule.severity) for rule in clients.rules]
    return Contract(clients, derived, rules)


def judge_dataset(contract: Contract, dataset: Dataset, to_predict: bool = False) -> Judged:
    """Judge every row; a dataset without a needed column is rejected whole (one Rejected, line None)."""
    if problem := lacking(contract, dataset.header, to_predict):
        return Judged(
            [], [Rejected(dataset.name, None, problem, ",".join(dataset.header))], len(dataset.rows)
        )
    known = [column for column in contract.clients.columns if column in dataset.header]
    places = [(column, dataset.header.index(column)) for column in known]
    rows, rejected, warnings = [], [], 0
    for line, fields in dataset.rows:
        if len(fields) != len(dataset.header):
            verdict = Verdict({}, [ragged(len(fields), len(dataset.header))])
        else:
            verdict = contract.judge({column: fields[at] for column, at in places}, to_predict)
        if verdict.accepted:
            rows.append(verdict.values)
            warnings += bool(verdict.warnings)
        else:
            as_it_was = tables.csv_text(fields, []).rstrip("\n")
            rejected += [Rejected(dataset.name, line, problem, as_it_was) for problem in verdict.problems]
    return Judged(rows, rejected, len(dataset.rows), warnings)


def lacking(contract: Contract, header: Sequence[str], to_predict: bool = False) -> Problem | None:
    """The columns that a dataset would need and has not."""
    missing = [column for column in contract.needed(to_predict) if column not in header]
    return Problem(", ".join(missing), "missing_column", _missing(missing, header)) if missing else None


def frame(contract: Contract, rows: Sequence[Mapping[str, Any]], extra: Sequence[str] = ()) -> "pd.DataFrame":
    """Accepted rows as a table: number columns float64 (NaN missing), all others text ("" missing)."""
    import numpy as np
    import pandas as pd

    clients = contract.clients
    numbers = {*clients.numbers, *clients.derived}
    columns = [*clients.columns, *clients.derived, *extra]
    return pd.DataFrame(
        {
            column: np.array([row[column] for row in rows], dtype=float if column in numbers else object)
            for column in columns
        }
    )


def read_final(contract: Contract, text: Any, rows: int | None = None) -> "Iterator[pd.DataFrame]":
    """finaldata.csv (a path or a stream) as pieces of at most so many rows, all rows in one by default.

    Each is a table as `frame` made it, derived columns added again; a table without rows is one such piece.
    """
    import pandas as pd

    clients = contract.clients
    numbers = clients.numbers
    columns = (*clients.columns, "dataset")
    pieces = pd.read_csv(
        text,
        dtype={column: "float64" if column in numbers else "object" for column in columns},
        keep_default_na=False,
        na_values={column: [""] for column in numbers},
        iterator=True,
        chunksize=rows,
    )
    with pieces:
        for piece in pieces if rows else [pieces.read()]:
            table = piece.reset_index(drop=True)
            if clients.derived:
                records = table[list(numbers)].to_dict("records")
                for column, formula in contract.derived.items():
                    table[column] = [formula(record) for record in records]
            yield table


def outcomes(clients: Clients, table: "pd.DataFrame") -> "np.ndarray[Any, Any]":
    """1.0 left, 0.0 stayed, NaN not known yet; shape (rows,)."""
    import numpy as np

    target = table[clients.target].to_numpy()
    return np.where(target == clients.left, 1.0, np.where(target == clients.stayed, 0.0, np.nan))


def quoted(text: str) -> str:
    """A cell as a message shows it: on one line, and not too long."""
    return repr(text if len(text) <= QUOTED else text[:QUOTED] + "...")


def _missing(missing: Sequence[str], header: Sequence[str]) -> str:
    sentence = f"it has no column {', '.join(missing)}"
    if apart := sources.otherwise_separated(header):
        return f"{sentence}; {apart}"
    lower = {column.lower(): column for column in header}
    near = [f"{lower[c.lower()]} (write {c})" for c in missing if c.lower() in lower]
    return f"{sentence}; it has {', '.join(near)}" if near else sentence


def _blank(column: str) -> Problem:
    return Problem(column, "blank", f"{column} is blank")


def ragged(fields: int, columns: int) -> Problem:
    if fields == 0:
        return Problem("", "blank_line", "the line is blank")
    return Problem("", "ragged", f"the row has {fields} fields, the header {columns} columns")


def _wrong_type(column: str, wanted: str, instance: Mapping[str, Any]) -> Problem:
    if column not in instance:
        return Problem(column, "missing_column", f"{column} is missing")
    missing = "; a row in which it is missing goes as CSV, the cell blank" if instance[column] is None else ""
    return Problem(column, "wrong_type", f"{column} must be {wanted}{missing}")
