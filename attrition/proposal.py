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
from attrition.contract import LARGEST, NUMBER, Judged, quoted
from attrition.errors import DataError
from attrition.settings import Clients
from attrition.sources import Dataset, StillWritten, Unreadable

MOST_ROWS = 50_000
# what less than this share of the cells says is a slip, and is left to the contract to reject
SLIPS = 0.01
# from this share on a column that nothing but its cells speaks for names the rows
NAMES_ROWS = 0.9
# a column called like an id may name a client in many rows, one a month; below this it groups them
NAMES_CLIENTS = 0.02
# a stand-in for a missing id must tell at least this share of the rows apart
STANDS_IN = 0.1
FEW = 100
# as training judges: above half as many values as clients a category names them; the AUC of a give-away
ID_LIKE_SHARE = 0.5
LEAK_AUC = 0.98
FEWEST_OF_A_KIND = 10
LINE = 100

NOUNS = frozenset(
    "customer cust client account corporation company organization organisation firm employee user member "
    "subscriber policyholder person patient student guest donor tenant household merchant".split()
)
KEYS = frozenset("id uuid guid identifier key number no nr num code ref phone email ssn".split())
CLEAR_KEYS = frozenset("id uuid guid identifier key".split())
LEFT = frozenset(
    "churn churned exited exit attrition attrited left leave leaves leaver leaving departed gone cancelled "
    "canceled terminated lapsed resigned".split()
)
STAYED = frozenset("retained retention renewed stayed stays".split())
BESIDE_OUTCOME = frozenset("is has was did will the flag label value status indicator yn target".split())
NO_HINT_OF_ITS_OWN = frozenset("target label outcome class y".split())
YES, NO = frozenset("yes y true t 1".split()), frozenset("no n false f 0".split())
STILL_HERE = STAYED | frozenset("active existing current loyal not".split())
CODES = frozenset(
    "zip zipcode postal postcode plz code tier city state region country district branch segment category cat "
    "type class group cluster gender sex department channel id".split()
)
COUNTS = frozenset("number num count total sum avg average mean per of".split())
TIMES = frozenset("date day week month quarter year period snapshot timestamp time".split())
MONEY = frozenset("value revenue charges charge spend spending billing arr mrr acv".split())
YEARLY = frozenset("yearly annual year arr acv".split())
PARTIAL = frozenset("total lifetime average avg day last".split())
OWNERS = frozenset("manager owner rep representative".split())

PADDED = re.compile(r"[+-]?0[0-9]+")
WRITTEN_AS = r"\d{4}[-/.]\d{1,2}(?:[-/.]\d{1,2})?(?:[T ]\d.*)?|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}(?: \d.*)?"
COMPACT = r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"
DATE, COMPACT_DATE = re.compile(WRITTEN_AS), re.compile(COMPACT)
DECORATION = re.compile(r"[\s,'$€£%]")

SAID = {"id": "is the id", "target": "is the target", "left out": "is left out", "carry": "is carried along"}
SAID |= {"numeric": "is numeric", "categorical": "is categorical", "value": "is the value"}
SAID |= {"owner": "is the owner"}


@dataclass(frozen=True)
class Reason:
    """Why a column got its role; column "" is about the datasets as a whole."""

    column: str
    role: str
    reason: str

    def __str__(self) -> str:
        if not self.column:
            return f"{self.reason}."
        return f"{_shown(self.column)} {SAID[self.role]}: {self.reason}."


