"""What more workers bring: training on the shipped data, and scoring a million rows.

One process, two, and dask with two workers must give the same bytes. Wall time is what a person waits,
CPU that of all processes together. Where a cluster's packages are not installed (make cluster), dask is
left out.
"""

import contextlib
import hashlib
import importlib.util
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from attrition import candidates, config, generations, parallel, scorecard, translation
from attrition import contract as contracts
from attrition.config import Config
from attrition.settings import Parallel, Risk

CHECKOUT = Path(__file__).resolve().parent.parent
SHIPPED = ("sourcedata", "testdata", "practicedata", "config.json", "plays.csv")
WORKERS = 2
RUNS = 3
MILLION = 1_000_000
SECONDS = 60


@dataclass(frozen=True)
class Cost:
    wall: float
    cpu: float
    result: str


@dataclass(frozen=True)
class Started:
    address: str
    workers: tuple[int, ...]

    def cpu(self) -> float:
        """CPU seconds of all workers so far."""
        return sum(_cpu_of(pid) for pid in self.workers)


def run() -> None:
    with tempfile.TemporaryDirectory() as folder, _cluster(Path(folder)) as started:
        home = Path(folder) / "project"
        home.mkdir()
        for name in SHIPPED:
            place = CHECKOUT / name
            (shutil.copytree if place.is_dir() else shutil.copy)(place, home / name)
        _script(home, "ingestion.py", {})
        kinds = _kinds(started)
        print(f"Training on the shipped data, {RUNS} runs in turn; the least:\n")
        _print({name: [_training(home, each, started) for _ in range(RUNS)] for name, each in kinds.items()})
        loaded = config.load(home / "config.json", {})
        for name, card, table in _cards(loaded):
            print(f"\nScoring {MILLION:,} rows by {name}, workers started; the least of {RUNS}:\n")
            _print({kind: _scoring(card, table, each, started) for kind, each in kinds.items()})


def _kinds(started: Started | None) -> dict[str, dict[str, Any]]:
    kinds: dict[str, dict[str, Any]] = {
        "serial": {"backend": "serial"},
        f"loky, {WORKERS} workers": {"backend": "loky", "workers": WORKERS},
    }
    if started:
        kinds[f"dask, {WORKERS} workers"] = {"backend": "dask", "address": started.address}
    return kinds


def _print(costs: Mapping[str, list[Cost]]) -> None:
    assert len({cost.result for each in costs.values() for cost in each}) == 1, "the bytes differ"
    one = min(cost.wall for cost in costs["serial"])
    print("| workers | wall s | CPU s | wall, times serial |\n|---|--:|--:|--:|")
    for name, each in costs.items():
        wall, cpu = min(cost.wall for cost in each), min(cost.cpu for cost in each)
        print(f"| {name} | {wall:.2f} | {cpu:.2f} | {wall / one:.2f} |", flush=True)


def _training(home: Path, settings: Mapping[str, Any], started: Started | None) -> Cost:
    before, there, clock = _children(), started.cpu() if started else 0.0, time.monotonic()
    _script(home, "training.py", settings)
    wall = time.monotonic() - clock
    elsewhere = started.cpu() - there if started else 0.0
    model = (home / "models" / "trainedmodel.pkl").read_bytes()
    return Cost(wall, _children() - before + elsewhere, hashlib.sha256(model).hexdigest())


def _script(home: Path, script: str, settings: Mapping[str, Any]) -> None:
    place = home / "config.json"
    written = json.loads(place.read_text()) | {"parallel": settings}
    place.write_text(json.dumps(written))
    command = [sys.executable, str(CHECKOUT / script), "-q", "--config", str(place)]
    subprocess.run(command, check=True)


def _cards(loaded: Config) -> Iterator[tuple[str, scorecard.Scorecard, pd.DataFrame]]:
    """The winner on the shipped data, and boosted trees, with a million rows like those they know."""
    contract = contracts.compiled(loaded.clients)
    table = generations.table(contract, generations.require_current(loaded))
    rows = pd.concat([table] * (MILLION // len(table)), ignore_index=True)
    yield "its winner, a glass box", scorecard.load(loaded.scorecard.read_bytes()), rows
    outcome = contracts.outcomes(loaded.clients, table)
    known, outcome = table[~np.isnan(outcome)].reset_index(drop=True), outcome[~np.isnan(outcome)]
    fit = loaded.clients, known, outcome, np.arange(len(known)), 0, "boosting"
    model = candidates.fitted({"boosting": 1.0}, *fit)
    facts = translation.from_model(model, contract, known, outcome, 0.3, Risk())
    yield "boosted trees", scorecard.load(json.dumps(facts).encode()), rows


def _scoring(
    card: scorecard.Scorecard, table: pd.DataFrame, settings: Mapping[str, Any], started: Started | None
) -> list[Cost]:
    found = []
    with parallel.crew(Parallel.model_validate(dict(settings))) as crew:
        # not counted: workers start, and import what they need
        card.log_odds(table, crew)
        for _ in range(RUNS):
            here, there, clock = time.process_time(), _workers(started), time.monotonic()
            log_odds = card.log_odds(table, crew)
            wall = time.monotonic() - clock
            cpu = time.process_time() - here
            cpu += sum(seconds - there.get(pid, 0.0) for pid, seconds in _workers(started).items())
            found.append(Cost(wall, cpu, hashlib.sha256(log_odds.tobytes()).hexdigest()))
    return found


def _workers(started: Started | None) -> dict[int, float]:
    """CPU seconds of each worker of the cluster, and of each living child of this process."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return {pid: _cpu_of(pid) for pid in {*map(int, children), *(started.workers if started else ())}}


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def _cluster(folder: Path) -> Iterator[Started | None]:
    """A scheduler and workers on loopback, or None without the packages for them."""
    if not importlib.util.find_spec("distributed"):
        print("dask is left out: its packages are not installed (make cluster).\n")
        yield None
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address, environment = f"tcp://127.0.0.1:{port}", {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    programs = [["distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port)]]
    programs += [["distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny"]] * WORKERS
    with (folder / "cluster.log").open("wb") as log, contextlib.ExitStack() as stack:
        processes = []
        for program in programs:
            command = [sys.executable, "-m", *program, "--no-dashboard"]
            process = stack.enter_context(
                subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
            )
            stack.callback(process.kill)
            processes.append(process)
        _wait_for_workers(folder / "cluster.log")
        yield Started(address, tuple(process.pid for process in processes[1:]))


def _wait_for_workers(log: Path) -> None:
    deadline = time.monotonic() + SECONDS
    while log.read_text().count("Registered to") < WORKERS:
        if time.monotonic() > deadline:
            raise RuntimeError(f"no cluster started:\n{log.read_text()}")
        time.sleep(0.1)
