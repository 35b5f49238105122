"""/openapi.json: every endpoint, its parameters, bodies and answers, made of what checks and answers them.

The rows come from the contract that judges them, parameters and answers from attrition.shapes; nothing is
written down twice. /docs is the same for people: a page without a script.
"""

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from attrition import __version__, keys, paths, shapes
from attrition.config import Config
from attrition.contract import Contract

if TYPE_CHECKING:
    from jinja2 import Template

TEMPLATES = Path(__file__).parent / "templates"
JSON, CSV, HTML, PDF = "application/json", "text/csv", "text/html", "application/pdf"
PROBLEM = "application/problem+json"
REF = "#/components/schemas/{model}"
REFUSALS = {
    400: "the request is malformed",
    401: "no key, or one that is not known",
    403: "the key has another role",
    404: "there is no such thing",
    408: "the body did not come in time",
    413: "too large: send it in parts",
    415: "of another media type than those named",
    421: "without keys only this machine is answered",
    422: "well-formed, but rows break the contract; errors names row and column",
    429: "too many requests in this minute; Retry-After says how long to wait",
    503: "not there yet, or damaged; detail says what to run",
}


@dataclass(frozen=True)
class Route:
    """An endpoint: who may ask it, what it takes, and the media types and models of its answer.

    A view is called with the query as `query` models it, then with the parts of the path by name. `within`
    says of each such part what it is.
    """

    method: str
    path: str
    view: Callable[..., Any]
    sentence: str
    answers: Mapping[str, type[BaseModel] | None] = field(default_factory=dict)
    role: str = keys.READ
    query: type[shapes.Query] = shapes.Query
    refusals: tuple[int, ...] = ()
    within: Mapping[str, str] = field(default_factory=dict)
    takes_rows: bool = False
    # for people at a browser: no part of the document
    is_page: bool = False

    @property
    def name(self) -> str:
        return str(self.view.__name__)

    @cached_property
    def vary(self) -> str:
        """Which headers of a request the answer depends on."""
        return "Accept, Accept-Encoding" if len(self.answers) > 1 else "Accept-Encoding"

    @cached_property
    def template(self) -> str:
        """The path as OpenAPI writes it: /clients/<path:id> is /clients/{id}."""
        parts = [part.split("<")[-1].split(":")[-1].rstrip(">") for part in self.path.split("/")]
        told = zip(self.path.split("/"), parts, strict=True)
        return "/".join(f"{{{name}}}" if part.startswith("<") else part for part, name in told)


def document(
    config: Config, contract: Contract, routes: Sequence[Route], examples: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """OpenAPI 3.1. `examples`: a row, and what is answered to it, where a release is live."""
    examples = examples or {}
    operations: dict[str, dict[str, Any]] = {}
    for route in routes:
        operation = _operation(config, contract, route, examples)
        operations.setdefault(route.template, {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Attrition risk",
            "version": __version__,
            "summary": "Which clients are about to leave, why, and what is at stake.",
        },
        "paths": operations,
        "components": {
            "schemas": {**_models(routes), "Row": row(contract)},
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "where the server has keys"}
            },
        },
    }


def row(contract: Contract) -> dict[str, Any]:
    """A row to predict as JSON Schema: what `Contract.judge_instance` takes."""
    clients = contract.clients
    columns: dict[str, dict[str, Any]] = {clients.id: {"type": ["string", "integer"]}}
    for column in clients.texts:
        columns[column] = {"type": ["string", "integer"]}
        if column in clients.categorical:
            columns[column] |= _category(contract, column)
    for column in clients.numbers:
        low, high = contract.limits(column)
        columns[column] = {"type": "number", "minimum": low, "maximum": high}
    for column, schema in columns.items():
        if (words := clients.word(column)) != column:
            schema["description"] = words
    return {
        "type": "object",
        "properties": columns,
        "required": [*clients.numeric, *clients.categorical],
        "description": "further columns are left out of account"
        + "".join(f"; {rule.text} ({severity}s)" for rule, severity in contract.rules),
    }


def example_row(contract: Contract, typical: Mapping[str, Any]) -> dict[str, Any]:
    """A row that keeps the contract: the typical client where one is known."""
    clients = contract.clients
    numbers = {c: typical.get(c) for c in clients.numeric}
    return {
        clients.id: "Example Ltd",
        **{column: _within(contract.limits(column), value) for column, value in numbers.items()},
        **{
            column: typical.get(column) or next(iter(clients.categories.get(column, ())), "")
            for column in clients.categorical
        },
    }


def page(told: Mapping[str, Any]) -> str:
    """The document as a page for people; no script, nothing from elsewhere."""
    return _template().render(told=told, style=_style(), name_of=_name_of)


