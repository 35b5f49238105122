"""Rows beyond a cursor, from any database that SQLAlchemy knows, streamed into one CSV file.

The cursor is a column of the query that grows: a time of change, a number. Every look follows one rule:

    begin    the newest cursor value of the last extract, less `lookback`; before the first extract, nowhere
    window   the rows whose cursor is at or after begin, and those that have none (NULL)
    news     max(cursor), count(cursor) or the count of NULLs is not what the last extract recorded
    extract  exactly the rows of the window, in one read transaction with the figures that are recorded

So a row whose cursor equals the newest one is found, and so is a late one that lies no more than `lookback`
behind. A window's rows are read again with each extract: who keeps them counts equal rows once. Not seen are
rows that come later than that and, until something else in the window changes, rows that change while their
cursor stays, or that take the place of a deleted one. Everything is extracted again where the row with the
newest cursor is gone, and where another database, query or cursor is asked.
"""

import csv
import hashlib
import json
import math
import os
import re
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_FLOOR, Context, Decimal
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from attrition import connections, files, tables
from attrition.errors import DataError
from attrition.settings import Database

if TYPE_CHECKING:
    import sqlalchemy as sa

CONNECT_SECONDS = 10
STATEMENT_SECONDS = 300
ROWS_AT_ONCE = 2000
DOWN = Context(rounding=ROUND_FLOOR)


@dataclass(frozen=True)
class Position:
    """Where the last extract ended, and how many rows its next window held then; JSON knows all of it.

    `Position()` is before the first extract. `asked` tells which database, query and cursor it belongs to.
    """

    kind: str = ""
    value: str = ""
    rows: int = 0
    unplaced: int = 0
    asked: str = ""


def look(database: Database, environ: Mapping[str, str], position: Position) -> str | None:
    """Why there is something to extract, or None; one query for a few figures, no row."""
    with _reading(database, environ) as source:
        position = _of_this_source(source, position)
        figures = _figures(source, position)
        newest = source.placed(figures.newest)
        if not position.kind and (figures.rows or figures.unplaced != position.unplaced):
            return f"{figures.rows + figures.unplaced:,} rows, and no cursor yet to look from"
        if position.kind and not figures.not_before:
            return f"the row with the newest {database.cursor}, {position.value}, is gone"
        if newest != (position.kind, position.value):
            return f"{database.cursor} went from {position.value} to {newest[1]}"
        if (figures.rows, figures.unplaced) != (position.rows, position.unplaced):
            was, now = position.rows + position.unplaced, figures.rows + figures.unplaced
            return f"{now:,} rows around the newest {database.cursor}, {position.value}, and {was:,} before"
        return None


def extract(database: Database, environ: Mapping[str, str], position: Position, place: Path) -> Position:
    """Write every row of the window to `place`, whole or not at all; returns the position to look from next.

    The header is the query's columns. Numbers are plain, NULL is blank, true and false are 1 and 0, times are
    ISO 8601, those with a zone in UTC.
    """
    with _reading(database, environ) as source:
        position = _of_this_source(source, position)
        figures = _figures(source, position)
        if position.kind and not figures.not_before:
            position = Position(asked=source.asked)
            figures = _figures(source, position)
        following = _following(source, figures)
        with _whole_or_absent(place) as stream:
            _write_rows(source, _begin(source, position), stream)
        return following


