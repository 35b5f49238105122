"""Slow clients: an idle one costs nothing, a slow one is let go; behind nginx hundreds stop nobody."""

import contextlib
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests import proxy, servers
from tests.projects import CHECKOUT, Project, classic_rows
from tests.servers import Server

THREADS = 32
GOOD = 24
HEAD = b"POST /prediction HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
# how a slow client begins: with nothing, in the middle of its header, in the middle of its body
SLOW = {"idle": b"", "header": HEAD, "body": HEAD + b'Content-Length: 100\r\n\r\n{"'}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    project = Project(tmp_path_factory.mktemp("slow"))
    project.dataset("testdata.csv", classic_rows(20), folder="testdata")
    servers.publish(project.config(), 0.4)
    with servers.serving(project.home) as running:
        yield running


@contextlib.contextmanager
def slow(server: Server, kind: str, count: int) -> Iterator[list[socket.socket]]:
    """Connections that begin a request and do not end it."""
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(server.connection()) for _ in range(count)]
        for connection in found:
            connection.sendall(SLOW[kind])
        yield found


def answered(server: Server) -> int:
    """How many of two dozen requests from eight clients get their answer."""

    def ask(at: int) -> bool:
        asked = {"filepath": "testdata/testdata.csv"}
        return server.post("/prediction", json=asked, headers={"Connection": "close"}).status_code == 200

    with ThreadPoolExecutor(8) as pool:
        return sum(pool.map(ask, range(GOOD)))


def test_idle_connections_hold_no_thread(server: Server) -> None:
    with slow(server, "idle", 10 * THREADS):
        assert answered(server) == GOOD


@pytest.mark.parametrize("kind", ["header", "body"])
def test_slow_connections_fewer_than_threads_stop_nobody(server: Server, kind: str) -> None:
    with slow(server, kind, THREADS - 2):
        assert answered(server) == GOOD


def test_more_slow_connections_than_threads_are_let_go_after_their_time(server: Server) -> None:
    """One byte now and then keeps no connection: the whole header and the whole body have a time."""
    over = threading.Event()

    def drip(connection: socket.socket, piece: bytes) -> None:
        with contextlib.suppress(OSError):
            while not over.is_set():
                connection.sendall(piece)
                time.sleep(0.5)

    with server.connection() as dripping, slow(server, "header", THREADS - 1) as headers:
        dripping.sendall(HEAD + b"Content-Length: 100000\r\n\r\n")
        drips = [threading.Thread(target=drip, args=(dripping, b" "))]
        drips += [threading.Thread(target=drip, args=(headers[0], b"X-A: b\r\n"))]
        for each in drips:
            each.start()
        try:
            # no thread is left: this waits until some are let go
            assert server.get("/healthz").status_code == 200
            assert dripping.recv(100).startswith(b"HTTP/1.1 408 ")
            assert all(_is_closed(connection) for connection in headers)
        finally:
            over.set()
            for each in drips:
                each.join()


def _is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_behind_nginx_four_hundred_slow_connections_stop_nobody(server: Server) -> None:
    with proxy.before(server) as front, contextlib.ExitStack() as stack:
        for kind, count in (("idle", 100), ("header", 150), ("body", 150)):
            stack.enter_context(slow(front, kind, count))
        assert answered(front) == GOOD


def test_nginx_hands_on_what_the_api_says(server: Server) -> None:
    with proxy.before(server) as front:
        for path, status in (("/scoring", 200), ("/unknown", 404), ("/risk", 503)):
            direct, through = server.get(path), front.get(path)
            assert (through.status_code, through.content) == (status, direct.content)
        # the API's own words, not nginx' page
        answer = front.post("/prediction", data=b" " * 1_500_000, headers={"Content-Type": "text/csv"})
        assert (answer.status_code, answer.headers["Content-Type"]) == (413, "application/problem+json")
        # without keys a name of the outside is not answered, though nginx asks from this machine
        assert front.get("/scoring", headers={"Host": "attrition.example"}).status_code == 421


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("unit", ["attrition-api.service", "attrition.service", "attrition.timer"])
def test_the_units_are_what_systemd_takes(tmp_path: Path, unit: str) -> None:
    for name in ("attrition-api.service", "attrition.service", "attrition.timer"):
        shipped = (CHECKOUT / "deploy" / name).read_text()
        (tmp_path / name).write_text(shipped.replace("/opt/attrition/.venv/bin/python", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / unit)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
