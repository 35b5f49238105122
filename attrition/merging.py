"""Parts to one table: the rows of all datasets in the order of their names, equal rows once.

A part's hashes say which rows may be equal; their values decide. Only those few are ever compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from attrition import columnar
from attrition.contract import Contract
from attrition.parts import Part

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


@dataclass(frozen=True)
class Source:
    """A dataset and its part."""

    name: str
    part: Part


def merge(
    connection: "DuckDBPyConnection", contract: Contract, sources: Sequence[Source], known: int, body: Path
) -> list[int]:
    """Write the rows of sources[known:] that no row before equals, as CSV without a header.

    The rows of sources[:known] are in the table already. Returns how many rows each later source added.
    """
    fresh = sources[known:]
    if not fresh:
        body.touch()
        return []
    places = _places(sources)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE doubtful AS {_doubtful(sources, known)}")
    equal = ", ".join(columnar.name(contract, column) for column in contract.clients.columns)
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE dropped AS
        SELECT file_index, file_row_number FROM (
            SELECT file_index, file_row_number,
                row_number() OVER (PARTITION BY {equal} ORDER BY file_index, file_row_number) AS time
            FROM read_parquet({places}) WHERE ok AND h IN (SELECT h FROM doubtful))
        WHERE time > 1 AND file_index >= {known}
    """)
    dropped = dict(connection.execute("SELECT file_index, count(*) FROM dropped GROUP BY 1").fetchall())
    names = ", ".join(columnar.literal(source.name) for source in fresh)
    first = ""
    if dropped:
        first = f"""
            AND NOT EXISTS (SELECT 1 FROM dropped AS d
                WHERE d.file_index = p.file_index + {known} AND d.file_row_number = p.file_row_number)
        """
    connection.execute(f"""
        COPY (SELECT {columnar.written(contract)}, list_extract([{names}], (p.file_index + 1)::BIGINT)
              FROM read_parquet({_places(fresh)}) AS p WHERE ok {first})
        TO {columnar.literal(str(body))} ({columnar.CSV})
    """)
    return [source.part.accepted - dropped.get(i, 0) for i, source in enumerate(fresh, known)]


def _doubtful(sources: Sequence[Source], known: int) -> str:
    """SQL of the hashes of later rows that occur again: among themselves, or in an earlier part."""
    fresh = f"SELECT h FROM read_parquet({_places(sources[known:])}) WHERE ok"
    twice = f"SELECT h FROM ({fresh}) GROUP BY h HAVING count(*) > 1"
    if not known:
        return twice
    earlier = f"SELECT h FROM read_parquet({_places(sources[:known])}) WHERE ok AND h IN ({fresh})"
    return f"{twice} UNION {earlier}"


def _places(sources: Sequence[Source]) -> str:
    return "[" + ", ".join(columnar.literal(str(source.part.place)) for source in sources) + "]"
