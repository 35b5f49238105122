import csv
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from attrition import database, files
from attrition.database import Position
from attrition.errors import DataError
from attrition.settings import Database
from tests import postgres as servers
from tests.postgres import Postgres
from tests.projects import CHECKOUT

URL = "ATTRITION_DATABASE_URL"
BY_NUMBER = Database(query="SELECT corporation, change FROM clients", cursor="change")
BY_TIME = Database(query="SELECT corporation, at FROM clients", cursor="at", lookback=3600)
MANY = Database(query="SELECT * FROM many", cursor="at")
EXTRACTING = """
import json, os, resource, sys
from dataclasses import asdict
from pathlib import Path
from attrition import database, errors
from attrition.settings import Database
asked = Database(query="SELECT * FROM many", cursor="at")
database.look(asked, os.environ, database.Position())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    position = database.extract(asked, os.environ, database.Position(), Path(sys.argv[1]))
except errors.DataError as fault:
    sys.exit(f"DataError: {fault}")
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(json.dumps({"position": asdict(position), "grown_kilobytes": grown}))
"""
MANY_ROWS = {
    "sqlite": "CREATE TABLE many AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
    "WHERE i < {rows}) SELECT 'client' || i AS corporation, i % 97 AS month, i / 7.0 AS share, "
    "datetime(1700000000 + i, 'unixepoch') AS at FROM n",
    "postgresql": "CREATE TABLE many AS SELECT 'client' || i AS corporation, i % 97 AS month, "
    "i / 7.0::float8 AS share, timestamptz '2024-01-01Z' + i * interval '1 second' AS at "
    "FROM generate_series(1, {rows}) i",
}


@dataclass(frozen=True)
class Store:
    """A database with a table of clients, and the environment that leads to it."""

    kind: str
    url: str
    execute: Callable[..., None]
    place: Path

    @property
    def environ(self) -> dict[str, str]:
        return {URL: self.url}

    def add(self, *rows: tuple[str, int | None]) -> None:
        for client, change in rows:
            self.execute(f"INSERT INTO clients VALUES ('{client}', {'NULL' if change is None else change})")

    def add_at(self, client: str, at: str) -> None:
        self.execute(f"INSERT INTO clients (corporation, at) VALUES ('{client}', '{at}')")

    def look(self, position: Position, asked: Database = BY_NUMBER) -> str | None:
        return database.look(asked, self.environ, position)

    def extract(self, position: Position, asked: Database = BY_NUMBER) -> tuple[Position, list[str]]:
        """The following position and the first cell of every extracted row."""
        following = database.extract(asked, self.environ, position, self.place)
        assert list(self.place.parent.iterdir()) == [self.place]
        return following, [row[0] for row in self.rows()[1:]]

    def rows(self) -> list[list[str]]:
        with self.place.open(encoding="utf-8", newline="") as stream:
            return list(csv.reader(stream, strict=True))


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with servers.running() as server:
        yield server


