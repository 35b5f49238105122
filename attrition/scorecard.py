"""A trained model as plain numbers: score and explain without pickle, in microseconds, with numpy alone.

scorecard.json, version 1; effects are in log-odds; in a row a missing number is NaN, a missing category "":

    format, version   "attrition-scorecard", 1
    model             name of the candidate that won
    threshold         {"value": 0.41, "from": "f1"}: a client is predicted to leave from this probability on
    bands             {"high": 0.6, "medium": 0.3}: a client is in the band from this probability on
    base              log-odds of the typical client who stayed: median of each number, mode of each category
    terms             one for each column the model reads; an effect is the difference to the typical client
      number          {"kind", "column", "words", "typical" (null: missing), "low", "high" (range in training,
                      null: never seen), "scale" (linear, log), "weight", "pivot", "at_pivot", "missing"}
                      effect = at_pivot + weight * (scale(value within low and high) - pivot);
                      of a missing value or a column never seen: "missing"
      category        {"kind", "column", "words", "typical", "effects": {value: effect}, "unseen"}
    log-odds          base + the sum of the effects; probability = 1 / (1 + exp(-log-odds))

A new kind of term is a class with the methods of NumberTerm and a line in TERMS.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from attrition.errors import ReleaseError

if TYPE_CHECKING:
    import pandas as pd

    from attrition.candidates import Model
    from attrition.contract import Contract
    from attrition.settings import Risk

Floats = NDArray[np.float64]

FORMAT, VERSION = "attrition-scorecard", 1
TOLERANCE = 1e-9
# the contract strips every cell: no row that came through it can hold this category
UNSEEN = " "


class Table(Protocol):
    """Columns by name: a dict of sequences, or a DataFrame."""

    def __getitem__(self, column: str, /) -> Any: ...


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
class NumberTerm:
    column: str
    words: str
    typical: float | None
    low: float | None
    high: float | None
    scale: str
    weight: float
    pivot: float
    at_pivot: float
    missing: float

    def effect(self, value: float) -> float:
        if math.isnan(value) or self.low is None or self.high is None:
            return self.missing
        within = self.low if value < self.low else self.high if value > self.high else value
        return self.at_pivot + self.weight * (SCALES[self.scale][0](within) - self.pivot)

    def effects(self, values: Any) -> Floats:
        numbers = np.asarray(values, dtype=float)
        if self.low is None or self.high is None:
            return np.full(len(numbers), self.missing)
        scaled = SCALES[self.scale][1](np.clip(numbers, self.low, self.high))
        return np.where(np.isnan(numbers), self.missing, self.at_pivot + self.weight * (scaled - self.pivot))

    def value(self, value: Any) -> float | None:
        return None if math.isnan(value) else float(value)

    def sentence(self, value: float | None) -> str:
        here = f"{self.words} is missing" if value is None else f"{_figure(value)} {self.words}"
        return f"{here}; typical {'missing' if self.typical is None else _figure(self.typical)}"

    def warning(self, value: float) -> str | None:
        if self.low is None or self.high is None:
            return None if math.isnan(value) else f"{self.words} was always missing in training"
        if math.isnan(value):
            return f"{self.words} is missing"
        if self.low <= value <= self.high:
            return None
        seen = f"{_figure(self.low)} to {_figure(self.high)}"
        return f"{self.words} is {_figure(value)}, outside the training range {seen}"


@dataclass(frozen=True)
class CategoryTerm:
    column: str
    words: str
    typical: str
    effects_of: Mapping[str, float]
    unseen: float

    def effect(self, value: str) -> float:
        return self.effects_of.get(value, self.unseen)

    def effects(self, values: Any) -> Floats:
        known, unseen = self.effects_of, self.unseen
        return np.array([known.get(value, unseen) for value in _plain(values)], dtype=float)

    def value(self, value: Any) -> str | None:
        return value or None

    def sentence(self, value: str | None) -> str:
        here = f"{self.words} is missing" if value is None else f"{self.words} {value}"
        return f"{here}; typical {self.typical or 'missing'}"

    def warning(self, value: str) -> str | None:
        if not value:
            return f"{self.words} is missing"
        return None if value in self.effects_of else f"{self.words} {value!r} was not seen in training"


Term = NumberTerm | CategoryTerm


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
    terms: tuple[Term, ...]
    threshold: float
    threshold_from: str
    bands: Mapping[str, float]

    @property
    def features(self) -> tuple[str, ...]:
        return tuple(term.column for term in self.terms)

    def effects(self, table: Table) -> Floats:
        """Effects on the log-odds against the typical client who stayed, shape (rows, features)."""
        return np.column_stack([term.effects(table[term.column]) for term in self.terms])

    def log_odds(self, table: Table) -> Floats:
        """Log-odds of leaving, shape (rows,): base plus the sum of the effects."""
        return self.base + self.effects(table).sum(axis=1)

    def probability(self, table: Table) -> Floats:
        """Probability of leaving, shape (rows,)."""
        return _probability(self.log_odds(table))

    def score_row(self, row: Mapping[str, Any]) -> float:
        """Log-odds of one row, without numpy: microseconds."""
        return self.base + sum([term.effect(row[term.column]) for term in self.terms])

    def explain(self, table: Table, top: int | None = 3) -> list[list[Reason]]:
        """For each row the reasons that raise its risk, strongest first, at most `top`.

        With top=None every feature has one, whatever its sign: base and effects add up to the log-odds.
        """
        effects = self.effects(table)
        columns = [_plain(table[term.column]) for term in self.terms]
        order = np.argsort(-effects, axis=1, kind="stable")[:, :top]
        return [
            [
                self._reason(at, columns[at][row], effects[row, at])
                for at in ranked
                if top is None or effects[row, at] > 0
            ]
            for row, ranked in enumerate(order)
        ]

    def band(self, probability: float) -> str:
        if probability >= self.bands["high"]:
            return "high"
        return "medium" if probability >= self.bands["medium"] else "low"

    def warnings(self, row: Mapping[str, Any]) -> list[str]:
        """What makes a row's risk less sure: values missing, outside the training range, or never seen."""
        found = (term.warning(row[term.column]) for term in self.terms)
        return [sentence for sentence in found if sentence]

    def _reason(self, at: int, value: Any, effect: float) -> Reason:
        term = self.terms[at]
        shown = term.value(value)
        direction = "no difference in risk" if effect == 0 else f"{'higher' if effect > 0 else 'lower'} risk"
        sentence = f"{term.sentence(shown)}; associated with {direction}"  # type: ignore[arg-type]
        return Reason(
            term.column, shown, None if term.typical == "" else term.typical, float(effect), sentence
        )


