"""Forks a child for each request, so that the pipeline's libraries are imported once and for all.

Started with the library of faults.c preloaded. A request is a line of JSON on stdin, see attempt(); the
answer is a line on stdout with the exit status, negative for a signal.
"""

import ctypes
import importlib
import json
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from attrition import stamp
from tests import pictures
from tests.projects import Project, classic_rows


def serve() -> None:
    pictures.empty().start()
    _warm_up()
    threads = len(os.listdir("/proc/self/task"))  # noqa: PTH208 - a count is all
    _answer({"threads": threads})
    while line := sys.stdin.readline():
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            attempt(request)
        _, status = os.waitpid(child, os.WUNTRACED)
        while os.WIFSTOPPED(status):
            _answer({"stopped": True})
            ends = json.loads(sys.stdin.readline()).get("end")
            os.kill(child, signal.SIGKILL if ends else signal.SIGCONT)
            _, status = os.waitpid(child, os.WUNTRACED)
        _answer({"status": os.waitstatus_to_exitcode(status)})


def attempt(request: dict[str, Any]) -> None:
    """Do what is asked for in this process, the faults armed, and end it."""
    status = 70
    try:
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
        os.chdir("/")
        os.environ.update(request["environ"])
        sys.argv = request["argv"]
        module, _, function = request["call"].partition(":")
        call = getattr(importlib.import_module(module), function)
        _arm(**request["fault"])
        idle = request["call"] == "fullprocess:main" and stamp.nothing_new(sys.argv[1:])
        status = 0 if idle else call()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001 - whatever it is, the child tells it and ends
        sys.excepthook(*sys.exc_info())
        status = 71
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)


def _arm(below: str, action: int, kinds: int, point: int, error: int, log: str | None, data: bool) -> None:
    arm = ctypes.CDLL(None).faults_arm
    arm.argtypes = [
        ctypes.c_char_p,
        *[ctypes.c_int] * 2,
        ctypes.c_long,
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_int,
    ]
    arm(os.fsencode(below), action, kinds, point, error, log and os.fsencode(log), data)


def _warm_up() -> None:
    """A whole tick in this process: what it imports, builds and caches is there for every child."""
    with tempfile.TemporaryDirectory() as folder:
        project = Project(Path(folder))
        project.here = True
        project.dataset("a.csv", classic_rows(120))
        project.dataset("test.csv", classic_rows(60, start=1000), folder="testdata")
        done = project.run("fullprocess.py", "-q")
        assert done.returncode == 0, done.stderr


def _answer(facts: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    serve()
