"""Small drawings of the web page as positions in percent of their width and height. Numbers in, numbers out.

A page may carry no style of its own on an element (its Content-Security-Policy), so bars and lines are SVG.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from attrition.keptlists import Stand
from attrition.trends import Course

# probabilities that an axis of log-odds may name
NAMED = (0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999)
# between two names of an axis, and around the outermost bars
ROOM, MARGIN = 14.0, 6.0
# a bar that would be too narrow to be seen
THIN = 0.6


@dataclass(frozen=True)
class Tick:
    at: float
    probability: float


@dataclass(frozen=True)
class Bar:
    """One step of a sum: it begins where the one before it ended."""

    at: float
    width: float
    start: float
    end: float


@dataclass(frozen=True)
class Waterfall:
    """From the typical client to this one, a bar for each reason; the axis is log-odds, named as risk."""

    ticks: Sequence[Tick]
    start: float
    bars: Sequence[Bar]
    end: float


@dataclass(frozen=True)
class Point:
    """`low` and `high` are the ends of its interval; heights are counted from the top."""

    x: float
    y: float
    low: float
    high: float


@dataclass(frozen=True)
class Curve:
    """Points, and the lines between those that may be compared."""

    points: Sequence[Point]
    lines: Sequence[tuple[Point, Point]]
    level: float | None = None


def waterfall(base: float, effects: Sequence[float]) -> Waterfall:
    """`base` and `effects` in log-odds; the bars are in the order of the effects."""
    stops = list(accumulate(effects, initial=base))
    low, high = min(stops), max(stops)
    low, high = (low - 0.5, high + 0.5) if high - low < 1 else (low, high)

    def at(value: float) -> float:
        return MARGIN + (100 - 2 * MARGIN) * (value - low) / (high - low)

    places = [at(stop) for stop in stops]
    bars = [Bar(min(one, other), max(abs(other - one), THIN), one, other) for one, other in pairwise(places)]
    return Waterfall(_ticks(at), places[0], bars, places[-1])


def _ticks(at: Callable[[float], float]) -> list[Tick]:
    """As many names as have room, those nearest to even odds first."""
    ticks: list[Tick] = []
    for probability in sorted(NAMED, key=lambda each: abs(each - 0.5)):
        place = at(math.log(probability / (1 - probability)))
        if MARGIN <= place <= 100 - MARGIN and all(abs(place - tick.at) >= ROOM for tick in ticks):
            ticks.append(Tick(place, probability))
    return sorted(ticks, key=lambda tick: tick.at)


def history(stands: Sequence[Stand]) -> Curve:
    """A client's risk from list to list, from 0 % to 100 %; no line leads from one model to another.

    The level is the threshold of the last list.
    """
    scored = [stand for stand in stands if stand.probability is not None]
    heights = [_down(stand.probability or 0.0, 0.0, 1.0) for stand in scored]
    points = [Point(x, y, y, y) for x, y in zip(_across(len(scored)), heights, strict=True)]
    lines = [
        (points[at], points[at + 1])
        for at, (one, other) in enumerate(pairwise(scored))
        if one.release == other.release
    ]
    return Curve(points, lines, _down(scored[-1].threshold, 0.0, 1.0) if scored else None)


def course(told: Course) -> Curve:
    """A figure over all runs, with its intervals, between the least and the greatest of all."""
    least, most = min(told.low), max(told.high)
    figures = zip(_across(len(told.values)), told.values, told.low, told.high, strict=True)
    points = [Point(x, *(_down(figure, least, most) for figure in three)) for x, *three in figures]
    return Curve(points, list(pairwise(points)))


def _across(count: int) -> list[float]:
    """Places of so many points from left to right; one alone stands in the middle."""
    return [MARGIN + (100 - 2 * MARGIN) * (at / (count - 1) if count > 1 else 0.5) for at in range(count)]


def _down(value: float, least: float, most: float) -> float:
    """The height of a value, from the top; in the middle where all are alike."""
    return MARGIN + (100 - 2 * MARGIN) * ((most - value) / (most - least) if most > least else 0.5)