@dataclass(frozen=True)
class _Source:
    """A database in a read transaction, and what may be told about it."""

    database: Database
    connection: "sa.Connection" = field(repr=False)
    shown: str
    asked: str

    def ask(
        self, selected: str, begin: Any = None, value: Any = None, tail: str = "", streamed: bool = False
    ) -> "sa.CursorResult[*tuple[Any, ...]]":
        """The rows of `selected`, in which {cursor} is the cursor column, over the window from `begin`."""
        import sqlalchemy as sa

        # with its table a missing column is an error; alone and quoted, SQLite takes it for a text
        cursor = f"asked.{self.connection.dialect.identifier_preparer.quote(self.database.cursor)}"
        window = "WHERE {cursor} >= :begin OR {cursor} IS NULL" if begin is not None else ""
        # a colon in the query or the cursor is its own, not a parameter's
        cursor, query = (part.replace(":", "\\:") for part in (cursor, self.database.query))
        before, after = (part.replace("{cursor}", cursor) for part in (selected, f"{window} {tail}"))
        # on lines of its own: the query may end in a comment
        query = query.strip().rstrip(";")
        statement = sa.text(f"SELECT {before} FROM (\n{query}\n) asked {after}")
        given = {name: bound for name, bound in (("begin", begin), ("value", value)) if bound is not None}
        # without a type of SQLAlchemy's the driver says what the value is, and an index can serve it
        statement = statement.bindparams(*(sa.bindparam(n, v, sa.types.NULLTYPE) for n, v in given.items()))
        return self.connection.execute(statement, execution_options={"stream_results": streamed})

    def placed(self, newest: Any) -> tuple[str, str]:
        """Kind and text of a cursor value, or DataError: it must be something that can be passed."""
        if newest is None:
            return "", ""
        kind = next((name for name, kind in KINDS.items() if type(newest) is kind.type), None)
        if kind is None or (kind in ("real", "decimal") and not math.isfinite(newest)):
            shown = f"is a {type(newest).__name__}" if kind is None else f"is {newest}"
            raise DataError(
                f"{self.shown}: the newest {self.database.cursor} {shown}, beyond which nothing can be told "
                "to be new. Name another cursor, or convert it to a number or a time, in config.json."
            )
        return kind, KINDS[kind].write(newest)


@dataclass(frozen=True)
class _Figures:
    """A window in numbers: newest cursor, rows with a cursor and without, rows not before the last newest."""

    newest: Any
    rows: int
    unplaced: int
    not_before: int


def _figures(source: _Source, position: Position) -> _Figures:
    counted = "max({cursor}), count({cursor}), count(*) - count({cursor})"
    if not position.kind:
        newest, rows, unplaced = source.ask(counted).one()
        return _Figures(newest, rows, unplaced, rows)
    value = KINDS[position.kind].read(position.value)
    selected = f"{counted}, count(CASE WHEN {{cursor}} >= :value THEN 1 END)"
    return _Figures(*source.ask(selected, _begin(source, position), value).one())


def _of_this_source(source: _Source, position: Position) -> Position:
    return position if position.asked == source.asked else Position(asked=source.asked)


def _following(source: _Source, figures: _Figures) -> Position:
    """The position after an extract of these figures, with the rows of the window that the next look asks."""
    kind, value = source.placed(figures.newest)
    position = Position(kind, value, 0, figures.unplaced, source.asked)
    if not kind:
        return position
    following = _figures(source, position)
    if not following.not_before:
        raise DataError(
            f"{source.shown}: {source.database.cursor} {value} is not found again by this value, so that "
            "equal ones would be missed. Convert the cursor in database.query to an exact type."
        )
    return Position(kind, value, following.rows, following.unplaced, source.asked)


def _begin(source: _Source, position: Position) -> Any:
    """Cursor value at which a window begins; None where it has no beginning."""
    if not position.kind:
        return None
    kind, lookback = KINDS[position.kind], source.database.lookback
    value = kind.read(position.value)
    try:
        return kind.earlier(value, lookback) if lookback else value
    except OverflowError:
        return None
    except ValueError:
        raise DataError(
            f"{source.shown}: {source.database.cursor} holds {value!r}, and database.lookback needs times or "
            "numbers. Set it to 0 in config.json, or convert the cursor in database.query."
        ) from None


