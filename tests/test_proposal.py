"""What --propose-contract infers from small made-up tables, from the shipped data and from real data."""

import csv
import json
import random
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ingestion
import training
from attrition import contract, proposal, sources, tables
from attrition.errors import DataError
from attrition.proposal import Column, Proposal
from attrition.settings import Clients
from tests import projects
from tests.projects import CHECKOUT, SHARED, Project

CHURN = ["ecommerce_churn", "ibm_hr_attrition", "mlc_churn_5000", "telco_ibm"]
ROWS = 60


def table(rows: int = ROWS, /, **columns: Iterable[Any]) -> dict[str, list[str]]:
    """Clients with an activity and an outcome that hardly depends on it; an empty column is left away."""
    given = {
        "client": [f"Client {i}" for i in range(rows)],
        "activity": [str(i * 37 % 53) for i in range(rows)],
        "churn": ["yes" if i * 29 % 60 < 17 else "no" for i in range(rows)],
    }
    given |= {name: [str(cell) for cell in cells] for name, cells in columns.items()}
    return {name: cells for name, cells in given.items() if cells}


def cycle(*cells: Any) -> list[Any]:
    return [cells[i * i % 59 % len(cells)] for i in range(ROWS)]


def put(project: Project, columns: Mapping[str, Sequence[str]], name: str = "a.csv") -> None:
    rows = zip(*columns.values(), strict=True)
    project.write(f"sourcedata/{name}", tables.csv_text(list(columns), list(rows)))


def proposed(project: Project, columns: Mapping[str, Sequence[str]]) -> Proposal:
    put(project, columns)
    return proposal.propose(project.config())


def role(told: Proposal, column: str) -> str:
    return next(reason.role for reason in told.reasons if reason.column == column)


def why(told: Proposal, column: str, role: str | None = None) -> str:
    return next(
        reason.reason for reason in told.reasons if reason.column == column and role in (None, reason.role)
    )


def pasted(told: Proposal) -> dict[str, Any]:
    return projects.pasted(str(told))


def rejected(project: Project, section: Mapping[str, Any]) -> int:
    project.configure(clients=section)
    compiled = contract.compiled(project.config().clients)
    read = [sources.read(found) for found in sources.find(project.home / "sourcedata")]
    return sum(len(contract.judge_dataset(compiled, dataset).rejected) for dataset in read)


def trained(project: Project, section: Mapping[str, Any]) -> training.Trained:
    project.configure(clients=section)
    assert ingestion.run(project.config()).rows_rejected == 0
    return training.run(project.config())


def test_a_plain_table_gets_a_section_that_can_be_pasted_as_it_is(project: Project) -> None:
    told = proposed(project, table(plan=cycle("basic", "pro", "team")))
    assert pasted(told) == {
        "id": "client",
        "target": "churn",
        "left": "yes",
        "stayed": "no",
        "numeric": ["activity"],
        "categorical": ["plan"],
        "carry": [],
        "words": {},
        "ranges": {"activity": [0, None]},
        "value": None,
        "owner": None,
    }
    assert (told.status, told.datasets, told.rows) == ("done", ["a.csv"], ROWS)
    assert rejected(project, pasted(told)) == 0
    assert Clients.model_validate(told.clients) == project.config().clients


def test_every_column_has_its_reason_in_the_text(project: Project) -> None:
    told = proposed(project, table(plan=["basic", "pro", "pro"] * 20, constant=["x"] * ROWS))
    assert {reason.column for reason in told.reasons} == {
        "client",
        "activity",
        "churn",
        "plan",
        "constant",
        "",
    }
    lines = str(told).splitlines()
    assert "- plan is categorical: text, 2 values such as 'pro', 'basic'." in lines
    assert "- constant is left out: it is 'x' in every row." in lines
    assert lines[-1] == "- By this section every row that was looked at is accepted."


