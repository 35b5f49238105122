"""Figures against scikit-learn's, intervals against what is known of them."""

import json
import time
from dataclasses import asdict

import numpy as np
import pytest
from sklearn import metrics

from attrition import scores
from attrition.scores import Figure, Floats


def simulated(rows: int, seed: int = 0) -> tuple[Floats, Floats]:
    """Outcomes, and the very probabilities they were drawn with."""
    random = np.random.default_rng(seed)
    probability = 1 / (1 + np.exp(-random.normal(-1.2, 1.3, rows)))
    return (random.random(rows) < probability).astype(float), probability


def figure(found: dict[str, Figure | None], name: str) -> Figure:
    one = found[name]
    assert one is not None
    return one


@pytest.mark.parametrize("decimals", [16, 1])
def test_figures_are_those_of_scikit_learn_also_where_probabilities_are_equal(decimals: int) -> None:
    outcome, probability = simulated(700)
    probability = np.clip(probability.round(decimals), 0.05, 0.95)
    found = scores.figures(outcome, probability, 0.3, np.arange(700), seed=0)
    flagged = probability >= 0.3
    expected = {
        "f1": metrics.f1_score(outcome, flagged),
        "precision": metrics.precision_score(outcome, flagged),
        "recall": metrics.recall_score(outcome, flagged),
        "roc_auc": metrics.roc_auc_score(outcome, probability),
        "pr_auc": metrics.average_precision_score(outcome, probability),
        "log_loss": metrics.log_loss(outcome, probability),
        "brier": metrics.brier_score_loss(outcome, probability),
    }
    assert {name: figure(found, name).value for name in scores.RANKING} == pytest.approx(expected, abs=1e-12)


def test_intervals_are_those_of_a_plain_bootstrap_done_one_resample_at_a_time() -> None:
    outcome, probability = simulated(600)
    clients = np.arange(600) // 2
    found = scores.figures(outcome, probability, 0.3, clients, seed=0)
    random = np.random.default_rng(1)
    drawn: dict[str, list[float]] = {"f1": [], "roc_auc": [], "pr_auc": [], "log_loss": []}
    for _ in range(300):
        picked = random.integers(300, size=300)
        rows = np.concatenate([2 * picked, 2 * picked + 1])
        drawn["f1"].append(metrics.f1_score(outcome[rows], probability[rows] >= 0.3))
        drawn["roc_auc"].append(metrics.roc_auc_score(outcome[rows], probability[rows]))
        drawn["pr_auc"].append(metrics.average_precision_score(outcome[rows], probability[rows]))
        drawn["log_loss"].append(metrics.log_loss(outcome[rows], probability[rows]))
    for name, values in drawn.items():
        low, high = np.quantile(values, [0.025, 0.975])
        assert (figure(found, name).low, figure(found, name).high) == pytest.approx((low, high), abs=0.02)


def test_rows_of_one_client_repeated_are_no_further_evidence() -> None:
    outcome, probability = simulated(300)
    once = scores.figures(outcome, probability, 0.3, np.arange(300), seed=0)
    ten_times = scores.figures(
        np.tile(outcome, 10), np.tile(probability, 10), 0.3, np.tile(np.arange(300), 10), seed=0
    )
    for name in ("f1", "roc_auc", "log_loss"):
        one, ten = figure(once, name), figure(ten_times, name)
        assert ten.high - ten.low == pytest.approx(one.high - one.low, rel=0.15)


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    outcome, probability = simulated(20_000)
    truth = metrics.roc_auc_score(outcome, probability)
    held = 0
    for seed in range(60):
        rows = np.random.default_rng(seed).integers(len(outcome), size=150)
        found = scores.figures(outcome[rows], probability[rows], 0.3, np.arange(150), seed=0, confidence=0.9)
        held += figure(found, "roc_auc").low <= truth <= figure(found, "roc_auc").high
    assert 46 <= held <= 60


def test_five_rows_all_predicted_right_do_not_look_certain() -> None:
    outcome, probability = np.array([1.0, 1, 0, 0, 0]), np.array([0.9, 0.8, 0.2, 0.1, 0.3])
    found = scores.figures(outcome, probability, 0.5, np.arange(5), seed=0)
    for name in ("f1", "precision", "recall", "roc_auc", "pr_auc"):
        assert figure(found, name).value == figure(found, name).high == 1.0
        assert figure(found, name).low < 0.7


