"""Rows that look like the training rows raise no alarm; rows that do not are named, with what moved."""

import csv
import json
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from attrition import arrivals, findings, profile, shift, twosample
from attrition.errors import DataError
from attrition.profile import Profile
from attrition.shift import Memory, Verdict
from tests.projects import CHECKOUT

CLASSIC = CHECKOUT.parent / "shared" / "data" / "classic"
COLUMNS = ("lastmonth_activity", "lastyear_activity", "number_of_employees")
KINDS = np.array(["monthly", "yearly", "two years"], dtype=object)
Rows = tuple[dict[str, Any], dict[str, Any]]


def rows(seed: int, count: int = 500, moved: float = 0.0) -> Rows:
    random = np.random.default_rng([11, seed])
    year = random.lognormal(6, 1, count).round()
    numbers = {
        "month": np.floor(year * random.uniform(0, 0.3, count)),
        "year": year,
        "age": random.normal(40 + 10 * moved, 10, count),
        "tickets": random.poisson(0.7, count).astype(float),
    }
    numbers["age"][random.random(count) < 0.05] = np.nan
    return numbers, {"contract": random.choice(KINDS, count, p=(0.5, 0.3, 0.2))}


def trained(count: int = 1000) -> Profile:
    return profile.of(*rows(0, count), seed=0)


def verdict_of(known: Profile, *batches: Rows) -> Verdict:
    memory = Memory()
    for number, batch in enumerate(batches):
        memory = shift.take(known, memory, *batch, f"2026-{number + 1:02}")
    return shift.judge(known, memory)


def with_number(batch: Rows, **columns: Any) -> Rows:
    return batch[0] | columns, batch[1]


def part(batch: Rows, where: Any) -> Rows:
    numbers, categories = ({name: values[where] for name, values in side.items()} for side in batch)
    return numbers, categories


def classic(*names: str) -> Rows:
    """The rows of these datasets, the last of each company."""
    if not CLASSIC.is_dir():
        pytest.skip(f"{CLASSIC} is not there")
    last: dict[str, dict[str, str]] = {}
    for name in names:
        with (CLASSIC / name).open(newline="") as stream:
            last |= {row["corporation"]: row for row in csv.DictReader(stream)}
    return {column: np.array([float(row[column]) for row in last.values()]) for column in COLUMNS}, {}


def practice() -> Profile:
    return profile.of(*classic("practicedata/dataset1.csv", "practicedata/dataset2.csv"), seed=0)


# --- what is kept -----------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 300), min_size=1, max_size=12))
def test_json_keeps_all_of_the_memory_and_of_what_it_says(sizes: list[int]) -> None:
    known, memory = trained(), Memory()
    for number, size in enumerate(sizes):
        memory = shift.take(known, memory, *rows(number + 1, size), f"dataset {number}")
    back = shift.from_json(json.loads(json.dumps(memory.as_json(), allow_nan=False)))
    assert back.as_json() == memory.as_json()
    assert shift.judge(json.loads(json.dumps(known)), back) == shift.judge(known, memory)
    assert (memory.rows, memory.batches) == (sum(sizes), sum(size > 0 for size in sizes))


def test_a_verdict_is_json_too() -> None:
    verdict = verdict_of(trained(), rows(1), rows(2, moved=1))
    assert json.loads(json.dumps(asdict(verdict), allow_nan=False))["level"] == "act"


@pytest.mark.parametrize("count", [30, 2000])
def test_the_order_of_rows_within_a_batch_does_not_matter(count: int) -> None:
    batch = rows(1, count)
    turned = part(batch, np.random.default_rng(0).permutation(count))
    one, other = (shift.take(trained(), Memory(), *rows, "a").as_json() for rows in (batch, turned))
    assert one == other


def test_a_batch_in_two_parts_leaves_the_same_counts() -> None:
    known, batch = trained(), rows(1, 400)
    whole = shift.take(known, Memory(), *batch, "a")
    parts = shift.take(known, Memory(), *part(batch, slice(0, 150)), "a")
    parts = shift.take(known, parts, *part(batch, slice(150, None)), "a")
    one, other = (arrivals.windows(memory.blocks) for memory in (whole, parts))
    assert np.array_equal(one.numbers[-1], other.numbers[-1])
    assert np.array_equal(one.categories[0][-1], other.categories[0][-1])
    assert np.array_equal(one.orders[-1], other.orders[-1])
    assert (whole.looks, parts.looks) == (1.0, 2.0)


