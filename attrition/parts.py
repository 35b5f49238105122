"""Parts: one dataset under one contract, judged, its rows as the table has them, as a file on disk.

A cache: all of ingesteddata/parts/ may be deleted at any time, and is made again from the datasets.

A dataset is read by DuckDB where that reads what Python's csv module reads, which is the standard here. Where
it might not (blanks at quotes, newlines in fields, blank lines, mixed line ends), and where a count of lines
shows that it did not, the csv module makes a clean copy first.
"""

import hashlib
import io
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrition import columnar, files, sources, tables
from attrition import contract as contracts
from attrition.contract import Contract, Problem
from attrition.errors import ConfigError
from attrition.sources import Found, Survey, Unreadable

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

# raise it when parts of an older program must not be used
FORMAT = 3
ROWS_AT_ONCE = 5000
DIALECT = "auto_detect=false, delim=',', quote='\"', escape='\"'"
# compressing the rows, or looking for equal ones, would cost more than reading them did
PARQUET = "FORMAT parquet, COMPRESSION uncompressed, DICTIONARY_SIZE_LIMIT 1"
SIMPLE_REJECTS = {"MISSING COLUMNS", "TOO MANY COLUMNS"}


@dataclass(frozen=True)
class Part:
    """`place` holds the rows of the right length, in order: `line`, `ok` and `h` as columnar.select has them.

    `rejects` lists the others, a line for each problem: line, column, code, message and the row as it was.
    """

    place: Path
    rows_read: int
    accepted: int

    @property
    def rows_rejected(self) -> int:
        return self.rows_read - self.accepted

    @property
    def rejects(self) -> Path:
        return self.place.with_suffix(".csv")

    def rejected(self) -> Iterator[tuple[int, Problem, str]]:
        """The rejected rows: line, problem, and the row as it was."""
        with self.rejects.open(encoding="utf-8", newline="") as stream:
            for line, column, code, message, row in tables.read_rows(stream):
                yield int(line), Problem(column, code, message), row


@contextmanager
def engine(memory_limit: str, spill: Path) -> Iterator["DuckDBPyConnection"]:
    """DuckDB in memory, within a limit; what does not fit goes into the folder `spill`."""
    import duckdb

    with (
        duckdb.connect(
            config={
                "memory_limit": memory_limit,
                "temp_directory": str(spill),
                # a second one takes a fifth more CPU for the same rows
                "threads": 1,
                # it makes a join of five values or more after IN, and a join loses the order of the rows
                "disabled_optimizers": "in_clause",
            }
        ) as connection,
        faults(),
    ):
        # where no file was started as a script, it would draw on standard output
        connection.execute("SET enable_progress_bar = false")
        yield connection


@contextmanager
def faults() -> Iterator[None]:
    """A machine's fault in DuckDB's words (a full disk, an unreadable one) as the OSError it was."""
    import duckdb

    try:
        yield
    except duckdb.OutOfMemoryException as fault:
        raise ConfigError(f"ingestion.memory_limit: this is too little. Raise it. ({fault})") from None
    except duckdb.Error as fault:
        number = next((number for number in files.MACHINE_FAULTS if os.strerror(number) in str(fault)), None)
        if number is None:
            raise
        raise OSError(number, os.strerror(number)) from fault


