"""Columns worth deriving: sums, differences and ratios of number columns of like units that pay out of fold.

Like units are told by a word that two columns' names share: day_charge and night_charge.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, permutations
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from attrition import arithmetic, candidates, folds, scores, twins
from attrition.candidates import Floats
from attrition.settings import Clients

# a straight model and one that bends: a column must help the better of the two
JUDGES = ("logistic_log", "spline")
CONFIDENCE = 0.95
MOST_TRIED = 80
# words that say when or how, not what is counted
NOT_UNITS = frozenset(
    {"total", "number", "num", "count", "of", "the", "last", "per", "avg", "mean", "years", "in"}
)


@dataclass(frozen=True)
class Suggestion:
    """A column to derive, and the fall of log loss out of fold that it brings, with its interval."""

    column: str
    formula: str
    gain: float
    low: float
    high: float


def suggest(
    clients: Clients, table: pd.DataFrame, outcome: Floats, client: NDArray[Any], wanted: int, seed: int
) -> list[Suggestion]:
    """Those that pay, the most first. `outcome` is 1.0 left or 0.0 stayed, `client` the ids, shape (rows,).

    A gain counts where its interval, widened for all that were tried, lies above 0.
    """
    family = twins.groups(table, clients.features, outcome, client)
    fold = folds.by_client(family, outcome, wanted, seed)
    if fold is None:
        return []
    before = _best(clients, table, outcome, family, fold, seed)
    tried = dict(list(formulas(clients).items())[:MOST_TRIED])
    z = NormalDist().inv_cdf(1 - (1 - CONFIDENCE) / 2 / max(1, len(tried)))
    found = []
    for column, text in tried.items():
        values = derived(table, text)
        if len(np.unique(values[~np.isnan(values)])) < 3:
            continue
        wider = table.assign(**{column: values})
        grown = clients.model_copy(update={"derived": {**clients.derived, column: text}})
        after = _best(grown, wider, outcome, family, fold, seed)
        gain, error = scores.mean_and_error(before - after, family)
        if gain > z * error:
            found.append(Suggestion(column, text, gain, gain - z * error, gain + z * error))
    return sorted(found, key=lambda each: -each.gain)


def formulas(clients: Clients) -> dict[str, str]:
    """What is tried: sums of all columns of like units, then differences and ratios of two of them."""
    groups = list(like_units(clients))
    tried = {f"{unit}_sum": " + ".join(columns) for unit, columns in groups}
    for _, columns in groups:
        tried |= {f"{a}_less_{b}": f"{a} - {b}" for a, b in combinations(columns, 2)}
        tried |= {f"{a}_per_{b}": f"{a} / {b}" for a, b in permutations(columns, 2)}
    taken = {*clients.columns, *clients.derived}
    return {column: text for column, text in tried.items() if column not in taken}


def like_units(clients: Clients) -> Iterator[tuple[str, list[str]]]:
    sharing: dict[str, list[str]] = {}
    for column in clients.numeric:
        # arithmetic knows a column by a plain name only
        if column.isidentifier():
            for word in sorted(set(_words(column)) - NOT_UNITS):
                sharing.setdefault(word, []).append(column)
    seen = set()
    for word, columns in sharing.items():
        if len(columns) > 1 and tuple(columns) not in seen:
            seen.add(tuple(columns))
            yield word, columns


def _words(column: str) -> list[str]:
    parts = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", column)
    return [part.lower().removesuffix("s") for part in parts if len(part) > 2]


def derived(table: pd.DataFrame, text: str) -> Floats:
    formula = arithmetic.formula(text)
    records: list[Mapping[Any, Any]] = table[sorted(formula.columns)].to_dict("records")
    return np.array([formula(record) for record in records])


def _best(
    clients: Clients,
    table: pd.DataFrame,
    outcome: Floats,
    family: NDArray[np.intp],
    fold: NDArray[np.intp],
    seed: int,
) -> Floats:
    """Log loss of each row out of fold, by the judge that does best."""
    losses = []
    for judge in JUDGES:
        log_odds = np.empty(len(outcome))
        for held_out in np.unique(fold):
            inside = fold == held_out
            there = table[~inside], outcome[~inside], family[~inside]
            model = candidates.fitted({judge: 1.0}, clients, *there, seed, judge)
            log_odds[inside] = model.log_odds(table[inside])
        losses.append(scores.log_losses(outcome, log_odds))
    return min(losses, key=lambda each: float(each.mean()))
