"""Whether a JSON value fits a JSON Schema: the part of 2020-12 that /openapi.json uses, and no more.

A keyword that is not known here is an error, never passed over: a check that skips a rule would lie.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]
TOLD_ONLY = {"description", "title", "default", "examples", "summary"}


def misfits(value: Any, schema: Schema, document: Schema, place: str = "it") -> Iterator[str]:
    """What does not fit, each as a sentence that names the place; `document` is where $ref leads."""
    if "$ref" in schema:
        yield from misfits(value, _referred(schema["$ref"], document), document, place)
        return
    for keyword, rule in schema.items():
        if keyword in TOLD_ONLY:
            continue
        if keyword not in KEYWORDS:
            raise ValueError(f"the schema of {place} has the keyword {keyword!r}, which is not known here")
        yield from KEYWORDS[keyword](value, rule, document, place)


def _referred(reference: str, document: Schema) -> Schema:
    found: Any = document
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return dict(found)


def _type(value: Any, rule: Any, document: Schema, place: str) -> Iterator[str]:
    kinds = [rule] if isinstance(rule, str) else rule
    if not any(TYPES[kind](value) for kind in kinds):
        yield f"{place} is no {' or '.join(kinds)}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


TYPES: Mapping[str, Callable[[Any], bool]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "string": lambda value: isinstance(value, str),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
    "number": _is_number,
    "integer": lambda value: _is_number(value) and value == int(value),
}


def _properties(value: Any, rule: Any, document: Schema, place: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key in rule.keys() & value.keys():
            yield from misfits(value[key], rule[key], document, f"{place}.{key}")


def _required(value: Any, rule: Any, document: Schema, place: str) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (f"{place} has no {key}" for key in rule if key not in value)


def _further(value: Any, rule: Any, document: Schema, place: str) -> Iterator[str]:
    if rule is False:
        raise ValueError(f"the schema of {place} forbids further keys, which is not known here")
    if isinstance(value, dict) and isinstance(rule, Mapping):
        for key, inner in value.items():
            yield from misfits(inner, rule, document, f"{place}.{key}")


def _items(value: Any, rule: Any, document: Schema, place: str) -> Iterator[str]:
    if isinstance(value, list):
        for at, inner in enumerate(value):
            yield from misfits(inner, rule, document, f"{place}[{at}]")


def _any_of(value: Any, rule: Any, document: Schema, place: str) -> Iterator[str]:
    if not any(next(misfits(value, kind, document, place), None) is None for kind in rule):
        yield f"{place} fits none of {len(rule)} schemas"


def _enum(value: Any, rule: Any, document: Schema, place: str) -> Iterator[str]:
    if value not in rule:
        yield f"{place} is none of {', '.join(map(str, rule))}"


def _minimum(value: Any, rule: Any, document: Schema, place: str) -> Iterator[str]:
    if _is_number(value) and value < rule:
        yield f"{place} is below {rule}"


def _maximum(value: Any, rule: Any, document: Schema, place: str) -> Iterator[str]:
    if _is_number(value) and value > rule:
        yield f"{place} is above {rule}"


def _pattern(value: Any, rule: Any, document: Schema, place: str) -> Iterator[str]:
    if isinstance(value, str) and not re.search(rule, value):
        yield f"{place} does not fit {rule}"


KEYWORDS: Mapping[str, Callable[[Any, Any, Schema, str], Iterator[str]]] = {
    "type": _type,
    "properties": _properties,
    "required": _required,
    "additionalProperties": _further,
    "items": _items,
    "anyOf": _any_of,
    "enum": _enum,
    "minimum": _minimum,
    "maximum": _maximum,
    "pattern": _pattern,
}
