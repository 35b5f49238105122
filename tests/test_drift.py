"""The verdict on the live release: alarms that hold at every look, and what kind of change it was."""

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from attrition import drift
from attrition.drift import Deployed, Drift, Limits, Risk

Floats = NDArray[np.float64]
THRESHOLD = 0.35
LIMITS = Limits(alpha=0.01, tolerance=0.02)


class World:
    """Clients whose log-odds of leaving the model knows exactly, until the world changes."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)

    def rows(
        self, count: int, turned: float = 0.0, more: float = 0.0, harder: float = 0.0
    ) -> tuple[Floats, Floats]:
        """Outcome and the model's log-odds; `turned` round, `more` leavers, `harder` to tell apart."""
        column = self.random.normal(size=count) * (1 - harder) + harder
        said = -2 + 1.5 * column
        true = -2 + 1.5 * column * (1 - 2 * turned) + more
        outcome = (self.random.random(count) < 1 / (1 + np.exp(-true))).astype(float)
        return outcome, said


def before(seed: int = 1, count: int = 12_000) -> Deployed:
    outcome, log_odds = World(seed).rows(count)
    return drift.deployed([drift.counted(outcome, 1 / (1 + np.exp(-log_odds)), THRESHOLD)], THRESHOLD)


BEFORE = before()


def lived(seed: int, **change: float) -> tuple[Risk, Drift | None]:
    world, risk = World(seed), Risk()
    for batch in range(40):
        outcome, log_odds = world.rows(50, **change)
        risk = drift.learn(risk, BEFORE, LIMITS, f"day {batch}", outcome, log_odds)
    return risk, drift.alarm(risk, BEFORE, LIMITS)


def test_a_stable_world_gives_no_alarm() -> None:
    assert [lived(seed)[1] for seed in range(100, 130)] == [None] * 30


@pytest.mark.parametrize(
    ("change", "kind"),
    [({"turned": 1.0}, "concept"), ({"more": 1.5}, "prior"), ({"harder": 0.8}, "covariate")],
)
def test_a_change_is_found_and_its_kind_told(change: dict[str, float], kind: str) -> None:
    kinds = []
    for seed in range(200, 210):
        _, found = lived(seed, **change)
        assert found is not None
        assert drift.KINDS[found.kind] in found.reason
        kinds.append(found.kind)
    assert kinds.count(kind) >= 8


def test_the_reason_is_a_sentence_with_its_figures() -> None:
    _, found = lived(300, turned=1.0)
    assert found is not None and found.error.value is not None and found.error.deployed is not None
    assert f"errs on {found.error.value:.1%} of 2,000 new labelled rows (99% interval " in found.reason
    assert f"it was {found.error.deployed:.1%} when deployed" in found.reason
    assert found.error.low < found.error.value < found.error.high
    assert found.evidence >= found.needed == pytest.approx(np.log(100 / 0.75))


def test_what_was_once_proven_stays_proven() -> None:
    risk, found = lived(400, turned=1.0)
    world = World(401)
    for batch in range(100):
        outcome, log_odds = world.rows(50)
        risk = drift.learn(risk, BEFORE, LIMITS, f"later {batch}", outcome, log_odds)
    again = drift.alarm(risk, BEFORE, LIMITS)
    assert found and again and again.since == found.since


def test_a_look_without_labels_tests_nothing() -> None:
    risk, _ = lived(500)
    nothing = np.array([])
    assert drift.learn(risk, BEFORE, LIMITS, "now", nothing, nothing) == risk


def test_the_memory_survives_as_json_to_the_last_bit() -> None:
    risk, _ = lived(600, turned=1.0)
    text = json.dumps(drift.as_json(risk), allow_nan=False)
    assert drift.from_json(json.loads(text)) == risk
    assert len(text) < 100_000


