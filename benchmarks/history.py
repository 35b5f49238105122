"""A year of ticks in the run history, each with new rows, beside one file that is never shortened."""

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

from attrition import chronicle, ledger
from tests import histories

TICKS = 52_560
READS = 15
APPENDS = 400
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
        print(f"{ticks:,} ticks over a year, {len(lines):,} lines\n")
        print("| | shortened | one file |\n|---|---|---|")
        _row("MB on disk", _megabytes(kept, summary), _megabytes(plain))
        for what, read in READERS.items():
            _row(f"ms, {what}", _ms(partial(read, kept)), _ms(partial(read, plain)))
        _row("CPU ms of an append, mean", _append(kept, lines), _append_plain(plain, lines))
        whole, expected = ledger.past(kept).whole, chronicle.of(ledger.entries(plain))
        counts = [sum(sum(t.statuses.values()) for t in each.stages.values()) for each in (whole, expected)]
        print(f"\nRuns counted: {counts[0]:,} and {counts[1]:,}.")


def _write(place: Path, line: str) -> None:
    with place.open("a") as stream:
        stream.write(f"{line}\n")


def _append(place: Path, lines: list[str]) -> float:
    """Shortening included, as often as it comes."""
    entries = [json.loads(line) for line in islice(lines, APPENDS)]
    begin = time.process_time()
    for entry in entries:
        ledger.append(place, entry)
    return 1000 * (time.process_time() - begin) / APPENDS


def _append_plain(place: Path, lines: list[str]) -> float:
    most, ledger.MOST_BYTES = ledger.MOST_BYTES, 1 << 60
    try:
        return _append(place, lines)
    finally:
        ledger.MOST_BYTES = most


def _ms(read: Callable[[], Any]) -> float:
    """The median of CPU milliseconds."""
    taken = []
    for _ in range(READS):
        begin = time.process_time()
        read()
        taken.append(time.process_time() - begin)
    return 1000 * statistics.median(taken)


def _megabytes(*places: Path) -> float:
    return sum(place.stat().st_size for place in places) / 1e6


def _row(what: str, shortened: float, plain: float) -> None:
    print(f"| {what} | {shortened:.2f} | {plain:.2f} |")