@pytest.mark.parametrize(
    "name",
    [
        "id",
        "customerID",
        "customer_id",
        "CustomerId",
        "userid",
        "EmployeeNumber",
        "account no",
        "corporation",
        "CLIENTNUM",
    ],
)
def test_a_name_that_says_id_wins_over_columns_as_distinct(project: Project, name: str) -> None:
    # every row has another activity, and it comes first
    columns = {"income": [str(i * 7 + 3) for i in range(ROWS)], **table(client=[])}
    columns[name] = [str(1000 + i * 3) for i in range(ROWS)]
    assert proposed(project, columns).clients["id"] == name


def test_without_a_telling_name_the_id_is_text_that_is_never_the_same(project: Project) -> None:
    columns = {"income": [str(i * 7 + 3) for i in range(ROWS)], **table(client=[])}
    columns["who"] = [f"W{i}" for i in range(ROWS)]
    told = proposed(project, columns)
    assert (told.clients["id"], told.clients["numeric"]) == ("who", ("income", "activity"))
    assert "a guess" in why(told, "who")


def test_numbers_with_leading_zeros_stay_an_id(project: Project) -> None:
    columns = table(client=[]) | {"customer_id": [f"{i:05d}" for i in range(ROWS)]}
    told = proposed(project, columns)
    assert told.clients["id"] == "customer_id"
    assert trained(project, pasted(told)).status == "done"
    assert "00007" in (project.config().ingested_folder / "finaldata.csv").read_text()


def test_a_client_may_have_a_row_in_every_dataset(project: Project) -> None:
    for month in range(1, 6):
        put(project, table(month=[f"2026-{month:02d}"] * ROWS), f"{month}.csv")
    told = proposal.propose(project.config())
    assert (told.clients["id"], told.clients["carry"], told.rows) == ("client", ("month",), 5 * ROWS)


def test_a_second_id_is_left_out(project: Project) -> None:
    told = proposed(
        project, table(contract_id=[f"K-{i}" for i in range(ROWS)], tax_no=range(7, 7 + 9 * ROWS, 9))
    )
    assert role(told, "contract_id") == role(told, "tax_no") == "left out"
    assert "a second id" in why(told, "contract_id")


def test_a_column_that_numbers_the_rows_is_left_out(project: Project) -> None:
    told = proposed(project, {"": [str(i) for i in range(ROWS)], **table(position=range(1, ROWS + 1))})
    assert why(told, "position") == f"it numbers the rows, 1 to {ROWS}"
    assert Clients.model_validate(told.clients).features == ("activity",)


def test_without_an_id_the_most_distinct_column_stands_in_and_that_is_said(project: Project) -> None:
    minutes = [i % 50 * 1.5 for i in range(ROWS)]
    columns = table(client=[], activity=cycle(3, 5, 8), minutes=minutes, charge=[m * 2 for m in minutes])
    told = proposed(project, columns)
    assert (told.clients["id"], told.clients["numeric"]) == ("minutes", ("activity", "charge"))
    reason = why(told, "minutes")
    assert reason.startswith("a stand-in, for no column names the client")
    assert "has 50 values in 60 rows" in reason
    assert "(charge tells it the same)" in reason


def test_where_nothing_tells_clients_apart_an_id_column_is_asked_for(project: Project) -> None:
    put(project, table(client=[], activity=cycle(1, 2, 3), plan=cycle("a", "b", "c")))
    with pytest.raises(DataError, match="an id column is needed. Add one that names the client of each row"):
        proposal.propose(project.config())


@pytest.mark.parametrize(
    "name",
    ["churn", "Exited", "attrition", "Attrition_Flag", "has_left", "Customer Churn", "churnLabel", "target"],
)
def test_the_target_is_a_two_valued_column_whose_name_speaks_of_leaving(project: Project, name: str) -> None:
    columns = table(member=cycle("yes", "no"), paid=cycle("no", "yes"))
    columns[name] = columns.pop("churn")
    told = proposed(project, columns)
    assert (told.clients["target"], told.clients["categorical"]) == (name, ("member", "paid"))


