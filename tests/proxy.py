"""A real nginx of the tests' own in front of a server: with deploy/nginx.conf, on a free loopback port.

Without it the tests that need it are skipped and say so; where CI=true nothing may be skipped, and they fail.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.projects import CHECKOUT
from tests.servers import SECONDS, Server, free_port

SNIPPET = CHECKOUT / "deploy" / "nginx.conf"
MAIN = """
daemon off;
{user}
worker_processes 1;
pid {folder}/pid;
error_log stderr;
events {{ worker_connections 2048; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/attrition.conf;
}}
"""


@contextlib.contextmanager
def before(server: Server) -> Iterator[Server]:
    """nginx in front of a server, or the test is skipped (with CI=true: fails)."""
    program = _program()
    folder = Path(tempfile.mkdtemp(prefix="attrition-nginx-"))
    proxy = Server(free_port(), folder / "nginx.log")
    _configure(folder, proxy, server)
    command = [program, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]
    try:
        with proxy.log.open("wb") as log:
            started = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            _wait(proxy, started)
            yield proxy
        finally:
            started.terminate()
            started.wait(SECONDS)
    finally:
        shutil.rmtree(folder)


def _program() -> str:
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if found:
        return found
    reason = "nginx is not installed (Debian, Ubuntu: apt-get install nginx-light)"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def _configure(folder: Path, proxy: Server, server: Server) -> None:
    """The snippet as it is shipped, but for its addresses."""
    snippet = SNIPPET.read_text()
    for shipped, here in (
        ("server 127.0.0.1:8000;", f"server 127.0.0.1:{server.port};"),
        ("listen 80;", f"listen 127.0.0.1:{proxy.port};"),
    ):
        assert snippet.count(shipped) == 1
        snippet = snippet.replace(shipped, here)
    (folder / "attrition.conf").write_text(snippet)
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(MAIN.format(folder=folder, user=user))


def _wait(proxy: Server, started: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and started.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", proxy.port), 1):
            return
        time.sleep(0.05)
    raise AssertionError(f"nginx did not start:\n{proxy.log.read_text()}")
