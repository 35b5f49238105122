"""What scikit-learn does not bring: columns made ready for the candidates, and small models of their own.

A fitted candidate ends in an estimator with `decision_function`: log-odds of leaving, shape (rows,).
"""

import warnings
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.ensemble import HistGradientBoostingClassifier

from attrition import folds

Floats = NDArray[np.float64]
Places = NDArray[np.intp]

# scikit-learn's trees know at most 255 categories of a column: rarer ones share a code
MOST_CODES = 200
# against interpret-core's defaults these cost a twentieth of the CPU and no log loss on churn data
BAGS, STOPPING_FOLDS = 4, 7
THRIFT = {
    "learning_rate": 0.04,
    "max_bins": 128,
    "max_interaction_bins": 32,
    "smoothing_rounds": 30,
    "interaction_smoothing_rounds": 30,
}


class Bounds(TransformerMixin, BaseEstimator):
    """Take a number outside the range seen in training for its nearest end; a column never seen is all 0.

    A linear model has no say about what it never saw, and one typing error would outweigh all other columns.
    """

    def fit(self, table: Any, outcome: Any = None) -> "Bounds":
        values = np.asarray(table, dtype=float)
        self.low_, self.high_ = np.fmin.reduce(values), np.fmax.reduce(values)
        return self

    def transform(self, table: Any) -> Floats:
        within = np.clip(np.asarray(table, dtype=float), self.low_, self.high_)
        return np.where(np.isnan(self.low_), 0.0, within)


class Tents(TransformerMixin, BaseEstimator):
    """Linear splines: for each knot but the first how near a number is to it, from 0 at its neighbours to 1.

    Knots are quantiles that differ; `knots_` has those of each column. A missing value stays missing in all.
    """

    def __init__(self, knots: int = 6) -> None:
        self.knots = knots

    def fit(self, table: Any, outcome: Any = None) -> "Tents":
        self.knots_ = [self._of(column) for column in np.asarray(table, dtype=float).T]
        return self

    def _of(self, column: Floats) -> Floats:
        seen = column[~np.isnan(column)]
        # of a column never seen, or of one value, one tent that tells nothing is left
        wanted = np.quantile(seen, np.linspace(0, 1, self.knots)) if len(seen) else np.zeros(1)
        knots = np.unique(wanted)
        return knots if len(knots) > 1 else np.array([knots[0], knots[0] + 1.0])

    def transform(self, table: Any) -> Floats:
        columns = []
        for column, knots in zip(np.asarray(table, dtype=float).T, self.knots_, strict=True):
            columns += [np.interp(column, knots, tent) for tent in np.eye(len(knots))[1:]]
        return np.column_stack(columns)


class Codes(TransformerMixin, BaseEstimator):
    """Numbers as they are, where they vary; of each category a code, the rarest sharing one.

    Whatever training never saw is missing. `kept_` names the columns of the result, `codes_` each category's.
    """

    def __init__(self, numbers: tuple[str, ...] = (), categories: tuple[str, ...] = ()) -> None:
        self.numbers, self.categories = numbers, categories

    def fit(self, table: pd.DataFrame, outcome: Any = None) -> "Codes":
        self.codes_: dict[str, dict[str, int]] = {}
        varying = [column for column in self.numbers if table[column].nunique() > 1]
        for column in self.categories:
            counts = table[column].value_counts()
            order = sorted(counts.index, key=lambda value: (-counts[value], value))
            if len(order) > 1:
                self.codes_[column] = {value: min(at, MOST_CODES) for at, value in enumerate(order)}
        self.kept_ = [*varying, *self.codes_]
        return self

    @property
    def is_category(self) -> list[bool]:
        return [column in self.codes_ for column in self.kept_]

    def transform(self, table: pd.DataFrame) -> Floats:
        columns = [
            table[column].map(self.codes_[column]).to_numpy(dtype=float)
            if column in self.codes_
            else table[column].to_numpy(dtype=float)
            for column in self.kept_
        ]
        return np.column_stack(columns) if columns else np.zeros((len(table), 0))


