"""A real gunicorn on a real loopback socket, raw bytes into it, and releases published by hand."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

import deployment
import diagnostics
import ingestion
import reporting
import scoring
import training
from attrition import contract, files, ledger, publisher, releases, signing, stage
from attrition.config import Config
from attrition.publisher import Edition
from tests import cards
from tests.projects import CHECKOUT, Project, classic_rows

SECONDS = 20


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Server:
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str, **more: Any) -> requests.Response:
        return requests.get(self.url + path, timeout=SECONDS, **more)

    def post(self, path: str, **more: Any) -> requests.Response:
        return requests.post(self.url + path, timeout=SECONDS, **more)

    def connection(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=SECONDS)

    def send(self, raw: bytes) -> Answer:
        """Send raw bytes, half-close, and read the first answer to its end."""
        with self.connection() as connection:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(raw)
                connection.shutdown(socket.SHUT_WR)
            return _answer(_all_of(connection))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def serving(home: Path, workers: int = 1, host: str = "127.0.0.1", **environment: str) -> Iterator[Server]:
    """The project's API by gunicorn, as `make serve` starts it; its log must hold no traceback in the end."""
    server = Server(free_port(), home / "server.log")
    bind = {"WEB_CONCURRENCY": str(workers), "ATTRITION_BIND": f"{host}:{server.port}"}
    started = _start(home, server, {**bind, **environment})
    try:
        _wait(server, started)
        yield server
    finally:
        started.terminate()
        started.wait(SECONDS)
    assert "Traceback" not in server.log.read_text()


def start_output(home: Path, **environment: str) -> tuple[int, str]:
    """Exit status and log of a gunicorn that is expected not to start."""
    server = Server(free_port(), home / "server.log")
    status = _start(home, server, environment).wait(SECONDS)
    return status, server.log.read_text()


def pipeline(project: Project) -> Config:
    """A project whose stages ran once on classic rows, with a history as fullprocess leaves it."""
    project.dataset("first.csv", classic_rows(300))
    project.dataset("testdata.csv", classic_rows(120, 1000), folder="testdata")
    config = project.config(run="a-run")
    stages = (ingestion, training, scoring, deployment, diagnostics, reporting)
    for step in stages:
        stage.step(config, step.__name__, step.run)
    finished(config)
    return config


def finished(config: Config, live_score: Mapping[str, Any] | None = None) -> None:
    """A history line and a stamp as a finished fullprocess run leaves them."""
    facts = {"live_score": live_score}
    ran = {"run": config.run, "stage": "fullprocess", "started": stage.now(), "seconds": 1.0}
    ledger.append(config.history, {**ran, "status": "done", "sentence": "", "facts": facts})
    config.stamp.touch()


def publish(config: Config, threshold: float) -> Edition:
    """Make a release live whose scorecard was written by hand: little activity means leaving."""
    signing.ready(config)
    parts = [
        cards.number(column, config.clients.word(column), 50.0, 0.0, 500.0, weight=-0.02, missing=0.1)
        for column in config.clients.numeric
    ]
    card = cards.card([column for column, _ in parts], [term for _, term in parts], -1.0, threshold)
    figures = {"f1": {"value": threshold, "low": 0.0, "high": 1.0, "no_skill": 0.1}}
    scores = {"scored_at": stage.now(), "threshold": threshold, "threshold_from": "f1", "figures": figures}

    def fill(draft: Path) -> None:
        files.write_json(draft / "scorecard.json", card)
        files.write_json(draft / "scores.json", scores)
        files.write_text(draft / "trainedmodel.pkl", "no server looks into this")

    facts = {"contract": contract.compiled(config.clients).fingerprint, "ingested": None}
    return publisher.publish(releases.shelf(config), fill, facts)


def _start(home: Path, server: Server, environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    bare = {name: value for name, value in os.environ.items() if not name.startswith("ATTRITION_")}
    bind = {"ATTRITION_CONFIG": str(home / "config.json"), "ATTRITION_BIND": f"127.0.0.1:{server.port}"}
    command = [sys.executable, "-m", "gunicorn", "--config", str(CHECKOUT / "gunicorn.conf.py")]
    with server.log.open("wb") as log:
        env = {**bare, **bind, **environment}
        return subprocess.Popen(command, env=env, cwd=home, stdout=log, stderr=subprocess.STDOUT)


def _wait(server: Server, started: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and started.poll() is None:
        with contextlib.suppress(requests.ConnectionError):
            if server.get("/healthz").ok:
                return
        time.sleep(0.05)
    raise AssertionError(f"the server did not start:\n{server.log.read_text()}")


def _all_of(connection: socket.socket) -> bytes:
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65_536):
            received += piece
            head, _, body = received.partition(b"\r\n\r\n")
            if _length(head) is not None and len(body) >= (_length(head) or 0):
                break
    return received


def _length(head: bytes) -> int | None:
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            return int(line.split(b":")[1])
    return None


def _answer(received: bytes) -> Answer:
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Answer(int(first.split()[1]) if first else 0, headers, body)
