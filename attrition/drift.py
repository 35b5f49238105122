"""Has the world moved away from the live release? Numbers in, a verdict with its reason and figures out.

Touches no disk. Two bounded losses of the live release are followed, the error at its threshold and the Brier
loss, against what they were at deployment (attrition.betting). How often one looks does not matter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attrition import betting
from attrition.betting import NOTHING, Bets, Reference, Start, Track

Floats = NDArray[np.float64]

# a model that errs as often as a coin, or is as far off as saying "one half" to everybody, is of no use
COIN = {"error": 0.5, "brier": 0.25}
# share of alpha for what one look alone proves; the k-th look may spend 6 / (pi k)^2 of it
SUDDEN = 0.25
# the newest labels, kept to say what kind of drift it is
NEWEST = 1000
# figures further apart than this many standard errors differ
DIFFERENT = 3.0
NEWTON_STEPS = 30
LONGEST_STEP = 2.0
LEAST_CERTAIN = 1e-9

KINDS = {
    "concept": "what the columns say about leaving has changed",
    "prior": "the rate of leavers has changed, the order of the clients hardly",
    "covariate": "the clients are others, and harder to tell apart, as the model itself expected",
    "unclear": "too few labels to say what kind of change it is",
}


@dataclass(frozen=True)
class Deployed:
    """What was known of the losses when the release was deployed; `power` discounts rows of one client."""

    error: Reference
    brier: Reference
    threshold: float
    power: float = 1.0


@dataclass(frozen=True)
class Limits:
    """`alpha` is the chance of any false alarm in the life of a release, `tolerance` a rise that is none."""

    alpha: float
    tolerance: float

    @property
    def needed(self) -> float:
        """The log e-value that proves a rise."""
        return float(np.log(1 / ((1 - SUDDEN) * self.alpha)))


@dataclass(frozen=True)
class Shock:
    """Rows of one look that are wrong so often that it needs no others to prove a rise."""

    wrong: int
    rows: int
    p_value: float


@dataclass(frozen=True)
class Risk:
    """What every label since the deployment said about the live release.

    `evidence` is the highest log e-value so far: what was once proven stays proven.
    """

    error: Bets = Bets(NOTHING)
    brier: Bets = Bets(NOTHING)
    evidence: float = 0.0
    looks: int = 0
    shock: Shock | None = None
    since: str | None = None
    log_odds: tuple[float, ...] = ()
    outcome: tuple[int, ...] = ()

    @property
    def labels(self) -> int:
        return self.error.track.labels


@dataclass(frozen=True)
class Loss:
    """A mean loss since deployment, in an interval right at every look, and the one at deployment."""

    value: float | None
    low: float
    high: float
    deployed: float | None
    deployed_rows: int


@dataclass(frozen=True)
class Drift:
    """An alarm: the sentence for a person, and the figures it rests on. `kind` is one of KINDS."""

    reason: str
    since: str
    kind: str
    labels: int
    evidence: float
    needed: float
    shock: Shock | None
    error: Loss
    brier: Loss


@dataclass(frozen=True)
class Expected:
    """What the release's own probabilities promise: an estimate, blind to concept drift."""

    rows: int
    error: float
    error_low: float
    error_high: float
    f1: float | None
    f1_low: float | None
    f1_high: float | None
    leavers: float


def losses(outcome: Floats, probability: Floats, threshold: float) -> dict[str, Floats]:
    """The two losses of each row, shape (rows,), each in [0, 1]; `outcome` is 1.0 left or 0.0 stayed."""
    wrong = ((probability >= threshold) != (outcome == 1)).astype(float)
    return {"error": wrong, "brier": (probability - outcome) ** 2}


def counted(outcome: Floats, probability: Floats, threshold: float) -> dict[str, list[int]]:
    """The losses of rows as counts, for `deployed`."""
    each = losses(outcome, probability, threshold)
    return {name: betting.histogram(values) for name, values in each.items()}


def deployed(rows: Sequence[Mapping[str, list[int]]], threshold: float, power: float = 1.0) -> Deployed:
    """From the losses of several sets of rows, each `counted`."""
    references = {name: betting.reference([each[name] for each in rows], power) for name in COIN}
    return Deployed(**references, threshold=threshold, power=power)


