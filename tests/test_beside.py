"""Columns of new rows beside those of the training rows: every row counted once, then and now."""

import numpy as np
import pytest

from attrition import arrivals, beside, profile
from attrition.arrivals import Memory
from attrition.errors import DataError


def _rows(count: int, seed: int, moved: float = 0.0) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    random = np.random.default_rng(seed)
    figure = random.normal(moved, 1, count)
    figure[:5] = np.nan
    plan = random.choice(np.array(["basic", "pro", ""], dtype=object), count)
    return {"figure": figure}, {"plan": plan}


def test_shares_are_those_of_the_rows_and_sum_to_one() -> None:
    numbers, categories = _rows(800, 1)
    known = profile.of(numbers, categories, 0)
    new = _rows(300, 2, moved=1.0)
    new[1]["plan"][:30] = "never seen"
    figure, plan = beside.columns(known, arrivals.take(known, Memory(), *new, "new.csv"))
    for column in (figure, plan):
        assert sum(column["then"]) == pytest.approx(1) and sum(column["now"]) == pytest.approx(1)
        assert column["rows"] == 300
    *ends, last, missing = figure["bins"]
    assert (last, missing) == (None, beside.MISSING) and 5 <= len(ends) <= beside.BINS
    below = numbers["figure"] <= ends[0]
    assert figure["then"][0] == pytest.approx(below.mean())
    assert figure["now"][0] == pytest.approx((new[0]["figure"] <= ends[0]).mean())
    assert figure["now"][-1] == pytest.approx(5 / 300)
    shares = dict(zip(plan["bins"], plan["now"], strict=True))
    assert shares["basic"] == pytest.approx((new[1]["plan"] == "basic").mean())
    assert shares[beside.OTHER] == pytest.approx(30 / 300)


def test_without_new_rows_there_is_nothing_to_compare() -> None:
    assert beside.columns(profile.of(*_rows(50, 1), 0), Memory()) == []


def test_the_memory_of_another_release_is_refused() -> None:
    known, other = profile.of(*_rows(50, 1), 0), profile.of(*_rows(60, 2), 0)
    memory = arrivals.take(other, Memory(), *_rows(30, 3), "new.csv")
    with pytest.raises(DataError, match="belongs to another training profile"):
        beside.columns(known, memory)
