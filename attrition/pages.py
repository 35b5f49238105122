"""The sections of the report to HTML: one file that works offline, on a phone, on paper, in the dark.

The page draws what it is given, attrition.sections, and no other figure.
"""

import base64
import hashlib
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrition.plots import Picture

if TYPE_CHECKING:
    from jinja2 import Template

TEMPLATES = Path(__file__).parent / "templates"
# a cell can hold 131,072 characters, a team of owners thousands of clients: the page stays below a megabyte
LONGEST_TEXT = 120
LONGEST_SENTENCE = 300
MOST_LINES = 60
LARGEST_PAGE = 1_000_000


def report(told: Mapping[str, Any], pictures: Mapping[str, Picture]) -> bytes:
    """report.html, of the sections as attrition.sections tells them, and the pictures by name."""
    page = _template("report.html").render(
        **told,
        pictures=pictures,
        script=script(),
        script_source=script_source(),
        most_lines=MOST_LINES,
        longest=LONGEST_SENTENCE,
    )
    # a file name need not be UTF-8: what cannot be encoded becomes a question mark
    return page.encode("utf-8", "replace")


@cache
def script() -> str:
    """What sorts and filters the tables of the page."""
    return (TEMPLATES / "report.js").read_text("utf-8")


def script_source() -> str:
    """The one script that a page may run, as a Content-Security-Policy names it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script().encode()).digest()).decode()}'"


@cache
def _template(name: str) -> "Template":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "number": number,
        "amount": amount,
        "count": count,
        "seconds": seconds,
        "size": size,
        "time": time,
        "age": age,
        "short": short,
        "plural": plural,
        "initial": initial,
        "points": points,
    }
    return environment.get_template(name)


def percent(share: float | None) -> str:
    """A probability as people read it; never 0% or 100% where it is not exactly that."""
    if share is None:
        return "–"
    if 0 < share < 0.01:
        return "<1%"
    if 0.99 < share < 1:
        return ">99%"
    return f"{100 * share:.0f}%"


def points(value: float | None) -> str:
    """A change in percentage points, with its sign; "" where there is none to see."""
    return "" if value is None or abs(value) < 0.5 else f"{value:+.0f} points"


def number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def amount(value: float | None) -> str:
    """A sum of money without its currency, which nobody has told us."""
    return "–" if value is None or not math.isfinite(value) else f"{value:,.0f}"


def count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def seconds(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f} s" if value >= 100 else f"{value:.2g} s" if value >= 0.01 else "<0.01 s"


def size(count: int) -> str:
    """Bytes in the unit of a thousand in which they are read at a glance."""
    for power, unit in ((3, "GB"), (2, "MB"), (1, "kB")):
        # what would be rounded up to 1,000 of a unit is one of the next
        if count >= 999.5 * 1000 ** (power - 1):
            scaled = count / 1000**power
            return f"{scaled:.1f} {unit}" if scaled < 9.95 else f"{scaled:,.0f} {unit}"
    return f"{count} B"


def time(text: str | None) -> str:
    """2026-03-01T06:00:02Z as 2026-03-01 06:00 UTC."""
    return f"{text[:10]} {text[11:16]} UTC" if text else "–"


def age(minutes: float | None) -> str:
    """How long ago, in the greatest unit that says something."""
    if minutes is None:
        return "–"
    for unit, size in (("day", 1440), ("hour", 60), ("minute", 1)):
        if minutes >= 2 * size or (unit == "minute" and minutes >= 1):
            return f"{plural(int(minutes / size), unit)} ago"
    return "just now"


def short(text: Any, longest: int = LONGEST_TEXT) -> str:
    """A text that others wrote, cut to a length that no page is spoilt by."""
    whole = str(text)
    return whole if len(whole) <= longest else whole[: longest - 1] + "…"


def plural(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def initial(text: str) -> str:
    """A heading's first letter is a capital; the others stay as they were written."""
    return text[:1].upper() + text[1:]