def learn(risk: Risk, before: Deployed, limits: Limits, at: str, outcome: Floats, log_odds: Floats) -> Risk:
    """With new labelled rows, that no training of this release has seen, scored by it; shape (rows,) each.

    `since` becomes `at` where the bets, or these rows alone, are proof enough for the first time.
    """
    if not len(outcome):
        return risk
    each = losses(outcome, 1 / (1 + np.exp(-log_odds)), before.threshold)
    error, brier = risk.error.plus(each["error"]), risk.brier.plus(each["brier"])
    rises = (
        betting.rise(bets, reference, limits.tolerance, COIN[name], before.power)
        for name, bets, reference in (("error", error, before.error), ("brier", brier, before.brier))
    )
    # the mean of two e-values is one
    evidence = max(risk.evidence, float(np.logaddexp.reduce([*rises]) - np.log(2)))
    looks = risk.looks + 1
    shock = risk.shock or _shock(each["error"], before, limits, looks)
    proven = shock or evidence >= limits.needed
    return replace(
        risk,
        error=error,
        brier=brier,
        evidence=evidence,
        looks=looks,
        shock=shock,
        since=risk.since or (at if proven else None),
        log_odds=(*risk.log_odds, *np.round(log_odds[-NEWEST:], 4).tolist())[-NEWEST:],
        outcome=(*risk.outcome, *outcome[-NEWEST:].astype(int).tolist())[-NEWEST:],
    )


def live_losses(risk: Risk, before: Deployed, alpha: float) -> dict[str, Loss]:
    """Error and Brier loss of the live release since its deployment."""
    pairs = {"error": (risk.error.track, before.error), "brier": (risk.brier.track, before.brier)}
    return {
        name: Loss(
            track.mean, *betting.interval(track, alpha, before.power), reference.mean, reference.labels
        )
        for name, (track, reference) in pairs.items()
    }


def alarm(risk: Risk, before: Deployed, limits: Limits) -> Drift | None:
    """The verdict on all labels so far; None where nothing is proven."""
    if risk.since is None:
        return None
    found, nature = live_losses(risk, before, limits.alpha), kind(risk, before)
    if risk.shock and risk.evidence < limits.needed:
        told = _shocked(risk.shock, found["error"])
    else:
        told = _told(found, risk.labels, limits.alpha)
    reason = f"{told}: {KINDS[nature]}"
    return Drift(reason, risk.since, nature, risk.labels, risk.evidence, limits.needed, risk.shock, **found)


def kind(risk: Risk, before: Deployed) -> str:
    """What kind of drift the newest labels show: a key of KINDS.

    An error that the probabilities themselves expected is covariate shift. One that is gone once all
    log-odds are moved by one number is prior shift (Saerens, Latinne and Decaestecker 2002). The rest is
    concept drift.
    """
    log_odds, outcome = np.array(risk.log_odds), np.array(risk.outcome, dtype=float)
    threshold = before.threshold
    if len(outcome) < 2 or before.error.mean is None:
        return "unclear"
    if not _surprising(log_odds, outcome, threshold):
        hoped = expected(log_odds, threshold, 0.95)
        return "covariate" if hoped and hoped.error_low > before.error.mean else "unclear"
    moved = _moved(log_odds, outcome)
    if len(np.unique(outcome)) == 2 and not _surprising(log_odds + moved, outcome, threshold):
        return "prior"
    return "concept"


def expected(log_odds: Floats, threshold: float, confidence: float) -> Expected | None:
    """Error and F1 to expect from calibrated probabilities alone (confidence-based performance estimation).

    The interval holds what the outcomes of so many rows scatter by, and nothing else; None without rows.
    """
    if not len(log_odds):
        return None
    probability = 1 / (1 + np.exp(-log_odds))
    flagged = probability >= threshold
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    wrong = np.where(flagged, 1 - probability, probability)
    spread = z * np.sqrt(np.sum(wrong * (1 - wrong))) / len(wrong)
    error = float(wrong.mean())
    f1, f1_spread = _expected_f1(probability, flagged)
    return Expected(
        rows=len(wrong),
        error=error,
        error_low=max(0.0, error - spread),
        error_high=min(1.0, error + spread),
        f1=f1,
        f1_low=None if f1 is None else max(0.0, f1 - z * f1_spread),
        f1_high=None if f1 is None else min(1.0, f1 + z * f1_spread),
        leavers=float(probability.sum()),
    )


def as_json(risk: Risk) -> dict[str, Any]:
    return asdict(risk)


def from_json(facts: Mapping[str, Any]) -> Risk:
    return Risk(
        _bets(facts["error"]),
        _bets(facts["brier"]),
        facts["evidence"],
        facts["looks"],
        Shock(**facts["shock"]) if facts["shock"] else None,
        facts["since"],
        tuple(facts["log_odds"]),
        tuple(facts["outcome"]),
    )


def _bets(facts: Mapping[str, Any]) -> Bets:
    track = facts["track"]
    starts = tuple(Start(each["labels"], each["share"], tuple(each["up"])) for each in facts["starts"])
    return Bets(Track(track["labels"], track["total"], tuple(track["up"]), tuple(track["down"])), starts)


