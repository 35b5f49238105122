"""A database beside the input folder, through ingestion.py and fullprocess.py, as cron and people see it."""

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import ingestion
from attrition import generations
from attrition.errors import DataError
from tests import postgres as servers
from tests.postgres import PASSWORD, PASSWORD_IN_URL, Postgres
from tests.projects import CHECKOUT, HEADER, Project, classic_rows

URL = "ATTRITION_DATABASE_URL"
QUERY = f"SELECT {HEADER}, change FROM clients"
TABLE = (
    "CREATE TABLE clients (corporation TEXT, lastmonth_activity INTEGER, lastyear_activity INTEGER, "
    "number_of_employees INTEGER, exited TEXT, change INTEGER)"
)
A, B, C = "alder,10,100,5,0", "birch,20,200,6,1", "cedar,30,300,7,"
FIRST, SECOND, THIRD = (f"extracts/database-00000{number}.csv" for number in (1, 2, 3))


@dataclass(frozen=True)
class Store:
    """A project that asks a SQLite database beside it; `file` is elsewhere while the database is down."""

    project: Project
    file: Path

    def execute(self, *statements: str) -> None:
        with closing(sqlite3.connect(self.file)) as connection, connection:
            for statement in statements:
                connection.execute(statement)

    def add(self, change: int, *rows: str) -> None:
        self.execute(*(f"INSERT INTO clients VALUES ({values(row)}, {change})" for row in rows))

    def down(self) -> None:
        self.file.rename(self.file.with_suffix(".away"))

    def up(self) -> None:
        self.file.with_suffix(".away").rename(self.file)

    def ingest(self, **started: bool) -> ingestion.Ingested:
        return ingestion.run(self.project.config(**started))

    def table(self) -> list[str]:
        return self.project.read("ingesteddata/finaldata.csv").splitlines()[1:]

    def rows(self) -> list[str]:
        """Every row of the table without the dataset it came from, in order of the clients."""
        return sorted(line.rpartition(",")[0] for line in self.table())

    def extracts(self) -> list[str]:
        folder = self.project.home / "ingesteddata/extracts"
        return sorted(f"extracts/{path.name}" for path in folder.iterdir())

    def entries(self) -> dict[str, dict[str, Any]]:
        known = generations.datasets(generations.require_current(self.project.config()))
        return {entry["name"]: entry for entry in known}


def values(row: str) -> str:
    return ", ".join(f"'{cell}'" for cell in row.split(","))


@pytest.fixture
def store(project: Project, monkeypatch: pytest.MonkeyPatch) -> Store:
    file = project.home / "clients.db"
    monkeypatch.setenv(URL, f"sqlite:///{file}")
    project.configure(database={"query": QUERY, "cursor": "change"})
    project.here = True
    made = Store(project, file)
    made.execute(TABLE)
    return made


# --- what comes, comes once


def test_the_first_extract_becomes_a_dataset_beside_those_of_the_folder(store: Store) -> None:
    store.project.dataset("a.csv", [A])
    store.add(1, A, B)
    store.add(2, C)
    done = store.ingest()
    assert done.datasets_new == ["a.csv", FIRST]
    assert (done.rows_read, done.rows_added, done.duplicates) == (4, 3, 1)
    assert store.table() == [f"{A},a.csv", f"{B},{FIRST}", f"{C},{FIRST}"]
    assert store.extracts() == [FIRST]
    assert store.project.read(f"ingesteddata/{FIRST}").splitlines() == [
        f"{HEADER},change",
        f"{A},1",
        f"{B},1",
        f"{C},2",
    ]


def test_without_a_row_beyond_the_cursor_there_is_nothing_to_do_and_no_new_file(store: Store) -> None:
    store.project.dataset("a.csv", [A])
    store.add(1, B)
    store.ingest()
    before = store.project.snapshot()
    for _ in range(2):
        assert store.ingest().status == "nothing to do"
    assert store.project.snapshot() == before