def test_an_empty_batch_changes_nothing() -> None:
    memory = shift.take(trained(), Memory(), *rows(1), "a")
    assert shift.take(trained(), memory, *rows(2, 0), "b") is memory
    assert verdict_of(trained(), rows(2, 0)).level == "none"


def test_windows_double_and_the_memory_stays_small_for_years() -> None:
    known, memory = trained(), Memory()
    for number in range(700):
        size = (1, 3, 50, 700)[number % 4]
        memory = shift.take(known, memory, *rows(number % 20 + 1, size), f"{number}")
    lengths = arrivals.windows(memory.blocks).rows
    assert len(lengths) <= 20
    assert np.all(lengths[2:] >= 1.5 * lengths[:-2])
    assert len(json.dumps(memory.as_json())) / 5 < 20_000
    assert memory.rows == 175 * 754


def test_rows_of_tiny_batches_are_collected_until_they_tell() -> None:
    known, memory, levels = trained(), Memory(), []
    moved = rows(1, 120, moved=1)
    for row in range(120):
        memory = shift.take(known, memory, *part(moved, [row]), f"{row}")
        levels.append(shift.judge(known, memory).level)
    assert levels[0] == "none"
    assert levels[-1] == "act"
    assert memory.looks == pytest.approx(120 / 50)


def test_another_release_s_memory_is_refused() -> None:
    memory = shift.take(trained(), Memory(), *rows(1), "a")
    with pytest.raises(DataError, match="another training profile.*Begin anew"):
        shift.judge(trained(900), memory)
    with pytest.raises(DataError, match="another training profile.*Begin anew"):
        shift.take(trained(900), memory, *rows(1), "a")


def test_a_batch_without_a_column_is_refused_by_name() -> None:
    numbers, categories = rows(1)
    del numbers["age"]
    with pytest.raises(DataError, match=r"dataset a: age of .* is not there\. Give"):
        shift.take(trained(), Memory(), numbers, categories, "a")


@pytest.mark.parametrize(
    "damage", [{"format": 0}, {"blocks": None}, {"blocks": [{}]}, {"rows": "many"}, {"sample": [["x"]]}]
)
def test_a_damaged_memory_is_refused(damage: dict[str, Any]) -> None:
    facts = shift.take(trained(), Memory(), *rows(1), "a").as_json() | damage
    with pytest.raises(DataError, match="cannot be read"):
        shift.from_json(facts)


def test_a_memory_that_lost_a_column_is_refused() -> None:
    memory = shift.take(trained(), Memory(), *rows(1), "a")
    block = replace(memory.blocks[0], numbers=memory.blocks[0].numbers[1:])
    with pytest.raises(DataError, match="does not fit"):
        shift.judge(trained(), replace(memory, blocks=(block,)))


# --- what is said -----------------------------------------------------------------------------------------


def test_stable_rows_are_no_alarm() -> None:
    verdict = verdict_of(trained(), *(rows(seed) for seed in range(1, 9)))
    assert verdict.level == "none"
    assert verdict.sentences == ()
    told = [column.column for column in verdict.columns if column.kind != "order"]
    assert told == ["month", "year", "age", "tickets", "contract"]
    assert verdict.spent == pytest.approx(1 - (1 + 8 / 48) ** -0.5)


def test_a_fallen_median_is_told_with_its_dataset_and_the_column_s_words() -> None:
    batch = rows(2)
    known, feeble = trained(), with_number(batch, month=np.floor(batch[0]["month"] * 0.03))
    memory = shift.take(known, shift.take(known, Memory(), *rows(1), "2026-06"), *feeble, "2026-07")
    verdict = shift.judge(known, memory, {"month": "activity last month"})
    then, now = np.median(rows(0, 1000)[0]["month"]), np.median(feeble[0]["month"])
    assert verdict.level == "act"
    fell = f"activity last month fell from a median of {then:.0f} to {now:.0f}"
    assert verdict.sentences[0] == f"{fell} in dataset 2026-07: a broken feed?"


def test_a_slow_shift_is_told_with_all_its_datasets() -> None:
    verdict = verdict_of(trained(), *(rows(seed, 100, moved=0.35) for seed in range(1, 9)))
    age = next(column for column in verdict.columns if column.column == "age")
    assert (verdict.level, age.level) == ("act", "act")
    assert "datasets from 2026-01 to 2026-08" in age.sentence