@pytest.fixture
def server(postgres: Postgres) -> Postgres:
    """The one server, with nothing in it."""
    if postgres.process is None:
        postgres.start()
    postgres.execute("DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    return postgres


@pytest.fixture(params=["sqlite", "postgresql"])
def bare(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A database without a table; each test runs with either kind."""
    place = tmp_path / "extracts" / "clients.csv"
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("server")
        return Store("postgresql", server.url, server.execute, place)
    return sqlite_store(tmp_path / "clients.db", place)


@pytest.fixture
def store(bare: Store) -> Store:
    bare.execute("CREATE TABLE clients (corporation TEXT, change INTEGER)")
    return bare


@pytest.fixture
def timed(bare: Store) -> Store:
    bare.execute(f"CREATE TABLE clients (corporation TEXT, at {'TIMESTAMP' * (bare.kind != 'sqlite')})")
    return bare


def sqlite_store(path: Path, place: Path) -> Store:
    def execute(*statements: str) -> None:
        with closing(sqlite3.connect(path)) as connection, connection:
            for statement in statements:
                connection.execute(statement)

    execute("PRAGMA journal_mode = WAL")
    return Store("sqlite", f"sqlite:///{path}", execute, place)


def fault(asked: Database, url: str | None, place: Path) -> str:
    """The one sentence with which both a look and an extract fail, leaving no file."""
    environ = {} if url is None else {URL: url}
    with pytest.raises(DataError) as looked:
        database.look(asked, environ, Position())
    with pytest.raises(DataError) as extracted:
        database.extract(asked, environ, Position(), place)
    assert str(extracted.value) == str(looked.value)
    assert not place.parent.exists() or not list(place.parent.iterdir())
    return str(extracted.value)


def test_the_first_extract_has_every_row_and_then_nothing_is_new(store: Store) -> None:
    store.add(("b", 2), ("a", 1))
    assert store.look(Position()) == "2 rows, and no cursor yet to look from"
    position, clients = store.extract(Position())
    assert clients == ["a", "b"]
    assert store.rows()[0] == ["corporation", "change"]
    assert store.look(position) is None


def test_an_empty_table_is_nothing_new(store: Store) -> None:
    assert store.look(Position()) is None
    position, clients = store.extract(Position())
    assert clients == [] and store.rows() == [["corporation", "change"]]
    assert store.look(position) is None
    store.add(("a", 1))
    assert store.look(position)


def test_a_new_row_is_extracted_with_those_at_the_cursor_only(store: Store) -> None:
    store.add(("a", 1), ("b", 2))
    position, _ = store.extract(Position())
    store.add(("c", 3))
    assert store.look(position) == "change went from 2 to 3"
    position, clients = store.extract(position)
    assert clients == ["b", "c"]
    assert store.look(position) is None


def test_a_new_row_whose_cursor_equals_the_newest_one_is_found(store: Store) -> None:
    store.add(("a", 1), ("b", 2))
    position, _ = store.extract(Position())
    store.add(("c", 2))
    assert store.look(position) == "2 rows around the newest change, 2, and 1 before"
    position, clients = store.extract(position)
    assert sorted(clients) == ["b", "c"]
    assert store.look(position) is None


def test_a_late_row_is_found_within_lookback_and_not_beyond_it(store: Store) -> None:
    asked = BY_NUMBER.model_copy(update={"lookback": 5})
    store.add(("a", 1), ("b", 10))
    position, _ = store.extract(Position(), asked)
    store.add(("too late", 4))
    assert store.look(position, asked) is None
    store.add(("late", 5))
    assert store.look(position, asked)
    position, clients = store.extract(position, asked)
    assert clients == ["late", "b"]
    assert store.look(position, asked) is None


def test_a_late_row_is_found_by_its_time_whatever_the_seconds_say(timed: Store) -> None:
    timed.add_at("a", "2024-03-01 00:30:00")
    position, _ = timed.extract(Position(), BY_TIME)
    timed.add_at("too late", "2024-02-29 23:29:59")
    assert timed.look(position, BY_TIME) is None
    timed.add_at("late", "2024-02-29 23:30:00")
    assert timed.look(position, BY_TIME)
    position, clients = timed.extract(position, BY_TIME)
    assert clients == ["late", "a"]
    assert timed.look(position, BY_TIME) is None


def test_a_row_without_a_cursor_value_is_extracted_with_every_window(store: Store) -> None:
    store.add(("unplaced", None))
    position, clients = store.extract(Position())
    assert clients == ["unplaced"] and store.look(position) is None
    store.add(("a", 1), ("b", 2))
    position, clients = store.extract(position)
    assert sorted(clients) == ["a", "b", "unplaced"] and store.look(position) is None
    store.add(("unplaced too", None))
    assert store.look(position)
    position, clients = store.extract(position)
    assert sorted(clients) == ["b", "unplaced", "unplaced too"] and store.look(position) is None


def test_where_the_newest_row_is_gone_everything_is_extracted_again(store: Store) -> None:
    store.add(("a", 1), ("b", 2), ("c", 3))
    position, _ = store.extract(Position())
    store.execute("DELETE FROM clients")
    store.add(("made again", 1))
    assert store.look(position) == "the row with the newest change, 3, is gone"
    position, clients = store.extract(position)
    assert clients == ["made again"]
    store.execute("DELETE FROM clients")
    assert store.look(position)
    position, clients = store.extract(position)
    assert clients == [] and store.look(position) is None


def test_a_position_survives_as_json(store: Store) -> None:
    store.add(("a", 1))
    position, _ = store.extract(Position())
    kept = Position(**json.loads(json.dumps(asdict(position), allow_nan=False)))
    assert kept == position
    assert store.look(kept) is None


def test_another_query_or_database_is_extracted_from_its_beginning(store: Store, tmp_path: Path) -> None:
    store.add(("a", 1), ("b", 2))
    position, _ = store.extract(Position())
    other = BY_NUMBER.model_copy(update={"query": "SELECT corporation, change FROM clients WHERE 1 = 1"})
    assert store.look(position, other)
    assert store.extract(position, other)[1] == ["a", "b"]
    elsewhere = sqlite_store(tmp_path / "other.db", tmp_path / "others" / "clients.csv")
    elsewhere.execute("CREATE TABLE clients (corporation TEXT, change INTEGER)")
    elsewhere.add(("c", 2))
    assert elsewhere.look(position)


def test_a_query_may_hold_colons_percents_a_comment_and_a_semicolon(store: Store) -> None:
    store.add(("a", 1))
    told = "SELECT corporation || ' :x 12:30:00 100% %(y)s' AS told, change AS \"day:time\" FROM clients"
    for end in ("; ", " -- all :of them"):
        asked = Database(query=told + end, cursor="day:time")
        position, cells = store.extract(Position(), asked)
        assert cells == ["a :x 12:30:00 100% %(y)s"] and store.look(position, asked) is None


def test_rows_that_are_committed_during_an_extract_are_new_at_the_next_look(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add(("a", 1), ("b", 2))
    drafting = database._whole_or_absent

    def commit_meanwhile(place: Path) -> Any:
        store.add(("meanwhile", 2), ("and newer", 3))
        return drafting(place)

    with monkeypatch.context() as patched:
        patched.setattr(database, "_whole_or_absent", commit_meanwhile)
        position, clients = store.extract(Position())
    assert clients == ["a", "b"] and position.rows == 1
    assert store.look(position)
    assert sorted(store.extract(position)[1]) == ["and newer", "b", "meanwhile"]


def test_columns_may_change_between_two_extracts(store: Store) -> None:
    asked = BY_NUMBER.model_copy(update={"query": "SELECT * FROM clients"})
    store.add(("a", 1))
    position, _ = store.extract(Position(), asked)
    store.execute("ALTER TABLE clients ADD COLUMN owner TEXT")
    assert store.look(position, asked) is None
    store.execute("INSERT INTO clients VALUES ('b', 2, 'Zoë')")
    store.extract(position, asked)
    assert store.rows() == [["corporation", "change", "owner"], ["a", "1", ""], ["b", "2", "Zoë"]]


def test_any_text_comes_back_from_the_csv_as_it_was(store: Store) -> None:
    texts = [
        'say "hi", twice', "two\nlines", "old\rmac", "dos\r\nlines", " spaces ", "Ünïcødé 漢字 🙂", "=1+1", ""
    ]  # fmt: skip
    for number, text in enumerate(texts):
        store.add((text, number))
    assert store.extract(Position())[1] == texts


def test_types_of_postgresql_become_the_text_that_ingestion_reads(server: Postgres, tmp_path: Path) -> None:
    server.execute(
        "CREATE TABLE kinds AS SELECT 1::bigint AS id, 1.50::numeric(10, 2) AS exact, 1e20::numeric AS large,"
        " 'NaN'::numeric AS no_number, 3.0::float8 AS whole, 0.1::float8 AS tenth, true AS yes, false AS no, "
        "NULL::int AS missing, timestamptz '2024-03-01 12:00:00.5+05:30' AS zoned, "
        "timestamp '2024-03-01 12:00:00' AS local, date '2024-02-29' AS day, time '12:30' AS clock, "
        '\'{"a": [1, null], "b": "ë"}\'::jsonb AS facts, \'{1,2}\'::int[] AS numbers, '
        "'12345678-1234-5678-1234-567812345678'::uuid AS mark, 'x'::\"char\" AS letter"
    )
    asked = Database(query="SELECT * FROM kinds", cursor="id")
    store = Store("postgresql", server.url, server.execute, tmp_path / "extracts" / "kinds.csv")
    store.extract(Position(), asked)
    assert dict(zip(*store.rows(), strict=True)) == {
        "id": "1",
        "exact": "1.50",
        "large": "100000000000000000000",
        "no_number": "",
        "whole": "3",
        "tenth": "0.1",
        "yes": "1",
        "no": "0",
        "missing": "",
        "zoned": "2024-03-01T06:30:00.500000Z",
        "local": "2024-03-01T12:00:00",
        "day": "2024-02-29",
        "clock": "12:30:00",
        "facts": '{"a": [1, null], "b": "ë"}',
        "numbers": "[1, 2]",
        "mark": "12345678-1234-5678-1234-567812345678",
        "letter": "x",
    }


@pytest.mark.parametrize(
    "typed",
    [
        "9007199254740993::bigint",
        "0.1::float8 + 0.2::float8",
        "123456789012345678901234567890.123456789::numeric",
        "timestamptz '2024-03-31 02:30:00.123456 Europe/Berlin'",
        "timestamp '2024-03-01 12:00:00.000001'",
        "date '2024-03-01'",
        "'Ünïcode'::text",
    ],
)
def test_every_kind_of_cursor_is_found_again_exactly(server: Postgres, tmp_path: Path, typed: str) -> None:
    server.execute(f"CREATE TABLE clients AS SELECT {typed} AS cursor")
    store = Store("postgresql", server.url, server.execute, tmp_path / "extracts" / "clients.csv")
    asked = Database(query="SELECT 'x' AS client, cursor FROM clients", cursor="cursor")
    position, _ = store.extract(Position(), asked)
    assert position.rows == 1 and store.look(position, asked) is None
    server.execute("INSERT INTO clients SELECT * FROM clients")
    assert store.look(position, asked)
    if "text" not in typed:
        back = asked.model_copy(update={"lookback": 1.5})
        assert store.extract(position, back)[1] == ["x", "x"]


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("'NaN'::float8", "the newest cursor is nan"),
        ("'Infinity'::numeric", "the newest cursor is Infinity"),
        ("interval '1 day'", "the newest cursor is a timedelta"),
        ("0.7::real", "0.7 is not found again by this value"),
        ("timestamp 'infinity'", "the query failed"),
        ("true", "the query failed"),
    ],
)
def test_a_cursor_that_nothing_can_be_beyond_is_refused(
    server: Postgres, tmp_path: Path, typed: str, said: str
) -> None:
    server.execute(f"CREATE TABLE clients AS SELECT {typed} AS cursor")
    asked = Database(query="SELECT cursor FROM clients", cursor="cursor")
    with pytest.raises(DataError, match=said):
        database.extract(asked, {URL: server.url}, Position(), tmp_path / "clients.csv")
    assert list(tmp_path.iterdir()) == []


def test_binary_data_and_doubled_columns_are_refused_before_the_position_moves(
    bare: Store, server: Postgres, tmp_path: Path
) -> None:
    binary = "X'00ff'" if bare.kind == "sqlite" else "'\\x00ff'::bytea"
    asked = Database(query=f"SELECT 1 AS id, {binary} AS photo", cursor="id")
    with pytest.raises(DataError, match="the column 'photo' holds binary data"):
        database.extract(asked, bare.environ, Position(), bare.place)
    doubled = Database(query="SELECT 1 AS id, 2 AS n, 3 AS n", cursor="id")
    with pytest.raises(DataError, match="gives the column 'n' twice"):
        database.extract(doubled, {URL: server.url}, Position(), bare.place)
    assert list(bare.place.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "seconds", "earlier"),
    [
        ("2024-03-01 00:00:10", 20, "2024-02-29 23:59:50"),
        ("2024-03-01T00:00:10Z", 20, "2024-02-29T23:59:50Z"),
        ("2024-03-01 00:00:10.500", 0.25, "2024-03-01 00:00:10.250"),
        ("2024-03-01T12:00+05:30", 90, "2024-03-01T11:58+05:30"),
        ("2024-03-01", 1, "2024-02-29"),
    ],
)
def test_a_time_kept_as_text_goes_back_in_its_own_form(text: str, seconds: float, earlier: str) -> None:
    assert database.KINDS["text"].earlier(text, seconds) == earlier


@pytest.mark.parametrize(
    "value",
    [
        -(2**62),
        0.1,
        Decimal("0.10"),
        datetime(2024, 3, 1, 12, 0, 0, 1),
        datetime(2024, 3, 1, tzinfo=UTC),
        date(2024, 3, 1),
        "2024-03-01",
    ],
)
@pytest.mark.parametrize("lookback", [0.5, 86_400, 1e6])
def test_a_window_begins_no_later_than_its_lookback(value: Any, lookback: float) -> None:
    kind = next(kind for kind in database.KINDS.values() if type(value) is kind.type)
    assert kind.read(kind.write(value)) == value
    assert kind.earlier(value, lookback) < value
    if isinstance(value, datetime):
        assert kind.earlier(value, lookback) == value - timedelta(seconds=lookback)
    elif isinstance(value, date):
        assert kind.earlier(value, lookback) <= value - timedelta(days=lookback // 86_400)


def test_a_lookback_beyond_all_time_takes_everything(timed: Store) -> None:
    asked = BY_TIME.model_copy(update={"lookback": 1e18})
    timed.add_at("old", "0001-01-01 00:00:00")
    timed.add_at("new", "2024-03-01 00:00:00")
    position, _ = timed.extract(Position(), asked)
    assert position.rows == 2 and timed.look(position, asked) is None
    timed.add_at("newer", "2024-03-02 00:00:00")
    assert timed.extract(position, asked)[1] == ["old", "new", "newer"]


def test_a_lookback_needs_times_or_numbers(store: Store) -> None:
    asked = Database(query=BY_NUMBER.query, cursor="corporation", lookback=1)
    store.add(("a", 1))
    with pytest.raises(
        DataError, match="corporation holds 'a', and database.lookback needs times or numbers"
    ):
        database.extract(asked, store.environ, Position(), store.place)


def test_a_missing_table_and_a_missing_cursor_are_told_with_what_there_is(store: Store) -> None:
    no_table = Database(query="SELECT * FROM nowhere", cursor="change")
    said = fault(no_table, store.url, store.place)
    assert "the query failed" in said and "nowhere" in said and "database.query" in said
    for cursor in ("changed", "Changed", "select"):
        no_cursor = Database(query=BY_NUMBER.query, cursor=cursor)
        said = fault(no_cursor, store.url, store.place)
        assert f"database.cursor names '{cursor}', and the query gives corporation, change." in said


def test_an_extract_only_reads(server: Postgres, tmp_path: Path) -> None:
    server.execute("CREATE SEQUENCE numbers")
    asked = Database(query="SELECT nextval('numbers') AS id", cursor="id")
    assert "read-only transaction" in fault(asked, server.url, tmp_path / "extracts" / "clients.csv")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (None, f"{URL}: this environment variable is not set"),
        ("  ", f"{URL}: this environment variable is not set"),
        ("planted", "this is no URL of a database"),
        ("host:planted", "this is no URL of a database"),
        ("postgresql://me:planted", "this is no URL of a database"),
        ("postgresql://me:planted/db", "this is no URL of a database"),
        ("postgresql://me:planted@ss@host/db", "more than one @"),
        ("postgresql://me:pl@planted/db@host/db", "more than one @"),
        ("sqlite://planted/x.db", "x.db is relative to wherever a run is started"),
        ("oddsql://me:planted@host/db", "no driver for oddsql"),
        ("mssql+nodriver://me:planted@host/db", "no driver for mssql+nodriver"),
        ("postgresql://me:planted@127.0.0.1:1/db", "postgresql://me:***@127.0.0.1:1/db: no connection"),
        ("postgresql://127.0.0.1:1/db?user=me&password=planted", "no connection"),
        ("postgresql://me:planted@127.0.0.1:1/db?odd=1", "no connection"),
        ("postgresql://me:planted@a..b/db", "no connection"),
        ("sqlite:///clients.db", "clients.db is relative to wherever a run is started"),
        ("sqlite:////nowhere/clients.db", "there is no such database file"),
        ("sqlite:////dev?odd=1", "there is no such database file"),
    ],
)
def test_a_wrong_url_is_told_without_its_password(
    url: str | None, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    sentence = fault(BY_NUMBER, url, tmp_path / "extracts" / "clients.csv")
    assert said in sentence
    assert "planted" not in sentence + caplog.text


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "clients.db").write_text("corporation,change\n" * 100)
    assert "file is not a database" in fault(
        BY_NUMBER, f"sqlite:///{tmp_path}/clients.db", tmp_path / "x" / "y"
    )


def test_a_wrong_password_is_told_and_nowhere_shown(
    server: Postgres, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("DEBUG")
    for password in ("planted-wrong", "planted%20%2F%25"):
        said = fault(BY_NUMBER, server.url_with(password), tmp_path / "extracts" / "clients.csv")
        assert "password authentication failed" in said and URL in said
        assert "planted" not in said + caplog.text + "".join(capfd.readouterr())


def test_the_right_password_is_nowhere_shown_either(
    server: Postgres, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("DEBUG")
    store = Store("postgresql", server.url, server.execute, tmp_path / "extracts" / "clients.csv")
    server.execute("CREATE TABLE clients (corporation TEXT, change INTEGER)")
    store.add(("a", 1))
    position, _ = store.extract(Position())
    quoting = Database(query=f"SELECT '{servers.PASSWORD}'::int AS change", cursor="change")
    said = fault(quoting, server.url, tmp_path / "others" / "clients.csv")
    assert 'invalid input syntax for type integer: "***"' in said
    kept = json.dumps(asdict(position)) + store.place.read_text()
    assert "planted" not in kept + said + "".join(capfd.readouterr())
    own = [
        record.getMessage() for record in caplog.records if not record.name.startswith("sqlalchemy.engine")
    ]
    assert "planted" not in "".join(own)


def test_a_server_that_is_down_is_told_and_the_next_look_goes_on(server: Postgres, tmp_path: Path) -> None:
    store = Store("postgresql", server.url, server.execute, tmp_path / "extracts" / "clients.csv")
    server.execute("CREATE TABLE clients (corporation TEXT, change INTEGER)")
    store.add(("a", 1))
    position, _ = store.extract(Position())
    server.stop()
    with pytest.raises(DataError, match="no connection .*Connection refused"):
        store.look(position)
    server.start()
    assert store.look(position) is None


def test_a_server_that_never_answers_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"postgresql://me:planted@127.0.0.1:{deaf.getsockname()[1]}/db?connect_timeout=2"
        started = time.monotonic()
        with pytest.raises(DataError, match="no connection .*timeout"):
            database.look(BY_NUMBER, {URL: url}, Position())
        assert time.monotonic() - started < 8


def test_a_query_that_takes_too_long_is_given_up(server: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    hasty = replace(database.DIALECTS["postgresql"], opening=("SET LOCAL statement_timeout = '1s'",))
    monkeypatch.setitem(database.DIALECTS, "postgresql", hasty)
    asked = Database(query="SELECT 1 AS id FROM pg_sleep(60)", cursor="id")
    with pytest.raises(DataError, match="statement timeout"):
        database.look(asked, {URL: server.url}, Position())


def extracting(store: Store) -> "subprocess.Popen[str]":
    """Another process that extracts the many rows of a store."""
    command = [sys.executable, "-W", "error", "-c", EXTRACTING, str(store.place)]
    environ = {**os.environ, **store.environ}
    return subprocess.Popen(
        command, cwd=CHECKOUT, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def wait_for_a_draft(store: Store) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if any(draft.stat().st_size > 100_000 for draft in store.place.parent.glob(".*.tmp")):
            return
        time.sleep(0.01)
    raise AssertionError("no extract was ever half done")


def test_a_million_rows_pass_through_a_bounded_memory(bare: Store) -> None:
    bare.execute(MANY_ROWS[bare.kind].format(rows=1_000_000))
    started = extracting(bare)
    out, err = started.communicate(timeout=300)
    assert started.returncode == 0 and err == "", err
    answer = json.loads(out)
    # one million rows kept as Python objects take 500 MB
    assert answer["grown_kilobytes"] < 50_000
    with bare.place.open(newline="") as stream:
        assert sum(1 for _ in csv.reader(stream)) == 1_000_001
    assert bare.look(Position(**answer["position"]), MANY) is None


def test_an_extract_that_is_killed_leaves_no_file_and_is_simply_done_again(bare: Store) -> None:
    bare.execute(MANY_ROWS[bare.kind].format(rows=200_000))
    started = extracting(bare)
    wait_for_a_draft(bare)
    started.kill()
    started.communicate(timeout=60)
    (draft,) = bare.place.parent.iterdir()
    assert draft.name.startswith(f".{bare.place.name}.") and draft.name.endswith(".tmp")
    files.sweep(bare.place.parent)
    extract_all_again(bare)


@pytest.mark.parametrize("end", ["server", "session"])
def test_a_server_that_falls_during_an_extract_leaves_nothing_behind(
    server: Postgres, tmp_path: Path, end: str
) -> None:
    store = Store("postgresql", server.url, server.execute, tmp_path / "extracts" / "clients.csv")
    store.execute(MANY_ROWS["postgresql"].format(rows=200_000))
    started = extracting(store)
    wait_for_a_draft(store)
    if end == "server":
        server.stop(signal.SIGQUIT)
    else:
        server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    out, err = started.communicate(timeout=60)
    assert err.startswith(f"DataError: postgresql://pipeline:***@127.0.0.1:{server.port}/postgres: ")
    assert "the connection broke off" in err and err.count("\n") == 1 and out == ""
    assert "planted" not in err
    assert list(store.place.parent.iterdir()) == []
    if end == "server":
        server.start()
    extract_all_again(store)


def extract_all_again(store: Store) -> None:
    """The same position gives the same rows, each once."""
    position, clients = store.extract(Position(), MANY)
    assert len(clients) == len(set(clients)) == 200_000
    assert store.look(position, MANY) is None


def test_a_run_without_a_database_imports_nothing_of_sqlalchemy() -> None:
    script = (
        "import sys, attrition.database; print([m for m in sys.modules if m in ('sqlalchemy', 'psycopg')])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=CHECKOUT, capture_output=True, text=True)
    assert done.stdout == "[]\n"
