"""Start the pipeline again and again within a fork server, with a fault at a chosen call.

The library of faults.c is built with gcc into a temporary folder. Without gcc the tests that need it are
skipped and say so; where CI=true nothing may be skipped, and they fail.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import IntEnum, IntFlag
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.projects import CHECKOUT


class Action(IntEnum):
    """What happens at the chosen call; see faults.c."""

    OBSERVE, KILL, TEAR, FAIL, FILL, PAUSE = range(6)


class Kind(IntFlag):
    READ, CREATE, WRITE, NAME, SYNC, META = 1, 2, 4, 8, 16, 32


CHANGES = Kind.CREATE | Kind.WRITE | Kind.NAME | Kind.SYNC | Kind.META


@dataclass(frozen=True)
class Fault:
    action: Action = Action.OBSERVE
    point: int = 0
    error: int = 0
    kinds: Kind = CHANGES
    with_data: bool = False

    def at(self, point: int) -> "Fault":
        return replace(self, point=point)


@dataclass(frozen=True)
class Call:
    """A system call below the root, as the library notes it."""

    name: str
    place: str
    other: str = ""
    offset: int = 0
    data: bytes = b""


@dataclass(frozen=True)
class Done:
    """How an attempt ended; `calls` are those below the root, or the one that was not to be."""

    status: int
    out: str
    err: str
    calls: list[Call]


@dataclass(frozen=True)
class Server:
    """A fork server; `below` is the root whose calls count."""

    process: "subprocess.Popen[str]"
    folder: Path

    def attempt(
        self,
        call: str,
        below: Path,
        *arguments: str,
        fault: Fault = Fault(),
        environ: Mapping[str, str] | None = None,
    ) -> Done:
        """Call `module:function` in a fork, sys.argv being `arguments` behind a name."""
        self._ask(call, below, arguments, fault, environ)
        return self._done(self._answer())

    def pauses(
        self, call: str, below: Path, *arguments: str, environ: Mapping[str, str] | None = None
    ) -> Iterator[Call]:
        """Call it, and yield each system call below the root before it happens, a write in its middle.

        Meanwhile the process stands still: on disk lies what it would leave if it were killed there.
        """
        self._ask(call, below, arguments, Fault(Action.PAUSE), environ)
        while (answer := self._answer()).get("stopped"):
            try:
                yield _calls(self.folder / "calls")[-1]
            except GeneratorExit:
                # who looks has seen enough: the next attempt must not find this one standing
                self._write({"end": True})
                self._answer()
                raise
            self._write({})
        done = self._done(answer)
        assert done.status == 0, done.err

    def _ask(
        self,
        call: str,
        below: Path,
        arguments: tuple[str, ...],
        fault: Fault,
        environ: Mapping[str, str] | None,
    ) -> None:
        log = self.folder / "calls"
        log.unlink(missing_ok=True)
        armed = {
            "below": str(below),
            "action": fault.action,
            "kinds": fault.kinds,
            "point": fault.point,
            "error": fault.error,
            "log": str(log),
            "data": fault.with_data,
        }
        self._write(
            {
                "call": call,
                "argv": [call, *arguments],
                "environ": {**(environ or {})},
                "fault": armed,
                "out": str(self.folder / "out"),
                "err": str(self.folder / "err"),
            }
        )

    def _write(self, request: Mapping[str, Any]) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def _done(self, answer: Mapping[str, Any]) -> Done:
        out, err = ((self.folder / name).read_text(errors="replace") for name in ("out", "err"))
        return Done(answer["status"], out, err, _calls(self.folder / "calls"))


@contextmanager
def server() -> Iterator[Server]:
    """A fork server that has imported the whole pipeline, one thread a child."""
    with tempfile.TemporaryDirectory(prefix="attrition-faults-") as folder:
        environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("ATTRITION_")},
            "LD_PRELOAD": str(_library(Path(folder))),
            "ATTRITION_PACKAGE_CHECK": "off",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        # -B: a write cut short must not hit the interpreter's own cache
        command = [sys.executable, "-B", "-m", "tests.reliability.forkserver"]
        with subprocess.Popen(
            command, cwd=CHECKOUT, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            started = Server(process, Path(folder))
            # a fork of a process with threads may never end
            assert started._answer() == {"threads": 1}
            yield started
            assert process.stdin
            process.stdin.close()


def without(what: str) -> NoReturn:
    """Skip, since something is missing here; where CI=true, fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


def program(name: str, package: str) -> str:
    return shutil.which(name) or without(
        f"{name} is not installed (Debian, Ubuntu: apt-get install {package})"
    )


def _library(folder: Path) -> Path:
    source, library = Path(__file__).with_name("faults.c"), folder / "faults.so"
    command = [
        program("gcc", "gcc libc6-dev"),
        "-shared",
        "-fPIC",
        "-O2",
        "-o",
        str(library),
        str(source),
        "-ldl",
    ]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return library


def _calls(log: Path) -> list[Call]:
    content, calls, at = log.read_bytes() if log.exists() else b"", [], 0
    while at < len(content):
        end = content.index(b"\n", at)
        name, place, other, offset, size = content[at:end].decode(errors="surrogateescape").split("\t")
        at, length = end + 1, int(size)
        data = content[at : at + length]
        at += length + 1 if length else 0
        calls.append(Call(name, place, other, int(offset), data))
    return calls