@dataclass(frozen=True)
class Proposal:
    """A `clients` section to check and paste, and why it is as it is; `rows` were looked at."""

    clients: Mapping[str, Any]
    reasons: Sequence[Reason]
    datasets: Sequence[str]
    rows: int
    status: str = "done"

    def __str__(self) -> str:
        seen = f"{self.rows:,} rows of {', '.join(self.datasets)}"
        keys = ",\n".join(f"  {_json(key)}: {_pasted(value)}" for key, value in self.clients.items())
        reasons = "\n".join(f"- {reason}" for reason in self.reasons)
        return (
            f"A proposal from {seen}. Check it against the reasons below, then paste it into config.json.\n\n"
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

    @cached_property
    def words(self) -> tuple[str, ...]:
        return tuple(word.lower() for word in _words(self.name))

    @property
    def different(self) -> int:
        return len(self.counts)

    @property
    def given(self) -> int:
        return self.counts.total()

    @property
    def blank(self) -> float:
        return 1 - self.given / len(self.cells)

    @cached_property
    def apart(self) -> float:
        """Share of the rows that the column tells apart, each dataset for itself: a client may be in all."""
        return sum(len(set(part)) for part in self.parts) / len(self.cells)

    @property
    def last_word(self) -> str:
        return next((word for word in reversed(self.words) if not word.isdecimal()), "")

    @property
    def all_whole(self) -> bool:
        return self.different == len(self.numbers) and all(n.is_integer() for n in self.numbers.values())

    def share(self, holds: Callable[[str], Any]) -> float:
        """Share of the cells that are not blank for which something holds."""
        return sum(count for value, count in self.counts.items() if holds(value)) / max(1, self.given)

    @cached_property
    def is_number(self) -> bool:
        return self.share(self.numbers.__contains__) > 1 - SLIPS

    @cached_property
    def is_padded(self) -> bool:
        return self.share(PADDED.fullmatch) > SLIPS

    @cached_property
    def is_date(self) -> bool:
        if self.is_number:
            named = set(self.words) <= TIMES and self.all_whole
            return named or self.share(COMPACT_DATE.fullmatch) > 1 - SLIPS
        return self.share(DATE.fullmatch) > 1 - SLIPS

    @property
    def usable(self) -> bool:
        # ingestion adds a column called dataset
        return self.name not in ("", "dataset") and self.given > 0


@dataclass(frozen=True)
class Outcome:
    """The column that tells who left, its labels, and why."""

    column: Column
    left: str
    stayed: str
    reason: str

    @cached_property
    def told(self) -> list[bool | None]:
        """Row by row: left, stayed, or None where it is not known."""
        meaning: dict[str, bool] = {self.left: True, self.stayed: False}
        return [meaning.get(cell) for cell in self.column.cells]


def propose(config: Config) -> Proposal:
    """Infer from at most the first MOST_ROWS rows, a fair share of every dataset; writes nothing."""
    datasets, looked = look(config.input_folder)
    datasets, unfit = fitting(datasets)
    columns, partly = shared_columns(datasets)
    if not any(column.different == 2 for column in columns):
        raise DataError(
            f"{config.input_folder}: no column has two values, one for who left and one for who stayed. "
            "Add one, blank where it is not known yet, and run again."
        )
    outcome, target = find_outcome(columns)
    rest = [column for column in columns if not (outcome and column is outcome.column)]
    client, named = find_id(config.input_folder, rest)
    rest = [column for column in rest if column is not client]
    roles = list(find_roles(rest, client, outcome))
    section, further = written(client, outcome, rest, roles)
    if not (section["numeric"] or section["categorical"]):
        raise DataError(
            f"{config.input_folder}: besides the id ({client.name}) no column tells anything about a client. "
            "Add number or category columns and run again."
        )
    check = checked(section, outcome, datasets)
    reasons = [*looked, *unfit, named, target, *roles, *further, *partly, check]
    return Proposal(section, reasons, [d.name for d in datasets], sum(len(d.rows) for d in datasets))


def look(folder: Path) -> tuple[list[Dataset], list[Reason]]:
    """The head of every dataset that can be read, and what is to be said about the others."""
    found = _found(folder)
    datasets: list[Dataset] = []
    reasons: list[Reason] = []
    rows = whole = 0
    for at, file in enumerate(found):
        try:
            dataset = sources.read(file)
        except Unreadable as fault:
            reasons.append(Reason("", "dataset", f"{file.name} was not looked at: {fault.sentence}"))
            continue
        except StillWritten:
            reasons.append(Reason("", "dataset", f"{file.name} was not looked at: it is still being written"))
            continue
        head = dataset.rows[: (MOST_ROWS - rows) // (len(found) - at)]
        datasets.append(replace(dataset, rows=head))
        rows, whole = rows + len(head), whole + len(dataset.rows)
    if not rows:
        why = "".join(f" {reason}" for reason in reasons)
        raise DataError(
            f"{folder}: there is no dataset (*.csv) with a row in it.{why} Put one there and run again."
        )
    if rows < whole:
        reasons.append(Reason("", "rows", f"only the first {rows:,} of {whole:,} rows were looked at"))
    return datasets, reasons


def _found(folder: Path) -> list[sources.Found]:
    try:
        return sources.find(folder)
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(
            f"{folder}: there is no such folder. Make it, or correct the input folder in config.json."
        ) from None


def fitting(datasets: Sequence[Dataset]) -> tuple[list[Dataset], list[Reason]]:
    """The datasets that can be one table: the header with an outcome and the most rows leads."""
    rows: Counter[frozenset[str]] = Counter()
    for dataset in datasets:
        rows[frozenset(dataset.header)] += len(dataset.rows)
    leading = max(
        datasets, key=lambda d: (any(_hints_outcome(c) == 2 for c in d.header), rows[frozenset(d.header)])
    )
    needed = {column for column in leading.header if _hints_outcome(column) == 2 or _hints_id(column) >= 2}
    kept, reasons = [], []
    for dataset in datasets:
        missing = [column for column in leading.header if column not in dataset.header]
        if len(missing) * 2 > len(leading.header):
            fault = f"it has hardly a column in common with {leading.name}"
        elif lacked := [column for column in missing if column in needed]:
            fault = f"it has no column {', '.join(lacked)}; an outcome not known yet is a blank cell"
        else:
            kept.append(dataset)
            continue
        reasons.append(Reason("", "dataset", f"{dataset.name} will be set aside by ingestion: {fault}"))
    return kept, reasons


def shared_columns(datasets: Sequence[Dataset]) -> tuple[list[Column], list[Reason]]:
    """The columns that every dataset has, and those that some lack; rows of another width are left out."""
    columns, reasons = [], []
    fits = [[fields for _, fields in d.rows if len(fields) == len(d.header)] for d in datasets]
    for name in dict.fromkeys(chain.from_iterable(dataset.header for dataset in datasets)):
        lack = [dataset.name for dataset in datasets if name not in dataset.header]
        if lack:
            reasons.append(Reason(name, "left out", f"{', '.join(lack[:3])} does not have it"))
            continue
        places = [list(dataset.header).index(name) for dataset in datasets]
        parts = [[fields[at].strip() for fields in rows] for at, rows in zip(places, fits, strict=True)]
        columns.append(Column(name, parts))
    return columns, reasons


def find_outcome(columns: Sequence[Column]) -> tuple[Outcome | None, Reason]:
    """The two-valued column whose name speaks of leaving, or the only one there is."""
    hinted = [c for c in columns if _hints_outcome(c.name) and c.usable and _has_two_values(c)]
    if hinted:
        column = max(hinted, key=lambda c: _hints_outcome(c.name))
        return _outcome(column, "its name speaks of who left, and it has two values")
    two = [column for column in columns if column.usable and column.different == 2]
    if len(two) == 1:
        return _outcome(two[0], "a guess, for no other column has just two values; check it")
    names = ", ".join(_shown(column.name) for column in two)
    return None, Reason(
        "",
        "target",
        f"The target must be named by hand, with its labels left and stayed: several columns have two values "
        f"({names}), and no name speaks of leaving",
    )


def _outcome(column: Column, why: str) -> tuple[Outcome, Reason]:
    (first, _), (second, _) = column.counts.most_common(2)
    leans = _leans_to_left(column, first) - _leans_to_left(column, second)
    left, stayed = (first, second) if leans > 0 else (second, first)
    share = column.counts[left] / (column.counts[left] + column.counts[stayed])
    labels = "by their meaning" if leans else "for the rarer of the two is usually who left"
    often = "; mind that this is the more frequent one" if share > 0.5 else ""
    reason = f"{why}; {quoted(left)} is taken for left ({share:.0%}) and {quoted(stayed)} for stayed, {labels}{often}"
    if odd := column.different - 2:
        reason += f"; {odd} other value(s) such as {quoted(list(column.counts)[-1])} will be rejected"
    if column.blank:
        reason += f"; it is blank, not known yet, in {column.blank:.0%} of the rows"
    return Outcome(column, left, stayed, reason), Reason(column.name, "target", reason)


def _has_two_values(column: Column) -> bool:
    if column.different < 2:
        return False
    return sum(count for _, count in column.counts.most_common(2)) >= (1 - SLIPS) * column.given


def _hints_outcome(name: str) -> int:
    """2: the name says nothing but who left; 1: it says so among others, or just calls itself a target."""
    words = {word.lower() for word in _words(name)}
    if not words & (LEFT | STAYED):
        return int(len(words) == 1 and words <= NO_HINT_OF_ITS_OWN)
    return 2 if words <= LEFT | STAYED | BESIDE_OUTCOME | NOUNS else 1


def _leans_to_left(column: Column, label: str) -> int:
    """1: the label means that a client left, -1: that it stayed, 0: it says neither."""
    words = {word.lower() for word in _words(label)}
    if words & STILL_HERE:
        return -1
    if words & LEFT:
        return 1
    # in a column called retained a yes means the opposite
    yes = -1 if set(column.words) & STAYED else 1
    if words & NO or label == "-1":
        return yes if words <= {"1", "0"} and float(label) > 0 else -yes
    return yes if words & YES else 0


def find_id(folder: Path, columns: Sequence[Column]) -> tuple[Column, Reason]:
    """The column that names the client, or what comes nearest; DataError where nothing does."""
    whole = [
        c
        for c in columns
        if c.usable and c.blank <= SLIPS and (c.all_whole or not c.is_number) and not c.is_date
    ]
    if fit := [column for column in whole if _fits_as_id(column)]:
        best = max(fit, key=lambda column: (_hints_id(column.name), column.apart))
        hint = "its name says so, and " if _hints_id(best.name) else ""
        return best, Reason(
            best.name, "id", f"{hint}it has {best.different:,} values in {len(best.cells):,} rows"
        )
    known = [column for column in columns if column.usable and column.blank <= SLIPS]
    best = max(known, key=lambda column: column.different, default=Column("", [[""]]))
    if best.different < STANDS_IN * len(best.cells) or best.different < 2:
        raise DataError(
            f"{folder}: no column tells the clients apart, and an id column is needed. "
            "Add one that names the client of each row, and run again."
        )
    reason = (
        f"a stand-in, for no column names the client: it tells the most rows apart, but rows that share one of its "
        f"{best.different:,} values count as one client, of whom the risk list shows only the last of "
        f"{len(best.cells):,} rows, and the model does not see it"
    )
    if twin := next((c for c in known if c is not best and _says_the_same(c, best)), None):
        reason += f" ({_shown(twin.name)} tells it the same)"
    return best, Reason(best.name, "id", f"{reason}; better add a column that names the client of each row")


def _fits_as_id(column: Column) -> bool:
    if _hints_id(column.name) >= 2:
        many = column.different >= FEWEST_OF_A_KIND or column.apart >= ID_LIKE_SHARE
        return column.apart >= NAMES_CLIENTS and many
    # a number that no name calls an id is one only if it is never the same
    return column.apart >= NAMES_ROWS and (not column.is_number or column.different == len(column.cells))


def _hints_id(name: str) -> int:
    """3: the name says id of a client; 2: it says client; 1: it says id; 0: neither."""
    words = [word.lower() for word in _words(name)]
    if words and words[-1].endswith("id") and words[-1][:-2] in NOUNS:
        words[-1:] = [words[-1][:-2], "id"]
    if words == ["id"] or (words and words[-1] in KEYS and NOUNS & set(words)):
        return 3
    if NOUNS & set(words) and NOUNS | {"name"} >= set(words):
        return 2
    return int(bool(words) and words[-1] in CLEAR_KEYS)


def _says_the_same(one: Column, other: Column) -> bool:
    return one.different == other.different == len(set(zip(one.cells, other.cells, strict=True)))


def find_roles(columns: Sequence[Column], client: Column, outcome: Outcome | None) -> Iterator[Reason]:
    """Each column's role in the order of the columns; what gives the outcome away is left out."""
    for column in columns:
        role, reason = next(found for test in ROLES if (found := test(column, client)))
        if outcome is None and column.name == Clients().target:
            role, reason = "left out", f"it has {column.different} values, not two, so it is no outcome"
        elif (
            role in ("numeric", "categorical")
            and outcome
            and (leak := give_away(column, role, client, outcome))
        ):
            role, reason = "left out", leak
        yield Reason(column.name, role, reason)


Found = tuple[str, str] | None


def _as_unusable(column: Column, client: Column) -> Found:
    if column.name == "dataset":
        return "left out", "ingestion adds a column of that name; rename it to have it used"
    if not column.name:
        return "left out", "it has no name"
    return None if column.given else ("left out", "it is blank in every row")


def _as_date(column: Column, client: Column) -> Found:
    if not column.is_date:
        return None
    return "carry", f"it says when, {min(column.counts)} to {max(column.counts)}, not what a client is like"


def _as_constant(column: Column, client: Column) -> Found:
    if column.different > 1 or column.blank > SLIPS:
        return None
    return "left out", f"it is {quoted(next(iter(column.counts)))} in every row"


def _as_second_id(column: Column, client: Column) -> Found:
    named = _hints_id(column.name) or column.last_word in KEYS
    if (
        named
        and column.different > ID_LIKE_SHARE * client.different
        and (column.all_whole or not column.is_number)
    ):
        return "left out", f"a second id: {column.different:,} values for {client.different:,} clients"
    if column.all_whole and column.different == len(column.cells) > FEWEST_OF_A_KIND:
        low, high = min(column.numbers.values()), max(column.numbers.values())
        if high - low == len(column.cells) - 1:
            return "left out", f"it numbers the rows, {low:.0f} to {high:.0f}"
    return None


def _as_number(column: Column, client: Column) -> Found:
    if not column.is_number or _code(column):
        return None
    low, high = min(column.numbers.values()), max(column.numbers.values())
    reason = f"numbers from {low:,g} to {high:,g}"
    if low < 0:
        reason += ", so its range is open below zero"
    elif column.all_whole and column.different <= 10:
        reason += f"; its {column.different} values are taken as steps of a scale, not as categories"
    if slips := [text for text in column.counts if text not in column.numbers]:
        reason += f"; rows in which it is no number ({quoted(slips[0])}) will be rejected"
    return "numeric", reason


def _code(column: Column) -> str:
    """Why numbers are names and not quantities, or ""."""
    if column.is_padded:
        return "its numbers begin with 0, so they are codes"
    if column.all_whole and column.last_word in CODES and not COUNTS & set(column.words):
        return f"numbers, but its name says codes ({column.last_word})"
    return ""


def _as_owner(column: Column, client: Column) -> Found:
    words = [word for word in column.words if word not in ("name", "id")]
    if not words or words[-1] not in OWNERS or {value.lower() for value in column.counts} <= YES | NO:
        return None
    if column.different > ID_LIKE_SHARE * client.different:
        return None
    return "owner", f"by its name it says whose client it is, one of {column.different:,}"


def _as_category(column: Column, client: Column) -> Found:
    if column.different > min(FEW, ID_LIKE_SHARE * client.different):
        return None
    code = _code(column) if column.is_number else ""
    return "categorical", f"{code or 'text'}, {column.different:,} value(s) such as {_examples(column)}"


def _as_text(column: Column, client: Column) -> Found:
    clean = {value: DECORATION.sub("", value) for value in column.counts}
    numbers = column.share(lambda value: NUMBER.fullmatch(clean[value]))
    if not column.is_number and numbers > ID_LIKE_SHARE:
        odd = next(value for value in column.counts if value not in column.numbers)
        return "carry", (
            f"most cells are numbers, but not all are written as one ({quoted(odd)}): write plain numbers, "
            "blank where unknown, and it can be numeric"
        )
    text = _code(column) if column.is_number else "text"
    return (
        "carry",
        f"{text or 'text'}, {column.different:,} values such as {_examples(column)}: too many to group by",
    )


ROLES: Sequence[Callable[[Column, Column], Found]] = (
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
    if column.different <= FEW:
        tests.append(_rates_of_others(rows))
    auc = max(map(_auc, tests))
    if auc <= LEAK_AUC:
        return None
    return (
        f"a possible leak: it alone tells who left (ROC AUC {auc:.3f}); add it to {role} only if it is known "
        "before they leave"
    )


def _rates_of_others(rows: Sequence[tuple[str, bool, int]]) -> list[tuple[float, bool]]:
    """For each row its value's rate of leaving among the other half of the clients, and its outcome."""
    seen = Counter((cell, half) for cell, _, half in rows)
    left = Counter((cell, half) for cell, told, half in rows if told)
    everywhere = left.total() / max(1, len(rows))

    def rate(cell: str, half: int) -> float:
        others = seen[cell, half]
        return left[cell, half] / others if others else everywhere

    return [(rate(cell, 1 - half), told) for cell, told, half in rows]


def _auc(rows: Sequence[tuple[float, bool]]) -> float:
    """ROC AUC of scores for their outcomes, turned so that it is at least 0.5; 0.5 for too few of a kind."""
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
    """The section as config.json has it (tuples for lists), and the reasons for value, owner and ranges."""
    named = {role: tuple(r.column for r in roles if r.role == role) for role in SAID}
    numbers = [column for column in columns if column.name in named["numeric"]]
    value, further = find_value(numbers)
    owner, *others = named["owner"] or (None,)
    section: dict[str, Any] = {"id": client.name}
    if outcome:
        section |= {"target": outcome.column.name, "left": outcome.left, "stayed": outcome.stayed}
    section |= {
        "numeric": named["numeric"],
        "categorical": (*named["categorical"], *others),
        "carry": named["carry"],
    }
    features = (*section["numeric"], *section["categorical"])
    section["words"] = {name: plain for name in features if (plain := plain_words(name))}
    section["ranges"] = {column.name: bounds for column in numbers if (bounds := possible_range(column))}
    return section | {"value": value, "owner": owner}, further


def find_value(numbers: Sequence[Column]) -> tuple[str | None, list[Reason]]:
    """The one number column whose name speaks best of what a client is worth a year, as a hint."""
    ranked: dict[int, list[Column]] = {}
    for column in numbers:
        if column.different > 2 and MONEY & set(column.words) and column.last_word in MONEY | TIMES:
            words = set(column.words)
            ranked.setdefault(2 if words & YEARLY else 0 if words & PARTIAL else 1, []).append(column)
    if not ranked:
        return None, []
    best = ranked[max(ranked)]
    if len(best) > 1:
        names = ", ".join(_shown(column.name) for column in best)
        return None, [Reason("", "value", f"No value is named, for {names} are as likely; name it by hand")]
    reason = "a hint only, by its name; it should be what a client is worth a year"
    if max(ranked) < 2:
        reason += ", and its name does not say yearly: the order of expected losses counts, not their sums"
    return best[0].name, [Reason(best[0].name, "value", reason)]


def possible_range(column: Column) -> tuple[float | None, float | None] | None:
    """From 0 where no negative was seen; beyond what the contract takes by itself, to a power of ten."""
    low, high = min(column.numbers.values()), max(column.numbers.values())
    lowest = 0 if low >= 0 else -_power_above(-low) if low < -LARGEST else None
    highest = _power_above(high) if high > LARGEST else None
    return None if lowest is None and highest is None else (lowest, highest)


def _power_above(number: float) -> float:
    power = 10.0 ** min(308, math.ceil(math.log10(number)))
    return max(power, number)


def checked(section: Mapping[str, Any], outcome: Outcome | None, datasets: Sequence[Dataset]) -> Reason:
    """What the section itself does to the rows it was inferred from."""
    contract = contracts.compiled(Clients.model_validate(section))
    judged: list[Judged] = [
        contracts.judge_dataset(contract, d, to_predict=outcome is None) for d in datasets
    ]
    rejected = {(r.dataset, r.line): r for one in judged for r in one.rejected}
    if not rejected:
        return Reason("", "check", "Every row that was looked at passes this section")
    first = next(iter(rejected.values()))
    return Reason(
        "",
        "check",
        f"This section rejects {len(rejected):,} of {sum(one.rows_read for one in judged):,} rows, the first in "
        f"line {first.line} of {first.dataset}: {first.problem.message}",
    )


def plain_words(name: str) -> str | None:
    """MonthlyCharges as monthly charges; None where the default, _ read as a space, is as good."""
    plain = " ".join(word if word.isupper() and len(word) > 1 else word.lower() for word in _words(name))
    return plain if plain and plain.casefold() != name.replace("_", " ").strip().casefold() else None


def _words(name: str) -> list[str]:
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    return [word for word in re.split(r"[\W_]+", apart) if word]


def _examples(column: Column) -> str:
    return ", ".join(quoted(value) for value, _ in column.counts.most_common(3))


def _shown(name: str) -> str:
    return name if name.isprintable() else repr(name)


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else json.dumps(value)


def _pasted(value: Any) -> str:
    """JSON on one line, or wrapped between the items of a list or an object."""
    if not isinstance(value, dict | tuple) or len(_json(value)) <= LINE - 20:
        return _json(value)
    pairs = isinstance(value, dict)
    items = [f"{_json(k)}: {_json(v)}" for k, v in value.items()] if pairs else [_json(v) for v in value]
    lines = [""]
    for at, item in enumerate(items):
        item += "," if at < len(items) - 1 else ""
        if lines[-1] and len(lines[-1]) + len(item) > LINE - 4:
            lines.append("")
        lines[-1] += f" {item}" if lines[-1] else item
    body = "\n".join(f"    {line}" for line in lines)
    return f"{'{' if pairs else '['}\n{body}\n  {'}' if pairs else ']'}"
