import math
from typing import Any

import pytest

from attrition import arithmetic, contract, sources
from attrition.contract import Contract
from attrition.settings import Clients
from attrition.sources import Dataset, Unreadable
from tests.projects import HEADER

GOOD = {
    "corporation": "Acme",
    "lastmonth_activity": "12",
    "lastyear_activity": "166.5",
    "number_of_employees": "7",
    "exited": "1",
}


def compiled(**clients: Any) -> Contract:
    return contract.compiled(Clients.model_validate(clients))


CLASSIC = compiled()


def judged(**cells: str) -> contract.Verdict:
    return CLASSIC.judge({**GOOD, **cells})


def test_a_good_row_keeps_its_values() -> None:
    verdict = judged()
    assert verdict.accepted
    assert verdict.values == {
        "corporation": "Acme",
        "lastmonth_activity": 12.0,
        "lastyear_activity": 166.5,
        "number_of_employees": 7.0,
        "exited": "1",
    }


@pytest.mark.parametrize(
    "name", ["NA", "None", "null", "0042", "=cmd|' /C calc'!A0", "  spaced  ", "مرحبا", "🙂"]
)
def test_a_client_may_have_any_name(name: str) -> None:
    assert judged(corporation=name).values["corporation"] == name.strip()


@pytest.mark.parametrize(
    "text",
    [
        "abc",
        "NaN",
        "inf",
        "-inf",
        "1e999",
        "0x10",
        "1_000",
        "1,000",
        "١٢",
        "\u22125",
        "10" * 20,
        "1e10",
        "--1",
        "1 2",
    ],
)
def test_what_is_no_usable_number_rejects_the_row(text: str) -> None:
    verdict = judged(lastmonth_activity=text)
    assert [problem.column for problem in verdict.problems] == ["lastmonth_activity"]


@pytest.mark.parametrize("text", ["5", "5.0", "+5", " 5 ", "5e0", "5.", "0.05e2"])
def test_a_number_may_be_written_in_several_ways(text: str) -> None:
    assert judged(lastmonth_activity=text).values["lastmonth_activity"] == 5.0


def test_a_blank_number_is_a_missing_value() -> None:
    assert math.isnan(judged(lastmonth_activity="  ").values["lastmonth_activity"])


@pytest.mark.parametrize(("target", "accepted"), [("1", True), ("0", True), ("", True), (" 1 ", True)])
def test_an_outcome_is_left_stayed_or_not_known_yet(target: str, accepted: bool) -> None:
    assert judged(exited=target).accepted is accepted


@pytest.mark.parametrize("target", ["7", "-1", "0.5", "yes", "1.0", "01"])
def test_any_other_outcome_rejects_the_row(target: str) -> None:
    (problem,) = judged(exited=target).problems
    assert problem.code == "bad_outcome"
    assert repr(target) in problem.message


def test_a_range_is_held() -> None:
    ranged = compiled(ranges={"number_of_employees": (1, 5000), "lastyear_activity": (None, 2e9)})
    assert not ranged.judge({**GOOD, "number_of_employees": "0"}).accepted
    assert ranged.judge({**GOOD, "lastyear_activity": "-1"}).accepted
    assert ranged.judge({**GOOD, "lastyear_activity": "1.5e9"}).accepted
    assert not ranged.judge({**GOOD, "lastmonth_activity": "1.5e9"}).accepted


def test_every_problem_of_a_row_is_told() -> None:
    problems = judged(corporation="", lastmonth_activity="x", exited="7").problems
    assert [problem.code for problem in problems] == ["no_id", "not_a_number", "bad_outcome"]


def test_a_rule_warns_or_rejects() -> None:
    rule = "lastmonth_activity <= lastyear_activity"
    warns = compiled(rules=(rule,)).judge({**GOOD, "lastmonth_activity": "200"})
    assert warns.accepted and warns.warnings[0].code == "rule"
    rejects = compiled(rules=({"rule": rule, "severity": "reject"},))
    assert not rejects.judge({**GOOD, "lastmonth_activity": "200"}).accepted
    assert rejects.judge({**GOOD, "lastmonth_activity": ""}).accepted


def test_a_derived_column_is_computed_and_missing_where_it_cannot_be() -> None:
    derived = compiled(derived={"share": "lastmonth_activity / (lastyear_activity - 166.5)"})
    assert derived.judge({**GOOD, "lastyear_activity": "190.5"}).values["share"] == 0.5
    assert math.isnan(derived.judge(GOOD).values["share"])
    assert math.isnan(derived.judge({**GOOD, "lastmonth_activity": ""}).values["share"])


