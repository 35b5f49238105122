"""The table is verified and read once in a process; whatever touches it has it verified and read again."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from attrition import contract as contracts
from attrition import generations, publisher
from tests.projects import Project, classic_rows

if TYPE_CHECKING:
    import pandas as pd

Read = Callable[[], "pd.DataFrame"]


@pytest.fixture
def place(project: Project) -> Path:
    """finaldata.csv of a project whose table was published a while ago."""
    project.dataset("a.csv", classic_rows(60))
    assert project.run("ingestion.py").returncode == 0
    time.sleep(2 * generations.COARSE_NS / 1e9)
    return (project.home / "ingesteddata/finaldata.csv").resolve()


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often a table was hashed, and how often read."""
    counted = {"hashed": 0, "read": 0}

    def noted(what: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def do(*given: Any) -> Any:
            counted[what] += 1
            return work(*given)

        return do

    monkeypatch.setattr(publisher, "entry", noted("hashed", publisher.entry))
    monkeypatch.setattr(contracts, "read_final", noted("read", contracts.read_final))
    return counted


@pytest.fixture
def read(project: Project, place: Path) -> Read:
    config = project.config()
    return lambda: generations.table(contracts.compiled(config.clients), generations.require_current(config))


def test_a_table_is_hashed_and_read_once(read: Read, looks: dict[str, int]) -> None:
    first, again = read(), read()
    assert looks == {"hashed": 1, "read": 1}
    assert again.equals(first) and len(first) == 60


def test_what_one_stage_writes_into_its_table_no_other_sees(read: Read) -> None:
    first, whole = read(), read().copy()
    first.loc[0, "exited"] = "changed"
    first["more"] = 1
    first.pop("lastmonth_activity")
    assert read().equals(whole)


def test_damage_is_seen_even_with_the_size_and_time_of_before(
    read: Read, place: Path, looks: dict[str, int]
) -> None:
    read()
    sound, at = place.read_bytes(), place.stat()
    place.write_bytes(sound.replace(b"client00001", b"client99999"))
    os.utime(place, ns=(at.st_atime_ns, at.st_mtime_ns))
    assert (place.stat().st_size, place.stat().st_mtime_ns) == (at.st_size, at.st_mtime_ns)
    for _ in range(2):
        with pytest.raises(generations.DamagedTable, match="this is not what was ingested"):
            read()
    place.write_bytes(sound)
    assert len(read()) == 60 and looks["hashed"] == 4


def test_another_file_in_its_place_is_verified(read: Read, place: Path) -> None:
    read()
    damaged = place.read_bytes().replace(b"client00001", b"client99999")
    place.unlink()
    place.write_bytes(damaged)
    with pytest.raises(generations.DamagedTable):
        read()


def test_what_was_touched_just_now_is_not_taken_as_verified(
    read: Read, looks: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a tick of the file system's clock it could be written again and have the same time."""
    monkeypatch.setattr(generations, "COARSE_NS", 3600 * 10**9)
    read(), read()
    assert looks == {"hashed": 2, "read": 2}


def test_of_a_table_of_several_pieces_no_copy_stays_in_memory(
    read: Read, looks: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generations, "PIECE", 50)
    read(), read()
    assert looks == {"hashed": 1, "read": 2}
