"""Errors as the API tells them: application/problem+json (RFC 9457), a sentence, never a path of the host."""

import json
import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

log = logging.getLogger("attrition.app")

MEDIA = "application/problem+json"
MOST_ERRORS = 100
SENTENCES = {
    404: "There is no such endpoint. GET / lists those there are.",
    405: "This endpoint has no such method; Allow names those it has.",
    500: "The server made a mistake. Its log says which.",
}


class Refused(Exception):
    """A request that gets a problem for an answer: status, sentence, wrong values, further members."""

    def __init__(
        self,
        status: int,
        detail: str,
        errors: Sequence[Mapping[str, Any]] = (),
        *,
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.errors = status, detail, errors
        self.headers, self.members = dict(headers or {}), members


def wrong(row: int | None, column: str, code: str, message: str, **place: Any) -> dict[str, Any]:
    """One entry of `errors`; `row` counts the request's rows from 0, None is the whole of it."""
    return {"row": row, **place, "column": column or None, "code": code, "message": message}


def register(app: Flask) -> None:
    app.register_error_handler(Refused, _refused)
    app.register_error_handler(HTTPException, _refused_by_flask)
    app.register_error_handler(Exception, _mistake)


def _refused(refused: Refused) -> Response:
    members = dict(refused.members)
    if refused.errors:
        members["errors"] = list(refused.errors[:MOST_ERRORS])
    return _answer(refused.status, refused.detail, members, refused.headers)


def _refused_by_flask(error: HTTPException) -> Response:
    status = error.code or 500
    headers = {name: value for name, value in error.get_headers() if name.lower() != "content-type"}
    return _answer(status, SENTENCES.get(status) or error.description or "", {}, headers)


def _mistake(error: Exception) -> Response:
    # the template of the route: a path may hold a client's name, or what forges a line of the log
    log.error("%r of %s failed", request.method, request.url_rule, exc_info=error)
    return _answer(500, SENTENCES[500], {}, {})


def text(status: int, detail: str, members: Mapping[str, Any] | None = None) -> str:
    """The body of a problem."""
    problem = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return json.dumps({**problem, **(members or {})}, allow_nan=False) + "\n"


def _answer(status: int, detail: str, members: Mapping[str, Any], headers: Mapping[str, str]) -> Response:
    return Response(text(status, detail, members), status, headers, content_type=MEDIA)
