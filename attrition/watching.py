"""Every request watched: counted for /metrics, told in one line, and given the headers that all answers have.

A line says method, route (its template), status, duration, bytes, release and the key's name: nothing that a
client made up, so none of it can be forged, and no client's data.
"""

import json
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from attrition.exposition import OTHER, Metrics

NOTED = "attrition.noted"
HEADERS = [("X-Content-Type-Options", "nosniff"), ("Cross-Origin-Resource-Policy", "same-origin")]
NEVER_STORED = ("Cache-Control", "no-store")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"})

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


@dataclass
class Noted:
    """What is known of a request once it is answered; views add what they know."""

    method: str
    route: str = OTHER
    key: str | None = None
    release: str | None = None
    status: int = 500
    size: int | None = None
    seconds: float = 0.0
    vary: str = "Accept-Encoding"


def watched(app: App, metrics: Metrics, tell: Callable[[Noted], None] | None) -> App:
    """The WSGI app with everything counted, and told where there is somebody to tell."""

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        started = time.perf_counter()
        method = environ["REQUEST_METHOD"]
        noted = environ[NOTED] = Noted(method if method in METHODS else OTHER)

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            noted.status = int(status[:3])
            given = dict(headers)
            if "Content-Length" in given:
                noted.size = int(given["Content-Length"])
            if "Cache-Control" not in given:
                headers.append(NEVER_STORED)
            headers.append(("Vary", noted.vary))
            headers += HEADERS
            return start_response(status, headers, exc_info)

        try:
            return app(environ, start)
        finally:
            noted.seconds = time.perf_counter() - started
            metrics.answered(noted.route, noted.status, noted.seconds)
            if tell is not None:
                tell(noted)

    return answer


def teller(form: str, descriptor: int) -> Callable[[Noted], None] | None:
    """Write a line for each request, as `text` or `json`; None for `off`."""
    line = {"text": _as_text, "json": _as_json}.get(form)
    if line is None:
        return None

    def tell(noted: Noted) -> None:
        now = time.time()
        at = f"{_second(int(now))}.{int(now * 1000) % 1000:03d}Z"
        # who reads the log may be gone; the API is not
        with suppress(OSError):
            # one call: lines of several threads and workers never mix
            os.write(descriptor, line(at, noted).encode() + b"\n")

    return tell


@lru_cache(maxsize=8)
def _second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


def _as_text(at: str, noted: Noted) -> str:
    return (
        f"{at} {noted.method} {noted.route} {noted.status} {noted.seconds * 1000:.2f} ms {noted.size or 0} "
        f"bytes, release {noted.release or '-'}, key {noted.key or '-'}"
    )


def _as_json(at: str, noted: Noted) -> str:
    facts = {
        "at": at,
        "method": noted.method,
        "route": noted.route,
        "status": noted.status,
        "seconds": round(noted.seconds, 6),
        "bytes": noted.size,
        "release": noted.release,
        "key": noted.key,
    }
    return json.dumps(facts)
