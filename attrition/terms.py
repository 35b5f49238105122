"""Terms of a scorecard: what a column, or two, add to the log-odds. Needs only numpy.

Every effect is the difference to the typical client who stayed, who has none. A new kind is a class with the
methods of Line and a line in TERMS; attrition.scorecard describes how each stands in scorecard.json.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Codes = NDArray[np.intp]


@dataclass(frozen=True)
class Coded:
    """A table made ready: numbers as floats (NaN missing), categories as places among the known ones.

    A category that training never saw has the place after the last.
    """

    rows: int
    numbers: Mapping[str, Floats]
    categories: Mapping[str, Codes]
    _places: dict[int, Codes] = field(default_factory=dict)

    def places(self, axis: "Axis") -> Codes:
        """Place of each row on an axis; several terms may share one."""
        if id(axis) not in self._places:
            self._places[id(axis)] = axis.of_table(self)
        return self._places[id(axis)]


class Term(Protocol):
    """`of_row` and `of_table` give the effect, `shares` how its columns share it, shape (rows,) each."""

    @property
    def columns(self) -> tuple[str, ...]: ...

    def of_row(self, row: Mapping[str, Any]) -> float: ...

    def of_table(self, coded: Coded) -> Floats: ...

    def shares(self, coded: Coded) -> Sequence[Floats]: ...


def _log(value: float) -> float:
    return math.copysign(math.log1p(abs(value)), value)


def _logs(values: Floats) -> Floats:
    return np.copysign(np.log1p(np.abs(values)), values)


# how a number counts: for one value, and for a column
SCALES: dict[str, tuple[Callable[[float], float], Callable[[Floats], Floats]]] = {
    "linear": (lambda value: value, lambda values: values),
    "log": (_log, _logs),
}


@dataclass(frozen=True)
class Line:
    """Straight between points of the scaled value, level beyond the first and the last."""

    column: str
    scale: str
    points: tuple[float, ...]
    effects: tuple[float, ...]
    missing: float

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    @cached_property
    def _scaled(self) -> list[float]:
        return [SCALES[self.scale][0](point) for point in self.points]

    @cached_property
    def _slopes(self) -> list[float]:
        at, effects = self._scaled, self.effects
        return [(effects[i + 1] - effects[i]) / (at[i + 1] - at[i]) for i in range(len(at) - 1)]

    def of_row(self, row: Mapping[str, Any]) -> float:
        value = row[self.column]
        if value != value or not self.points:
            return self.missing
        if value <= self.points[0]:
            return self.effects[0]
        if value >= self.points[-1]:
            return self.effects[-1]
        place = bisect_right(self.points, value) - 1
        return (
            self.effects[place] + (SCALES[self.scale][0](value) - self._scaled[place]) * self._slopes[place]
        )

    def of_table(self, coded: Coded) -> Floats:
        values = coded.numbers[self.column]
        if not self.points:
            return np.full(coded.rows, self.missing)
        within = np.clip(values, self.points[0], self.points[-1])
        along = np.interp(SCALES[self.scale][1](within), self._scaled, self.effects)
        return np.where(np.isnan(values), self.missing, along)

    def shares(self, coded: Coded) -> Sequence[Floats]:
        return (self.of_table(coded),)


@dataclass(frozen=True)
class Cuts:
    """Places of a number: below the first cut 0, from each cut on one more; a missing one has the last."""

    column: str
    cuts: tuple[float, ...]

    @property
    def places(self) -> int:
        return len(self.cuts) + 2

    def of_value(self, value: float) -> int:
        return len(self.cuts) + 1 if value != value else bisect_right(self.cuts, value)

    def of_table(self, coded: Coded) -> Codes:
        values = coded.numbers[self.column]
        found = np.searchsorted(self._array, values, side="right")
        return np.where(np.isnan(values), len(self.cuts) + 1, found)

    @cached_property
    def _array(self) -> Floats:
        return np.array(self.cuts, dtype=float)


@dataclass(frozen=True)
class Kinds:
    """Places of a category: those listed, in any order; one that is not listed has the last."""

    column: str
    place_of: Mapping[str, int]
    known: tuple[str, ...]

    @property
    def places(self) -> int:
        return max(self.place_of.values(), default=-1) + 2

    def of_value(self, value: str) -> int:
        return self.place_of.get(value, self.places - 1)

    def of_table(self, coded: Coded) -> Codes:
        return self._by_code[coded.categories[self.column]]

    @cached_property
    def _by_code(self) -> Codes:
        return np.array([*(self.of_value(value) for value in self.known), self.places - 1], dtype=np.intp)


Axis = Cuts | Kinds


@dataclass(frozen=True)
class Steps:
    """An effect for each place of a column: steps of a number, or the kinds of a category."""

    axis: Axis
    effects: tuple[float, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.axis.column,)

    def of_row(self, row: Mapping[str, Any]) -> float:
        return self.effects[self.axis.of_value(row[self.axis.column])]

    def of_table(self, coded: Coded) -> Floats:
        effects: Floats = self._array[coded.places(self.axis)]
        return effects

    def shares(self, coded: Coded) -> Sequence[Floats]:
        return (self.of_table(coded),)

    @cached_property
    def _array(self) -> Floats:
        return np.array(self.effects, dtype=float)


@dataclass(frozen=True)
class Pair:
    """An effect for each two places of two columns; `typical` are those of the typical client who stayed.

    Each column's share is the mean of what it adds when it turns from typical first and when it turns last:
    its Shapley value.
    """

    one: Axis
    other: Axis
    grid: Floats
    typical: tuple[int, int]

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.one.column, self.other.column)

    def of_row(self, row: Mapping[str, Any]) -> float:
        one, other = self.one, self.other
        return self.nested[one.of_value(row[one.column])][other.of_value(row[other.column])]

    def of_table(self, coded: Coded) -> Floats:
        effects: Floats = self.grid[coded.places(self.one), coded.places(self.other)]
        return effects

    def shares(self, coded: Coded) -> Sequence[Floats]:
        at = coded.places(self.one), coded.places(self.other)
        return tuple(share[at] for share in self._shares)

    def shares_of_row(self, row: Mapping[str, Any]) -> Sequence[float]:
        one = self.one.of_value(row[self.one.column])
        other = self.other.of_value(row[self.other.column])
        mine, the_others = self.nested_shares
        return mine[one][other], the_others[one][other]

    @cached_property
    def nested_shares(self) -> tuple[list[list[float]], list[list[float]]]:
        mine, the_others = self._shares
        return mine.tolist(), the_others.tolist()

    @cached_property
    def nested(self) -> list[list[float]]:
        nested: list[list[float]] = self.grid.tolist()
        return nested

    @cached_property
    def _shares(self) -> tuple[Floats, Floats]:
        usual_one, usual_other = self.typical
        grid = self.grid
        first, last = grid[:, [usual_other]], grid - grid[[usual_one], :]
        mine = (first + last) / 2
        return mine, grid - mine


@dataclass(frozen=True)
class Ground:
    """What terms are read on: the known values of each category, the typical client, axes read already."""

    known: Mapping[str, Sequence[str]]
    typical: Mapping[str, Any]
    axes: dict[Any, Axis] = field(default_factory=dict)


def load(facts: Mapping[str, Any], ground: Ground) -> Term:
    """A term as it stands in scorecard.json; ValueError, TypeError or KeyError where it is damaged."""
    return TERMS[facts["kind"]](facts, ground)


def _line(facts: Mapping[str, Any], ground: Ground) -> Term:
    points, effects = numbers(facts["points"]), numbers(facts["effects"])
    if facts["scale"] not in SCALES:
        raise ValueError(f"unknown scale {facts['scale']!r}")
    if len(points) != len(effects) or list(points) != sorted(set(points)):
        raise ValueError("the points of a line must rise, and each have an effect")
    if facts["column"] in ground.known or facts["column"] not in ground.typical:
        raise ValueError(f"{facts['column']!r} is no number column")
    return Line(facts["column"], facts["scale"], points, effects, number(facts["missing"]))


def _steps(facts: Mapping[str, Any], ground: Ground) -> Term:
    axis, effects = _axis(facts, ground), numbers(facts["effects"])
    if len(effects) != axis.places:
        raise ValueError(f"{len(effects)} effects for {axis.places} places of {axis.column!r}")
    return Steps(axis, effects)


def _pair(facts: Mapping[str, Any], ground: Ground) -> Term:
    one, other = (_axis(axis, ground) for axis in facts["axes"])
    grid = [numbers(row) for row in facts["effects"]]
    if len(grid) != one.places or any(len(row) != other.places for row in grid):
        raise ValueError(f"the effects of {one.column!r} and {other.column!r} do not fit their places")
    usual = (one.of_value(ground.typical[one.column]), other.of_value(ground.typical[other.column]))
    return Pair(one, other, np.array(grid, dtype=float), usual)


TERMS: dict[str, Callable[[Mapping[str, Any], Ground], Term]] = {
    "line": _line,
    "steps": _steps,
    "pair": _pair,
}


def _axis(facts: Mapping[str, Any], ground: Ground) -> Axis:
    """The same axis is the same object, so that its places are looked up once a table."""
    read = _read_axis(facts, ground)
    key = read.column, tuple(read.cuts if isinstance(read, Cuts) else read.place_of.items())
    return ground.axes.setdefault(key, read)


def _read_axis(facts: Mapping[str, Any], ground: Ground) -> Axis:
    column, known, typical = facts["column"], ground.known, ground.typical
    if column in known:
        places = {text(value): place for value, place in facts["places"].items()}
        if not all(type(place) is int and 0 <= place < 1_000_000 for place in places.values()):
            raise ValueError(f"the places of {column!r} are no places")
        return Kinds(column, places, tuple(known[column]))
    if column not in typical:
        raise ValueError(f"{column!r} is no column of this scorecard")
    cuts = numbers(facts["cuts"])
    if list(cuts) != sorted(set(cuts)):
        raise ValueError(f"the cuts of {column!r} must rise")
    return Cuts(column, cuts)


def number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no finite number")
    return float(value)


def numbers(values: Any) -> tuple[float, ...]:
    if not isinstance(values, list):
        raise ValueError(f"{values!r:.40} is no list of numbers")
    return tuple([number(value) for value in values])


def text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")
    return value
