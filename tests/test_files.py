import os
import subprocess
import sys
from pathlib import Path

import pytest

from attrition import files, ledger, stamp, tables
from attrition.errors import LockedError
from tests.projects import CHECKOUT


def test_a_file_is_replaced_whole_and_no_draft_stays(tmp_path: Path) -> None:
    place = tmp_path / "below" / "score.txt"
    files.write_text(place, "old\n")
    files.write_text(place, "new\n")
    assert place.read_text() == "new\n"
    assert list(place.parent.iterdir()) == [place]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    place = tmp_path / "facts.json"
    files.write_json(place, {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(place, {"a": float("nan")})
    script = (
        "import resource, signal, sys; from pathlib import Path; from attrition import files;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100));"
        "files.write_bytes(Path(sys.argv[1]), b'x' * 1000)"
    )
    cut = subprocess.run(
        [sys.executable, "-c", script, str(place)], cwd=CHECKOUT, capture_output=True, text=True
    )
    assert "File too large" in cut.stderr
    assert files.read_json(place) == {"a": 1}
    assert list(tmp_path.iterdir()) == [place]


def test_drafts_of_killed_writers_are_swept(tmp_path: Path) -> None:
    (tmp_path / ".score.txt.0badcafe.tmp").write_text("half")
    (tmp_path / ".hidden").write_text("a person's")
    files.sweep(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [".hidden"]


def test_a_link_moves_by_one_rename_even_over_a_plain_file(tmp_path: Path) -> None:
    link = tmp_path / "trainedmodel.pkl"
    link.write_text("of an older system")
    files.point_link(link, "current/trainedmodel.pkl")
    files.point_link(link, "elsewhere")
    assert link.readlink() == Path("elsewhere")
    assert list(tmp_path.iterdir()) == [link]


def test_the_lock_excludes_another_process_and_dies_with_its_holder(tmp_path: Path) -> None:
    place = tmp_path / "pipeline.lock"
    script = (
        "import os, sys, signal; from pathlib import Path; from attrition import files\n"
        "with files.lock(Path(sys.argv[1])):\n"
        "    print('held', flush=True); signal.pause()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(place)], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout and holder.stdout.readline() == "held\n"
        with pytest.raises(LockedError, match=f"held by process {holder.pid}"), files.lock(place):
            pass
        holder.kill()
    with files.lock(place):
        pass


def test_a_removed_lock_file_is_made_anew_and_still_locks(tmp_path: Path) -> None:
    place = tmp_path / "pipeline.lock"
    with files.lock(place):
        place.unlink()
        with files.lock(place), pytest.raises(LockedError), files.lock(place):
            pass


def test_a_torn_line_does_not_spoil_the_next_one(tmp_path: Path) -> None:
    history = tmp_path / "history.jsonl"
    entry = {"run": "1", "stage": "training", "started": "now", "seconds": 1, "status": "done"}
    ledger.append(history, entry)
    with history.open("a") as stream:
        stream.write('{"run": "2", "stage": "trai')
    ledger.append(history, {**entry, "run": "3", "status": "failed"})
    assert [e["run"] for e in ledger.entries(history)] == ["1", "3"]
    finished = ledger.last_finished(history, "training")
    assert finished and finished["run"] == "1"
    assert ledger.last_finished(history, "scoring") is None


def test_a_history_that_is_no_text_is_passed_over(tmp_path: Path) -> None:
    history = tmp_path / "history.jsonl"
    history.write_bytes(b"\xff\xfe\n[1]\nnull\n{}\n")
    assert ledger.entries(history) == []
    assert ledger.entries(tmp_path / "nothing") == []


def test_numbers_are_written_so_that_they_read_back_the_same() -> None:
    for value in (3.0, 0.1, -5.0, 1e300, 123456789012345680.0, 5e-324):
        assert float(tables.number(value)) == value
    assert tables.number(3.0) == "3"
    assert tables.number(float("nan")) == ""


def test_an_export_guards_text_and_leaves_numbers_alone() -> None:
    exported = tables.export_text(["a", "b"], [["=cmd|' /C calc'!A0", -5.0], ["\uff1dx", None], ["plain", 2]])
    assert exported.splitlines()[1:] == ["'=cmd|' /C calc'!A0,-5", "'\uff1dx,", "plain,2"]


def stamp_of(folder: Path) -> bytes:
    return stamp.text([str(folder)], ["ATTRITION_TRAINING_FOLDS"])


def test_a_stamp_sees_every_kind_of_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "a.csv").write_text("1")
    os.utime(data / "a.csv", (1, 1))
    seen = [stamp_of(data)]
    (data / "a.csv").write_text("2")
    os.utime(data / "a.csv", (1, 1))
    seen.append(stamp_of(data))
    (data / "a.csv").rename(data / "b.csv")
    seen.append(stamp_of(data))
    (data / "b.csv").chmod(0o600)
    seen.append(stamp_of(data))
    (data / "c.csv").touch()
    seen.append(stamp_of(data))
    monkeypatch.setenv("ATTRITION_TRAINING_FOLDS", "3")
    seen.append(stamp_of(data))
    monkeypatch.setenv("ATTRITION_TRAINING_FOLDS", "4")
    seen.append(stamp_of(data))
    monkeypatch.setenv("ATTRITION_ANYTHING", "new")
    seen.append(stamp_of(data))
    for path in data.iterdir():
        path.unlink()
    data.rmdir()
    seen.append(stamp_of(data))
    assert len(set(seen)) == len(seen)


def test_a_stamp_keeps_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTRITION_API_KEYS", "planted-secret")
    assert b"planted-secret" not in stamp_of(tmp_path)
    assert b"ATTRITION_API_KEYS" in stamp_of(tmp_path)


def test_only_a_plain_tick_may_end_at_the_stamp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "config.json"
    (tmp_path / ".config.json.stamp").write_bytes(stamp.text([str(config)], []))
    os.utime(tmp_path / ".config.json.stamp", (1, 1))
    assert stamp.nothing_new(["--config", str(config), "-q"])
    assert (tmp_path / ".config.json.stamp").stat().st_mtime > 1
    assert not stamp.nothing_new(["--config", str(config), "--practice"])
    for flag in ("--force", "--json", "--dry-run", "-v", "--help"):
        assert not stamp.nothing_new(["--config", str(config), flag])
    monkeypatch.chdir(tmp_path)
    assert stamp.nothing_new(["--config", "./config.json"])
    config.write_text("{}")
    assert not stamp.nothing_new(["--config", str(config)])
    (tmp_path / ".config.json.stamp").write_bytes(b"rubbish\n\nrubbish")
    assert not stamp.nothing_new(["--config", str(config)])
