"""Infer a `clients` section for config.json from the input folder, with the reasons beside it.

A column's name and its cells are weighed against each other; a person has the last word.
"""

import json
import math
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

from attrition import contract as contracts
from attrition import sources
from attrition.config import Config
from attrition.contract import LARGEST, NUMBER, quoted
from attrition.errors import DataError
from attrition.settings import Clients
from attrition.sources import Dataset, StillWritten, Unreadable

MOST_ROWS = 50_000
# what this share of the cells or less says is a slip, for the contract to reject
SLIPS = 0.01
# a column that no name calls an id must tell this share of the rows apart to be one
NAMES_ROWS = 0.9
# one that is called an id may name a client in many rows, one a month; below this it only groups them
NAMES_CLIENTS = 0.02
# a stand-in for an id that is missing must tell at least this share of the rows apart
STANDS_IN = 0.1
# more categories are too many to learn from, more than half as many as clients name them (as training says)
MOST_CATEGORIES = 100
ID_LIKE_SHARE = 0.5
# so many different numbers, with a few texts between them, are a number column that was filled in badly
NEARLY_NUMBERS = 20
STEPS = range(3, 11)
# a column that ranks leavers this well all alone was most likely written down after they left
LEAK_AUC = 0.98
FEWEST_OF_A_KIND = 10
LINE = 100
NUMBERING = "have the rows numbered (ingestion.py --hold-out FILE)"


def _hints(words: str) -> frozenset[str]:
    return frozenset(words.split())


NOUNS = _hints(
    "customer cust client account corporation company organization organisation firm employee user member "
    "subscriber policyholder person patient student guest donor tenant household merchant"
)
KEYS = _hints("id uuid guid identifier key number no nr num code ref phone email ssn")
CLEAR_KEYS = _hints("id uuid guid identifier key")
LEFT = _hints(
    "churn churned exited exit attrition attrited left leave leaves leaver leaving departed gone cancelled "
    "canceled terminated lapsed resigned"
)
STAYED = _hints("retained retention renewed stayed stays")
STILL_HERE = STAYED | _hints("active existing current loyal")
YES, NO = _hints("yes y true t"), _hints("no not n false f")
BESIDE_OUTCOME = NOUNS | _hints("is has was did will the flag label value status indicator yn target")
CALLED_OUTCOME = _hints("target label outcome class y")
CODES = _hints(
    "zip zipcode postal postcode plz code tier city state region country district branch segment category "
    "cat type class group cluster gender sex department channel id"
)
COUNTS = _hints("number num count total sum avg average mean per of")
TIMES = _hints("date day week month quarter year period snapshot timestamp time")
MONEY = _hints("value revenue charges charge spend spending billing arr mrr acv")
YEARLY, PARTIAL = _hints("yearly annual year arr acv"), _hints("total lifetime average avg day last")
OWNERS = _hints("manager owner rep representative")

PADDED = re.compile(r"[+-]?0[0-9]+")
ISO_DATE = r"\d{4}[-/.]\d{1,2}(?:[-/.]\d{1,2})?(?:[T ]\d.*)?"
DATE = re.compile(ISO_DATE + r"|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}(?: \d.*)?")
COMPACT_DATE = re.compile(r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])")
DECORATION = re.compile(r"[\s,'$€£%]")

SAID = {
    "id": "is the id",
    "target": "is the target",
    "numeric": "is numeric",
    "categorical": "is categorical",
    "carry": "is carried along",
    "left out": "is left out",
    "value": "is the value",
    "owner": "is the owner",
}


@dataclass(frozen=True)
class Reason:
    """Why a column got its role; column "" is about the datasets as a whole, in a sentence of its own."""

    column: str
    role: str
    reason: str

    def __str__(self) -> str:
        about = f"{_shown(self.column)} {SAID[self.role]}: " if self.column else ""
        return f"{about}{self.reason}."


