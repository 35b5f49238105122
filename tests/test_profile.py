"""A profile says what the training rows were, in a size that a release can carry."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from attrition import profile
from attrition.profile import Profile

VALUES = st.floats(allow_nan=True, allow_infinity=True, width=64) | st.integers(-3, 3).map(float)


def names(*values: str) -> np.ndarray:
    return np.array(values, dtype=object)


def wide(rows: int, columns: int) -> Profile:
    random = np.random.default_rng(1)
    numbers = {f"number {i}": random.lognormal(5, 2, rows) for i in range(columns)}
    kinds = np.array([f"some longer name {i}" for i in range(400)], dtype=object)
    categories = {f"category {i}": random.choice(kinds, rows) for i in range(columns)}
    return profile.of(numbers, categories, 0)


def test_it_says_what_a_person_would_count() -> None:
    known = profile.of({"age": np.array([3.0, np.nan, 1.0, 2.5])}, {"kind": names("b", "", "a", "b")}, seed=0)
    age, kind = known["numbers"]["age"], known["categories"]["kind"]
    assert known["rows"] == 4
    assert {name: age[name] for name in ("rows", "missing", "min", "max", "median", "decimals")} == {
        "rows": 3,
        "missing": 1,
        "min": 1.0,
        "max": 3.0,
        "median": 2.5,
        "decimals": 1,
    }
    assert age["mean"] == pytest.approx(6.5 / 3)
    assert (kind["rows"], kind["missing"], kind["counts"]) == (3, 1, {"b": 2, "a": 1})


@given(arrays(float, st.integers(0, 300), elements=VALUES))
def test_every_value_is_counted_once_and_json_holds_it(values: np.ndarray) -> None:
    known = profile.of({"x": values}, {}, 0)
    number = known["numbers"]["x"]
    assert sum(number["bins"]) == number["rows"] == np.isfinite(values).sum()
    assert number["missing"] == len(values) - number["rows"]
    assert len(number["bins"]) == profile.bins(number)
    assert json.loads(json.dumps(known, allow_nan=False)) == known


@given(arrays(float, st.integers(1, 300), elements=st.floats(-5, 5)), st.floats(-9, 9))
def test_a_value_s_bin_tells_its_neighbours(values: np.ndarray, value: float) -> None:
    number = profile.of({"x": values}, {}, 0)["numbers"]["x"]
    points, code = number["points"], int(profile.number_codes(number, np.array([value]))[0])
    if code % 2:
        assert points[code // 2] == value
    else:
        assert code == 0 or points[code // 2 - 1] < value
        assert code == 2 * len(points) or value < points[code // 2]


def test_the_same_rows_and_seed_give_the_same_profile_and_another_seed_another_sample() -> None:
    rows = {"x": np.random.default_rng(0).normal(size=2000)}
    assert profile.of(rows, {}, 0) == profile.of(rows, {}, 0)
    assert profile.of(rows, {}, 0)["sample"] != profile.of(rows, {}, 1)["sample"]


def test_the_sample_is_of_whole_rows() -> None:
    values = np.arange(3000.0) % 50
    known = profile.of({"x": values, "y": -values}, {"z": values.astype(int).astype(str).astype(object)}, 0)
    x, y, z = (np.array(column) for column in known["sample"])
    kinds = list(known["categories"]["z"]["counts"])
    assert len(x) == profile.SAMPLE
    assert np.array_equal(x + y, np.full(len(x), profile.bins(known["numbers"]["x"]) - 1))
    assert [kinds[place] for place in z] == [str((code - 1) // 2) for code in x]


def test_twenty_columns_stay_below_400_kilobytes() -> None:
    assert len(json.dumps(wide(20_000, 10))) < 400_000


def test_rare_names_are_pooled_all_of_one_count_together() -> None:
    often = [f"often {i}" for i in range(150) for _ in range(3)]
    once = [f"once {i}" for i in range(100)]
    category = profile.of({}, {"x": names(*often, *once)}, 0)["categories"]["x"]
    assert set(category["counts"]) == set(often)
    assert (category["rare"]["kinds"], category["rare"]["rows"]) == (100, 100)


def test_an_order_that_rows_keep_is_known_unless_the_ranges_say_so_already() -> None:
    random = np.random.default_rng(0)
    year = random.uniform(0, 100, 500)
    known = profile.of({"month": year * random.random(500), "year": year, "founded": year + 1900}, {}, 0)
    assert [(order["above"], order["below"]) for order in known["orders"]] == [("month", "year")]


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="one length, not 2, 3"):
        profile.of({"x": np.zeros(3)}, {"y": names("a", "b")}, 0)


def test_no_rows_and_nothing_but_missing_values_are_profiles_too() -> None:
    assert profile.of({"x": np.zeros(0)}, {"y": names()}, 0)["rows"] == 0
    known = profile.of({"x": np.full(5, np.nan)}, {"y": names(*[""] * 5)}, 0)
    assert known["numbers"]["x"]["median"] is None
    assert known["categories"]["y"]["missing"] == 5
