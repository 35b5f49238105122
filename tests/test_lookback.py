"""Earlier lists against what became of their clients: who left, as many as promised, who was missed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from attrition import keptlists, lookback, risklist
from attrition.keptlists import KeptList
from attrition.lookback import LookBack
from attrition.plots import wilson
from attrition.settings import Clients
from tests import lists

CLIENTS = Clients(id="company", target="exited", numeric=("logins",))
Rows = Sequence[tuple[str, str, str]]


def _table(rows: Rows) -> pd.DataFrame:
    """Rows of client, dataset, outcome, in the order of the datasets."""
    return pd.DataFrame(rows, columns=["company", "dataset", "exited"], dtype="object")


class History:
    """Lists kept one after another: the clients active in a table, with probabilities given by hand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lists: list[KeptList] = []

    def keep(
        self, rows: Rows, probability: Mapping[str, float], short: Sequence[str], release: str = "000001-aa"
    ) -> None:
        table, number = _table(rows), len(self.lists) + 1
        active, _ = risklist.current_clients(CLIENTS, [table])
        entries = [_entry(row, probability[row["company"]], release) for row in active.to_dict("records")]
        listed = [entry for entry in entries if entry.client in short]
        data = lists.kept(CLIENTS, entries, listed, table, number, release, f"2026-03-0{number}T06:00:00Z")
        place = self.folder / f"run{number}" / keptlists.NAME
        place.parent.mkdir()
        place.write_bytes(data)
        self.lists.append(keptlists.read(place))

    def look_back(self, rows: Rows) -> LookBack:
        table = _table(rows)
        active, gone = risklist.current_clients(CLIENTS, [table])
        return lookback.look_back(
            self.lists, lookback.outcomes(CLIENTS, [table], active["company"].tolist(), gone)
        )


def _entry(row: Mapping[str, Any], probability: float, release: str) -> risklist.Entry:
    scored = probability == probability
    return risklist.Entry(
        client=row["company"],
        probability=probability if scored else None,
        band="high",
        rank=1 if scored else None,
        value=None,
        owner="",
        reasons=[],
        warnings=[],
        cause="" if scored else "nothing is known",
        row=row,
        release=release,
        threshold=0.5,
        scored_at="",
        change=risklist.Change("listed"),
        play=None,
        due=None,
    )


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path)


FIRST = [(client, "d1.csv", "") for client in "abcdef"]
CHANCES = {"a": 0.9, "b": 0.8, "c": 0.3, "d": 0.2, "e": 0.1, "f": np.nan}


def test_a_list_is_held_to_its_promise_once_outcomes_are_there(history: History) -> None:
    history.keep(FIRST, CHANCES, short="ab")
    told = [("a", "d1.csv", "1"), ("b", "d1.csv", "0"), ("c", "d1.csv", "1"), ("d", "d1.csv", "0")]
    found = history.look_back([*told, ("e", "d1.csv", ""), ("f", "d1.csv", "1")])
    [run] = found.runs
    assert (run.run, run.release, run.scored_at) == ("run1", "000001-aa", "2026-03-01T06:00:00Z")
    assert (run.short.clients, run.short.known, run.short.left) == (2, 2, 1)
    assert run.short.expected.value == pytest.approx(1.7)
    # f was not scored, of e nothing is known
    assert (run.scored.clients, run.scored.known, run.scored.left) == (5, 4, 2)
    assert run.scored.expected.value == pytest.approx(0.9 + 0.8 + 0.3 + 0.2)
    assert (run.precision.value, run.no_skill, run.capture.value) == (0.5, 0.5, 0.5)
    assert (run.precision.low, run.precision.high) == pytest.approx(wilson(0.5, 2))
    assert (found.leavers, found.never_listed) == (2, 1)
    [missed] = found.missed
    assert (missed.client, missed.run, missed.probability) == ("c", "run1", 0.3)


def test_without_an_outcome_there_is_nothing_to_look_back_on(history: History) -> None:
    assert history.look_back(FIRST) == LookBack([], 0, [], 0)
    history.keep(FIRST, CHANCES, short="ab")
    assert history.look_back(FIRST) == LookBack([], 0, [], 0)
    assert history.look_back([]) == LookBack([], 0, [], 0)


def test_an_outcome_counts_from_the_dataset_on_that_the_client_was_scored_in(history: History) -> None:
    rows = [("old", "d2.csv", "0"), ("old", "d10.csv", ""), ("new", "d10.csv", "")]
    history.keep(rows, {"old": 0.5, "new": 0.5}, short=["old"])
    # what becomes known of an earlier month says nothing about the month that was scored
    late = [("old", "d1.csv", "0"), ("old", "d9.csv", "0"), *rows]
    assert history.look_back(late).runs == []
    [run] = history.look_back([*late, ("old", "d11.csv", "0")]).runs
    assert (run.short.known, run.short.left, run.scored.known) == (1, 0, 1)


