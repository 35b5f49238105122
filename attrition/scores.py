"""Figures of a model on labelled rows, each with an interval and what a guess without skill would score.

Touches no disk. Intervals are percentiles of a bootstrap that draws clients, not rows: several rows of one
client are no independent evidence (Efron & Tibshirani 1993; Field & Welsh 2007).
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RANKING = ("f1", "precision", "recall", "roc_auc", "pr_auc", "log_loss", "brier")
CALIBRATION = ("slope", "intercept", "calibration_error")
FIGURES = (*RANKING, *CALIBRATION)
# pulls slope and intercept to 1 and 0 like a hundredth of a row: few rows may be told apart without fault
PULL = 0.01
NEWTON_STEPS = 25
RESAMPLES = 1000
# Jeffreys' prior, half a row in each cell of the confusion matrix: five rows all predicted right do not prove
# a perfect model, though every resample of them is perfect too. A thousand rows do not feel it
GHOST = 0.5
CELLS_AT_ONCE = 2_000_000
CURVE_POINTS = 100
DISTRIBUTION_BINS = 20
LEAST_IN_BIN = 10
CERTAIN = 1e-15
CLIPPED = 35.0
LONGEST_STEP = 5.0


@dataclass(frozen=True)
class Figure:
    """A figure, the interval around it, and what a guess without skill would score."""

    value: float
    low: float
    high: float
    no_skill: float


def figures(
    outcome: Floats,
    probability: Floats,
    threshold: float,
    clients: NDArray[Any],
    seed: int,
    confidence: float = 0.95,
) -> dict[str, Figure | None]:
    """F1, precision, recall, ROC AUC, PR AUC (average precision), log loss, Brier score, and calibration.

    Calibration is slope and intercept of the outcome on the log-odds (1 and 0 are perfect: Cox 1958), and the
    expected calibration error: mean distance of predicted and observed rate over bins of equal count.

    `outcome` is 1.0 left or 0.0 stayed, `probability` of leaving, `clients` the ids: shape (rows,) each. What
    one class alone cannot tell is None. Without skill: flag everybody (F1), flag as many at random
    (precision, recall), give everybody the rate of leaving (the others; its slope counts as 0).
    """
    if len(outcome) == 0:
        return dict.fromkeys(FIGURES)
    client = np.unique(clients, return_inverse=True)[1]
    one = np.ones((1, client.max() + 1))
    values = _measures(outcome, probability, threshold, client, one, np.zeros((1, 4)))
    drawn = [
        _measures(outcome, probability, threshold, client, counts, ghosts)
        for counts, ghosts in _resamples(client, seed)
    ]
    without = _no_skill(float(outcome.mean()), float(np.mean(probability >= threshold)))
    return {
        name: _figure(
            values[name][0], np.concatenate([draw[name] for draw in drawn]), without[name], confidence
        )
        for name in FIGURES
    }


def f1_difference(
    outcome: Floats,
    clients: NDArray[Any],
    champion: tuple[Floats, float],
    challenger: tuple[Floats, float],
    seed: int,
    confidence: float = 0.95,
) -> Figure | None:
    """F1 of the challenger minus that of the champion on the same rows, (probability, threshold) each.

    Every resample serves both, so that what is hard for both cancels out. None where nobody left.
    """
    client = np.unique(clients, return_inverse=True)[1]
    cells = [_cells(outcome, probability, threshold) for probability, threshold in (champion, challenger)]
    by_client = [_by_client(client, each) for each in cells]

    def difference(counts: Floats) -> Floats:
        old, new = (_f1(counts @ each) for each in by_client)
        return new - old

    if not outcome.any():
        return None
    value = difference(np.ones((1, client.max() + 1)))[0]
    drawn = [difference(counts) for counts, _ in _resamples(client, seed)]
    return _figure(value, np.concatenate(drawn), 0.0, confidence)


def confusion(outcome: Floats, probability: Floats, threshold: float) -> dict[str, int]:
    """Rows by what was predicted and what came true; who left is positive."""
    names = ("true_positive", "false_negative", "false_positive", "true_negative")
    return dict(
        zip(names, _cells(outcome, probability, threshold).sum(axis=0).astype(int).tolist(), strict=True)
    )


def calibration(outcome: Floats, probability: Floats, bins: int = 10) -> list[dict[str, float | int]]:
    """Mean predicted and observed rate in bins of about equal count, lowest first.

    Equal probabilities share a bin, and no bin is planned for fewer than LEAST_IN_BIN rows.
    """
    place = _bins(probability, bins)
    return [
        {
            "predicted": float(probability[place == each].mean()),
            "observed": float(outcome[place == each].mean()),
            "count": int((place == each).sum()),
        }
        for each in np.unique(place)
    ]


def _bins(probability: Floats, bins: int = 10) -> NDArray[np.intp]:
    """Bin of each row, shape (rows,)."""
    ordered = np.sort(probability, kind="stable")
    bins = max(1, min(bins, len(ordered) // LEAST_IN_BIN))
    return np.searchsorted(ordered, probability, side="left") * bins // max(1, len(ordered))


def deciles(
    outcome: Floats, probability: Floats, clients: NDArray[Any], seed: int, confidence: float = 0.95
) -> list[dict[str, Any]]:
    """What each tenth of the rows holds, the likeliest to leave first: rows, leavers, and figures.

    `lift` is its rate of leaving over that of all (no skill: 1), `capture` the share of all leavers in it and
    those before it (no skill: the share of the rows). Equal probabilities are dealt out in the order of rows.
    """
    if not outcome.any():
        return []
    client = np.unique(clients, return_inverse=True)[1]
    tenth = np.empty(len(outcome), dtype=np.intp)
    tenth[np.argsort(-probability, kind="stable")] = np.arange(len(outcome)) * 10 // len(outcome)
    member = (tenth[:, None] == np.arange(10)).astype(float)
    rows, left = _by_client(client, member), _by_client(client, member * outcome[:, None])

    def drawn(counts: Floats) -> tuple[Floats, Floats]:
        there, gone = counts @ rows, counts @ left
        all_gone = gone.sum(axis=1, keepdims=True)
        with np.errstate(invalid="ignore", divide="ignore"):
            lift = (gone / there) / (all_gone / there.sum(axis=1, keepdims=True))
            return lift, gone.cumsum(axis=1) / all_gone

    values = drawn(np.ones((1, client.max() + 1)))
    draws = [drawn(counts) for counts, _ in _resamples(client, seed)]
    lifts, captures = (np.concatenate(each) for each in zip(*draws, strict=True))
    share = rows.sum(axis=0).cumsum() / len(outcome)
    return [
        {
            "decile": at + 1,
            "rows": int(rows[:, at].sum()),
            "left": int(left[:, at].sum()),
            "lift": _as_dict(_figure(values[0][0, at], lifts[:, at], 1.0, confidence)),
            "capture": _as_dict(_figure(values[1][0, at], captures[:, at], float(share[at]), confidence)),
        }
        for at in range(10)
        if rows[:, at].any()
    ]


def precision_recall(outcome: Floats, probability: Floats) -> dict[str, list[float]] | None:
    """Precision and recall at up to CURVE_POINTS thresholds, the lowest first; None where nobody left.

    `outcome` and `probability` have shape (rows,). The thresholds are evenly spaced among the different
    probabilities, the least and the greatest included.
    """
    from sklearn.metrics import precision_recall_curve

    if not outcome.any():
        return None
    precision, recall, threshold = precision_recall_curve(outcome, probability)
    at = np.unique(np.linspace(0, len(threshold) - 1, CURVE_POINTS).round().astype(int))
    curve = {"threshold": threshold, "precision": precision, "recall": recall}
    return {name: values[at].tolist() for name, values in curve.items()}


def distribution(outcome: Floats, probability: Floats) -> dict[str, list[float] | list[int]]:
    """Rows by probability, those who left and those who stayed: counts between equally spaced edges.

    `outcome` and `probability` have shape (rows,). A bin holds its lower edge, the last one its upper too.
    """
    edges = np.linspace(0, 1, DISTRIBUTION_BINS + 1).round(2)
    left, stayed = (np.histogram(probability[outcome == value], edges)[0].tolist() for value in (1, 0))
    return {"edges": edges.tolist(), "left": left, "stayed": stayed}


def _as_dict(figure: Figure | None) -> dict[str, float] | None:
    return None if figure is None else asdict(figure)


def log_losses(outcome: Floats, log_odds: Floats) -> Floats:
    """Log loss of each row in nats, shape (rows,)."""
    return np.logaddexp(0.0, np.where(outcome == 1, -log_odds, log_odds))


def mean_and_error(values: Floats, clients: NDArray[Any]) -> tuple[float, float]:
    """Mean over rows and its standard error, clustered by client; of one client alone it is infinite."""
    client = np.unique(clients, return_inverse=True)[1]
    mean = values.mean()
    sums = np.bincount(client, weights=values - mean)
    if len(sums) < 2:
        return float(mean), float("inf")
    spread = np.sqrt(np.sum(sums**2) * len(sums) / (len(sums) - 1))
    return float(mean), float(spread / len(values))


def _resamples(client: NDArray[np.intp], seed: int) -> Iterator[tuple[Floats, Floats]]:
    """How often each client is drawn, shape (draws, clients), and ghosts, shape (draws, 4), in portions."""
    random = np.random.default_rng(seed)
    clients = int(client.max()) + 1
    at_once = max(1, CELLS_AT_ONCE // len(client))
    for start in range(0, RESAMPLES, at_once):
        draws = min(at_once, RESAMPLES - start)
        picked = random.integers(clients, size=(draws, clients)) + clients * np.arange(draws)[:, None]
        counts = np.bincount(picked.ravel(), minlength=draws * clients).reshape(draws, clients)
        yield counts.astype(float), random.gamma(GHOST, size=(draws, 4))


def _measures(
    outcome: Floats,
    probability: Floats,
    threshold: float,
    client: NDArray[np.intp],
    counts: Floats,
    ghosts: Floats,
) -> dict[str, Floats]:
    """Every figure under every weighting of the clients, shape (draws,); NaN where undefined."""
    certain = np.clip(probability, CERTAIN, 1 - CERTAIN)
    losses = np.column_stack(
        [-np.log(np.where(outcome == 1, certain, 1 - certain)), (probability - outcome) ** 2]
    )
    cells = counts @ _by_client(client, _cells(outcome, probability, threshold)) + ghosts
    log_loss, brier = (counts @ _by_client(client, losses)).T / (counts @ np.bincount(client))
    roc_auc, pr_auc = _ranking(outcome, probability, client, counts, ghosts)
    hit, missed, needless, _ = cells.T
    with np.errstate(invalid="ignore"):
        measures = {
            "f1": _f1(cells),
            "precision": hit / (hit + needless),
            "recall": hit / (hit + missed),
        }
    ranked = {**measures, "roc_auc": roc_auc, "pr_auc": pr_auc, "log_loss": log_loss, "brier": brier}
    return {**ranked, **_calibrations(outcome, certain, client, counts)}


def _calibrations(
    outcome: Floats, probability: Floats, client: NDArray[np.intp], counts: Floats
) -> dict[str, Floats]:
    """Slope, intercept and expected calibration error under every weighting of the clients, shape (draws,).

    Slope and intercept are fitted once, and one Newton step from there for each weighting.
    """
    log_odds = np.log(probability / (1 - probability))
    place = _bins(probability)
    gaps = np.zeros((len(place), place.max() + 1))
    gaps[np.arange(len(place)), place] = probability - outcome
    error = np.abs(counts @ _by_client(client, gaps)).sum(axis=1) / (counts @ np.bincount(client))
    if len(np.unique(outcome)) < 2:
        unknown = np.full(len(counts), np.nan)
        return {"slope": unknown, "intercept": unknown, "calibration_error": error}
    line = np.array([0.0, 1.0])
    for _ in range(NEWTON_STEPS):
        line = line + _newton(line, outcome, log_odds, client, np.ones((1, client.max() + 1)))[0]
    lines = line + _newton(line, outcome, log_odds, client, counts)
    return {"slope": lines[:, 1], "intercept": lines[:, 0], "calibration_error": error}


def _newton(
    line: Floats, outcome: Floats, log_odds: Floats, client: NDArray[np.intp], counts: Floats
) -> Floats:
    """The step from (intercept, slope) towards the best one, under every weighting, shape (draws, 2)."""
    fitted = 1 / (1 + np.exp(-np.clip(line[0] + line[1] * log_odds, -CLIPPED, CLIPPED)))
    missed, spread = outcome - fitted, fitted * (1 - fitted)
    sums = np.column_stack(
        [missed, missed * log_odds, spread, spread * log_odds, spread * log_odds * log_odds]
    )
    up, up_slope, a, b, c = (counts @ _by_client(client, sums)).T
    up, up_slope = up - PULL * line[0], up_slope - PULL * (line[1] - 1)
    a, c = a + PULL, c + PULL
    determinant = a * c - b * b
    step = np.column_stack([(c * up - b * up_slope), (a * up_slope - b * up)]) / determinant[:, None]
    # far from the best line a whole step may lead too far
    size = np.abs(step).max(axis=1, keepdims=True)
    return step / np.maximum(1.0, size / LONGEST_STEP)


def _ranking(
    outcome: Floats, probability: Floats, client: NDArray[np.intp], counts: Floats, ghosts: Floats
) -> tuple[Floats, Floats]:
    """ROC AUC and average precision under every weighting; equal probabilities count as one step.

    Only those who left are looked at one by one: how many stand above each, and how many of them stayed.
    """
    order = np.argsort(-probability, kind="stable")
    down, is_left = -probability[order], outcome[order] == 1
    mine = down[is_left]
    weights = counts.astype(np.int32)[:, client[order]]
    rows, left = _running(weights), _running(weights[:, is_left])
    before, after = np.searchsorted(down, mine, "left"), np.searchsorted(down, mine, "right")
    left_after = left[:, np.searchsorted(mine, mine, "right")]
    stayed_before = rows[:, before] - left[:, np.searchsorted(mine, mine, "left")]
    stayed_after = rows[:, after] - left_after
    # ghosts: a hit and a needless one above all rows, a missed and a spared one below them
    hit, missed, needless, spared = ghosts.T
    all_left, all_stayed = left[:, -1] + hit + missed, rows[:, -1] - left[:, -1] + needless + spared
    own = weights[:, is_left]
    above = (stayed_before + stayed_after) / 2 + needless[:, None]
    pairs_lost = np.sum(own * above, axis=1) + hit * needless / 2 + missed * (all_stayed - spared / 2)
    hits = left_after + hit[:, None]
    flagged = np.maximum(hits + stayed_after + needless[:, None], 1.0)
    precisions = np.sum(own * hits / flagged, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        precisions += np.where(hit > 0, hit * hit / (hit + needless), 0)
        precisions += missed * all_left / (all_left + all_stayed)
        roc_auc = 1 - pairs_lost / (all_left * all_stayed)
        pr_auc = np.where(all_stayed > 0, precisions / all_left, np.nan)
    return roc_auc, pr_auc


def _running(weights: NDArray[np.int32]) -> NDArray[np.int32]:
    """Sums of the first 0, 1, ... columns."""
    return np.pad(weights.cumsum(axis=1, dtype=np.int32), ((0, 0), (1, 0)))


def _cells(outcome: Floats, probability: Floats, threshold: float) -> Floats:
    """Indicators of hit, missed, needless and rightly spared, shape (rows, 4)."""
    left, flagged = outcome == 1, probability >= threshold
    return np.column_stack([left & flagged, left & ~flagged, ~left & flagged, ~left & ~flagged]).astype(float)


def _by_client(client: NDArray[np.intp], columns: Floats) -> Floats:
    """Sums of each column over the rows of each client, shape (clients, columns)."""
    return np.column_stack([np.bincount(client, weights=column) for column in columns.T])


def _f1(cells: Floats) -> Floats:
    """F1 of each row of cells; NaN where nobody left: then a model can only lose."""
    hit, missed, needless, _ = cells.T
    with np.errstate(invalid="ignore"):
        return np.where(hit + missed > 0, 2 * hit / (2 * hit + missed + needless), np.nan)


def _no_skill(rate: float, flagged: float) -> dict[str, float]:
    entropy = -sum(share * np.log(share) for share in (rate, 1 - rate) if share > 0)
    return {
        "f1": 2 * rate / (1 + rate),
        "precision": rate,
        "recall": flagged,
        "roc_auc": 0.5,
        "pr_auc": rate,
        "log_loss": entropy,
        "brier": rate * (1 - rate),
        "slope": 0.0,
        "intercept": float(np.log(rate / (1 - rate))) if 0 < rate < 1 else 0.0,
        "calibration_error": 0.0,
    }


def _figure(value: float, drawn: Floats, no_skill: float, confidence: float) -> Figure | None:
    """None where the figure is undefined; resamples in which it is are left out."""
    if not np.isfinite(value):
        return None
    percentiles = [(1 - confidence) / 2, (1 + confidence) / 2]
    low, high = np.quantile(drawn[np.isfinite(drawn)], percentiles).tolist()
    return Figure(float(value), min(low, float(value)), max(high, float(value)), float(no_skill))
