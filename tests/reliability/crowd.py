"""Many starts at once, and stages in a loop: what the fork server runs for the tests of concurrency."""

import importlib
import json
import os
import sys


def at_once() -> int:
    """Start every script of the first argument in a process of its own at the same moment; print statuses."""
    scripts, arguments = sys.argv[1].split(","), sys.argv[2:]
    gate, opened = os.pipe()
    children = [_start(script, arguments, gate, opened) for script in scripts]
    os.close(opened)
    statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    sys.stdout.write(json.dumps(statuses))
    return 0


def in_turn() -> int:
    """Run every script of the first argument, one after the other, as often as the second one says."""
    scripts, times, arguments = sys.argv[1].split(","), int(sys.argv[2]), sys.argv[3:]
    for _ in range(times):
        for script in scripts:
            sys.argv = [script, *arguments]
            if status := importlib.import_module(script).main():
                return int(status)
    return 0


def _start(script: str, arguments: list[str], gate: int, opened: int) -> int:
    child = os.fork()
    if child:
        return child
    status = 70
    try:
        os.close(opened)
        # nobody writes: the gate opens when its last writer has closed it
        os.read(gate, 1)
        sys.argv = [script, *arguments]
        status = importlib.import_module(script).main()
    finally:
        sys.stderr.flush()
        os._exit(status)
