"""The table of what was tried: printed at the end of the tests, and kept in a file to quote from."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.reliability import attempts
from tests.reliability.attempts import Server

FIGURES = "reliability"
COLUMNS = ("harness", "tried on", "points", "states or runs", "failures")

Tell = Callable[..., None]


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with attempts.server() as started:
        yield started


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Tell:
    """Put a line into the table."""

    def line(harness: str, on: str, points: int, states: int, failures: int) -> None:
        record_property(FIGURES, [harness, on, points, states, failures])

    return line


def pytest_terminal_summary(terminalreporter: Any) -> None:
    lines = [
        figures
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, ())
        for name, figures in report.user_properties
        if name == FIGURES
    ]
    if not lines:
        return
    table = [f"| {' | '.join(COLUMNS)} |", "|---|---|---:|---:|---:|"]
    table += [
        f"| {' | '.join(f'{cell:,}' if isinstance(cell, int) else cell for cell in line)} |"
        for line in sorted(lines)
    ]
    place = Path(tempfile.gettempdir()) / "attrition-reliability.md"
    place.write_text("\n".join(table) + "\n")
    terminalreporter.section("what was tried (also in " + str(place) + ")")
    terminalreporter.write_line("\n".join(table))
