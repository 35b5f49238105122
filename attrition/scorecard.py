"""A trained model as plain numbers: score and explain without pickle, in microseconds, with numpy alone.

scorecard.json, version 2; effects are in log-odds; in a row a missing number is NaN, a missing category "":

    format, version   "attrition-scorecard", 2
    model             name of the candidate that won
    threshold         {"value": 0.41, "from": "f1"}: who is predicted to leave: from this probability on
    bands             {"high": 0.6, "medium": 0.3}: who is in the band: from this probability on
    base              log-odds of the typical client who stayed: medians of numbers, modes of categories
    columns           one for each column the model reads
      number          {"kind", "column", "words", "typical" (null: missing), "low", "high"}: the range in
                      training, null: never seen
      category        {"kind", "column", "words", "typical", "known"} (the values that training saw)
    groups            lists of number columns that rise and fall together: where their effects contradict
                      each other in a row, the strongest of them stands for all
    terms             an effect is the difference to the typical client who stayed
      line            {"kind", "column", "scale" (linear, log), "points", "effects", "missing"}: straight
                      between the points of the scaled value, level beyond them
      steps           {"kind", "column", "cuts", "effects"}: of a number below the first cut, from each cut
                      on, and last of a missing one; {"kind", "column", "places" {value: place}, "effects"}:
                      of a category by place, and last of an unseen one
      pair            {"kind", "axes": [axis, axis], "effects" [[...]]}: as two steps at once
    trees             null, or {"conditions", "splits", "left", "right", "values"}; their effect is the sum of
                      the trees' values less that of the typical client
      conditions      one list of questions a column: {"column", "below" (yes: value <= below) or "yes" (lists
                      of categories), "missing" (0 or 1: answer of a missing number or an unseen category)}
      splits          a row for each tree: which question each split asks, counted over all conditions;
                      "left" (yes) and "right" (no) lead to a later split, or below 0 to the leaf ~number
    log-odds          base + the sum of the effects; probability = 1 / (1 + exp(-log-odds))

A column's effect is its Shapley value against the typical client: its own terms, its share of what it does
together with a partner, and of the trees.
"""

import json
import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from attrition import terms, trees
from attrition.errors import ReleaseError
from attrition.terms import Coded, Cuts, Floats, Ground, Line, Pair, Steps, Term, number, text
from attrition.trees import Forest

if TYPE_CHECKING:
    from attrition.parallel import Crew

FORMAT, VERSION = "attrition-scorecard", 2
# rows that are scored at once: the answers to a forest's questions about so many fit into memory
PART = 65_536
# a partner is named where what two columns do together is at least this share of the effect
WORTH_NAMING = 0.5


class Table(Protocol):
    """Columns by name: a dict of sequences, or a DataFrame."""

    def __getitem__(self, column: str, /) -> Any: ...


@dataclass(frozen=True)
class NumberColumn:
    column: str
    words: str
    typical: float | None
    low: float | None
    high: float | None

    @property
    def usual(self) -> float:
        return math.nan if self.typical is None else self.typical

    def value(self, value: Any) -> float | None:
        return None if math.isnan(value) else float(value)

    def told(self, value: float | None) -> str:
        return f"{self.words} is missing" if value is None else f"{_figure(value)} {self.words}"

    def sentence(self, value: float | None, together: str = "") -> str:
        typical = "missing" if self.typical is None else _figure(self.typical)
        return f"{self.told(value)}{together}; typical {typical}"

    def warning(self, value: float) -> str | None:
        if self.low is None or self.high is None:
            return None if math.isnan(value) else f"{self.words} was always missing in training"
        if math.isnan(value):
            return f"{self.words} is missing"
        if self.low <= value <= self.high:
            return None
        seen = f"{_figure(self.low)} to {_figure(self.high)}"
        return f"{self.words} is {_figure(value)}, outside the training range {seen}"


class Places(dict[Any, int]):
    """Place of each known value; whatever else is asked for has the place after the last."""

    def __missing__(self, value: Any) -> int:
        return len(self)