@pytest.mark.parametrize(
    ("column", "broken", "told"),
    [
        (
            "age",
            lambda values: np.zeros_like(values),
            "age is always 0 in dataset 2026-02: a broken feed?",
        ),
        ("year", lambda values: np.full_like(values, np.nan), "year is missing in 100 % of rows in dataset"),
        ("age", lambda values: np.full_like(values, 40.5), "age is always 40.5 in dataset 2026-02"),
        ("year", lambda values: values * 1000, "another unit?"),
        ("year", lambda values: values / 1000, "another unit?"),
        ("age", lambda values: values * 10, "another unit?"),
        ("age", lambda values: np.where(np.arange(len(values)) % 2, values, -1), "age"),
    ],
)
def test_a_broken_column_is_to_be_acted_on_in_its_first_batch_of_30_rows(
    column: str, broken: Any, told: str
) -> None:
    batch = rows(2, 30)
    verdict = verdict_of(trained(), rows(1), with_number(batch, **{column: broken(batch[0][column])}))
    assert verdict.level == "act"
    assert any(told in sentence and column in sentence for sentence in verdict.sentences)


def test_an_order_that_breaks_is_told_where_the_columns_alone_tell_nothing() -> None:
    numbers, categories = rows(1, 300)
    random = np.random.default_rng(5)
    shuffled = {name: random.permutation(values) for name, values in numbers.items()}
    verdict = verdict_of(trained(), (shuffled, categories))
    assert verdict.sentences[0].startswith("month is above year in ")
    assert verdict.sentences[0].endswith("in training in 0 %: does each column hold what its name says?")


def test_values_never_seen_and_shares_that_moved_are_told_by_name() -> None:
    numbers, categories = rows(1, 300)
    new = categories["contract"].copy()
    new[:90] = "weekly"
    verdict = verdict_of(trained(), (numbers, {"contract": new}))
    contract = next(column for column in verdict.columns if column.column == "contract")
    assert contract.level == "act"
    assert (contract.never_seen, contract.never_seen_examples) == (0.3, ("weekly",))
    assert contract.sentence == (
        "contract has values never seen in training (weekly) in 30 % of rows in dataset 2026-01"
    )
    new = np.where(categories["contract"] == "two years", "monthly", categories["contract"]).astype(object)
    told = verdict_of(trained(), (numbers, {"contract": new})).sentences
    assert told[0] == "contract two years fell from 20 % to 0 % of rows in dataset 2026-01"


def test_columns_that_part_company_are_seen_together_only() -> None:
    random = np.random.default_rng(3)
    x, y = random.normal(size=(2, 2000))
    known = profile.of({"x": x, "y": x + y}, {}, 0)
    x, y = random.normal(size=(2, 500))
    verdict = verdict_of(known, ({"x": x, "y": y - x}, {}))
    assert [column.level for column in verdict.columns] == ["none", "none"]
    assert verdict.together and verdict.together.level == "act"
    assert verdict.together.columns == ("x", "y")
    assert "x with y" in verdict.sentences[0]


def test_significant_is_not_enough_where_little_changed() -> None:
    random = np.random.default_rng(4)
    known = profile.of({"x": random.normal(size=100_000)}, {}, 0)
    verdict = verdict_of(known, ({"x": random.normal(0.05, 1, 100_000)}, {}))
    assert verdict.columns[0].life_p_value < 1e-6
    assert verdict.level == "none"


def test_a_column_without_a_training_value_and_one_of_one_value_are_judged_too() -> None:
    known = profile.of({"gone": np.full(300, np.nan), "one": np.ones(300)}, {}, 0)
    same: Rows = ({"gone": np.full(50, np.nan), "one": np.ones(50)}, {})
    other: Rows = ({"gone": np.arange(50.0), "one": np.zeros(50)}, {})
    assert verdict_of(known, same, same).level == "none"
    told = verdict_of(known, other).sentences
    assert any(sentence.startswith("gone is missing in 0 % of rows") for sentence in told)
    assert any(sentence.startswith("one is always 0 in dataset") for sentence in told)


