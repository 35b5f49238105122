"""What a model looks at: how much each column matters, and the shape of the strongest, with uncertainty."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from attrition.candidates import Model
from attrition.scorecard import Column, NumberColumn, Scorecard

SHAPES = 3
# a shape is drawn at this many quantiles of a number, or at this many categories, the most frequent first
POINTS = 15


def importance(card: Scorecard, table: pd.DataFrame) -> list[dict[str, Any]]:
    """Mean size of each column's effect over the rows, in log-odds, the largest first."""
    sizes = np.abs(card.effects(table)).mean(axis=0)
    order = np.argsort(-sizes, kind="stable")
    return [
        {"feature": card.features[at], "words": card.columns[at].words, "mean_effect": float(sizes[at])}
        for at in order
    ]


def shapes(
    card: Scorecard, model: Model, models: Sequence[Model], table: pd.DataFrame, top: int = SHAPES
) -> list[dict[str, Any]]:
    """The effect of each value of the top columns on the typical client, and its standard error.

    The error is that of the jackknife over `models`, each fitted without one fold (Efron & Tibshirani 1993);
    None without any.
    """
    column_of = {column.column: column for column in card.columns}
    named = [each["feature"] for each in importance(card, table)[:top] if each["mean_effect"] > 0]
    typical = {column.column: column.usual for column in card.columns}
    return [_shape(column_of[name], typical, model, models, table[name]) for name in named]


def _shape(
    column: Column, typical: Mapping[str, Any], model: Model, models: Sequence[Model], values: pd.Series
) -> dict[str, Any]:
    points = _points(column, values)
    rows = pd.DataFrame([typical, *({**typical, column.column: point} for point in points)])
    rows = rows.astype(
        {name: float if isinstance(value, float) else object for name, value in typical.items()}
    )
    effects = _effects(model, rows)
    count = len(models)
    others = np.array([_effects(each, rows) for each in models])
    errors = np.sqrt((count - 1) / count * ((others - others.mean(axis=0)) ** 2).sum(axis=0)) if count else []
    return {
        "feature": column.column,
        "words": column.words,
        "points": [None if point != point else point for point in points],
        "effects": effects.tolist(),
        "errors": np.asarray(errors).tolist() or None,
    }


def _effects(model: Model, rows: pd.DataFrame) -> "np.ndarray[Any, Any]":
    log_odds = model.log_odds(rows)
    effects: np.ndarray[Any, Any] = log_odds[1:] - log_odds[0]
    return effects


def _points(column: Column, values: pd.Series) -> list[Any]:
    if not isinstance(column, NumberColumn):
        return values.value_counts().index[:POINTS].tolist()
    present = values.dropna()
    spread = np.unique(np.quantile(present, np.linspace(0, 1, POINTS))).tolist() if len(present) else []
    return [*spread, math.nan] if values.isna().any() else spread
