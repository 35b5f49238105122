"""What a prediction over HTTP costs beside an empty route and a plain Flask app that calls the pickled model.

wrk asks each of them in turn in one run: 2 workers, 8 connections, gunicorn as it is shipped.
"""

import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.tick import CHECKOUT, FOLDERS

PORT, WORKERS, CONNECTIONS, ROUNDS = 8731, 2, 8, 5
NUMBERS = [f"figure_{number:02d}" for number in range(16)]
KINDS = [f"kind_{number}" for number in range(4)]
MODELS = {"a glass box": ["logistic", "spline", "ebm"], "trees": ["constant", "boosting"]}
MANY = 10_000
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Load:
    """What wrk saw, and the CPU that the workers spent on each request."""

    per_second: float
    p99_ms: float
    cpu_us: float


def run(seconds: int = 4, growth: int = 20_000) -> None:
    if shutil.which("wrk") is None:
        print("wrk is not installed (Debian, Ubuntu: apt-get install wrk): nothing is measured.")
        return
    with tempfile.TemporaryDirectory() as folder:
        for name, candidates in MODELS.items():
            _measure(Path(folder) / candidates[-1], name, candidates, seconds, growth)


def run_full() -> None:
    run(seconds=10, growth=100_000)


def _measure(home: Path, name: str, candidates: list[str], seconds: int, growth: int) -> None:
    row = _project(home, candidates)
    one = json.dumps({"instances": [row]})
    (home / "one.lua").write_text(
        f"wrk.method='POST' wrk.headers['Content-Type']='application/json' wrk.body=[[{one}]]"
    )
    # name: what gunicorn serves, and the query
    asked = {
        "an empty Flask route": ("benchmarks.peers:empty()", ""),
        f"POST /prediction, {name}": ("wsgi:app", ""),
        f"POST /prediction?explain=3, {name}": ("wsgi:app", "?explain=3"),
        "a Flask app with the pickled model": ("benchmarks.peers:plain()", ""),
    }
    loads: dict[str, list[Load]] = {each: [] for each in asked}
    for _ in range(ROUNDS):
        for each, (app, query) in asked.items():
            with _serving(home, app) as pids:
                loads[each].append(_wrk(home, query, seconds, pids))
    print(_table(loads), "\n")
    _report_memory(home, growth)
    _report_many(home, name, row)


def _table(loads: Mapping[str, list[Load]]) -> str:
    head = (
        "| what | requests/s, median | least to most | times empty | p99 ms | CPU us |\n" + "|---" * 6 + "|"
    )
    yardstick = statistics.median(load.per_second for load in next(iter(loads.values())))
    lines = []
    for name, found in loads.items():
        speeds = [load.per_second for load in found]
        median = statistics.median(speeds)
        lines.append(
            f"| {name} | {median:.0f} | {min(speeds):.0f} to {max(speeds):.0f} | {median / yardstick:.2f} | "
            f"{statistics.median(load.p99_ms for load in found):.1f} | "
            f"{statistics.median(load.cpu_us for load in found):.0f} |"
        )
    return "\n".join([head, *lines])


def _report_memory(home: Path, growth: int) -> None:
    """Resident memory of a worker: at rest beside the empty app, and before and after many requests."""
    with _serving(home, "benchmarks.peers:empty()") as pids:
        _ask(home, 200)
        empty = _resident(pids)
    with _serving(home, "wsgi:app") as pids:
        _ask(home, 5000)
        before = _resident(pids)
        _ask(home, growth)
        after = _resident(pids)
    print(
        f"A worker has {before:.1f} MB, an empty one with numpy {empty:.1f} MB ({before / empty:.2f} times); "
        f"after {growth:,} requests {after:.1f} MB ({after / before - 1:+.1%}).\n"
    )


def _report_many(home: Path, name: str, row: Mapping[str, Any]) -> None:
    """CPU of ten thousand rows in one request beside reading and writing the same two bodies as JSON."""
    body = json.dumps({"instances": [{**row, "corporation": f"client {n}"} for n in range(MANY)]}).encode()
    with _serving(home, "wsgi:app", workers=1) as pids:
        _post(body)
        before = _cpu(pids)
        answers = [_post(body) for _ in range(ROUNDS)]
        ours = (_cpu(pids) - before) / ROUNDS
    answer = json.loads(answers[-1])
    assert len(answer["predictions"]) == MANY
    spent = []
    for _ in range(ROUNDS):
        started = time.process_time()
        json.loads(body)
        json.dumps(answer)
        spent.append(time.process_time() - started)
    alone = statistics.median(spent)
    print(
        f"{MANY:,} rows in one request, {name}: {ours * 1000:.0f} ms of CPU; json.loads and json.dumps of "
        f"the same bodies {alone * 1000:.0f} ms ({ours / alone:.1f} times).\n"
    )


