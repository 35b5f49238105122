"""A fitted model as a scorecard: each candidate's own arrays, turned into terms and trees.

Imports scikit-learn's models as they are; a new kind of pipeline needs a line in TRANSLATIONS.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from attrition import scorecard
from attrition.candidates import Floats, Model
from attrition.contract import Contract
from attrition.estimators import Bag, Codes, Rate, Steps, Tents
from attrition.settings import Risk
from attrition.trees import MOST_SPLITS

TOLERANCE = 1e-9
# the contract strips every cell: no row that came through it can hold this category
UNSEEN = " "
# number columns whose ranks are as alike as this rise and fall together
TOGETHER = 0.9
# a code that no row of one of the bag's models had
NEVER_SEEN = -1
# JSON has no infinity: the largest number of all lies above every value
ABOVE_ALL = float(np.finfo(float).max)


@dataclass
class Parts:
    """What a model is made of so far: base, terms as scorecard.json has them, and trees."""

    typical: Mapping[str, Any]
    known: Mapping[str, Sequence[str]]
    base: float = 0.0
    terms: list[dict[str, Any]] = field(default_factory=list)
    trees: list["Tree"] = field(default_factory=list)


@dataclass(frozen=True)
class Split:
    """One question: a number at most `below`, or a category among `yes`; `missing` answers for the rest."""

    column: str
    below: float
    yes: tuple[str, ...]
    missing: bool


@dataclass
class Tree:
    """Splits with their children, below 0 the leaf of that ~number, and the leaves' values."""

    splits: list[Split] = field(default_factory=list)
    left: list[int] = field(default_factory=list)
    right: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)


def from_model(
    model: Model, contract: Contract, table: pd.DataFrame, outcome: Floats, threshold: float, risk: Risk
) -> dict[str, Any]:
    """The scorecard of a fitted model as it stands in scorecard.json.

    ValueError where it does not say what the model says of the training rows.
    """
    clients = contract.clients
    stayed = table[outcome == 0]
    typical: dict[str, Any] = {column: _median(stayed[column]) for column in clients.model_numbers}
    typical |= {column: stayed[column].mode().iloc[0] for column in clients.categorical}
    known = {column: sorted(table[column].unique().tolist()) for column in clients.categorical}
    parts = Parts(typical, known, base=model.intercept)
    for name, pipeline in model.pipelines.items():
        weight = model.slope * model.weights[name]
        TRANSLATIONS[type(pipeline[-1])](pipeline, weight, parts)
    facts: dict[str, Any] = {
        "format": scorecard.FORMAT,
        "version": scorecard.VERSION,
        "model": model.name,
        "threshold": {"value": threshold, "from": risk.threshold.from_},
        "bands": risk.bands.model_dump(),
        "base": parts.base,
        "columns": [
            *(_number_column(clients.word(c), c, table[c], typical[c]) for c in clients.model_numbers),
            *(
                {
                    "kind": "category",
                    "column": c,
                    "words": clients.word(c),
                    "typical": typical[c],
                    "known": known[c],
                }
                for c in clients.categorical
            ),
        ],
        "groups": together(table, clients.model_numbers),
        "terms": parts.terms,
        "trees": _forest(parts) if parts.trees else None,
    }
    if parts.trees:
        # the trees' effect is told against the typical client, so what they say of it belongs to the base
        forest = scorecard.load(json.dumps(facts).encode()).forest
        facts["base"] = parts.base + (forest.usual if forest else 0.0)
    found = scorecard.load(json.dumps(facts).encode()).log_odds(table)
    apart = float(np.max(np.abs(found - model.log_odds(table)), initial=0.0))
    if not apart <= TOLERANCE:
        raise ValueError(f"the scorecard of {model.name} differs from the model by {apart:.3g} in log-odds")
    return facts


