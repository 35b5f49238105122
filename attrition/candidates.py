"""The models that compete, from the simplest on; to enter one, add a line to CANDIDATES.

Imports scikit-learn: import this room only where a model is fitted or unpickled.
"""

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import sklearn
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits

from attrition import scores
from attrition.settings import Clients

Floats = NDArray[np.float64]
Builder = Callable[[Clients, int], Pipeline]

# bound on the iterations of a fit; scaled columns need far fewer
ITERATIONS = 5000
# hardly any shrinkage: two numbers are fitted, and they are kept only where they help out of fold
CALIBRATION_C = 100.0


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


def signed_log(values: Floats) -> Floats:
    return np.sign(values) * np.log1p(np.abs(values))


def logistic(
    clients: Clients, seed: int, strength: float, scale: Callable[[Floats], Floats] | None
) -> Pipeline:
    """Logistic regression; `strength` is scikit-learn's C, `scale` what number columns go through first.

    Indicators of missing numbers are not scaled, or a single blank in ten thousand rows would weigh a hundred
    standard deviations. A blank category is a category of its own; an unseen one counts for nothing.
    """
    numbers = Pipeline(
        [
            ("bounds", Bounds()),
            ("scale", FunctionTransformer(scale)),
            ("standard", StandardScaler()),
            ("missing", SimpleImputer(strategy="median", add_indicator=True)),
        ]
    )
    categories = OneHotEncoder(handle_unknown="ignore")
    columns = ColumnTransformer(
        [
            ("numbers", numbers, list(clients.model_numbers)),
            ("categories", categories, list(clients.categorical)),
        ]
    )
    regression = LogisticRegression(C=strength, max_iter=ITERATIONS, random_state=seed)
    return Pipeline([("columns", columns), ("regression", regression)])


# simplest first: of two that cannot be told apart the earlier one wins. A logarithmic scale suits
# skewed counts: on four of five sets of churn data it lowered the log loss by three to eight standard errors
CANDIDATES: dict[str, Builder] = {
    "logistic_strong": lambda clients, seed: logistic(clients, seed, strength=0.05, scale=None),
    "logistic": lambda clients, seed: logistic(clients, seed, strength=1.0, scale=None),
    "logistic_log": lambda clients, seed: logistic(clients, seed, strength=0.2, scale=signed_log),
}


@dataclass(frozen=True)
class Model:
    """What trainedmodel.pkl holds: a fitted pipeline and its calibration, slope and intercept on log-odds."""

    name: str
    features: tuple[str, ...]
    pipeline: Pipeline
    slope: float = 1.0
    intercept: float = 0.0

    def log_odds(self, table: pd.DataFrame) -> Floats:
        """Calibrated log-odds of leaving, shape (rows,)."""
        raw: Floats = self.pipeline.decision_function(table[list(self.features)])
        return self.slope * raw + self.intercept

    def predict_proba(self, table: pd.DataFrame) -> Floats:
        """Calibrated probabilities of staying and of leaving, shape (rows, 2)."""
        log_odds = self.log_odds(table)
        return np.column_stack([expit(-log_odds), expit(log_odds)])


@dataclass(frozen=True)
class Contestant:
    """A candidate's figures over all out-of-fold predictions; None where no cross-validation was possible."""

    name: str
    log_loss: float | None
    log_loss_se: float | None
    roc_auc: float | None
    brier: float | None
    seconds: float


@dataclass(frozen=True)
class Contest:
    """The winner, fitted on all rows and calibrated where that helped, and the contest it won.

    `log_odds` are the winner's calibrated out-of-fold ones, shape (rows,); without folds (0) there are none.
    """

    model: Model
    contestants: Sequence[Contestant]
    folds: int
    log_odds: Floats | None
    calibrated: bool = False


def contest(
    clients: Clients, table: pd.DataFrame, outcome: Floats, client: NDArray[Any], folds: int, seed: int
) -> Contest:
    """Let the candidates predict rows they have not seen, and fit the best on all rows.

    `outcome` is 1.0 left or 0.0 stayed, `client` the ids, shape (rows,) each; both outcomes occur.
    """
    fold = folds_by_client(client, outcome, folds, seed)
    if fold is None:
        clock = time.monotonic()
        model = fitted(next(iter(CANDIDATES)), clients, table, outcome, seed)
        seconds = round(time.monotonic() - clock, 3)
        return Contest(model, [Contestant(model.name, None, None, None, None, seconds)], 0, None)
    log_odds, contestants = {}, []
    for name in CANDIDATES:
        clock = time.monotonic()
        log_odds[name] = out_of_fold(name, clients, table, outcome, fold, seed)
        contestants.append(judged(name, log_odds[name], outcome, client, time.monotonic() - clock))
    name = chosen(log_odds, outcome, client)
    slope, intercept = calibration(log_odds[name], outcome, client, fold)
    model = replace(fitted(name, clients, table, outcome, seed), slope=slope, intercept=intercept)
    calibrated = (slope, intercept) != (1.0, 0.0)
    return Contest(model, contestants, int(fold.max()) + 1, slope * log_odds[name] + intercept, calibrated)


