"""What ingestions read, set aside and took: files that can be large, counted line by line and not kept.

past = trends.past(generation.path("ingestionmetrics.csv"))
rejections = trends.rejections(generation.path("rejectedrows.csv"))
"""

import csv
import sys
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from attrition import tables

SHOWN_RUNS = 20
# an example is for reading; the message of a long cell is in rejectedrows.csv
LONGEST_EXAMPLE = 300


@dataclass(frozen=True)
class Ingestion:
    """One run of ingestion: the sums over the datasets that were new or changed in it."""

    run: str
    time: str
    datasets: int = 0
    rows_read: int = 0
    rows_added: int = 0
    duplicates: int = 0
    rejected: int = 0
    bytes: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Past:
    """The last ingestions, the newest last, of so many in `total`.

    `places` gives each dataset the place of its last line: the greater, the later it was read.
    """

    ingestions: Sequence[Ingestion]
    total: int
    places: Mapping[str, int]


@dataclass(frozen=True)
class Code:
    """How often rows, and whole datasets, were set aside for one cause, and the first case."""

    code: str
    rows: int
    whole: int
    datasets: int
    example: str


@dataclass(frozen=True)
class Rejections:
    codes: Sequence[Code]
    rows: int
    by_dataset: Mapping[str, str]

    def of(self, dataset: str) -> str:
        """Why rows of a dataset were set aside: how often each code, and the first case; or ""."""
        return self.by_dataset.get(tables.guarded(dataset), "")


def past(metrics: Path) -> Past:
    """From ingestionmetrics.csv, whose lines are in the order of the runs."""
    columns = (
        *("run", "time", "dataset"),
        *("rows_read", "rows_added", "duplicates", "rejected", "bytes", "seconds"),
    )
    last: deque[Ingestion] = deque(maxlen=SHOWN_RUNS)
    total, places = 0, {}
    for place, (run, time, dataset, *figures) in enumerate(_rows(metrics, columns)):
        if not last or last[-1].run != run:
            last.append(Ingestion(run, time))
            total += 1
        last[-1] = _with(last[-1], figures)
        places[dataset] = place
    return Past(list(last), total, places)


def rejections(rejected: Path) -> Rejections:
    """From rejectedrows.csv. A row with several faults is one row, and counts under each of its codes."""
    rows: Counter[tuple[str, str]] = Counter()
    whole: Counter[tuple[str, str]] = Counter()
    first: dict[tuple[str, str], str] = {}
    counted: dict[str, tuple[str, str]] = {}
    before, total = ("", ""), 0
    for dataset, line, code, message in _rows(rejected, ("dataset", "line", "code", "message")):
        case, row = (dataset, code), (dataset, line)
        if case not in first:
            first[case] = (f"line {line}: {message}" if line else message)[:LONGEST_EXAMPLE]
        if not line:
            whole[case] += 1
            continue
        # the lines of a dataset come in order, so the faults of a row stand together
        rows[case] += counted.get(code) != row
        total += before != row
        counted[code] = before = row
    return Rejections(_codes(rows, whole, first), total, _by_dataset(rows + whole, first))


def _with(ingestion: Ingestion, figures: Sequence[str]) -> Ingestion:
    read, added, duplicates, rejected, size = map(int, figures[:-1])
    return replace(
        ingestion,
        datasets=ingestion.datasets + 1,
        rows_read=ingestion.rows_read + read,
        rows_added=ingestion.rows_added + added,
        duplicates=ingestion.duplicates + duplicates,
        rejected=ingestion.rejected + rejected,
        bytes=ingestion.bytes + size,
        seconds=ingestion.seconds + float(figures[-1]),
    )


def _codes(
    rows: Counter[tuple[str, str]], whole: Counter[tuple[str, str]], first: Mapping[tuple[str, str], str]
) -> list[Code]:
    """The most frequent first; whole datasets before all."""
    cases: dict[str, list[str]] = {}
    for dataset, code in first:
        cases.setdefault(code, []).append(dataset)
    codes = [
        Code(
            code,
            sum(rows[dataset, code] for dataset in datasets),
            sum(whole[dataset, code] for dataset in datasets),
            len(datasets),
            f"{datasets[0]}{': ' if whole[datasets[0], code] else ', '}{first[datasets[0], code]}",
        )
        for code, datasets in cases.items()
    ]
    return sorted(codes, key=lambda one: (-one.whole, -one.rows, one.code))


def _by_dataset(cases: Counter[tuple[str, str]], first: Mapping[tuple[str, str], str]) -> dict[str, str]:
    told: dict[str, list[str]] = {}
    examples: dict[str, str] = {}
    for (dataset, code), count in cases.most_common():
        told.setdefault(dataset, []).append(f"{code} {count:,}")
    for (dataset, _), example in first.items():
        examples.setdefault(dataset, example)
    return {dataset: f"{', '.join(codes)} ({examples[dataset]})" for dataset, codes in told.items()}


def _rows(path: Path, columns: Sequence[str]) -> Iterator[list[str]]:
    """The named cells of each row; a cell may be as long as a whole line of a dataset."""
    limit = csv.field_size_limit(sys.maxsize)
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.reader(stream)
            header = next(reader)
            places = [header.index(column) for column in columns]
            for row in reader:
                yield [row[place] for place in places]
    finally:
        csv.field_size_limit(limit)
