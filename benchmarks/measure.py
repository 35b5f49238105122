"""CPU seconds and peak memory of whole commands, taken in turn: the machine's mood falls on all."""

import os
import statistics
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """Median, least and most CPU seconds (user and system) over the runs, and the largest peak in MB."""

    cpu: float
    least: float
    most: float
    peak_mb: float

    def __str__(self) -> str:
        return f"{self.cpu:.3f} s ({self.least:.3f} to {self.most:.3f}), {self.peak_mb:.0f} MB"


def side_by_side(
    commands: Mapping[str, Sequence[str]], runs: int, before: Callable[[str], object] = lambda name: None
) -> dict[str, Cost]:
    """Run the commands in turn, `runs` times after one not counted; `before` readies each run."""
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    peaks = dict.fromkeys(commands, 0.0)
    for turn in range(runs + 1):
        for name, command in commands.items():
            before(name)
            cpu, peak = _cost(command)
            if turn:
                seconds[name].append(cpu)
                peaks[name] = max(peaks[name], peak)
    return {n: Cost(statistics.median(s), min(s), max(s), peaks[n]) for n, s in seconds.items()}


def once(command: Sequence[str]) -> Cost:
    """A command that takes too long to be run again."""
    cpu, peak = _cost(command)
    return Cost(cpu, cpu, cpu, peak)


def table(costs: Mapping[str, Cost], yardstick: str) -> str:
    """A Markdown table: each cost, and how many times the yardstick's CPU it is."""
    rows = [
        f"| {name} | {cost.cpu:.3f} | {cost.least:.3f} to {cost.most:.3f} | {cost.peak_mb:.0f} | "
        f"{cost.cpu / costs[yardstick].cpu:.2f} |"
        for name, cost in costs.items()
    ]
    head = f"| what | CPU s, median | least to most | peak MB | times {yardstick} |\n|---|---|---|---|---|"
    return "\n".join([head, *rows])


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
