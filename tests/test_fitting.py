"""The small check of answers says what a whole implementation of JSON Schema says."""

from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attrition import fitting

scalars = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, 1.0, "", "a", "ab", "x1"])
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner)
)
names = st.sampled_from(["null", "boolean", "string", "array", "object", "number", "integer"])
schemas = st.recursive(
    st.fixed_dictionaries(
        {},
        optional={
            "type": names | st.lists(names, min_size=1, max_size=3, unique=True),
            "enum": st.lists(st.sampled_from(["a", "ab", 2, None]), min_size=1, unique=True),
            "minimum": st.integers(-2, 2),
            "maximum": st.integers(-2, 2),
            "pattern": st.sampled_from(["^a", "b$", "^[a-z]+$"]),
            "required": st.lists(st.sampled_from("abc"), unique=True),
            "description": st.just("told only"),
        },
    )
    | st.just({"$ref": "#/components/schemas/Text"}),
    lambda inner: (
        st.fixed_dictionaries(
            {},
            optional={
                "items": inner,
                "properties": st.dictionaries(st.sampled_from("abc"), inner),
                "anyOf": st.lists(inner, min_size=1, max_size=3),
            },
        )
        | st.fixed_dictionaries({"additionalProperties": inner | st.just(True)})
    ),
    max_leaves=6,
)
DOCUMENT = {"components": {"schemas": {"Text": {"type": "string", "pattern": "^a"}}}}


@given(values, schemas)
@settings(max_examples=300, deadline=None, derandomize=True, database=None)
def test_it_takes_what_fits_and_nothing_else(value: Any, schema: dict[str, Any]) -> None:
    oracle = jsonschema_rs.Draft202012Validator({**schema, **DOCUMENT})
    assert (next(fitting.misfits(value, schema, DOCUMENT), None) is None) == oracle.is_valid(value)


@pytest.mark.parametrize(
    "schema", [{"multipleOf": 2}, {"not": {}}, {"type": "object", "additionalProperties": False}]
)
def test_a_rule_that_it_does_not_know_is_never_passed_over(schema: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not known here"):
        list(fitting.misfits({}, schema, DOCUMENT))


def test_the_place_of_a_misfit_is_named() -> None:
    schema = {"properties": {"a": {"items": {"properties": {"b": {"type": "integer"}}, "required": ["c"]}}}}
    found = set(fitting.misfits({"a": [{"b": 1, "c": 2}, {"b": "x"}]}, schema, {}))
    assert found == {"it.a[1].b is no integer", "it.a[1] has no c"}