def test_a_label_that_speaks_of_leaving_makes_a_target_too(project: Project) -> None:
    labels = {"yes": "Attrited Customer", "no": "Existing Customer"}
    columns = table(member=cycle("yes", "no"))
    columns["kind"] = [labels[cell] for cell in columns.pop("churn")]
    told = proposed(project, columns)
    assert (told.clients["target"], told.clients["left"]) == ("kind", "Attrited Customer")


@pytest.mark.parametrize(
    ("name", "rare", "often", "left"),
    [
        ("churn", "1", "0", "1"),
        ("churn", "0", "1", "1"),
        ("churn", "1.0", "0.0", "1.0"),
        ("churn", "1", "-1", "1"),
        ("churn", "No", "Yes", "Yes"),
        ("churn", "TRUE", "FALSE", "TRUE"),
        ("churn", "churned", "not churned", "churned"),
        ("churn", "retained", "lapsed", "lapsed"),
        ("churn", "2", "1", "2"),
        ("churn", "1", "2", "1"),
        ("churn", "red", "blue", "red"),
        ("retained", "0", "1", "0"),
        ("retained", "1", "0", "0"),
        ("retained", "yes", "no", "no"),
    ],
)
def test_left_is_the_label_that_says_so_and_else_the_rarer_one(
    project: Project, name: str, rare: str, often: str, left: str
) -> None:
    columns = table()
    columns[name] = [rare if cell == "yes" else often for cell in columns.pop("churn")]
    told = proposed(project, columns)
    assert (told.clients["target"], told.clients["left"]) == (name, left)
    assert told.clients["stayed"] == (often if left == rare else rare)
    assert ("more left than stayed" in why(told, name)) == (left == often)


def test_a_guess_at_the_labels_is_called_one(project: Project) -> None:
    columns = table()
    columns["churn"] = ["red" if cell == "yes" else "blue" for cell in columns["churn"]]
    assert "a guess, to be checked: the rarer one" in why(proposed(project, columns), "churn")


def test_a_blank_outcome_is_not_known_yet(project: Project) -> None:
    columns = table()
    columns["churn"][:15] = [""] * 15
    told = proposed(project, columns)
    assert told.clients["target"] == "churn"
    assert "it is blank, not known yet, in 25% of the rows" in why(told, "churn")


def test_the_only_two_valued_column_is_taken_for_the_target_and_called_a_guess(project: Project) -> None:
    columns = table()
    columns["gone_by"] = columns.pop("churn")
    columns["fate"] = ["B" if cell == "yes" else "A" for cell in columns.pop("gone_by")]
    told = proposed(project, columns)
    assert (told.clients["target"], told.clients["left"]) == ("fate", "B")
    assert why(told, "fate").startswith("a guess, to be checked")


def test_of_several_without_a_hint_none_is_the_target_and_the_rest_is_proposed(project: Project) -> None:
    columns = table(churn=[], member=cycle("yes", "no"), exited=["0"] * ROWS, colour=cycle("red", "green"))
    told = proposed(project, columns)
    section = pasted(told)
    assert "target" not in section and "left" not in section
    assert (section["id"], section["categorical"]) == ("client", ["member", "colour"])
    sentence = next(str(reason) for reason in told.reasons if reason.role == "target")
    assert sentence.startswith("The target must be named by hand")
    assert "(member, colour)" in sentence
    project.configure(clients=section)
    assert project.config().clients.id == "client"


def test_no_two_valued_column_is_an_error_with_a_next_step(project: Project) -> None:
    put(project, table(churn=[]))
    with pytest.raises(DataError, match="sourcedata: no column has two values.*Add one, blank where"):
        proposal.propose(project.config())


