"""Runs as sums by stage and day, later by month: all that trends need of history lines that are gone.

    whole = chronicle.joined(chronicle.of(older_lines), chronicle.of(newer_lines))
    points = chronicle.course(whole, "scoring", "f1")

Counts, milliseconds and extremes of joined parts are exactly those of the whole. Quantiles come from
a sketch.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

IDLE = "nothing to do"
FINISHED = ("done", IDLE, "refused")
DAYS = 92
DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
UNDATED = "undated"
# a quantile of seconds is within 2 % of a run's
PRECISION = 0.02
GROWTH = (1 + PRECISION) / (1 - PRECISION)

_INTERVAL = ("value", "low", "high")
# the facts of a line whose course is kept, by stage; a dot leads into an object
FOLLOWED: Mapping[str, Sequence[str]] = {
    "ingestion": ("rows_total", "rows_added", "rows_rejected"),
    "scoring": ("f1", "f1_low", "f1_high", "roc_auc", "log_loss", "brier"),
    "diagnostics": ("rows", "missing.percent", "missing.worst_percent"),
    "reporting": ("bands.high", "bands.medium", "bands.low", "expected_loss"),
    "fullprocess": tuple(
        f"live_score.figures.{name}.{end}" for name in ("f1", "log_loss") for end in _INTERVAL
    ),
}


@dataclass(frozen=True)
class Spread:
    """Values of one figure: how many, their sum and extremes, and the last one."""

    count: int
    total: float
    least: float
    most: float
    last: float

    @property
    def mean(self) -> float:
        return self.total / self.count

    def __add__(self, later: "Spread") -> "Spread":
        least, most = min(self.least, later.least), max(self.most, later.most)
        return Spread(self.count + later.count, self.total + later.total, least, most, later.last)


@dataclass(frozen=True)
class Tally:
    """Runs of one stage: how often each status, and of those that did work the milliseconds and figures.

    `sketch` counts the milliseconds by powers of GROWTH.
    """

    statuses: Mapping[str, int] = field(default_factory=dict)
    milliseconds: Spread | None = None
    sketch: Mapping[int, int] = field(default_factory=dict)
    figures: Mapping[str, Spread] = field(default_factory=dict)

    def __add__(self, later: "Tally") -> "Tally":
        return Tally(
            dict(Counter(self.statuses) + Counter(later.statuses)),
            _sum(self.milliseconds, later.milliseconds),
            dict(Counter(self.sketch) + Counter(later.sketch)),
            _merged(self.figures, later.figures),
        )

    @property
    def runs(self) -> int:
        """Finished runs that had work to do."""
        return self.milliseconds.count if self.milliseconds else 0

    @property
    def idle(self) -> int:
        return self.statuses.get(IDLE, 0)

    @property
    def failures(self) -> int:
        return sum(count for status, count in self.statuses.items() if status not in FINISHED)

    def quantile(self, share: float) -> float | None:
        """Seconds by nearest rank, within PRECISION of the exact value; None without runs.

        Masson, Rim and Lee (2019), DDSketch: a fast and fully-mergeable quantile sketch, VLDB 12(12).
        """
        if self.milliseconds is None:
            return None
        rank, seen = math.ceil(share * self.runs), 0
        for key in sorted(self.sketch):
            seen += self.sketch[key]
            if seen >= rank:
                break
        middle = 2 * GROWTH**key / (GROWTH + 1)
        return min(max(middle, self.milliseconds.least), self.milliseconds.most) / 1000


@dataclass(frozen=True)
class Chronicle:
    """Tallies by period ("2026-03-01", "2026-02", "undated") and stage."""

    periods: Mapping[str, Mapping[str, Tally]] = field(default_factory=dict)

    @property
    def stages(self) -> dict[str, Tally]:
        """Each stage over all periods."""
        found: dict[str, Tally] = {}
        for period in sorted(self.periods):
            found = _merged(found, self.periods[period])
        return found


@dataclass(frozen=True)
class Point:
    """One figure over the runs of one period."""

    period: str
    spread: Spread


def of(lines: Iterable[Mapping[str, Any]]) -> Chronicle:
    """History lines, in their order, as sums by day."""
    found: dict[str, dict[str, list[Mapping[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for line in lines:
        day = line["started"][:10]
        found[day if DAY.fullmatch(day) else UNDATED][line["stage"]].append(line)
    return Chronicle(
        {period: {stage: tally(runs) for stage, runs in stages.items()} for period, stages in found.items()}
    )


def tally(runs: Iterable[Mapping[str, Any]]) -> Tally:
    """Lines of one stage, in their order."""
    listed = list(runs)
    worked = [run for run in listed if run["status"] in FINISHED and run["status"] != IDLE]
    # whole milliseconds: their sums are exact in any order
    taken = [round(1000 * run["seconds"]) for run in worked]
    followed = FOLLOWED.get(listed[0]["stage"], ()) if listed else ()
    figures = {
        name: spread
        for name in followed
        if (spread := _spread([value for run in worked if (value := _figure(run, name)) is not None]))
    }
    statuses = dict(Counter(run["status"] for run in listed))
    return Tally(statuses, _spread(taken), dict(Counter(map(_key, taken))), figures)


def joined(earlier: Chronicle, later: Chronicle) -> Chronicle:
    return Chronicle(_merged(earlier.periods, later.periods, _merged))


def coarsened(chronicle: Chronicle, days: int = DAYS) -> Chronicle:
    """The months of the newest so many days as they are, those before as one each; only the grain is lost.

    Days that have runs are counted, whatever the clock says today.
    """
    dated = sorted(period for period in chronicle.periods if DAY.fullmatch(period))
    old = [day for day in dated if day[:7] < dated[-days:][0][:7]]
    kept = Chronicle({period: stages for period, stages in chronicle.periods.items() if period not in old})
    months = (Chronicle({day[:7]: chronicle.periods[day]}) for day in old)
    return reduce(joined, months, kept)


def course(chronicle: Chronicle, stage: str, figure: str) -> list[Point]:
    """A figure named in FOLLOWED, period by period, the oldest first; a month before its days."""
    return [
        Point(period, stages[stage].figures[figure])
        for period, stages in _in_time(chronicle)
        if stage in stages and figure in stages[stage].figures
    ]


def durations(chronicle: Chronicle, stage: str) -> list[Point]:
    """Milliseconds of the stage's runs that did work, period by period."""
    return [
        Point(period, spread)
        for period, stages in _in_time(chronicle)
        if stage in stages and (spread := stages[stage].milliseconds)
    ]


