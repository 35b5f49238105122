"""What to do about a client, and by when: a table that the team edits.

plays.csv, one line for each case: the strongest reason (a column's name, or `default` for every other
reason and for a client without one), the band (high, medium, low or any), the action, and within how
many days. The line of the very band goes before that of any; a reason without a line falls back to
the default ones.
"""

import csv
import hashlib
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path

from attrition.errors import ConfigError

BANDS = ("high", "medium", "low")
ANY, DEFAULT = "any", "default"
COLUMNS = ("reason", "band", "action", "days")
MOST_DAYS = 366
BUILT_IN = """\
reason,band,action,days
default,high,Call the client and ask what has changed,7
default,medium,Speak about the leading reason at the next contact,30
default,low,Keep the usual rhythm of contact,90
"""


@dataclass(frozen=True)
class Play:
    action: str
    days: int

    def due(self, today: date, before: date | None) -> date:
        """By when: a date once given holds until it has passed, else each new list would put it off."""
        if before is not None and before >= today:
            return before
        return date.fromordinal(today.toordinal() + self.days)


@dataclass(frozen=True)
class Plays:
    """The plays by reason and band."""

    lines: Mapping[tuple[str, str], Play]

    def of(self, reason: str, band: str) -> Play:
        """The play for the strongest reason ("": there is none) of a client in this band."""
        found = self._found.get((reason, band))
        if found is None:
            cases = ((reason, band), (reason, ANY), (DEFAULT, band), (DEFAULT, ANY))
            found = next(self.lines[case] for case in cases if case in self.lines)
            self._found[reason, band] = found
        return found

    @cached_property
    def _found(self) -> dict[tuple[str, str], Play]:
        return {}

    @property
    def reasons(self) -> list[str]:
        """The columns that have a line of their own."""
        return list(dict.fromkeys(reason for reason, _ in self.lines if reason != DEFAULT))


def load(place: Path | None) -> Plays:
    """The team's table, or the built-in one; ConfigError with every fault of it at once."""
    if place is None:
        return Plays(_lines(BUILT_IN))
    next_step = "Correct it, or set risk.plays in config.json to null."
    try:
        text = place.read_bytes().decode("utf-8-sig")
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise ConfigError(f"{place}: risk.plays names this file, and it is not there. {next_step}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{place}: this is not UTF-8 text. {next_step}") from None
    if found := list(_faults(text)):
        told = "\n".join(f"  {fault}" for fault in found)
        raise ConfigError(f"{place}: {len(found)} fault(s). {next_step}\n{told}")
    return Plays(_lines(text))


def fingerprint(place: Path | None) -> str:
    """Of a sound table; "" of the built-in one. ConfigError as in `load`."""
    load(place)
    return hashlib.sha256(place.read_bytes()).hexdigest() if place else ""


def _lines(text: str) -> dict[tuple[str, str], Play]:
    rows = [row for _, row in _rows(text)]
    return {(row["reason"], row["band"]): Play(row["action"], int(row["days"])) for row in rows}


def _rows(text: str) -> Iterator[tuple[int, dict[str, str]]]:
    """The number of each line with its cells by column, trimmed; blank lines are passed over."""
    reader = csv.reader(io.StringIO(text), strict=True)
    header = [cell.strip() for cell in next(reader, [])]
    for cells in reader:
        if any(cell.strip() for cell in cells):
            yield reader.line_num, dict(zip(header, (cell.strip() for cell in cells), strict=True))


def _faults(text: str) -> Iterator[str]:
    header = [cell.strip() for cell in next(csv.reader(io.StringIO(text)), [])]
    if missing := [column for column in COLUMNS if column not in header]:
        yield f"line 1: it has no column {', '.join(missing)}; it must have {', '.join(COLUMNS)}."
        return
    if twice := [column for column, count in Counter(header).items() if count > 1]:
        yield f"line 1: the column {', '.join(twice)} stands twice."
        return
    try:
        rows = list(_rows(text))
    except (csv.Error, ValueError) as fault:
        yield f"a line has not as many cells as the first, or a quote is never closed ({fault})."
        return
    seen: set[tuple[str, str]] = set()
    for line, row in rows:
        yield from (f"line {line}: {fault}." for fault in _faults_of(row, seen))
        seen.add((row["reason"], row["band"]))
    if lacking := _without_default(seen):
        yield f"no line has the reason {DEFAULT} for the band {', '.join(lacking)} (or for {ANY})."


def _faults_of(row: Mapping[str, str], seen: set[tuple[str, str]]) -> Iterator[str]:
    if not row["reason"]:
        yield f"reason is blank: name a column, or {DEFAULT}"
    if row["band"] not in (*BANDS, ANY):
        yield f"the band {row['band']!r} is none of {', '.join((*BANDS, ANY))}"
    if not row["action"]:
        yield "action is blank"
    if not re.fullmatch("[0-9]{1,3}", row["days"]) or int(row["days"]) > MOST_DAYS:
        yield f"days is {row['days']!r}, which is no whole number from 0 to {MOST_DAYS}"
    if (row["reason"], row["band"]) in seen:
        yield f"there is a line for {row['reason']} and {row['band']} already"


def _without_default(seen: set[tuple[str, str]]) -> Sequence[str]:
    return [band for band in BANDS if not {(DEFAULT, band), (DEFAULT, ANY)} & seen]
