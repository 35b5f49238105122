"""What a prediction over HTTP costs beside an empty route and other ways to serve the pickled model.

wrk asks each of them in turn in one run: 2 workers, 8 connections. The other ways are a plain Flask app under
gunicorn as the API has it, MLflow and BentoML (benchmarks/servers.py).
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
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from benchmarks import environments, servers
from benchmarks.measure import figure
from benchmarks.servers import Server
from benchmarks.tick import CHECKOUT, FOLDERS

CONNECTIONS, ROUNDS = 8, 5
NUMBERS = [f"figure_{number:02d}" for number in range(16)]
KINDS = [f"kind_{number}" for number in range(4)]
MODELS = {"a glass box": ["logistic", "spline", "ebm"], "trees": ["constant", "boosting"]}
MANY = 10_000
EMPTY = "an empty Flask route"
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Load:
    """What wrk saw, and the CPU seconds that the server's processes spent on a thousand requests."""

    per_second: float
    p99_ms: float
    cpu: float


def run(
    seconds: int = 4, growth: int = 20_000, rounds: int = ROUNDS, models: Sequence[str] = tuple(MODELS)
) -> None:
    if shutil.which("wrk") is None:
        print("wrk is not installed (Debian, Ubuntu: apt-get install wrk): nothing is measured.")
        return
    missing = {name: environments.missing(name) for name in servers.OTHERS}
    for why in filter(None, missing.values()):
        print(f"{why}\n")
    others = [name for name, why in missing.items() if why is None]
    with tempfile.TemporaryDirectory() as folder:
        for name in models:
            _measure(Path(folder) / MODELS[name][-1], name, others, seconds, growth, rounds)


def run_short() -> None:
    run(seconds=2, growth=5_000, rounds=3, models=["a glass box"])


def run_full() -> None:
    run(growth=100_000)


def _measure(home: Path, name: str, others: list[str], seconds: int, growth: int, rounds: int) -> None:
    row = _project(home, MODELS[name])
    asked = {
        EMPTY: servers.gunicorn(home, "benchmarks.peers:empty()"),
        f"POST /prediction, {name}": servers.gunicorn(home, "wsgi:app"),
        f"POST /prediction?explain=3, {name}": servers.gunicorn(home, "wsgi:app", "?explain=3"),
        "a Flask app with the pickled model": servers.gunicorn(home, "benchmarks.peers:plain()"),
        **{f"{other} with the same model": servers.OTHERS[other](home) for other in others},
    }
    loads: dict[str, list[Load]] = {each: [] for each in asked}
    for _ in range(rounds):
        for each, server in asked.items():
            loads[each].append(_load(server, row, seconds))
    print(f"{_table(loads)}\n", flush=True)
    _report_memory(home, row, growth)
    _report_many(home, name, row)


def _table(loads: Mapping[str, list[Load]]) -> str:
    """CPU as in the other tables; beside it the medians of requests and p99."""
    head = [
        *("CPU s by 1,000 requests", "CPU s, median", "least to most", "times empty"),
        *("requests/s", "times empty", "p99 ms", "times empty"),
    ]
    lines = [head, ["---", *["--:"] * (len(head) - 1)]]
    empty = _medians(loads[EMPTY])
    for name, found in loads.items():
        median, spent = _medians(found), [load.cpu for load in found]
        lines.append(
            [
                name,
                figure(median.cpu),
                f"{figure(min(spent))} to {figure(max(spent))}",
                f"{median.cpu / empty.cpu:.2f}",
                f"{median.per_second:.0f}",
                f"{median.per_second / empty.per_second:.3f}",
                f"{median.p99_ms:.1f}",
                f"{median.p99_ms / empty.p99_ms:.2f}",
            ]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _medians(loads: Sequence[Load]) -> Load:
    return Load(*(statistics.median(figures) for figures in zip(*map(astuple, loads), strict=True)))


def _report_memory(home: Path, row: Mapping[str, Any], growth: int) -> None:
    """Resident memory of a worker: at rest beside the empty app, and before and after many requests."""
    empty, ours = servers.gunicorn(home, "benchmarks.peers:empty()"), servers.gunicorn(home, "wsgi:app")
    body = _body(ours, row)
    with servers.serving(empty, body) as pid:
        _ask(empty, body, 200)
        least = _resident(servers.workers(pid))
    with servers.serving(ours, body) as pid:
        _ask(ours, body, 5000)
        before = _resident(servers.workers(pid))
        asked = _ask(ours, body, growth)
        after = _resident(servers.workers(pid))
    print(
        f"A worker has {before:.1f} MB, an empty one with numpy {least:.1f} MB ({before / least:.2f} times); "
        f"after {asked:,} requests more {after:.1f} MB ({after / before - 1:+.1%}).\n",
        flush=True,
    )


def _report_many(home: Path, name: str, row: Mapping[str, Any]) -> None:
    """CPU of ten thousand rows in one request beside reading and writing the same two bodies as JSON."""
    body = json.dumps({"instances": [{**row, "corporation": f"client {n}"} for n in range(MANY)]}).encode()
    server = servers.gunicorn(home, "wsgi:app", count=1)
    with servers.serving(server, body) as pid:
        pids = servers.workers(pid)
        before = _cpu(pids)
        answers = [servers.post(server, body) for _ in range(ROUNDS)]
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
        f"the same bodies {alone * 1000:.0f} ms ({ours / alone:.1f} times).\n",
        flush=True,
    )