def test_a_database_needs_no_file_in_the_folder(store: Store) -> None:
    store.add(1, A)
    assert store.ingest().datasets_new == [FIRST]
    assert store.ingest().status == "nothing to do"
    store.add(2, B)
    assert store.ingest().datasets_new == [SECOND]
    assert store.table() == [f"{A},{FIRST}", f"{B},{SECOND}"]


def test_an_empty_table_beside_a_dataset_is_nothing_new_until_it_has_rows(store: Store) -> None:
    store.project.dataset("a.csv", [A])
    assert store.ingest().datasets_new == ["a.csv"]
    assert store.ingest().status == "nothing to do"
    store.add(1, B)
    assert store.ingest().datasets_new == [FIRST]


def test_new_rows_come_as_a_second_extract_and_only_they_are_added(store: Store) -> None:
    store.add(1, A)
    store.add(2, B)
    store.ingest()
    store.add(3, C)
    done = store.ingest()
    assert done.datasets_new == [SECOND]
    # the row at the cursor is read again, and counts once
    assert (done.rows_read, done.rows_added, done.duplicates, done.rows_total) == (2, 1, 1, 3)
    assert store.table() == [f"{A},{FIRST}", f"{B},{FIRST}", f"{C},{SECOND}"]
    assert store.ingest().status == "nothing to do"


def test_a_row_with_the_newest_cursor_value_is_found_when_it_comes_later(store: Store) -> None:
    store.add(7, A)
    store.ingest()
    store.add(7, B)
    assert store.ingest().rows_added == 1
    store.add(7, C)
    assert store.ingest().rows_added == 1
    assert store.rows() == [A, B, C]
    assert store.ingest().status == "nothing to do"


def test_a_late_row_is_found_within_lookback_and_not_beyond_it(store: Store) -> None:
    store.project.configure(database={"query": QUERY, "cursor": "change", "lookback": 5})
    store.add(1, "fir,1,2,3,0")
    store.add(10, A)
    store.ingest()
    store.add(5, B)
    assert store.ingest().rows_added == 1
    store.add(4, C)
    assert store.ingest().status == "nothing to do"
    # with the next news the window is the same: documented, and so it stays out
    store.add(11, "elm,1,2,3,0")
    assert store.ingest().rows_added == 1
    assert store.rows() == [A, B, "elm,1,2,3,0", "fir,1,2,3,0"]


def test_an_outcome_that_the_database_learns_later_stands_beside_the_blank_one(store: Store) -> None:
    store.add(1, C)
    store.ingest()
    store.execute("UPDATE clients SET exited = '1', change = 2")
    store.ingest()
    assert store.rows() == [C, f"{C}1"]


def test_an_extract_that_breaks_the_contract_is_set_aside_like_any_dataset(store: Store) -> None:
    store.add(1, A)
    store.ingest()
    store.add(2, "oak,many,1,2,0", "elm,many,1,2,7")
    first = store.project.run("ingestion.py", "-q")
    assert (first.returncode, first.stdout) == (0, "")
    assert f"dataset {SECOND} is set aside" in first.stderr
    assert store.entries()[SECOND]["status"] == "rejected"
    assert "oak" in store.project.read("ingesteddata/rejectedrows.csv")
    second = store.project.run("ingestion.py", "-q")
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    store.add(3, B, C, *(f"client{i},1,2,3,0" for i in range(9)))
    assert store.ingest().datasets_new == [THIRD]
    assert {A, B, C} < set(store.rows())


def test_a_query_without_a_needed_column_is_set_aside_with_the_columns_name(store: Store) -> None:
    store.project.dataset("a.csv", [A])
    store.project.configure(database={"query": "SELECT corporation, change FROM clients", "cursor": "change"})
    store.add(1, B)
    assert store.ingest().datasets_rejected == [FIRST]
    assert "lastmonth_activity" in store.entries()[FIRST]["reason"]
    assert store.ingest().status == "nothing to do"


def test_a_dry_run_asks_and_writes_nothing(store: Store) -> None:
    store.project.dataset("a.csv", [A])
    store.ingest()
    store.add(1, B)
    before = store.project.snapshot()
    store.project.json("ingestion.py", "--dry-run")
    assert store.project.snapshot() == before
    assert store.ingest().datasets_new == [FIRST]


