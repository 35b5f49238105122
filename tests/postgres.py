"""A real PostgreSQL of the tests' own: in a temporary folder, on a free loopback port, gone afterwards.

Its programs come with Debian's package postgresql. Without them the tests that need it are skipped and say
so; where CI=true nothing may be skipped, and they fail.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

SECONDS = 60
USER = "pipeline"
# every mark of it must be written as %40 and so on in a URL
PASSWORD = "planted p@ss/w%rd:1"
PASSWORD_IN_URL = "planted%20p%40ss%2Fw%25rd%3A1"


@dataclass
class Postgres:
    """One server that can be stopped, killed and started again; its data stays meanwhile."""

    folder: Path
    programs: Path
    port: int
    owner: dict[str, Any]
    process: "subprocess.Popen[bytes] | None" = field(default=None)

    @property
    def url(self) -> str:
        return self.url_with(PASSWORD_IN_URL)

    def url_with(self, password: str) -> str:
        return f"postgresql://{USER}:{password}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "fsync": "off",
            # what a session is shown must not depend on where the server stands
            "timezone": "Asia/Kolkata",
        }
        command = [str(self.programs / "postgres"), "-D", str(self.folder / "data")]
        command += [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log.txt").open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, stdout=log, stderr=subprocess.STDOUT, **self.owner
            )
        self._wait()

    def stop(self, how: int = signal.SIGINT) -> None:
        """SIGINT ends it in order; SIGQUIT at once with all its sessions, as a fall of the machine would."""
        if self.process:
            self.process.send_signal(how)
            self.process.wait(SECONDS)
            self.process = None

    def execute(self, *statements: str) -> None:
        import psycopg

        with psycopg.connect(self.url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def _wait(self) -> None:
        deadline = time.monotonic() + SECONDS
        probe = [str(self.programs / "pg_isready"), "-h", "127.0.0.1", "-p", str(self.port), "-q"]
        while time.monotonic() < deadline and self.process and self.process.poll() is None:
            if subprocess.run(probe, check=False).returncode == 0:
                return
            time.sleep(0.05)
        raise AssertionError(f"PostgreSQL did not start:\n{(self.folder / 'log.txt').read_text()}")


@contextlib.contextmanager
def running() -> Iterator[Postgres]:
    """A started server with the superuser USER, or the test is skipped (with CI=true: fails)."""
    programs = _programs()
    # not below pytest's own folder, which no other user may enter
    folder = Path(tempfile.mkdtemp(prefix="attrition-postgres-"))
    server = Postgres(folder, programs, _free_port(), _owner(folder))
    try:
        _initialise(server)
        server.start()
        yield server
    finally:
        server.stop(signal.SIGQUIT)
        shutil.rmtree(folder)


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    installed = found[-1] if found else shutil.which("initdb")
    if installed:
        return Path(installed).resolve().parent
    reason = "PostgreSQL is not installed (Debian, Ubuntu: apt-get install postgresql)"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def _owner(folder: Path) -> dict[str, Any]:
    """Whom to start the server as: it refuses to be root."""
    if os.geteuid() != 0:
        return {}
    owner = "nobody"
    shutil.chown(folder, owner)
    return {"user": owner, "extra_groups": []}


def _initialise(server: Postgres) -> None:
    secret = server.folder / "password.txt"
    secret.write_text(PASSWORD)
    secret.chmod(0o644)
    options = ["--auth=scram-sha-256", f"--username={USER}", f"--pwfile={secret}", "--encoding=UTF8"]
    command = [str(server.programs / "initdb"), "-D", str(server.folder / "data"), "--no-locale", "--no-sync"]
    done = subprocess.run(
        [*command, *options], capture_output=True, text=True, cwd=server.folder, **server.owner
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