def together(table: pd.DataFrame, numbers: Sequence[str]) -> list[list[str]]:
    """Number columns that rise and fall together, or against each other: rank correlation, TOGETHER."""
    varying = [column for column in numbers if table[column].nunique() > 1]
    ranks = table[varying].rank().corr().abs().to_numpy(copy=True)
    groups: list[list[str]] = []
    taken: set[str] = set()
    for at, column in enumerate(varying):
        kin = [other for there, other in enumerate(varying) if there >= at and ranks[at, there] >= TOGETHER]
        kin = [other for other in kin if other not in taken]
        if column not in taken and len(kin) > 1:
            groups.append(kin)
            taken |= set(kin)
    return groups


def _number_column(words: str, column: str, values: pd.Series, typical: float) -> dict[str, Any]:
    low, high = (None, None) if values.isna().all() else (float(values.min()), float(values.max()))
    typical_or_none = None if math.isnan(typical) else float(typical)
    return {
        "kind": "number",
        "column": column,
        "words": words,
        "typical": typical_or_none,
        "low": low,
        "high": high,
    }


def _rate(pipeline: Pipeline, weight: float, parts: Parts) -> None:
    parts.base += weight * pipeline[-1].log_odds_


def _linear(pipeline: Pipeline, weight: float, parts: Parts) -> None:
    """Found by asking: the pipeline about the typical client with one value changed."""
    columns = pipeline["columns"].named_transformers_
    base = float(_asked(pipeline, [parts.typical])[0])
    parts.base += weight * base
    numbers = [column for column in parts.typical if column not in parts.known]
    for at, column in enumerate(numbers):
        steps = columns["numbers"].named_steps
        low, high = steps["bounds"].low_[at], steps["bounds"].high_[at]
        scale = steps["scale"]
        knots = scale.knots_[at] if isinstance(scale, Tents) else [low, high]
        inner = [*knots, parts.typical[column]]
        points = sorted({float(min(max(knot, low), high)) for knot in inner if not math.isnan(knot + low)})
        rows = [{**parts.typical, column: value} for value in (*points, math.nan)]
        *effects, missing = (weight * (_asked(pipeline, rows) - base)).tolist()
        parts.terms.append(
            {
                "kind": "line",
                "column": column,
                "scale": "log" if getattr(scale, "func", None) else "linear",
                "points": points,
                "effects": effects,
                "missing": missing,
            }
        )
    for column, known in parts.known.items():
        rows = [{**parts.typical, column: value} for value in (*known, UNSEEN)]
        effects = (weight * (_asked(pipeline, rows) - base)).tolist()
        places = {value: place for place, value in enumerate(known)}
        parts.terms.append({"kind": "steps", "column": column, "places": places, "effects": effects})


def _asked(pipeline: Pipeline, rows: Sequence[Mapping[str, Any]]) -> Floats:
    columns = {
        column: pd.Series([row[column] for row in rows], dtype=object if isinstance(value, str) else float)
        for column, value in rows[0].items()
    }
    log_odds: Floats = pipeline.decision_function(pd.DataFrame(columns))
    return log_odds


def _steps(pipeline: Pipeline, weight: float, parts: Parts) -> None:
    """The steps of explainable boosting as it holds them: first a missing value's, last an unknown one's."""
    codes, ebm = pipeline["columns"], pipeline[-1].model_
    parts.base += weight * float(np.ravel(ebm.intercept_)[0])
    for features, scores in zip(ebm.term_features_, ebm.term_scores_, strict=True):
        level = len(features) - 1
        axes, grid = [], weight * np.asarray(scores, dtype=float)
        for dimension, feature in enumerate(features):
            bins = ebm.bins_[feature][min(level, len(ebm.bins_[feature]) - 1)]
            axis, order = _axis(codes, codes.kept_[feature], bins, grid.shape[dimension])
            grid = np.take(grid, order, axis=dimension)
            axes.append(axis)
        usual = tuple(_place(axis, parts.typical[axis["column"]]) for axis in axes)
        typical = float(grid[usual])
        parts.base += typical
        effects = (grid - typical).tolist()
        if level == 0:
            parts.terms.append({"kind": "steps", **axes[0], "effects": effects})
        else:
            parts.terms.append({"kind": "pair", "axes": axes, "effects": effects})


