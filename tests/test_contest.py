"""Which candidate wins, on rows whose truth is known: the simpler, the glass box, unless it costs much."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from attrition import candidates, contest, twins
from attrition.candidates import Floats
from attrition.contest import Arena, Contest
from attrition.settings import Clients, Training

NUMBERS = ("a", "b", "c", "d")
CLIENTS = Clients(numeric=NUMBERS, categorical=("kind",))


def rows(odds: Any, count: int = 1500, seed: int = 0) -> tuple[pd.DataFrame, Floats, Any]:
    """Rows with a known truth: log-odds of leaving from the columns; all clients differ."""
    random = np.random.default_rng(seed)
    table = pd.DataFrame({column: random.normal(size=count) for column in NUMBERS})
    table["kind"] = random.choice(np.array(["x", "y", "z"], dtype=object), count)
    outcome = (random.random(count) < 1 / (1 + np.exp(-odds(table)))).astype(float)
    return table, outcome, np.arange(count)


def held(odds: Any, count: int = 1500, **training: Any) -> Contest:
    table, outcome, client = rows(odds, count)
    return contest.contest(CLIENTS, table, outcome, client, Training(folds=3, **training))


def deep(table: pd.DataFrame) -> Floats:
    """Three columns that tell something only together: no pair of them does."""
    signs: Floats = np.sign(table["a"] * table["b"] * table["c"]).to_numpy()
    return 3 * signs


def names(won: Contest) -> list[str]:
    return [contestant.name for contestant in won.contestants]


def test_a_straight_truth_is_told_by_logistic_regression() -> None:
    won = held(lambda table: table["a"] - 0.5 * table["b"], candidates=("constant", "logistic", "spline"))
    assert won.model.name.startswith("logistic")
    assert won.model.glass


def test_where_nothing_can_be_learnt_the_constant_wins() -> None:
    won = held(lambda table: np.full(len(table), -1.0), candidates=("constant", "logistic"))
    assert won.model.name == "constant"
    assert won.model.predict_proba(rows(lambda table: np.zeros(len(table)), 9)[0])[:, 1] == pytest.approx(
        np.full(9, 0.27), abs=0.04
    )


def test_a_pair_is_told_by_a_glass_box() -> None:
    won = held(lambda table: 3 * np.sign(table["a"] * table["b"]), count=500, candidates=("logistic", "ebm"))
    assert won.model.name == "ebm_pairs"
    assert won.model.glass


def test_an_opaque_model_wins_only_where_it_is_worth_it_and_never_where_it_is_forbidden() -> None:
    random = np.random.default_rng(0)
    truth = random.normal(size=3000)
    ring = arena((random.random(3000) < 1 / (1 + np.exp(-truth))).astype(float))
    blurred = {"logistic": ring.losses(0.3 * truth[None]), "boosting": ring.losses(truth[None])}
    name, told = contest.chosen(ring, blurred, Training())
    assert (name, told["kept"]) == ("boosting", "opaque")
    assert told["gain"] > 2 * told["gain_se"]
    for settings in (Training(opaque="never"), Training(opaque_gain=0.9)):
        name, told = contest.chosen(ring, blurred, settings)
        assert (name, told["kept"]) == ("logistic", "glass box")
        # what it would have scored is told all the same
        assert told["opaque"]["log_loss"] < told["glass_box"]["log_loss"]
        assert "boosting" in told["sentence"]


def test_what_three_columns_tell_only_together_takes_trees() -> None:
    won = held(deep, 700, candidates=("logistic", "boosting"))
    assert not won.model.glass


def test_a_dear_candidate_is_given_up_once_it_cannot_win_and_the_price_is_told_all_the_same() -> None:
    won = held(lambda table: 2 * table["a"], 600, candidates=("logistic", "boosting"))
    given_up = [contestant for contestant in won.contestants if contestant.note]
    assert given_up and all(contestant.name.startswith("boosting") for contestant in given_up)
    assert "given up after" in given_up[0].note
    assert "boosting" in won.transparency["sentence"]


def test_few_rows_of_one_kind_leave_out_what_bends() -> None:
    table, outcome, client = rows(lambda table: table["a"] - 3, 100)
    assert 2 <= outcome.sum() < candidates.ENOUGH_TO_BEND
    won = contest.contest(CLIENTS, table, outcome, client, Training())
    assert set(names(won)) <= {
        "constant", "logistic_strong", "logistic", "logistic_log", contest.GLASS_BLEND
    }  # fmt: skip


def test_a_blend_weighs_what_its_members_know_and_none_negatively() -> None:
    random = np.random.default_rng(0)
    one, other, noise = random.normal(size=(3, 3000))
    outcome = (random.random(3000) < 1 / (1 + np.exp(-one - 2 * other))).astype(float)
    members = np.column_stack([one, other, noise, -one])
    weights = contest.weights_of(members, outcome)
    assert weights[:2] == pytest.approx([1.0, 2.0], abs=0.25)
    assert weights[2] == weights[3] == 0


def arena(outcome: Floats) -> Arena:
    nothing = np.zeros((0, 0), dtype=np.intp)
    return Arena(CLIENTS, pd.DataFrame(), outcome, np.arange(len(outcome)), nothing, 0)


def test_of_candidates_that_cannot_be_told_apart_the_simplest_wins() -> None:
    random = np.random.default_rng(0)
    truth = random.normal(size=500)
    outcome = (random.random(500) < 1 / (1 + np.exp(-truth))).astype(float)
    ring = arena(outcome)
    noisy = truth + random.normal(0, 0.01, 500)
    losses = {name: ring.losses(each[None]) for name, each in {"a": noisy, "b": truth}.items()}
    assert contest.simplest(ring, losses) == "a"
    assert contest.simplest(ring, {"0": ring.losses(0 * truth[None]), **losses}) == "a"


def test_calibration_is_kept_only_where_it_pays() -> None:
    random = np.random.default_rng(0)
    truth = random.normal(-1, 1.5, 4000)
    outcome = (random.random(4000) < 1 / (1 + np.exp(-truth))).astype(float)
    client, fold = np.arange(4000), np.arange(4000) % 5
    assert contest.calibration(truth, outcome, client, fold) == (1.0, 0.0)
    slope, intercept = contest.calibration(3 * truth - 1, outcome, client, fold)
    assert (slope, intercept) == pytest.approx((1 / 3, 1 / 3), abs=0.05)
    assert contest.calibration(-truth, outcome, client, fold) == (1.0, 0.0)


WIDE = tuple(f"n{at}" for at in range(18))


def doubled(count: int, flip: int) -> tuple[pd.DataFrame, Floats]:
    """Rows and a twin of each that differs in one column; `flip` of the twins have another outcome."""
    random = np.random.default_rng(0)
    table = pd.DataFrame({column: random.integers(0, 50, count).astype(float) for column in WIDE})
    twin = table.copy()
    twin["n3"] += 1
    outcome = random.integers(0, 2, count).astype(float)
    other = np.where(np.arange(count) < flip, 1 - outcome, outcome)
    return pd.concat([table, twin], ignore_index=True), np.concatenate([outcome, other])


def test_near_identical_rows_with_one_outcome_stay_together() -> None:
    table, outcome = doubled(300, flip=0)
    family = twins.groups(table, WIDE, outcome, np.arange(600))
    assert len(set(family)) == 300
    assert (family[:300] == family[300:]).all()
    table["left"] = outcome
    assert twins.with_one_outcome(table[:300], [table[300:]], WIDE, "left") == 300
    table["left"] = np.random.default_rng(1).integers(0, 2, 600)
    assert twins.with_one_outcome(table[:300], [table[300:]], WIDE, "left") == 0


def test_rows_that_are_alike_but_differ_in_outcome_are_no_twins() -> None:
    table, outcome = doubled(300, flip=60)
    assert len(set(twins.groups(table, WIDE, outcome, np.arange(600)))) == 600


def test_rows_of_few_columns_are_alike_by_chance() -> None:
    table = pd.DataFrame({"a": np.zeros(100), "b": np.zeros(100)})
    one, _ = twins.pairs(table, ("a", "b"))
    assert len(one) == 0


def test_the_clients_of_the_shop_that_stand_twice_are_found(shared: Path) -> None:
    table = pd.read_csv(shared / "churn" / "ecommerce_churn.csv", encoding="utf-8-sig")
    features = [column for column in table.columns if column not in ("CustomerID", "Churn")]
    family = twins.groups(
        table, features, table["Churn"].to_numpy(dtype=float), table["CustomerID"].to_numpy()
    )
    assert len(set(family)) == 3162