@dataclass(frozen=True)
class Proposal:
    """A `clients` section to check and paste, and why it is as it is; `rows` were looked at."""

    clients: Mapping[str, Any]
    reasons: Sequence[Reason]
    datasets: Sequence[str]
    rows: int
    status: str = "done"

    def __str__(self) -> str:
        keys = ",\n".join(f"  {_json(key)}: {_pasted(value)}" for key, value in self.clients.items())
        reasons = "\n".join(f"- {reason}" for reason in self.reasons)
        return (
            f"A proposal from {self.rows:,} rows of {', '.join(self.datasets)}. "
            "Check it against the reasons below, then paste it into config.json.\n\n"
            f'"clients": {{\n{keys}\n}}\n\n{reasons}'
        )


@dataclass(frozen=True)
class Column:
    """A column's trimmed cells, dataset by dataset."""

    name: str
    parts: Sequence[Sequence[str]] = field(repr=False)

    @cached_property
    def cells(self) -> list[str]:
        return list(chain.from_iterable(self.parts))

    @cached_property
    def counts(self) -> Counter[str]:
        """How often each value occurs, blanks aside."""
        return Counter(filter(None, self.cells))

    @cached_property
    def numbers(self) -> dict[str, float]:
        """The values that the contract reads as numbers."""
        read = {text: float(text) for text in self.counts if NUMBER.fullmatch(text)}
        return {text: value for text, value in read.items() if math.isfinite(value)}

    @property
    def span(self) -> tuple[float, float]:
        return min(self.numbers.values()), max(self.numbers.values())

    @cached_property
    def words(self) -> tuple[str, ...]:
        return tuple(word.lower() for word in _words(self.name) if not word.isdecimal())

    @property
    def last_word(self) -> str:
        return self.words[-1] if self.words else ""

    @property
    def usable(self) -> bool:
        # ingestion adds a column called dataset
        return self.name not in ("", "dataset") and bool(self.counts)

    @property
    def different(self) -> int:
        return len(self.counts)

    @cached_property
    def blank(self) -> float:
        return 1 - self.counts.total() / len(self.cells)

    @cached_property
    def apart(self) -> float:
        """Share of the rows that it tells apart, each dataset for itself: a client may be in all of them."""
        return sum(len(set(part)) for part in self.parts) / len(self.cells)

    def share(self, holds: Callable[[str], Any]) -> float:
        """Share of the cells that are not blank for which something holds."""
        held = sum(count for value, count in self.counts.items() if holds(value))
        return held / max(1, self.counts.total())

    @cached_property
    def is_number(self) -> bool:
        return self.share(self.numbers.__contains__) > 1 - SLIPS

    @cached_property
    def is_whole(self) -> bool:
        return self.different == len(self.numbers) and all(n.is_integer() for n in self.numbers.values())

    @property
    def may_name(self) -> bool:
        """Whether cells like these can name a row: text, or whole numbers."""
        return self.is_whole or not self.is_number

    @cached_property
    def is_date(self) -> bool:
        if not self.is_number:
            return self.share(DATE.fullmatch) > 1 - SLIPS
        called = bool(self.words) and set(self.words) <= TIMES and self.is_whole
        return called or self.share(COMPACT_DATE.fullmatch) > 1 - SLIPS


@dataclass(frozen=True)
class Outcome:
    """The column that tells who left, and its labels."""

    column: Column
    left: str
    stayed: str

    @cached_property
    def told(self) -> list[bool | None]:
        """Row by row: left, stayed, or None where it is not known."""
        meaning: dict[str, bool] = {self.left: True, self.stayed: False}
        return [meaning.get(cell) for cell in self.column.cells]


def propose(config: Config) -> Proposal:
    """Infer from at most the first MOST_ROWS rows, a fair share of every dataset; writes nothing."""
    heads, unread = look(config.input_folder)
    found = inferred(config.input_folder, heads)
    return replace(found, reasons=[*unread, *found.reasons])


