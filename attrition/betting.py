"""Bets on the mean of bounded losses: evidence that may be looked at as often as one likes.

Whoever bets at fair odds against "the mean loss is at most m" can hope to multiply the stake only where
the mean is larger. The wealth is an e-process: the chance that it ever reaches 1/alpha is at most alpha
while the mean is at most m (Ville 1939; Waudby-Smith and Ramdas, Estimating means of bounded random
variables by betting, JRSS B 2024). A loss L in [0, 1] multiplies it by (1 + u L) / (1 + u m) for a
stake u, and the sums of log(1 + u L) do not depend on m: a few numbers tell the wealth against every m.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# stakes from careful to nearly all; the mixture over them needs no guess of how large a change will be
STAKES = np.array([*(0.06 * 1.5 ** np.arange(13)), 1e4])
SHARES = np.array([*np.full(13, 0.9 / 13), 0.1])
# half of the wealth is bet from the first label on, half waits for a change that begins later
FROM_THE_START = 0.5
PATIENCE = 100.0
MOST_STARTS = 60
# the reference: half is not bet, the rest on a mean that lies so many standard errors below
KEPT_BACK = 0.5
BELOW = np.array([2.0, 3.0, 4.0])
BOLDER = np.array([1.0, 2.0])
REFERENCE_STEP = 0.1
BLOCK = 8
BINS = 200


@dataclass(frozen=True)
class Track:
    """Sums over the losses so far of log(1 + u L), and of log(1 + u (1 - L)), for each stake u."""

    labels: int
    total: float
    up: tuple[float, ...]
    down: tuple[float, ...]

    @property
    def mean(self) -> float | None:
        return self.total / self.labels if self.labels else None

    def plus(self, losses: Floats) -> "Track":
        """With these losses, each in [0, 1], shape (rows,); their order does not matter."""
        up, down = (np.log1p(np.outer(STAKES, each)).sum(axis=1) for each in (losses, 1 - losses))
        return Track(
            self.labels + len(losses),
            self.total + float(losses.sum()),
            tuple((np.array(self.up) + up).tolist()),
            tuple((np.array(self.down) + down).tolist()),
        )


@dataclass(frozen=True)
class Start:
    """Bets that began after so many labels, with this share of the wealth; `up` is what Track.up was then."""

    labels: int
    share: float
    up: tuple[float, ...]


@dataclass(frozen=True)
class Bets:
    """All bets on one loss of one release. `starts` lets a change be found that began late."""

    track: Track
    starts: tuple[Start, ...] = ()

    def plus(self, losses: Floats) -> "Bets":
        if not len(losses):
            return self
        now = self.track
        share = _waiting(now.labels) - _waiting(now.labels + len(losses))
        starts = _thinned((*self.starts, Start(now.labels, share, now.up)))
        return replace(self, track=now.plus(losses), starts=starts)


NOTHING = Track(0, 0.0, (0.0,) * len(STAKES), (0.0,) * len(STAKES))


@dataclass(frozen=True)
class Reference:
    """What labelled rows at deployment say about the mean loss then.

    `evidence` holds log e-values against "the mean is at least `means`", both ascending; a mean below the
    first of them is not argued with.
    """

    labels: int
    mean: float | None
    means: tuple[float, ...]
    evidence: tuple[float, ...]


def histogram(losses: Floats) -> list[int]:
    """Losses in [0, 1] counted: exact zeros, then BINS equal bins, each read as its upper edge."""
    place = np.clip(np.ceil(losses * BINS), 1, BINS).astype(int) - 1
    counts = np.bincount(np.where(losses == 0, 0, place + 1), minlength=1)
    return [int(count) for count in counts]


def reference(histograms: Sequence[Sequence[int]], power: float = 1.0) -> Reference:
    """Evidence from losses counted by `histogram`; `power` in (0, 1] discounts dependent rows."""
    counts = np.zeros(BINS + 1)
    for each in histograms:
        counts[: len(each)] += each
    losses, labels = np.arange(BINS + 1) / BINS, counts.sum()
    if not labels:
        return Reference(0, None, (), ())
    mean = float(counts @ losses / labels)
    error = np.sqrt(max(mean * (1 - mean), 1 / (labels + 1)) / (labels * power))
    means = np.unique(np.clip(mean + error * np.arange(-1, 8 + REFERENCE_STEP, REFERENCE_STEP), 0, 1))
    means = np.append(means[means < 1], 1.0)
    logs = [_against_at_least(each, losses, counts, power) for each in means]
    # what speaks against a mean speaks against every larger one
    return Reference(int(labels), mean, tuple(means.tolist()), tuple(np.maximum.accumulate(logs).tolist()))


def rise(bets: Bets, before: Reference, tolerance: float, highest: float, power: float = 1.0) -> float:
    """Log e-value against "the mean loss is at most what it was at deployment, plus `tolerance`".

    It bets on both samples at once: for every mean that the deployment may have had, what the reference
    says against that mean is multiplied by what the live losses say against it plus the tolerance, and the
    least of these products counts (Podkopaev and Ramdas, Tracking the risk of a deployed model, ICLR 2022,
    with betting on the reference too). A mean above `highest` is not allowed at all: that is a coin's.
    """
    if not bets.track.labels:
        return 0.0
    lows = np.array([-np.inf, *before.means])
    known = np.array([np.log(KEPT_BACK) if before.means else 0.0, *before.evidence])
    highs = np.minimum(np.array([*lows[1:], 1.0]) + tolerance, highest)
    # between two neighbours the reference says at least what it does of the lower, the losses of the higher
    edges = np.minimum(np.arange(0, len(highs) + BLOCK - 1, BLOCK), len(highs) - 1)
    wealth = _wealth(bets, highs[edges], power)
    least = float(np.min(known[edges] + wealth))
    # so too between two edges of a block: most blocks need not be looked into
    blocks = np.flatnonzero(known[edges[:-1]] + wealth[1:] < least)
    within = np.concatenate([np.arange(edges[at] + 1, edges[at + 1]) for at in blocks] or [edges[:0]])
    inside = known[within] + _wealth(bets, highs[within], power)
    return min(least, float(inside.min())) if len(inside) else least


def interval(track: Track, alpha: float, power: float = 1.0) -> tuple[float, float]:
    """Low and high of the mean loss, right at every look at once with confidence 1 - alpha."""
    means = np.linspace(0, 1, 1001)
    with np.errstate(divide="ignore"):
        both = np.logaddexp(
            _mixed(np.array(track.up), track.labels, means, power),
            _mixed(np.array(track.down), track.labels, 1 - means, power),
        ) - np.log(2)
    inside = means[both < np.log(1 / alpha)]
    return (float(inside[0]), float(inside[-1])) if len(inside) else (0.0, 1.0)


def _waiting(labels: float) -> float:
    """Share of the late half that still waits after so many labels; falls to 0 ever more slowly."""
    return float(1 / (1 + np.log1p(labels / PATIENCE)))


def _thinned(starts: tuple[Start, ...]) -> tuple[Start, ...]:
    """At most MOST_STARTS, the closer together the younger; a bet that is dropped only lowers the wealth."""
    if len(starts) <= MOST_STARTS:
        return starts
    now = starts[-1].labels
    gaps = [
        (after.labels - before.labels) / (now - each.labels + 1)
        for before, each, after in zip(starts, starts[1:], starts[2:], strict=False)
    ]
    gone = 1 + int(np.argmin(gaps))
    return (*starts[:gone], *starts[gone + 1 :])


def _wealth(bets: Bets, means: Floats, power: float) -> Floats:
    """Log wealth against each mean, shape (means,)."""
    track, up, late = bets.track, np.array(bets.track.up), 1 - FROM_THE_START
    begun = (Start(0, FROM_THE_START / late, NOTHING.up), *bets.starts)
    sums = up - np.array([start.up for start in begun])
    labels = track.labels - np.array([start.labels for start in begun])
    grown = (
        _mixed(sums, labels, means, power)
        + np.log(late * np.array([start.share for start in begun]))[:, None]
    )
    wealth: Floats = np.logaddexp(_summed(grown, 0), np.log(late * _waiting(track.labels)))
    return wealth


def _mixed(sums: Floats, labels: NDArray[np.intp] | int, means: Floats, power: float) -> Floats:
    """Log wealth of the mixture of all stakes against each mean, of each of several sums of bets.

    `sums` has shape (..., stakes), `labels` that without the last; returned is shape (..., means).
    """
    staked = np.multiply.outer(labels, np.log1p(np.outer(STAKES, means)))
    return _summed(np.log(SHARES)[:, None] + power * (sums[..., None] - staked), -2)


def _summed(logs: Floats, axis: int) -> Floats:
    """Log of the sum of what `logs` are the logs of, along an axis; faster than logaddexp.reduce."""
    most = logs.max(axis=axis, keepdims=True)
    total: Floats = np.log(np.exp(logs - most).sum(axis=axis)) + most.squeeze(axis)
    return total


def _against_at_least(mean: float, losses: Floats, counts: Floats, power: float) -> float:
    """Log e-value against "the mean loss is at least `mean`", from losses and how often each occurred."""
    labels = counts.sum()
    spread = np.sqrt(labels * power * max(mean * (1 - mean), 1 / (labels + 1)))
    stakes = np.minimum(np.outer(BELOW, BOLDER).ravel() / spread, 0.99 / max(1 - mean, 1e-9))
    # a stake on the mean being lower: 1 - s (loss - mean) stays above 0 for every loss in [0, 1]
    grown = power * (np.log1p(-np.outer(stakes, losses - mean)) @ counts)
    share = (1 - KEPT_BACK) / len(stakes)
    return float(np.logaddexp(np.log(KEPT_BACK), np.logaddexp.reduce(np.log(share) + grown)))
