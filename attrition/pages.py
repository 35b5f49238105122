"""Facts to HTML: one self-contained file that works offline, on a phone, on paper, in the dark.

The page draws what it is given; what is worth a person's attention is decided by who calls.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrition import changes, risklist, trends
from attrition.keptlists import KeptList
from attrition.lookback import LookBack
from attrition.plots import Picture
from attrition.risklist import Entry
from attrition.settings import Clients, Risk

if TYPE_CHECKING:
    from jinja2 import Template

TEMPLATES = Path(__file__).parent / "templates"
# a cell can hold 131,072 characters, a team of owners thousands of clients: the page stays below a megabyte
LONGEST_TEXT = 120
LONGEST_SENTENCE = 300
MOST_LINES = 60
MOST_DATASETS = 50
MOST_CHANGED = 10
MOST_RUNS = 12
MOST_CLIENTS = (250, 100, 25, 5)
LARGEST_PAGE = 1_000_000
# below this many leavers a score says little: outputs.md
FEW_LEAVERS = 100

FIGURES = {
    "f1": ("F1", "Precision and recall in one: 1 is perfect, 0 is useless. No skill: everybody is flagged."),
    "precision": ("Precision", "Of the clients flagged, the share that left. No skill: flag at random."),
    "recall": (
        "Recall",
        "Of the clients who left, the share that was flagged. No skill: flag as many at random.",
    ),
    "roc_auc": (
        "ROC AUC",
        "How often a leaver has a higher probability than a stayer: 1 is always, 0.5 is a coin.",
    ),
    "pr_auc": (
        "PR AUC",
        "Precision averaged over all thresholds: 1 is perfect, no skill is the share of leavers.",
    ),
    "log_loss": (
        "Log loss",
        "How surprising the outcomes are under the probabilities: lower is better, 0 is perfect.",
    ),
    "brier": ("Brier score", "Mean squared error of the probabilities: lower is better, 0 is perfect."),
}
STATUS_WORDS = {
    "newly_at_risk": "newly at risk",
    "risen": "risen",
    "recovered": "recovered",
    "new": "new on the list",
    "not_scored": "not scored",
}
# the most urgent first
LEVELS = ("act", "look", "ok")
LOWER_IS_BETTER = ("log_loss", "brier")
# said once above the list, not on each of its lines
HIGHER_RISK, LOWER_RISK = "; associated with higher risk", "; associated with lower risk"


@dataclass(frozen=True)
class Finding:
    """What a person should know at once: how urgent, what, and the command to go on with."""

    level: str
    sentence: str
    command: str = ""


@dataclass(frozen=True)
class Facts:
    """What the report is about; times are texts in UTC."""

    run: str
    at: str
    practice: bool
    config_file: str
    clients: Clients
    risk: Risk
    release: Mapping[str, Any]
    model: Mapping[str, Any]
    scores: Mapping[str, Any]
    bands: Mapping[str, float]
    newest_model: str
    generation: Mapping[str, Any]
    datasets: Sequence[Mapping[str, Any]]
    past: trends.Past
    trend: Picture | None
    course: Picture | None
    rejections: trends.Rejections
    diagnostics: Mapping[str, Any] | None
    entries: Sequence[Entry]
    short: Sequence[Entry]
    gone: int
    before: KeptList | None
    look_back: LookBack
    kept_list: bytes
    pictures: Sequence[Picture]
    importance: Picture | None
    shapes: Sequence[Picture]
    findings: Sequence[Finding]
    commands: Sequence[tuple[str, str]]
    default_command: str
    diagnose_command: str


@dataclass(frozen=True)
class Group:
    """The part of the short list that one person works on."""

    owner: str
    shown: Sequence[Entry]
    of: int
    at_risk: int
    stake: risklist.Stake


def report(facts: Facts) -> bytes:
    """report.html, with as many clients of the short list as its size allows."""
    for most in MOST_CLIENTS:
        # a file name need not be UTF-8: what cannot be encoded becomes a question mark
        page = _render(facts, most).encode("utf-8", "replace")
        if len(page) <= LARGEST_PAGE:
            break
    return page


def _render(facts: Facts, most_clients: int) -> str:
    listed = [entry for entry in facts.entries if entry.probability is not None]
    short = facts.short
    return _template("report.html").render(
        facts=facts,
        listed=listed,
        short=short,
        shown=short[:most_clients],
        groups=_groups(listed, short[:most_clients]),
        stakes=risklist.stakes(listed),
        at_risk=sum(entry.at_risk for entry in listed),
        not_scored=[entry for entry in facts.entries if entry.probability is None],
        changed=risklist.changed(facts.entries),
        new_model=changes.NEW_MODEL if _is_another_model(facts) else "",
        status_words=STATUS_WORDS,
        most_changed=MOST_CHANGED,
        most_runs=MOST_RUNS,
        level=_level(facts.findings),
        next_command=next((f.command for f in facts.findings if f.command), facts.default_command),
        bands=facts.bands,
        packages=_packages(facts.diagnostics),
        datasets=_datasets(facts.datasets, facts.past),
        figures=FIGURES,
        tells=tells,
        known=known,
        few_leavers=FEW_LEAVERS,
        most_lines=MOST_LINES,
        longest=LONGEST_SENTENCE,
    )


def _is_another_model(facts: Facts) -> bool:
    return facts.before is not None and facts.before.release != facts.release["id"]


def known(figure: Mapping[str, Any] | None) -> bool:
    """Whether a figure could be told from the rows it was computed on."""
    return figure is not None and figure["value"] is not None


def tells(name: str, figure: Mapping[str, Any]) -> str:
    """What the interval of a figure says against its no-skill baseline; "" where there is neither."""
    low, high, no_skill = figure.get("low"), figure.get("high"), figure.get("no_skill")
    if low is None or high is None or no_skill is None:
        return ""
    better, worse = low > no_skill, high < no_skill
    if name in LOWER_IS_BETTER:
        better, worse = worse, better
    if better:
        return "better than no skill"
    return "worse than no skill" if worse else "not told apart from no skill"


def _level(findings: Sequence[Finding]) -> str:
    levels = {finding.level for finding in findings}
    return next(level for level in LEVELS if level in {*levels, "ok"})


def _groups(listed: Sequence[Entry], shown: Sequence[Entry]) -> list[Group]:
    """The short list by owner, the owner of the most urgent client first."""
    of = Counter(entry.owner for entry in listed)
    at_risk = Counter(entry.owner for entry in listed if entry.at_risk)
    own: dict[str, list[Entry]] = {}
    for entry in shown:
        own.setdefault(entry.owner, []).append(entry)
    return [
        Group(owner, entries, of[owner], at_risk[owner], risklist.stake(entries))
        for owner, entries in own.items()
    ]


def _datasets(datasets: Sequence[Mapping[str, Any]], past: trends.Past) -> list[Mapping[str, Any]]:
    """The datasets that were read last and the last ones that were set aside, in the order they came in."""
    by_age = sorted(datasets, key=lambda dataset: past.places.get(dataset["name"], -1))
    set_aside = [dataset for dataset in by_age if dataset["status"] == "rejected"]
    shown = {dataset["name"] for dataset in (*by_age[-MOST_DATASETS:], *set_aside[-MOST_DATASETS:])}
    return [dataset for dataset in datasets if dataset["name"] in shown]


def _packages(diagnostics: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """The packages that a person chose, and those of the others that ask for attention."""
    listed = diagnostics["packages"]["packages"] if diagnostics else []
    return [
        package
        for package in listed
        if package["direct"]
        or package["outdated"]
        or package["vulnerabilities"]
        or (package["needed_here"] and package["installed"] != package["required"])
    ]


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
        "seconds": seconds,
        "size": size,
        "brief": brief,
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


def brief(reason: str) -> str:
    return reason.removesuffix(HIGHER_RISK).removesuffix(LOWER_RISK)


def time(text: str | None) -> str:
    """2026-03-01T06:00:02Z as 2026-03-01 06:00 UTC."""
    return f"{text[:10]} {text[11:16]} UTC" if text else "–"


def age(text: str | None, now: str) -> str:
    """How long ago, in the greatest unit that says something."""
    if not text:
        return "–"
    minutes = (datetime.fromisoformat(now) - datetime.fromisoformat(text)).total_seconds() / 60
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
