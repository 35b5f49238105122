"""CSV as this pipeline writes it: numbers without noise, and text that no spreadsheet takes for a formula."""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from typing import Any

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\0", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Rows that the pipeline reads again: text as it is."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([cell(value) for value in row] for row in rows)
    return stream.getvalue()


def export_text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Rows that people open in a spreadsheet: text is guarded against formula injection, numbers are not."""
    return csv_text(
        header, ([guarded(value) if isinstance(value, str) else value for value in row] for row in rows)
    )


def guarded(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


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
