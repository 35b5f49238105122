"""Scorecards written by hand: straight lines and categories around a typical client."""

from collections.abc import Mapping, Sequence
from typing import Any


def card(
    columns: Sequence[Mapping[str, Any]],
    terms: Sequence[Mapping[str, Any]],
    base: float,
    threshold: float,
    bands: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    return {
        "format": "attrition-scorecard",
        "version": 2,
        "model": "by hand",
        "threshold": {"value": threshold, "from": "f1"},
        "bands": dict(bands or {"high": 0.6, "medium": 0.3}),
        "base": base,
        "columns": list(columns),
        "groups": [],
        "terms": list(terms),
        "trees": None,
    }


def number(
    column: str, words: str, typical: float, low: float, high: float, weight: float, missing: float
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A column and its line, which falls or rises by `weight` with each unit."""
    told = {"kind": "number", "column": column, "words": words, "typical": typical, "low": low, "high": high}
    effects = [weight * (low - typical), weight * (high - typical)]
    line = {"kind": "line", "column": column, "scale": "linear", "points": [low, high], "effects": effects}
    return told, {**line, "missing": missing}


def category(
    column: str, words: str, typical: str, effects: Mapping[str, float], unseen: float
) -> tuple[dict[str, Any], dict[str, Any]]:
    told = {"kind": "category", "column": column, "words": words, "typical": typical, "known": list(effects)}
    places = {value: place for place, value in enumerate(effects)}
    return told, {"kind": "steps", "column": column, "places": places, "effects": [*effects.values(), unseen]}