def _axis(codes: Codes, column: str, bins: Any, size: int) -> tuple[dict[str, Any], list[int]]:
    """An axis of the scorecard, and which of the model's bins its places are, in their order."""
    if column not in codes.codes_:
        # the model's first bin is the missing value's, its last one is never used by a number
        return {"column": column, "cuts": [float(cut) for cut in bins]}, [*range(1, len(bins) + 2), 0]
    bin_of = {int(float(code)): int(at) for code, at in bins.items()}
    last = max(bin_of.values())
    places = {value: bin_of[code] - 1 for value, code in codes.codes_[column].items() if code in bin_of}
    # a category that was never seen has no code, which is a missing value to the model
    return {"column": column, "places": places}, [*range(1, last + 1), 0]


def _place(axis: Mapping[str, Any], value: Any) -> int:
    if "cuts" in axis:
        cuts = axis["cuts"]
        return len(cuts) + 1 if math.isnan(value) else int(np.searchsorted(cuts, value, side="right"))
    last = max(axis["places"].values()) + 1
    return int(axis["places"].get(value, last))


def _bag(pipeline: Pipeline, weight: float, parts: Parts) -> None:
    codes, bag = pipeline["columns"], pipeline[-1]
    share = weight / len(bag.models_)
    for model in bag.models_:
        parts.base += share * float(np.ravel(model._baseline_prediction)[0])
        columns, values_of = _inputs(codes, model)
        for (predictor,) in model._predictors:
            splits = _splits(predictor, columns, values_of)
            if splits:
                parts.trees += _pieces(predictor.nodes, splits, share)
            else:
                parts.base += share * float(predictor.nodes[0]["value"])


def _inputs(
    codes: Codes, model: HistGradientBoostingClassifier
) -> tuple[list[str], dict[str, dict[int, list[str]]]]:
    """The model's columns in its own order, and which categories each of its codes stands for."""
    flags = codes.is_category
    if not any(flags):
        return list(codes.kept_), {}
    categories = [column for column, is_category in zip(codes.kept_, flags, strict=True) if is_category]
    numbers = [column for column, is_category in zip(codes.kept_, flags, strict=True) if not is_category]
    encoder = model._preprocessor.named_transformers_["encoder"]
    values_of: dict[str, dict[int, list[str]]] = {}
    for column, seen in zip(categories, encoder.categories_, strict=True):
        inner = {int(code): at for at, code in enumerate(seen) if not math.isnan(code)}
        found: dict[int, list[str]] = {}
        for value, code in codes.codes_[column].items():
            found.setdefault(inner.get(code, NEVER_SEEN), []).append(value)
        values_of[column] = found
    return [*categories, *numbers], values_of


