import csv
import hashlib
import os
import subprocess
import time
from pathlib import Path

import pytest

import ingestion
from attrition import generations
from attrition.errors import DataError
from tests.projects import HEADER, Project

A, B, C = "alder,10,100,5,0", "birch,20,200,6,1", "cedar,30,300,7,"


def ingest(project: Project, **started: bool) -> ingestion.Ingested:
    return ingestion.run(project.config(**started))


def table(project: Project) -> list[str]:
    return project.read("ingesteddata/finaldata.csv").splitlines()[1:]


def rejected(project: Project) -> list[dict[str, str]]:
    with (project.home / "ingesteddata/rejectedrows.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def status(project: Project) -> dict[str, str]:
    generation = generations.require_current(project.config())
    return {entry["name"]: entry["status"] for entry in generations.datasets(generation)}


def test_every_dataset_is_merged_and_equal_rows_count_once(project: Project) -> None:
    project.dataset("b.csv", [B, C])
    project.dataset("a.csv", [A, B, A])
    done = ingest(project)
    assert table(project) == [f"{A},a.csv", f"{B},a.csv", f"{C},b.csv"]
    assert done.datasets_new == ["a.csv", "b.csv"]
    assert (done.rows_read, done.rows_added, done.duplicates, done.rows_rejected) == (5, 3, 2, 0)


def test_one_and_one_point_zero_are_one_number_and_0042_is_not_42(project: Project) -> None:
    project.dataset("a.csv", ["0042,10,100,5,0", "42,10,100,5,0", "42,10.0,1e2,5,0", "NA,10,100,5,0"])
    ingest(project)
    assert [line.split(",")[0] for line in table(project)] == ["0042", "42", "NA"]


def test_the_second_look_finds_nothing_new_and_writes_nothing(project: Project) -> None:
    project.dataset("a.csv", [A, B])
    ingest(project)
    before = project.snapshot()
    assert ingest(project).status == "nothing to do"
    assert project.snapshot() == before


def test_a_file_that_was_only_touched_is_not_new(project: Project) -> None:
    path = project.dataset("a.csv", [A, B])
    ingest(project)
    os.utime(path, (1, 1))
    before = project.snapshot()
    assert ingest(project).status == "nothing to do"
    assert project.snapshot() == before


def test_a_corrected_dataset_replaces_its_old_rows(project: Project) -> None:
    project.dataset("a.csv", [A, B])
    project.dataset("b.csv", [C])
    ingest(project)
    project.dataset("a.csv", [A])
    done = ingest(project)
    assert done.datasets_changed == ["a.csv"]
    assert table(project) == [f"{A},a.csv", f"{C},b.csv"]


def test_the_same_content_under_a_new_name_is_counted_once(project: Project) -> None:
    project.dataset("b.csv", [A, B])
    ingest(project)
    project.dataset("a.csv", [A, B])
    done = ingest(project)
    assert (done.rows_read, done.rows_added, done.duplicates) == (2, 0, 2)
    assert table(project) == [f"{A},b.csv", f"{B},b.csv"]
    assert status(project) == {"a.csv": "same content", "b.csv": "ingested"}


def test_rows_of_a_removed_dataset_stay_and_the_removal_is_told_once(project: Project) -> None:
    project.dataset("a.csv", [A, B])
    path = project.dataset("b.csv", [C])
    ingest(project)
    path.unlink()
    assert ingest(project).datasets_removed == ["b.csv"]
    assert ingest(project).status == "nothing to do"
    project.dataset("c.csv", ["dogwood,1,2,3,0"])
    ingest(project)
    assert f"{C},b.csv" in table(project)
    assert len(table(project)) == 4


def test_a_dataset_that_comes_back_counts_once(project: Project) -> None:
    project.dataset("a.csv", [A, B])
    path = project.dataset("b.csv", [C])
    ingest(project)
    path.unlink()
    ingest(project)
    project.dataset("b.csv", [C])
    ingest(project)
    assert table(project) == [f"{A},a.csv", f"{B},a.csv", f"{C},b.csv"]
    assert status(project)["b.csv"] == "ingested"


def test_what_breaks_the_contract_is_set_aside_with_its_reason(project: Project) -> None:
    project.dataset("a.csv", [*(f"client{i},{i},100,5,0" for i in range(8)), "oak,many,100,5,7"])
    done = ingest(project)
    assert (done.rows_read, done.rows_added, done.rows_rejected) == (9, 8, 1)
    first, second = rejected(project)
    assert (first["dataset"], first["line"], first["column"], first["code"]) == (
        "a.csv",
        "10",
        "lastmonth_activity",
        "not_a_number",
    )
    assert first["row"] == "oak,many,100,5,7"
    assert second["code"] == "bad_outcome"


def test_a_rejected_row_may_be_long(project: Project) -> None:
    long = ["x" * 60_000] * 3
    header = f"{HEADER},note,more,most"
    good = [f"client{i},{i},100,5,0,{','.join(long)}" for i in range(8)]
    project.dataset(
        "a.csv", [*good, f"oak,many,100,5,0,{','.join(long)}", f"elm,1,{','.join(long)}"], header=header
    )
    assert ingest(project).rows_rejected == 2
    csv.field_size_limit(1 << 30)
    assert [len(row["row"]) > 180_000 for row in rejected(project)] == [True, True]


def test_above_the_allowed_share_the_whole_dataset_is_set_aside(project: Project) -> None:
    project.dataset("a.csv", [A, "oak,many,100,5,0"])
    project.dataset("b.csv", [B])
    done = ingest(project)
    assert done.datasets_rejected == ["a.csv"]
    assert table(project) == [f"{B},b.csv"]
    assert done.rows_read == done.rows_added + done.duplicates + done.rows_rejected == 3
    assert "max_rejected_share" in rejected(project)[0]["message"]


BAD = {
    "column.csv": b"corporation,lastmonth_activity,exited\nx,1,0\n",
    "garbage.csv": bytes(range(256)) * 40,
    "text.csv": f"{HEADER}\nx,many,2,3,0\n".encode(),
    "label.csv": f"{HEADER}\nx,1,2,3,7\n".encode(),
    "half.csv": f"{HEADER}\nx,1,2,3,0\ny,1\n".encode(),
    "empty.csv": b"",
    "packed.csv": b"\x1f\x8b\x08\x00abc",
    "twice.csv": b"corporation,exited,exited\nx,1,0\n",
    "wide.csv": b"c," * 1_000_000 + b"\n1",
    "latin.csv": f"{HEADER}\nM\xfcller,1,2,3,0\n".encode("latin-1"),
}


def test_bad_datasets_are_told_and_the_others_are_ingested_all_the_same(project: Project) -> None:
    project.dataset("good.csv", [A, B])
    for name, content in BAD.items():
        project.write(f"sourcedata/{name}", content)
    first = project.run("ingestion.py", "-q")
    assert first.returncode == 0
    assert sorted(line.split()[2] for line in first.stderr.splitlines()) == sorted(
        f"ERROR {n}".split()[1] for n in BAD
    )
    assert table(project) == [f"{A},good.csv", f"{B},good.csv"]
    second = project.json("ingestion.py")
    assert second["status"] == "nothing to do"
    assert sorted(second["datasets_rejected"]) == sorted(BAD)
    assert project.run("ingestion.py", "-q").stderr == ""


def test_a_header_without_rows_is_a_dataset_of_no_rows(project: Project) -> None:
    project.dataset("a.csv", [A])
    project.dataset("b.csv", [])
    assert ingest(project).rows_total == 1
    assert status(project)["b.csv"] == "ingested"


def test_a_rejected_dataset_is_tried_again_when_its_bytes_change(project: Project) -> None:
    project.write("sourcedata/a.csv", b"rubbish\n1")
    ingest(project)
    project.dataset("a.csv", [A])
    assert ingest(project).datasets_changed == ["a.csv"]
    assert table(project) == [f"{A},a.csv"]


def test_a_broken_correction_leaves_the_earlier_rows(project: Project) -> None:
    project.dataset("a.csv", [A, B])
    ingest(project)
    project.write("sourcedata/a.csv", b"\x00\x01")
    assert ingest(project).datasets_rejected == ["a.csv"]
    assert table(project) == [f"{A},a.csv", f"{B},a.csv"]
    assert ingest(project).status == "nothing to do"
    project.dataset("b.csv", [C])
    ingest(project)
    assert table(project) == [f"{A},a.csv", f"{B},a.csv", f"{C},b.csv"]


def test_the_list_of_ingested_files_is_checked_by_sha256sum(project: Project) -> None:
    project.dataset("a.csv", [A])
    project.dataset("b \\ c\n.csv", [B])
    project.write("sourcedata/bad.csv", b"")
    ingest(project)
    listed = project.home / "ingesteddata" / "ingestedfiles.txt"
    checked = subprocess.run(
        ["sha256sum", "-c", str(listed)], cwd=project.home / "sourcedata", capture_output=True
    )
    assert checked.returncode == 0
    assert checked.stdout.count(b"OK") == 2


def test_the_metrics_have_a_line_for_each_dataset_and_run(project: Project) -> None:
    path = project.dataset("a.csv", [A, B, A])
    ingest(project)
    project.dataset("b.csv", [C])
    ingest(project)
    with (project.home / "ingesteddata/ingestionmetrics.csv").open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert [line["dataset"] for line in lines] == ["a.csv", "b.csv"]
    assert lines[0]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    for line in lines:
        parts = (line["rows_added"], line["duplicates"], line["rejected"])
        assert int(line["rows_read"]) == sum(map(int, parts))


def test_another_contract_judges_everything_again(project: Project) -> None:
    project.dataset("a.csv", [A, B, "oak,30,300,90000,0", *(f"client{i},{i},100,5,0" for i in range(8))])
    assert ingest(project).rows_total == 11
    project.configure(clients={"ranges": {"number_of_employees": [1, 1000]}})
    assert ingest(project).rows_total == 10
    project.configure(clients={"ranges": {"number_of_employees": [1, 100_000]}})
    assert ingest(project).rows_total == 11


def test_a_damaged_generation_is_made_again(project: Project) -> None:
    project.dataset("a.csv", [A, B])
    ingest(project)
    (project.home / "ingesteddata/finaldata.csv").resolve().write_text("corporation\n")
    done = project.run("ingestion.py")
    assert done.returncode == 0
    assert "made again" in done.stderr
    assert table(project) == [f"{A},a.csv", f"{B},a.csv"]


def test_rows_of_a_removed_dataset_outlive_a_damaged_generation(project: Project) -> None:
    project.dataset("a.csv", [A])
    path = project.dataset("b.csv", [B])
    ingest(project)
    path.unlink()
    ingest(project)
    project.dataset("c.csv", [C])
    ingest(project)
    (project.home / "ingesteddata/current/datasets.json").resolve().write_text("{")
    done = project.run("ingestion.py")
    assert "made again" in done.stderr
    assert table(project) == [f"{A},a.csv", f"{B},b.csv", f"{C},c.csv"]


def test_what_is_still_being_written_is_left_for_the_next_run(project: Project) -> None:
    project.configure(ingestion={"settle_seconds": 3600})
    old = project.dataset("old.csv", [A])
    os.utime(old, (1, 1))
    project.dataset("fresh.csv", [B])
    for name in ("c.csv.part", "d.csv.tmp", ".hidden.csv", "notes.txt"):
        project.dataset(name, [C])
    done = ingest(project)
    assert (done.datasets_new, done.datasets_unsettled) == (["old.csv"], ["fresh.csv"])
    assert table(project) == [f"{A},old.csv"]
    os.utime(project.home / "sourcedata" / "fresh.csv", (1, 1))
    assert ingest(project).datasets_new == ["fresh.csv"]


def test_a_known_dataset_that_is_being_written_anew_keeps_its_rows_meanwhile(project: Project) -> None:
    project.configure(ingestion={"settle_seconds": 3600})
    os.utime(project.dataset("a.csv", [A]), (1, 1))
    ingest(project)
    project.dataset("a.csv", [A, B])
    os.utime(project.dataset("b.csv", [C]), (1, 1))
    done = ingest(project)
    assert (done.datasets_unsettled, done.datasets_removed) == (["a.csv"], [])
    assert table(project) == [f"{A},a.csv", f"{C},b.csv"]


def test_a_time_in_the_future_does_not_keep_a_dataset_out_for_ever(project: Project) -> None:
    project.configure(ingestion={"settle_seconds": 2})
    future = time.time() + 1e9
    os.utime(project.dataset("a.csv", [A]), (future, future))
    assert ingest(project).datasets_new == ["a.csv"]


def test_who_has_just_copied_a_dataset_need_not_start_twice(project: Project) -> None:
    project.configure(ingestion={"settle_seconds": 0.3})
    project.dataset("a.csv", [A])
    assert ingest(project).datasets_new == ["a.csv"]


def test_links_folders_and_pipes_are_set_aside_and_never_waited_for(project: Project) -> None:
    project.dataset("a.csv", [A])
    folder = project.home / "sourcedata"
    (folder / "link.csv").symlink_to("/etc/passwd")
    (folder / "loop.csv").symlink_to("loop.csv")
    (folder / "folder.csv").mkdir()
    os.mkfifo(folder / "pipe.csv")
    assert ingest(project).datasets_rejected == ["folder.csv", "link.csv", "loop.csv", "pipe.csv"]
    assert table(project) == [f"{A},a.csv"]


@pytest.mark.parametrize(
    "name", [b"new\nline.csv", b'quo"te.csv', b"\xff\xfe.csv", b"\xe2\x80\xaert.csv", b"n" * 251 + b".csv"]
)
def test_a_dataset_may_have_any_name(project: Project, name: bytes) -> None:
    path = os.fsencode(project.home / "sourcedata") + b"/" + name
    Path(os.fsdecode(path)).write_text(f"{HEADER}\n{A}\n")
    done = project.json("ingestion.py")
    assert len(done["datasets_new"]) == 1
    assert project.json("ingestion.py")["status"] == "nothing to do"
    with (project.home / "ingesteddata/finaldata.csv").open(newline="") as stream:
        assert list(csv.DictReader(stream))[0]["dataset"] == name.decode("utf-8", "backslashreplace")


def test_nothing_to_ingest_is_an_error_with_a_next_step(project: Project) -> None:
    with pytest.raises(DataError, match="no dataset"):
        ingest(project)
    (project.home / "sourcedata").rmdir()
    with pytest.raises(DataError, match="no such folder"):
        ingest(project)
    project.write("sourcedata", "a file")
    with pytest.raises(DataError, match="no folder"):
        ingest(project)


def test_a_dry_run_tells_and_writes_nothing(project: Project) -> None:
    project.dataset("a.csv", [A, B])
    before = project.snapshot()
    assert project.json("ingestion.py", "--dry-run")["rows_added"] == 2
    assert project.snapshot() == before


def test_practice_ingests_its_own_data_into_its_own_folder(project: Project) -> None:
    project.dataset("a.csv", [A], folder="practicedata")
    assert project.json("ingestion.py", "--practice")["rows_total"] == 1
    assert project.read("practicemodels/ingesteddata/finaldata.csv").splitlines()[1] == f"{A},a.csv"
    assert not (project.home / "ingesteddata").exists()
    assert not (project.home / "models").exists()


def test_old_generations_are_forgotten(project: Project) -> None:
    for i in range(5):
        project.dataset(f"d{i}.csv", [f"client{i},1,2,3,0"])
        ingest(project)
        for folder in (project.home / "ingesteddata/generations").iterdir():
            os.utime(folder, (1, 1))
    kept = [p.name[:6] for p in sorted((project.home / "ingesteddata/generations").iterdir())]
    assert kept == ["000003", "000004", "000005"]
    assert (project.home / "ingesteddata/current").readlink().name.startswith("000005")
