"""Run the benchmarks, all or those named, and print their tables.

Example: python -m benchmarks
         python -m benchmarks tick
         python -m benchmarks ingestion --full
"""

import argparse
import importlib
import platform
import sys
from datetime import UTC, datetime

BENCHMARKS = {
    "tick": "what an idle tick costs beside starting Python",
    "models": "accuracy, calibration and CPU of the whole procedure beside its peers, on churn data",
    "promotion": "how often a worse, an equal and a better challenger is promoted, beside other rules",
    "windows": "which rows are trained on where nothing changed, and after a change",
    "inputs": "how often incoming rows raise an alarm, stable and shifted, beside the usual rules",
    "risklist": "what the risk list costs beside reading its table, and a year of lists kept",
    "risk": "how often the watch over the live release's error alarms in vain, and how soon when it must",
    "streams": "drift monitors on two real streams, beside never and always training again",
    "year": "a simulated year of the whole pipeline: alarms, trainings, releases and cumulative log loss",
    "history": "a year of ticks in the run history: size, milliseconds to read, cost of an append",
    "report": "what report, twin, PDF and list cost beside drawing their plots alone",
    "parallel": "what more workers bring: training, and scoring a million rows",
    "api": "what a prediction over HTTP costs beside an empty route, plain Flask, MLflow and BentoML",
    "ingestion": "what ingestion costs beside pandas, Polars and DuckDB, and for one dataset more",
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(BENCHMARKS)}; all by default")
    parser.add_argument("--full", action="store_true", help="at full size, where a benchmark has one")
    options = parser.parse_args()
    names = options.names or list(BENCHMARKS)
    if unknown := [name for name in names if name not in BENCHMARKS]:
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are: {', '.join(BENCHMARKS)}")
    print(f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {platform.machine()}")
    for name in names:
        print(f"\n## {name}: {BENCHMARKS[name]}\n")
        benchmark = importlib.import_module(f"benchmarks.{name}")
        getattr(benchmark, "run_full" if options.full else "run", benchmark.run)()
    return 0


if __name__ == "__main__":
    sys.exit(main())
