"""Evidence for a challenger against textbooks and permutations, and decisions as a manager reads them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit, ndtri

from attrition import promotion, scores
from attrition.promotion import Compared, Difference

Floats = NDArray[np.float64]
Drawn = tuple[Floats, Floats, Floats]
RATE = 0.3


def drawn(rows: int, seed: int, champion: float = 0.8, challenger: float = 0.8, shared: float = 0.8) -> Drawn:
    """Outcome and both models' calibrated probabilities: normal scores in each class, correlated."""
    random = np.random.default_rng(seed)
    outcome = (random.random(rows) < RATE).astype(np.float64)
    first, other = random.standard_normal((2, rows))
    noises = (first, shared * first + np.sqrt(1 - shared**2) * other)
    apart = [np.sqrt(2) * ndtri(auc) for auc in (champion, challenger)]
    odds = [
        np.log(RATE / (1 - RATE)) + d * (noise + d * outcome - d / 2)
        for d, noise in zip(apart, noises, strict=True)
    ]
    return outcome, expit(odds[0]), expit(odds[1])


def compare(
    outcome: Floats, champion: Floats, challenger: Floats, clients: NDArray[Any] | None = None
) -> Compared:
    ids = np.arange(len(outcome)) if clients is None else clients
    found = promotion.compare(outcome, ids, champion, challenger, seed=0, confidence=0.95)
    assert found is not None
    return found


def textbook_error(outcome: Floats, champion: Floats, challenger: Floats) -> float:
    """Equations 3 to 6 of DeLong, DeLong & Clarke-Pearson (1988), pair by pair."""
    components = []
    for score in (champion, challenger):
        left, stayed = score[outcome == 1], score[outcome == 0]
        kernel = (left[:, None] > stayed) + 0.5 * (left[:, None] == stayed)
        components.append((kernel.mean(axis=1), kernel.mean(axis=0)))
    of_left, of_stayed = (np.cov(np.vstack(each)) for each in zip(*components, strict=True))
    contrast = np.array([-1.0, 1.0])
    covariance = of_left / np.sum(outcome == 1) + of_stayed / np.sum(outcome == 0)
    return float(np.sqrt(contrast @ covariance @ contrast))


def textbook_clustered_error(
    outcome: Floats, client: NDArray[Any], champion: Floats, challenger: Floats
) -> float:
    """Obuchowski (1997), client by client, for the difference of two areas."""
    left, stayed = outcome == 1, outcome == 0
    of_left, of_stayed = [], []
    for score in (champion, challenger):
        kernel = (score[left][:, None] > score[stayed]) + 0.5 * (score[left][:, None] == score[stayed])
        of_left.append(kernel.mean(axis=1))
        of_stayed.append(kernel.mean(axis=0))
    gain_left, gain_stayed = of_left[1] - of_left[0], of_stayed[1] - of_stayed[0]
    mean = gain_left.mean()
    ids = np.unique(client)
    a = np.array([np.sum(gain_left[client[left] == each] - mean) for each in ids])
    b = np.array([np.sum(gain_stayed[client[stayed] == each] - mean) for each in ids])
    m, n = left.sum(), stayed.sum()
    i, k = len(np.unique(client[left])), len(np.unique(client[stayed]))
    cross = np.sqrt(i / (i - 1) * k / (k - 1))
    variance = i / (i - 1) * np.sum(a**2) / m**2 + k / (k - 1) * np.sum(b**2) / n**2
    return float(np.sqrt(variance + 2 * cross * np.sum(a * b) / (m * n)))


@pytest.mark.parametrize("ties", [False, True])
def test_delong_equals_the_textbook_with_and_without_ties(ties: bool) -> None:
    outcome, champion, challenger = drawn(150, seed=1)
    if ties:
        champion, challenger = champion.round(1), challenger.round(1)
    error = promotion.auc_error(outcome, np.arange(150), champion, challenger)
    assert error == pytest.approx(textbook_error(outcome, champion, challenger), rel=1e-12)


def test_delong_equals_what_a_permutation_of_the_models_finds() -> None:
    outcome, champion, challenger = drawn(300, seed=2)
    left, stayed = outcome == 1, outcome == 0
    random = np.random.default_rng(0)
    champions, challengers = (np.argsort(np.argsort(each)) / 300 for each in (champion, challenger))
    swapped = random.choice([-1.0, 1.0], size=(2000, 300)) * (challengers - champions)
    gains = swapped[:, left].mean(axis=1) - swapped[:, stayed].mean(axis=1)
    error = promotion.auc_error(outcome, np.arange(300), champion, challenger)
    assert error == pytest.approx(float(np.std(gains)), rel=0.15)


