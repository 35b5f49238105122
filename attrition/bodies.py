"""What a request to predict may carry: JSON, CSV, or the name of a dataset. Judged rows come out, or Refused.

{"filepath": "testdata/testdata.csv"}        a dataset below an allowed folder
{"instances": [{column: value, ...}, ...]}   rows
a body of type text/csv                      rows
"""

import json
import math
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

from flask import Request

from attrition import contract as contracts
from attrition import deadlines, paths, sources
from attrition.config import Config
from attrition.contract import Contract
from attrition.problems import MOST_ERRORS, Refused, wrong
from attrition.quick import Rows

DEEPEST = 32
BODY_SECONDS = 8.0
DRAIN_SECONDS = 2.0
MOST_DRAINED = 16 * 1024 * 1024
PIECE = 65_536
SHORT = "The body is shorter than its Content-Length."
KEYS = ("filepath", "instances")
ACCEPTED = "application/json or text/csv, in UTF-8 and not compressed"


@dataclass(frozen=True)
class Asked:
    """Rows to predict that keep the contract, and each client's id as the request gave it."""

    rows: Sequence[Mapping[str, Any]]
    ids: Sequence[Any]


def read(config: Config, contract: Contract, rows: Rows, request: Request) -> Asked:
    """What the body asks for, judged; `rows` are those of the contract that need no second look."""
    mimetype = _mimetype(request)
    if mimetype is None or "HTTP_CONTENT_ENCODING" in request.environ:
        raise Refused(415, f"The body must be {ACCEPTED}.", headers={"Accept": "application/json, text/csv"})
    data = body(request, config.settings.api.max_body_bytes)
    if mimetype == "text/csv":
        return _from_csv(config, contract, "the body", data)
    asked = _object(data)
    if "filepath" in asked:
        if not isinstance(asked["filepath"], str):
            raise Refused(400, "filepath must be text.")
        return _from_csv(config, contract, asked["filepath"], paths.read(config, asked["filepath"]))
    if not isinstance(asked["instances"], list):
        raise Refused(400, "instances must be a list of objects, one for each row.")
    return _from_instances(config, contract, rows, asked["instances"])


def _mimetype(request: Request) -> str | None:
    """The media type of the body; None where it is none that can be read."""
    if request.environ.get("CONTENT_TYPE") == "application/json":
        return "application/json"
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    known = request.mimetype in ("application/json", "text/csv") and charset in ("utf-8", "utf8")
    return request.mimetype if known else None


def body(request: Request, most: int) -> bytes:
    """The whole body, or Refused. Counted here: Werkzeug silently cuts a chunked body at its limit."""
    announced = _announced(request)
    if announced is not None and announced > most:
        raise _too_large(most)
    stream, until = request.environ["wsgi.input"], time.monotonic() + BODY_SECONDS
    try:
        with _in_time(request, BODY_SECONDS):
            data: bytes = stream.read(most + 1 if announced is None else announced)
    except Exception as error:
        if time.monotonic() > until:
            raise _too_slow() from None
        # whatever the server's parser or the network has against the body: it is the client's
        raise Refused(400, "The body is not complete, or its chunks are malformed.") from error
    if len(data) > most:
        raise _too_large(most)
    if announced is not None and len(data) < announced:
        raise _too_slow() if time.monotonic() > until else Refused(400, SHORT)
    return data


def _announced(request: Request) -> int | None:
    """The length of the body; None where it comes in chunks, and nobody knows."""
    text = request.environ.get("CONTENT_LENGTH") or ""
    return int(text) if text.isdecimal() and "HTTP_TRANSFER_ENCODING" not in request.environ else None


def _too_large(most: int) -> Refused:
    return Refused(413, f"The body is larger than {most} bytes. Send the rows in parts.")


def _too_slow() -> Refused:
    return Refused(408, f"The body did not come within {BODY_SECONDS:g} seconds.")


def drain(request: Request) -> None:
    """Read a refused body away: who is still sending would meet a closed connection, not the answer."""
    if not request.content_length and "Transfer-Encoding" not in request.headers:
        return
    until, left = time.monotonic() + DRAIN_SECONDS, MOST_DRAINED
    # the connection is given up, whatever happens
    with suppress(Exception), _in_time(request, DRAIN_SECONDS):
        while left > 0 and time.monotonic() < until and (piece := request.stream.read(PIECE)):
            left -= len(piece)


def _in_time(request: Request, seconds: float) -> AbstractContextManager[None]:
    """A client that sends nothing, or too slowly, gives the thread back: gunicorn would wait for ever."""
    connection = request.environ.get("gunicorn.socket")
    # the other direction stays open for the answer
    return nullcontext() if connection is None else deadlines.Within(connection, seconds, socket.SHUT_RD)