def test_eight_rows_all_predicted_wrong_leave_some_hope_but_not_much() -> None:
    outcome, probability = np.array([0.0, 0, 0, 0, 1, 1, 1, 1]), np.array([0.9] * 4 + [0.2] * 4)
    f1 = figure(scores.figures(outcome, probability, 0.5, np.arange(8), seed=0, confidence=0.99), "f1")
    assert f1.value == f1.low == 0.0
    assert 0.2 < f1.high < 0.57


@pytest.mark.parametrize(
    ("label", "undefined"),
    [
        (0.0, ["f1", "recall", "roc_auc", "pr_auc", "slope", "intercept"]),
        (1.0, ["roc_auc", "pr_auc", "slope", "intercept"]),
    ],
)
def test_what_one_class_alone_cannot_tell_is_none_and_never_nan(label: float, undefined: list[str]) -> None:
    outcome, probability = np.full(30, label), np.linspace(0.1, 0.9, 30)
    found = scores.figures(outcome, probability, 0.5, np.arange(30), seed=0)
    assert [name for name, one in found.items() if one is None] == undefined
    json.dumps([asdict(one) for one in found.values() if one], allow_nan=False)


def test_precision_is_undefined_where_nobody_is_flagged() -> None:
    outcome, probability = simulated(50)
    found = scores.figures(outcome, probability, 1.0, np.arange(50), seed=0)
    assert found["precision"] is None
    assert figure(found, "f1").value == figure(found, "recall").value == 0.0


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_hardly_any_row_gives_figures_or_none_but_no_error(rows: int) -> None:
    outcome, probability = np.array([1.0, 0.0])[:rows], np.array([0.7, 0.4])[:rows]
    found = scores.figures(outcome, probability, 0.5, np.arange(rows), seed=0)
    assert list(found) == list(scores.FIGURES)
    json.dumps([asdict(one) for one in found.values() if one], allow_nan=False)


def test_certain_probabilities_that_are_wrong_cost_a_lot_but_not_without_bounds() -> None:
    found = scores.figures(np.array([1.0, 0.0]), np.array([0.0, 1.0]), 0.5, np.arange(2), seed=0)
    assert figure(found, "log_loss").value == pytest.approx(-np.log(1e-15), abs=0.01)


def test_without_skill_is_what_a_constant_guess_scores() -> None:
    outcome, probability = simulated(900)
    rate = outcome.mean()
    found = scores.figures(outcome, probability, 0.3, np.arange(900), seed=0)
    constant = np.full(900, rate)
    assert figure(found, "f1").no_skill == pytest.approx(metrics.f1_score(outcome, np.ones(900)))
    assert figure(found, "log_loss").no_skill == pytest.approx(metrics.log_loss(outcome, constant))
    assert figure(found, "brier").no_skill == pytest.approx(metrics.brier_score_loss(outcome, constant))
    assert figure(found, "roc_auc").no_skill == pytest.approx(metrics.roc_auc_score(outcome, constant))
    assert figure(found, "pr_auc").no_skill == pytest.approx(
        metrics.average_precision_score(outcome, constant)
    )
    assert figure(found, "precision").no_skill == pytest.approx(rate)
    assert figure(found, "recall").no_skill == pytest.approx((probability >= 0.3).mean())


def test_the_same_seed_gives_the_same_interval_and_another_confidence_a_wider_one() -> None:
    outcome, probability = simulated(200)
    first, again = (scores.figures(outcome, probability, 0.3, np.arange(200), seed=3) for _ in range(2))
    wide = scores.figures(outcome, probability, 0.3, np.arange(200), seed=3, confidence=0.99)
    assert first == again
    for name in scores.FIGURES:
        assert figure(wide, name).low < figure(first, name).low
        assert figure(wide, name).high > figure(first, name).high


def test_two_thousand_rows_take_well_under_a_second() -> None:
    outcome, probability = simulated(2000)
    clock = time.process_time()
    scores.figures(outcome, probability, 0.3, np.arange(2000).astype(str), seed=0)
    assert time.process_time() - clock < 1.0