def _shock(wrong: Floats, before: Deployed, limits: Limits, look: int) -> Shock | None:
    """Fisher's exact test of this look's errors against those at deployment; None where they may be chance.

    Bets need many rows to be sure; this finds a model that is suddenly wrong about nearly everybody.
    """
    from scipy.special import gammaln

    mean, rows = before.error.mean, len(wrong)
    if mean is None or wrong.mean() <= mean + limits.tolerance:
        return None
    # rows of one client that are alike count as fewer
    here, there = (round(count * before.power) for count in (rows, before.error.labels))
    hits, all_hits = (
        round(wrong.sum() * before.power),
        round((wrong.sum() + mean * before.error.labels) * before.power),
    )
    more = np.arange(hits, min(here, all_hits) + 1)

    def ways(out_of: int, taken: Any) -> Any:
        return gammaln(out_of + 1) - gammaln(taken + 1) - gammaln(out_of - taken + 1)

    logs = ways(here, more) + ways(there, all_hits - more) - ways(here + there, all_hits)
    p_value = float(np.exp(np.logaddexp.reduce(logs))) if len(more) else 1.0
    spent = SUDDEN * limits.alpha * 6 / (np.pi * look) ** 2
    return Shock(int(wrong.sum()), rows, p_value) if p_value <= spent else None


def _shocked(shock: Shock, error: Loss) -> str:
    was = f"it was {error.deployed:.1%} of {error.deployed_rows:,} rows when deployed"
    return (
        f"the live release erred on {shock.wrong:,} of {shock.rows:,} new labelled rows that came together; "
        f"{was}, and chance does as much once in {1 / shock.p_value:,.0f} times"
    )


def _told(found: Mapping[str, Loss], labels: int, alpha: float) -> str:
    """The loss that moved further, in words."""
    error, brier = found["error"], found["brier"]
    rose = {name: (loss.value or 0) - (loss.deployed or 0) for name, loss in found.items()}
    interval = f"{1 - alpha:.0%} interval"
    if rose["error"] > 0 or rose["brier"] <= 0:
        was = "" if error.deployed is None else f"; it was {error.deployed:.1%} when deployed"
        return (
            f"the live release errs on {error.value:.1%} of {labels:,} new labelled rows "
            f"({interval} {error.low:.1%} to {error.high:.1%}){was}"
        )
    was = "" if brier.deployed is None else f" from {brier.deployed:.3f} when deployed"
    return (
        f"the Brier loss of the live release rose{was} to {brier.value:.3f} ({interval} {brier.low:.3f} "
        f"to {brier.high:.3f}) on {labels:,} new labelled rows"
    )


def _surprising(log_odds: Floats, outcome: Floats, threshold: float) -> bool:
    """Whether leavers, errors or Brier loss are more or fewer than the probabilities expect."""
    probability = 1 / (1 + np.exp(-log_odds))
    spread = probability * (1 - probability)
    seen = losses(outcome, probability, threshold)
    wrong = np.where(probability >= threshold, 1 - probability, probability)
    surprises = (
        (outcome - probability, spread),
        (seen["error"] - wrong, spread),
        (seen["brier"] - spread, spread * (1 - 2 * probability) ** 2),
    )
    return any(
        abs(float(more.sum())) > DIFFERENT * np.sqrt(float(variance.sum())) + LEAST_CERTAIN
        for more, variance in surprises
    )


def _moved(log_odds: Floats, outcome: Floats) -> float:
    """The one number that, added to all log-odds, makes as many leave as did."""
    moved = 0.0
    for _ in range(NEWTON_STEPS):
        probability = 1 / (1 + np.exp(-(log_odds + moved)))
        slope = max(float(np.sum(probability * (1 - probability))), LEAST_CERTAIN)
        moved += float(np.clip((outcome - probability).sum() / slope, -LONGEST_STEP, LONGEST_STEP))
    return moved


def _expected_f1(probability: Floats, flagged: NDArray[np.bool_]) -> tuple[float | None, float]:
    """F1 to expect and its standard error, by the delta method over independent outcomes."""
    hits, leavers, called = probability[flagged].sum(), probability.sum(), flagged.sum()
    if leavers + called == 0:
        return None, 0.0
    f1 = float(2 * hits / (leavers + called))
    # each outcome moves the hits where the row is flagged, and the leavers in any case
    slope = (np.where(flagged, 2.0, 0.0) - f1) / (leavers + called)
    return f1, float(np.sqrt(np.sum(slope**2 * probability * (1 - probability))))