def style_source() -> str:
    """The one style that the page may have, as a Content-Security-Policy names it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()}'"


@cache
def _style() -> str:
    return (TEMPLATES / "docs.css").read_text("utf-8")


def _within(limits: tuple[float, float], value: float | None) -> float:
    low, high = limits
    return min(max(0.0 if value is None else value, low), high)


def _category(contract: Contract, column: str) -> dict[str, Any]:
    allowed = contract.clients.categories.get(column)
    is_required = column in contract.clients.required
    if allowed is None:
        # in Python blanks at both ends count for nothing, so a required text needs something else
        return {"pattern": r"\S"} if is_required else {}
    blank = [] if is_required else [""]
    return {"enum": [*blank, *allowed, *(int(value) for value in allowed if value == _as_integer(value))]}


def _as_integer(text: str) -> str | None:
    digits = text.removeprefix("-")
    return str(int(text)) if digits.isascii() and digits.isdecimal() else None


def _operation(
    config: Config, contract: Contract, route: Route, examples: Mapping[str, Any]
) -> dict[str, Any]:
    refusals = {*route.refusals, *((400,) if route.query.model_fields else ())}
    if route.role != keys.OPEN:
        refusals |= {400, 401, 403, 421, 429}
    answers = {media: _answer(media, model, route, examples) for media, model in route.answers.items()}
    told: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.sentence,
        "parameters": [*_parameters(config, route)],
        "responses": {
            "200": {"description": "the answer", "content": answers},
            **{str(status): _refusal(status) for status in sorted(refusals)},
        },
        "security": [] if route.role == keys.OPEN else [{"key": []}, {}],
    }
    if route.takes_rows:
        told["requestBody"] = {"required": True, "content": _bodies(config, contract, examples)}
    return told


def _parameters(config: Config, route: Route) -> Sequence[dict[str, Any]]:
    queried = {
        name: schema
        for name, schema in route.query.parameters().items()
        # a list without an owner's column cannot be asked for by owner
        if name != "owner" or config.clients.owner
    }
    return [
        *(
            {"name": name, "in": "path", "required": True, "description": told, "schema": {"type": "string"}}
            for name, told in route.within.items()
        ),
        *({"name": name, "in": "query", "required": False, "schema": s} for name, s in queried.items()),
    ]


def _answer(
    media: str, model: type[BaseModel] | None, route: Route, examples: Mapping[str, Any]
) -> dict[str, Any]:
    text = {"type": "object" if media == JSON else "string"}
    schema = {"$ref": REF.format(model=model.__name__)} if model else text
    if route.takes_rows and media == JSON and "answer" in examples:
        return {"schema": schema, "examples": {"typical": {"value": examples["answer"]}}}
    return {"schema": schema}


def _refusal(status: int) -> dict[str, Any]:
    content = {PROBLEM: {"schema": {"$ref": REF.format(model="Problem")}}}
    return {"description": REFUSALS[status], "content": content}


def _bodies(config: Config, contract: Contract, examples: Mapping[str, Any]) -> dict[str, Any]:
    most = config.settings.api.max_rows
    by_name = {
        "type": "object",
        "properties": {
            "filepath": {
                "type": "string",
                "pattern": f"^{paths.NAME.pattern}$",
                "description": f"a dataset (*.csv) below {', '.join(paths.names(config))}",
            }
        },
        "required": ["filepath"],
        "additionalProperties": False,
    }
    by_rows = {
        "type": "object",
        "properties": {
            "instances": {
                "type": "array",
                "items": {"$ref": REF.format(model="Row")},
                "minItems": 1,
                "maxItems": most,
            }
        },
        "required": ["instances"],
        "additionalProperties": False,
    }
    given = examples.get("row") or example_row(contract, {})
    needed = ", ".join(contract.needed(to_predict=True))
    as_csv = f"{','.join(given)}\n{','.join(map(str, given.values()))}\n"
    return {
        JSON: {
            "schema": {"oneOf": [by_rows, by_name]},
            "examples": {"typical": {"value": {"instances": [given]}}},
        },
        CSV: {
            "schema": {"type": "string", "description": f"UTF-8, with a header; needed: {needed}"},
            "examples": {"typical": {"value": as_csv}},
        },
    }


def _models(routes: Sequence[Route]) -> dict[str, Any]:
    """The schemas of all answers and of what they are made of."""
    used: set[type[BaseModel]] = {shapes.Problem}
    used |= {model for route in routes for model in route.answers.values() if model}
    ordered = sorted(used, key=lambda model: model.__name__)
    _, top = models_json_schema(
        [(model, "validation") for model in ordered], ref_template=REF.format(model="{model}")
    )
    found: dict[str, Any] = top["$defs"]
    return found


def _name_of(schema: Mapping[str, Any]) -> str:
    """The name of the model that a schema refers to."""
    return str(schema["$ref"]).rsplit("/", 1)[-1]


@cache
def _template() -> "Template":
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("docs.html")
