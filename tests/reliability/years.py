"""A year of ticks in one process, mostly idle: whatever grew with them would show."""

import json
import os
import sys
import time
from pathlib import Path

import fullprocess
from attrition import config as configuration
from attrition import generations, releases, stamp
from tests.projects import HEADER, classic_rows

TICKS_A_WEEK = 1_008


def main() -> int:
    """Live so many weeks; print what lies about and what is held after each, as JSON."""
    weeks, arguments = int(sys.argv[1]), sys.argv[2:]
    config = configuration.load(Path(arguments[1]))
    sys.argv = ["fullprocess.py", *arguments, "-q"]
    told = [_week(config, week, sys.argv[1:]) for week in range(weeks)]
    sys.stdout.write(json.dumps(told))
    return 0


def _week(config: configuration.Config, week: int, arguments: list[str]) -> dict[str, float]:
    rows = classic_rows(12, start=100_000 + 100 * week)
    (config.input_folder / "week.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    assert fullprocess.main() == 0
    for shelf in (generations.shelf(config), releases.shelf(config)):
        for folder in shelf.folder.iterdir():
            os.utime(folder, (10**9, 10**9))
    clock = time.process_time()
    idle = sum(stamp.nothing_new(arguments) for _ in range(TICKS_A_WEEK - 1))
    seconds = time.process_time() - clock
    assert idle == TICKS_A_WEEK - 1
    return {
        # the newest reports are kept, a hundred of them
        "files": len([path for path in config.home.rglob("*") if config.reports not in path.parents]),
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
        "megabytes": int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6,
        "history": sum(
            place.stat().st_size for place in (config.history, config.history_summary) if place.exists()
        ),
        "microseconds": 1e6 * seconds / idle,
    }