def test_practice_asks_no_database(store: Store) -> None:
    store.project.dataset("p.csv", [A], folder="practicedata")
    store.add(1, B)
    store.down()
    assert store.project.json("ingestion.py", "--practice")["datasets_new"] == ["p.csv"]
    assert not (store.project.home / "practicemodels/ingesteddata/extracts").exists()
    assert not (store.project.home / "ingesteddata").exists()


def test_rows_stay_when_the_database_is_no_longer_asked(store: Store) -> None:
    store.project.dataset("a.csv", [A])
    store.add(1, B)
    store.ingest()
    store.project.configure()
    assert store.ingest().status == "nothing to do"
    assert store.ingest(force=True).rows_total == 2
    assert store.rows() == [A, B]


def test_another_query_is_extracted_from_its_beginning_and_equal_rows_count_once(store: Store) -> None:
    store.add(1, A)
    store.add(2, B)
    store.ingest()
    store.project.configure(database={"query": f"{QUERY} WHERE exited <> ''", "cursor": "change"})
    done = store.ingest()
    assert (done.datasets_new, done.rows_added) == ([SECOND], 0)
    assert store.ingest().status == "nothing to do"


# --- nothing is lost

# killed when the draft of the next generation is begun: the extract is on disk, and nothing tells of it
KILLED = """
import os, signal, sys

def watch(event, args):
    if event == "os.mkdir" and ".draft-" in str(args[0]):
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(watch)
import ingestion
sys.argv = ["ingestion.py", "--config", sys.argv[1]]
sys.exit(ingestion.main())
"""


def kill_before_it_is_published(store: Store) -> None:
    command = [sys.executable, "-c", KILLED, str(store.project.home / "config.json")]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize("times", [1, 3])
def test_a_run_killed_before_its_extract_is_published_neither_loses_nor_doubles_a_row(
    store: Store, times: int
) -> None:
    store.add(1, A)
    store.ingest()
    store.add(2, B)
    for number in range(times):
        kill_before_it_is_published(store)
        assert store.extracts() == [FIRST, SECOND]
        assert store.rows() == [A]
        store.add(3 + number, f"meanwhile{number},1,2,3,0")
    done = store.ingest()
    assert (done.datasets_new, done.rows_added) == ([SECOND], 1 + times)
    assert store.extracts() == [FIRST, SECOND]
    assert store.rows() == [A, B, *(f"meanwhile{number},1,2,3,0" for number in range(times))]
    assert store.ingest().status == "nothing to do"


def test_a_killed_first_extract_is_made_again(store: Store) -> None:
    store.add(1, A, B)
    kill_before_it_is_published(store)
    assert store.extracts() == [FIRST]
    assert store.ingest().rows_added == 2
    assert (store.extracts(), store.rows()) == ([FIRST], [A, B])


def test_drafts_of_killed_extracts_are_swept(store: Store) -> None:
    store.add(1, A)
    store.ingest()
    (store.project.home / "ingesteddata/extracts/.database-000002.csv.0badcafe.tmp").write_text("half")
    store.ingest()
    assert store.extracts() == [FIRST]


@pytest.mark.parametrize("gone", [FIRST, SECOND, THIRD])
def test_an_extract_that_was_removed_by_hand_leaves_its_rows_and_no_other_takes_its_place(
    store: Store, gone: str
) -> None:
    for change in range(1, 10, 3):
        store.add(change, f"first{change},1,2,3,0")
        store.add(change + 1, f"between{change},1,2,3,0")
        store.add(change + 2, f"last{change},1,2,3,0")
        store.ingest()
    (store.project.home / "ingesteddata" / gone).unlink()
    store.add(20, A)
    before = store.rows()
    done = store.ingest()
    assert (done.datasets_new, done.datasets_changed) == (["extracts/database-000004.csv"], [])
    assert store.rows() == sorted([*before, A])
    store.add(21, B)
    store.ingest()
    assert store.rows() == sorted([*before, A, B])


def damage_current(store: Store) -> None:
    (store.project.home / "ingesteddata/current/datasets.json").write_text("{}")


