import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import publishing
from attrition import files, listfiles, tables, warehouse
from attrition.changes import Change
from attrition.config import Config
from attrition.errors import ConfigError, DataError, UsageError
from attrition.risklist import Entry
from attrition.settings import Publish
from attrition.warehouse import Column
from tests import lists
from tests import postgres as servers
from tests.postgres import Postgres
from tests.projects import CHECKOUT, Project, classic_rows

URL = "ATTRITION_PUBLISH_URL"
HOSTILE = [
    'O\'Brien & "Sons"; DROP TABLE x; --',
    "Zoë 漢字 🙂",
    "=SUM(A1)",
    "'=SUM(A1)",
    "%s :name {lock} \\",
    "two\nlines",
    " ",
    "a\0b",
    "a\N{SYMBOL FOR NULL}b",
    "half \ud83d",
    "half ?",
    "long" * 1000,
    "long" * 1000 + "er",
]
HALF_DONE = """
import sys, time
import publishing
from pathlib import Path
from attrition import config, warehouse
def stay(*_):
    print("half done", flush=True)
    time.sleep(600)
warehouse.Warehouse.prune = stay
publishing.run(config.load(Path(sys.argv[1])))
"""


@dataclass(frozen=True)
class Store:
    """A database to publish to, and what a BI tool reads there."""

    kind: str
    url: str
    execute: Callable[..., None]
    ask: Callable[[str], list[tuple[Any, ...]]]

    def rows(self, table: str, selected: str = "*", prefix: str = "attrition_") -> list[tuple[Any, ...]]:
        return sorted(self.ask(f"SELECT {selected} FROM {prefix}{table}"), key=repr)

    def count(self, table: str, prefix: str = "attrition_") -> int:
        ((number,),) = self.ask(f"SELECT count(*) FROM {prefix}{table}")
        return int(number)

    def everything(self, prefix: str = "attrition_") -> dict[str, list[tuple[Any, ...]]]:
        return {table: self.rows(table, prefix=prefix) for table in warehouse.TABLES}


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with servers.running() as server:
        yield server


