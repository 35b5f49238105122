"""Statistics: numbers in, a verdict with its reason and figures out. Touches no disk.

The first rule looks at outcomes alone: the live release has drifted where the interval of its score on new
labelled rows lies below the score it was deployed with.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# fewer new outcomes than this cannot tell anything
FEWEST_ROWS = 5


@dataclass(frozen=True)
class Drift:
    """A verdict: the sentence for a person and the figures it rests on."""

    reason: str
    deployed_f1: float
    live_f1: float
    low: float
    high: float
    rows: int


def score_drift(
    deployed: Mapping[str, Any] | None, live: Mapping[str, Any] | None, rows: int, tolerance: float
) -> Drift | None:
    """Whether F1 on `rows` new labelled rows is below the deployed F1 by more than `tolerance`.

    `deployed` and `live` are F1 figures {value, low, high}; an undefined one (None) gives no verdict.
    """
    if deployed is None or live is None or rows < FEWEST_ROWS:
        return None
    if live["high"] >= deployed["value"] - tolerance:
        return None
    fell = f"F1 fell from {deployed['value']:.3f} to {live['value']:.3f}"
    interval = f"interval {live['low']:.3f} to {live['high']:.3f}"
    reason = f"{fell} ({interval}) on {rows:,} new labelled rows"
    return Drift(reason, deployed["value"], live["value"], live["low"], live["high"], rows)