def test_no_dataset_is_an_error_that_names_what_was_not_looked_at(project: Project) -> None:
    with pytest.raises(DataError, match=r"sourcedata: there is no dataset \(\*\.csv\)"):
        proposal.propose(project.config())
    project.write("sourcedata/old.csv", b"a,b\n\xff,1\n")
    project.write("sourcedata/only_header.csv", "a,b\n")
    with pytest.raises(DataError, match=r"old\.csv was not looked at: line 2 is not UTF-8.*it has no rows"):
        proposal.propose(project.config())


def test_no_input_folder_is_an_error_with_a_next_step(project: Project) -> None:
    shutil.rmtree(project.home / "sourcedata")
    with pytest.raises(DataError, match="there is no such folder. Make it"):
        proposal.propose(project.config())


def test_nothing_but_an_id_and_a_target_is_an_error(project: Project) -> None:
    put(project, table(activity=[]))
    with pytest.raises(DataError, match=r"besides the id \(client\) no column tells anything"):
        proposal.propose(project.config())


def test_an_unreadable_dataset_is_named_and_the_others_are_looked_at(project: Project) -> None:
    project.write("sourcedata/z.csv", b"\x1f\x8b\x08 compressed")
    told = proposed(project, table())
    assert told.datasets == ["a.csv"]
    assert "- z.csv was not looked at: it is compressed (gzip): unpack it first." in str(told).splitlines()


def test_a_dataset_of_another_kind_is_named_and_passed_over(project: Project) -> None:
    project.write("sourcedata/notes.csv", "when,text\n2026-01-01,hello\n")
    unlabelled = table(churn=[])
    put(project, unlabelled, "newest.csv")
    told = proposed(project, table())
    assert told.datasets == ["a.csv"]
    said = str(told)
    assert "notes.csv will be set aside by ingestion: it has hardly a column of a.csv" in said
    assert "newest.csv will be set aside by ingestion: it has no column churn" in said


def test_a_column_that_one_dataset_lacks_is_left_out(project: Project) -> None:
    put(project, table(plan=cycle("a", "b", "c")), "b.csv")
    told = proposed(project, table(score=cycle(1.5, 2, 7)))
    assert {"plan", "score"} & set(Clients.model_validate(told.clients).columns) == set()
    assert (why(told, "plan"), why(told, "score")) == ("a.csv does not have it", "b.csv does not have it")
    assert rejected(project, pasted(told)) == 0


def test_only_the_first_rows_are_looked_at_a_fair_share_of_each_dataset(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proposal, "MOST_ROWS", 50)
    put(project, table(), "b.csv")
    told = proposed(project, table())
    assert (told.rows, told.datasets) == (50, ["a.csv", "b.csv"])
    assert "- Only the first 50 of 120 rows were looked at." in str(told).splitlines()