def make(
    connection: "DuckDBPyConnection",
    contract: Contract,
    survey: Survey,
    descriptor: int,
    folder: Path,
    found: Found | None = None,
) -> Part:
    """The part of a dataset that was opened and surveyed; from the folder where it is there already.

    Unreadable where the dataset is no use as a whole, StillWritten where `found` has changed meanwhile.
    """
    if problem := contracts.lacking(contract, survey.header):
        raise Unreadable(problem.code, problem.message, problem.column)
    if part := kept(contract, survey.sha256, folder):
        return part
    place = _place(contract, survey.sha256, folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", suffix=".tmp", dir=folder) as work:
        reading = Reading(connection, contract, survey, descriptor, Path(work))
        with faults():
            part = (reading.direct() if survey.plain else None) or reading.cleaned()
        if found:
            sources.check(found)
        for draft, final in ((part.rejects, place.with_suffix(".csv")), (part.place, place)):
            files.sync_file(draft)
            draft.rename(final)
    part = replace(part, place=place)
    sizes = [part.place.stat().st_size, part.rejects.stat().st_size]
    files.write_json(_facts(place), {"rows_read": part.rows_read, "accepted": part.accepted, "sizes": sizes})
    return part


def kept(contract: Contract, sha256: str, folder: Path) -> Part | None:
    """The part of a content, where it is there already."""
    place = _place(contract, sha256, folder)
    try:
        facts = files.read_json(_facts(place))
        part = Part(place, facts["rows_read"], facts["accepted"])
        whole = facts["sizes"] == [part.place.stat().st_size, part.rejects.stat().st_size]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return part if whole else None


def write_rows(connection: "DuckDBPyConnection", part: Part, place: Path) -> None:
    """The accepted rows of a part as CSV without a header."""
    query = f"SELECT line FROM read_parquet({columnar.literal(str(part.place))}) WHERE ok"
    connection.execute(f"COPY ({query}) TO {columnar.literal(str(place))} ({columnar.CSV}, HEADER false)")


def forget(folder: Path, used: Sequence[Part]) -> None:
    """Remove the parts that no dataset has any more, and what killed runs left."""
    names = {place.name for part in used for place in (part.place, part.rejects, _facts(part.place))}
    for place in folder.iterdir() if folder.is_dir() else ():
        if place.name not in names:
            shutil.rmtree(place) if place.is_dir() else place.unlink()


@dataclass(frozen=True)
class Reading:
    """One dataset being read into a part, in a folder of its own."""

    connection: "DuckDBPyConnection"
    contract: Contract
    survey: Survey
    descriptor: int
    folder: Path

    def direct(self) -> Part | None:
        """None where DuckDB may have read the file otherwise than the csv module would, or gives up on it."""
        import duckdb

        source = (
            f"read_csv('/proc/self/fd/{self.descriptor}', {DIALECT}, header=true, columns={self._types()}, "
            f"max_line_size={sources.LONGEST_FIELD}, ignore_errors=true, store_rejects=true, "
            "rejects_table='unfit', rejects_scan='scanned')"
        )
        self.connection.execute("DROP TABLE IF EXISTS unfit; DROP TABLE IF EXISTS scanned")
        try:
            rows, accepted = self._typed(source, self._columns(), self.survey.marks)
        except duckdb.InvalidInputException:
            # a carriage return inside a line, for one
            return None
        kinds = ", ".join(columnar.literal(kind) for kind in SIMPLE_REJECTS)
        ragged, first, simple = self.connection.execute(
            f"SELECT count(DISTINCT line), min(line), bool_and(error_type IN ({kinds})) FROM unfit"
        ).fetchall()[0]
        # the header is a line as well; a blank line, or a newline in a field, shows here
        whole = rows + ragged + 1 == self.survey.lines and first != self.survey.first_row
        if ragged and not simple or not whole or not self._adds_up(rows):
            return None
        query = "SELECT line, any_value(csv_line) FROM unfit GROUP BY line ORDER BY line"
        self._keep_ragged(self._fetched(query) if ragged else ())
        return self._part(rows, accepted, ragged, lines_told=False)

    def _adds_up(self, rows: int) -> bool:
        """Whether no row ends in one blank cell too many: DuckDB would not tell."""
        if self.survey.commas is None:
            return True
        ragged = "SELECT line, any_value(csv_line) AS text FROM unfit GROUP BY line"
        counted = f"SELECT sum(length(text) - length(replace(text, ',', ''))) FROM ({ragged})"
        elsewhere = self.connection.execute(counted).fetchall()[0][0] or 0
        return (len(self.survey.header) - 1) * (rows + 1) + elsewhere == self.survey.commas

    def cleaned(self) -> Part:
        clean = self.folder / "clean.csv"
        ragged = self._clean(clean)
        types = self._types("line")
        source = (
            f"read_csv({columnar.literal(str(clean))}, {DIALECT}, header=false, columns={types}, "
            "max_line_size=100000000, new_line='\\n', parallel=false)"
        )
        rows, accepted = self._typed(source, ["line", *self._columns()], sources.MARKS)
        return self._part(rows, accepted, ragged, lines_told=True)

    def _columns(self) -> list[str]:
        return [f"c{i}" for i in range(len(self.survey.header))]

    def _types(self, *before: str) -> str:
        return "{" + ", ".join(f"'{column}': 'VARCHAR'" for column in (*before, *self._columns())) + "}"

    def _typed(self, source: str, raw: Sequence[str], marks: frozenset[str]) -> tuple[int, int]:
        """Write the judged rows; how many there are, and how many are accepted."""
        cells = {c: f"c{self.survey.header.index(c)}" for c in self.contract.clients.columns}
        place = columnar.literal(str(self.folder / "rows.parquet"))
        query = columnar.select(self.contract, cells, raw, marks, source)
        self.connection.execute(f"COPY ({query}) TO {place} ({PARQUET})")
        counted = f"SELECT count(*), count(*) FILTER (ok) FROM read_parquet({place})"
        rows, accepted = self.connection.execute(counted).fetchall()[0]
        return rows, accepted

    def _clean(self, clean: Path) -> int:
        """Copy every row of the right length, its line before it; returns how many others there are."""
        ragged = 0
        os.lseek(self.descriptor, 0, os.SEEK_SET)
        with (
            open(self.descriptor, encoding="utf-8-sig", newline="", closefd=False) as stream,  # noqa: PTH123
            clean.open("w", encoding="utf-8", newline="") as copy,
            self._ragged().open("w", encoding="utf-8", newline="") as others,
        ):
            for line, fields in sources.rows(stream, self.survey):
                if len(fields) == len(self.survey.header):
                    tables.write_rows(copy, [[str(line), *fields]])
                else:
                    ragged += 1
                    tables.write_rows(others, [[str(line), _csv_line(fields)]])
        return ragged

    def _ragged(self) -> Path:
        return self.folder / "ragged.csv"

    def _keep_ragged(self, ragged: Iterable[Sequence[Any]]) -> None:
        with self._ragged().open("w", encoding="utf-8", newline="") as stream:
            tables.write_rows(stream, ([str(line), text] for line, text in ragged))

    def _part(self, rows: int, accepted: int, ragged: int, lines_told: bool) -> Part:
        part = Part(self.folder / "rows.parquet", rows + ragged, accepted)
        with part.rejects.open("w", encoding="utf-8", newline="") as stream:
            if part.rows_rejected:
                tables.write_rows(stream, self._rejected(lines_told))
        return part

    def _rejected(self, lines_told: bool) -> Iterator[list[str]]:
        """A line for each problem in the order of the file: of ragged rows, and of those judged unfit."""
        place = columnar.literal(str(self.folder / "rows.parquet"))
        query = f"SELECT file_row_number, line FROM read_parquet({place}) WHERE NOT ok ORDER BY 1"
        with self._ragged().open(encoding="utf-8", newline="") as stream:
            ragged = tables.read_rows(stream)
            waiting, passed = next(ragged, None), 0
            for number, raw in self._fetched(query):
                fields = raw.split(columnar.BETWEEN)
                # a row is a line, and so are the header and each ragged row before it
                line = int(fields.pop(0)) if lines_told else number + 2 + passed
                while waiting and int(waiting[0]) <= line:
                    yield self._told(int(waiting[0]), self._raggedness(waiting[1]), waiting[1])
                    waiting, passed, line = next(ragged, None), passed + 1, line + (not lines_told)
                problems = self.contract.judge(dict(zip(self.survey.header, fields, strict=True))).problems
                if not problems:
                    raise AssertionError(f"line {line} was judged in two ways")
                as_it_was = _csv_line(fields)
                yield from (self._told(line, problem, as_it_was) for problem in problems)
            while waiting:
                yield self._told(int(waiting[0]), self._raggedness(waiting[1]), waiting[1])
                waiting = next(ragged, None)

    def _raggedness(self, text: str) -> Problem:
        fields = next(tables.read_rows(io.StringIO(text, newline="")), [])
        return contracts.ragged(len(fields), len(self.survey.header))

    def _told(self, line: int, problem: Problem, row: str) -> list[str]:
        return [str(line), problem.column, problem.code, problem.message, row]

    def _fetched(self, query: str) -> Iterator[tuple[Any, ...]]:
        result = self.connection.execute(query)
        while batch := result.fetchmany(ROWS_AT_ONCE):
            yield from batch


def _csv_line(fields: Sequence[str]) -> str:
    """A row as CSV; nearly every one is its cells and the commas between them."""
    line = ",".join(fields)
    if line and line.count(",") == len(fields) - 1 and not any(mark in line for mark in '"\r\n'):
        return line
    return tables.csv_text(fields, []).rstrip("\n")


def _place(contract: Contract, sha256: str, folder: Path) -> Path:
    import duckdb

    told = f"{FORMAT} {duckdb.__version__} {contract.fingerprint} {sha256}"
    return folder / f"{hashlib.sha256(told.encode()).hexdigest()[:24]}.parquet"


def _facts(place: Path) -> Path:
    return place.with_suffix(".json")
