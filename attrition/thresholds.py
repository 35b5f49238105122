"""From which probability on a client is predicted to leave: by F1, cost, capacity, or fixed.

Imports numpy only where it computes: training imports this room before it knows whether there is work.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from attrition.settings import FromCost, FromFixed, Risk

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

WITHOUT_FOLDS = 0.5


def choose(risk: Risk, log_odds: "Floats | None", outcome: "Floats", active: int) -> float:
    """Learnt from out-of-fold log-odds only, shape (rows,); without any WITHOUT_FOLDS unless it is fixed."""
    if isinstance(risk.threshold, FromFixed):
        return risk.threshold.value
    if log_odds is None:
        return WITHOUT_FOLDS
    return THRESHOLDS[risk.threshold.from_](cuts(log_odds, outcome), risk, active)


@dataclass(frozen=True)
class Cuts:
    """Every way to divide rows by a threshold, the highest first: it flags none; shape (cuts,) each.

    `flagged` rows reach the threshold, `hit` of them left; in all `rows` there are `left` who left.
    """

    threshold: "Floats"
    flagged: "NDArray[np.intp]"
    hit: "Floats"
    rows: int
    left: float


def cuts(log_odds: "Floats", outcome: "Floats") -> Cuts:
    """A threshold half way between each two neighbouring probabilities."""
    import numpy as np
    from scipy.special import expit

    different, at = np.unique(-log_odds, return_inverse=True)
    probability = np.concatenate([[1.0], expit(-different), [0.0]])
    flagged = np.concatenate([[0], np.cumsum(np.bincount(at))])
    hit = np.concatenate([[0.0], np.cumsum(np.bincount(at, weights=outcome))])
    return Cuts((probability[:-1] + probability[1:]) / 2, flagged, hit, len(outcome), float(outcome.sum()))


def best_f1(cuts: Cuts, risk: Risk, active: int) -> float:
    return float(cuts.threshold[(2 * cuts.hit / (cuts.flagged + cuts.left)).argmax()])


def least_cost(cuts: Cuts, risk: Risk, active: int) -> float:
    price = risk.threshold
    assert isinstance(price, FromCost)
    missed, needless = cuts.left - cuts.hit, cuts.flagged - cuts.hit
    return float(cuts.threshold[(price.missed * missed + price.needless * needless).argmin()])


def as_many_as_fit(cuts: Cuts, risk: Risk, active: int) -> float:
    """Flags the share of the rows that the team's capacity is of the active clients."""
    share = min(1.0, risk.capacity / max(1, active))
    return float(cuts.threshold[cuts.flagged <= share * cuts.rows][-1])


THRESHOLDS: dict[str, Callable[[Cuts, Risk, int], float]] = {
    "f1": best_f1,
    "cost": least_cost,
    "capacity": as_many_as_fit,
}
