"""Until when a connection may hold its thread: who is slower than that is cut off by the worker's main loop.

A time limit on each single read would not do: a client that sends a byte now and then keeps every one.
"""

import socket
import time
from contextlib import suppress
from typing import Any

_until: dict[Any, tuple[float, int]] = {}


class Within:
    """While this lasts, a socket is shut down once the time is over (SHUT_RD leaves way for an answer)."""

    def __init__(self, connection: Any, seconds: float, how: int = socket.SHUT_RDWR) -> None:
        self._connection, self._seconds, self._how = connection, seconds, how

    def __enter__(self) -> None:
        self._before = _until.get(self._connection)
        _until[self._connection] = (time.monotonic() + self._seconds, self._how)

    def __exit__(self, *_: object) -> None:
        if self._before is None:
            _until.pop(self._connection, None)
        else:
            _until[self._connection] = self._before


def enforce() -> int:
    """Shut down every socket whose time is over, and say how many."""
    now, late = time.monotonic(), 0
    for connection, (until, how) in list(_until.items()):
        if now > until:
            late += 1
            # the client may have gone meanwhile
            with suppress(OSError):
                connection.shutdown(how)
    return late