def test_a_byte_order_mark_blanks_quoted_names_and_spaces_do_no_harm(project: Project) -> None:
    columns = table()
    columns['Total "net" charges, EUR'] = [
        f" {cell} " if i % 7 else "  " for i, cell in enumerate(cycle(1.5, 20, 3e2))
    ]
    columns["Preferred plan "] = [cell if i % 9 else "" for i, cell in enumerate(cycle("a", "b", "c"))]
    text = tables.csv_text(list(columns), list(zip(*columns.values(), strict=True)))
    project.write("sourcedata/a.csv", b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    told = proposal.propose(project.config())
    section = pasted(told)
    assert section["numeric"] == ["activity", 'Total "net" charges, EUR']
    assert section["categorical"] == ["Preferred plan"]
    assert section["words"] == {'Total "net" charges, EUR': "total net charges EUR"}
    assert trained(project, section).status == "done"


@pytest.mark.parametrize(
    ("name", "cells", "role"),
    [
        ("score", cycle(1, 2, 3, 4, 5), "numeric"),
        ("JobLevel", cycle(1, 2, 3), "numeric"),
        ("flag", cycle(0, 1), "numeric"),
        ("balance", cycle("-12.5", "+3", ".5", "1e3"), "numeric"),
        ("StoreCount", cycle(1, 2, 3), "numeric"),
        ("number_of_cities", cycle(1, 2, 3), "numeric"),
        ("YearsAtCompany", cycle(0, 3, 8), "numeric"),
        ("CityTier", cycle(1, 2, 3), "categorical"),
        ("area_code", cycle(408, 415, 510), "categorical"),
        ("region", cycle(1, 2, 3, 4), "categorical"),
        ("office", cycle("01", "02", "10"), "categorical"),
        ("zip", [10000 + i * 7 % 41 for i in range(ROWS)], "carry"),
        ("city", [f"City {i % 40}" for i in range(ROWS)], "carry"),
        ("amount", [i * 3 if i % 12 else "n/a" for i in range(ROWS)], "carry"),
        ("price", [f"${i},000.50" for i in range(ROWS)], "carry"),
        ("children", cycle("0", "1", "2", "3+"), "categorical"),
        ("plan", cycle("basic", "pro"), "categorical"),
        ("mark", cycle("x", ""), "categorical"),
        ("note", [f"Called them on day {i}, no answer" for i in range(ROWS)], "carry"),
        ("joined", [f"20{i % 20 + 10}-0{i % 9 + 1}-15" for i in range(ROWS)], "carry"),
        ("joined", [f"{i % 28 + 1}.{i % 12 + 1}.2024" for i in range(ROWS)], "carry"),
        ("seen", [f"2024-05-{i % 28 + 1:02d}T08:00:00Z" for i in range(ROWS)], "carry"),
        ("since", [f"2024{i % 12 + 1:02d}{i % 28 + 1:02d}" for i in range(ROWS)], "carry"),
        ("month", ["2026-03"] * ROWS, "carry"),
        ("year", cycle(2023, 2024), "carry"),
        ("country", ["DE"] * ROWS, "left out"),
        ("hours", [80] * ROWS, "left out"),
        ("empty", [""] * ROWS, "left out"),
        ("dataset", cycle("a", "b", "c"), "left out"),
        ("email", [f"c{i}@example.com" for i in range(ROWS)], "left out"),
        ("account_manager", cycle("Adams", "Brandt", "Costa"), "owner"),
        ("SalesRep", cycle("Adams", "Brandt"), "owner"),
        ("owner name", cycle("Adams", "Brandt"), "owner"),
        ("home_owner", cycle("Yes", "No", ""), "categorical"),
        ("YearsWithCurrManager", cycle(0, 4, 9), "numeric"),
    ],
)
def test_what_a_column_is_comes_from_its_cells_and_its_name(
    project: Project, name: str, cells: list[Any], role: str
) -> None:
    told = proposed(project, table(**{name: cells}))
    assert [reason.role for reason in told.reasons if reason.column == name][:1] == [role]
    section = Clients.model_validate(told.clients)
    assert (name in section.columns) == (role != "left out")
    assert rejected(project, pasted(told)) == 0


def test_advice_says_how_badly_written_numbers_can_become_numeric(project: Project) -> None:
    told = proposed(project, table(price=[f"${i},000.50" for i in range(ROWS)]))
    assert "('$0,000.50'): write plain numbers" in why(told, "price")


def test_a_slip_in_a_hundred_cells_is_left_to_the_contract_and_said(project: Project) -> None:
    columns = table(240)
    columns["activity"][100] = "n/a"
    columns["churn"][200] = "maybe"
    told = proposed(project, columns)
    assert told.clients["numeric"] == ("activity",)
    assert "('n/a') will be rejected" in why(told, "activity")
    assert "('maybe') will be rejected" in why(told, "churn")
    assert "2 of 240 rows are rejected, first line 102 of a.csv: activity is 'n/a'" in str(told)
    assert rejected(project, pasted(told)) == 2


def test_a_ragged_row_is_passed_over_and_counted(project: Project) -> None:
    put(project, table())
    path = project.home / "sourcedata" / "a.csv"
    path.write_text(path.read_text() + "Client 99,5\n")
    assert "1 of 61 rows are rejected" in str(proposal.propose(project.config()))


def test_ranges_follow_the_numbers_that_were_seen(project: Project) -> None:
    told = proposed(
        project,
        table(
            balance=cycle(-5, 0, 12),
            turned_over=cycle(0, 7, 2.5e9),
            sunk=cycle(-3e9, 0, 1),
            both=cycle(-1e10, 0, 1e10),
        ),
    )
    assert pasted(told)["ranges"] == {
        "activity": [0, None],
        "turned_over": [0, 1e10],
        "sunk": [-1e10, None],
        "both": [-1e10, 1e10],
    }
    assert rejected(project, pasted(told)) == 0


@pytest.mark.parametrize(
    ("names", "value"),
    [
        (["yearly_value"], "yearly_value"),
        (["MonthlyCharges", "TotalCharges"], "MonthlyCharges"),
        (["charges", "AnnualRevenue"], "AnnualRevenue"),
        (["spend_last_year"], "spend_last_year"),
        (["day_charge", "night_charge", "total_charge"], "night_charge"),
        (["eve_charge", "night_charge"], None),
        (["value_score"], None),
    ],
)
def test_a_value_is_proposed_by_its_name_as_a_hint(
    project: Project, names: list[str], value: str | None
) -> None:
    told = proposed(project, table(**{name: cycle(10, 20.5, 31, i) for i, name in enumerate(names)}))
    assert told.clients["value"] == value
    assert set(names) <= set(told.clients["numeric"])
    if value:
        assert "a hint only" in why(told, value, "value")


def test_a_second_owner_is_a_category(project: Project) -> None:
    told = proposed(
        project,
        table(account_manager=cycle("Adams", "Brandt"), sales_rep=cycle("Costa", "Dubois", "Eriksen")),
    )
    assert (told.clients["owner"], told.clients["categorical"]) == ("account_manager", ("sales_rep",))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("MonthlyCharges", "monthly charges"),
        ("StreamingTV", "streaming TV"),
        ("HTTPErrors", "HTTP errors"),
        ("orders.last-year", "orders last year"),
        ("lastmonth_activity", None),
        ("Contract", None),
        ("Total Charges", None),
        ("TOTAL_CHARGES", None),
        ("Größe_der_Firma", None),
        ("_", None),
    ],
)
def test_words_are_given_only_where_they_read_better(name: str, words: str | None) -> None:
    assert proposal.plain_words(name) == words