@pytest.fixture
def server(postgres: Postgres) -> Store:
    """The one server, with nothing in it."""
    import psycopg

    if postgres.process is None:
        postgres.start()
    postgres.execute("DROP SCHEMA public CASCADE", "CREATE SCHEMA public")

    def ask(query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            return connection.execute(query.encode()).fetchall()

    return Store("postgresql", postgres.url, postgres.execute, ask)


def sqlite_store(path: Path) -> Store:
    def execute(*statements: str) -> None:
        with closing(sqlite3.connect(path)) as connection, connection:
            for statement in statements:
                connection.execute(statement)

    def ask(query: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(path)) as connection:
            return connection.execute(query).fetchall()

    return Store("sqlite", f"sqlite:///{path}", execute, ask)


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty database that the pipeline publishes to; each test runs with either kind."""
    found: Store = (
        request.getfixturevalue("server")
        if request.param == "postgresql"
        else sqlite_store(tmp_path / "bi.db")
    )
    monkeypatch.setenv(URL, found.url)
    return found


@pytest.fixture(scope="module")
def ticked(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A pipeline after its first tick, which has published nowhere."""
    project = Project(tmp_path_factory.mktemp("ticked"))
    project.dataset("a.csv", classic_rows(200))
    project.dataset("test.csv", classic_rows(90, start=1000), folder="testdata")
    assert project.run("fullprocess.py").returncode == 0
    return project


@pytest.fixture
def project(ticked: Project, tmp_path: Path) -> Project:
    """A copy of it that publishes, run in this process."""
    shutil.copytree(ticked.home, tmp_path / "copy", symlinks=True)
    # it tells of the folders of the other one
    (tmp_path / "copy" / ".config.json.stamp").unlink()
    copy = Project(tmp_path / "copy", {"publish": {}})
    copy.here = True
    return copy


def publish(project: Project, **settings: Any) -> publishing.Published:
    """What is published by hand, with these settings."""
    return publishing.run(configured(project, **settings))


def configured(project: Project, **settings: Any) -> Config:
    config = project.config()
    return replace(config, settings=config.settings.model_copy(update={"publish": Publish(**settings)}))


def refused(project: Project, **settings: Any) -> str:
    with pytest.raises(DataError) as fault:
        publish(project, **settings)
    return str(fault.value)


def write_list(project: Project, number: int, names: Sequence[str], at: str = "2026-03-01T06:00:02Z") -> str:
    """A list as reporting keeps it, with the last client not scored; returns its run."""
    clients, run = project.config().clients, f"20260301T0600{number:02d}.000Z-1"
    entries = [
        Entry(
            client=name,
            probability=1 - place / len(names) if place else None,
            band="high" if place else "",
            rank=place or None,
            value=None,
            owner="",
            reasons=[],
            warnings=[name],
            cause="" if place else "none of the columns has a value",
            row=dict.fromkeys([*clients.columns, "dataset"], "1"),
            release="000001-7274af2e",
            threshold=0.5,
            scored_at=at,
            change=Change("listed"),
            play=None,
            due=None,
        )
        for place, name in [*enumerate(names[:-1], start=1), (0, names[-1])]
    ]
    table = pd.DataFrame({column: [] for column in [*clients.columns, "dataset"]})
    folder = project.config().reports / run
    kept = lists.kept(clients, entries, entries[:2], table, number, "000001-7274af2e", at)
    written = tables.export_columns(*listfiles.export(clients, entries)).encode("utf-8", "replace")
    files.write_bytes(folder / "risklist.csv", written)
    files.write_bytes(folder / "list.zip", kept)
    return run


def test_a_tick_publishes_what_its_stages_wrote(project: Project, store: Store) -> None:
    project.dataset("b.csv", classic_rows(80, start=300))
    assert project.run("fullprocess.py").stderr == ""
    config = project.config()
    assert store.count("lists") == 2 and store.count("risk_history") == 127 + store.count("risk_list")
    with config.risk_list.open(newline="") as stream:
        header, *rows = tables.read_rows(stream)
    listed = sorted(
        (row[0], int(row[header.index("rank")]), row[header.index("reason_1")] or None) for row in rows
    )
    assert store.rows("risk_list", "client, rank, reason_1") == listed
    newest = f"run = '{project.history('reporting')[-1]['run']}'"
    assert {row[0] for row in store.ask(f"SELECT client FROM attrition_risk_history WHERE {newest}")} == {
        client for client, _, _ in listed
    }
    stages = store.ask(f"SELECT stage, status FROM attrition_stage_runs WHERE {newest} ORDER BY place")
    assert stages == [(name, "done") for name in ("ingestion", "diagnostics", "reporting")]
    diagnosed = files.read_json(config.diagnostics)
    assert dict(store.rows("columns", "column_name, missing_percent")) == diagnosed["missing_percent"]
    assert {stage for (stage,) in store.rows("timings", "stage")} == diagnosed["timings"].keys()
    inputs = {each["column"]: each for each in diagnosed["drift"]["inputs"]["columns"]}
    drifted = store.rows("drift", "column_name, level, p_value, rows")
    assert {name: rest for name, *rest in drifted} == {
        name: [each["level"], each["p_value"], each["rows"]] for name, each in inputs.items()
    }


def test_scores_have_their_intervals_and_say_on_what_rows(project: Project, store: Store) -> None:
    project.dataset("b.csv", classic_rows(80, start=300))
    project.run("fullprocess.py")
    figures = {(on, name): (value, low, high) for on, name, value, low, high in store.rows(
        "scores", "measured_on, figure, value, low, high"
    )}  # fmt: skip
    f1 = files.read_json(project.config().scores)["figures"]["f1"]
    assert figures["test rows", "f1"] == (f1["value"], f1["low"], f1["high"])
    assert {on for on, _ in figures} == {"test rows", "newest labelled rows", "all since deployment"}
    for value, low, high in figures.values():
        assert low <= value <= high


def test_publishing_again_changes_nothing(project: Project, store: Store) -> None:
    assert publish(project).status == "done"
    before = store.everything()
    for _ in range(2):
        assert project.json("publishing.py")["status"] == "nothing to do"
        assert store.everything() == before


def test_times_are_utc_whatever_the_session_shows(project: Project, store: Store) -> None:
    run = write_list(project, 2, ["a", "b"], at="2026-03-01T06:00:02Z")
    publish(project)
    shown = (
        "scored_at"
        if store.kind == "sqlite"
        else "to_char(scored_at AT TIME ZONE 'UTC', 'IYYY-MM-DD HH24:MI:SS')"
    )
    ((at,),) = store.ask(f"SELECT {shown} FROM attrition_lists WHERE run = '{run}'")
    assert at == ("2026-03-01T06:00:02Z" if store.kind == "sqlite" else "2026-03-01 06:00:02")


def test_every_column_has_the_type_of_its_kind(
    project: Project, server: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(URL, server.url)
    publish(project)
    types = {
        "name": "character varying", "text": "text", "number": "double precision", "count": "bigint",
        "flag": "boolean", "time": "timestamp with time zone", "date": "date",
    }  # fmt: skip
    for table, columns in warehouse.TABLES.items():
        told = server.ask(
            "SELECT column_name, data_type FROM information_schema.columns "
            f"WHERE table_name = 'attrition_{table}' ORDER BY ordinal_position"
        )
        assert told == [(column.name, types[column.kind]) for column in columns]


def test_any_name_of_a_client_is_held_and_none_becomes_another(project: Project, store: Store) -> None:
    run = write_list(project, 2, HOSTILE)
    publish(project)
    held = [warehouse.as_name(name) for name in HOSTILE]
    assert len(set(held)) == len(HOSTILE) and max(map(len, held)) <= 255
    asked = "SELECT client FROM attrition_{} WHERE run = '" + run + "' ORDER BY rank IS NULL, rank"
    assert [name for (name,) in store.ask(asked.format("risk_list"))] == held
    assert [name for (name,) in store.ask(asked.format("risk_history"))] == held
    for name in HOSTILE[:7]:
        assert name in held


def test_two_clients_who_look_alike_in_a_spreadsheet_stay_two_though_neither_is_scored(
    project: Project, store: Store
) -> None:
    config, names = project.config(), ["=a", "'=a"]
    run = write_list(project, 2, names)
    kept = next(each for each in publishing.keptlists.kept(config.reports).lists if each.run == run)
    with (config.reports / run / "risklist.csv").open(newline="") as stream:
        header, *rows = tables.read_rows(stream)
    unscored = kept.rows.copy()
    unscored["rank"] = 0
    at = header.index("rank")
    rows = [[*row[:at], "", *row[at + 1 :]] for row in rows]
    # as if it had been read so
    kept.__dict__["rows"] = unscored
    told = publishing.list_rows(config.clients, kept, header, rows)
    assert sorted(row["client"] for row in told) == sorted(names)


def test_ten_thousand_clients_go_in_one_statement_a_table(
    project: Project, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sqlalchemy as sa

    write_list(project, 2, [f"client {number}" for number in range(10_000)])
    sent: list[tuple[str, bool]] = []

    def note(_: Any, __: Any, statement: str, ___: Any, ____: Any, many: bool) -> None:
        sent.append((statement.split("(")[0].strip(), many))

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        publish(project)
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)
    assert store.count("risk_list") == 10_000 and store.count("risk_history") == 10_127
    inserts = [
        statement for statement, many in sent if statement.startswith("INSERT INTO attrition_risk_list")
    ]
    assert len(inserts) == 1 and len(sent) < 150


def test_only_the_newest_lists_stay_in_the_history(project: Project, store: Store) -> None:
    publish(project)
    for number in range(2, 6):
        run = write_list(project, number, ["a", "b"])
        publish(project, keep_runs=2)
    assert store.rows("risk_history", "DISTINCT number") == [(4,), (5,)]
    assert store.rows("risk_list", "DISTINCT run") == [(run,)]
    assert store.count("lists") == 5
    # what was pruned does not come back, although its files are still there
    assert publish(project, keep_runs=100).status == "nothing to do"


def test_lists_that_were_missed_are_made_up_for_in_their_order(project: Project, store: Store) -> None:
    publish(project)
    runs = [write_list(project, number, ["a", "b"]) for number in (2, 3, 4)]
    assert publish(project).lists == runs
    assert store.rows("lists", "number, run")[1:] == [
        (number, run) for number, run in zip((2, 3, 4), runs, strict=True)
    ]
    assert store.rows("risk_list", "DISTINCT run") == [(runs[-1],)]


def test_where_time_is_short_the_newest_list_is_published_and_the_others_are_told(
    project: Project, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [write_list(project, number, ["a", "b"]) for number in (2, 3)]
    monkeypatch.setattr(publishing, "CATCH_UP_SECONDS", -1.0)
    done = publish(project)
    assert done.lists == runs[-1:] and len(done.left_out) == 2
    assert "for lack of time older ones were left out: 2" in str(done)
    assert store.rows("risk_list", "DISTINCT run") == [(runs[-1],)]


def test_a_publishing_that_is_killed_leaves_nothing_and_is_done_again(project: Project, store: Store) -> None:
    command = [sys.executable, "-c", HALF_DONE, str(project.home / "config.json")]
    killed = subprocess.Popen(
        command, cwd=CHECKOUT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert killed.stdout and killed.stdout.readline() == "half done\n"
    killed.kill()
    killed.communicate(timeout=60)
    for table in warehouse.TABLES:
        assert table == "schema" or store.count(table) == 0
    assert publish(project).status == "done"
    assert store.count("risk_list") == store.count("risk_history") == 127


def test_writers_of_the_same_tables_take_turns_and_write_each_row_once(
    project: Project, store: Store
) -> None:
    write_list(project, 2, ["a", "b"])
    together = threading.Barrier(4)

    def one(_: int) -> publishing.Published:
        together.wait(60)
        return publish(project)

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(one, range(4)))
    assert store.count("risk_list") == 2 and store.count("risk_history") == 129
    assert sum(each.rows for each in done) == sum(store.count(table) for table in warehouse.TABLES)


def test_two_pipelines_publish_side_by_side_under_their_own_prefixes(project: Project, store: Store) -> None:
    prefixes = ["north_", "south_"]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda prefix: publish(project, prefix=prefix), prefixes))
    assert store.rows("risk_list", prefix="north_") == store.rows("risk_list", prefix="south_") != []


def test_another_pipeline_s_tables_are_left_alone_until_forced(
    project: Project, store: Store, tmp_path: Path
) -> None:
    publish(project)
    before = store.everything()
    config = configured(project)
    shutil.rmtree(config.reports)
    config.history.write_text("")
    write_list(project, 7, ["a", "b"])
    said = refused(project)
    assert "which is not in this pipeline's history" in said and "publish.prefix" in said
    assert store.everything() == before
    done = publishing.run(replace(config, force=True))
    assert len(done.lists) == 1 and store.rows("lists", "number")[-1] == (2,)


def test_a_dry_run_writes_nothing_anywhere(
    project: Project, server: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(URL, server.url)
    before = project.snapshot()
    assert project.json("publishing.py", "--dry-run")["rows"] > 0
    assert server.ask("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'") == []
    assert project.snapshot() == before


def test_a_later_version_adds_columns_and_loses_nothing(
    project: Project, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(project)
    before = store.rows("lists")
    later = [*warehouse.TABLES["lists"], Column("note", "text", since=2), Column("seen_at", "time", since=2)]
    newer = {**warehouse.TABLES, "lists": later, "notes": [Column("id", "count", key=True, since=2)]}
    with monkeypatch.context() as patched:
        patched.setattr(warehouse, "TABLES", newer)
        patched.setattr(warehouse, "VERSION", 2)
        publish(project)
        assert store.rows("lists") == [(*row, None, None) for row in before]
        assert store.rows("schema", "version") == [(1,), (2,)] and store.count("notes") == 0
        publish(project)
    # and the version before goes on, beside columns that it does not know
    write_list(project, 2, ["a", "b"])
    assert publish(project).status == "done"
    assert store.count("lists") == 2


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("CREATE TABLE attrition_scores (id INTEGER PRIMARY KEY, points REAL)", "no table attrition_schema"),
        ("CREATE TABLE attrition_schema (name TEXT)", "its primary key is absent, not of version"),
        ("CREATE VIEW attrition_risk_list AS SELECT 1 AS client", "no table attrition_schema"),
    ],
)
def test_a_table_of_another_shape_is_left_alone(
    project: Project, store: Store, statement: str, said: str
) -> None:
    store.execute(statement)
    sentence = refused(project)
    assert said in sentence and "is not of this pipeline's shape" in sentence and "publish.prefix" in sentence
    assert "planted" not in sentence
    catalog = (
        "sqlite_master"
        if store.kind == "sqlite"
        else "pg_class WHERE relkind IN ('r', 'v') AND relnamespace = 'public'::regnamespace"
    )
    assert store.ask(f"SELECT count(*) FROM {catalog}") == [(1,)]


def test_a_table_that_was_replaced_or_lost_a_column_is_told(project: Project, store: Store) -> None:
    publish(project)
    store.execute("ALTER TABLE attrition_lists DROP COLUMN clients")
    assert "the table attrition_lists is not of this pipeline's shape (it has no column clients)" in refused(
        project
    )
    store.execute("DROP TABLE attrition_lists", "CREATE TABLE attrition_lists (run INTEGER, client TEXT)")
    assert "its primary key is absent, not of run" in refused(project)


def test_a_table_that_was_dropped_is_made_again(project: Project, store: Store) -> None:
    publish(project)
    before = store.everything()
    store.execute("DROP TABLE attrition_timings")
    publish(project)
    assert store.everything() == before and before["timings"]


def trouble(project: Project, env: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """What a tick says on stderr that cannot publish; it must end well all the same."""
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    project.dataset("b.csv", classic_rows(80, start=300))
    done = project.run("fullprocess.py", "-q")
    assert done.returncode == 0 and done.stderr.count("\n") == 1
    lines = project.history()
    assert [line["stage"] for line in lines[-2:]] == ["publishing", "fullprocess"]
    assert [line["status"] for line in lines[-2:]] == ["failed", "done"]
    assert done.stderr == f"ERROR not published: {lines[-2]['sentence']}\n"
    kept = "".join(
        path.read_text() for path in project.config().model_folder.glob("*.*l*t*") if path.is_file()
    )
    assert "planted" not in done.stderr + done.stdout + kept + project.read("models/history.jsonl")
    return done.stderr


def test_a_server_that_is_down_fails_no_tick_and_the_next_one_makes_up_for_it(
    project: Project, server: Store, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres.stop()
    assert "Connection refused" in trouble(project, {URL: server.url}, monkeypatch)
    project.dataset("c.csv", classic_rows(80, start=400))
    again = project.run("fullprocess.py", "-q")
    # the same trouble is told once
    assert (again.returncode, again.stderr) == (0, "")
    postgres.start()
    project.dataset("d.csv", classic_rows(80, start=500))
    assert project.run("fullprocess.py").stderr == ""
    assert server.count("lists") == 4
    assert server.rows("risk_list", "DISTINCT run") == [(project.history("reporting")[-1]["run"],)]


def test_a_wrong_password_fails_no_tick_and_is_nowhere_shown(
    project: Project, server: Store, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = trouble(project, {URL: postgres.url_with("planted-wrong")}, monkeypatch)
    assert "password authentication failed" in said and URL in said


def test_a_missing_url_fails_no_tick(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    assert f"{URL}: this environment variable is not set" in trouble(project, {}, monkeypatch)


def test_a_missing_permission_is_told_with_the_next_step(
    project: Project, server: Store, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.execute("CREATE ROLE reader LOGIN PASSWORD 'planted'")
    server.execute("GRANT USAGE ON SCHEMA public TO reader")
    url = f"postgresql://reader:planted@127.0.0.1:{postgres.port}/postgres"
    said = trouble(project, {URL: url}, monkeypatch)
    assert (
        "permission denied for schema public" in said
        and "may make and write the tables attrition_..." in said
    )
    monkeypatch.setenv(URL, server.url)
    publish(project)
    server.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
    before = server.everything()
    write_list(project, 9, ["a", "b"])
    monkeypatch.setenv(URL, url)
    assert "permission denied for table attrition_" in refused(project)
    assert server.everything() == before


def test_a_database_file_in_a_folder_that_is_not_there_or_not_a_database_is_told(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(URL, f"sqlite:///{tmp_path}/nowhere/bi.db")
    assert "nowhere: there is no such folder" in refused(project)
    (tmp_path / "bi.db").write_text("corporation,change\n" * 100)
    monkeypatch.setenv(URL, f"sqlite:///{tmp_path}/bi.db")
    assert "file is not a database" in refused(project)
    monkeypatch.setenv(URL, "sqlite:///bi.db")
    assert "bi.db is relative to wherever a run is started" in refused(project)


def test_a_writer_who_keeps_the_turn_is_waited_for_and_then_given_up(
    project: Project, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(project)
    dialect = warehouse.DIALECTS[store.kind]
    hasty = [turn.replace("'10s'", "'300ms'") for turn in dialect.turn]
    connect = {**dialect.connect, **({"timeout": 0.3} if store.kind == "sqlite" else {})}
    monkeypatch.setitem(warehouse.DIALECTS, store.kind, replace(dialect, turn=hasty, connect=connect))
    with warehouse.opened(Publish(), os.environ) as other, other.transaction():
        assert ("lock timeout" if store.kind == "postgresql" else "database is locked") in refused(project)
    assert publish(project).status == "nothing to do"


def test_a_server_that_is_there_and_does_nothing_is_cut_off(
    project: Project, server: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(URL, server.url)
    publish(project)
    dialect = warehouse.DIALECTS["postgresql"]
    waiting = [turn for turn in dialect.turn if "timeout" not in turn]
    with warehouse.opened(Publish(), os.environ) as other, other.transaction():
        monkeypatch.setitem(warehouse.DIALECTS, "postgresql", replace(dialect, turn=waiting))
        monkeypatch.setattr(warehouse, "LONGEST_SECONDS", 4.0)
        said = refused(project)
    assert "the connection broke off (not done after 4 seconds" in said and "planted" not in said


def test_a_server_that_never_answers_is_given_up(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        port = deaf.getsockname()[1]
        monkeypatch.setenv(URL, f"postgresql://me:planted@127.0.0.1:{port}/db?connect_timeout=2")
        said = refused(project)
    assert "no connection" in said and "timeout" in said and "planted" not in said


def test_a_server_that_falls_meanwhile_leaves_the_list_before(
    project: Project, server: Store, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(URL, server.url)
    publish(project)
    before = server.everything()
    write_list(project, 2, ["a", "b"])
    with monkeypatch.context() as patched:
        patched.setattr(warehouse.Warehouse, "prune", lambda *_: postgres.stop(signal.SIGQUIT))
        said = refused(project)
    assert "the connection broke off" in said and "planted" not in said
    postgres.start()
    assert server.everything() == before
    assert len(publish(project).lists) == 1


def test_nothing_is_published_where_nobody_asks_for_it(project: Project, store: Store) -> None:
    project.configure()
    project.dataset("b.csv", classic_rows(80, start=300))
    assert project.run("fullprocess.py").returncode == 0
    assert project.history("publishing") == []
    assert project.run("publishing.py").returncode == ConfigError.status
    assert project.run("publishing.py", "--practice").returncode == UsageError.status


def test_a_damaged_list_is_told_and_nothing_is_published_of_it(project: Project, store: Store) -> None:
    publish(project)
    before = store.everything()
    run = write_list(project, 2, ["a", "b"])
    place = project.config().reports / run / "risklist.csv"
    place.write_bytes(place.read_bytes()[:-30])
    said = refused(project)
    assert str(place) in said and "python reporting.py" in said
    assert store.everything() == before


def test_a_damaged_older_list_is_passed_over_and_the_later_ones_are_published(
    project: Project, store: Store
) -> None:
    publish(project)
    runs = [write_list(project, number, ["planted one", "b"]) for number in (2, 3)]
    place = project.config().reports / runs[0] / "list.zip"
    place.write_bytes(place.read_bytes().replace(b"planted one", b"planted two"))
    done = project.run("publishing.py", "-v")
    assert done.returncode == 0 and f"passed over: {place}: this is damaged" in done.stderr
    assert store.rows("lists", "number, run")[1:] == [(2, runs[1])]
    assert store.rows("risk_list", "DISTINCT run") == [(runs[1],)]


def test_a_url_that_stands_in_the_config_is_refused_without_being_quoted(project: Project) -> None:
    with pytest.raises(ConfigError) as fault:
        project.configure(publish={"url_env": "postgresql://me:planted@host/db"})
        project.config()
    assert "url_env must be the name of an environment variable" in str(fault.value)
    assert "planted" not in str(fault.value)


def test_readme_has_every_table_and_every_key_of_publish() -> None:
    readme = (CHECKOUT / "README.md").read_text()
    assert [table for table in warehouse.TABLES if f"| attrition_{table} |" not in readme] == []
    for name, field in Publish.model_fields.items():
        shown = f'"{field.default}"' if isinstance(field.default, str) else field.default
        assert f"| {name} | `{shown}` | {field.description} |" in readme
    assert f"{warehouse.LONGEST_SECONDS:.0f} seconds" in readme