class _Unfit(ValueError):
    """JSON that Python would take and RFC 8259 or this API does not."""


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in result if keys.count(key) > 1)
        raise _Unfit(f"the key {contracts.quoted(twice)} stands twice in one object")
    return result


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _Unfit(f"{contracts.quoted(text)} is no finite number")
    return value


# in C, and blind to keys that stand twice
_PLAIN = json.JSONDecoder(parse_constant=_finite)
_CAREFUL = json.JSONDecoder(
    object_pairs_hook=_without_duplicates, parse_float=_finite, parse_constant=_finite
)


def _object(data: bytes) -> dict[str, Any]:
    """The JSON object of the request, with exactly one of the keys it may have."""
    try:
        text = data.decode("utf-8")
        asked = _PLAIN.decode(text)
        if _is_plain(data, asked):
            return {"instances": asked["instances"]}
        asked = _CAREFUL.decode(text)
    except UnicodeDecodeError:
        raise Refused(400, "The body is not UTF-8.") from None
    except RecursionError:
        raise _too_deep() from None
    except (json.JSONDecodeError, _Unfit) as fault:
        raise Refused(400, f"The body is not JSON: {fault}.") from None
    except ValueError:
        raise Refused(400, "The body is not JSON: a number has too many digits.") from None
    if _is_deeper(asked, DEEPEST):
        raise _too_deep()
    if not isinstance(asked, dict) or len(asked) != 1 or not asked.keys() <= set(KEYS):
        raise Refused(400, "The body must be an object with one key: filepath, or instances.")
    return asked


def _is_plain(data: bytes, asked: Any) -> bool:
    """Whether these can only be rows of plain values: each key once, no infinite number, nothing nested.

    As many colons as keys: none was dropped because it stood twice. One list, and a brace for each object.
    """
    if type(asked) is not dict or asked.keys() != {"instances"} or type(asked["instances"]) is not list:
        return False
    rows = asked["instances"]
    if data.count(b"[") != 1 or data.count(b"{") != 1 + len(rows):
        return False
    keys = 1
    for row in rows:
        if type(row) is not dict:
            return False
        keys += len(row)
        values = row.values()
        if math.inf in values or -math.inf in values:
            return False
    return data.count(b":") == keys


def _too_deep() -> Refused:
    return Refused(400, f"The body is nested deeper than {DEEPEST} levels.")


def _is_deeper(value: Any, levels: int) -> bool:
    if type(value) is dict:
        value = value.values()
    elif type(value) is not list:
        return False
    return levels == 0 or any(_is_deeper(inner, levels - 1) for inner in value if type(inner) in (dict, list))


def _from_instances(config: Config, contract: Contract, plain: Rows, instances: Sequence[Any]) -> Asked:
    _check_number(config, len(instances))
    rows: list[Mapping[str, Any]] = []
    errors = []
    for row, instance in enumerate(instances):
        if type(instance) is not dict:
            errors.append(wrong(row, "", "not_an_object", "the row must be an object of columns"))
            continue
        if (values := plain.values(instance)) is not None:
            rows.append(values)
            continue
        verdict = contract.judge_instance(instance)
        rows.append(verdict.values)
        errors += [wrong(row, p.column, p.code, p.message) for p in verdict.problems]
    if errors:
        raise _unfit(errors)
    return Asked(rows, [instance.get(contract.clients.id) for instance in instances])


def _from_csv(config: Config, contract: Contract, name: str, data: bytes) -> Asked:
    try:
        dataset = sources.parse(name, data)
    except sources.Unreadable as fault:
        raise _unfit([wrong(None, "", fault.code, fault.sentence)]) from None
    _check_number(config, len(dataset.rows))
    judged = contracts.judge_dataset(contract, dataset, to_predict=True)
    if judged.rejected:
        row_of = {line: row for row, (line, _) in enumerate(dataset.rows)}
        raise _unfit(
            [
                wrong(
                    row_of.get(r.line or 0), r.problem.column, r.problem.code, r.problem.message, line=r.line
                )
                for r in judged.rejected
            ]
        )
    return Asked(judged.rows, [row[contract.clients.id] for row in judged.rows])


def _check_number(config: Config, rows: int) -> None:
    most = config.settings.api.max_rows
    if rows > most:
        raise Refused(413, f"There are {rows} rows; one request may have {most}. Send them in parts.")
    if rows == 0:
        raise _unfit([wrong(None, "", "no_rows", "there is no row to predict")])


def _unfit(errors: Sequence[Mapping[str, Any]]) -> Refused:
    first = errors[0]
    more = f" (1 of {len(errors)} faults" + (
        f", the first {MOST_ERRORS} are listed)" if len(errors) > MOST_ERRORS else ")"
    )
    where = "the data" if first["row"] is None else f"row {first['row']}"
    return Refused(422, f"{where}: {first['message']}{more if len(errors) > 1 else ''}.", errors)