@pytest.mark.parametrize("state", ["up", "purged", "down"])
@pytest.mark.parametrize("extracts", [1, 3])
def test_rows_of_the_database_outlive_a_damaged_generation(store: Store, state: str, extracts: int) -> None:
    store.project.dataset("a.csv", [A])
    for change in range(extracts):
        store.add(change, f"old{change},1,2,3,0", f"older{change},1,2,3,0")
        store.ingest()
    before = store.rows()
    damage_current(store)
    if state == "purged":
        # what the database no longer has is only in the extracts
        store.execute("DELETE FROM clients")
        store.add(90, B)
    if state == "down":
        store.down()
    done = store.project.run("ingestion.py")
    assert (done.returncode, "made again" in done.stderr) == (0, True)
    assert store.rows() == sorted([*before, *([B] if state == "purged" else [])])
    if state == "down":
        store.up()
    store.add(91, C)
    store.ingest()
    assert {*before, C} <= set(store.rows())
    assert len(set(store.rows())) == len(store.rows())


# --- a database in trouble


def test_with_the_database_down_the_folders_news_is_ingested_and_the_fault_is_told(store: Store) -> None:
    store.project.dataset("a.csv", [A])
    store.add(1, B)
    store.down()
    done = store.project.run("ingestion.py", "-q")
    assert (done.returncode, done.stdout) == (0, "")
    assert "clients.db: there is no such database file" in done.stderr
    assert store.table() == [f"{A},a.csv"]
    store.up()
    assert store.ingest().datasets_new == [FIRST]
    store.down()
    store.project.dataset("b.csv", [C])
    done = store.project.run("ingestion.py", "-q")
    assert (done.returncode, "clients.db" in done.stderr) == (0, True)
    assert store.rows() == [A, B, C]


@pytest.mark.parametrize("known", [[], ["a.csv"], ["a.csv", FIRST]], ids=["nothing", "a file", "an extract"])
@pytest.mark.parametrize("script", ["ingestion.py", "fullprocess.py"])
def test_with_the_database_down_and_nothing_else_new_a_run_fails_and_cron_is_told_once(
    store: Store, known: list[str], script: str
) -> None:
    if known:
        store.project.dataset("a.csv", [A])
        if FIRST in known:
            store.add(1, B)
        store.ingest()
    store.down()
    first = store.project.run(script, "-q")
    assert (first.returncode, first.stdout) == (4, "")
    assert "clients.db: there is no such database file" in first.stderr
    assert len(first.stderr.splitlines()) == 1
    for _ in range(2):
        again = store.project.run(script, "-q")
        assert (again.returncode, again.stdout, again.stderr) == (4, "", "")
    by_hand = store.project.run(script)
    assert (by_hand.returncode, "clients.db" in by_hand.stderr) == (4, True)
    store.up()
    store.add(2, C)
    assert store.ingest().rows_total == len(known) + 1


