"""CSV as this pipeline writes it: numbers without noise, and text that no spreadsheet takes for a formula."""

import csv
import io
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TextIO

LONGEST_CELL = 1 << 30
_SPECIAL = re.compile('[,"\r\n]')
FORMULA_STARTS = frozenset("=+-@\t\r\0\uff1d\uff0b\uff0d\uff20")
ROWS_AT_ONCE = 1000


def read_rows(stream: TextIO) -> Iterator[list[str]]:
    """Rows that were written here: a cell may hold a whole rejected row, however long."""
    csv.field_size_limit(LONGEST_CELL)
    yield from csv.reader(stream)


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Rows that the pipeline reads again: text as it is."""
    stream = io.StringIO()
    write_rows(stream, [header])
    write_rows(stream, ([cell(value) for value in row] for row in rows))
    return stream.getvalue()


def write_rows(stream: TextIO, rows: Iterable[Sequence[str]]) -> None:
    """Rows of text as CSV lines."""
    waiting = iter(rows)
    while batch := list(islice(waiting, ROWS_AT_ONCE)):
        lines = io.StringIO()
        plain = csv.writer(lines, lineterminator="\n")
        plain.writerows(batch)
        if "\r" in (text := lines.getvalue()):
            # before Python 3.13 a lone carriage return would go unquoted, and break the row when it is read
            lines = io.StringIO()
            plain = csv.writer(lines, lineterminator="\n")
            quoted = csv.writer(lines, lineterminator="\n", quoting=csv.QUOTE_ALL)
            for row in batch:
                (quoted if "\r" in "".join(row) else plain).writerow(row)
            text = lines.getvalue()
        stream.write(text)


def export_text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Rows that people open in a spreadsheet: text is guarded against formula injection, numbers are not."""
    stream = io.StringIO()
    write_export(stream, header, rows)
    return stream.getvalue()


def export_columns(header: Sequence[str], columns: Sequence[Sequence[Any]]) -> str:
    """The same from whole columns, several times faster: each value of a column is made ready once."""
    return "\n".join([",".join(map(_quoted, header)), *_lines(columns), ""])


def export_more(columns: Sequence[Sequence[Any]]) -> str:
    """Further rows of the same columns, to come behind them."""
    return "\n".join([*_lines(columns), ""])


def _lines(columns: Sequence[Sequence[Any]]) -> Iterator[str]:
    ready = (map(_Ready().__getitem__, column) for column in columns)
    return map(",".join, zip(*ready, strict=True))


class _Ready(dict[Any, str]):
    """Values of one column as cells of a CSV line; 1 and 1.0 read alike, so they may share a place."""

    def __missing__(self, value: Any) -> str:
        text = self[value] = _quoted(guarded(value)) if isinstance(value, str) else cell(value)
        return text


def _quoted(text: str) -> str:
    return f'"{text.replace(chr(34), chr(34) * 2)}"' if _SPECIAL.search(text) else text


def write_export(stream: TextIO, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    write_rows(stream, [header])
    write_rows(stream, ([guarded(v) if isinstance(v, str) else cell(v) for v in row] for row in rows))


def guarded(text: str) -> str:
    return f"'{text}" if text[:1] in FORMULA_STARTS else text


def unguarded(text: str) -> str:
    """The text before it was guarded."""
    return text[1:] if text.startswith("'") and guarded(text[1:]) == text else text


def cell(value: Any) -> str:
    """A number reads back as the same number; a missing value is blank."""
    if value is None:
        return ""
    if isinstance(value, float):
        return number(value)
    return str(value)


def number(value: float) -> str:
    """Shortest text that reads back as this number: 3, not 3.0; blank for a missing value."""
    if math.isnan(value):
        return ""
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(float(value))