def leaky(turned: bool = False) -> list[bool]:
    return [(cell == "yes") != turned for cell in table()["churn"]]


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("reason", [f"reason {i % 3}" if left else "" for i, left in enumerate(leaky())]),
        ("status", ["closed" if left else ("open", "new")[i % 2] for i, left in enumerate(leaky())]),
        ("days_since", [str(i) if left else "" for i, left in enumerate(leaky())]),
        ("score", [100 + i if left else i for i, left in enumerate(leaky())]),
        ("calm", [100 + i if stayed else i for i, stayed in enumerate(leaky(turned=True))]),
        ("step", [2 if left else 1 + 2 * (i % 2) for i, left in enumerate(leaky())]),
        ("churn_value", [int(left) for left in leaky()]),
    ],
)
def test_what_gives_the_outcome_away_is_left_out_as_a_possible_leak(
    project: Project, name: str, cells: list[Any]
) -> None:
    told = proposed(project, table(**{name: cells}))
    assert (role(told, "activity"), role(told, name)) == ("numeric", "left out")
    assert why(told, name).startswith("a possible leak: it alone tells who left (ROC AUC ")
    assert told.clients["target"] == "churn"


def test_many_values_by_chance_are_no_leak(project: Project) -> None:
    noise = random.Random(3)
    told = proposed(project, table(branch=[f"B{noise.randrange(30)}" for _ in range(ROWS)]))
    assert role(told, "branch") == "categorical"


def test_names_and_cells_with_control_characters_are_shown_escaped(project: Project) -> None:
    told = proposed(project, table(**{"pl\x1b[31man": cycle("a\x1b[0m", "b")}))
    assert "\x1b" not in str(told)
    assert pasted(told)["categorical"] == ["pl\x1b[31man"]


