"""Parts: one dataset under one contract, typed and judged, as a file on disk.

A cache: all of ingesteddata/parts/ may be deleted at any time, and is made again from the datasets.

A dataset is read by DuckDB where that reads what Python's csv module reads, which is the standard here. Where
it might not (blanks at quotes, newlines in fields, blank lines, mixed line ends), and where a count of lines
shows that it did not, the csv module makes a clean copy first.
"""

import csv
import hashlib
import os
import tempfile
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrition import columnar, files, sources, tables
from attrition import contract as contracts
from attrition.contract import Contract, Problem, Rejected
from attrition.sources import Survey, Unreadable

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

# raise it when parts of an older program must not be used
FORMAT = 1
DIALECT = "auto_detect=false, delim=',', quote='\"', escape='\"'"
SIMPLE_REJECTS = {"MISSING COLUMNS", "TOO MANY COLUMNS"}


@dataclass(frozen=True)
class Part:
    """`place` holds the rows of the right length, in order; those with `ok` are accepted."""

    place: Path
    rows_read: int
    accepted: int
    rejected: Sequence[Rejected]

    @property
    def rows_rejected(self) -> int:
        return self.rows_read - self.accepted


@contextmanager
def engine(memory_limit: str, spill: Path) -> Iterator["DuckDBPyConnection"]:
    """DuckDB in memory, within a limit; what does not fit goes into the folder `spill`."""
    import duckdb

    with duckdb.connect(config={"memory_limit": memory_limit, "temp_directory": str(spill)}) as connection:
        yield connection


def make(
    connection: "DuckDBPyConnection",
    contract: Contract,
    name: str,
    survey: Survey,
    descriptor: int,
    folder: Path,
) -> Part:
    """The part of a dataset that was opened and surveyed; from the folder where it is there already.

    Unreadable where the dataset is no use as a whole.
    """
    if problem := contracts.lacking(contract, survey.header):
        raise Unreadable(problem.code, problem.message, problem.column)
    if part := kept(contract, survey.sha256, folder, name):
        return part
    place = _place(contract, survey.sha256, folder)
    folder.mkdir(parents=True, exist_ok=True)
    part = _read_directly(connection, contract, name, survey, descriptor, place) if survey.plain else None
    if part is None:
        part = _read_cleaned(connection, contract, name, survey, descriptor, place)
    rejected = [[r.line, *asdict(r.problem).values(), r.row] for r in part.rejected]
    size = place.stat().st_size
    files.write_json(_facts(place), {"rows_read": part.rows_read, "size": size, "rejected": rejected})
    return part


def kept(contract: Contract, sha256: str, folder: Path, name: str) -> Part | None:
    """The part of a content, where it is there already."""
    place = _place(contract, sha256, folder)
    try:
        facts = files.read_json(_facts(place))
        if facts["size"] != place.stat().st_size:
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    rejected = [
        Rejected(name, line, Problem(column, code, message), row)
        for line, column, code, message, row in facts["rejected"]
    ]
    return Part(place, facts["rows_read"], facts["rows_read"] - len({r.line for r in rejected}), rejected)


def forget(folder: Path, used: Sequence[Path]) -> None:
    """Remove the parts that no dataset has any more."""
    names = {file.name for place in used for file in (place, _facts(place))}
    for file in folder.iterdir() if folder.is_dir() else ():
        if file.name not in names:
            file.unlink()


def _read_directly(
    connection: "DuckDBPyConnection",
    contract: Contract,
    name: str,
    survey: Survey,
    descriptor: int,
    place: Path,
) -> Part | None:
    """None where DuckDB may have read the file otherwise than the csv module would."""
    columns = [f"c{i}" for i in range(len(survey.header))]
    types = ", ".join(f"'{column}': 'VARCHAR'" for column in columns)
    source = (
        f"read_csv('/proc/self/fd/{descriptor}', {DIALECT}, header=true, columns={{{types}}}, "
        f"max_line_size={sources.LONGEST_FIELD}, ignore_errors=true, store_rejects=true, "
        "rejects_table='unfit', rejects_scan='scanned')"
    )
    cells = {column: f"c{survey.header.index(column)}" for column in contract.clients.columns}
    connection.execute("DROP TABLE IF EXISTS unfit; DROP TABLE IF EXISTS scanned")
    with _draft(place) as draft:
        _copy(connection, columnar.select(contract, cells, columns, survey.tidy, source), draft)
        unfit = connection.execute("SELECT line, error_type, csv_line FROM unfit").fetchall()
        rows, _ = _count(connection, draft)
        ragged = {line: text for line, _, text in unfit}
        plain = {kind for _, kind, _ in unfit} <= SIMPLE_REJECTS
        # the header is a line as well; a blank line, or a newline in a field, shows here
        if not plain or rows + len(ragged) + 1 != survey.lines or survey.first_row in ragged:
            return None
        return _part(connection, contract, name, survey, draft, place, ragged)