@pytest.mark.parametrize(
    "text",
    [
        "a ** 2",
        "__import__('os')",
        "a if b else c",
        "True + a",
        "a.b",
        "a[0]",
        "lambda: 1",
        "a; b",
        "(" * 900,
        "a" * 2000,
    ],
)
def test_nothing_but_arithmetic_is_let_through(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the sentence depends on the Python version
        arithmetic.formula(text)


def test_a_category_may_be_held_to_its_values_and_a_column_to_be_filled() -> None:
    strict = compiled(
        categorical=("industry",),
        categories={"industry": ("Retail", "Health")},
        required=("lastmonth_activity",),
    )
    row = {**GOOD, "industry": "Retail"}
    assert strict.judge(row).accepted
    assert strict.judge({**row, "industry": ""}).accepted
    told = strict.judge({**row, "industry": "Retial", "lastmonth_activity": " "}).problems
    assert [problem.code for problem in told] == ["unknown_category", "blank"]
    assert "one of Retail, Health" in told[0].message
    assert not strict.judge_instance({"industry": "x", **{c: 1 for c in strict.clients.numeric}}).accepted


def test_a_row_to_predict_needs_no_outcome() -> None:
    row = {column: value for column, value in GOOD.items() if column != "exited"}
    assert CLASSIC.judge(row, to_predict=True).accepted
    assert CLASSIC.judge({**row, "exited": "7"}, to_predict=True).accepted


@pytest.mark.parametrize("value", ["12", True, None, [1], {}, float("inf"), -2e9, 10**400])
def test_in_json_a_number_must_be_a_number(value: Any) -> None:
    instance = {
        "corporation": "Acme",
        "lastmonth_activity": value,
        "lastyear_activity": 5,
        "number_of_employees": 7,
    }
    assert [p.column for p in CLASSIC.judge_instance(instance).problems] == ["lastmonth_activity"]


def test_in_json_a_missing_column_is_named() -> None:
    (problem,) = CLASSIC.judge_instance({"lastmonth_activity": 1, "number_of_employees": 7}).problems
    assert (problem.column, problem.code) == ("lastyear_activity", "missing_column")


def test_text_and_json_of_the_same_row_are_judged_alike() -> None:
    rich = compiled(categorical=("industry",), derived={"sum": "lastmonth_activity + lastyear_activity"})
    text = rich.judge({**GOOD, "industry": "Retail"}, to_predict=True)
    numbers = {"lastmonth_activity": 12, "lastyear_activity": 166.5, "number_of_employees": 7}
    assert rich.judge_instance({"corporation": "Acme", "industry": "Retail", **numbers}).values == text.values


def parsed(*lines: str, header: str = HEADER) -> Dataset:
    return sources.parse("a.csv", "\n".join((header, *lines)).encode())


def test_columns_are_found_by_name_in_any_order() -> None:
    swapped = parsed(
        "1,7,12,166.5,Acme",
        header="exited,number_of_employees,lastmonth_activity,lastyear_activity,corporation",
    )
    assert contract.judge_dataset(CLASSIC, swapped).rows[0]["lastyear_activity"] == 166.5


def test_half_a_row_is_rejected_with_its_line_and_its_text() -> None:
    result = contract.judge_dataset(CLASSIC, parsed("a,1,2,3,0", 'b,"1', ' 2",3', "c,1", "", "d,1,2,3,1"))
    assert [row["corporation"] for row in result.rows] == ["a", "d"]
    assert [(r.line, r.problem.code, r.row) for r in result.rejected] == [
        (3, "ragged", 'b,"1\n 2",3'),
        (5, "ragged", "c,1"),
        (6, "blank_line", ""),
    ]
    assert result.rows_read == 5


def test_a_dataset_without_a_column_is_rejected_whole_and_near_names_are_shown() -> None:
    result = contract.judge_dataset(CLASSIC, parsed("a,1,2,3,0", header=HEADER.replace("exited", "Exited")))
    (rejected,) = result.rejected
    assert rejected.line is None
    assert "Exited (write exited)" in rejected.problem.message


def test_another_separator_is_recognised() -> None:
    result = contract.judge_dataset(CLASSIC, parsed("a;1;2;3;0", header=HEADER.replace(",", ";")))
    assert "separate the columns by commas" in result.rejected[0].problem.message


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty"),
        (b"\n\n  \n", "empty"),
        (HEADER.encode("utf-16"), "encoding"),
        (HEADER.encode("utf-16-le"), "nul_bytes"),
        (HEADER.encode() + b"\nM\xfcller,1,2,3,0\n", "encoding"),
        (b"\x1f\x8b\x08\x00rubbish", "compressed"),
        (b"PK\x03\x04rubbish", "compressed"),
        (bytes(range(1, 256)), "encoding"),
        (b"a,b,a\n1,2,3\n", "duplicate_columns"),
        (b"a,b\n1,2,\n3,4,\n", "ragged"),
        (b'a,b\n"1,2\n', "not_csv"),
        (b"a,b\n1," + b"x" * 200_000 + b"\n", "not_csv"),
        (b"c," * 1_000_000, "header_too_long"),
    ],
)
def test_what_cannot_be_read_has_a_code_and_a_sentence(data: bytes, code: str) -> None:
    with pytest.raises(Unreadable) as refused:
        sources.parse("a.csv", data)
    assert refused.value.code == code
    assert len(refused.value.sentence) < 200


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_every_usual_kind_of_csv_is_read(newline: str, mark: str) -> None:
    dataset = sources.parse("a.csv", f'{mark}a,b{newline}"x, y",1{newline}z,2'.encode())
    assert dataset.header == ["a", "b"]
    assert [fields for _, fields in dataset.rows] == [["x, y", "1"], ["z", "2"]]


def test_names_are_ordered_as_people_count() -> None:
    names = ["clients-10.csv", "clients-9.csv", "2026-02.csv", "2025-12.csv", "a.csv", "²x.csv"]
    assert sorted(names, key=sources.natural) == [
        "2025-12.csv",
        "2026-02.csv",
        "a.csv",
        "clients-9.csv",
        "clients-10.csv",
        "²x.csv",
    ]
