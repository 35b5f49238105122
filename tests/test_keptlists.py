"""The summary of a list: what is written reads back, and what is damaged is told and passed over."""

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attrition import keptlists
from attrition.keptlists import KeptList

NAMES = ["Ann & Söhne", "line\nbreak", "", "\udce9", "b" * 5000]


def packed(names: Sequence[str], number: int = 1, release: str = "000001-aa", **columns: Any) -> bytes:
    rows = np.zeros(len(names), dtype=np.dtype(keptlists.ROW))
    rows["client"], rows["rank"] = keptlists.keys(names), np.arange(1, len(names) + 1)
    for field, values in columns.items():
        rows[field] = values
    facts = {"number": number, "scored_at": "2026-03-01T06:00:00Z", "release": release, "threshold": 0.5}
    return keptlists.pack(facts, ["a.csv", "b.csv"], ["Call", ""], rows, names)


def write(reports: Path, run: str, data: bytes) -> Path:
    place = reports / run / keptlists.NAME
    place.parent.mkdir(parents=True)
    place.write_bytes(data)
    return place


def test_what_is_kept_reads_back_to_the_last_bit(tmp_path: Path) -> None:
    probability = [0.1 + 0.2, 1 / 3, np.nan, 0.0, 1.0]
    place = write(tmp_path, "run", packed(NAMES, probability=probability, due=739_000, known=[0, 1, 2, 3, 4]))
    read = keptlists.read(place)
    assert (read.run, read.number, read.release, read.threshold) == ("run", 1, "000001-aa", 0.5)
    assert sorted(read.names) == sorted(NAMES)
    at = read.find(keptlists.keys(NAMES))
    assert [read.names[row] for row in at.tolist()] == NAMES
    assert np.array_equal(read.rows["probability"][at], probability, equal_nan=True)
    assert read.rows["known"][at].tolist() == [0, 1, 2, 3, 4]
    assert read.find(keptlists.keys(["nobody"])).tolist() == [-1]


def test_a_client_is_looked_up_in_the_file_as_it_stands_in_the_list(tmp_path: Path) -> None:
    probability = [0.1 + 0.2, 1 / 3, np.nan, 0.0, 1.0]
    place = write(tmp_path, "run", packed(NAMES, probability=probability, rank=[2, 3, 0, 4, 1]))
    on_disk = keptlists.on_disk(place)
    stands = [on_disk.stand(keptlists.key_of(name)) for name in NAMES]
    assert [stand and stand.probability for stand in stands] == [0.1 + 0.2, 1 / 3, None, 0.0, 1.0]
    assert [stand and stand.rank for stand in stands] == [2, 3, None, 4, 1]
    first = stands[0]
    assert first and (first.run, first.at, first.release, first.threshold) == (
        *("run", "2026-03-01T06:00:00Z", "000001-aa", 0.5),
    )
    assert [on_disk.stand(key) for key in (0, 1, keptlists.key_of("nobody"), 2**64 - 1)] == [None] * 4
    assert keptlists.on_disk(write(tmp_path, "empty", packed([]))).stand(1) is None


def test_a_key_alone_is_the_key_among_many() -> None:
    assert [keptlists.key_of(name) for name in NAMES] == keptlists.keys(NAMES).tolist()


def test_a_damaged_list_is_found_out_before_anybody_is_looked_up(tmp_path: Path) -> None:
    whole = packed(NAMES)
    for at in range(0, len(whole), 7):
        place = write(tmp_path, f"run{at}", whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        try:
            read = keptlists.read(place)
        except keptlists.DAMAGES:
            with pytest.raises(keptlists.DAMAGES):
                keptlists.on_disk(place)
        else:
            # a bit that no reader looks at
            found = keptlists.on_disk(place)
            assert (found.number, found.release, found.rows) == (read.number, read.release, len(read.rows))
            stands = [found.stand(key) for key in keptlists.keys(NAMES).tolist()]
            assert [stand.rank for stand in stands if stand] == [1, 2, 3, 4, 5]


def test_a_list_that_was_packed_again_is_not_looked_up(tmp_path: Path) -> None:
    place = write(tmp_path, "run", packed(NAMES))
    with zipfile.ZipFile(place) as members:
        contents = {name: members.read(name) for name in members.namelist()}
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as members:
        for name, data in contents.items():
            members.writestr(name, data)
    with pytest.raises(ValueError, match="its rows are compressed"):
        keptlists.on_disk(place)


def test_an_empty_list_is_a_list(tmp_path: Path) -> None:
    read = keptlists.read(write(tmp_path, "run", packed([])))
    assert read.names == [] and read.find(keptlists.keys(["a"])).tolist() == [-1]


def test_a_key_is_the_same_in_every_run() -> None:
    assert keptlists.keys(["Acme"]).tolist() == [5047460819758026945]


def test_lists_come_in_the_order_of_their_numbers_whatever_their_names(tmp_path: Path) -> None:
    for run, number in (("c", 1), ("a", 3), ("b", 2)):
        write(tmp_path, run, packed(["x"], number))
    (tmp_path / "killed").mkdir()
    kept = keptlists.kept(tmp_path)
    assert [each.run for each in kept.lists] == ["c", "b", "a"]
    assert (kept.last and kept.last.run, kept.next_number, kept.damaged) == ("a", 4, [])


def test_without_a_folder_of_reports_no_list_is_kept(tmp_path: Path) -> None:
    kept = keptlists.kept(tmp_path / "absent")
    assert (kept.last, kept.next_number, kept.damaged) == (None, 1, [])


def test_whatever_is_damaged_is_told_and_never_believed(tmp_path: Path) -> None:
    good = packed(["a", "b", "c"], probability=[0.1, 0.2, 0.3])
    place = write(tmp_path, "run", good)
    whole = keptlists.read(place)
    assert sorted(whole.names) == ["a", "b", "c"]
    for at in range(len(good)):
        for data in (good[:at], good[:at] + bytes([good[at] ^ 0x41]) + good[at + 1 :]):
            place.write_bytes(data)
            kept = keptlists.kept(tmp_path)
            if kept.lists:
                # dates and flags of the archive say nothing about the list
                _is_the_same(kept.lists[0], whole)
            else:
                assert [run for run, _ in kept.damaged] == ["run"]


def _is_the_same(read: KeptList, whole: KeptList) -> None:
    assert read.rows.tobytes() == whole.rows.tobytes()
    assert (read.number, read.release, read.threshold) == (whole.number, whole.release, whole.threshold)
    try:
        names = read.names
    except ValueError:
        return
    assert names == whole.names


@pytest.mark.parametrize(
    "data", [b"", b"PK\x05\x06" + bytes(18), b"\0" * 1000, b"no archive, but text", packed(["a"])[:-1]]
)
def test_what_is_no_list_is_passed_over(tmp_path: Path, data: bytes) -> None:
    write(tmp_path, "good", packed(["a"], 7))
    write(tmp_path, "bad", data)
    kept = keptlists.kept(tmp_path)
    assert [each.run for each in kept.lists] == ["good"]
    assert [run for run, _ in kept.damaged] == ["bad"]
    assert kept.next_number == 8