class Rate(ClassifierMixin, BaseEstimator):
    """Everybody leaves at the rate of the training rows, which half a row of each kind keeps off 0 and 1."""

    def fit(self, table: Any, outcome: Floats) -> "Rate":
        self.classes_ = np.array([0.0, 1.0])
        self.log_odds_ = float(np.log((outcome.sum() + 0.5) / ((1 - outcome).sum() + 0.5)))
        return self

    def decision_function(self, table: Any) -> Floats:
        return np.full(len(table), self.log_odds_)


class Steps(ClassifierMixin, BaseEstimator):
    """Explainable boosting: steps of each column and of some pairs of columns (Lou et al. 2013)."""

    def __init__(self, is_category: tuple[bool, ...] = (), pairs: int = 0, seed: int = 0) -> None:
        self.is_category, self.pairs, self.seed = is_category, pairs, seed

    def fit(self, table: Floats, outcome: Floats, family: Places | None = None) -> "Steps":
        from interpret.glassbox import ExplainableBoostingClassifier

        family = np.arange(len(outcome)) if family is None else family
        fold = folds.by_client(family, outcome, STOPPING_FOLDS, self.seed)
        # each bag stops by the rows of a fold of its own: -1 there, 1 elsewhere
        bags = (
            None if fold is None else np.where(fold[:, None] == np.arange(min(BAGS, fold.max() + 1)), -1, 1)
        )

        self.classes_ = np.array([0.0, 1.0])
        self.model_ = ExplainableBoostingClassifier(
            feature_types=["nominal" if category else "continuous" for category in self.is_category],
            interactions=self.pairs,
            n_jobs=1,
            random_state=self.seed,
            outer_bags=BAGS if bags is None else bags.shape[1],
            **THRIFT,
        )
        with warnings.catch_warnings():
            # its own plots cannot show a missing value: the scorecard can
            warnings.filterwarnings("ignore", message="Missing values detected")
            self.model_.fit(table, outcome.astype(int), bags=bags)
        return self

    def decision_function(self, table: Floats) -> Floats:
        log_odds: Floats = self.model_.decision_function(table)
        return log_odds


class Bag(ClassifierMixin, BaseEstimator):
    """Boosted trees, one model for each fold: fitted on the others, grown until the fold says enough.

    Its log-odds are the mean of the models'.
    """

    def __init__(
        self,
        is_category: tuple[bool, ...] | None = None,
        models: int = 5,
        rate: float = 0.1,
        leaves: int = 8,
        depth: int | None = None,
        rounds: int = 300,
        shrinkage: float = 1.0,
        fewest: int = 20,
        share: float = 0.5,
        seed: int = 0,
    ) -> None:
        self.is_category, self.models, self.rate = is_category, models, rate
        self.leaves, self.depth = leaves, depth
        self.rounds, self.shrinkage, self.fewest, self.share = rounds, shrinkage, fewest, share
        self.seed = seed

    def fit(self, table: Floats, outcome: Floats, family: Places | None = None) -> "Bag":
        self.classes_ = np.array([0.0, 1.0])
        family = np.arange(len(outcome)) if family is None else family
        fold = folds.by_client(family, outcome, self.models, self.seed)
        if fold is None:
            raise ValueError("too few clients of one kind to stop growing trees by")
        self.models_ = [self._grown(at, table, outcome, fold != at) for at in range(int(fold.max()) + 1)]
        return self

    def _grown(
        self, at: int, table: Floats, outcome: Floats, inside: NDArray[np.bool_]
    ) -> HistGradientBoostingClassifier:
        return self._boosted(at).fit(
            table[inside], outcome[inside], X_val=table[~inside], y_val=outcome[~inside]
        )

    def _boosted(self, at: int) -> HistGradientBoostingClassifier:
        return HistGradientBoostingClassifier(
            learning_rate=self.rate,
            max_leaf_nodes=self.leaves,
            max_depth=self.depth,
            max_iter=self.rounds,
            l2_regularization=self.shrinkage,
            min_samples_leaf=self.fewest,
            max_features=self.share,
            categorical_features=list(self.is_category) if self.is_category else None,
            early_stopping=True,
            n_iter_no_change=10,
            random_state=self.seed + at,
        )

    def decision_function(self, table: Floats) -> Floats:
        return np.mean([model.decision_function(table) for model in self.models_], axis=0)