@dataclass(frozen=True)
class CategoryColumn:
    column: str
    words: str
    typical: str
    known: tuple[str, ...]

    @property
    def usual(self) -> str:
        return self.typical

    @cached_property
    def place_of(self) -> "Places":
        return Places((value, place) for place, value in enumerate(self.known))

    def value(self, value: Any) -> str | None:
        return value or None

    def told(self, value: str | None) -> str:
        return f"{self.words} is missing" if value is None else f"{self.words} {value}"

    def sentence(self, value: str | None, together: str = "") -> str:
        return f"{self.told(value)}{together}; typical {self.typical or 'missing'}"

    def warning(self, value: str) -> str | None:
        if not value:
            return f"{self.words} is missing"
        return None if value in self.place_of else f"{self.words} {value!r} was not seen in training"


Column = NumberColumn | CategoryColumn


@dataclass(frozen=True)
class Reason:
    """A share of a client's risk: the client's own value beside the typical one; None is missing.

    `effect` is in log-odds against the typical client who stayed: what goes with leaving, not what causes it.
    """

    feature: str
    value: float | str | None
    typical: float | str | None
    effect: float
    sentence: str


@dataclass(frozen=True)
class Scorecard:
    model: str
    base: float
    columns: tuple[Column, ...]
    terms: tuple[Term, ...]
    forest: Forest | None
    groups: tuple[tuple[int, ...], ...]
    threshold: float
    threshold_from: str
    bands: Mapping[str, float]

    @cached_property
    def features(self) -> tuple[str, ...]:
        return tuple(each.column for each in self.columns)

    @property
    def numbers(self) -> tuple[str, ...]:
        return tuple(each.column for each in self.columns if isinstance(each, NumberColumn))

    def coded(self, table: Table) -> Coded:
        """The columns made ready; a value that is neither text nor a number is none that was seen."""
        numbers, categories, rows = {}, {}, 0
        for each in self.columns:
            values = table[each.column]
            rows = len(values)
            if isinstance(each, NumberColumn):
                numbers[each.column] = np.asarray(values, dtype=float)
            else:
                places = map(each.place_of.__getitem__, _plain(values))
                categories[each.column] = np.fromiter(places, dtype=np.intp, count=rows)
        return Coded(rows, numbers, categories)

    def effects(self, table: Table) -> Floats:
        """Effects on the log-odds against the typical client who stayed, shape (rows, features)."""
        return self._settled(self._shares(self.coded(table)))

    def log_odds(self, table: Table, crew: "Crew | None" = None) -> Floats:
        """Log-odds of leaving, shape (rows,): base plus the sum of the effects.

        A long table is scored PART rows at a time, by the crew where one is given. No row depends on
        another: however it is dealt, each has the same result to the last bit.
        """
        columns = {each.column: table[each.column] for each in self.columns}
        rows = max((len(values) for values in columns.values()), default=0)
        if rows <= PART:
            return self._log_odds(columns)
        parts = _parts({name: np.asarray(values) for name, values in columns.items()}, rows)
        if crew is None:
            return np.concatenate([self._log_odds(part) for part in parts])
        return np.concatenate([found for _, found in crew.results(_log_odds, self, parts)])

    def _log_odds(self, table: Table) -> Floats:
        coded = self.coded(table)
        total = np.full(coded.rows, self.base)
        for term in self.terms:
            total += term.of_table(coded)
        return total if self.forest is None else total + self.forest.of_table(coded)

    def probability(self, table: Table, crew: "Crew | None" = None) -> Floats:
        """Probability of leaving, shape (rows,)."""
        return _probability(self.log_odds(table, crew))

    def probability_of(self, pieces: Iterable[Table], crew: "Crew") -> Iterator[Floats]:
        """The same of a table that comes piece by piece, whose pieces the crew deals out."""
        units = ({name: np.asarray(piece[name]) for name in self.features} for piece in pieces)
        for _, log_odds in crew.results(_log_odds, self, units):
            yield _probability(log_odds)

    def score_row(self, row: Mapping[str, Any]) -> float:
        """Log-odds of one row, without a table: microseconds."""
        plan = self._plan
        places = plan.places(row)
        total = self.base
        for line, _ in plan.lines:
            total += line.of_row(row)
        for effects, at, _ in plan.steps:
            total += effects[places[at]]
        for pair, one, other, *_ in plan.pairs:
            total += pair.nested[places[one]][places[other]]
        return total if self.forest is None else total + self.forest.of_row(row)

    def explain(self, table: Table, top: int | None = 3) -> "Explanations":
        """For each row the reasons that raise its risk, strongest first, at most `top`.

        With top=None every feature has one, whatever its sign: base and effects add up to the log-odds. The
        sentences are made when a row's reasons are looked at.
        """
        values = [_plain(table[column]) for column in self.features]
        is_one_row = all(len(column) == 1 for column in values)
        raw = self._shares_of_row(values) if is_one_row else self._shares(self.coded(table))
        effects = self._settled(raw)
        order = np.argsort(-effects, axis=1, kind="stable")[:, :top]
        return Explanations(self, table, values, raw, effects, order, top)

    def band(self, probability: float) -> str:
        if probability >= self.bands["high"]:
            return "high"
        return "medium" if probability >= self.bands["medium"] else "low"

    def warnings(self, row: Mapping[str, Any]) -> list[str]:
        """What makes a row's risk less sure: values missing, outside the training range, or never seen."""
        found = (each.warning(row[each.column]) for each in self.columns)
        return [sentence for sentence in found if sentence]

    def _shares(self, coded: Coded) -> Floats:
        shares = np.zeros((len(self.columns), coded.rows))
        for term in self.terms:
            for column, share in zip(term.columns, term.shares(coded), strict=True):
                shares[self._place_of[column]] += share
        if self.forest is not None:
            for column, share in self.forest.shares(coded).items():
                shares[self._place_of[column]] += share
        return shares.T

    def _shares_of_row(self, values: Sequence[Sequence[Any]]) -> Floats:
        """The same for a single row, a list for each column: no array for each term, a tenth of the time."""
        row = {column: one for column, (one,) in zip(self.features, values, strict=True)}
        plan = self._plan
        places = plan.places(row)
        shares = [0.0] * len(self.columns)
        for line, column in plan.lines:
            shares[column] += line.of_row(row)
        for effects, at, column in plan.steps:
            shares[column] += effects[places[at]]
        for pair, one, other, mine, partner in plan.pairs:
            my_share, the_others = pair.nested_shares
            shares[mine] += my_share[places[one]][places[other]]
            shares[partner] += the_others[places[one]][places[other]]
        if self.forest is not None:
            for name, share in zip(self.forest.columns, self.forest.shares_of_row(row), strict=True):
                shares[self._place_of[name]] += share
        return np.array([shares])

    def _settled(self, shares: Floats) -> Floats:
        """Where columns that move together contradict each other, the strongest stands for all of them."""
        settled = shares
        for group in self.groups:
            members = shares[:, group]
            torn = np.flatnonzero((members > 0).any(axis=1) & (members < 0).any(axis=1))
            if not len(torn):
                continue
            settled = settled.copy() if settled is shares else settled
            leader = np.array(group)[np.abs(members[torn]).argmax(axis=1)]
            settled[np.ix_(torn, np.array(group))] = 0.0
            settled[torn, leader] = members[torn].sum(axis=1)
        return settled

    @cached_property
    def _plan(self) -> "Plan":
        return _planned(self.terms, self._place_of)

    @cached_property
    def _group_of(self) -> dict[int, tuple[int, ...]]:
        return {place: group for group in reversed(self.groups) for place in group}

    @cached_property
    def _place_of(self) -> dict[str, int]:
        return {each.column: place for place, each in enumerate(self.columns)}