def test_a_better_challenger_gains_f1_and_the_interval_says_so() -> None:
    outcome, probability = simulated(3000)
    worse = np.random.default_rng(1).permutation(probability)
    gain = scores.f1_difference(outcome, np.arange(3000), (worse, 0.3), (probability, 0.3), seed=0)
    loss = scores.f1_difference(outcome, np.arange(3000), (probability, 0.3), (worse, 0.3), seed=0)
    assert gain is not None and loss is not None
    expected = metrics.f1_score(outcome, probability >= 0.3) - metrics.f1_score(outcome, worse >= 0.3)
    assert gain.value == pytest.approx(expected)
    assert (gain.low, gain.high) == pytest.approx((-loss.high, -loss.low))
    assert gain.low > 0 > loss.high


def test_the_paired_difference_is_told_more_exactly_than_each_score_alone() -> None:
    outcome, probability = simulated(1000)
    nearly = probability**0.98
    difference = scores.f1_difference(outcome, np.arange(1000), (probability, 0.3), (nearly, 0.3), seed=0)
    alone = figure(scores.figures(outcome, probability, 0.3, np.arange(1000), seed=0), "f1")
    assert difference is not None
    assert difference.high - difference.low < (alone.high - alone.low) / 3


def test_equal_predictions_differ_by_nothing_and_without_leavers_there_is_no_difference() -> None:
    outcome, probability = simulated(100)
    same = scores.f1_difference(outcome, np.arange(100), (probability, 0.3), (probability, 0.3), seed=0)
    assert same == Figure(0.0, 0.0, 0.0, 0.0)
    assert scores.f1_difference(np.zeros(9), np.arange(9), (np.ones(9), 0.5), (np.ones(9), 0.5), 0) is None


def test_the_confusion_matrix_counts_every_row_once() -> None:
    outcome = np.array([1.0, 1, 1, 0, 0, 0, 0])
    probability = np.array([0.9, 0.5, 0.1, 0.9, 0.8, 0.1, 0.1])
    assert scores.confusion(outcome, probability, 0.5) == {
        "true_positive": 2,
        "false_negative": 1,
        "false_positive": 2,
        "true_negative": 2,
    }


def test_calibration_bins_are_about_equal_and_true_probabilities_lie_on_the_diagonal() -> None:
    outcome, probability = simulated(20_000)
    bins = scores.calibration(outcome, probability)
    assert [each["count"] for each in bins] == [2000] * 10
    for each in bins:
        assert each["observed"] == pytest.approx(each["predicted"], abs=0.03)


@pytest.mark.parametrize(("rows", "bins"), [(0, 0), (5, 1), (25, 2), (1000, 10)])
def test_few_rows_share_a_calibration_bin(rows: int, bins: int) -> None:
    outcome, probability = simulated(rows)
    found = scores.calibration(outcome, probability)
    assert len(found) == bins
    assert sum(each["count"] for each in found) == rows


def test_equal_probabilities_are_one_calibration_bin() -> None:
    outcome, _ = simulated(500)
    (only,) = scores.calibration(outcome, np.full(500, 0.25))
    assert only == {"predicted": 0.25, "observed": pytest.approx(outcome.mean()), "count": 500}


def test_the_error_of_a_mean_is_that_of_clients_not_of_rows() -> None:
    values = np.random.default_rng(0).normal(size=400)
    mean, error = scores.mean_and_error(values, np.arange(400))
    assert (mean, error) == pytest.approx((values.mean(), values.std(ddof=1) / 20))
    assert scores.mean_and_error(np.repeat(values, 9), np.repeat(np.arange(400), 9)) == pytest.approx(
        (mean, error)
    )
    assert scores.mean_and_error(values, np.zeros(400))[1] == np.inf


def test_log_loss_from_log_odds_is_exact_where_the_probability_is_not() -> None:
    assert scores.log_losses(np.array([1.0, 0.0]), np.array([-800.0, 800.0])).tolist() == [800.0, 800.0]