def test_a_variable_that_is_not_set_is_told_with_its_name(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(URL)
    with pytest.raises(DataError, match=f"{URL}: this environment variable is not set"):
        store.ingest()


def everything_below(home: Path) -> Iterator[tuple[Path, bytes]]:
    for path in home.rglob("*"):
        if path.is_file() and not path.is_symlink():
            yield path, path.read_bytes()


def assert_nowhere(
    secrets: Sequence[str], project: Project, *told: "subprocess.CompletedProcess[str]"
) -> None:
    for secret in secrets:
        assert [path for path, data in everything_below(project.home) if secret.encode() in data] == []
        assert [done.args for done in told if secret in done.stdout + done.stderr] == []


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:planted%20secret@127.0.0.1:1/db",
        "postgresql://127.0.0.1:1/db?user=me&password=planted%20secret",
        "postgresql://me:planted secret@[bad/db",
        "oddsql://me:planted%20secret@host/db",
        "postgres://me:planted@secret@host/db",
    ],
)
def test_a_password_is_in_no_file_and_in_no_output(
    store: Store, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = store.project
    monkeypatch.setenv(URL, url)
    failed = [project.run(s, f) for s in ("ingestion.py", "fullprocess.py") for f in ("-v", "--json", "-q")]
    assert {done.returncode for done in failed} == {4}
    project.dataset("a.csv", [A])
    went_on = [project.run("ingestion.py", *flags) for flags in (("-v",), ("--force", "--json"))]
    assert {done.returncode for done in went_on} == {0}
    assert URL in project.read("models/log.txt") or "127.0.0.1" in project.read("models/log.txt")
    assert_nowhere(["planted", "secret"], project, *failed, *went_on)


# --- under cron


def trained(store: Store) -> Project:
    """A project with a live release that was trained on rows of the database alone."""
    project = store.project
    project.dataset("test.csv", classic_rows(90, start=1000), folder="testdata")
    store.add(1, *classic_rows(200))
    assert project.json("fullprocess.py")["promoted"]
    return project


def test_the_pipeline_runs_on_a_database_alone_and_is_silent_when_it_has_nothing_new(store: Store) -> None:
    project = trained(store)
    history = []
    for _ in range(4):
        idle = project.run("fullprocess.py", "-q")
        assert (idle.returncode, idle.stdout, idle.stderr) == (0, "", "")
        history.append(project.read("models/history.jsonl"))
    # the first idle tick is told in the history, a year of others is not
    assert history[1:] == history[:-1]
    store.add(2, *classic_rows(60, start=2000))
    answer = project.json("fullprocess.py")
    assert (answer["new_datasets"], answer["live_score"]["rows"]) == ([SECOND], 60)
    assert project.run("fullprocess.py", "-q").stdout == ""


# --- a real server


@pytest.fixture
def server() -> Iterator[Postgres]:
    with servers.running() as running:
        yield running


def test_from_a_real_server_to_the_table_through_a_fall_of_the_server(
    server: Postgres, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(URL, server.url)
    project.here = True
    project.configure(database={"query": f"SELECT {HEADER}, at FROM clients", "cursor": "at", "lookback": 60})
    server.execute(
        "CREATE TABLE clients AS SELECT 'client' || i AS corporation, (i % 90)::numeric(9, 2) AS "
        "lastmonth_activity, i::float8 AS lastyear_activity, 5 AS number_of_employees, (i % 3 = 0)::int AS "
        "exited, timestamptz '2024-03-01Z' + i * interval '1 second' AS at FROM generate_series(1, 1000) i"
    )
    told = [project.run("ingestion.py", "-v")]
    assert "1,000 added" in told[-1].stdout
    told.append(project.run("ingestion.py", "--json"))
    assert '"nothing to do"' in told[-1].stdout

    server.execute(
        "INSERT INTO clients VALUES ('late', 1, 2, 3, NULL, timestamptz '2024-03-01 00:16:00Z'), "
        "('equal', 1, 2, 3, 1, timestamptz '2024-03-01 00:16:40Z')"
    )
    kill = [sys.executable, "-c", KILLED, str(project.home / "config.json")]
    killed = subprocess.run(kill, cwd=CHECKOUT, capture_output=True, text=True, timeout=60)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    server.stop(signal.SIGQUIT)
    told += [project.run("ingestion.py", "-q") for _ in range(2)]
    assert [done.returncode for done in told[-2:]] == [4, 4]
    assert "no connection" in told[-2].stderr and told[-1].stderr == ""
    server.start()
    with monkeypatch.context() as patched:
        patched.setenv(URL, server.url_with("wrong-planted-one"))
        told.append(project.run("ingestion.py"))
    assert (told[-1].returncode, "authentication failed" in told[-1].stderr) == (4, True)

    told.append(project.run("ingestion.py"))
    assert " 2 added" in told[-1].stdout, told[-1].stderr
    lines = project.read("ingesteddata/finaldata.csv").splitlines()[1:]
    assert len(lines) == 1002
    assert lines[0] == f"client1,1,1,5,0,{FIRST}"
    assert {f"late,1,2,3,,{SECOND}", f"equal,1,2,3,1,{SECOND}"} < set(lines)
    assert '"nothing to do"' in project.run("ingestion.py", "--json").stdout
    assert_nowhere([PASSWORD, PASSWORD_IN_URL, "planted"], project, *told, killed)
