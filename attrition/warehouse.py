"""Tables for BI tools in a database that SQLAlchemy knows: made at first use, changed all at once or not.

with warehouse.opened(publish, os.environ) as store:
    with store.transaction():
        store.replace("risk_list", rows)

Writers take turns, by a lock that the database itself gives up when one dies. A later version of this room
only adds columns: `since` tells which one did, so no table is ever made anew and no row is lost.
"""

import hashlib
import math
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from attrition import connections
from attrition.connections import Address
from attrition.errors import DataError
from attrition.settings import Publish

if TYPE_CHECKING:
    import sqlalchemy as sa

Row = Mapping[str, Any]

VERSION = 1
CONNECT_SECONDS = 5
LOCK_SECONDS = 10
STATEMENT_SECONDS = 30
# for all of one publishing: beyond it the connection is cut, whatever the database is doing
LONGEST_SECONDS = 90.0
# four bytes a character and two of them in a key still fit into an index of PostgreSQL or MySQL
LONGEST_NAME = 255
MARK_LENGTH = 16
LARGEST_COUNT = 2**63 - 1


@dataclass(frozen=True)
class Column:
    name: str
    kind: str
    key: bool = False
    since: int = 1


def _columns(written: str, keys: int = 0, since: int = 1) -> list[Column]:
    """Columns from "name kind, name kind": the first `keys` of them are the primary key."""
    pairs = [each.split() for each in written.split(",")]
    return [Column(name, kind, at < keys, since) for at, (name, kind) in enumerate(pairs)]


TABLES: Mapping[str, Sequence[Column]] = {
    "schema": _columns("version count, made_at time", keys=1),
    "lists": _columns(
        "run name, number count, scored_at time, release text, threshold number, clients count, "
        "scored count, at_risk count, on_short_list count, expected_leavers number, value_at_stake number, "
        "expected_loss number",
        keys=1,
    ),
    "risk_list": _columns(
        "client name, run name, scored_at time, release text, owner text, rank count, probability number, "
        "threshold number, at_risk flag, on_short_list flag, risk_band text, status text, "
        "previous_probability number, change_points number, value number, expected_loss number, "
        "reason_1 text, reason_2 text, reason_3 text, suggested_action text, act_by date, warnings text",
        keys=1,
    ),
    "risk_history": _columns(
        "number count, client name, run name, scored_at time, release text, rank count, probability number, "
        "at_risk flag, on_short_list flag",
        keys=2,
    ),
    "scores": _columns(
        "release name, measured_on name, measured_at time, figure name, value number, low number, "
        "high number, no_skill number, rows count",
        keys=4,
    ),
    "stage_runs": _columns(
        "run name, place count, stage text, started_at time, seconds number, status text, sentence text",
        keys=2,
    ),
    "columns": _columns(
        "number count, column_name name, run name, diagnosed_at time, release text, missing_percent number, "
        "mean number, median number, standard_deviation number, minimum number, maximum number",
        keys=2,
    ),
    "drift": _columns(
        "number count, column_name name, kind name, run name, diagnosed_at time, looked_at time, "
        "release text, level text, sentence text, test text, statistic number, p_value number, "
        "life_p_value number, effect number, effect_name text, rows count, missing_then number, "
        "missing_now number, never_seen number, out_of_range number",
        keys=3,
    ),
    "timings": _columns(
        "number count, stage name, run name, diagnosed_at time, runs count, idle count, failures count, "
        "last_seconds number, median_seconds number, p95_seconds number, longest_seconds number, "
        "trend_percent number",
        keys=2,
    ),
}  # fmt: skip


def as_text(value: Any) -> str | None:
    """Text that every database can hold: PostgreSQL takes no NUL, UTF-8 no half of a character."""
    if value is None:
        return None
    return str(value).replace("\0", "\N{SYMBOL FOR NULL}").encode("utf-8", "replace").decode()


def as_name(value: Any) -> str:
    """Text for a key: what cannot be held as it is ends in a mark of its own, and two never become one."""
    text = str(value)
    held = as_text(text)
    if held == text and len(text) <= LONGEST_NAME:
        return text
    mark = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:MARK_LENGTH]
    return f"{held[: LONGEST_NAME - MARK_LENGTH - 1] if held else ''}~{mark}"


def as_number(value: Any) -> float | None:
    try:
        return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
    except OverflowError:
        return None


def as_count(value: Any) -> int | None:
    return int(value) if isinstance(value, int) and abs(value) <= LARGEST_COUNT else None


def as_flag(value: Any) -> bool | None:
    return None if value is None else bool(value)


@lru_cache
def as_time(value: Any) -> datetime | None:
    """The moment that a text with a Z or an offset names; None where it names none."""
    try:
        return datetime.fromisoformat(value).astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        return None


@lru_cache
def as_date(value: Any) -> date | None:
    try:
        return date.fromisoformat(value)
    except (ValueError, TypeError):
        return None


KINDS: Mapping[str, Callable[[Any], Any]] = {
    "name": as_name,
    "text": as_text,
    "number": as_number,
    "count": as_count,
    "flag": as_flag,
    "time": as_time,
    "date": as_date,
}


