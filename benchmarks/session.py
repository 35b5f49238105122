"""The benchmarks there are, each run in a process of its own, and how they ended."""

import importlib
import multiprocessing
import os
import platform
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

BENCHMARKS = {
    "tick": "what an idle tick costs beside starting Python",
    "ingestion": "what ingestion costs beside pandas, Polars and DuckDB, and for one dataset more",
    "training": "what a training costs beside a search with scikit-learn",
    "bulk": "scores and reasons of whole tables beside predict_proba, a plain loop and shap",
    "api": "what a prediction over HTTP costs beside an empty route, plain Flask, MLflow and BentoML",
    "report": "what report, twin, PDF and list cost beside drawing their plots alone",
    "driftreport": "what telling and drawing drift costs beside Evidently",
    "risklist": "what the risk list costs beside reading its table, and a year of lists kept",
    "large": "peak memory and CPU of each stage on millions of rows, and every row scored with reasons",
    "history": "a year of ticks in the run history: size, milliseconds to read, cost of an append",
    "parallel": "what more workers bring: training, and scoring a million rows",
    "models": "accuracy, calibration and CPU of the whole procedure beside its peers, on churn data",
    "promotion": "how often a worse, an equal and a better challenger is promoted, beside other rules",
    "windows": "which rows are trained on where nothing changed, and after a change",
    "inputs": "how often incoming rows raise an alarm, stable and shifted, beside the usual rules",
    "risk": "how often the watch over the live release's error alarms in vain, and how soon when it must",
    "streams": "drift monitors on two real streams, beside never and always training again",
    "year": "a simulated year of the whole pipeline: alarms, trainings, releases and cumulative log loss",
}
# minutes each, and nothing smaller would say anything
NOT_SHORT = {"large", "parallel", "models"}
# the function of a benchmark that each size calls; where it has none of that name, `run`
SIZES = {"short": "run_short", "usual": "run", "full": "run_full"}


@dataclass(frozen=True)
class Ended:
    """How a benchmark ended, 0 being well, and what it took with all its processes."""

    name: str
    status: int
    wall: float
    cpu: float


def selected(names: Sequence[str], size: str) -> list[str]:
    """Those named, or all that are of this size."""
    return list(names) or [name for name in BENCHMARKS if size != "short" or name not in NOT_SHORT]


def measured(name: str, size: str, package: str = "benchmarks") -> Ended:
    """Run a benchmark in a process of its own: no other one pays for what it imports, or for its fault."""
    print(f"\n## {name}: {BENCHMARKS.get(name, name)}\n", flush=True)
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_run, args=(f"{package}.{name}", size), name=name)
    wall, cpu = time.monotonic(), _cpu_of_children()
    process.start()
    process.join()
    end = Ended(name, process.exitcode or 0, time.monotonic() - wall, _cpu_of_children() - cpu)
    if end.status:
        print(f"\n{name} failed with status {end.status}; why stands on standard error.", flush=True)
    return end


def told(ends: Sequence[Ended]) -> str:
    lines = ["| benchmark | wall s | CPU s | ended |", "|---|--:|--:|---|"]
    for end in ends:
        ended = f"failed, status {end.status}" if end.status else "well"
        lines.append(f"| {end.name} | {end.wall:.0f} | {end.cpu:.0f} | {ended} |")
    lines.append(f"| all | {sum(end.wall for end in ends):.0f} | {sum(end.cpu for end in ends):.0f} | |")
    return "\n".join(lines)


def machine() -> str:
    """Date, Python, cores, and how many processes wanted one of them over 1, 5 and 15 minutes."""
    load = " ".join(f"{each:.2f}" for each in os.getloadavg())
    when = f"{datetime.now(UTC):%Y-%m-%dT%H:%MZ}, Python {platform.python_version()}, {platform.machine()}"
    return f"{when}, {os.cpu_count()} cores, load {load}"


def _run(module: str, size: str) -> None:
    benchmark = importlib.import_module(module)
    getattr(benchmark, SIZES[size], benchmark.run)()


def _cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