def test_clients_with_several_rows_follow_obuchowski() -> None:
    outcome, champion, challenger = drawn(240, seed=3)
    client = np.random.default_rng(0).integers(60, size=240)
    error = promotion.auc_error(outcome, client, champion, challenger)
    assert error == pytest.approx(textbook_clustered_error(outcome, client, champion, challenger), rel=1e-12)


def test_rows_written_three_times_prove_no_more_than_once() -> None:
    outcome, champion, challenger = drawn(200, seed=4, challenger=0.84)
    once = compare(outcome, champion, challenger)
    rows = np.tile(np.arange(200), 3)
    thrice = compare(outcome[rows], champion[rows], challenger[rows], clients=rows)
    for figure in ("roc_auc", "log_loss"):
        one, three = getattr(once, figure), getattr(thrice, figure)
        assert three.value == pytest.approx(one.value)
        assert three.better == pytest.approx(one.better, rel=1e-6)
        assert (three.low, three.high) == pytest.approx((one.low, one.high), rel=1e-6)


def test_order_of_rows_and_names_of_clients_do_not_matter() -> None:
    outcome, champion, challenger = drawn(120, seed=5)
    client = np.array([f"client {each % 50:02}" for each in range(120)])
    order = np.random.default_rng(1).permutation(120)
    found = compare(outcome, champion, challenger, client)
    again = compare(outcome[order], champion[order], challenger[order], client[order])
    for figure in ("roc_auc", "log_loss"):
        one, other = getattr(found, figure), getattr(again, figure)
        assert vars(one) == pytest.approx(vars(other))


def test_swapped_models_turn_every_sign() -> None:
    outcome, champion, challenger = drawn(300, seed=6, challenger=0.83)
    one, other = compare(outcome, champion, challenger), compare(outcome, challenger, champion)
    for figure in ("roc_auc", "log_loss"):
        there, back = getattr(one, figure), getattr(other, figure)
        turned = Difference(-back.value, -back.high, -back.low, back.worse, back.better)
        assert vars(there) == pytest.approx(vars(turned), rel=1e-9)


def test_figures_are_those_of_the_score_page() -> None:
    outcome, champion, challenger = drawn(400, seed=7)
    found = compare(outcome, champion, challenger)
    known = scores.figures(outcome, challenger, 0.5, np.arange(400), seed=0)
    for name, value in found.challenger.items():
        figure = known[name]
        assert figure is not None
        assert value == pytest.approx(figure.value)
    assert found.roc_auc.value == pytest.approx(found.challenger["roc_auc"] - found.champion["roc_auc"])
    assert found.log_loss.value == pytest.approx(found.challenger["log_loss"] - found.champion["log_loss"])


@pytest.mark.parametrize("outcome", [[], [1.0], [0.0, 0.0, 0.0]])
def test_one_outcome_alone_compares_nothing(outcome: list[float]) -> None:
    rows = np.array(outcome)
    half = np.full(len(rows), 0.5)
    assert promotion.compare(rows, np.arange(len(rows)), half, half, seed=0, confidence=0.95) is None


def degenerate() -> dict[str, Drawn]:
    many = np.repeat([1.0, 0.0], 60)
    five = np.array([1.0, 1.0, 0.0, 0.0, 0.0])
    twenty = np.repeat([1.0, 0.0], 10)
    one_of_many = np.zeros(200)
    one_of_many[0] = 1.0
    return {
        "five rows, all turned right": (five, 1 - five, five),
        "twenty rows, all turned right": (twenty, 1 - twenty, twenty),
        "many rows, all turned right": (many, 1 - many, many),
        "the same model": (many, many * 0.4 + 0.3, many * 0.4 + 0.3),
        "all equal": (many, np.full(120, 0.5), np.full(120, 0.5)),
        "one leaver": (one_of_many, np.linspace(0.9, 0.1, 200), np.linspace(0.1, 0.9, 200)),
        "one row each": (np.array([1.0, 0.0]), np.array([0.1, 0.9]), np.array([0.9, 0.1])),
    }


@pytest.mark.parametrize("case", degenerate())
@pytest.mark.parametrize("alarmed", [False, True])
def test_degenerate_rows_give_finite_figures_and_a_sentence(case: str, alarmed: bool) -> None:
    found = compare(*degenerate()[case])
    for each in (found.roc_auc, found.log_loss):
        assert np.isfinite(list(vars(each).values())).all()
        assert each.low <= each.value <= each.high
        assert 0 < each.better <= 1
        assert 0 < each.worse <= 1
    assert -1 <= found.roc_auc.low <= found.roc_auc.high <= 1
    told = promotion.decide(found, found, alarmed=alarmed, looks=3, margin=0.0, confidence=0.95)
    assert told.reason.endswith(".")
    assert "nan" not in told.reason


