"""Parts to one table: the rows of all datasets in the order of their names, equal rows once.

A part's hashes say which rows may be equal; their lines decide. Only those few are ever compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from attrition import columnar, tables
from attrition.parts import Part

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


@dataclass(frozen=True)
class Source:
    """A dataset and its part."""

    name: str
    part: Part


def merge(
    connection: "DuckDBPyConnection",
    sources: Sequence[Source],
    known: int,
    body: Path | None,
    columns: Sequence[str] = (),
) -> list[int]:
    """Write the rows of sources[known:] that no row before equals, as CSV, each with its dataset's name.

    The rows of sources[:known] are in the table already. With `columns` a header comes first. Returns how
    many rows each later source added; without a `body` they are only counted.
    """
    fresh = sources[known:]
    if not fresh:
        if body:
            body.write_text(tables.csv_text([*columns, "dataset"], []) if columns else "", encoding="utf-8")
        return []
    connection.execute(f"CREATE OR REPLACE TEMP TABLE alike AS {_alike(sources[:known], fresh)}")
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE dropped AS
        SELECT file_index, file_row_number FROM (
            SELECT file_index, file_row_number, line,
                row_number() OVER (PARTITION BY line ORDER BY file_index, file_row_number) AS time
            FROM read_parquet({_places(fresh)}) WHERE ok AND h IN ({_twice(fresh)} UNION SELECT h FROM alike))
        WHERE time > 1 OR line IN (SELECT line FROM alike)
    """)
    dropped = dict(connection.execute("SELECT file_index, count(*) FROM dropped GROUP BY 1").fetchall())
    if body:
        _write(connection, fresh, dropped, body, columns)
    return [source.part.accepted - dropped.get(i, 0) for i, source in enumerate(fresh)]


def _write(
    connection: "DuckDBPyConnection",
    fresh: Sequence[Source],
    dropped: Mapping[int, int],
    body: Path,
    columns: Sequence[str],
) -> None:
    """DuckDB keeps the order of rows in a scan and loses it in any join, NOT IN and NOT EXISTS included.

    So a part with rows to drop has a string of bits, one for each of its rows.
    """
    for i in dropped:
        connection.execute(f"""
            SET VARIABLE dropped_{i} = (
                SELECT bitstring_agg(file_row_number::INTEGER, 0, {fresh[i].part.rows_read})
                FROM dropped WHERE file_index = {i})
        """)
    names = ", ".join(columnar.literal(columnar.quoted(source.name)) for source in fresh)
    bits = " ".join(
        f"WHEN {i} THEN get_bit(getvariable('dropped_{i}'), file_row_number::INTEGER)" for i in dropped
    )
    first = f"AND CASE file_index {bits} ELSE 0 END = 0" if dropped else ""
    # as the name of a column, the header is written as it is
    header = tables.csv_text(columns, []).removesuffix("\n").replace('"', '""') if columns else "line"
    connection.execute(f"""
        COPY (SELECT line AS "{header}", [{names}][(file_index + 1)::BIGINT] AS dataset
              FROM read_parquet({_places(fresh)}) WHERE ok {first})
        TO {columnar.literal(str(body))} ({columnar.CSV}, HEADER {bool(columns)})
    """)


def _alike(earlier: Sequence[Source], fresh: Sequence[Source]) -> str:
    """SQL of the earlier rows that may equal a later one; one scan of the earlier parts finds them."""
    if not earlier:
        return "SELECT ''::VARCHAR AS line, 0::UINTEGER AS h WHERE false"
    return f"SELECT line, h FROM read_parquet({_places(earlier)}) WHERE ok AND h IN ({_hashes(fresh)})"


def _twice(fresh: Sequence[Source]) -> str:
    """SQL of the hashes that later rows have in common: sorting takes less than a group for each hash."""
    sorted_once = f"SELECT h, lag(h) OVER (ORDER BY h) AS before FROM ({_hashes(fresh)})"
    return f"SELECT h FROM ({sorted_once}) WHERE h = before"


def _hashes(sources: Sequence[Source]) -> str:
    return f"SELECT h FROM read_parquet({_places(sources)}) WHERE ok"


def _places(sources: Sequence[Source]) -> str:
    return "[" + ", ".join(columnar.literal(str(source.part.place)) for source in sources) + "]"