def from_model(
    model: "Model",
    contract: "Contract",
    training_table: "pd.DataFrame",
    outcomes: Floats,
    threshold: float,
    risk: "Risk",
) -> dict[str, Any]:
    """The scorecard of a fitted model as it stands in scorecard.json.

    Effects are found by asking the model about the typical client with one value changed, which will do for
    any model whose log-odds are a sum over columns. ValueError where the training rows show they are not.
    """
    clients = contract.clients
    stayed = training_table[outcomes == 0]
    typical: dict[str, Any] = {column: _median(stayed[column]) for column in clients.model_numbers}
    typical |= {column: stayed[column].mode().iloc[0] for column in clients.categorical}
    ask = _Asked(model, typical)
    scale = (
        model.pipeline["columns"].named_transformers_["numbers"]["scale"].func
        if clients.model_numbers
        else None
    )
    terms = [
        _number_term(ask, column, clients.word(column), training_table[column], "log" if scale else "linear")
        for column in clients.model_numbers
    ]
    terms += [
        _category_term(ask, column, clients.word(column), training_table[column])
        for column in clients.categorical
    ]
    facts = {
        "format": FORMAT,
        "version": VERSION,
        "model": model.name,
        "threshold": {"value": threshold, "from": risk.threshold.from_},
        "bands": risk.bands.model_dump(),
        "base": ask.base,
        "terms": terms,
    }
    found = load(json.dumps(facts).encode()).log_odds(training_table)
    if np.max(np.abs(found - model.log_odds(training_table))) > TOLERANCE:
        raise ValueError(f"the model {model.name} is no sum over columns: a scorecard cannot hold it")
    return facts