@settings(max_examples=20, deadline=None)
@given(
    arrays(float, st.integers(0, 60), elements=st.floats(allow_nan=True, allow_infinity=True)),
    arrays(float, st.integers(1, 40), elements=st.floats(allow_nan=True, allow_infinity=True)),
    st.lists(st.sampled_from(["", "a", "b", "cd", "\u00e9"]), min_size=60, max_size=60),
)
def test_whatever_comes_a_verdict_comes_out(old: Any, new: Any, names: list[str]) -> None:
    kinds = np.array(names, dtype=object)
    known = profile.of({"x": old}, {"y": kinds[: len(old)]}, 0)
    verdict = verdict_of(known, ({"x": new}, {"y": kinds[-len(new) :]}))
    assert all(0 <= column.p_value <= 1 and column.sentence for column in verdict.columns)
    json.dumps(asdict(verdict), allow_nan=False)


# --- the classic data -------------------------------------------------------------------------------------


def test_the_classic_sources_are_told_from_practice_by_last_month_s_activity() -> None:
    verdict = verdict_of(practice(), classic("sourcedata/dataset3.csv", "sourcedata/dataset4.csv"))
    assert verdict.level in ("look", "act")
    assert any(
        "lastmonth_activity is above lastyear_activity in 65 % of rows" in sentence
        for sentence in verdict.sentences
    )


def test_eight_classic_rows_are_not_to_be_acted_on() -> None:
    assert verdict_of(practice(), classic("validation_data/no_drift/no_drift.csv")).level != "act"


def test_eight_of_the_training_rows_are_no_alarm() -> None:
    table = classic("practicedata/dataset1.csv", "practicedata/dataset2.csv")
    for seed in range(30):
        drawn = np.random.default_rng(seed).choice(26, 8, replace=False)
        assert verdict_of(practice(), part(table, drawn)).level == "none"


# --- statistics -------------------------------------------------------------------------------------------


def counts(old: Any, new: Any) -> tuple[Any, Any]:
    number = profile.of({"x": old}, {}, 0)["numbers"]["x"]
    sides = [np.bincount(profile.number_codes(number, v), minlength=profile.bins(number)) for v in (old, new)]
    return sides[0].astype(float), sides[1][None].astype(float)


@pytest.mark.parametrize("decimals", [0, 1, 6])
def test_rank_sum_and_distance_are_scipy_s(decimals: int) -> None:
    random = np.random.default_rng(decimals)
    old, new = random.normal(size=120).round(decimals), random.normal(0.3, 1, 90).round(decimals)
    reference = stats.mannwhitneyu(new, old, method="asymptotic")
    told = twosample.rank_sum(*counts(old, new))
    assert told.p_value[0] == pytest.approx(reference.pvalue, rel=2e-3)
    assert told.effect[0] == pytest.approx(2 * reference.statistic / (120 * 90) - 1)
    distance = twosample.kolmogorov_smirnov(*counts(old, new))
    assert distance.statistic[0] == pytest.approx(stats.ks_2samp(old, new).statistic)
    assert distance.p_value[0] == pytest.approx(stats.ks_2samp(old, new, method="exact").pvalue, rel=0.5)


@given(st.integers(0, 60), st.integers(1, 60), st.integers(0, 60), st.integers(1, 60))
def test_the_tail_of_a_share_is_never_smaller_than_fisher_s(a: int, m: int, b: int, n: int) -> None:
    a, b = min(a, m), min(b, n)
    exact = stats.hypergeom(m + n, a + b, m).sf(a - 1)
    bound = float(twosample.more(np.array(a), np.array(m), b, n))
    assert bound >= exact * (1 - 1e-9)
    if exact < 1e-3:
        assert bound < 2 * exact


def test_the_g_test_is_scipy_s_but_for_its_correction() -> None:
    old, new = np.array([4000.0, 3000, 3000, 0]), np.array([[2000.0, 1600, 1500, 0]])
    told = twosample.likelihood_ratio(old, new, 1)
    table = [old[:3], new[0][:3]]
    expected = stats.chi2_contingency(table, correction=False, lambda_="log-likelihood")
    assert told.statistic[0] == pytest.approx(expected.statistic, rel=1e-3)
    assert told.p_value[0] == pytest.approx(expected.pvalue, rel=1e-2)
    assert told.statistic[0] < expected.statistic


