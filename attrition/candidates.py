"""The models that compete, from the simplest on; to enter one, add a line to CANDIDATES.

Imports scikit-learn: import this room only where a model is fitted or unpickled.
"""

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import sklearn
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits

from attrition.estimators import Bag, Bounds, Codes, Rate, Steps, Tents
from attrition.settings import Clients

Floats = NDArray[np.float64]
Builder = Callable[[Clients, pd.DataFrame, int], Pipeline]

# bound on the iterations of a fit; scaled columns need far fewer
ITERATIONS = 5000
# a path of the scorecard's trees is no longer: attrition.trees, MOST_SPLITS
DEPTH = 7
# of each kind; with fewer there is nothing that a flexible model could learn and a simple one could not
ENOUGH_TO_BEND = 25


@dataclass(frozen=True)
class Candidate:
    """`build` makes the pipeline; `glass` is a sum over columns and pairs; `fewest` rows of each outcome.

    `dear` candidates wait until the cheap ones are judged.
    """

    build: Builder
    glass: bool = True
    fewest: int = 1
    dear: bool = False


def constant(clients: Clients, table: pd.DataFrame, seed: int) -> Pipeline:
    return Pipeline([("rate", Rate())])


def signed_log(values: Floats) -> Floats:
    return np.sign(values) * np.log1p(np.abs(values))


def logistic(strength: float, scale: Callable[[Floats], Floats] | None = None) -> Builder:
    """Logistic regression; `strength` is scikit-learn's C, `scale` what number columns go through first."""
    return lambda clients, table, seed: _linear(clients, ("scale", FunctionTransformer(scale)), strength)


def spline(strength: float, knots: int) -> Builder:
    """Logistic regression over linear splines with knots at quantiles."""
    return lambda clients, table, seed: _linear(clients, ("scale", Tents(knots)), strength)


def _linear(clients: Clients, scale: tuple[str, Any], strength: float) -> Pipeline:
    """Indicators of missing numbers are not scaled, or a single blank in ten thousand rows would weigh a
    hundred standard deviations. A blank category is a category of its own; an unseen one counts for nothing.
    """
    numbers = Pipeline(
        [
            ("bounds", Bounds()),
            scale,
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
    return Pipeline([("columns", columns), ("model", LogisticRegression(C=strength, max_iter=ITERATIONS))])


def ebm(pairs: int) -> Builder:
    """Explainable boosting, with at most this many pairs of columns."""
    return _coded(lambda is_category, seed: Steps(is_category, pairs, seed))


def boosting(**settings: Any) -> Builder:
    """Boosted trees, bagged over folds."""
    return _coded(lambda is_category, seed: Bag(is_category, seed=seed, **settings))


def _coded(make: Callable[[tuple[bool, ...], int], Any]) -> Builder:
    def build(clients: Clients, table: pd.DataFrame, seed: int) -> Pipeline:
        codes = Codes(clients.model_numbers, clients.categorical).fit(table)
        if not codes.kept_:
            return constant(clients, table, seed)
        return Pipeline([("columns", codes), ("model", make(tuple(codes.is_category), seed))])

    return build


# simplest first: of two that cannot be told apart the earlier one wins. A logarithmic scale suits
# skewed counts: on four of five sets of churn data it lowered the log loss by three to eight standard errors
CANDIDATES: dict[str, Candidate] = {
    "constant": Candidate(constant),
    "logistic_strong": Candidate(logistic(0.05)),
    "logistic": Candidate(logistic(1.0)),
    "logistic_log": Candidate(logistic(0.2, signed_log)),
    "spline": Candidate(spline(0.1, knots=6), fewest=ENOUGH_TO_BEND),
    "ebm": Candidate(ebm(pairs=0), fewest=ENOUGH_TO_BEND, dear=True),
    "ebm_pairs": Candidate(ebm(pairs=20), fewest=ENOUGH_TO_BEND, dear=True),
    "boosting": Candidate(boosting(rate=0.05, shrinkage=5.0), glass=False, fewest=ENOUGH_TO_BEND, dear=True),
    "boosting_large": Candidate(
        boosting(rate=0.07, leaves=24, depth=DEPTH, rounds=500, fewest=10, share=0.7),
        glass=False,
        fewest=ENOUGH_TO_BEND,
        dear=True,
    ),
}
BLEND = "blend"
# what config.json may name: each stands for its variants
FAMILIES: dict[str, tuple[str, ...]] = {
    "constant": ("constant",),
    "logistic": ("logistic_strong", "logistic", "logistic_log"),
    "spline": ("spline",),
    "ebm": ("ebm", "ebm_pairs"),
    "boosting": ("boosting", "boosting_large"),
    "blend": (),
}


@dataclass(frozen=True)
class Model:
    """What trainedmodel.pkl holds: fitted pipelines, the weight of each, and slope and intercept on log-odds.

    All but a blend has one pipeline of weight 1.
    """

    name: str
    features: tuple[str, ...]
    pipelines: Mapping[str, Pipeline]
    weights: Mapping[str, float]
    slope: float = 1.0
    intercept: float = 0.0

    @property
    def glass(self) -> bool:
        return all(CANDIDATES[name].glass for name in self.pipelines)

    def log_odds(self, table: pd.DataFrame) -> Floats:
        """Calibrated log-odds of leaving, shape (rows,)."""
        seen = table[list(self.features)]
        raw = sum(
            (
                self.weights[name] * pipeline.decision_function(seen)
                for name, pipeline in self.pipelines.items()
            ),
            start=np.zeros(len(table)),
        )
        return self.slope * raw + self.intercept

    def predict_proba(self, table: pd.DataFrame) -> Floats:
        """Calibrated probabilities of staying and of leaving, shape (rows, 2)."""
        log_odds = self.log_odds(table)
        return np.column_stack([expit(-log_odds), expit(log_odds)])


def fitted(
    weights: Mapping[str, float],
    clients: Clients,
    table: pd.DataFrame,
    outcome: Floats,
    family: NDArray[np.intp],
    seed: int,
    name: str,
) -> Model:
    """The weighted sum of some candidates' log-odds, each fitted on all rows, not yet calibrated.

    Models that set rows aside to know when to stop set whole families aside. One thread, which is faster
    on small tables.
    """
    seen = table[list(clients.features)]
    pipelines = {}
    with threadpool_limits(limits=1):
        for member in weights:
            pipeline = CANDIDATES[member].build(clients, seen, seed)
            sets_aside = isinstance(pipeline[-1], Bag | Steps)
            pipelines[member] = pipeline.fit(
                seen, outcome, **({"model__family": family} if sets_aside else {})
            )
    return Model(name, clients.features, pipelines, dict(weights))


def entered(families: Sequence[str], fewest: int) -> list[str]:
    """Candidates of these families that `fewest` rows of the rarer outcome are enough for, simplest first."""
    named = {variant for family in families for variant in FAMILIES[family]}
    found = [name for name in CANDIDATES if name in named and CANDIDATES[name].fewest <= fewest]
    return found or ["constant"]


def libraries() -> dict[str, str]:
    """Versions a pickled model depends on."""
    from importlib.metadata import version

    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "pandas": pd.__version__,
        "scikit-learn": sklearn.__version__,
        "interpret-core": version("interpret-core"),
    }