class _Asked:
    """What a model answers for the typical client who stayed, and for one that differs in one column."""

    def __init__(self, model: "Model", typical: Mapping[str, Any]) -> None:
        self.model, self.typical = model, typical
        self.base = float(self._log_odds([typical])[0])

    def effects(self, column: str, values: Sequence[Any]) -> list[float]:
        rows = [{**self.typical, column: value} for value in values]
        return (self._log_odds(rows) - self.base).tolist()

    def _log_odds(self, rows: Sequence[Mapping[str, Any]]) -> Floats:
        import pandas as pd

        columns = {
            column: pd.Series(
                [row[column] for row in rows], dtype=object if isinstance(value, str) else float
            )
            for column, value in self.typical.items()
        }
        return self.model.log_odds(pd.DataFrame(columns))


def _number_term(ask: _Asked, column: str, words: str, values: "pd.Series", scale: str) -> dict[str, Any]:
    low, high = (None, None) if values.isna().all() else (float(values.min()), float(values.max()))
    typical = None if math.isnan(ask.typical[column]) else float(ask.typical[column])
    term = {"kind": "number", "column": column, "words": words, "typical": typical, "low": low, "high": high}
    (missing,) = ask.effects(column, [math.nan])
    weight = pivot = at_pivot = 0.0
    if low is not None and high is not None:
        at_low, at_high, at_pivot = ask.effects(column, [low, high, low if typical is None else typical])
        scaled = SCALES[scale][0]
        pivot = scaled(low if typical is None else typical)
        weight = (at_high - at_low) / (scaled(high) - scaled(low)) if high > low else 0.0
    return {
        **term,
        "scale": scale,
        "weight": weight,
        "pivot": pivot,
        "at_pivot": at_pivot,
        "missing": missing,
    }


def _category_term(ask: _Asked, column: str, words: str, values: "pd.Series") -> dict[str, Any]:
    known = sorted(values.unique().tolist())
    *effects, unseen = ask.effects(column, [*known, UNSEEN])
    return {
        "kind": "category",
        "column": column,
        "words": words,
        "typical": ask.typical[column],
        "effects": dict(zip(known, effects, strict=True)),
        "unseen": unseen,
    }


def load(data: bytes) -> Scorecard:
    """Read scorecard.json; ReleaseError with a sentence where it is damaged or of another version."""
    try:
        facts = json.loads(data)
        if (facts["format"], facts["version"]) != (FORMAT, VERSION):
            raise ValueError(
                f"it is {facts['format']} version {facts['version']}, not {FORMAT} version {VERSION}"
            )
        return Scorecard(
            model=_text(facts["model"]),
            base=_number(facts["base"]),
            terms=tuple(TERMS[term["kind"]](term) for term in facts["terms"]),
            threshold=_number(facts["threshold"]["value"]),
            threshold_from=_text(facts["threshold"]["from"]),
            bands={band: _number(facts["bands"][band]) for band in ("high", "medium")},
        )
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError) as fault:
        read = f"this is no scorecard that can be read ({type(fault).__name__}: {fault})"
        raise ReleaseError(f"scorecard.json: {read}. Run: python fullprocess.py --force") from None


def _load_number(term: Mapping[str, Any]) -> NumberTerm:
    if term["scale"] not in SCALES:
        raise ValueError(f"unknown scale {term['scale']!r}")
    column, words = _text(term["column"]), _text(term["words"])
    typical, low, high = (
        None if term[key] is None else _number(term[key]) for key in ("typical", "low", "high")
    )
    weight, pivot, at_pivot, missing = (
        _number(term[key]) for key in ("weight", "pivot", "at_pivot", "missing")
    )
    return NumberTerm(column, words, typical, low, high, term["scale"], weight, pivot, at_pivot, missing)


def _load_category(term: Mapping[str, Any]) -> CategoryTerm:
    effects = {_text(value): _number(effect) for value, effect in term["effects"].items()}
    column, words, typical = (_text(term[key]) for key in ("column", "words", "typical"))
    return CategoryTerm(column, words, typical, effects, _number(term["unseen"]))


TERMS: dict[str, Callable[[Mapping[str, Any]], Term]] = {"number": _load_number, "category": _load_category}


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no finite number")
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")
    return value


def _median(values: "pd.Series") -> float:
    present = values.dropna()
    return float(present.median()) if len(present) else math.nan


def _plain(values: Any) -> list[Any]:
    return values.tolist() if hasattr(values, "tolist") else list(values)


def _probability(log_odds: Floats) -> Floats:
    # the exponent is never positive, so it cannot overflow
    small = np.exp(-np.abs(log_odds))
    return np.where(log_odds >= 0, 1.0, small) / (1.0 + small)


def _figure(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 1000 else f"{value:.4g}"
