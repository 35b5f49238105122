"""The run history for years: older lines become sums, no run is lost or counted twice, states stay known."""

import json
import logging
import os
import threading
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attrition import answers, chronicle, config, files, landmarks, ledger, standing
from attrition.chronicle import Chronicle
from attrition.errors import DataError
from tests import histories
from tests.projects import Project

Lines = Sequence[Mapping[str, Any]]


@pytest.fixture
def history(tmp_path: Path) -> Path:
    return tmp_path / "history.jsonl"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A history that is shortened often."""
    monkeypatch.setattr(ledger, "MOST_BYTES", 1 << 14)
    monkeypatch.setattr(ledger, "KEPT_BYTES", 1 << 12)


def lines_of(count: int, seed: int = 0, minutes: int = 10) -> list[dict[str, Any]]:
    return list(chain.from_iterable(histories.ticks(count, seed, minutes)))


def write(history: Path, lines: Lines) -> None:
    history.write_text("".join(json.dumps(line) + "\n" for line in lines))


def exact(sums: Chronicle) -> dict[str, Any]:
    """What must agree to the last digit; sums of other figures agree but for the order of additions."""
    return {
        stage: (tally.statuses, tally.milliseconds, tally.sketch, counted(tally.figures))
        for stage, tally in sums.stages.items()
    }


def counted(figures: Mapping[str, chronicle.Spread]) -> dict[str, Any]:
    return {
        name: (spread.count, spread.least, spread.most, spread.last, pytest.approx(spread.total, rel=1e-12))
        for name, spread in figures.items()
    }


def states(lines: Lines) -> dict[str, Any]:
    """All that any reader of the history tells from it about how things stand."""
    releases = {score["release"] for line in lines if (score := line["facts"].get("live_score"))}
    return {
        "failing": standing.failing(lines),
        "drifting": standing.drifting(lines),
        "unfit": standing.unfit(lines),
        "verdict": standing.verdict(lines),
        "scores": {name: answers.newest_score(lines, name) for name in releases},
    }


def without_mark(line: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    return line and {key: value for key, value in line.items() if key != ledger.COUNTED}


def assert_tells_the_same(history: Path, lines: Lines) -> None:
    past = ledger.past(history)
    assert exact(past.whole) == exact(chronicle.of(lines))
    known, told = states(ledger.entries(history)), states(lines)
    assert {**known, "scores": {**told["scores"], **known["scores"]}} == told
    for stage in {line["stage"] for line in lines}:
        runs = [line for line in lines if line["stage"] == stage]
        finished = [line for line in runs if line["status"] in ledger.FINISHED]
        assert without_mark(ledger.last(history, stage)) == runs[-1]
        assert without_mark(ledger.last_finished(history, stage)) == (finished[-1] if finished else None)


def test_a_shortened_history_tells_the_same_after_every_tick(history: Path, small: None) -> None:
    lines: list[dict[str, Any]] = []
    for number, tick in enumerate(histories.ticks(200)):
        for line in tick:
            ledger.append(history, line)
        lines += tick
        if number % 10 == 0:
            assert_tells_the_same(history, lines)
    assert_tells_the_same(history, lines)
    assert len(ledger.entries(history)) < len(lines) / 2
    assert any(ledger.COUNTED in entry for entry in ledger.entries(history))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), cut=st.integers(1, 79))
def test_the_lines_that_stay_tell_every_state(seed: int, cut: int) -> None:
    ticks = list(histories.ticks(80, seed))
    older, newer = list(chain(*ticks[:cut])), list(chain(*ticks[cut:]))
    places = landmarks.places(older)
    kept = [line for place, line in enumerate(older) if place in places]
    again = [line for place, line in enumerate(kept) if place in landmarks.places(kept)]
    assert states([*kept, *newer]) == states([*again, *newer]) == states([*older, *newer])


class Killed(BaseException):
    pass


@pytest.mark.parametrize("name", ["historysummary.json", "history.jsonl"])
@pytest.mark.parametrize("written", [False, True], ids=["before", "after"])
def test_a_kill_between_the_steps_loses_no_run_and_counts_none_twice(
    history: Path, small: None, monkeypatch: pytest.MonkeyPatch, name: str, written: bool
) -> None:
    lines, write_bytes, kills = lines_of(120), files.write_bytes, 0

    def killed(path: Path, data: bytes) -> None:
        nonlocal kills
        if path.name != name or kills % 3 == 2:
            kills += path.name == name
            return write_bytes(path, data)
        kills += 1
        if written:
            write_bytes(path, data)
        raise Killed

    monkeypatch.setattr(files, "write_bytes", killed)
    for number, line in enumerate(lines):
        try:
            ledger.append(history, line)
        except Killed:
            assert_tells_the_same(history, lines[: number + 1])
    assert kills > 3
    assert_tells_the_same(history, lines)


def test_a_reader_sees_each_run_once_while_the_history_is_shortened(
    history: Path, small: None, caplog: pytest.LogCaptureFixture
) -> None:
    lines, counts, done = lines_of(150), [], threading.Event()

    def read() -> None:
        while not done.is_set():
            stages = ledger.past(history).whole.stages.values()
            counts.append(sum(sum(tally.statuses.values()) for tally in stages))

    reader = threading.Thread(target=read)
    reader.start()
    for line in lines:
        ledger.append(history, line)
    done.set()
    reader.join()
    # a run lost would make a count fall, one counted twice would make it exceed what there is
    assert counts == sorted(counts)
    assert len(set(counts)) > 10
    assert counts[-1] <= len(lines)


def test_a_reader_that_opened_the_history_before_it_was_replaced_reads_again(
    history: Path, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines, read_summary = lines_of(300), ledger._read_summary
    write(history, lines[:-1])

    def meanwhile(place: Path) -> ledger.Summary:
        monkeypatch.setattr(ledger, "_read_summary", read_summary)
        ledger.append(history, lines[-1])
        return read_summary(place)

    monkeypatch.setattr(ledger, "_read_summary", meanwhile)
    assert exact(ledger.past(history).whole) == exact(chronicle.of(lines))


def test_a_torn_last_line_is_passed_over_and_told_once(
    history: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = lines_of(3)
    write(history, lines[:-1])
    with history.open("a") as stream:
        stream.write(json.dumps(lines[0])[:60])
    assert ledger.last(history, lines[-2]["stage"]) == lines[-2]
    assert exact(ledger.past(history).whole) == exact(chronicle.of(lines[:-1]))
    with caplog.at_level(logging.WARNING):
        ledger.append(history, lines[-1])
        ledger.append(history, lines[-1])
    assert [record.message for record in caplog.records] == [
        f"{history}: a killed run left half a line at the end; it is passed over"
    ]
    assert ledger.entries(history) == [*lines, lines[-1]]


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"[]", b'{"format": 2}', b'{"format": 1, "sums": {"2026-01": {"training": {}}}}'],
)
def test_damaged_sums_are_told_and_no_line_is_dropped_for_them(
    history: Path, small: None, caplog: pytest.LogCaptureFixture, damage: bytes
) -> None:
    lines = lines_of(50)
    summary = history.with_name(ledger.SUMMARY)
    summary.write_bytes(damage)
    for line in lines:
        ledger.append(history, line)
    assert ledger.entries(history) == lines
    assert "not shortened" in caplog.text and "Restore the file, or move it away" in caplog.text
    with pytest.raises(DataError, match=r"historysummary\.json: this is damaged"):
        ledger.past(history)
    assert summary.read_bytes() == damage
    summary.unlink()
    ledger.append(history, lines[-1])
    assert_tells_the_same(history, [*lines, lines[-1]])


def test_a_history_that_was_removed_begins_anew_beside_its_sums(history: Path, small: None) -> None:
    first, second = lines_of(100), lines_of(5, seed=1)
    for line in first:
        ledger.append(history, line)
    gone = ledger.past(history).recent
    history.unlink()
    assert exact(ledger.past(history).whole) == exact(ledger.past(history).earlier)
    for line in second:
        ledger.append(history, line)
    summed = [line for line in first if line not in gone]
    assert exact(ledger.past(history).whole) == exact(chronicle.of([*summed, *second]))


def test_a_full_disk_while_shortening_does_not_spoil_the_run(
    history: Path, small: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lines = lines_of(150)
    write(history, lines[:-1])
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", _full_after_the_line())
        ledger.append(history, lines[-1])
    assert "No space left" in caplog.text
    assert ledger.entries(history) == lines
    assert list(history.parent.glob(".*.tmp")) == []


def _full_after_the_line() -> Any:
    fsync = iter([os.fsync])

    def full(descriptor: int) -> None:
        for once in fsync:
            return once(descriptor)
        raise OSError(28, "No space left on device")

    return full


def test_one_run_longer_than_all_that_is_kept_waits_for_the_next(history: Path, small: None) -> None:
    lines = [{**line, "run": "one"} for line in lines_of(60)]
    for line in lines:
        ledger.append(history, line)
    assert ledger.entries(history) == lines
    ledger.append(history, lines_of(1)[0])
    assert len(ledger.entries(history)) < len(lines) / 2
    assert_tells_the_same(history, [*lines, lines_of(1)[0]])


def test_a_year_of_ticks_stays_small_and_exact(history: Path) -> None:
    lines = lines_of(52_560 // 6, minutes=60)
    for begin in range(0, len(lines), 500):
        *most, newest = lines[begin : begin + 500]
        # the door writes each line and syncs it: too slow for a test of a year
        with history.open("a") as stream:
            stream.writelines(json.dumps(line) + "\n" for line in most)
        ledger.append(history, newest)
    summary = history.with_name(ledger.SUMMARY)
    assert history.stat().st_size < ledger.MOST_BYTES + (1 << 18)
    assert summary.stat().st_size < 1 << 19
    assert_tells_the_same(history, lines)
    points = chronicle.course(ledger.past(history).whole, "ingestion", "rows_total")
    periods = [point.period for point in points]
    assert periods == sorted(periods)
    assert {"2026-01", "2026-08", "2026-12-31"} <= set(periods)


def test_the_config_names_the_file_that_the_ledger_writes(project: Project) -> None:
    place: Path = project.config().history_summary
    assert place == project.config().history.with_name(ledger.SUMMARY)
    assert config.kept_files()["history_summary"].writer == "attrition.ledger"