def test_a_row_that_had_an_outcome_when_it_was_scored_needs_a_later_one(history: History) -> None:
    rows = [("a", "d1.csv", "0"), ("b", "d1.csv", "0")]
    history.keep(rows, {"a": 0.5, "b": 0.5}, short="a")
    assert history.look_back(rows).runs == []
    [run] = history.look_back([*rows, ("a", "d2.csv", "1"), ("b", "d2.csv", "0")]).runs
    assert (run.scored.known, run.scored.left, run.precision.value) == (2, 1, 1.0)


def test_a_client_of_whom_every_row_is_gone_counts_as_unknown(history: History) -> None:
    history.keep(FIRST, CHANCES, short="ab")
    [run] = history.look_back([("b", "d1.csv", "1")]).runs
    assert (run.short.known, run.scored.known, run.scored.clients) == (1, 1, 5)


def test_lists_that_say_the_same_are_looked_at_once(history: History) -> None:
    for _ in range(3):
        history.keep(FIRST, CHANCES, short="ab")
    history.keep(FIRST, {**CHANCES, "a": 0.91}, short="ab")
    history.keep(FIRST, {**CHANCES, "a": 0.91}, short="ab", release="000002-bb")
    found = history.look_back([("a", "d1.csv", "1")])
    assert [run.run for run in found.runs] == ["run5", "run4", "run3"]


def test_who_once_stood_on_a_short_list_was_not_missed_and_the_last_score_is_told(history: History) -> None:
    history.keep(FIRST, CHANCES, short="ab")
    later = [*FIRST, *((client, "d2.csv", "") for client in "abcd")]
    history.keep(later, {**CHANCES, "a": 0.1, "c": 0.25, "d": 0.05}, short="b")
    found = history.look_back([*later, *((client, "d3.csv", "1") for client in "acd")])
    assert [(one.client, one.run, one.probability) for one in found.missed] == [
        ("d", "run2", 0.05),
        ("c", "run2", 0.25),
    ]
    assert (found.leavers, found.never_listed) == (3, 2)


def test_the_interval_of_a_promise_holds_nineteen_times_in_twenty() -> None:
    rng = np.random.default_rng(5)
    for size in (20, 160, 2000):
        probability = rng.beta(1, 4, size)
        expected = lookback.expected_leavers(probability)
        left = np.array([(rng.random(size) < probability).sum() for _ in range(5000)])
        assert expected.low is not None and expected.high is not None
        held = np.mean((left >= expected.low) & (left <= expected.high))
        assert held >= 0.94
        # no wider than it must be: one leaver fewer on both sides would not hold
        assert np.mean((left > expected.low) & (left < expected.high)) < 0.955
        assert expected.value == pytest.approx(left.mean(), rel=0.02)


def test_the_interval_of_a_promise_is_the_binomial_s_where_all_are_alike() -> None:
    expected = lookback.expected_leavers(np.full(20, 0.3))
    # quantiles of the binomial distribution with 20 trials of 0.3: 2 and 10
    assert (expected.low, expected.high) == (2.0, 10.0)
    assert expected.value == pytest.approx(6.0)
    sure = lookback.expected_leavers(np.array([1.0, 1.0, 0.0]))
    assert (sure.value, sure.low, sure.high) == (2.0, 2.0, 2.0)


@pytest.mark.parametrize(
    ("left", "verdict"), [(0, "fewer than promised"), (6, "as promised"), (11, "more than promised")]
)
def test_a_promise_is_kept_or_not(left: int, verdict: str) -> None:
    expected = lookback.expected_leavers(np.full(20, 0.3))
    assert lookback.Group(20, 20, left, expected).verdict == verdict
    assert lookback.Group(20, 0, 0, lookback.Interval(None, None, None)).verdict == "not known yet"


def test_of_many_missed_the_least_expected_are_named_and_all_are_counted(history: History) -> None:
    clients = [f"c{number:02d}" for number in range(50)]
    history.keep(
        [(client, "d1.csv", "") for client in clients],
        {client: 0.5 - number / 100 for number, client in enumerate(clients)},
        short=[],
    )
    found = history.look_back([(client, "d1.csv", "1") for client in clients])
    assert [one.client for one in found.missed] == clients[::-1][: lookback.MOST_MISSED]
    assert (found.leavers, found.never_listed) == (50, 50)
    [run] = found.runs
    assert (run.precision.value, run.capture.value, run.short.verdict) == (None, 0.0, "not known yet")