@pytest.mark.parametrize("rows", [2, 5, 12, 19])
def test_few_rows_never_prove_anything(rows: int) -> None:
    outcome = (np.arange(rows) < rows // 2).astype(np.float64)
    found = compare(outcome, 1 - outcome, outcome)
    assert (found.tells, found.roc_auc.better, found.log_loss.better) == (False, 1.0, 1.0)
    assert not promotion.decide(found, found, alarmed=False, looks=0, margin=0.0, confidence=0.95).promote


def test_four_clients_who_all_agree_do_not_convince() -> None:
    """A sign test of four heads has p = 1 / 16; a normal approximation would say 0.02."""
    outcome = np.repeat([1.0, 0.0], 100)
    champion = np.linspace(0.3, 0.31, 200)
    challenger = champion.copy()
    challenger[:4] += 0.2
    assert compare(outcome, champion, challenger).log_loss.better > 1 / 16 - 0.01


def made(value: float, error: float, rows: int = 2000, tells: bool = True, loss: float = 0.0) -> Compared:
    """Evidence with a normal AUC difference, and a log loss whose error is half as large."""
    from scipy.special import ndtr

    def difference(value: float, error: float, sign: int) -> Difference:
        reach = 1.96 * error
        p_value = float(ndtr(-sign * value / error))
        return Difference(value, value - reach, value + reach, p_value, 1 - p_value)

    figures = {"roc_auc": 0.8, "log_loss": 0.5, "f1": 0.6}
    ranking, losses = difference(value, error, 1), difference(loss, error / 2, -1)
    return Compared(rows, rows, 0.95, tells, ranking, losses, figures, figures)


def decide(newest: Compared | None, test: Compared | None, **options: Any) -> promotion.Decision:
    given = {"alarmed": False, "looks": 0, "margin": 0.0, "confidence": 0.95} | options
    return promotion.decide(newest, test, **given)


def test_a_proven_challenger_is_deployed_in_a_sentence_with_figures() -> None:
    found = decide(None, made(0.021, 0.0087))
    assert found.promote
    assert found.reason == (
        "The new model is deployed: "
        "AUC is higher by 0.021 (95% interval +0.004 to +0.038) on 2,000 test rows."
    )


def test_one_that_is_not_proven_better_is_kept_aside_with_both_figures() -> None:
    found = decide(None, made(0.021, 0.012))
    assert not found.promote
    assert found.reason == (
        "The new model is kept aside, since it is not proven better: "
        "AUC is higher by 0.021 (95% interval -0.003 to +0.045) on 2,000 test rows; "
        "log loss is the same (95% interval -0.0118 to +0.0118) on 2,000 test rows."
    )


def test_a_lower_log_loss_is_enough_unless_the_ranking_is_proven_worse() -> None:
    found = decide(None, made(-0.001, 0.005, loss=-0.02))
    assert found.promote
    assert "log loss is lower by 0.0200" in found.reason
    worse = decide(None, made(-0.02, 0.005, loss=-0.02))
    assert not worse.promote
    assert worse.reason.startswith("The new model is kept aside, since it is worse: AUC is lower by 0.020")


def test_what_looks_may_spend_sums_to_the_error_and_decays_slowly() -> None:
    shares = [promotion.share_of_look(looks) for looks in range(1_000_000)]
    assert sum(shares) == pytest.approx(1.0, abs=1e-3)
    assert sum(shares) < 1
    assert shares[19] > 0.004
    spent = [decide(None, made(0.0, 0.01), looks=looks).spent for looks in range(3)]
    assert spent == pytest.approx([0.05 * share for share in shares[:3]])


def test_looking_again_asks_for_more_and_lets_a_much_better_one_through() -> None:
    good, excellent = made(0.02, 0.0075), made(0.02, 0.005)
    assert [decide(None, good, looks=looks).promote for looks in (0, 19)] == [True, False]
    assert decide(None, excellent, looks=19).promote
    assert "Look 20 at the same test rows" in decide(None, good, looks=19).reason


def test_newest_rows_are_not_charged_for_looks_at_the_test_rows() -> None:
    found = decide(made(0.02, 0.0075), None, looks=1000)
    assert found.promote
    assert found.spent == 0.0


def test_evidence_of_both_sets_adds_up_and_worn_test_rows_do_not_count_against() -> None:
    half = made(0.02, 0.0105)
    assert not decide(None, half).promote
    assert not decide(half, None).promote
    both = decide(half, half)
    assert both.promote
    assert "on 2,000 test rows and higher by 0.020" in both.reason
    strong = made(0.03, 0.005)
    assert decide(strong, made(0.01, 0.01), looks=10_000).promote


def test_proven_worse_on_the_newest_rows_outweighs_the_test_rows() -> None:
    found = decide(made(-0.03, 0.01, rows=300), made(0.05, 0.005))
    assert not found.promote
    assert "on 300 newest rows" in found.reason


def test_sets_that_cannot_tell_do_not_water_down_those_that_can() -> None:
    few = made(0.0, 0.01, rows=5, tells=False)
    assert decide(few, made(0.021, 0.005)) == decide(None, made(0.021, 0.005))
    nothing = decide(None, few)
    assert (nothing.promote, nothing.spent) == (False, 0.0)
    assert nothing.reason == (
        "The new model is kept aside, since nothing can be told: 5 test rows hold fewer than 10 clients "
        "who left or who stayed and no newest rows of both outcomes."
    )


def test_after_an_alarm_the_newest_rows_decide_and_the_test_rows_only_without_them() -> None:
    good, bad = made(0.0, 0.02, rows=300, loss=-0.01), made(0.0, 0.02, loss=0.01)
    few = replace(good, tells=False)
    for newest, test, promote in (
        (good, bad, True),
        (bad, good, False),
        (few, bad, False),
        (None, good, True),
        (replace(few, rows=5), replace(bad, tells=False), False),
    ):
        assert decide(newest, test, alarmed=True).promote is promote
    assert decide(good, bad, alarmed=True).spent == 0.0
    assert decide(few, bad, alarmed=True).spent > 0.0
    assert not decide(None, None, alarmed=True).promote


def test_after_an_alarm_the_margin_is_kept_and_told() -> None:
    slightly = made(0.0, 0.02, rows=300, loss=0.003)
    assert not decide(slightly, None, alarmed=True, margin=0.002).promote
    within = decide(slightly, None, alarmed=True, margin=0.005)
    assert within.promote
    assert within.reason.endswith("on 300 newest rows, within the margin of 0.005.")


def test_after_an_alarm_one_that_ranks_worse_for_sure_stays_aside() -> None:
    assert not decide(made(-0.05, 0.01, loss=-0.001), None, alarmed=True).promote


def beats(outcome: Floats, probability: Floats) -> promotion.First:
    return promotion.beats_constant(
        outcome, np.arange(len(outcome)), probability, RATE, seed=0, confidence=0.95
    )


def test_a_first_model_that_ranks_and_fits_is_proven() -> None:
    outcome, probability, _ = drawn(500, seed=8)
    found = beats(outcome, probability)
    assert (found.release, found.proven) == (True, True)
    assert "500 test rows" in found.reason


def test_a_first_model_without_skill_is_refused() -> None:
    outcome, probability, _ = drawn(500, seed=9)
    shuffled = np.random.default_rng(0).permutation(probability)
    constant = np.full(500, RATE)
    for useless in (shuffled, constant):
        found = beats(outcome, useless)
        assert (found.release, found.proven) == (False, False)
        assert found.reason.endswith("Add columns that tell who leaves, or more clients.")


def test_five_rows_neither_prove_nor_refute_a_first_model() -> None:
    outcome = np.array([1.0, 1.0, 0.0, 0.0, 0.0])
    for probability in (outcome, 1 - outcome):
        found = beats(outcome, probability)
        assert (found.release, found.proven) == (True, False)
        assert "5 test rows hold fewer than 10 clients" in found.reason


def test_forty_rows_on_which_a_model_looks_bad_are_too_few_to_refuse_it() -> None:
    outcome, probability, _ = drawn(40, seed=10)
    found = beats(outcome, np.roll(probability, 1))
    assert (found.release, found.proven) == (True, False)
    assert "is not proven" in found.reason


def test_equal_models_are_seldom_promoted_and_better_ones_mostly() -> None:
    promoted = {}
    for name, challenger in (("worse", 0.77), ("equal", 0.80), ("better", 0.83)):
        trials = (compare(*drawn(500, seed, challenger=challenger, shared=0.95)) for seed in range(100))
        promoted[name] = sum(decide(None, each).promote for each in trials)
    assert promoted["worse"] == 0
    assert promoted["equal"] <= 5
    assert promoted["better"] >= 80


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    held = {"roc_auc": 0, "log_loss": 0}
    for seed in range(300):
        outcome, champion, challenger = drawn(120, seed=seed)
        found = compare(outcome, champion, challenger)
        for figure in held:
            each = getattr(found, figure)
            held[figure] += each.low <= 0 <= each.high
    assert min(held.values()) >= 0.92 * 300
