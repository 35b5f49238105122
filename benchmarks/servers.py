"""Servers that benchmarks/api.py asks the same: ours under gunicorn, `mlflow models serve`, `bentoml serve`.

MLflow and BentoML have an environment each (benchmarks/environments.py).
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import environments
from benchmarks.tick import CHECKOUT

PORT, WORKERS = 8731, 2
SERVING = CHECKOUT / "benchmarks" / "serving"
# nothing of a measurement leaves this machine
SILENT = {"MLFLOW_DISABLE_TELEMETRY": "true", "BENTOML_DO_NOT_TRACK": "true", "DO_NOT_TRACK": "true"}
START_SECONDS = 120.0


@dataclass(frozen=True)
class Server:
    """How a server is started, where it takes rows, and under which key of the body."""

    command: Sequence[str]
    path: str = "/prediction"
    rows: str = "instances"
    folder: Path = CHECKOUT
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{PORT}{self.path}"


def gunicorn(home: Path, app: str, query: str = "", count: int = WORKERS) -> Server:
    """An app under gunicorn as it is shipped."""
    environment = {
        "ATTRITION_CONFIG": str(home / "config.json"),
        "ATTRITION_BIND": f"127.0.0.1:{PORT}",
        "WEB_CONCURRENCY": str(count),
        "BENCHMARK_MODEL": str(_pickle(home)),
    }
    command = [sys.executable, "-m", "gunicorn", "--config", "gunicorn.conf.py", app]
    return Server(command, f"/prediction{query}", environment=environment)


def mlflow(home: Path, count: int = WORKERS) -> Server:
    """`mlflow models serve` of the pickled pipeline, laid down as its model below `home`."""
    python, model = environments.python("mlflow"), home / "mlflow"
    environment = {
        **SILENT,
        "PATH": f"{python.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(CHECKOUT),
        "OMP_NUM_THREADS": "1",
    }
    if not model.exists():
        command = [str(python), str(SERVING / "log_model.py"), str(_pickle(home)), str(model)]
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, **environment}, cwd=home)
    serve = ["mlflow", "models", "serve", "-m", str(model), "--env-manager", "local", "-h", "127.0.0.1"]
    command = [str(python), "-m", *serve, "-p", str(PORT), "-w", str(count)]
    return Server(command, "/invocations", "dataframe_records", home, environment)


def bentoml(home: Path, count: int = WORKERS) -> Server:
    """`bentoml serve` of the pickled pipeline."""
    environment = {
        **SILENT,
        "BENTOML_HOME": str(home / "bentoml"),
        "PYTHONPATH": str(CHECKOUT),
        "WEB_CONCURRENCY": str(count),
        "BENCHMARK_MODEL": str(_pickle(home)),
        "OMP_NUM_THREADS": "1",
    }
    program = str(environments.python("bentoml").with_name("bentoml"))
    command = [program, "serve", "bento:Model", "--host", "127.0.0.1", "--port", str(PORT)]
    return Server(command, "/predict", folder=SERVING, environment=environment)


OTHERS = {"mlflow": mlflow, "bentoml": bentoml}


@contextmanager
def serving(server: Server, body: bytes) -> Iterator[int]:
    """A server that answers `body`; the id of the process that was started."""
    environment = {**os.environ, **server.environment}
    with tempfile.TemporaryFile() as log:
        # a group of its own: what a server starts ends with it
        started = subprocess.Popen(
            server.command, cwd=server.folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            if not _answers(server, body, started):
                log.seek(0)
                told = log.read().decode(errors="replace")
                raise RuntimeError(f"{' '.join(server.command)} did not start:\n{told[-4000:]}")
            yield started.pid
        finally:
            _end(started)


def workers(pid: int) -> list[int]:
    """Ids of all processes below one."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [found for child in map(int, children) for found in (child, *workers(child))]


def post(server: Server, body: bytes) -> bytes:
    asked = urllib.request.Request(server.url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked) as answer:
        content: bytes = answer.read()
        return content


def _pickle(home: Path) -> Path:
    return home / "production_deployment" / "trainedmodel.pkl"


def _answers(server: Server, body: bytes, started: subprocess.Popen[bytes]) -> bool:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and started.poll() is None:
        with suppress(OSError):
            post(server, body)
            return True
        time.sleep(0.1)
    return False


def _end(started: subprocess.Popen[bytes]) -> None:
    group = started.pid
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGTERM)
    try:
        started.wait(20)
    except subprocess.TimeoutExpired:
        started.kill()
        started.wait()
    # a worker whose parent went before it
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
