"""Bets on bounded losses: fair while nothing changed, however often one looks, and quick where it did."""

import itertools
import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from attrition import betting
from attrition.betting import NOTHING, Bets, Reference

Floats = NDArray[np.float64]

some_losses = st.lists(st.floats(0, 1), min_size=1, max_size=30).map(np.array)


def errors(rate: float, count: int, seed: int) -> Floats:
    return (np.random.default_rng(seed).random(count) < rate).astype(float)


def evidence(
    before: Reference, batches: list[Floats], tolerance: float = 0.0, highest: float = 0.5
) -> list[float]:
    """Log e-value after each batch."""
    bets, told = Bets(NOTHING), []
    for batch in batches:
        bets = bets.plus(batch)
        told.append(betting.rise(bets, before, tolerance, highest))
    return told


@pytest.mark.parametrize("mean", [0.1, 0.3, 0.5])
def test_the_expected_wealth_never_exceeds_the_stake(mean: float) -> None:
    # every path of twelve outcomes, in three batches, weighted by its chance
    nothing_known = betting.reference([])
    total = 0.0
    for path in itertools.product((0.0, 1.0), repeat=9):
        chance = np.prod([mean if each else 1 - mean for each in path])
        bets = Bets(NOTHING)
        for batch in np.array(path).reshape(3, 3):
            bets = bets.plus(batch)
        # without a reference only the limit itself is bet against
        total += chance * np.exp(betting.rise(bets, nothing_known, 0.0, mean))
    assert total <= 1 + 1e-12


def test_a_reference_does_not_gain_by_arguing_against_the_truth() -> None:
    # every count of errors among 60 rows, weighted by its chance under the mean argued against
    for mean in (0.1, 0.35):
        counts = np.arange(61)
        chances = [_binomial(60, int(count), mean) for count in counts]
        gains = []
        for count in counts:
            counted = betting.histogram(np.repeat([0.0, 1.0], [60 - count, count]))
            known = betting.reference([counted])
            at = np.searchsorted(known.means, mean, side="right") - 1
            gains.append(np.exp(known.evidence[at]) if at >= 0 else betting.KEPT_BACK)
        assert np.dot(chances, gains) <= 1 + 1e-9


def _binomial(rows: int, count: int, mean: float) -> float:
    from math import comb

    return float(comb(rows, count) * mean**count * (1 - mean) ** (rows - count))


def test_nothing_is_found_where_nothing_changed() -> None:
    found = 0
    for seed in range(40):
        before = betting.reference([betting.histogram(errors(0.15, 2000, 1000 + seed))])
        batches = np.split(errors(0.15, 2000, 2000 + seed), 100)
        found += max(evidence(before, batches)) >= np.log(20)
    assert found <= 2


@pytest.mark.parametrize(("rate", "labels"), [(0.25, 600), (0.2, 3000)])
def test_a_higher_error_rate_is_found(rate: float, labels: int) -> None:
    found = []
    for seed in range(20):
        before = betting.reference([betting.histogram(errors(0.15, 12_000, 3000 + seed))])
        batches = np.split(errors(rate, labels, 4000 + seed), labels // 20)
        found.append(max(evidence(before, batches)) >= np.log(100))
    assert np.mean(found) >= 0.9


def test_a_change_that_begins_late_is_found_too() -> None:
    before = betting.reference([betting.histogram(errors(0.15, 12_000, 5))])
    quiet, loud = np.split(errors(0.15, 3000, 6), 150), np.split(errors(0.3, 600, 7), 30)
    told = evidence(before, [*quiet, *loud])
    assert max(told[:150]) < np.log(20) < np.log(100) < max(told)
    assert evidence(before, loud)[-1] > told[-1]


def test_a_tolerance_is_not_called_a_change() -> None:
    before = betting.reference([betting.histogram(errors(0.15, 12_000, 8))])
    batches = np.split(errors(0.2, 3000, 9), 150)
    assert max(evidence(before, batches)) > np.log(100)
    assert max(evidence(before, batches, tolerance=0.06)) < np.log(20)


def test_worse_than_a_coin_is_never_allowed() -> None:
    useless = betting.reference([betting.histogram(np.ones(10))])
    assert evidence(useless, [np.ones(20)], highest=0.5)[-1] > np.log(100)
    assert evidence(useless, [np.ones(20)], highest=1.0)[-1] <= 0


def test_more_labels_at_deployment_leave_less_doubt() -> None:
    few, many = (betting.reference([betting.histogram(errors(0.15, n, 10))]) for n in (300, 12_000))
    batches = np.split(errors(0.25, 400, 11), 20)
    assert evidence(many, batches)[-1] > evidence(few, batches)[-1]


def test_dependent_rows_count_less() -> None:
    before = [betting.histogram(errors(0.15, 12_000, 12))]
    bets = Bets(NOTHING).plus(errors(0.3, 300, 13))
    full, half = (betting.rise(bets, betting.reference(before, p), 0.0, 0.5, p) for p in (1.0, 0.5))
    assert 0 < half < full


@given(some_losses, st.randoms())
def test_the_order_within_a_batch_does_not_matter(losses: Floats, random: "np.random.Generator") -> None:
    shuffled = losses.copy()
    random.shuffle(shuffled)
    one, other = Bets(NOTHING).plus(losses), Bets(NOTHING).plus(shuffled)
    assert np.allclose(one.track.up, other.track.up) and one.track.labels == other.track.labels


@given(some_losses)
def test_the_interval_holds_the_mean_of_what_was_seen(losses: Floats) -> None:
    low, high = betting.interval(NOTHING.plus(losses), 0.05)
    assert 0 <= low <= losses.mean() + 1e-3 and losses.mean() - 1e-3 <= high <= 1


def test_the_interval_is_right_at_every_look() -> None:
    missed = 0
    for seed in range(100):
        track, wrong = NOTHING, False
        for batch in np.split(errors(0.3, 600, 6000 + seed), 30):
            track = track.plus(batch)
            low, high = betting.interval(track, 0.1)
            wrong |= not low <= 0.3 <= high
        missed += wrong
    assert missed <= 10
    assert high - low < 0.15


def test_the_starts_stay_few_and_the_first_stays() -> None:
    bets = Bets(NOTHING)
    for batch in np.split(errors(0.2, 3000, 14), 300):
        bets = bets.plus(batch)
    assert len(bets.starts) <= betting.MOST_STARTS
    assert bets.starts[0].labels == 0
    shares = sum(start.share for start in bets.starts)
    assert shares < 1
    assert len(json.dumps(asdict(bets))) < 40_000


def test_an_empty_batch_changes_nothing() -> None:
    bets = Bets(NOTHING).plus(np.array([0.0, 1.0]))
    assert bets.plus(np.array([])) == bets
    assert betting.rise(Bets(NOTHING), betting.reference([]), 0.0, 0.5) == 0.0
    assert betting.interval(NOTHING, 0.05) == (0.0, 1.0)


def test_a_histogram_counts_every_loss_and_never_less_than_it_is() -> None:
    losses = np.array([0.0, 1e-9, 0.005, 0.0051, 0.999, 1.0])
    counts = betting.histogram(losses)
    assert sum(counts) == len(losses) and counts[0] == 1
    assert np.dot(counts, np.arange(len(counts)) / betting.BINS) >= losses.sum()