def inferred(folder: Path, heads: Sequence[Dataset]) -> Proposal:
    """The proposal for datasets that have rows; DataError, in the name of their folder, where none is."""
    datasets, unfit = fitting(heads)
    columns, partly = table_of(folder, datasets)
    outcome, target = find_outcome(folder, columns)
    client, named = find_id(folder, [column for column in columns if not _is_target(column, outcome)])
    others = [column for column in columns if column is not client and not _is_target(column, outcome)]
    roles = list(find_roles(others, client, outcome))
    section, hint = written(client, outcome, others, roles)
    if not (section["numeric"] or section["categorical"]):
        raise DataError(
            f"{folder}: besides the id ({client.name}) no column tells anything about a client. "
            "Add number or category columns and run again."
        )
    check = checked(section, outcome, datasets)
    reasons = [*unfit, named, target, *roles, *hint, *partly, check]
    return Proposal(section, reasons, [d.name for d in datasets], sum(len(d.rows) for d in datasets))


def look(folder: Path) -> tuple[list[Dataset], list[Reason]]:
    """The first rows of every dataset that can be read, and what is to be said about the others."""
    heads: list[Dataset] = []
    reasons: list[Reason] = []
    rows = whole = 0
    found = _found(folder)
    for at, file in enumerate(found):
        try:
            dataset = sources.read(file)
        except (Unreadable, StillWritten) as fault:
            why = fault.sentence if isinstance(fault, Unreadable) else "it is still being written"
            reasons.append(Reason("", "dataset", f"{file.name} was not looked at: {why}"))
            continue
        if not dataset.rows:
            reasons.append(Reason("", "dataset", f"{file.name} was not looked at: it has no rows"))
            continue
        head = dataset.rows[: (MOST_ROWS - rows) // (len(found) - at)]
        heads.append(replace(dataset, rows=head))
        rows, whole = rows + len(head), whole + len(dataset.rows)
    if not heads:
        why = "".join(f" {reason}" for reason in reasons)
        raise DataError(
            f"{folder}: there is no dataset (*.csv) to infer from.{why} Put one there, run again."
        )
    if rows < whole:
        reasons.append(Reason("", "rows", f"Only the first {rows:,} of {whole:,} rows were looked at"))
    return heads, reasons


def _found(folder: Path) -> list[sources.Found]:
    try:
        return sources.find(folder)
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(
            f"{folder}: there is no such folder. Make it, or correct the input folder in config.json."
        ) from None


def fitting(datasets: Sequence[Dataset]) -> tuple[list[Dataset], list[Reason]]:
    """The datasets that can be one table: a header with an outcome leads, of several that of most rows."""
    rows: Counter[frozenset[str]] = Counter()
    for dataset in datasets:
        rows[frozenset(dataset.header)] += len(dataset.rows)

    def weight(dataset: Dataset) -> tuple[bool, int]:
        return any(_hints_outcome(c) == 2 for c in dataset.header), rows[frozenset(dataset.header)]

    leading = max(datasets, key=weight)
    needed = {column for column in leading.header if _hints_outcome(column) == 2 or _hints_id(column) >= 2}
    kept, reasons = [], []
    for dataset in datasets:
        missing = [column for column in leading.header if column not in dataset.header]
        lacked = [_shown(column) for column in missing if column in needed]
        if len(missing) * 2 > len(leading.header):
            fault = f"it has hardly a column of {leading.name}"
        elif lacked:
            fault = f"it has no column {', '.join(lacked)}; an outcome not known yet is a blank cell"
        else:
            kept.append(dataset)
            continue
        reasons.append(Reason("", "dataset", f"{dataset.name} will be set aside by ingestion: {fault}"))
    return kept, reasons


def table_of(folder: Path, datasets: Sequence[Dataset]) -> tuple[list[Column], list[Reason]]:
    """As shared_columns; DataError where commas do not separate the columns."""
    for dataset in datasets:
        if apart := sources.otherwise_separated(dataset.header):
            raise DataError(f"{folder}: {dataset.name}: {apart}. Then run again.")
    return shared_columns(datasets)


def shared_columns(datasets: Sequence[Dataset]) -> tuple[list[Column], list[Reason]]:
    """The columns that every dataset has, and those that some lack; ragged rows are passed over."""
    columns, reasons = [], []
    fit = [[fields for _, fields in d.rows if len(fields) == len(d.header)] for d in datasets]
    for name in dict.fromkeys(chain.from_iterable(dataset.header for dataset in datasets)):
        lacking = [dataset.name for dataset in datasets if name not in dataset.header]
        if lacking:
            reasons.append(Reason(name, "left out", f"{lacking[0]} does not have it"))
            continue
        places = [list(dataset.header).index(name) for dataset in datasets]
        parts = [[fields[at].strip() for fields in rows] for at, rows in zip(places, fit, strict=True)]
        columns.append(Column(name, parts))
    return columns, reasons


def find_outcome(folder: Path, columns: Sequence[Column]) -> tuple[Outcome | None, Reason]:
    """The two-valued column that speaks of leaving, or the only one; None where several may be it."""
    usable = [column for column in columns if column.usable and not column.is_date]
    hinted = [column for column in usable if _speaks_of_leaving(column) and _has_two_values(column)]
    if hinted:
        return _labelled(max(hinted, key=_speaks_of_leaving), "it speaks of who left")
    two = [column for column in usable if column.different == 2]
    if not two:
        raise DataError(
            f"{folder}: no column has two values, one for who left and one for who stayed. "
            "Add one, blank where it is not known yet, and run again."
        )
    if len(two) == 1:
        return _labelled(two[0], "a guess, to be checked: no other column has just two values")
    names = ", ".join(_shown(column.name) for column in two)
    by_hand = "The target must be named by hand, with its labels left and stayed"
    return None, Reason(
        "", "target", f"{by_hand}: several columns have two values ({names}), and none speaks of leaving"
    )


def _is_target(column: Column, outcome: Outcome | None) -> bool:
    return outcome is not None and column is outcome.column


def _labelled(column: Column, why: str) -> tuple[Outcome, Reason]:
    (one, _), (other, _) = column.counts.most_common(2)
    meanings = _meaning(column, one), _meaning(column, other)
    # of two numbers both must be such labels: in 1 and 2 the 1 is no yes
    known = meanings[0] != meanings[1] and (0 not in meanings or not column.is_number)
    left, stayed = (one, other) if known and meanings[0] > meanings[1] else (other, one)
    share = column.counts[left] / (column.counts[left] + column.counts[stayed])
    by = "by their meaning" if known else "a guess, to be checked: the rarer one is usually who left"
    said = [f"{why}, and {quoted(left)} is left ({share:.0%}), {quoted(stayed)} stayed, {by}"]
    if share > 0.5:
        said.append("mind that more left than stayed")
    if column.different > 2:
        said.append(
            f"rows with another value ({quoted(column.counts.most_common(3)[2][0])}) will be rejected"
        )
    if column.blank:
        said.append(f"it is blank, not known yet, in {column.blank:.0%} of the rows")
    return Outcome(column, left, stayed), Reason(column.name, "target", "; ".join(said))


def _has_two_values(column: Column) -> bool:
    common = sum(count for _, count in column.counts.most_common(2))
    return column.different > 1 and common >= (1 - SLIPS) * column.counts.total()


def _speaks_of_leaving(column: Column) -> int:
    """As _hints_outcome, or 1 where a label does so."""
    if hinted := _hints_outcome(column.name):
        return hinted
    labels = {word.lower() for label, _ in column.counts.most_common(2) for word in _words(label)}
    return int(bool(labels & LEFT))


def _hints_outcome(name: str) -> int:
    """2: the name says nothing but who left; 1: it says so among others, or just calls itself a target."""
    words = {word.lower() for word in _words(name)}
    if words & (LEFT | STAYED):
        return 2 if words <= LEFT | STAYED | BESIDE_OUTCOME else 1
    return int(len(words) == 1 and words <= CALLED_OUTCOME)


def _meaning(column: Column, label: str) -> int:
    """1: the label means that a client left, -1: that it stayed, 0: neither."""
    words = {word.lower() for word in _words(label)}
    if words & STILL_HERE:
        return -1
    if words & LEFT:
        return -1 if words & NO else 1
    if label in column.numbers:
        number = column.numbers[label]
        yes = (number > 0) - (number <= 0) if number in (-1, 0, 1) else 0
    else:
        yes = bool(words & YES) - bool(words & NO)
    # in a column called retained a yes means the opposite
    return -yes if STAYED & set(column.words) else yes


def find_id(folder: Path, columns: Sequence[Column]) -> tuple[Column, Reason]:
    """The column that names the client, or what comes nearest; DataError where nothing does."""
    full = _full(columns)
    if best := _naming(full):
        said = "its name says so, and" if _hints_id(best.name) else "a guess, to be checked:"
        count = f"{said} it has {best.different:,} values in {len(best.cells):,} rows"
        return best, Reason(best.name, "id", count)
    best = max(full, key=lambda column: column.different, default=Column("", [[""]]))
    if best.different < max(2, STANDS_IN * len(best.cells)):
        raise DataError(
            f"{folder}: no column tells the clients apart, and an id column is needed. "
            f"Add one that names the client of each row, and run again; or {NUMBERING}."
        )
    said = (
        f"a stand-in, for no column names the client. It tells most rows apart, but has {best.different:,} "
        f"values in {len(best.cells):,} rows: rows with the same value count as one client, of which the "
        "risk list shows the last, and the model does not see this column"
    )
    if twin := next((other for other in full if other is not best and _says_the_same(other, best)), None):
        said += f" ({_shown(twin.name)} tells it the same)"
    return best, Reason(
        best.name, "id", f"{said}. Better add a column that names the client of each row, or {NUMBERING}"
    )


def names_client(folder: Path, dataset: Dataset) -> bool:
    """Whether a column names the client; where none does, find_id has a stand-in at best."""
    columns, _ = table_of(folder, [dataset])
    outcome, _ = find_outcome(folder, columns)
    return _naming(_full([column for column in columns if not _is_target(column, outcome)])) is not None


def _full(columns: Sequence[Column]) -> list[Column]:
    return [column for column in columns if column.usable and column.blank <= SLIPS and not column.is_date]


def _naming(full: Sequence[Column]) -> Column | None:
    fit = [column for column in full if column.may_name and _fits_as_id(column)]
    return max(fit, key=lambda c: (_hints_id(c.name), not c.is_number, c.apart), default=None)


def _fits_as_id(column: Column) -> bool:
    if _hints_id(column.name) >= 2:
        many = column.different >= FEWEST_OF_A_KIND or column.apart >= ID_LIKE_SHARE
        return many and column.apart >= NAMES_CLIENTS
    # numbers that nothing calls an id are one only if none comes twice
    return column.apart == 1 or (column.apart >= NAMES_ROWS and not column.is_number)


def _hints_id(name: str) -> int:
    """3: the name says id of a client; 2: it says client; 1: it says id; 0: neither."""
    words = [word.lower() for word in _words(name)] or [""]
    glued = (words[-1].removesuffix(key) for key in KEYS if words[-1].endswith(key))
    if words == ["id"] or (words[-1] in KEYS and NOUNS & set(words)) or any(noun in NOUNS for noun in glued):
        return 3
    if NOUNS & set(words) and NOUNS | {"name"} >= set(words):
        return 2
    return int(words[-1] in CLEAR_KEYS)


def _says_the_same(one: Column, other: Column) -> bool:
    return one.different == other.different == len(set(zip(one.cells, other.cells, strict=True)))


def find_roles(columns: Sequence[Column], client: Column, outcome: Outcome | None) -> Iterator[Reason]:
    """Each column's role, in the order of the columns; what gives the outcome away is left out."""
    for column in columns:
        role, reason = next(found for test in ROLES if (found := test(column, client)))
        if outcome is None and column.name == Clients().target:
            role, reason = "left out", "it does not have two values, so it is no outcome yet"
        elif outcome and role in ("numeric", "categorical"):
            leak = give_away(column, role, client, outcome)
            role, reason = ("left out", leak) if leak else (role, reason)
        yield Reason(column.name, role, reason)


Role = tuple[str, str] | None


def _as_unusable(column: Column, client: Column) -> Role:
    if column.name == "dataset":
        return "left out", "ingestion adds a column of that name; rename it to have it used"
    if not column.name:
        return "left out", "it has no name"
    return None if column.counts else ("left out", "it is blank in every row")


def _as_date(column: Column, client: Column) -> Role:
    if not column.is_date:
        return None
    when = f"{quoted(min(column.counts))} to {quoted(max(column.counts))}"
    return "carry", f"it says when ({when}), not what a client is like"


def _as_constant(column: Column, client: Column) -> Role:
    if column.different > 1 or column.blank > SLIPS:
        return None
    return "left out", f"it is {_examples(column)} in every row"


def _as_second_id(column: Column, client: Column) -> Role:
    called = _hints_id(column.name) or column.last_word in KEYS
    if called and column.may_name and column.different > ID_LIKE_SHARE * client.different:
        return "left out", f"a second id, with {column.different:,} values for {client.different:,} clients"
    if column.is_whole and column.different == len(column.cells) > FEWEST_OF_A_KIND:
        low, high = column.span
        if high - low == len(column.cells) - 1:
            return "left out", f"it numbers the rows, {low:.0f} to {high:.0f}"
    return None


def _as_number(column: Column, client: Column) -> Role:
    if not column.is_number or _code(column):
        return None
    low, high = column.span
    said = [f"numbers from {low:,.10g} to {high:,.10g}"]
    if low < 0:
        said.append("negative ones occur, so its range is open below")
    if column.is_whole and column.different in STEPS:
        said.append(f"its {column.different} values are taken as steps of a scale, not as categories")
    if slips := [text for text in column.counts if text not in column.numbers]:
        said.append(f"rows in which it is no number ({quoted(slips[0])}) will be rejected")
    return "numeric", "; ".join(said)


def _code(column: Column) -> str:
    """Why its numbers are names and not quantities, or ""."""
    if not column.is_number:
        return ""
    if column.share(PADDED.fullmatch) > SLIPS:
        return "numbers that begin with 0, so codes"
    if column.is_whole and column.last_word in CODES and not COUNTS & set(column.words):
        return f"numbers, but by its name ({column.last_word}) codes"
    return ""


def _as_owner(column: Column, client: Column) -> Role:
    words = [word for word in column.words if word not in ("name", "id")]
    if not words or words[-1] not in OWNERS or column.different > ID_LIKE_SHARE * client.different:
        return None
    if {value.lower() for value in column.counts} <= YES | NO | {"0", "1"}:
        return None
    return "owner", f"by its name it says whose client it is, such as {_examples(column)}"


def _as_category(column: Column, client: Column) -> Role:
    if column.different > min(MOST_CATEGORIES, ID_LIKE_SHARE * client.different) or _nearly_numbers(column):
        return None
    count = f"{column.different} values such as" if column.different > 1 else "blank or"
    return "categorical", f"{_code(column) or 'text'}, {count} {_examples(column)}"


def _nearly_numbers(column: Column) -> bool:
    if column.is_number or column.different <= NEARLY_NUMBERS:
        return False
    return column.share(lambda value: NUMBER.fullmatch(DECORATION.sub("", value))) > ID_LIKE_SHARE


def _as_text(column: Column, client: Column) -> Role:
    if not _nearly_numbers(column):
        many = f"{column.different:,} values such as {_examples(column)} are too many to group by"
        return "carry", f"{_code(column) or 'text'}: {many}"
    odd = next(value for value in column.counts if value not in column.numbers)
    advice = "write plain numbers, blank where unknown, and it can be numeric"
    return "carry", f"nearly all numbers, but not all are written as one ({quoted(odd)}): {advice}"


ROLES: Sequence[Callable[[Column, Column], Role]] = (
    _as_unusable,
    _as_date,
    _as_constant,
    _as_second_id,
    _as_number,
    _as_owner,
    _as_category,
    _as_text,
)


def give_away(column: Column, role: str, client: Column, outcome: Outcome) -> str | None:
    """Why a column knows the outcome too well to have been known before it, or None."""
    rows = [
        (cell, told, zlib.crc32(name.encode()) & 1)
        for cell, told, name in zip(column.cells, outcome.told, client.cells, strict=True)
        if told is not None
    ]
    tests = [[(float(cell == ""), told) for cell, told, _ in rows]]
    if role == "numeric":
        numbers = column.numbers
        tests.append([(numbers[cell], told) for cell, told, _ in rows if cell in numbers])
    if column.different <= MOST_CATEGORIES:
        tests.append(_rates_of_others(rows))
    auc = max(map(_auc, tests))
    if auc <= LEAK_AUC:
        return None
    unless = f"add it to {role} only if it is known before they leave"
    return f"a possible leak: it alone tells who left (ROC AUC {auc:.3f}); {unless}"


def _rates_of_others(rows: Sequence[tuple[str, bool, int]]) -> list[tuple[float, bool]]:
    """For each row its value's rate of leaving among the other half of the clients, and its outcome."""
    seen = Counter((cell, half) for cell, _, half in rows)
    left = Counter((cell, half) for cell, told, half in rows if told)
    everywhere = left.total() / max(1, len(rows))
    rate = {
        (cell, half): left[cell, 1 - half] / others if (others := seen[cell, 1 - half]) else everywhere
        for cell, half in seen
    }
    return [(rate[cell, half], told) for cell, told, half in rows]


def _auc(rows: Sequence[tuple[float, bool]]) -> float:
    """ROC AUC of scores for their outcomes, turned to at least 0.5; 0.5 where one outcome is too rare."""
    left = Counter(score for score, told in rows if told)
    stayed = Counter(score for score, told in rows if not told)
    if min(left.total(), stayed.total()) < FEWEST_OF_A_KIND:
        return 0.5
    won = below = 0.0
    for score in sorted({*left, *stayed}):
        won += left[score] * (below + stayed[score] / 2)
        below += stayed[score]
    auc = won / (left.total() * stayed.total())
    return max(auc, 1 - auc)


def written(
    client: Column, outcome: Outcome | None, columns: Sequence[Column], roles: Sequence[Reason]
) -> tuple[dict[str, Any], list[Reason]]:
    """The section as config.json has it, lists as tuples, and what is to be said about the value."""
    named = {role: [reason.column for reason in roles if reason.role == role] for role in SAID}
    numbers = [column for column in columns if column.name in named["numeric"]]
    # a second column with people beside the owner is a category like any other
    owner, categorical = named["owner"][:1], [*named["categorical"], *named["owner"][1:]]
    value, hint = find_value(numbers)
    section: dict[str, Any] = {"id": client.name}
    if outcome:
        section |= {"target": outcome.column.name, "left": outcome.left, "stayed": outcome.stayed}
    features = [*named["numeric"], *categorical]
    return section | {
        "numeric": tuple(named["numeric"]),
        "categorical": tuple(categorical),
        "carry": tuple(named["carry"]),
        "words": {name: plain for name in features if (plain := plain_words(name))},
        "ranges": {column.name: bounds for column in numbers if (bounds := possible_range(column))},
        "value": value,
        "owner": owner[0] if owner else None,
    }, hint


def find_value(numbers: Sequence[Column]) -> tuple[str | None, list[Reason]]:
    """The one number column whose name speaks best of what a client is worth a year, as a hint."""
    ranked: dict[int, list[Column]] = {}
    for column in numbers:
        words = set(column.words)
        if column.different > 2 and words & MONEY and column.last_word in MONEY | TIMES:
            ranked.setdefault(2 if words & YEARLY else 0 if words & PARTIAL else 1, []).append(column)
    if not ranked:
        return None, []
    best = ranked[max(ranked)]
    if len(best) > 1:
        names = ", ".join(_shown(column.name) for column in best)
        return None, [Reason("", "value", f"No value is named, for {names} are as likely; name it by hand")]
    said = "a hint only, by its name; it should be what a client is worth a year"
    if max(ranked) < 2:
        said += ", which this name does not say"
    return best[0].name, [Reason(best[0].name, "value", said)]


def possible_range(column: Column) -> tuple[float | None, float | None] | None:
    """From 0 where no negative was seen; to a power of ten where the contract's own bounds are too narrow."""
    low, high = column.span
    lowest = 0 if low >= 0 else -_power_above(-low) if low < -LARGEST else None
    highest = _power_above(high) if high > LARGEST else None
    return None if lowest is None and highest is None else (lowest, highest)


def _power_above(number: float) -> float:
    exponent = math.ceil(math.log10(number))
    return 10.0**exponent if exponent <= 300 else number


def checked(section: Mapping[str, Any], outcome: Outcome | None, datasets: Sequence[Dataset]) -> Reason:
    """What the section does to the rows it was inferred from."""
    contract = contracts.compiled(Clients.model_validate(section))
    judged = [contracts.judge_dataset(contract, each, to_predict=outcome is None) for each in datasets]
    rejected = [each for one in judged for each in one.rejected]
    if not rejected:
        return Reason("", "check", "By this section every row that was looked at is accepted")
    count = len({(each.dataset, each.line) for each in rejected})
    first = f"line {rejected[0].line} of {rejected[0].dataset}: {rejected[0].problem.message}"
    rows = sum(one.rows_read for one in judged)
    return Reason("", "check", f"By this section {count:,} of {rows:,} rows are rejected, first {first}")


def plain_words(name: str) -> str | None:
    """MonthlyCharges as monthly charges; None where the default, _ read as a space, is as good."""
    plain = " ".join(word if word.isupper() and len(word) > 1 else word.lower() for word in _words(name))
    return plain if plain and plain.casefold() != name.replace("_", " ").strip().casefold() else None


def _words(name: str) -> list[str]:
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    return [word for word in re.split(r"[\W_]+", spaced) if word]


def _examples(column: Column) -> str:
    return ", ".join(quoted(value) for value, _ in column.counts.most_common(3))


def _shown(name: str) -> str:
    return name if name.isprintable() else repr(name)


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else json.dumps(value)


def _pasted(value: Any) -> str:
    """JSON on one line; of what is too long for it, lines broken between the items."""
    if len(_json(value)) <= LINE - 20 or not isinstance(value, dict | tuple):
        return _json(value)
    if isinstance(value, dict):
        start, items, end = "{", [f"{_json(key)}: {_json(inner)}" for key, inner in value.items()], "}"
    else:
        start, items, end = "[", [_json(inner) for inner in value], "]"
    lines = [""]
    for item in (*(f"{item}, " for item in items[:-1]), items[-1]):
        if lines[-1] and len(lines[-1]) + len(item) > LINE:
            lines.append("")
        lines[-1] += item
    body = "\n".join(f"    {line.rstrip()}" for line in lines)
    return f"{start}\n{body}\n  {end}"