def _types() -> "Mapping[str, sa.types.TypeEngine[Any]]":
    """The type of each kind. SQLite has no time: it gets a text that its functions read, UTC with a Z."""
    import sqlalchemy as sa
    from sqlalchemy.dialects import sqlite

    utc = sqlite.DATETIME(
        storage_format="%(year)04d-%(month)02d-%(day)02dT%(hour)02d:%(minute)02d:%(second)02dZ",
        regexp=r"(\d+)-(\d+)-(\d+)T(\d+):(\d+):(\d+)Z",
    )
    return {
        "name": sa.String(LONGEST_NAME),
        "text": sa.Text(),
        "number": sa.Double(),
        "count": sa.BigInteger(),
        "flag": sa.Boolean(),
        "time": sa.DateTime(timezone=True).with_variant(utc, "sqlite"),
        "date": sa.Date(),
    }


@dataclass(frozen=True)
class _Dialect:
    """How a kind of database is opened, how a writer takes its turn there, how a connection is cut."""

    connect: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    turn: Sequence[str] = ()
    cut: Callable[[Any], None] = lambda driver: None


def _shut_socket(driver: Any) -> None:
    """End a connection under the thread that waits for it; its descriptor stays that thread's to close."""
    with socket.socket(fileno=socket.dup(driver.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)


DIALECTS = {
    "postgresql": _Dialect(
        {
            "connect_timeout": CONNECT_SECONDS,
            "client_encoding": "utf8",
            "application_name": "attrition",
        },
        {"isolation_level": "READ COMMITTED"},
        (
            f"SET LOCAL statement_timeout = '{STATEMENT_SECONDS}s'",
            f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'",
            f"SET LOCAL idle_in_transaction_session_timeout = '{LONGEST_SECONDS:.0f}s'",
            "SELECT pg_advisory_xact_lock({lock})",
        ),
        _shut_socket,
    ),
    # left alone, its driver begins no transaction before the first change, and none for a CREATE TABLE
    "sqlite": _Dialect(
        {"timeout": LOCK_SECONDS},
        {"isolation_level": "AUTOCOMMIT"},
        ("BEGIN IMMEDIATE",),
        lambda driver: driver.interrupt(),
    ),
}


class Watch:
    """Cuts a connection that is not done in time."""

    def __init__(self, seconds: float, cut: Callable[[Any], None]) -> None:
        self.seconds, self._cut, self._driver, self.is_over = seconds, cut, None, False
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def holds(self, driver: Any, *_: Any) -> None:
        self._driver = driver
        if self.is_over:
            self._end()

    def _end(self) -> None:
        self.is_over = True
        # a driver says in a way of its own that its connection is closed already
        with suppress(Exception):
            self._cut(self._driver)

    def __enter__(self) -> "Watch":
        self._timer.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._timer.cancel()


@dataclass
class Warehouse:
    """The tables of one prefix, over one connection."""

    publish: Publish
    place: Address
    connection: "sa.Connection" = field(repr=False)
    dry_run: bool = False
    written: int = 0
    _is_sound: bool = False

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, one writer after the other; in a dry run nothing."""
        dialect = DIALECTS.get(self.place.kind, _Dialect())
        with self.connection.begin() as whole:
            for statement in dialect.turn:
                self.connection.exec_driver_sql(statement.replace("{lock}", str(self._lock)))
            if not self._is_sound:
                self._make_sound()
            yield
            if self.dry_run:
                whole.rollback()
        self._is_sound = not self.dry_run

    def insert(self, table: str, rows: Iterable[Row]) -> None:
        """Add rows, each cell made what its column can hold; all of them in one statement."""
        kinds = [(column.name, KINDS[column.kind]) for column in TABLES[table]]
        ready = [{name: as_kind(row.get(name)) for name, as_kind in kinds} for row in rows]
        if ready:
            self.connection.execute(self._tables[table].insert(), ready)
            self.written += len(ready)

    def replace(self, table: str, rows: Iterable[Row]) -> None:
        self.connection.execute(self._tables[table].delete())
        self.insert(table, rows)

    def prune(self, table: str, keep: int) -> None:
        """Forget the rows of all but the `keep` newest numbers."""
        place = self._tables[table]
        self.connection.execute(place.delete().where(place.c.number <= self.newest_number(table) - keep))

    def newest_number(self, table: str) -> int:
        """The greatest number; 0 where there is no row."""
        import sqlalchemy as sa

        return self.connection.scalar(sa.select(sa.func.max(self._tables[table].c.number))) or 0

    def newest_run(self) -> str | None:
        """The run of the list that was published last."""
        import sqlalchemy as sa

        lists = self._tables["lists"].c
        run: str | None = self.connection.scalar(sa.select(lists.run).order_by(lists.number.desc()).limit(1))
        return run

    def known(self, table: str, *names: str) -> set[tuple[Any, ...]]:
        """The different values of some columns; a time is aware and in UTC."""
        import sqlalchemy as sa

        columns = [self._tables[table].c[name] for name in names]
        rows = self.connection.execute(sa.select(*columns).distinct())
        return {tuple(map(_aware, row)) for row in rows}

    @property
    def _lock(self) -> int:
        digest = hashlib.sha256(f"attrition {self.publish.prefix}".encode()).digest()
        return int.from_bytes(digest[:8], signed=True)

    @cached_property
    def _tables(self) -> "Mapping[str, sa.Table]":
        import sqlalchemy as sa

        metadata, types = sa.MetaData(), _types()
        return {
            name: sa.Table(
                f"{self.publish.prefix}{name}",
                metadata,
                *(
                    sa.Column(each.name, types[each.kind], primary_key=each.key, autoincrement=False)
                    for each in columns
                ),
            )
            for name, columns in TABLES.items()
        }

    def _make_sound(self) -> None:
        """Make what is missing of the tables; DataError where something of another shape is in the way."""
        import sqlalchemy as sa

        inspector = sa.inspect(self.connection)
        there = [name for name, table in self._tables.items() if inspector.has_table(table.name)]
        if there and "schema" not in there:
            raise self._in_the_way(there[0], f"and no table {self.publish.prefix}schema says whose it is")
        for name in there:
            self._check_key(inspector, name)
        version = max((number for (number,) in self.known("schema", "version")), default=0) if there else 0
        for name, table in self._tables.items():
            if name not in there:
                table.create(self.connection)
            else:
                self._add_columns(inspector, name, version)
        if version < VERSION:
            self.insert(
                "schema", [{"version": VERSION, "made_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}]
            )

    def _check_key(self, inspector: "sa.Inspector", name: str) -> None:
        keys = [column.name for column in TABLES[name] if column.key]
        found = inspector.get_pk_constraint(self._tables[name].name)["constrained_columns"]
        if found != keys:
            shown = f"of {', '.join(found)}" if found else "absent"
            raise self._in_the_way(name, f"its primary key is {shown}, not of {', '.join(keys)}")

    def _add_columns(self, inspector: "sa.Inspector", name: str, version: int) -> None:
        """Add the columns that versions after `version` brought."""
        import sqlalchemy as sa

        table, dialect = self._tables[name], self.connection.dialect
        found = {column["name"] for column in inspector.get_columns(table.name)}
        missing = [column for column in TABLES[name] if column.name not in found]
        if lost := [column.name for column in missing if column.since <= version]:
            raise self._in_the_way(name, f"it has no column {', '.join(lost)}")
        for column in missing:
            told = sa.schema.CreateColumn(table.c[column.name]).compile(dialect=dialect)
            quoted = dialect.identifier_preparer.format_table(table)
            self.connection.exec_driver_sql(f"ALTER TABLE {quoted} ADD COLUMN {str(told).strip()}")

    def _in_the_way(self, name: str, fault: str) -> DataError:
        return DataError(
            f"{self.place.shown}: the table {self.publish.prefix}{name} is not of this pipeline's shape "
            f"({fault}), and was left alone. Rename it, or set another publish.prefix in config.json."
        )


@contextmanager
def opened(publish: Publish, environ: Mapping[str, str], dry_run: bool = False) -> Iterator[Warehouse]:
    """One connection, for LONGEST_SECONDS at most; a transaction that it does not survive leaves nothing.

    What the database refuses is a DataError, without the secrets of its URL.
    """
    import sqlalchemy as sa

    place = connections.address("publish", publish.url_env, environ, may_be_made=not dry_run)
    dialect = DIALECTS.get(place.kind, _Dialect())
    engine = place.engine(dialect.connect)
    with Watch(LONGEST_SECONDS, dialect.cut) as watch:
        # before SQLAlchemy's own first questions to the server
        sa.event.listen(engine, "connect", watch.holds, insert=True)
        try:
            connection = engine.connect()
        except (sa.exc.SQLAlchemyError, TypeError, ValueError) as fault:
            raise DataError(
                f"{place.shown}: no connection ({place.reason(fault)}). Check that the database is there and "
                f"that {place.variable} has the right address, name and password, then run: "
                "python publishing.py"
            ) from None
        with connection:
            try:
                connection.execution_options(**dialect.options)
                yield Warehouse(publish, place, connection, dry_run)
            except (sa.exc.SQLAlchemyError, UnicodeError) as fault:
                raise DataError(f"{place.shown}: {_sentence(publish, place, watch, fault)}") from None


def _sentence(publish: Publish, place: Address, watch: Watch, fault: Exception) -> str:
    reason = place.reason(fault)
    if watch.is_over:
        reason = f"not done after {watch.seconds:g} seconds; {reason}"
    if watch.is_over or getattr(fault, "connection_invalidated", False):
        return (
            f"the connection broke off ({reason}). See that the database runs, then run: python publishing.py"
        )
    return (
        f"this was refused ({reason}). See that the user in {place.variable} may make and write the tables "
        f"{publish.prefix}..., then run: python publishing.py"
    )


def _aware(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    return value
