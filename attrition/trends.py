"""How things went: ingestions and rejected rows, counted line by line; figures over all runs, day by day.

past = trends.past(generation.path("ingestionmetrics.csv"))
rejections = trends.rejections(generation.path("rejectedrows.csv"))
courses = trends.courses(ledger.past(config.history).whole)
courses = trends.run_by_run(ledger.entries(config.history))
"""

import csv
import sys
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from attrition import chronicle, tables
from attrition.chronicle import Chronicle, Point

SHOWN_RUNS = 20
MOST_RUNS = 50
# an example is for reading; the message of a long cell is in rejectedrows.csv
LONGEST_EXAMPLE = 300


@dataclass(frozen=True)
class Followed:
    """A figure to follow over all runs: of which stage, and the ends of its interval where it has one.

    Without a figure it is the seconds of the stage's runs.
    """

    title: str
    stage: str
    figure: str = ""
    ends: tuple[str, str] | None = None
    unit: str = ""


LIVE_F1 = "live_score.figures.f1"
FOLLOWED = (
    Followed("F1 on the test data", "scoring", "f1", ("f1_low", "f1_high")),
    Followed("F1 on new rows", "fullprocess", f"{LIVE_F1}.value", (f"{LIVE_F1}.low", f"{LIVE_F1}.high")),
    Followed("clients at high risk", "reporting", "bands.high"),
    Followed("clients at medium risk", "reporting", "bands.medium"),
    Followed("clients at low risk", "reporting", "bands.low"),
    Followed("rows", "diagnostics", "rows"),
    Followed("missing values", "diagnostics", "missing.percent", unit="%"),
    Followed("time of training", "training", unit=" s"),
    Followed("time of a whole run", "fullprocess", unit=" s"),
)


@dataclass(frozen=True)
class Course:
    """A figure by period ("2026-03-01", or "2026-02" where only its month is known), the oldest first.

    A value is that of the period's last run, `low` and `high` its interval; of seconds it is the mean,
    between the shortest and the longest run. Without an interval `low` and `high` are the value itself.
    """

    title: str
    unit: str
    periods: Sequence[str]
    values: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


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


def courses(whole: Chronicle) -> list[Course]:
    """The figures of FOLLOWED that any run had."""
    found = (_course(whole, followed) for followed in FOLLOWED)
    return [course for course in found if course.periods]


def run_by_run(history: Iterable[Mapping[str, Any]]) -> list[Course]:
    """The same over the last runs of the history, each at the time it started: for the first few days."""
    runs: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for entry in history:
        runs.setdefault(entry["started"], {}).setdefault(entry["stage"], []).append(entry)
    tallies = {
        started: {stage: chronicle.tally(lines) for stage, lines in stages.items()}
        for started, stages in runs.items()
    }
    return [_last_runs(course) for course in courses(Chronicle(tallies))]


def _last_runs(course: Course) -> Course:
    last = slice(-MOST_RUNS, None)
    return replace(
        course,
        periods=course.periods[last],
        values=course.values[last],
        low=course.low[last],
        high=course.high[last],
    )


def _course(whole: Chronicle, followed: Followed) -> Course:
    if not followed.figure:
        points = chronicle.durations(whole, followed.stage)
        spreads = [(point.spread.mean, point.spread.least, point.spread.most) for point in points]
        told = [tuple(milliseconds / 1000 for milliseconds in spread) for spread in spreads]
    else:
        points = chronicle.course(whole, followed.stage, followed.figure)
        ends = [_last(chronicle.course(whole, followed.stage, end)) for end in followed.ends or ()]
        told = [(at := point.spread.last, *_around(point.period, at, ends)) for point in points]
    values, low, high = zip(*told, strict=True) if told else ((), (), ())
    return Course(followed.title, followed.unit, [point.period for point in points], values, low, high)


def _last(points: Sequence[Point]) -> dict[str, float]:
    return {point.period: point.spread.last for point in points}


def _around(period: str, value: float, ends: Sequence[Mapping[str, float]]) -> tuple[float, float]:
    low, high = (end.get(period, value) for end in ends) if ends else (value, value)
    return low, high


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