def test_many_columns_are_wrapped_and_read_back_the_same(project: Project) -> None:
    told = proposed(project, table(**{f"a column, number {i}": cycle(1, 2.5, i) for i in range(40)}))
    assert pasted(told) == json.loads(json.dumps(told.clients))
    text = str(told)
    section = text[text.index('"clients"') : text.index("\n}\n")]
    assert max(map(len, section.splitlines())) <= 110


def test_practice_looks_at_the_practice_folder(project: Project) -> None:
    put(project, table())
    (project.home / "sourcedata" / "a.csv").rename(project.home / "practicedata" / "p.csv")
    assert proposal.propose(project.config(practice=True)).datasets == ["p.csv"]


def test_columns_that_commas_do_not_separate_are_told_as_that(project: Project) -> None:
    for cell in ("1", "1,5"):
        project.write("sourcedata/a.csv", f"client;visits;churn\nA;{cell};yes\nB;{cell};no\n")
        with pytest.raises(
            DataError, match="its header is 'client;visits;churn': separate the columns by commas"
        ):
            proposal.propose(project.config())
    put(project, table(), "b.csv")
    assert "a.csv was not looked at" in str(proposal.propose(project.config()))


def test_nothing_is_written(project: Project) -> None:
    put(project, table())
    before = project.snapshot()
    proposal.propose(project.config())
    assert project.snapshot() == before


CELLS = st.sampled_from(
    [
        "",
        " ",
        "0",
        "1",
        "2",
        "-1",
        "007",
        "3.5",
        "1e9",
        "9e9",
        "1e300",
        "-1e300",
        "1e999",
        "yes",
        "no",
        "x",
        "2024-01",
        "\u202e",
    ]
)
NAMES = st.sampled_from(
    [
        "",
        "id",
        "client",
        "churn",
        "exited",
        "dataset",
        "value",
        "owner",
        "zip",
        "date",
        "year",
        "_",
        "A b",
        "é",
        "left",
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_whatever_the_table_the_proposal_is_valid_or_an_error_says_what_is_missing(
    data: st.DataObject,
) -> None:
    names = data.draw(st.lists(NAMES, min_size=1, max_size=7, unique=True))
    count = data.draw(st.integers(1, 25))
    columns = [
        Column(name, [data.draw(st.lists(CELLS, min_size=count, max_size=count).map(_trimmed))])
        for name in names
    ]
    rows = [(i + 2, [column.cells[i] for column in columns]) for i in range(count)]
    dataset = sources.Dataset("a.csv", "", 0, names, rows)
    try:
        told = proposal.inferred(Path("sourcedata"), [dataset])
    except DataError as fault:
        assert str(fault).startswith("sourcedata: ")
        return
    section = Clients.model_validate_json(json.dumps(told.clients))
    assert Clients.model_validate(told.clients) == section
    assert json.loads(json.dumps(told.clients)) == pasted(told)
    judged = contract.judge_dataset(
        contract.compiled(section), dataset, to_predict="target" not in told.clients
    )
    count = len({each.line for each in judged.rejected})
    assert str(told.reasons[-1]).startswith(f"By this section {count or 'every row'}")


def _trimmed(cells: list[str]) -> list[str]:
    return [cell.strip() for cell in cells]


def test_ten_thousand_shipped_rows_come_out_as_the_config_has_them(project: Project) -> None:
    shutil.copytree(CHECKOUT / "sourcedata", project.home / "sourcedata", dirs_exist_ok=True)
    started = time.process_time()
    told = proposal.propose(project.config())
    assert time.process_time() - started < 2
    by_hand = json.loads((CHECKOUT / "config.json").read_text())["clients"]
    section = pasted(told)
    same = ("id", "target", "left", "stayed", "numeric", "categorical", "carry", "value", "owner")
    assert {key: section[key] for key in same} == {key: by_hand[key] for key in same}
    assert section["ranges"] == by_hand["ranges"] | {"number_of_employees": [0, None]}
    assert rejected(project, section) == 0


def test_the_classic_data_comes_out_as_the_defaults(project: Project, shared: Path) -> None:
    for source in (shared / "classic" / "sourcedata").glob("*.csv"):
        project.write(f"sourcedata/{source.name}", source.read_bytes())
    told = proposal.propose(project.config())
    assert Clients.model_validate({**told.clients, "ranges": {}}) == Clients()
    assert told.clients["ranges"] == dict.fromkeys(Clients().numeric, (0, None))
    assert rejected(project, pasted(told)) == 0


@pytest.fixture(scope="module")
def churn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Project, Proposal]]:
    """Each real data set alone in a project of its own, and what is proposed for it."""
    if not SHARED.is_dir():
        pytest.skip("the real data (../shared/data) is not beside this checkout")
    told = {}
    for name in CHURN:
        project = Project(tmp_path_factory.mktemp(name))
        project.write(f"sourcedata/{name}.csv", (SHARED / "churn" / f"{name}.csv").read_bytes())
        told[name] = project, proposal.propose(project.config())
    return told