def _project(home: Path, candidates: list[str]) -> dict[str, Any]:
    """A project of 20 columns with a live release; a row of it."""
    header = ",".join(["corporation", *NUMBERS, *KINDS, "exited"])
    for folder, name, count, seed in (
        ("sourcedata", "a.csv", 4000, 1),
        ("testdata", "t.csv", 1500, 2),
        ("practicedata", "p.csv", 10, 3),
    ):
        (home / folder).mkdir(parents=True)
        (home / folder / name).write_text("\n".join([header, *rows(count, seed)]) + "\n")
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
    cells = rows(1, 2)[0].split(",")[:-1]
    named = dict(zip(header.split(","), cells, strict=False))
    return {column: float(cell) if column in NUMBERS else cell for column, cell in named.items()}


def rows(count: int, seed: int) -> list[str]:
    """So many rows of 20 columns, as lines of a CSV without its head."""
    chance, lines = random.Random(seed), []
    for number in range(count):
        figures = [chance.gauss(50, 15) for _ in NUMBERS]
        kinds = [chance.choice("abcde") for _ in KINDS]
        odds = -2 + (50 - figures[0]) / 20 + (50 - figures[1]) / 25 * (kinds[0] == "a") + (figures[2] > 60)
        left = int(chance.random() < 1 / (1 + 2.718281828**-odds))
        cells = [f"client{seed}-{number}", *(f"{figure:.2f}" for figure in figures), *kinds, left]
        lines.append(",".join(map(str, cells)))
    return lines


def _body(server: Server, row: Mapping[str, Any]) -> bytes:
    return json.dumps({server.rows: [row]}).encode()


def _load(server: Server, row: Mapping[str, Any], seconds: int) -> Load:
    body = _body(server, row)
    with servers.serving(server, body) as pid:
        _wrk(server, body, 1)
        pids = servers.workers(pid)
        before = _cpu(pids)
        told = _wrk(server, body, seconds)
        spent = _cpu(pids) - before
    assert "Non-2xx" not in told, told
    scale = {"us": 0.001, "ms": 1.0, "s": 1000.0}
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", told)
    speed = re.search(r"Requests/sec:\s+([\d.]+)", told)
    assert p99 and speed
    return Load(float(speed[1]), float(p99[1]) * scale[p99[2]], 1000 * spent / _count(told))


def _wrk(server: Server, body: bytes, seconds: int) -> str:
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write("wrk.method='POST' wrk.headers['Content-Type']='application/json' ")
        script.write(f"wrk.body=[[{body.decode()}]]")
        script.flush()
        command = [
            "wrk",
            "-t1",
            f"-c{CONNECTIONS}",
            "--latency",
            "-s",
            script.name,
            f"-d{seconds}s",
            server.url,
        ]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _count(told: str) -> int:
    found = re.search(r"(\d+) requests in", told)
    assert found
    return int(found[1])


def _ask(server: Server, body: bytes, least: int) -> int:
    """At least so many requests, from eight connections, and how many it were."""
    done = 0
    while done < least:
        done += _count(_wrk(server, body, 2))
    return done


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
