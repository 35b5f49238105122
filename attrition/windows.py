"""Which rows to train on, by evidence: all, or only the newest, whichever predicts the newest rows better.

Old rows help while the world stays as it is and harm once it has changed. A quick model is trained on each
window and asked about newest rows of clients that it has not seen. Imports scikit-learn.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from attrition import candidates, folds, scores
from attrition.settings import Clients

Floats = NDArray[np.float64]

ALL = "all rows"
SHARES = {ALL: 1.0, "the newest half": 0.5, "the newest quarter": 0.25, "the newest eighth": 0.125}
FEWEST_ROWS = 300
FEWEST_OF_EACH = 30
# judged are the newest rows: this share, but no fewer than these
JUDGED_SHARE = 0.1
FEWEST_JUDGED = 200
FOLDS = 5
# a shorter window must be better by this many standard errors of the paired difference
SURE = 2.0
# splines of more number columns, or more categories of a column, cost more than they tell here
MOST_NUMBERS_BENT = 20
MOST_CATEGORIES = 20
KNOTS = 5
STRENGTH = 0.1


@dataclass(frozen=True)
class Judged:
    """A window on the newest rows, out of fold: log loss, and how much lower it is than with all rows."""

    rows: int
    log_loss: float
    gain: float
    gain_se: float


@dataclass(frozen=True)
class Window:
    """The newest `rows` rows are to be trained on; `figures` are of every window that was tried."""

    rows: int
    name: str
    reason: str
    figures: Mapping[str, Judged]


def choose(
    table: pd.DataFrame,
    outcome: Floats,
    clients: NDArray[Any],
    numeric: Sequence[str],
    categorical: Sequence[str],
    seed: int,
) -> Window:
    """All rows, or the newest half, quarter or eighth, where that predicts the newest rows better.

    `table` holds the model's columns in order of time, `outcome` 1.0 left or 0.0 stayed, `clients` the ids;
    shape (rows,). A window needs FEWEST_ROWS rows and FEWEST_OF_EACH of either outcome. Better means: by more
    than SURE standard errors of the paired difference of the log losses, clustered by client, over the newest
    rows. These are dealt into folds of whole clients, and each fold is predicted by a model of the window
    without its clients.
    """
    rows = len(outcome)
    judged = max(FEWEST_JUDGED, int(rows * JUDGED_SHARE))
    sizes = {name: int(rows * share) for name, share in SHARES.items()}
    sizes = {name: size for name, size in sizes.items() if name == ALL or _is_enough(outcome[rows - size :])}
    if rows < judged or len(sizes) == 1:
        return Window(rows, ALL, f"All {rows:,} rows are used: too few to choose among windows.", {})
    newest = slice(rows - judged, rows)
    client = np.unique(clients, return_inverse=True)[1]
    fold = folds.by_client(client[newest], outcome[newest], FOLDS, seed)
    if fold is None:
        lacking = f"the newest {judged:,} hold fewer than two clients of one outcome"
        return Window(rows, ALL, f"All {rows:,} rows are used: {lacking}.", {})
    features = _features(table, numeric, categorical, seed)
    losses = {name: _losses(features, outcome, client, fold, size) for name, size in sizes.items()}
    figures = {}
    for name, each in losses.items():
        gain, error = scores.mean_and_error(losses[ALL] - each, client[newest])
        figures[name] = Judged(sizes[name], float(each.mean()), gain, error)
    return _told(chosen(losses, client[newest]), figures, judged)


def chosen(losses: Mapping[str, Floats], clients: NDArray[Any]) -> str:
    """The window of these log losses of the newest rows, shape (rows,) each, longest first.

    Of those surely better than all rows the longest within one standard error of the best: more rows serve a
    larger model than the one that is asked here.
    """
    sure = {}
    for name, each in losses.items():
        gain, error = scores.mean_and_error(losses[ALL] - each, clients)
        if gain > SURE * error:
            sure[name] = each
    if not sure:
        return ALL
    best = min(sure.values(), key=lambda each: float(each.mean()))
    gaps = {name: scores.mean_and_error(each - best, clients) for name, each in sure.items()}
    return next(name for name, (gap, error) in gaps.items() if gap <= error)


def _is_enough(outcome: Floats) -> bool:
    left = int(outcome.sum())
    return len(outcome) >= FEWEST_ROWS and min(left, len(outcome) - left) >= FEWEST_OF_EACH


def _told(name: str, figures: Mapping[str, Judged], judged: int) -> Window:
    found, rows = figures[name], figures[ALL].rows
    if name != ALL:
        used = (
            f"Only {name}, {found.rows:,} of {rows:,} rows, is used: on the newest {judged:,} its log loss is"
        )
        reason = f"{used} lower by {found.gain:.4f} ± {found.gain_se:.4f}. The older rows mislead by now."
        return Window(found.rows, name, reason, figures)
    closest = min(set(figures) - {ALL}, key=lambda name: figures[name].log_loss)
    other = figures[closest]
    change = f"{closest} alone changes the log loss by {-other.gain:+.4f} ± {other.gain_se:.4f}"
    reason = f"All {rows:,} rows are used: on the newest {judged:,} {change}, which is no sure gain."
    return Window(rows, ALL, reason, figures)


def _features(table: pd.DataFrame, numeric: Sequence[str], categorical: Sequence[str], seed: int) -> Floats:
    """The columns as the spline candidate sees them, made once for all windows; no outcome is looked at."""
    columns = Clients.model_construct(numeric=tuple(numeric), categorical=tuple(categorical), derived={})
    bent = len(numeric) <= MOST_NUMBERS_BENT
    build = candidates.spline(STRENGTH, KNOTS) if bent else candidates.logistic(STRENGTH)
    pipeline = build(columns, table, seed).set_params(
        columns__sparse_threshold=0.0,
        columns__categories__max_categories=MOST_CATEGORIES,
        columns__categories__handle_unknown="infrequent_if_exist",
    )
    with threadpool_limits(limits=1):
        features: Floats = pipeline[0].fit_transform(table)
    return features


def _losses(
    features: Floats, outcome: Floats, client: NDArray[np.intp], fold: NDArray[np.intp], size: int
) -> Floats:
    """Log losses of the newest len(fold) rows, each fold predicted by a model of the newest `size` rows.

    Each fit starts from the one before: they differ by a few clients.
    """
    from sklearn.linear_model import LogisticRegression

    start, first = len(outcome) - size, len(outcome) - len(fold)
    model = LogisticRegression(
        C=STRENGTH, solver="newton-cholesky", warm_start=True, max_iter=candidates.ITERATIONS
    )
    log_odds = np.empty(len(fold))
    for held_out in np.unique(fold):
        asked = np.flatnonzero(fold == held_out) + first
        seen = np.flatnonzero(~np.isin(client[start:], client[asked])) + start
        with threadpool_limits(limits=1):
            model.fit(features[seen], outcome[seen])
            log_odds[asked - first] = model.decision_function(features[asked])
    return scores.log_losses(outcome[first:], log_odds)
