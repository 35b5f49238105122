"""The quick way says what the full way says: about rows, about warnings, about reasons, about JSON."""

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attrition import bodies, scorecard
from attrition import contract as contracts
from attrition.problems import Refused
from attrition.quick import Rows, Usual
from attrition.settings import Clients
from tests import cards
from tests.test_api_document import CONTRACTS, values

MORE = {
    **CONTRACTS,
    "rules": {
        "rules": [
            {"rule": "lastmonth_activity <= lastyear_activity", "severity": "reject"},
            "number_of_employees > 1",
        ],
        "derived": {"share": "lastmonth_activity / lastyear_activity"},
    },
}
BOUNDED = settings(max_examples=400, deadline=None, derandomize=True, database=None)


def equal(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Equal, where a missing number is equal to a missing number."""
    return one.keys() == other.keys() and all(
        type(one[key]) is type(other[key])
        and (one[key] == other[key] or (one[key] != one[key] and other[key] != other[key]))
        for key in one
    )


@pytest.mark.parametrize("name", MORE)
def test_a_row_is_judged_as_the_contract_judges_it(name: str) -> None:
    clients = Clients.model_validate_json(json.dumps(MORE[name]))
    contract = contracts.compiled(clients)
    rows = Rows(contract)
    columns = [clients.id, *clients.texts, *clients.numbers, "further"]
    likely = {c: st.sampled_from(["Retail", "1", " 1 ", "x"]) for c in (clients.id, *clients.texts)}
    likely |= {c: st.sampled_from([1, 2.5, 400, -5]) for c in clients.numbers}
    quick = 0

    @given(
        st.fixed_dictionaries({}, optional={column: values(column, clients) for column in columns})
        | st.fixed_dictionaries(likely)
    )
    @BOUNDED
    def same(row: dict[str, Any]) -> None:
        nonlocal quick
        found, verdict = rows.values(row), contract.judge_instance(row)
        if found is not None:
            quick += 1
            assert verdict.accepted
            assert equal(found, dict(verdict.values))

    same()
    # and it is the way that sound rows go
    assert quick > 10


numbers = st.sampled_from([0.0, 1.0, 5.0, 10.0, 10.5, -1.0, math.nan])


@given(numbers, numbers, st.sampled_from(["a", "b", "c", ""]))
@BOUNDED
def test_a_row_is_usual_where_the_scorecard_has_no_warning(one: float, other: float, kind: str) -> None:
    never = {
        "kind": "number",
        "column": "other",
        "words": "other",
        "typical": None,
        "low": None,
        "high": None,
    }
    flat = {"kind": "line", "column": "other", "scale": "linear", "points": [], "effects": [], "missing": 0.0}
    parts = [
        cards.number("one", "one", 5.0, 0.0, 10.0, weight=0.1, missing=0.2),
        (never, flat),
        cards.category("kind", "kind", "a", {"a": 0.0, "b": 1.0}, unseen=0.5),
    ]
    card = cards.card([column for column, _ in parts], [term for _, term in parts], -1.0, 0.5)
    read = scorecard.load(json.dumps(card).encode())
    row = {"one": one, "other": other, "kind": kind}
    assert Usual(read).is_usual(row) == (read.warnings(row) == [])


@given(numbers, st.sampled_from(["a", "b", "c", ""]))
@BOUNDED
def test_a_row_alone_has_the_reasons_it_has_among_others(one: float, kind: str) -> None:
    number, line = cards.number("one", "one", 5.0, 0.0, 10.0, weight=0.1, missing=0.2)
    category, steps = cards.category("kind", "kind", "a", {"a": 0.0, "b": 1.0}, unseen=0.5)
    axes = [
        {"column": "one", "cuts": [3.0, 7.0]},
        {"column": "kind", "places": {"a": 0, "b": 1}},
    ]
    grid = [[0.0, 0.3, -0.2], [0.0, 0.0, 0.1], [0.5, -0.4, 0.2], [0.1, 0.2, 0.3]]
    pair = {"kind": "pair", "axes": axes, "effects": grid}
    card = cards.card([number, category], [line, steps, pair], -1.0, 0.5)
    read = scorecard.load(json.dumps(card).encode())
    alone = read.explain({"one": [one], "kind": [kind]}, top=None)
    among = read.explain({"one": [one, 4.0], "kind": [kind, "b"]}, top=None)
    for mine, other in zip(alone[0], among[0], strict=True):
        assert (mine.feature, mine.sentence) == (other.feature, other.sentence)
        assert mine.effect == pytest.approx(other.effect, abs=1e-12)


DOUBTFUL = [
    '{"instances": [{"a": 1, "a": 2}]}',
    '{"instances": [{"a": 1, "\\u0061": 2}]}',
    '{"instances": [{"a": ":", "a": 2}]}',
    '{"instances": [{"a:": 1, "a:": 2}]}',
    '{"instances": [], "instances": []}',
    '{"instances": [{"further": 1e999}]}',
    '{"instances": [{"further": -1e999}]}',
    '{"instances": [{"further": [1e999]}]}',
    '{"instances": [{"further": {"a": 1, "a": 1}}]}',
    '{"instances": [{"a": "{"}, {"b": {"c": 1, "c": 1}}]}',
    '{"instances": [{"a": "[", "b": ' + "[" * 40 + "]" * 40 + "}]}",
    '{"instances": [{"further": NaN}]}',
    '{"instances": [{"further": ' + "9" * 5000 + "}]}",
]


@pytest.mark.parametrize("text", DOUBTFUL, ids=range(len(DOUBTFUL)))
def test_no_faulty_json_goes_the_quick_way(text: str) -> None:
    with pytest.raises(Refused) as refused:
        bodies._object(text.encode())
    assert refused.value.status == 400


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(st.dictionaries(st.text(max_size=4), json_values, max_size=5), max_size=5), st.booleans())
@BOUNDED
def test_sound_json_is_read_as_it_is_whichever_way_it_goes(rows: list[Any], escaped: bool) -> None:
    body = json.dumps({"instances": rows}, ensure_ascii=escaped).encode("utf-8", "surrogatepass")
    try:
        assert bodies._object(body)["instances"] == rows
    except Refused as refused:
        assert "not UTF-8" in refused.detail
