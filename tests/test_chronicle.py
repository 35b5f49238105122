"""Runs as sums: what joins, what coarsens, what is followed, and how near the quantiles are."""

import json
import math
import random
from itertools import chain
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attrition import chronicle, plots, trends
from tests import histories


def run(stage: str, started: str, seconds: float = 1.0, status: str = "done", **facts: Any) -> dict[str, Any]:
    told = {"run": "r", "stage": stage, "started": started, "seconds": seconds}
    return {**told, "status": status, "facts": facts}


def test_runs_are_counted_by_day_and_stage_and_only_work_is_timed() -> None:
    day = "2026-03-01T06:00:00Z"
    lines = [
        run("scoring", day, 2.0, f1=0.5),
        run("scoring", day, 4.0, "refused", f1=0.7),
        run("scoring", day, 9.0, "failed"),
        run("scoring", day, 0.1, "nothing to do", f1=0.9),
        run("scoring", "by night", 3.0, f1=True, brier=math.inf),
    ]
    periods = chronicle.of(lines).periods
    assert periods.keys() == {"2026-03-01", "undated"}
    tally = periods["2026-03-01"]["scoring"]
    assert (tally.runs, tally.idle, tally.failures) == (2, 1, 1)
    assert tally.milliseconds == chronicle.Spread(2, 6000, 2000, 4000, 4000)
    assert tally.figures == {"f1": chronicle.Spread(2, 1.2, 0.5, 0.7, 0.7)}
    assert periods["undated"]["scoring"].figures == {}
    assert [point.period for point in chronicle.course(chronicle.of(lines), "scoring", "f1")] == [
        "2026-03-01"
    ]


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 1000), cuts=st.lists(st.integers(0, 60), max_size=4))
def test_parts_joined_are_the_whole_and_survive_a_file(seed: int, cuts: list[int]) -> None:
    ticks = list(histories.ticks(60, seed, minutes=1000))
    ends = [0, *sorted(cuts), 60]
    whole = chronicle.Chronicle()
    for begin, end in zip(ends, ends[1:], strict=False):
        part = chronicle.of(chain(*ticks[begin:end]))
        whole = chronicle.joined(
            whole, chronicle.from_facts(json.loads(json.dumps(chronicle.as_facts(part))))
        )
    expected = chronicle.of(chain(*ticks))
    assert whole.periods.keys() == expected.periods.keys()
    for stage, tally in expected.stages.items():
        joined = whole.stages[stage]
        assert (joined.statuses, joined.milliseconds) == (tally.statuses, tally.milliseconds)
        assert joined.sketch == tally.sketch
        for name, spread in tally.figures.items():
            assert joined.figures[name].total == pytest.approx(spread.total, rel=1e-12)
            assert joined.figures[name].last == spread.last


def test_old_days_become_months_and_no_run_is_lost() -> None:
    lines = [
        run("training", f"2026-{month:02d}-{day:02d}T00:00:00Z") for month in range(1, 13) for day in (1, 9)
    ]
    whole = chronicle.of([*lines, run("training", "never")])
    coarse = chronicle.coarsened(whole, days=3)
    assert sorted(coarse.periods) == [
        *(f"2026-{month:02d}" for month in range(1, 11)),
        *("2026-11-01", "2026-11-09", "2026-12-01", "2026-12-09", "undated"),
    ]
    assert coarse.stages == whole.stages
    assert chronicle.coarsened(coarse, days=3) == coarse
    assert chronicle.coarsened(chronicle.Chronicle()) == chronicle.Chronicle()


@pytest.mark.parametrize("share", [0.01, 0.5, 0.95, 1.0])
def test_a_quantile_is_within_the_precision_of_the_exact_one(share: float) -> None:
    chance = random.Random(7)
    seconds = [round(chance.lognormvariate(1, 2), 3) for _ in range(5001)]
    tally = chronicle.tally(run("training", "2026-03-01", one) for one in seconds)
    exact = sorted(seconds)[math.ceil(share * len(seconds)) - 1]
    # half a millisecond is lost to rounding
    assert tally.quantile(share) == pytest.approx(exact, rel=chronicle.PRECISION, abs=0.0005)
    assert chronicle.Tally().quantile(share) is None


def test_seconds_of_nothing_and_one_run_have_their_exact_quantile() -> None:
    assert chronicle.tally([run("training", "2026-03-01", 0.0)]).quantile(0.5) == 0.0
    assert chronicle.tally([run("training", "2026-03-01", 3.217)]).quantile(0.5) == 3.217


@pytest.mark.parametrize(
    "damage",
    [
        [],
        {"2026-01": []},
        {"2026-01": {"training": {"statuses": {}, "milliseconds": None, "sketch": []}}},
        {"2026-01": {"x": {"statuses": {"a": "1"}, "milliseconds": None, "sketch": [], "figures": {}}}},
        {"2026-01": {"x": {"statuses": {}, "milliseconds": [1, 2, 3], "sketch": [], "figures": {}}}},
        {"2026-01": {"x": {"statuses": {}, "milliseconds": None, "sketch": [[1, 1]], "figures": {}}}},
    ],
)
def test_damaged_facts_are_refused(damage: Any) -> None:
    with pytest.raises(ValueError, match="no sums of runs"):
        chronicle.from_facts(damage)


def test_every_figure_that_is_drawn_is_followed() -> None:
    for drawn in trends.FOLLOWED:
        for figure in filter(None, (drawn.figure, *(drawn.ends or ()))):
            assert figure in chronicle.FOLLOWED[drawn.stage]


def test_a_course_has_the_last_score_of_each_day_within_its_interval_and_the_mean_time() -> None:
    lines = [
        run("scoring", "2026-03-01T01:00:00Z", f1=0.4),
        run("scoring", "2026-03-02T01:00:00Z", f1=0.5, f1_low=0.4, f1_high=0.6),
        run("scoring", "2026-03-02T02:00:00Z", f1=0.55, f1_low=0.45, f1_high=0.65),
        run("training", "2026-03-02T02:00:00Z", 1.0),
        run("training", "2026-03-02T03:00:00Z", 4.0),
    ]
    score, time = trends.courses(chronicle.of(lines))
    assert (score.title, score.periods) == ("F1 on the test data", ["2026-03-01", "2026-03-02"])
    assert (score.values, score.low, score.high) == ((0.4, 0.55), (0.4, 0.45), (0.4, 0.65))
    assert (time.title, time.values, time.low, time.high) == ("time of training", (2.5,), (1.0,), (4.0,))
    assert trends.courses(chronicle.Chronicle()) == []


@pytest.mark.draws
def test_the_picture_of_all_runs_says_what_it_shows_and_stays_small() -> None:
    lines = chain.from_iterable(histories.ticks(6000, minutes=90))
    courses = trends.courses(chronicle.coarsened(chronicle.of(lines)))
    drawn = plots.courses_picture(courses)
    assert drawn.uri.startswith("data:image/svg+xml")
    for course in courses:
        assert course.title in drawn.alt
        assert f"in {course.periods[-1]}" in drawn.alt
    assert plots.courses_picture(courses) == drawn
