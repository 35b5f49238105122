"""Short forms of the benchmarks risk, streams and year: what they count, and that the watch pays."""

from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit

from attrition import drift
from attrition.drift import Limits, Risk
from benchmarks import months, risk, streams
from benchmarks import year as years
from benchmarks.streams import Bets, Calendar, Followed, Stream, follow


def test_the_simulated_model_errs_at_the_rate_that_is_asked_for() -> None:
    random = np.random.default_rng(0)
    for rate in (risk.BASE, *risk.RISEN):
        outcome, log_odds = risk.rows(random, 40_000, rate)
        found = drift.losses(outcome, expit(log_odds), risk.THRESHOLD)["error"].mean()
        assert found == pytest.approx(rate, abs=0.008)


def test_one_walk_under_all_limits_finds_the_alarms_of_each() -> None:
    random = np.random.default_rng(1)
    outcome, log_odds = risk.rows(random, 2_000, risk.BASE)
    before = drift.deployed([drift.counted(outcome, expit(log_odds), risk.THRESHOLD)], risk.THRESHOLD)
    labelled = [risk.rows(random, risk.BATCH, 0.27) for _ in range(60)]
    alone = []
    for limits in risk.LIMITS.values():
        memory = Risk()
        for tick, (outcome, log_odds) in enumerate(labelled, 1):
            memory = drift.learn(memory, before, limits, f"{tick}", outcome, log_odds)
        alone.append(int(memory.since or 0))
    assert risk.after(risk.Watch(before), labelled).alarms == tuple(alone)
    # so do two walks one after the other
    half = risk.after(risk.Watch(before), labelled[:5])
    assert risk.after(half, labelled[5:]).alarms == tuple(alone)
    assert 0 < alone[0] < alone[2]


def test_the_usual_rules_see_a_batch_that_is_all_wrong() -> None:
    wrong = np.array([3.0, 3.0, 20.0, 3.0])
    for rule in risk.RULES.values():
        assert rule(wrong, risk.BASE).tolist()[:3] == [False, False, True]


def test_an_alarm_near_a_change_has_found_it_and_any_other_is_false() -> None:
    found = Followed((100, 12_600, 12_900, 30_000), 5, 0.0, 48_000, (12_500, 25_000))
    assert found.delays == (100, None)
    assert found.false == 2


def turned(random: np.random.Generator) -> Stream:
    features = random.standard_normal((7_000, 2))
    log_odds = 3 * features[:, 0] * np.where(np.arange(7_000) < 3_500, 1, -1)
    return Stream(features, (random.random(7_000) < expit(log_odds)).astype(float), (3_500,))


def test_a_watched_model_is_fitted_anew_after_a_change_and_loses_less() -> None:
    stream = turned(np.random.default_rng(2))
    never = follow(stream, streams.WITHOUT["never again"], 0)
    watched = follow(stream, lambda before: Bets(before, Limits(0.01, 0.02)), streams.TRAINED)
    assert (never.models, never.alarms) == (1, ())
    assert (watched.models, watched.false) == (2, 0)
    assert watched.delays[0] is not None and watched.delays[0] <= 200
    assert watched.log_loss < 0.7 * never.log_loss
    assert follow(stream, lambda before: Calendar(), 0).models == 3


def test_a_stable_year_raises_no_alarm_and_deploys_nothing_worse() -> None:
    found = years.accounts(years.year("stable", 3))
    ours, oracle = found[years.OURS], found[years.ORACLE]
    assert (ours.alarms, ours.acts, ours.wrong) == ((), (), 0)
    # a challenger whenever the labels are half as many again, and no more
    assert 2 <= len(ours.trained) <= 6
    assert ours.loss <= 1.02 * oracle.loss
    assert found["F1 below the last"].wrong > 0


def test_a_year_with_drift_is_found_and_costs_less_than_without_a_watch() -> None:
    made = years.year("concept", 5)
    ours, never = years.pipeline(years.Settings(), made), years.never(made)
    assert not years.is_false(made, ours)
    assert years.labels_to_alarm(made, ours) <= 5 * years.ROWS
    assert ours.promoted and ours.promoted[0] >= made.change + years.LATE
    assert years.oracle(made).loss < ours.loss < 0.9 * never.loss


def test_a_year_of_months_delivers_outcomes_late_and_some_datasets_twice() -> None:
    base = months.base("broken feed", 1)
    first = dict(months.delivered(base, months.HISTORY - 1))
    assert len(first) == months.HISTORY
    assert [rows["exited"].isna().all() for rows in first.values()] == [False] * 5 + [True] * 3
    copied = dict(months.delivered(base, months.HISTORY + months.COPIED))
    assert sum(name.startswith("copy-of-") for name in copied) == 1
    for month, is_known in (
        (months.HISTORY + months.BROKEN, False),
        (months.HISTORY + months.BROKEN + 3, True),
    ):
        rows = dict(months.delivered(base, month))[months._name(months.HISTORY + months.BROKEN)]
        assert (rows["lastmonth_activity"] == 0).all()
        assert rows["exited"].notna().all() == is_known


def test_two_months_through_the_pipeline_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTRITION_PACKAGE_CHECK", "off")
    told = months.live_year(months.base("stable", 2, 2), tmp_path)
    ours = told[months.OURS]
    assert (ours.alarms, ours.wrong) == ((), 0)
    assert ours.loss <= 1.1 * told[months.ORACLE].loss
    assert told[months.NEVER].loss > 0
    assert len(told[months.EACH].trained) == 2