def _drawn(odds_seen: float, shift: float, rows: int = 4000) -> tuple[scores.Floats, scores.Floats]:
    """Outcomes from known log-odds, and probabilities that stretch and shift them."""
    random = np.random.default_rng(0)
    truth = random.normal(-1, 1.5, rows)
    outcome = (random.random(rows) < 1 / (1 + np.exp(-truth))).astype(float)
    return outcome, 1 / (1 + np.exp(-(odds_seen * truth + shift)))


def test_slope_and_intercept_tell_how_probabilities_are_stretched_and_shifted() -> None:
    outcome, honest = _drawn(1.0, 0.0)
    ids = np.arange(len(outcome))
    found = scores.figures(outcome, honest, 0.5, ids, 0)
    slope, intercept, error = (found[name] for name in scores.CALIBRATION)
    assert slope is not None and intercept is not None and error is not None
    assert slope.low < 1 < slope.high and slope.high - slope.low < 0.2
    assert intercept.low < 0 < intercept.high
    assert error.value < 0.02
    outcome, boastful = _drawn(2.0, 1.0)
    found = scores.figures(outcome, boastful, 0.5, ids, 0)
    slope, intercept, error = (found[name] for name in scores.CALIBRATION)
    assert slope is not None and intercept is not None and error is not None
    assert slope.value == pytest.approx(0.5, abs=0.05)
    assert intercept.value == pytest.approx(-0.5, abs=0.1)
    assert error.value > 0.05


def test_slope_and_intercept_are_those_of_logistic_regression() -> None:
    from sklearn.linear_model import LogisticRegression

    outcome, probability = _drawn(1.7, -0.4, 600)
    odds = np.log(probability / (1 - probability)).reshape(-1, 1)
    regression = LogisticRegression(C=1e6, tol=1e-10).fit(odds, outcome)
    found = scores.figures(outcome, probability, 0.5, np.arange(600), 0)
    assert found["slope"] is not None and found["intercept"] is not None
    assert found["slope"].value == pytest.approx(regression.coef_[0, 0], abs=1e-3)
    assert found["intercept"].value == pytest.approx(regression.intercept_[0], abs=1e-3)


def test_deciles_add_up_and_stand_beside_what_no_skill_gives() -> None:
    outcome, probability = _drawn(1.0, 0.0, 1000)
    table = scores.deciles(outcome, probability, np.arange(1000), 0)
    assert [part["rows"] for part in table] == [100] * 10
    assert sum(part["left"] for part in table) == outcome.sum()
    captured = [part["capture"]["value"] for part in table]
    assert captured == sorted(captured) and captured[-1] == 1
    assert [part["capture"]["no_skill"] for part in table] == pytest.approx(np.arange(1, 11) / 10)
    first = table[0]["lift"]
    assert first["low"] < first["value"] < first["high"] and first["low"] > 1.5
    assert scores.deciles(np.zeros(10), probability[:10], np.arange(10), 0) == []


def test_the_precision_recall_curve_has_the_points_of_scikit_learn() -> None:
    outcome, probability = simulated(60)
    curve = scores.precision_recall(outcome, probability)
    precision, recall, threshold = metrics.precision_recall_curve(outcome, probability)
    assert curve == {
        "threshold": threshold.tolist(), "precision": precision[:-1].tolist(), "recall": recall[:-1].tolist()
    }  # fmt: skip
    outcome, probability = simulated(5000)
    long = scores.precision_recall(outcome, probability)
    assert long and {len(values) for values in long.values()} == {scores.CURVE_POINTS}
    assert (long["threshold"][0], long["threshold"][-1]) == (probability.min(), probability.max())
    assert (long["recall"][0], long["precision"][0]) == (1.0, outcome.mean())
    assert scores.precision_recall(np.zeros(5), np.full(5, 0.5)) is None


def test_the_distribution_counts_each_row_once_beside_its_outcome() -> None:
    outcome, probability = simulated(500)
    probability[:2] = 0.0, 1.0
    told = scores.distribution(outcome, probability)
    assert sum(told["left"]) == outcome.sum() and sum(told["left"] + told["stayed"]) == 500
    low, high = told["edges"][7:9]
    inside = (probability >= low) & (probability < high)
    assert (told["left"][7], told["stayed"][7]) == (
        (inside & (outcome == 1)).sum(),
        (inside & (outcome == 0)).sum(),
    )