def _project(home: Path, candidates: list[str]) -> dict[str, Any]:
    """A project of 20 columns with a live release; a row of it."""
    header = ",".join(["corporation", *NUMBERS, *KINDS, "exited"])
    for folder, name, rows, seed in (
        ("sourcedata", "a.csv", 4000, 1),
        ("testdata", "t.csv", 1500, 2),
        ("practicedata", "p.csv", 10, 3),
    ):
        (home / folder).mkdir(parents=True)
        (home / folder / name).write_text("\n".join([header, *_rows(rows, seed)]) + "\n")
    settings = {
        **FOLDERS,
        "ingestion": {"settle_seconds": 0},
        "clients": {"numeric": NUMBERS, "categorical": KINDS},
        "training": {"candidates": candidates},
        "api": {"max_body_bytes": 32 * 1024 * 1024, "per_minute": 1_000_000},
    }
    (home / "config.json").write_text(json.dumps(settings))
    command = [sys.executable, str(CHECKOUT / "fullprocess.py"), "--config", str(home / "config.json")]
    environment = {**os.environ, "ATTRITION_PACKAGE_CHECK": "off"}
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    cells = _rows(1, 2)[0].split(",")[:-1]
    named = dict(zip(header.split(","), cells, strict=False))
    return {column: float(cell) if column in NUMBERS else cell for column, cell in named.items()}


def _rows(count: int, seed: int) -> list[str]:
    chance, rows = random.Random(seed), []
    for number in range(count):
        figures = [chance.gauss(50, 15) for _ in NUMBERS]
        kinds = [chance.choice("abcde") for _ in KINDS]
        odds = -2 + (50 - figures[0]) / 20 + (50 - figures[1]) / 25 * (kinds[0] == "a") + (figures[2] > 60)
        left = int(chance.random() < 1 / (1 + 2.718281828**-odds))
        cells = [f"client{seed}-{number}", *(f"{figure:.2f}" for figure in figures), *kinds, left]
        rows.append(",".join(map(str, cells)))
    return rows


@contextmanager
def _serving(home: Path, app: str, workers: int = WORKERS) -> Iterator[list[int]]:
    """gunicorn as it is shipped, with another app where one is named; the workers' process ids."""
    environment = {
        **os.environ,
        "ATTRITION_CONFIG": str(home / "config.json"),
        "ATTRITION_BIND": f"127.0.0.1:{PORT}",
        "WEB_CONCURRENCY": str(workers),
        "BENCHMARK_MODEL": str(home / "production_deployment" / "trainedmodel.pkl"),
    }
    command = [sys.executable, "-m", "gunicorn", "--config", "gunicorn.conf.py", app]
    log = home / "server.log"
    with log.open("wb") as stream:
        started = subprocess.Popen(command, cwd=CHECKOUT, env=environment, stdout=stream, stderr=stream)
    try:
        _wait_for_it()
        yield [int(pid) for pid in re.findall(r"Booting worker with pid: (\d+)", log.read_text())]
    finally:
        started.terminate()
        started.wait()


def _wait_for_it() -> None:
    for _ in range(600):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{PORT}/healthz", timeout=5).close()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("the server did not start")


def _wrk(home: Path, query: str, seconds: int, pids: list[int]) -> Load:
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", "--latency", "-s", str(home / "one.lua")]
    url = f"http://127.0.0.1:{PORT}/prediction{query}"
    subprocess.run([*command, "-d1s", url], check=True, capture_output=True)
    before = _cpu(pids)
    done = subprocess.run([*command, f"-d{seconds}s", url], check=True, capture_output=True, text=True)
    spent = _cpu(pids) - before
    assert "Non-2xx" not in done.stdout, done.stdout
    figure = {unit: scale for unit, scale in (("us", 0.001), ("ms", 1.0), ("s", 1000.0))}
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", done.stdout)
    speed = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    count = re.search(r"(\d+) requests in", done.stdout)
    assert p99 and speed and count
    return Load(float(speed[1]), float(p99[1]) * figure[p99[2]], spent / int(count[1]) * 1e6)


def _ask(home: Path, count: int) -> None:
    """At least so many requests, from eight connections."""
    done = 0
    while done < count:
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", "-d2s", "-s", str(home / "one.lua")]
        url = f"http://127.0.0.1:{PORT}/prediction"
        told = subprocess.run([*command, url], check=True, capture_output=True, text=True).stdout
        found = re.search(r"(\d+) requests in", told)
        assert found
        done += int(found[1])


def _post(body: bytes) -> bytes:
    headers = {"Content-Type": "application/json"}
    asked = urllib.request.Request(f"http://127.0.0.1:{PORT}/prediction", body, headers)
    with urllib.request.urlopen(asked) as answer:
        content: bytes = answer.read()
        return content


def _cpu(pids: list[int]) -> float:
    """Seconds of user and system time that the processes have spent."""
    spent = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        spent += int(fields[11]) + int(fields[12])
    return spent / TICKS


def _resident(pids: list[int]) -> float:
    """Megabytes of a worker, the mean over all."""
    found = [re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text()) for pid in pids]
    return sum(int(each[1]) for each in found if each) / len(pids) / 1024
