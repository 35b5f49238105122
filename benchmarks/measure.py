"""CPU seconds of what is measured, taken in turn: the machine's mood falls on all. One form of table.

Whole commands (`side_by_side`) have a peak memory too; pieces within this process (`within`) have none.
"""

import math
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """Median, least and most CPU seconds (user and system) over the runs, and the largest peak in MB.

    Where no peak was taken it is NaN.
    """

    cpu: float
    least: float
    most: float
    peak_mb: float = math.nan

    def __str__(self) -> str:
        told = f"{figure(self.cpu)} s ({figure(self.least)} to {figure(self.most)})"
        return told if math.isnan(self.peak_mb) else f"{told}, {self.peak_mb:.0f} MB"


def cost(seconds: Sequence[float], peak_mb: float = math.nan) -> Cost:
    return Cost(statistics.median(seconds), min(seconds), max(seconds), peak_mb)


def side_by_side(
    commands: Mapping[str, Sequence[str]],
    runs: int,
    before: Callable[[str], object] = lambda name: None,
    uncounted: int = 1,
) -> dict[str, Cost]:
    """Run the commands in turn, `runs` times after those not counted; `before` readies each run."""
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    peaks = dict.fromkeys(commands, 0.0)
    for turn in range(uncounted + runs):
        for name, command in commands.items():
            before(name)
            cpu, peak = _cost(command)
            if turn >= uncounted:
                seconds[name].append(cpu)
                peaks[name] = max(peaks[name], peak)
    return {name: cost(spent, peaks[name]) for name, spent in seconds.items()}


def within(pieces: Mapping[str, Callable[[], object]], runs: int) -> dict[str, Cost]:
    """CPU of pieces of this process, all its threads, in turn, `runs` times after one not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in pieces}
    for turn in range(1 + runs):
        for name, piece in pieces.items():
            began = time.process_time()
            piece()
            if turn:
                seconds[name].append(time.process_time() - began)
    return {name: cost(spent) for name, spent in seconds.items()}


def once(command: Sequence[str]) -> Cost:
    """A command that takes too long to be run again."""
    cpu, peak = _cost(command)
    return Cost(cpu, cpu, cpu, peak)


def table(costs: Mapping[str, Cost], yardstick: str) -> str:
    """A Markdown table: each cost, and how many times the yardstick's CPU it is."""
    has_peaks = not all(math.isnan(each.peak_mb) for each in costs.values())
    head = [
        "what",
        "CPU s, median",
        "least to most",
        *(["peak MB"] if has_peaks else []),
        f"times {yardstick}",
    ]
    lines = [head, ["---", *["--:"] * (len(head) - 1)]]
    for name, each in costs.items():
        peak = [f"{each.peak_mb:.0f}"] if has_peaks else []
        span = f"{figure(each.least)} to {figure(each.most)}"
        lines.append([name, figure(each.cpu), span, *peak, f"{each.cpu / costs[yardstick].cpu:.2f}"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def growth(what: str, by_size: Mapping[int, Mapping[str, Cost]]) -> str:
    """A Markdown table: the median at each size, the exponent over all, and that of the last step.

    Whatever a command costs before its first row flattens the exponent; the last step has least of that. A
    name that is not measured at all sizes is left out.
    """
    sizes = sorted(by_size)
    names = [name for name in by_size[sizes[0]] if all(name in costs for costs in by_size.values())]
    head = [
        f"CPU s by {what}",
        *(f"{size:,}" for size in sizes),
        "grows with the power",
        "of it the last step",
    ]
    lines = [head, ["---", *["--:"] * (len(head) - 1)]]
    for name in names:
        seconds = [by_size[size][name].cpu for size in sizes]
        powers = exponent(sizes, seconds), exponent(sizes[-2:], seconds[-2:])
        lines.append([name, *map(figure, seconds), *(f"{power:.2f}" for power in powers)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """The k of seconds = c * size ** k: the slope of the logarithms by least squares.

    Raises statistics.StatisticsError where there are fewer than two sizes or they are all the same.
    """
    return statistics.linear_regression([math.log(n) for n in sizes], [math.log(s) for s in seconds]).slope


def figure(value: float) -> str:
    """Three digits that count, without an exponent."""
    if value == 0:
        return "0"
    return f"{value:,.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def _cost(command: Sequence[str]) -> tuple[float, float]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr
    told = process.stderr.read()
    process.stderr.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{told.decode(errors='replace')}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
