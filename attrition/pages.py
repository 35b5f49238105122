"""Facts to HTML: the report, one file that works offline, on a phone, on paper, in the dark; the web page.

A page draws what it is given, and no other figure. All share style.css; those of attrition.site add site.css.
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
SITE_STYLES = ("style.css", "site.css")
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
        style=style("style.css"),
        script=script(),
        script_source=script_source(),
        most_lines=MOST_LINES,
        longest=LONGEST_SENTENCE,
    )
    # a file name need not be UTF-8: what cannot be encoded becomes a question mark
    return page.encode("utf-8", "replace")


def page(template: str, facts: Mapping[str, Any]) -> bytes:
    """A page of the server, with its style inside: what it may load is nothing."""
    return _template(template).render(**facts, style=style(*SITE_STYLES)).encode("utf-8", "replace")


@cache
def style(*names: str) -> str:
    return "\n" + "".join((TEMPLATES / name).read_text("utf-8") for name in names)


def style_source() -> str:
    """The one style that a page of the server may use, as a Content-Security-Policy names it."""
    return _source(style(*SITE_STYLES))


@cache
def script() -> str:
    """What sorts and filters the tables of the page."""
    return (TEMPLATES / "report.js").read_text("utf-8")


def script_source() -> str:
    """The one script that a page may run, as a Content-Security-Policy names it."""
    return _source(script())


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


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
        "signed": signed,
        "figure": figure,
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


def signed(value: float) -> str:
    """An effect in log-odds."""
    return f"{value:+.2f}"


def figure(value: Any, digits: int = 4) -> str:
    """A client's own value, or any figure: as many digits as a person compares; text as it is."""
    if value is None or isinstance(value, str):
        return value or "missing"
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 1000 else f"{value:.{digits}g}"


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
