"""What is remembered from tick to tick: it survives as a file, and counts nothing twice."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from attrition import monitor
from attrition.monitor import KEPT_REFUSALS, Memory, Record, Refusal

NOW = "2026-03-02T12:00:00Z"
RECORD = Record("000004-aa", rows=60, labels=40, looked_at=NOW, losses={"error": {"value": 0.1}})
REFUSAL = Refusal(NOW, "run", "000004-aa", "rows", "settings", "not better")


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    memory = Memory({"000001-aa": RECORD}, [REFUSAL], {"test": ["one"]}, ["test"], [NOW])
    monitor.write(tmp_path / "monitor.json", memory)
    assert monitor.read(tmp_path / "monitor.json") == memory


def test_an_absent_file_is_an_empty_memory(tmp_path: Path) -> None:
    assert monitor.read(tmp_path / "monitor.json") == Memory()


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"records": {"a": {"odd": 1}}}', "null", "\0"])
def test_a_damaged_file_is_begun_anew_and_told(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    place = tmp_path / "monitor.json"
    place.write_text(damage)
    assert monitor.read(place) == Memory()
    assert "this is damaged" in caplog.text


def test_a_record_begins_after_the_rows_its_release_was_trained_on() -> None:
    memory = Memory({"000001-aa": RECORD})
    assert memory.of("000001-aa", "000002-bb") == RECORD
    assert memory.of("000002-cc", "000002-bb") == Record("000002-bb")
    assert memory.kept("000002-cc", RECORD).of("000002-cc", "") == RECORD
    assert memory.of_releases(["000002-cc"]).records == {}


def test_the_same_challenger_looks_at_the_test_rows_once() -> None:
    memory, earlier = Memory().looked("test", "one")
    assert earlier == 0
    again, earlier = memory.looked("test", "one")
    assert (again, earlier) == (memory, 0)
    memory, earlier = memory.looked("test", "two")
    assert earlier == 1
    assert memory.looked("other rows", "two")[1] == 0


def test_trainings_of_the_last_day_are_counted_also_after_a_clock_was_set_back() -> None:
    memory = Memory(trainings=["2026-03-01T11:00:00Z", "2026-03-02T11:00:00Z", "2026-03-09T00:00:00Z"])
    assert memory.trainings_today(NOW) == 1
    assert memory.trained(NOW).trainings == ["2026-03-02T11:00:00Z", NOW]


def test_a_training_that_waits_is_allowed_a_day_after_the_one_that_is_in_its_way() -> None:
    memory = Memory(trainings=["2026-03-02T01:00:00Z", "2026-03-02T11:00:00Z"])
    assert memory.allowed_from(NOW, 3) is None
    for most, hour in ((2, 1), (1, 11)):
        again = memory.allowed_from(NOW, most)
        assert again and datetime.fromtimestamp(again, UTC) == datetime(2026, 3, 3, hour, tzinfo=UTC)


def test_refusals_are_kept_but_not_without_end(tmp_path: Path) -> None:
    memory = Memory()
    for number in range(KEPT_REFUSALS + 5):
        memory = memory.refused(replace(REFUSAL, run=str(number)))
    assert [memory.refusals[0].run, memory.refusals[-1].run] == ["5", str(KEPT_REFUSALS + 4)]
    monitor.write(tmp_path / "monitor.json", memory)
    assert json.loads((tmp_path / "monitor.json").read_text())["format"] == monitor.FORMAT
