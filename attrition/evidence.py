"""What rows with a known outcome say about the live release and its challenger, in figures and sentences."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from attrition import contract as contracts
from attrition import drift, scorecard, scores, stage
from attrition.config import Config
from attrition.drift import Drift
from attrition.releases import Release

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Decision:
    promote: bool
    reason: str


def score_live(config: Config, live: Release, fresh: "pd.DataFrame") -> Mapping[str, Any] | None:
    """Figures of the live release on new rows it was not trained on; None where no outcome is known."""
    outcome = contracts.outcomes(config.clients, fresh)
    known = outcome == outcome
    labelled, outcome = fresh[known], outcome[known]
    if not len(labelled):
        return None
    card = scorecard.load(live.read("scorecard.json"))
    confidence = 1 - config.settings.drift.alpha
    clients, seed = labelled[config.clients.id].to_numpy(), config.settings.training.seed
    figures = scores.figures(outcome, card.probability(labelled), card.threshold, clients, seed, confidence)
    return {
        "release": live.id,
        "scored_at": stage.now(),
        "rows": len(labelled),
        "left": int(outcome.sum()),
        "threshold": card.threshold,
        "confidence": confidence,
        "figures": {name: asdict(figure) if figure else None for name, figure in figures.items()},
    }


def drifted(config: Config, live: Release, live_score: Mapping[str, Any] | None) -> Drift | None:
    """Whether the score on the new rows lies below the score the release was deployed with."""
    if live_score is None:
        return None
    deployed, now = live.scores["figures"]["f1"], live_score["figures"]["f1"]
    return drift.score_drift(deployed, now, live_score["rows"], config.settings.drift.tolerance)


def stays(live_score: Mapping[str, Any] | None) -> str:
    """Why the model stays, where it has not drifted."""
    if live_score is None:
        return "No new outcomes: the model stays."
    f1, rows = live_score["figures"]["f1"], f"{live_score['rows']:,} new labelled rows"
    if f1 is None:
        return f"No drift can be told from {rows}: the model stays."
    interval = f"{live_score['confidence']:.0%} interval {f1['low']:.3f} to {f1['high']:.3f}"
    return f"No drift: F1 of the live release is {f1['value']:.3f} ({interval}) on {rows}; the model stays."


def decide(config: Config, live: Release | None, fingerprint: str, test_rows: "pd.DataFrame") -> Decision:
    """Compare challenger and live release on the same test rows; one that is not worse is deployed."""
    if live is None:
        return Decision(True, "The new model is the first that can be served.")
    if live.facts["contract"] != fingerprint:
        return Decision(True, "The new model replaces one that reads other columns.")
    champion = scorecard.load(live.read("scorecard.json"))
    challenger = scorecard.load(config.scorecard.read_bytes())
    difference = scores.f1_difference(
        contracts.outcomes(config.clients, test_rows),
        test_rows[config.clients.id].to_numpy(),
        (champion.probability(test_rows), champion.threshold),
        (challenger.probability(test_rows), challenger.threshold),
        config.settings.training.seed,
        config.settings.promotion.confidence,
    )
    if difference is None:
        return Decision(False, "The new model is kept aside: F1 cannot be compared on the test rows.")
    confidence = f"{config.settings.promotion.confidence:.0%} interval"
    interval = f"{confidence} {difference.low:+.3f} to {difference.high:+.3f}"
    figures = f"F1 differs by {difference.value:+.3f} ({interval}) on {len(test_rows):,} test rows"
    if difference.value < -config.settings.promotion.margin:
        return Decision(False, f"The new model is kept aside, since it is worse: {figures}.")
    return Decision(True, f"The new model is deployed, since it is not worse: {figures}.")
