"""The training window: all rows where the world stays, the newest where it changed, and a reason in words."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from attrition import windows
from attrition.windows import ALL, Window

Floats = NDArray[np.float64]


def world(rows: int, seed: int, turned_at: int | None = None) -> tuple[pd.DataFrame, Floats]:
    """Activity keeps clients, one plan drives them away; from row `turned_at` on activity does so too."""
    random = np.random.default_rng(seed)
    activity, plan = random.standard_normal(rows), random.choice(["old", "new"], size=rows)
    way = np.where(np.arange(rows) < (rows if turned_at is None else turned_at), -1.0, 1.0)
    log_odds = -1.0 + 1.5 * way * activity + np.where(plan == "new", 0.8, 0.0)
    outcome = (random.random(rows) < 1 / (1 + np.exp(-log_odds))).astype(np.float64)
    return pd.DataFrame({"activity": activity, "plan": plan.astype(object)}), outcome


def choose(table: pd.DataFrame, outcome: Floats, clients: NDArray[Any] | None = None) -> Window:
    ids = np.arange(len(outcome)) if clients is None else clients
    return windows.choose(table, outcome, ids, ["activity"], ["plan"], seed=0)


def test_a_world_that_stays_keeps_all_rows_and_says_so() -> None:
    found = choose(*world(4000, seed=1))
    assert (found.rows, found.name) == (4000, ALL)
    assert found.reason.startswith("All 4,000 rows are used: on the newest 400 the newest")
    assert list(found.figures) == list(windows.SHARES)
    assert found.figures[ALL].gain == 0.0


def test_stable_worlds_seldom_lose_rows() -> None:
    assert sum(choose(*world(2600, seed)).name != ALL for seed in range(10)) <= 1


@pytest.mark.parametrize(
    ("turned_at", "name"),
    [(2000, "the newest half"), (3000, "the newest quarter"), (3500, "the newest eighth")],
)
def test_after_a_change_the_window_that_fits_it_is_taken(turned_at: int, name: str) -> None:
    found = choose(*world(4000, seed=2, turned_at=turned_at))
    assert (found.name, found.rows) == (name, int(4000 * windows.SHARES[name]))
    assert found.reason.startswith(f"Only {name}, {found.rows:,} of 4,000 rows, is used")
    assert found.figures[name].gain > 2 * found.figures[name].gain_se > 0


def test_a_change_long_ago_does_not_cost_the_rows_since() -> None:
    assert choose(*world(4000, seed=3, turned_at=100)).rows >= 2000


@pytest.mark.parametrize("rows", [0, 1, 150, 599])
def test_too_few_rows_are_all_used(rows: int) -> None:
    found = choose(*world(rows, seed=4, turned_at=rows // 2))
    assert (found.rows, found.name, found.figures) == (rows, ALL, {})
    assert "too few" in found.reason


def test_a_window_with_few_leavers_does_not_compete() -> None:
    table, outcome = world(4000, seed=5, turned_at=2000)
    outcome[3500:] = 0.0
    outcome[3990:] = 1.0
    assert "the newest eighth" not in choose(table, outcome).figures


def test_newest_rows_of_one_outcome_judge_nothing() -> None:
    table, outcome = world(2000, seed=6)
    outcome[1800:] = 0.0
    found = choose(table, outcome)
    assert (found.rows, found.figures) == (2000, {})
    assert "fewer than two clients of one outcome" in found.reason


def test_rows_of_a_client_do_not_help_to_predict_it() -> None:
    """Clients known by heart: with a column that names them old rows would seem to know the future."""
    random = np.random.default_rng(7)
    clients = np.tile(np.arange(200), 10)
    outcome = np.tile((random.random(200) < 0.5).astype(np.float64), 10)
    table = pd.DataFrame({"activity": clients.astype(float), "plan": clients.astype(str).astype(object)})
    found = choose(table, outcome, clients)
    assert found.figures[ALL].log_loss > 0.6


def test_blank_cells_new_categories_and_constant_columns_are_borne() -> None:
    table, outcome = world(2600, seed=8)
    table["constant"], table["never"] = 1.0, np.nan
    table.loc[::7, "activity"] = np.nan
    table.loc[::5, "plan"] = ""
    table.loc[2590:, "plan"] = "newest"
    found = windows.choose(
        table, outcome, np.arange(2600), ["activity", "constant", "never"], ["plan"], seed=0
    )
    assert all(np.isfinite(list(vars(each).values())).all() for each in found.figures.values())


def test_many_columns_and_many_categories_are_borne() -> None:
    table, outcome = world(2600, seed=9)
    random = np.random.default_rng(9)
    wide = {f"n{at}": random.standard_normal(2600) for at in range(windows.MOST_NUMBERS_BENT + 5)}
    table = pd.concat([table, pd.DataFrame(wide)], axis=1)
    table["plan"] = np.arange(2600).astype(str).astype(object)
    found = windows.choose(table, outcome, np.arange(2600), ["activity", *wide], ["plan"], seed=0)
    assert set(found.figures) == {name for name in windows.SHARES if int(2600 * windows.SHARES[name]) >= 300}


def test_the_same_rows_give_the_same_answer() -> None:
    drawn = world(2600, seed=10, turned_at=2000)
    first, again = choose(*drawn), choose(*drawn)
    assert (first.reason, first.figures) == (again.reason, again.figures)


def test_a_gain_within_two_errors_is_not_enough() -> None:
    random, ids = np.random.default_rng(11), np.arange(400)
    noise = random.standard_normal(400)
    noise = (noise - noise.mean()) / noise.std(ddof=1) * np.sqrt(400)
    every = np.full(400, 1.0)
    assert windows.chosen({ALL: every, "the newest half": every - 1.99 + noise}, ids) == ALL
    assert windows.chosen({ALL: every, "the newest half": every - 2.01 + noise}, ids) == "the newest half"


def test_of_windows_that_cannot_be_told_apart_the_longest_is_taken() -> None:
    random, ids = np.random.default_rng(12), np.arange(400)
    every = np.full(400, 1.0)
    half = every - 0.5 + random.standard_normal(400) / 10
    quarter = half - 0.001 + random.standard_normal(400) / 10
    clearly = half - 0.1
    losses = {ALL: every, "the newest half": half, "the newest quarter": quarter}
    assert windows.chosen(losses, ids) == "the newest half"
    assert windows.chosen(losses | {"the newest quarter": clearly}, ids) == "the newest quarter"