def _read_cleaned(
    connection: "DuckDBPyConnection",
    contract: Contract,
    name: str,
    survey: Survey,
    descriptor: int,
    place: Path,
) -> Part:
    columns = [f"c{i}" for i in range(len(survey.header))]
    types = ", ".join(f"'{column}': 'VARCHAR'" for column in ("line", *columns))
    with tempfile.NamedTemporaryFile("w", dir=place.parent, prefix=".", suffix=".tmp", newline="") as copy:
        ragged = _clean(descriptor, survey, copy)
        copy.flush()
        source = (
            f"read_csv({columnar.literal(copy.name)}, {DIALECT}, header=false, columns={{{types}}}, "
            "max_line_size=100000000, new_line='\\n', parallel=false)"
        )
        cells = {column: f"c{survey.header.index(column)}" for column in contract.clients.columns}
        with _draft(place) as draft:
            _copy(connection, columnar.select(contract, cells, ["line", *columns], False, source), draft)
            return _part(connection, contract, name, survey, draft, place, ragged, lines_told=True)


def _clean(descriptor: int, survey: Survey, copy: Any) -> dict[int, str]:
    """Write every row of the right length, its line before it; returns the others by line."""
    ragged: dict[int, str] = {}
    os.lseek(descriptor, 0, os.SEEK_SET)
    with open(descriptor, encoding="utf-8-sig", newline="", closefd=False) as stream:  # noqa: PTH123 - no path
        for number, fields in sources.rows(stream, survey):
            if len(fields) == len(survey.header):
                tables.write_rows(copy, [[str(number), *fields]])
            else:
                ragged[number] = tables.csv_text(fields, []).rstrip("\n")
    return ragged


def _part(
    connection: "DuckDBPyConnection",
    contract: Contract,
    name: str,
    survey: Survey,
    draft: Path,
    place: Path,
    ragged: Mapping[int, str],
    lines_told: bool = False,
) -> Part:
    rows, accepted = _count(connection, draft)
    table = f"read_parquet({columnar.literal(str(draft))})"
    query = f"SELECT file_row_number, raw FROM {table} WHERE NOT ok ORDER BY 1"
    bad = connection.execute(query).fetchall()
    rejected = [
        Rejected(name, line, contracts.ragged(len(next(csv.reader([text]), [])), len(survey.header)), text)
        for line, text in ragged.items()
    ]
    before = sorted(ragged)
    for number, raw in bad:
        fields = [field or "" for field in raw]
        line = int(fields.pop(0)) if lines_told else _line_of(number, before)
        cells = dict(zip(survey.header, fields, strict=True))
        problems = contract.judge(cells).problems
        assert problems, f"{name}, line {line}: judged in two ways"
        as_it_was = tables.csv_text(fields, []).rstrip("\n")
        rejected += [Rejected(name, line, problem, as_it_was) for problem in problems]
    files.sync_file(draft)
    draft.rename(place)
    return Part(place, rows + len(ragged), accepted, sorted(rejected, key=lambda r: r.line or 0))


def _line_of(number: int, ragged: Sequence[int]) -> int:
    """Line of the row with this number (from 0), where a row is a line and the ragged lines are no rows."""
    line = number + 2
    while (moved := number + 2 + bisect_right(ragged, line)) != line:
        line = moved
    return line


def _copy(connection: "DuckDBPyConnection", query: str, place: Path) -> None:
    connection.execute(
        f"COPY ({query}) TO {columnar.literal(str(place))} (FORMAT parquet, COMPRESSION lz4_raw)"
    )


def _count(connection: "DuckDBPyConnection", place: Path) -> tuple[int, int]:
    query = f"SELECT count(*), count(*) FILTER (ok) FROM read_parquet({columnar.literal(str(place))})"
    rows, accepted = connection.execute(query).fetchall()[0]
    return rows, accepted


@contextmanager
def _draft(place: Path) -> Iterator[Path]:
    draft = place.with_name(f".{place.name}.tmp")
    try:
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def _place(contract: Contract, sha256: str, folder: Path) -> Path:
    import duckdb

    told = f"{FORMAT} {duckdb.__version__} {contract.fingerprint} {sha256}"
    return folder / f"{hashlib.sha256(told.encode()).hexdigest()[:24]}.parquet"


def _facts(place: Path) -> Path:
    return place.with_suffix(".json")
