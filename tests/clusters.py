"""A real scheduler of dask and its workers, each a process of the tests' own on a free loopback port.

Without the package distributed the tests that need them are skipped and say so; where CI=true nothing may
be skipped, and they fail.
"""

import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.projects import CHECKOUT

SECONDS = 60
PROGRAMS = {"scheduler": "distributed.cli.dask_scheduler", "worker": "distributed.cli.dask_worker"}


@dataclass
class Cluster:
    """A scheduler and workers with one thread each; `address` is what config.json names."""

    folder: Path
    address: str
    environment: Mapping[str, str]
    scheduler: "subprocess.Popen[bytes] | None" = None
    workers: "list[subprocess.Popen[bytes]]" = field(default_factory=list)

    def start(self, workers: int) -> None:
        host, _, port = self.address.rpartition(":")
        self.scheduler = self._program("scheduler", "--host", host, "--port", port)
        self._wait_for("scheduler", "Scheduler at")
        for _ in range(workers):
            self.add()

    def add(self, *options: str, code: Path = CHECKOUT) -> "subprocess.Popen[bytes]":
        """One more worker, which imports the pipeline from `code`."""
        name = f"worker{len(self.workers)}"
        arguments = [self.address, "--no-nanny", "--local-directory", str(self.folder / name)]
        arguments += [*(options or ("--nthreads", "1")), "--name", name]
        worker = self._program("worker", *arguments, log=name, code=code)
        self.workers.append(worker)
        self._wait_for(name, "Registered to")
        return worker

    def stop(self) -> None:
        for process in [*self.workers, *([self.scheduler] if self.scheduler else [])]:
            process.send_signal(signal.SIGKILL)
            process.wait(SECONDS)

    def _program(
        self, program: str, *arguments: str, log: str = "", code: Path = CHECKOUT
    ) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", PROGRAMS[program], *arguments, "--no-dashboard"]
        environment = {**os.environ, "PYTHONPATH": str(code), **self.environment}
        with (self.folder / f"{log or program}.log").open("ab") as told:
            return subprocess.Popen(command, cwd=self.folder, env=environment, stdout=told, stderr=told)

    def _wait_for(self, log: str, words: str) -> None:
        place = self.folder / f"{log}.log"
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            if words in place.read_text():
                return
            time.sleep(0.05)
        raise AssertionError(f"no {log} of dask started:\n{place.read_text()}")


@contextlib.contextmanager
def running(
    folder: Path, workers: int = 2, protocol: str = "tcp", environment: Mapping[str, str] | None = None
) -> Iterator[Cluster]:
    """A started cluster, or the test is skipped (with CI=true: fails)."""
    installed()
    folder.mkdir(exist_ok=True)
    cluster = Cluster(folder, f"{protocol}://127.0.0.1:{_free_port()}", environment or {})
    try:
        cluster.start(workers)
        yield cluster
    finally:
        cluster.stop()


def installed() -> None:
    if importlib.util.find_spec("distributed"):
        return
    reason = "the packages of a cluster are not installed (make cluster)"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