@pytest.mark.parametrize("new_rows", [150, 4000])
@pytest.mark.parametrize("kind", ["number", "ties", "category", "rare"])
def test_nominal_p_values_of_stable_rows_are_no_smaller_than_they_say(kind: str, new_rows: int) -> None:
    random = np.random.default_rng(8)
    columns = 300
    least: dict[str, list[float]] = {}
    kinds = np.arange(300 if kind == "rare" else 6).astype(str).astype(object)

    def draw(count: int) -> Rows:
        if kind in ("category", "rare"):
            weights = 1 / np.arange(2.0, len(kinds) + 2)
            return {}, {
                f"{c}": random.choice(kinds, count, p=weights / weights.sum()) for c in range(columns)
            }
        numbers = random.exponential(2, (columns, count))
        return {f"{c}": np.floor(row) if kind == "ties" else row for c, row in enumerate(numbers)}, {}

    known = profile.of(*draw(200), seed=0) | {"orders": []}
    memory = shift.take(known, Memory(), *draw(new_rows), "a")
    for found in findings.of_columns(known, arrivals.windows(memory.blocks)):
        for name, told in found.tests.items():
            least.setdefault(name, []).append(float(told.p_value[0]))
    for name, chances in least.items():
        hits = int(np.sum(np.array(chances) <= 0.02))
        assert stats.binom.sf(hits - 1, columns, 0.03) > 1e-3, (name, hits)


def test_the_classifier_keeps_its_error_and_finds_what_only_pairs_tell() -> None:
    random = np.random.default_rng(9)
    stable = [twosample.classifier(*random.uniform(-1, 1, (2, 200, 4))).p_value for _ in range(300)]
    assert stats.binom.sf(sum(np.array(stable) <= 0.05) - 1, 300, 0.06) > 1e-3
    old, new = random.uniform(-1, 1, (2, 400, 4))
    new[:, 1] = np.where(random.random(400) < 0.7, -new[:, 0], new[:, 1])
    apart = twosample.classifier(old, new)
    assert apart.p_value < 1e-6
    assert apart.features == (0, 1)


def test_a_life_spends_its_error_ever_more_slowly_and_never_all_of_it() -> None:
    looks = np.arange(1, 200_000)
    prices = np.array([shift.price(look) for look in looks[:5000]])
    assert np.all(np.diff(prices) < 0)
    assert prices.sum() < shift.spent(5000)
    assert shift.spent(0) == 0
    assert shift.spent(144) == pytest.approx(0.5)
    assert shift.spent(1e12) <= 1


def test_few_stable_lives_raise_an_alarm_and_a_shift_is_found() -> None:
    known = [profile.of(*rows(1000 * life), seed=life) for life in range(10)]
    levels = []
    for life, of in enumerate(known):
        memory = Memory()
        for batch in range(30):
            memory = shift.take(of, memory, *rows(1000 * life + batch + 1, 200), str(batch))
            levels.append(shift.judge(of, memory).level)
    assert levels.count("act") == 0
    assert levels.count("look") <= 9
    moved = [verdict_of(of, rows(99_000 + life, moved=0.5)).level for life, of in enumerate(known)]
    assert moved.count("act") >= 9


def test_a_merged_block_knows_its_extremes_and_a_longer_window_has_more_rows() -> None:
    known, memory = trained(), Memory()
    batches = [rows(seed, 40) for seed in range(1, 8)]
    for batch in batches:
        memory = shift.take(known, memory, *batch, "a")
    years = np.concatenate([batch[0]["year"] for batch in batches])
    window = arrivals.windows(memory.blocks)
    assert (window.low[-1][1], window.high[-1][1]) == (years.min(), years.max())
    assert np.all(np.diff(window.rows) > 0)
    assert window.rows[-1] == 7 * 40


@pytest.mark.parametrize("size", [1, 7, 49, 50, 51, 5000])
def test_batches_of_any_size_spend_no_more_than_a_life_has(size: int) -> None:
    known, memory, paid = trained(), Memory(), 0.0
    block = shift.take(known, memory, *rows(1, size), "a").blocks[0]
    for batch in range(3000):
        looks = (batch + 1) * arrivals.look_of(known, size)
        memory = replace(memory, looks=looks, blocks=(block,))
        paid += shift._error(known, memory, 1).price
    assert 0.95 * shift.spent(memory.looks) < paid <= shift.spent(memory.looks)