def _splits(
    predictor: Any, columns: Sequence[str], values_of: Mapping[str, Mapping[int, Sequence[str]]]
) -> dict[int, Split]:
    """The question of each inner node. A category whose code the model never saw answers as a missing one."""
    found = {}
    for at, node in enumerate(predictor.nodes):
        if node["is_leaf"]:
            continue
        column, missing = columns[node["feature_idx"]], bool(node["missing_go_to_left"])
        if not node["is_categorical"]:
            below = min(float(node["num_threshold"]), ABOVE_ALL)
            found[at] = Split(column, below, (), missing)
            continue
        bits = predictor.raw_left_cat_bitsets[node["bitset_idx"]]
        yes = [
            value
            for code, values in values_of[column].items()
            for value in values
            if (missing if code == NEVER_SEEN else (int(bits[code // 32]) >> (code % 32)) & 1)
        ]
        found[at] = Split(column, 0.0, tuple(sorted(yes)), missing)
    return found


def _pieces(nodes: Any, splits: Mapping[int, Split], share: float) -> list[Tree]:
    """A tree as several of at most MOST_SPLITS splits, each a path from the root and what grows at its end.

    Off its path a piece is 0, so that the sum of all is the tree.
    """
    size = {}

    def measured(at: int) -> int:
        inner = at in splits
        size[at] = 1 + measured(nodes[at]["left"]) + measured(nodes[at]["right"]) if inner else 0
        return size[at]

    measured(0)
    pieces: list[Tree] = []

    def cut(at: int, path: list[tuple[Split, bool]]) -> None:
        """Make what grows at a node one piece where it fits beside its path, or else go on below."""
        if len(path) + size[at] <= MOST_SPLITS or at not in splits:
            pieces.append(_piece(nodes, splits, share, at, path))
            return
        for child, answer in ((nodes[at]["left"], True), (nodes[at]["right"], False)):
            cut(child, [*path, (splits[at], answer)])

    cut(0, [])
    return pieces


def _piece(
    nodes: Any, splits: Mapping[int, Split], share: float, at: int, path: Sequence[tuple[Split, bool]]
) -> Tree:
    tree = Tree(values=[0.0] if path else [])

    def grown(node: int) -> int:
        if node not in splits:
            tree.values.append(share * float(nodes[node]["value"]))
            return ~(len(tree.values) - 1)
        place = _planted(tree, splits[node])
        tree.left[place] = grown(int(nodes[node]["left"]))
        tree.right[place] = grown(int(nodes[node]["right"]))
        return place

    for place, (split, answer) in enumerate(path):
        _planted(tree, split)
        # off the path lies the leaf 0, which is worth nothing
        beyond = place + 1
        tree.left[place], tree.right[place] = (beyond, ~0) if answer else (~0, beyond)
    end = grown(at)
    if path:
        last, answer = len(path) - 1, path[-1][1]
        tree.left[last], tree.right[last] = (end, ~0) if answer else (~0, end)
    return tree


def _planted(tree: Tree, split: Split) -> int:
    tree.splits.append(split)
    tree.left.append(-1)
    tree.right.append(-1)
    return len(tree.splits) - 1


def _forest(parts: Parts) -> dict[str, Any]:
    """All trees as arrays; equal questions are asked once."""
    grown = parts.trees
    asked: dict[str, dict[Split, int]] = {column: {} for column in parts.typical}
    for tree in grown:
        for split in tree.splits:
            asked[split.column].setdefault(split, len(asked[split.column]))
    starts = np.cumsum([0, *(len(questions) for questions in asked.values())])
    start_of = dict(zip(asked, starts.tolist(), strict=False))
    most = max(len(tree.splits) for tree in grown)
    leaves = max(len(tree.values) for tree in grown)
    conditions = []
    for column, questions in asked.items():
        missing = [int(split.missing) for split in questions]
        if column in parts.known:
            yes = [[value for value in split.yes if value != "?missing"] for split in questions]
            conditions.append({"column": column, "yes": yes, "missing": missing})
        else:
            below = [split.below for split in questions]
            conditions.append({"column": column, "below": below, "missing": missing})
    return {
        "conditions": conditions,
        "splits": [
            _padded([start_of[s.column] + asked[s.column][s] for s in tree.splits], most, 0) for tree in grown
        ],
        "left": [_padded(tree.left, most, -1) for tree in grown],
        "right": [_padded(tree.right, most, -1) for tree in grown],
        "values": [_padded(tree.values, leaves, 0.0) for tree in grown],
    }


def _padded(values: list[Any], length: int, filler: Any) -> list[Any]:
    return [*values, *[filler] * (length - len(values))]


def _median(values: pd.Series) -> float:
    present = values.dropna()
    return float(present.median()) if len(present) else math.nan


TRANSLATIONS: dict[type, Callable[[Pipeline, float, Parts], None]] = {
    Rate: _rate,
    LogisticRegression: _linear,
    Steps: _steps,
    Bag: _bag,
}