def as_facts(chronicle: Chronicle) -> dict[str, Any]:
    """For JSON; `from_facts` gives back an equal chronicle."""
    return {
        period: {stage: _tally_facts(tally) for stage, tally in chronicle.periods[period].items()}
        for period in sorted(chronicle.periods)
    }


def from_facts(facts: Mapping[str, Any]) -> Chronicle:
    """Raises ValueError where these are no facts of a chronicle."""
    try:
        return Chronicle(
            {
                period: {stage: _tally_of(told) for stage, told in stages.items()}
                for period, stages in facts.items()
            }
        )
    except (AttributeError, KeyError, TypeError, ValueError) as fault:
        raise ValueError(f"these are no sums of runs ({fault!r})") from None


def _in_time(chronicle: Chronicle) -> Iterator[tuple[str, Mapping[str, Tally]]]:
    return ((period, chronicle.periods[period]) for period in sorted(chronicle.periods) if period != UNDATED)


def _figure(run: Mapping[str, Any], name: str) -> float | None:
    found: Any = run.get("facts")
    for key in name.split("."):
        found = found.get(key) if isinstance(found, dict) else None
    return found if is_number(found) else None


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _key(milliseconds: int) -> int:
    return math.ceil(math.log(milliseconds, GROWTH)) if milliseconds > 1 else 0


def _spread(values: Sequence[float]) -> Spread | None:
    if not values:
        return None
    return Spread(len(values), sum(values), min(values), max(values), values[-1])


def _sum(earlier: Any, later: Any) -> Any:
    if earlier is None or later is None:
        return later if earlier is None else earlier
    return earlier + later


def _merged(earlier: Mapping[str, Any], later: Mapping[str, Any], merge: Any = _sum) -> dict[str, Any]:
    both = {key: merge(earlier[key], later[key]) for key in earlier.keys() & later.keys()}
    return {**earlier, **later, **both}


def _tally_facts(tally: Tally) -> dict[str, Any]:
    return {
        "statuses": dict(tally.statuses),
        "milliseconds": _spread_facts(tally.milliseconds) if tally.milliseconds else None,
        "sketch": [[key, tally.sketch[key]] for key in sorted(tally.sketch)],
        "figures": {name: _spread_facts(spread) for name, spread in tally.figures.items()},
    }


def _tally_of(facts: Mapping[str, Any]) -> Tally:
    statuses, sketch = dict(facts["statuses"]), dict(facts["sketch"])
    figures = {name: _spread_of(told) for name, told in facts["figures"].items()}
    milliseconds = facts["milliseconds"]
    timed = None if milliseconds is None else _spread_of(milliseconds)
    if not all(isinstance(count, int) for count in (*statuses.values(), *sketch, *sketch.values())):
        raise ValueError("a count is no whole number")
    if sum(sketch.values()) != (timed.count if timed else 0):
        raise ValueError("the sketch is not of these runs")
    return Tally(statuses, timed, sketch, figures)


def _spread_facts(spread: Spread) -> list[float]:
    return [spread.count, spread.total, spread.least, spread.most, spread.last]


def _spread_of(facts: Sequence[Any]) -> Spread:
    if len(facts) != 5 or not all(map(is_number, facts)) or facts[0] < 1:
        raise ValueError("a sum is damaged")
    return Spread(*facts)