@pytest.mark.parametrize("name", CHURN)
def test_real_data_trains_with_what_is_proposed_and_loses_no_row(
    churn: dict[str, tuple[Project, Proposal]], name: str
) -> None:
    project, told = churn[name]
    with (project.home / "sourcedata" / f"{name}.csv").open(newline="", encoding="utf-8-sig") as stream:
        header = next(csv.reader(stream))
    assert {reason.column for reason in told.reasons} - {""} == set(header)
    done = trained(project, pasted(told))
    assert (done.status, done.rows) == ("done", told.rows)


def test_telco_is_proposed_as_a_person_wrote_it(churn: dict[str, tuple[Project, Proposal]]) -> None:
    from tests.test_real_input import TELCO

    section = pasted(churn["telco_ibm"][1])
    assert {key: section[key] for key in TELCO} == TELCO
    assert (section["value"], section["words"]["StreamingTV"]) == ("MonthlyCharges", "streaming TV")


def test_the_employees_of_hr_lose_their_constants(churn: dict[str, tuple[Project, Proposal]]) -> None:
    told = churn["ibm_hr_attrition"][1]
    section = pasted(told)
    assert (section["id"], section["target"], section["left"]) == ("EmployeeNumber", "Attrition", "Yes")
    out = {reason.column for reason in told.reasons if reason.role == "left out"}
    assert out == {"EmployeeCount", "Over18", "StandardHours"}
    assert {"Education", "JobLevel", "MonthlyIncome"} <= set(section["numeric"])
    assert (section["owner"], section["value"]) == (None, None)


def test_the_tier_of_a_city_is_a_category(churn: dict[str, tuple[Project, Proposal]]) -> None:
    told = churn["ecommerce_churn"][1]
    section = pasted(told)
    assert (section["id"], section["target"], section["left"]) == ("CustomerID", "Churn", "1")
    assert "CityTier" in section["categorical"]
    assert why(told, "CityTier").startswith("numbers, but by its name (tier) codes")
    assert {"SatisfactionScore", "Complain", "Tenure"} <= set(section["numeric"])


def test_data_without_an_id_gets_the_stand_in_that_costs_least(
    churn: dict[str, tuple[Project, Proposal]],
) -> None:
    told = churn["mlc_churn_5000"][1]
    section = pasted(told)
    assert (section["id"], section["target"], section["left"]) == ("total_day_minutes", "churn", "yes")
    assert "total_day_charge" in section["numeric"]
    assert {"state", "area_code"} <= set(section["categorical"])
    assert "rows with the same value count as one client" in why(told, "total_day_minutes")
    assert "(total_day_charge tells it the same)" in why(told, "total_day_minutes")
    assert "No value is named" in str(told)
