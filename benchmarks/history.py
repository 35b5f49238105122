"""A year of ticks in the run history, each with new rows, beside one file that is never shortened."""

import json
import tempfile
from collections.abc import Callable
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

from attrition import chronicle, ledger
from benchmarks import measure
from tests import histories

TICKS = 52_560
READS = 7
APPENDS, APPENDED = 400, 3
ONE_FILE = "in one file"
READERS: dict[str, Callable[[Path], Any]] = {
    "last finished run": lambda place: ledger.last_finished(place, "fullprocess"),
    "the lines there are": ledger.entries,
    "sums over all runs": lambda place: ledger.past(place).whole,
}


def run() -> None:
    _measure(TICKS // 10)


def run_full() -> None:
    _measure(TICKS)


def _measure(ticks: int) -> None:
    minutes = 10 * TICKS // ticks
    lines = [json.dumps(line) for line in chain.from_iterable(histories.ticks(ticks, minutes=minutes))]
    with tempfile.TemporaryDirectory() as folder:
        plain, kept = Path(folder) / "plain.jsonl", Path(folder) / "kept" / "history.jsonl"
        kept.parent.mkdir()
        for line in lines:
            _write(plain, line)
            _write(kept, line)
            # as the ledger does, but for the sync of each line, which a year of lines would wait for
            if kept.stat().st_size > ledger.MOST_BYTES:
                ledger._shorten(kept)
        summary = kept.with_name(ledger.SUMMARY)
        told = f"{_megabytes(kept, summary):.2f} MB shortened, {_megabytes(plain):.2f} MB {ONE_FILE}"
        print(f"{ticks:,} ticks over a year, {len(lines):,} lines, {told}\n")
        for what, read in READERS.items():
            ours, other = f"{what}, shortened", f"{what}, {ONE_FILE}"
            costs = measure.within({ours: partial(read, kept), other: partial(read, plain)}, READS)
            print(f"{measure.table(costs, other)}\n")
        appends = {
            f"{APPENDS} appends, shortened": partial(_append, kept, lines),
            f"{APPENDS} appends, {ONE_FILE}": partial(_append_plain, plain, lines),
        }
        print(f"{measure.table(measure.within(appends, APPENDED), f'{APPENDS} appends, {ONE_FILE}')}\n")
        whole, expected = ledger.past(kept).whole, chronicle.of(ledger.entries(plain))
        counts = [sum(sum(t.statuses.values()) for t in each.stages.values()) for each in (whole, expected)]
        print(f"Runs counted: {counts[0]:,} and {counts[1]:,}.")


def _write(place: Path, line: str) -> None:
    with place.open("a") as stream:
        stream.write(f"{line}\n")


def _append(place: Path, lines: list[str]) -> None:
    """Shortening included, as often as it comes."""
    for line in islice(lines, APPENDS):
        ledger.append(place, json.loads(line))


def _append_plain(place: Path, lines: list[str]) -> None:
    most, ledger.MOST_BYTES = ledger.MOST_BYTES, 1 << 60
    try:
        _append(place, lines)
    finally:
        ledger.MOST_BYTES = most


def _megabytes(*places: Path) -> float:
    return sum(place.stat().st_size for place in places) / 1e6