def folds_by_client(client: NDArray[Any], outcome: Floats, folds: int, seed: int) -> NDArray[np.intp] | None:
    """Fold of each row, shape (rows,), or None where not even two folds are possible.

    All rows of a client are in one fold. Clients are dealt out in turn, first those who ever left, so that
    each fold has its share. Folds are as many as the smaller class has clients, at most `folds`.
    """
    ids, at = np.unique(client, return_inverse=True)
    ever = {label: np.bincount(at[outcome == label], minlength=len(ids)) > 0 for label in (0, 1)}
    possible = min(folds, int(ever[0].sum()), int(ever[1].sum()))
    if possible < 2:
        return None
    shuffled = np.random.default_rng(seed).permutation(len(ids))
    dealt = np.concatenate([shuffled[ever[1][shuffled]], shuffled[~ever[1][shuffled]]])
    of_client = np.empty(len(ids), dtype=np.intp)
    of_client[dealt] = np.arange(len(ids)) % possible
    fold = of_client[at]
    learnable = all(len(np.unique(outcome[fold != held_out])) == 2 for held_out in range(possible))
    return fold if learnable else None


def out_of_fold(
    name: str, clients: Clients, table: pd.DataFrame, outcome: Floats, fold: NDArray[np.intp], seed: int
) -> Floats:
    """Log-odds of each row by a model that was fitted without its fold, shape (rows,)."""
    log_odds = np.empty(len(outcome))
    for held_out in np.unique(fold):
        inside = fold == held_out
        log_odds[inside] = fitted(name, clients, table[~inside], outcome[~inside], seed).log_odds(
            table[inside]
        )
    return log_odds


def fitted(name: str, clients: Clients, table: pd.DataFrame, outcome: Floats, seed: int) -> Model:
    """One candidate fitted on all rows, not yet calibrated; one thread, which is faster on small tables."""
    with threadpool_limits(limits=1):
        pipeline = CANDIDATES[name](clients, seed).fit(table[list(clients.features)], outcome)
    return Model(name, clients.features, pipeline)


def judged(name: str, log_odds: Floats, outcome: Floats, client: NDArray[Any], seconds: float) -> Contestant:
    log_loss, error = scores.mean_and_error(scores.log_losses(outcome, log_odds), client)
    brier = float(np.mean((expit(log_odds) - outcome) ** 2))
    return Contestant(
        name, log_loss, error, float(roc_auc_score(outcome, log_odds)), brier, round(seconds, 3)
    )


def chosen(log_odds: Mapping[str, Floats], outcome: Floats, client: NDArray[Any]) -> str:
    """The earliest candidate whose log loss is within one standard error of the lowest.

    The error is that of the difference row by row, so what is hard for all does not hide which is better (the
    one-standard-error rule of Breiman et al. 1984, paired).
    """
    losses = {name: scores.log_losses(outcome, each) for name, each in log_odds.items()}
    best = min(losses, key=lambda name: losses[name].mean())
    gaps = {name: scores.mean_and_error(each - losses[best], client) for name, each in losses.items()}
    return next(name for name, (gap, error) in gaps.items() if gap <= error)


def calibration(
    log_odds: Floats, outcome: Floats, client: NDArray[Any], fold: NDArray[np.intp]
) -> tuple[float, float]:
    """Slope and intercept on out-of-fold log-odds (Platt 1999), or 1 and 0 where they do not pay.

    They pay where, fitted on the other folds, they lower the log loss by more than a standard error.
    """
    crossed = np.empty(len(outcome))
    for held_out in np.unique(fold):
        inside = fold == held_out
        slope, intercept = _line(log_odds[~inside], outcome[~inside])
        crossed[inside] = slope * log_odds[inside] + intercept
    gains = scores.log_losses(outcome, log_odds) - scores.log_losses(outcome, crossed)
    gain, error = scores.mean_and_error(gains, client)
    slope, intercept = _line(log_odds, outcome)
    # a slope below zero would turn the ranking round: that is no calibration
    return (slope, intercept) if gain > error and slope > 0 else (1.0, 0.0)


def _line(log_odds: Floats, outcome: Floats) -> tuple[float, float]:
    regression = LogisticRegression(C=CALIBRATION_C, max_iter=ITERATIONS)
    with threadpool_limits(limits=1):
        regression.fit(log_odds.reshape(-1, 1), outcome)
    return float(regression.coef_[0, 0]), float(regression.intercept_[0])


def libraries() -> dict[str, str]:
    """Versions a pickled model depends on."""
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "pandas": pd.__version__,
        "scikit-learn": sklearn.__version__,
    }
