"""Until when a connection may hold its thread: who is slower than that is cut off by the worker's main loop.

A time limit on each single read would not do: a client that sends a byte now and then keeps every one.
"""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

_until: dict[Any, tuple[float, int]] = {}


@contextmanager
def within(connection: Any, seconds: float, how: int = socket.SHUT_RDWR) -> Iterator[None]:
    """While this lasts, a socket is shut down once the time is over (SHUT_RD leaves way for an answer)."""
    before = _until.get(connection)
    _until[connection] = (time.monotonic() + seconds, how)
    try:
        yield
    finally:
        if before is None:
            _until.pop(connection, None)
        else:
            _until[connection] = before


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