@dataclass(frozen=True)
class Plan:
    """The terms laid out for one row: every axis once, so that a row costs a few loops and hardly a call.

    Of each line its column; of each step its axis and column; of each pair its two axes and its two columns.
    """

    numbers: list[tuple[str, tuple[float, ...], int]]
    kinds: list[tuple[str, Any, int]]
    lines: list[tuple[Line, int]]
    steps: list[tuple[tuple[float, ...], int, int]]
    pairs: list[tuple[Pair, int, int, int, int]]

    def places(self, row: Mapping[str, Any]) -> list[int]:
        """Place of the row on each axis."""
        found = [
            last if (value := row[column]) != value else bisect_right(cuts, value)
            for column, cuts, last in self.numbers
        ]
        found += [place_of(row[column], last) for column, place_of, last in self.kinds]
        return found


def _planned(all_terms: Sequence[Term], columns: Mapping[str, int]) -> Plan:
    steps = [term for term in all_terms if isinstance(term, Steps)]
    pairs = [term for term in all_terms if isinstance(term, Pair)]
    used = [step.axis for step in steps] + [axis for pair in pairs for axis in (pair.one, pair.other)]
    axes = list({id(axis): axis for axis in used}.values())
    axes.sort(key=lambda axis: not isinstance(axis, Cuts))
    at = {id(axis): place for place, axis in enumerate(axes)}
    return Plan(
        [(axis.column, axis.cuts, axis.places - 1) for axis in axes if isinstance(axis, Cuts)],
        [(axis.column, axis.place_of.get, axis.places - 1) for axis in axes if not isinstance(axis, Cuts)],
        [(term, columns[term.column]) for term in all_terms if isinstance(term, Line)],
        [(step.effects, at[id(step.axis)], columns[step.axis.column]) for step in steps],
        [
            (pair, at[id(pair.one)], at[id(pair.other)], columns[pair.one.column], columns[pair.other.column])
            for pair in pairs
        ],
    )