def _earlier_text(value: str, seconds: float) -> str:
    """An earlier time in the same form, so that texts compare as times do: SQLite keeps times as text."""
    form = re.fullmatch(r"(\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?)?)(Z|[+-]\d\d:?\d\d)?", value)
    if form is None:
        raise ValueError(value)
    wall, zone = form.groups(default="")
    earlier = datetime.fromisoformat(wall) - timedelta(seconds=seconds)
    return earlier.isoformat(wall[10:11] or "T", "microseconds")[: len(wall)] + zone


@dataclass(frozen=True)
class _Kind:
    """A kind of cursor value: its type, its exact text and back, and a value that is `lookback` earlier."""

    type: type
    write: Callable[[Any], str]
    read: Callable[[str], Any]
    earlier: Callable[[Any, float], Any]


KINDS = {
    "integer": _Kind(int, str, int, lambda value, units: max(value - math.ceil(units), -(2**63))),
    "real": _Kind(float, repr, float, lambda value, units: value - units),
    "decimal": _Kind(Decimal, str, Decimal, lambda value, units: DOWN.subtract(value, Decimal(repr(units)))),
    "time": _Kind(
        datetime,
        lambda value: (value.astimezone(UTC) if value.tzinfo else value).isoformat(),
        datetime.fromisoformat,
        lambda value, seconds: value - timedelta(seconds=seconds),
    ),
    "date": _Kind(
        date,
        date.isoformat,
        date.fromisoformat,
        lambda value, seconds: value - timedelta(days=math.ceil(seconds / 86_400)),
    ),
    "text": _Kind(str, str, str, _earlier_text),
}


@contextmanager
def _whole_or_absent(place: Path) -> Iterator[TextIO]:
    """A draft to write to, which takes the name `place` when all of it is on disk; see attrition.files."""
    place.parent.mkdir(parents=True, exist_ok=True)
    draft = place.with_name(f".{place.name}.{secrets.token_hex(4)}.tmp")
    try:
        with draft.open("x", encoding="utf-8", newline="") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        draft.rename(place)
    except BaseException:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise
    files.sync_folder(place.parent)


def _write_rows(source: _Source, begin: Any, stream: TextIO) -> None:
    """Header and rows as CSV, in the order of the cursor; in memory are ROWS_AT_ONCE of them."""
    plain = csv.writer(stream, lineterminator="\n")
    # before Python 3.13 a lone carriage return is not quoted unless everything is
    quoted = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL)
    with source.ask("asked.*", begin, tail="ORDER BY {cursor}", streamed=True) as result:
        columns = list(result.keys())
        _refuse_doubled(source, columns)
        plain.writerow(columns)
        for row in chain.from_iterable(result.partitions(ROWS_AT_ONCE)):
            cells = [CELLS.get(type(value), _other)(value) for value in row]
            joined = "".join(cells)
            if "\0" in joined:
                _refuse_binary(source, columns, cells)
            (quoted if "\r" in joined else plain).writerow(cells)


def _refuse_doubled(source: _Source, columns: Sequence[str]) -> None:
    doubled = [column for column, times in Counter(columns).items() if times > 1]
    if doubled:
        raise DataError(
            f"{source.shown}: the query gives the column {', '.join(map(repr, doubled))} twice. "
            "Name each column once in database.query (a.id AS first_id)."
        )


def _refuse_binary(source: _Source, columns: Sequence[str], cells: Sequence[str]) -> None:
    column = next(column for column, cell in zip(columns, cells, strict=True) if "\0" in cell)
    raise DataError(
        f"{source.shown}: the column {column!r} holds binary data, which is no text for a dataset. "
        "Leave the column out of database.query, or convert it there."
    )


def _decimal(value: Decimal) -> str:
    return "" if value.is_nan() else f"{value:f}"


def _moment(value: datetime) -> str:
    if value.tzinfo is None:
        return value.isoformat()
    return value.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _other(value: Any) -> str:
    # refused by the NUL, with the column's name
    return "\0" if isinstance(value, bytes | bytearray | memoryview) else str(value)


