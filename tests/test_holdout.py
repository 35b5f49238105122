"""What --hold-out makes of a person's file: a dataset and test data, whole clients each, nothing lost."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from attrition import holdout, tables
from attrition.errors import DataError, UsageError
from tests.projects import HEADER, Project, classic_rows

DRAWN = ["client1", "client7", "client11"]
PLANS = ("basic", "pro", "team")


def raw_file(project: Project, header: str, rows: Sequence[str], name: str = "raw.csv") -> Path:
    return project.dataset(name, rows, header, folder="elsewhere")


def unnamed(count: int = 400) -> list[str]:
    """Rows in which nothing names the client: visits, a plan, an outcome."""
    return [f"{i * 7 % 23},{PLANS[i % 3]},{'yes' if i * i % 7 == 1 else 'no'}" for i in range(count)]


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8-sig") as stream:
        return list(csv.DictReader(stream))


def parts(project: Project, name: str = "raw.csv") -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    return read(project.home / "sourcedata" / name), read(project.home / "testdata" / name)


def test_every_row_is_in_one_part_and_the_file_stays(project: Project) -> None:
    raw = raw_file(project, HEADER, classic_rows(1000))
    before = raw.read_bytes()
    done = holdout.hold_out(project.config(), str(raw))
    dataset, held_out = parts(project)
    assert sorted(map(str, [*dataset, *held_out])) == sorted(map(str, read(raw)))
    assert raw.read_bytes() == before
    assert (done.rows, done.rows_held_out) == (len(dataset), len(held_out))
    assert done.left == sum(row["exited"] == "1" for row in held_out)
    # one in five of 1,000 by chance: four standard deviations are 51
    assert abs(len(held_out) - 200) < 51
    assert str(done).startswith(
        f"sourcedata/raw.csv has {len(dataset)} rows, testdata/raw.csv {len(held_out)} ({done.left} left): "
        "about one client in five, drawn by corporation. Next: python fullprocess.py --config"
    )


def test_the_dataset_and_the_test_data_are_taken_at_once(project: Project) -> None:
    project.here = True
    raw = raw_file(project, HEADER, classic_rows(400))
    answer = project.json("ingestion.py", "--hold-out", str(raw))
    assert (answer["status"], answer["numbered"]) == ("done", False)
    done = project.json("fullprocess.py")
    assert done["promoted"]
    assert project.history("scoring")[0]["facts"]["rows"] == answer["rows_held_out"]


def test_a_client_is_on_the_same_side_in_every_file(project: Project) -> None:
    for month in range(3):
        rows = [row.replace(",", f",{month}", 1) for row in classic_rows(300)]
        holdout.hold_out(project.config(), str(raw_file(project, HEADER, rows, f"{month}.csv")))
    sides = [{row["corporation"] for row in parts(project, f"{month}.csv")[1]} for month in range(3)]
    assert sides[0] == sides[1] == sides[2]


def test_who_was_drawn_once_is_drawn_by_every_version() -> None:
    """Else a client of today's training data would be one of tomorrow's test data."""
    names = [*(f"client{i}" for i in range(12)), "", "Ünï, 北京"]
    assert [name for name in names if holdout.is_drawn(name)] == DRAWN


def test_about_one_client_in_five_is_drawn() -> None:
    drawn = sum(holdout.is_drawn(f"client {i}") for i in range(20_000))
    # the standard deviation is 57
    assert abs(drawn - 4000) < 4 * 57


def test_rows_that_scoring_cannot_use_stay_in_the_dataset(project: Project) -> None:
    rows = classic_rows(600)
    rows[::3] = [row.rpartition(",")[0] + "," for row in rows[::3]]
    rows[1::30] = [row.replace(",", ",n/a", 1) for row in rows[1::30]]
    rows[2::30] = [f"{row},one too many" for row in rows[2::30]]
    raw = raw_file(project, HEADER, rows)
    assert holdout.hold_out(project.config(), str(raw)).rows_held_out > 40
    lines = (project.home / "testdata" / "raw.csv").read_text().splitlines()[1:]
    assert all(line in classic_rows(600) for line in lines)
    dataset = (project.home / "sourcedata" / "raw.csv").read_text()
    assert dataset.count("one too many") == 20
    assert dataset.count("n/a") == 20


def test_columns_that_config_json_does_not_know_are_inferred(project: Project) -> None:
    header = "customer_id,visits,churned"
    rows = [f"C{i},{i * 7 % 23},{'yes' if i * i % 7 == 1 else 'no'}" for i in range(300)]
    done = holdout.hold_out(project.config(), str(raw_file(project, header, rows)))
    assert (done.id, done.numbered) == ("customer_id", False)
    assert done.next.startswith("python ingestion.py --propose-contract")


def test_rows_of_which_nothing_names_the_client_are_numbered(project: Project) -> None:
    raw = raw_file(project, "visits,plan,churned", unnamed())
    done = holdout.hold_out(project.config(), str(raw))
    assert (done.id, done.numbered) == ("client", True)
    assert "No column names the client: the new column client numbers the rows." in str(done)
    dataset, held_out = parts(project)
    numbers = sorted(row["client"] for row in [*dataset, *held_out])
    assert numbers == [f"raw-{number:06d}" for number in range(1, 401)]
    project.here = True
    section = project.json("ingestion.py", "--propose-contract")["clients"]
    assert (section["id"], section["numeric"], section["categorical"]) == ("client", ["visits"], ["plan"])


def test_the_next_file_without_an_id_is_numbered_under_the_pasted_section(project: Project) -> None:
    section = {"id": "client", "target": "churned", "left": "yes", "stayed": "no", "numeric": ["visits"]}
    project.configure(clients=section)
    done = holdout.hold_out(
        project.config(), str(raw_file(project, "visits,plan,churned", unnamed(), "june.csv"))
    )
    assert done.numbered
    assert done.next.startswith("python fullprocess.py")
    assert parts(project, "june.csv")[0][0]["client"].startswith("june-")


def test_a_column_called_client_that_names_nobody_is_left_as_it_is(project: Project) -> None:
    raw = raw_file(project, "client,visits,plan,churned", [f"ours,{row}" for row in unnamed()])
    done = holdout.hold_out(project.config(), str(raw))
    assert done.id == "client_id"
    assert {row["client"] for row in parts(project)[0]} == {"ours"}


def test_cells_are_written_as_they_were(project: Project) -> None:
    cells = [f'" a, ""b""\n{i}"' if i % 2 else f" ünï {i} " for i in range(300)]
    rows = [f"{row},{cell}" for row, cell in zip(classic_rows(300), cells, strict=True)]
    raw = raw_file(project, f"{HEADER},note", rows)
    raw.write_bytes(b"\xef\xbb\xbf" + raw.read_bytes())
    holdout.hold_out(project.config(), str(raw))
    dataset, held_out = parts(project)
    assert {row["note"] for row in [*dataset, *held_out]} == {row["note"] for row in read(raw)}


@pytest.mark.parametrize(
    ("header", "rows", "told"),
    [
        (HEADER, classic_rows(6), "too few clients to hold some out"),
        (HEADER, [row[:-1] + "0" for row in classic_rows(300)], "too few clients to hold some out"),
        ("client,visits,paid", [f"c{i},{i},{i % 5}" for i in range(300)], "no column has two values"),
        (
            "client,paid,mailed,visits",
            [f"c{i},{'no' if i % 3 else 'yes'},{'no' if i % 5 else 'yes'},{i}" for i in range(300)],
            "who left cannot be told.*paid, mailed.*Fill in clients in config.json",
        ),
        ("client;churn", ["a;1", "b;0"], "separate the columns by commas"),
        (HEADER, ["a,1"], "its first row has 2 fields and its header has 5 columns. Correct the file"),
    ],
)
def test_a_file_that_cannot_be_shared_out_is_refused_and_nothing_is_written(
    project: Project, header: str, rows: Sequence[str], told: str
) -> None:
    raw = raw_file(project, header, rows)
    before = project.snapshot()
    with pytest.raises(DataError, match=f"(?s)raw.csv: .*{told}"):
        holdout.hold_out(project.config(), str(raw))
    assert project.snapshot() == before


def test_a_part_that_is_there_is_never_overwritten(project: Project) -> None:
    raw = raw_file(project, HEADER, classic_rows(300))
    for folder in ("sourcedata", "testdata"):
        there = project.write(f"{folder}/raw.csv", "precious")
        with pytest.raises(DataError, match=f"{folder}/raw.csv: there is a file of that name already"):
            holdout.hold_out(project.config(), str(raw))
        assert there.read_text() == "precious"
        there.unlink()
    holdout.hold_out(project.config(), str(raw))
    with pytest.raises(DataError, match="of that name already"):
        holdout.hold_out(project.config(), str(raw))


def test_a_file_of_the_pipelines_own_folders_and_one_that_is_not_there_are_refused(project: Project) -> None:
    there = project.dataset("a.csv", classic_rows(300))
    with pytest.raises(DataError, match="lies in .*sourcedata already. Move it elsewhere"):
        holdout.hold_out(project.config(), str(there))
    with pytest.raises(DataError, match="nowhere.csv: there is no such file"):
        holdout.hold_out(project.config(), str(project.home / "nowhere.csv"))


def test_practice_and_a_dry_run_write_nothing(project: Project) -> None:
    raw = raw_file(project, HEADER, classic_rows(300))
    before = project.snapshot()
    with pytest.raises(UsageError, match="the test data is production's"):
        holdout.hold_out(project.config(practice=True), str(raw))
    done = holdout.hold_out(project.config(dry_run=True), str(raw))
    assert done.rows + done.rows_held_out == 300
    assert project.snapshot() == before


def test_who_has_no_test_data_is_told_how_to_get_some(project: Project) -> None:
    project.here = True
    project.dataset("a.csv", classic_rows(60))
    told = project.run("fullprocess.py")
    assert told.returncode == 4
    assert "testdata: there is no test data (*.csv) in it" in told.stderr
    (project.home / "testdata").rmdir()
    gone = project.run("fullprocess.py")
    for done in (told, gone):
        assert "python ingestion.py --hold-out FILE" in done.stderr


def test_who_has_other_columns_is_told_how_to_name_them(project: Project) -> None:
    project.here = True
    project.write("sourcedata/a.csv", tables.csv_text(["client", "churn"], [["a", "1"], ["b", "0"]]))
    told = project.run("ingestion.py").stderr
    assert "a.csv is set aside: it has no column corporation" in told
    assert "python ingestion.py --propose-contract" in told
    assert "others were ingested" not in told
    project.dataset("b.csv", classic_rows(60))
    project.write("sourcedata/c.csv", tables.csv_text(["client", "churn"], [["c", "1"], ["b", "0"]]))
    told = project.run("ingestion.py").stderr
    assert "c.csv is set aside" in told
    assert "Correct it; the others were ingested." in told
    assert "propose-contract" not in told


def test_who_has_no_config_is_told_what_it_needs(project: Project) -> None:
    (project.home / "config.json").unlink()
    done = project.run("fullprocess.py")
    assert done.returncode == 3
    assert "the five path keys are enough (README, Configuration)" in done.stderr


def test_the_history_tells_what_was_held_out(project: Project) -> None:
    project.here = True
    raw = raw_file(project, HEADER, classic_rows(300))
    answer = project.json("ingestion.py", "--hold-out", str(raw))
    (line,) = project.history()
    assert (line["stage"], line["facts"]["test_data"]) == ("ingestion", "testdata/raw.csv")
    assert json.dumps(line["facts"]["rows"]) == json.dumps(answer["rows"])