def test_eight_answers_all_wrong_are_drift_even_after_a_small_training() -> None:
    # 26 rows out of fold, five of them wrong, and the five test rows, two of them wrong
    known = drift.deployed([counted(26, 5), counted(5, 2)], 0.5)
    outcome = np.array([0.0, 1.0] * 4)
    log_odds = np.where(outcome == 1, -2.0, 2.0)
    risk = drift.learn(Risk(), known, LIMITS, "now", outcome, log_odds)
    assert drift.alarm(risk, known, LIMITS) is not None
    right = drift.learn(Risk(), known, LIMITS, "now", outcome, -log_odds)
    assert drift.alarm(right, known, LIMITS) is None


def test_rows_that_come_together_and_are_all_wrong_are_a_shock_after_right_ones_too() -> None:
    known = drift.deployed([counted(26, 5), counted(5, 3)], 0.5)
    outcome = np.array([0.0, 1.0] * 4)
    log_odds = np.where(outcome == 1, 0.8, -0.8)
    risk = drift.learn(Risk(), known, LIMITS, "first", outcome, log_odds)
    risk = drift.learn(risk, known, LIMITS, "then", 1 - outcome, log_odds)
    found = drift.alarm(risk, known, LIMITS)
    assert found and found.shock and (found.shock.wrong, found.shock.rows) == (8, 8)
    # 8 of 8 against 8 of 31: one draw of 16 from 39, all of one kind
    assert found.shock.p_value == pytest.approx(12870 / 61523748)
    assert "erred on 8 of 8 new labelled rows that came together; it was 25.8% of 31 rows" in found.reason
    assert drift.from_json(json.loads(json.dumps(drift.as_json(risk)))) == risk


def test_looks_at_a_stable_world_give_no_shock() -> None:
    found = 0
    for seed in range(1000, 1300):
        world, risk = World(seed), Risk()
        for batch in range(20):
            outcome, log_odds = world.rows(10)
            limits = Limits(alpha=0.2, tolerance=0.0)
            risk = drift.learn(risk, BEFORE, limits, f"day {batch}", outcome, log_odds)
        found += risk.shock is not None
    assert found <= 0.2 * drift.SUDDEN * 300 + 8


def counted(rows: int, wrong: int) -> dict[str, Any]:
    outcome = np.zeros(rows)
    probability = np.where(np.arange(rows) < wrong, 0.7, 0.2)
    return drift.counted(outcome, probability, 0.5)


def test_without_anything_known_at_deployment_only_a_coin_is_the_limit() -> None:
    nothing = drift.deployed([], THRESHOLD)
    world = World(700)
    outcome, log_odds = world.rows(500, turned=1.0)
    wrong = drift.learn(Risk(), nothing, LIMITS, "now", outcome, log_odds)
    assert drift.alarm(wrong, nothing, LIMITS) is None
    hopeless = drift.learn(Risk(), nothing, LIMITS, "now", 1 - outcome, log_odds)
    found = drift.alarm(hopeless, nothing, LIMITS)
    assert found and found.error.deployed is None and "when deployed" not in found.reason


def test_what_is_expected_without_labels_comes_true_in_a_stable_world() -> None:
    inside, total = 0, 0.0
    for seed in range(800, 900):
        outcome, log_odds = World(seed).rows(400)
        hoped = drift.expected(log_odds, THRESHOLD, 0.95)
        assert hoped is not None and hoped.f1 is not None
        error = drift.losses(outcome, 1 / (1 + np.exp(-log_odds)), THRESHOLD)["error"].mean()
        total += hoped.leavers - outcome.sum()
        inside += hoped.error_low <= error <= hoped.error_high
    assert 89 <= inside <= 100
    assert abs(total) / 100 < 3


def test_what_is_expected_is_blind_to_concept_drift() -> None:
    outcome, log_odds = World(900).rows(2000, turned=1.0)
    hoped = drift.expected(log_odds, THRESHOLD, 0.99)
    error = drift.losses(outcome, 1 / (1 + np.exp(-log_odds)), THRESHOLD)["error"].mean()
    assert hoped and error > hoped.error_high + 0.1
    assert drift.expected(np.array([]), THRESHOLD, 0.95) is None
