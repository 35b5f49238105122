"""Two samples as counts over the same bins: could both be from one distribution?

Tests take counts of the reference, shape (..., bins), and of new rows in windows, (windows, ..., bins). They
give arrays of shape (windows, ...): the statistic, its nominal p-value, and an effect that reads as a share
of rows. Nominal: right for one test; attrition.shift makes of it one for a life of looks.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]
Counts = NDArray[Any]

# a cell of a contingency table stands alone if both samples may expect this many in it
FEWEST_EXPECTED = 3.0
# and if the reference has this many times what gives it a name, so that it hardly lacks one by chance
FEWEST_NAMED = 5
RIDGE = 0.1
# products of pairs, of the features that come first: their number grows with the square of this
PAIRED = 12


@dataclass(frozen=True)
class Told:
    """What a test tells: statistic, nominal p-value and effect, arrays of one shape."""

    statistic: Floats
    p_value: Floats
    effect: Floats


def kolmogorov_smirnov(reference: Counts, new: Counts) -> Told:
    """Largest distance of the distribution functions; its effect is this distance.

    The asymptotic p-value with the correction of Stephens (1970). Ties make it too large, never too small.
    """
    n, m = reference.sum(-1), new.sum(-1)
    apart = np.cumsum(new, -1) * _inverse(m)[..., None] - (np.cumsum(reference, -1) * _inverse(n)[..., None])
    distance = np.abs(apart).max(-1)
    root = np.sqrt(n * m * _inverse(n + m))
    scaled = (root + 0.12 + 0.11 * _inverse(root)) * distance
    return _unless_empty(n, m, Told(distance, special.kolmogorov(scaled), distance))


def rank_sum(reference: Counts, new: Counts) -> Told:
    """Mann-Whitney: the z of the mean rank; its effect is Cliff's delta, from -1 (all lower) to 1.

    With the variance under permutation, ties included, and a continuity correction.
    """
    n, m = reference.sum(-1), new.sum(-1)
    below = np.cumsum(reference, -1) - reference / 2
    wins = (new * below).sum(-1) - n * m / 2
    both = reference + new
    rows = np.maximum(n + m, 2.0)
    ties = (both**3 - both).sum(-1) / (rows * (rows - 1))
    variance = np.maximum(n * m * (rows + 1 - ties) / 12, 1e-300)
    z = np.sign(wins) * np.maximum(np.abs(wins) - 0.5, 0) / np.sqrt(variance)
    return _unless_empty(n, m, Told(z, special.erfc(np.abs(z) / np.sqrt(2)), 2 * wins * _inverse(n * m)))


def heap(reference: Counts, new: Counts, among: int | None = None) -> Told:
    """The bin that gained most: a constant, or a value that stands in for others. Effect: the share gained.

    Exact for one bin; a bin's part of the error is its share of the reference, so that all of them
    together keep to it. The statistic is the number of the bin, one of the first `among`.
    """
    n, m = reference.sum(-1), new.sum(-1)
    gained = new * _inverse(m)[..., None] - reference * _inverse(n)[..., None]
    where = gained[..., :among].argmax(-1)[..., None]
    there, here = (
        np.take_along_axis(np.broadcast_to(counts, new.shape), where, -1)[..., 0]
        for counts in (reference, new)
    )
    part = (there + 1) / (n + reference.shape[-1])
    p_value = np.minimum(1.0, more(here, m, there, n) / part)
    effect = np.take_along_axis(gained, where, -1)[..., 0]
    return _unless_empty(n, m, Told(where[..., 0].astype(float), p_value, effect))


def share(reference: Counts | float, rows: Counts | float, new: Counts, new_rows: Counts) -> Told:
    """A share of rows: `reference` of `rows` before, `new` of `new_rows` now. Effect: the share gained.

    Fisher's exact test, both tails. The statistic is the share now.
    """
    now, then = new * _inverse(new_rows), reference * _inverse(rows)
    one = more(new, new_rows, reference, rows)
    other = more(new_rows - new, new_rows, rows - reference, rows)
    return _unless_empty(rows, new_rows, Told(now, np.minimum(1.0, 2 * np.minimum(one, other)), now - then))


def gained(reference: Counts | float, rows: Counts | float, new: Counts, new_rows: Counts) -> Told:
    """The same, of a share that tells by growing only: one tail."""
    now, then = new * _inverse(new_rows), reference * _inverse(rows)
    return _unless_empty(rows, new_rows, Told(now, more(new, new_rows, reference, rows), now - then))


def more(new: Counts, new_rows: Counts, reference: Counts | float, rows: Counts | float) -> Floats:
    """Probability of at least `new` of these rows among the new ones, all being exchangeable.

    The hypergeometric tail, bounded by the geometric series of its first two terms: exact where it matters,
    and never too small.
    """
    new, new_rows, reference, rows = np.broadcast_arrays(
        *(np.asarray(count, float) for count in (new, new_rows, reference, rows))
    )
    first = np.exp(
        _log_choose(new_rows, new)
        + _log_choose(rows, reference)
        - _log_choose(new_rows + rows, new + reference)
    )
    ratio = reference * (new_rows - new) / ((new + 1) * (rows - reference + 1))
    bound = np.where(ratio < 1, first / np.maximum(1 - ratio, 1e-12), 1.0)
    return np.where(new > 0, np.minimum(1.0, bound), 1.0)


def likelihood_ratio(reference: Counts, new: Counts, least: int) -> Told:
    """The G-test: chi-squared by likelihoods, whose tails stay true where expected counts are low.

    With the correction of Williams (1976), without which many such counts add up to too large a sum.

    `reference` has shape (bins,), `new` (windows, bins); the last bin is for what is named nowhere, as
    is all that the reference has less often than `least`. Bins that are rare in both samples together
    are pooled with it: decided alike for both, this picks nothing for its count in one of them.
    Effect: the total variation distance, the share of rows that would have to change.
    """
    n, m = reference.sum(-1), new.sum(-1)
    both = (reference + new) * _inverse(n + m)[..., None]
    alone = (both * np.minimum(n, m)[..., None] >= FEWEST_EXPECTED) & (both * n >= FEWEST_NAMED * least)
    alone[..., -1] = False
    apart = [np.where(alone, counts, 0.0) for counts in (np.broadcast_to(reference, new.shape), new)]
    pooled = [np.where(alone, 0.0, c).sum(-1) for c in (np.broadcast_to(reference, new.shape), new)]
    old, now = (np.concatenate([a, b[..., None]], -1) for a, b in zip(apart, pooled, strict=True))
    total = (old + now) * _inverse(n + m)[..., None]
    statistic = 2 * sum(
        special.rel_entr(counts, total * rows[..., None]).sum(-1)
        for counts, rows in ((old, np.broadcast_to(n, m.shape)), (now, m))
    )
    freedom = (old + now > 0).sum(-1) - 1
    inverses = _inverse(old + now).sum(-1)
    excess = ((n + m) * (_inverse(n) + _inverse(m)) - 1) * ((n + m) * inverses - 1)
    statistic = statistic / (1 + excess * _inverse(6 * (n + m) * np.maximum(freedom, 1)))
    distance = np.abs(now * _inverse(m)[..., None] - old * _inverse(n)[..., None]).sum(-1) / 2
    p_value = np.where(freedom > 0, special.chdtrc(np.maximum(freedom, 1), np.maximum(statistic, 0)), 1.0)
    return _unless_empty(n, m, Told(statistic, p_value, distance))


@dataclass(frozen=True)
class Apart:
    """How well a classifier tells new rows from old: z and ROC AUC on held-out rows; its main features."""

    z: float
    p_value: float
    auc: float
    features: tuple[int, ...]


def classifier(reference: Floats, new: Floats) -> Apart:
    """Whether features taken together tell new rows from old (Lopez-Paz & Oquab 2017).

    `reference` and `new` have shape (rows, features), values from -1 to 1, rows in random order. A
    linear discriminant on features, squares and products of pairs, ridge-penalised, learns from every
    other row of both and ranks the rest: their rank sum is an honest Mann-Whitney test, valid for few
    rows too. Cross-fitting would use each row twice, and its z would be too large by a factor of 1.4.
    One-sided: to rank worse than chance is no sign of a shift.
    """
    (old, origins), (now, _) = _crossed(reference), _crossed(new)
    direction = _direction(old[::2], now[::2])
    scored = np.concatenate([old[1::2], now[1::2]]) @ direction
    values, place = np.unique(scored, return_inverse=True)
    counts = [
        np.bincount(side, minlength=len(values)).astype(float)
        for side in (place[: len(old) // 2], place[len(old) // 2 :])
    ]
    told = rank_sum(counts[0], counts[1][None])
    z = float(told.statistic[0])
    moved = np.abs(direction) * np.concatenate([old, now]).std(0)
    return Apart(
        z,
        float(special.erfc(z / np.sqrt(2)) / 2),
        float(1 + told.effect[0]) / 2,
        origins[int(moved.argmax())],
    )


def _crossed(rows: Floats) -> tuple[Floats, list[tuple[int, ...]]]:
    """Features, squares and products of pairs, and which features each is made of."""
    columns = range(rows.shape[1])
    pairs = [(a, b) for a in columns[:PAIRED] for b in columns[a:PAIRED]]
    left, right = ([pair[side] for pair in pairs] for side in (0, 1))
    crossed = np.hstack([rows, rows[:, left] * rows[:, right]])
    return crossed, [*((a,) for a in columns), *(tuple(dict.fromkeys(pair)) for pair in pairs)]


def _direction(old: Floats, now: Floats) -> Floats:
    """Weights of the ridge-penalised linear discriminant, both samples counting the same in all."""
    moved = now.mean(0) - old.mean(0)
    covariance = (np.cov(old, rowvar=False, bias=True) + np.cov(now, rowvar=False, bias=True)) / 2
    covariance += np.outer(moved, moved) / 4
    spread = np.sqrt(np.maximum(covariance.diagonal(), 1e-12))
    gram = covariance / np.outer(spread, spread) + RIDGE * np.eye(len(spread))
    return np.linalg.solve(gram, moved / 2 / spread) / spread


def _log_choose(rows: Floats, taken: Floats) -> Floats:
    gamma = special.gammaln
    return gamma(rows + 1) - gamma(taken + 1) - gamma(np.maximum(rows - taken, 0) + 1)


def _inverse(count: Any) -> Floats:
    """1 / count, and 0 where there are none: an empty sample tells nothing."""
    count = np.asarray(count, float)
    return np.divide(1.0, count, out=np.zeros_like(count), where=count > 0)


def _unless_empty(n: Counts | float, m: Counts, told: Told) -> Told:
    there = (np.asarray(n) > 0) & (m > 0)
    return Told(
        np.where(there, told.statistic, 0.0),
        np.where(there, told.p_value, 1.0),
        np.where(there, told.effect, 0.0),
    )