@dataclass(frozen=True)
class Explanations(Sequence[list[Reason]]):
    """The reasons of each row of a table; a row's are put into words when they are asked for."""

    card: Scorecard
    table: Table
    values: Sequence[Sequence[Any]]
    raw: Floats
    effects: Floats
    order: NDArray[np.intp]
    top: int | None
    # the value and the sentence of each case that was told: many clients share theirs
    _told: dict[tuple[Any, ...], tuple[float | str | None, str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.effects)

    def __getitem__(self, row: Any) -> Any:
        if isinstance(row, slice):
            return [self[at] for at in range(*row.indices(len(self)))]
        if not -len(self) <= row < len(self):
            raise IndexError(row)
        row = row % len(self)
        return [
            self._reason(row, place, effect)
            for place in self.order[row].tolist()
            if (effect := float(self.effects[row, place])) > 0 or self.top is None
        ]

    def __iter__(self) -> Iterator[list[Reason]]:
        return (self[row] for row in range(len(self)))

    def _reason(self, row: int, place: int, effect: float) -> Reason:
        column = self.card.columns[place]
        case = (place, self.values[place][row], self._together(row, place, effect), effect > 0, effect < 0)
        told = self._told.get(case)
        if told is None:
            _, value, together, is_higher, is_lower = case
            direction = (
                f"{'higher' if is_higher else 'lower'} risk"
                if is_higher or is_lower
                else "no difference in risk"
            )
            shown = column.value(value)
            sentence = column.sentence(shown, together)  # type: ignore[arg-type]
            told = self._told[case] = shown, f"{sentence}; associated with {direction}"
        typical = None if column.typical == "" else column.typical
        return Reason(column.column, told[0], typical, effect, told[1])

    def _together(self, row: int, place: int, effect: float) -> str:
        """What an effect is weighed with: columns that move together, or the partner of a strong pair."""
        columns = self.card.columns
        group = self.card._group_of.get(place, ())
        if group and self.raw[row, place] != effect:
            others = ", ".join(columns[other].words for other in group if other != place)
            return f" (weighed together with {others})"
        partner, share = self._partner(row, place)
        if partner is None or abs(share) < WORTH_NAMING * abs(effect):
            return ""
        value = columns[partner].value(self.values[partner][row])
        return f" with {columns[partner].told(value)}"  # type: ignore[arg-type]

    def _partner(self, row: int, place: int) -> tuple[int | None, float]:
        partners = self._partners.get(place)
        if partners is None:
            return None, 0.0
        partner, share = partners[0][row], partners[1][row]
        return (partner, share) if share else (None, 0.0)

    @cached_property
    def _partners(self) -> dict[int, tuple[list[int], list[float]]]:
        """By column in a pair: in each row the partner it shares most with, and its share."""
        pairs = [term for term in self.card.terms if isinstance(term, Pair)]
        if len(self) == 1:
            return self._partners_of_row(pairs)
        found: dict[int, tuple[NDArray[np.intp], Floats]] = {}
        coded = self.card.coded(self.table) if pairs else Coded(0, {}, {})
        for pair in pairs:
            one, other = (self.card._place_of[column] for column in pair.columns)
            for place, partner, share in zip((one, other), (other, one), pair.shares(coded), strict=True):
                before = found.get(place, (np.zeros(coded.rows, dtype=np.intp), np.zeros(coded.rows)))
                more = np.abs(share) > np.abs(before[1])
                found[place] = np.where(more, partner, before[0]), np.where(more, share, before[1])
        return {place: (partner.tolist(), share.tolist()) for place, (partner, share) in found.items()}

    def _partners_of_row(self, pairs: Sequence[Pair]) -> dict[int, tuple[list[int], list[float]]]:
        row = {each.column: values[0] for each, values in zip(self.card.columns, self.values, strict=True)}
        found: dict[int, tuple[list[int], list[float]]] = {}
        for pair in pairs:
            one, other = (self.card._place_of[column] for column in pair.columns)
            for place, partner, share in zip(
                (one, other), (other, one), pair.shares_of_row(row), strict=True
            ):
                if abs(share) > abs(found.get(place, ([0], [0.0]))[1][0]):
                    found[place] = [partner], [share]
        return found


# each stage of a tick asks for the live one
@lru_cache(maxsize=2)
def load(data: bytes) -> Scorecard:
    """Read scorecard.json; ReleaseError with a sentence where it is damaged or of another version."""
    try:
        facts = json.loads(data)
        if (facts["format"], facts["version"]) != (FORMAT, VERSION):
            raise ValueError(
                f"it is {facts['format']} version {facts['version']}, not {FORMAT} version {VERSION}"
            )
        columns = tuple(COLUMNS[column["kind"]](column) for column in facts["columns"])
        known = {each.column: each.known for each in columns if isinstance(each, CategoryColumn)}
        ground = Ground(known, {each.column: each.usual for each in columns})
        places = {each.column: place for place, each in enumerate(columns)}
        if len(places) < len(columns):
            raise ValueError("a column stands twice")
        return Scorecard(
            model=text(facts["model"]),
            base=number(facts["base"]),
            columns=columns,
            terms=tuple(terms.load(term, ground) for term in facts["terms"]),
            forest=None if facts["trees"] is None else trees.load(facts["trees"], known, ground.typical),
            groups=tuple(tuple(places[column] for column in group) for group in facts["groups"]),
            threshold=number(facts["threshold"]["value"]),
            threshold_from=text(facts["threshold"]["from"]),
            bands={band: number(facts["bands"][band]) for band in ("high", "medium")},
        )
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError) as fault:
        read = f"this is no scorecard that can be read ({type(fault).__name__}: {fault})"
        raise ReleaseError(f"scorecard.json: {read}. Run: python fullprocess.py --force") from None