CELLS: Mapping[type, Callable[[Any], str]] = {
    type(None): lambda _: "",
    bool: lambda value: str(int(value)),
    int: str,
    str: str,
    float: tables.number,
    Decimal: _decimal,
    datetime: _moment,
    date: date.isoformat,
    time: time.isoformat,
    dict: _json,
    list: _json,
}


@dataclass(frozen=True)
class _Dialect:
    """How a kind of database is opened: what its driver is told, one snapshot to read, first statements."""

    connect: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=lambda: {"isolation_level": "SERIALIZABLE"})
    opening: Sequence[str] = ()


DIALECTS = {
    "postgresql": _Dialect(
        {
            "connect_timeout": CONNECT_SECONDS,
            "client_encoding": "utf8",
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
        },
        {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True},
        (f"SET LOCAL statement_timeout = '{STATEMENT_SECONDS}s'",),
    ),
    # left alone, its driver begins no transaction for a SELECT, and each would see another state
    "sqlite": _Dialect(
        {"timeout": CONNECT_SECONDS},
        {"isolation_level": "AUTOCOMMIT"},
        ("PRAGMA query_only = ON", "BEGIN"),
    ),
    "mysql": _Dialect({"connect_timeout": CONNECT_SECONDS}, {"isolation_level": "REPEATABLE READ"}),
    "mariadb": _Dialect({"connect_timeout": CONNECT_SECONDS}, {"isolation_level": "REPEATABLE READ"}),
}


@contextmanager
def _reading(database: Database, environ: Mapping[str, str]) -> Iterator[_Source]:
    """One read transaction. What the database refuses is a DataError, without the secrets of its URL."""
    import sqlalchemy as sa

    place = connections.address("database", database.url_env, environ)
    dialect = DIALECTS.get(place.kind, _Dialect())
    engine = place.engine(dialect.connect)
    try:
        connection = engine.connect()
    except (sa.exc.SQLAlchemyError, TypeError, ValueError) as fault:
        raise DataError(
            f"{place.shown}: no connection ({place.reason(fault)}). Check that the database is there and "
            f"that {database.url_env} has the right address, name and password; the next run goes on "
            "from here."
        ) from None
    with connection:
        source = _Source(database, connection, place.shown, _asked(database, place.url))
        try:
            connection.execution_options(**dialect.options)
            for statement in dialect.opening:
                connection.exec_driver_sql(statement)
            yield source
        except (sa.exc.SQLAlchemyError, UnicodeDecodeError) as fault:
            raise DataError(f"{place.shown}: {_sentence(source, fault, place.reason(fault))}") from None


def _asked(database: Database, url: "sa.URL") -> str:
    """Fingerprint of what is asked; who asks (name, password) is not part of it."""
    place = [url.get_backend_name(), url.host, url.port, url.database, url.query.get("host")]
    question = json.dumps([place, database.query.strip(), database.cursor])
    return hashlib.sha256(question.encode()).hexdigest()[:16]


def _sentence(source: _Source, fault: Exception, reason: str) -> str:
    if getattr(fault, "connection_invalidated", False):
        return (
            f"the connection broke off ({reason}). Nothing of what it brought was kept; "
            "see that the database runs, and run again."
        )
    columns = _columns(source)
    if columns is not None and source.database.cursor not in columns:
        return (
            f"database.cursor names {source.database.cursor!r}, and the query gives {', '.join(columns)}. "
            "Correct one of them in config.json."
        )
    return f"the query failed ({reason}). Correct database.query in config.json, or mend the database."


def _columns(source: _Source) -> list[str] | None:
    """The query's columns, or None where the query itself is refused."""
    import sqlalchemy as sa

    try:
        source.connection.rollback()
        with source.ask("asked.*", tail="WHERE 1 = 0") as nothing:
            return list(nothing.keys())
    except sa.exc.SQLAlchemyError:
        return None
