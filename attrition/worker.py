"""gunicorn's worker with threads, such that an idle connection costs no thread and a slow one not for long.

What gunicorn itself refuses (a line or a header too long, no HTTP at all) is told as any other problem.
"""

import time
from functools import partial
from http import HTTPStatus
from selectors import EVENT_READ
from typing import Any

from gunicorn import util
from gunicorn.http import errors
from gunicorn.workers.gthread import TConn, ThreadWorker

from attrition import deadlines, problems

HEADER_SECONDS = 8.0
ANSWER_SECONDS = 60.0
SENTENCES: dict[type[Exception], tuple[int, str]] = {
    errors.LimitRequestLine: (414, "The request line is too long."),
    errors.LimitRequestHeaders: (431, "There are too many headers, or one is too long."),
    errors.UnsupportedTransferCoding: (501, "Of transfer codings only chunked is known."),
    errors.ExpectationFailed: (417, "Expect may only be 100-continue."),
}
NO_HTTP = (400, "This is no HTTP request that can be read.")


class Worker(ThreadWorker):
    """Threads answer; the main loop waits for clients to begin, and cuts off those that do not end."""

    looked = 0.0

    def accept(self, listener: Any) -> None:
        """Wait for the first byte in the main loop: gunicorn's own would wait in a thread."""
        try:
            client, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        self.nr_conns += 1
        conn = TConn(self.cfg, client, address, listener.getsockname())
        conn.set_timeout()
        self.pending_conns.append(conn)
        self.poller.register(client, EVENT_READ, partial(self.on_pending_socket_readable, conn))

    def handle(self, conn: Any) -> Any:
        with deadlines.Within(conn.sock, HEADER_SECONDS):
            return super().handle(conn)

    def handle_request(self, req: Any, conn: Any) -> Any:
        # the header has come; the body has a limit of its own
        with deadlines.Within(conn.sock, ANSWER_SECONDS):
            return super().handle_request(req, conn)

    def murder_pending(self) -> None:
        super().murder_pending()
        now = time.monotonic()
        if now > self.looked + 0.5:
            self.looked = now
            deadlines.enforce()

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        if not isinstance(exc, errors.ParseException | errors.ForbiddenProxyRequest):
            super().handle_error(req, client, addr, exc)
            return
        status, sentence = next((told for kind, told in SENTENCES.items() if isinstance(exc, kind)), NO_HTTP)
        # only the kind: what a client sent may hold anything
        self.log.warning("refused before it was read: %s, %s", status, type(exc).__name__)
        try:
            util.write_nonblock(client, _raw(status, sentence))
        except OSError:
            self.log.debug("Failed to send error message.")


def _raw(status: int, sentence: str) -> bytes:
    body = problems.text(status, sentence).encode()
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nConnection: close\r\n"
        f"Content-Type: {problems.MEDIA}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode("latin-1") + body