def _number_column(facts: Mapping[str, Any]) -> NumberColumn:
    typical, low, high = (
        None if facts[key] is None else number(facts[key]) for key in ("typical", "low", "high")
    )
    return NumberColumn(text(facts["column"]), text(facts["words"]), typical, low, high)


def _category_column(facts: Mapping[str, Any]) -> CategoryColumn:
    column, words, typical = (text(facts[key]) for key in ("column", "words", "typical"))
    return CategoryColumn(column, words, typical, tuple(text(value) for value in facts["known"]))


COLUMNS: dict[str, Callable[[Mapping[str, Any]], Column]] = {
    "number": _number_column,
    "category": _category_column,
}


def _parts(columns: Mapping[str, NDArray[Any]], rows: int) -> Iterator[dict[str, NDArray[Any]]]:
    for start in range(0, rows, PART):
        yield {column: values[start : start + PART] for column, values in columns.items()}


def _log_odds(card: Scorecard, part: Table) -> Floats:
    return card._log_odds(part)


def _plain(values: Any) -> list[Any]:
    return values.tolist() if hasattr(values, "tolist") else list(values)


def _probability(log_odds: Floats) -> Floats:
    # the exponent is never positive, so it cannot overflow
    small = np.exp(-np.abs(log_odds))
    return np.where(log_odds >= 0, 1.0, small) / (1.0 + small)


def logistic(log_odds: float) -> float:
    """The same of one number, without arrays."""
    small = math.exp(-abs(log_odds))
    return (1.0 if log_odds >= 0 else small) / (1.0 + small)


def _figure(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 1000 else f"{value:.4g}"
