"""What a test found, as a sentence for a person: which column, what it was, what it is, in which datasets."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from attrition.arrivals import Windows
from attrition.findings import Finding

# shares and ranks that changed this much are no mood of the clients: half of the rows, nearly all
HALF, NEARLY_ALL = 0.5, 0.8
# a ratio of medians this near to a power of ten, in decades
NEAR_POWER = 0.2


def of(
    profile: Mapping[str, Any],
    windows: Windows,
    finding: Finding,
    test: str,
    window: int,
    words: Mapping[str, str],
) -> str:
    """The sentence of one test in one window; `words` name columns to people."""
    told, where = finding.tests[test], f"in {windows.sources[window]}"
    now, effect = float(told.statistic[window]), float(told.effect[window])
    if finding.kind == "order":
        one, other = (profile["orders"][finding.place][side] for side in ("above", "below"))
        then = percent(now - effect)
        return (
            f"{words.get(one, one)} is above {words.get(other, other)} in {percent(now)} of rows {where}, "
            f"in training in {then}: does each column hold what its name says?"
        )
    word = words.get(finding.column, finding.column)
    known = profile["numbers" if finding.kind == "number" else "categories"][finding.column]
    broken = ": a broken feed?" if effect >= HALF else ""
    if test == "missing":
        then = percent(now - effect)
        return f"{word} is missing in {percent(now)} of rows {where}, in training in {then}{broken}"
    if test == "never seen":
        names = ", ".join(windows.strangers[window][finding.place])
        so = "rare or never seen" if known["rare"]["kinds"] else "never seen"
        return f"{word} has values {so} in training ({names}) in {percent(now)} of rows {where}"
    if test in ("above the range", "below the range"):
        side, end = test.split()[0], "max" if test.startswith("above") else "min"
        limit = f"{number(known[end])}, the {end}imum in training"
        return f"{word} is {side} {limit}, in {percent(now)} of rows {where}"
    if finding.kind == "category":
        return _moved_name(known, windows, finding, window, word, where)
    low, high = float(windows.low[window, finding.place]), float(windows.high[window, finding.place])
    if low == high and effect:
        return f"{word} is always {number(low)} {where}: a broken feed?"
    if test == "heap":
        value = _bin(known["points"], int(now))
        return f"{word} is {value} in {percent(effect)} of rows more than in training {where}{broken}"
    return _moved_median(known["median"], float(windows.medians[window, finding.place]), effect, word, where)


def percent(share: float) -> str:
    return f"{100 * share:.1f} %" if 0.0005 <= share < 0.1 else f"{max(0.0, 100 * share):.0f} %"


def number(value: float) -> str:
    """All digits of an integer, three of others: 1,204 and 0.0321."""
    if value == round(value) and abs(value) < 1e15:
        return f"{round(value):,}"
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e15 else f"{value:.3g}"


def _moved_median(then: float | None, now: float, effect: float, word: str, where: str) -> str:
    if then is None or np.isnan(now):
        return f"{word} has no values {where if then is not None else 'in training'}: nothing to compare"
    if then == now:
        return f"{word} is spread otherwise than in training around a median of {number(now)} {where}"
    moved = "rose" if now > then else "fell"
    return (
        f"{word} {moved} from a median of {number(then)} to {number(now)} {where}{_hint(then, now, effect)}"
    )


def _hint(then: float, now: float, effect: float) -> str:
    decades = np.log10(abs(now)) - np.log10(abs(then)) if then * now else 0.0
    if abs(effect) >= HALF and round(decades) and abs(decades - round(decades)) <= NEAR_POWER:
        factor = f"{10 ** abs(round(decades)):,} times {'as much' if decades > 0 else 'less'}"
        return f": about {factor}, another unit?"
    return ": a broken feed?" if abs(effect) >= NEARLY_ALL else ""


def _moved_name(
    known: Mapping[str, Any], windows: Windows, finding: Finding, window: int, word: str, where: str
) -> str:
    counts = windows.categories[finding.place][window]
    then = np.array([*known["counts"].values(), known["rare"]["rows"]]) / max(1, known["rows"])
    now = counts[:-1] / max(1, counts[:-1].sum())
    place = int(np.abs(now - then).argmax())
    name = [*known["counts"], "any rarer value"][place]
    moved = "rose" if now[place] > then[place] else "fell"
    return f"{word} {name} {moved} from {percent(then[place])} to {percent(now[place])} of rows {where}"


def _bin(points: list[float], place: int) -> str:
    if place % 2:
        return number(points[place // 2])
    if place == 0:
        return f"below {number(points[0])}"
    if place == 2 * len(points):
        return f"above {number(points[-1])}"
    return f"between {number(points[place // 2 - 1])} and {number(points[place // 2])}"
