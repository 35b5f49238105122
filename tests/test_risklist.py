"""The risk list: who is on it, in what order, with which words. Tables in, rows out."""

import csv
import io
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from attrition import contract as contracts
from attrition import keptlists, listfiles, plays, risklist, scorecard, tables
from attrition.keptlists import KeptList
from attrition.risklist import Entry
from attrition.scorecard import Scorecard
from attrition.settings import Bands, Clients, Risk
from tests import cards, lists

CLIENTS = Clients(
    id="company",
    target="exited",
    numeric=("logins",),
    categorical=("plan",),
    carry=("note",),
    words={"logins": "logins last month"},
    value="revenue",
    owner="manager",
)
PLAIN = Clients(id="company", target="exited", numeric=("logins",), categorical=("plan",))


def _card(features: Sequence[str] = ("logins", "plan"), threshold: float = 0.5) -> Scorecard:
    """Risk falls with logins around a typical 10; plan "trial" adds to it."""
    parts = {
        "logins": cards.number("logins", "logins last month", 10.0, 0.0, 40.0, weight=-0.2, missing=0.5),
        "plan": cards.category("plan", "plan", "paid", {"paid": 0.0, "trial": 1.5}, unseen=0.25),
    }
    taken = [parts[feature] for feature in features]
    facts = cards.card([column for column, _ in taken], [term for _, term in taken], -0.5, threshold)
    return scorecard.load(json.dumps(facts).encode())


def _table(clients: Clients, *rows: Mapping[str, Any]) -> pd.DataFrame:
    usual = {"exited": "", "logins": 10.0, "plan": "paid", "note": "", "revenue": 100.0, "manager": "Ada"}
    full = [{**usual, **row} for row in rows]
    table = contracts.frame(contracts.compiled(clients), full)
    table["dataset"] = "clients.csv"
    return table


def _overview(entries: Sequence[Entry]) -> risklist.Overview:
    """Of entries that come some at a time."""
    overview = risklist.Overview(capacity=3)
    for first in range(0, max(len(entries), 1), 4):
        overview.add(entries[first : first + 4])
    return overview


def _rank(table: pd.DataFrame, clients: Clients = CLIENTS, **risk: Any) -> list[Entry]:
    return lists.rank(clients, Risk(**risk), _card(), table, "000001-aa", "2026-03-01T06:00:00Z")


def _cells(header: Sequence[str], columns: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """The one row of an export."""
    return {name: cell for name, [cell] in zip(header, columns, strict=True)}


def _names(entries: Sequence[Entry]) -> list[str]:
    return [entry.client for entry in entries]


def test_a_client_counts_with_its_latest_row() -> None:
    table = _table(
        CLIENTS,
        {"company": "a", "logins": 1.0, "exited": "0"},
        {"company": "b", "logins": 2.0},
        {"company": "a", "logins": 30.0},
    )
    active, gone = risklist.current_clients(CLIENTS, [table])
    assert active[["company", "logins"]].to_numpy().tolist() == [["b", 2.0], ["a", 30.0]]
    assert gone == []


@pytest.mark.parametrize(
    ("outcomes", "is_active"),
    [
        (["", ""], True),
        (["0", ""], True),
        (["0", "1"], False),
        (["1", ""], False),
        (["1"], False),
        (["1", "0"], True),
        (["1", "0", ""], True),
    ],
)
def test_the_latest_known_outcome_decides_who_is_gone(outcomes: list[str], is_active: bool) -> None:
    table = _table(CLIENTS, *({"company": "a", "exited": outcome} for outcome in outcomes))
    active, gone = risklist.current_clients(CLIENTS, [table])
    assert (len(active), len(gone)) == ((1, 0) if is_active else (0, 1))


def test_the_likeliest_to_leave_comes_first_then_the_dearer_then_the_id() -> None:
    table = _table(
        CLIENTS,
        {"company": "tie-b", "revenue": 50.0},
        {"company": "tie-a", "revenue": 50.0},
        {"company": "dear", "revenue": 900.0},
        {"company": "no value", "revenue": float("nan")},
        {"company": "silent", "logins": 0.0, "revenue": 1.0},
    )
    entries = _rank(table)
    assert _names(entries) == ["silent", "dear", "tie-a", "tie-b", "no value"]
    assert [entry.rank for entry in entries] == [1, 2, 3, 4, 5]


def test_by_expected_loss_a_dear_client_overtakes_a_likelier_one() -> None:
    table = _table(
        CLIENTS,
        {"company": "likely", "logins": 0.0, "revenue": 10.0},
        {"company": "dear", "logins": 20.0, "revenue": 10_000.0},
        {"company": "unknown value", "logins": 0.0, "revenue": float("nan")},
        {"company": "unknown value, active", "logins": 40.0, "revenue": float("nan")},
    )
    assert _names(_rank(table))[0] == "likely"
    by_loss = _rank(table, order_by="expected_loss")
    assert _names(by_loss) == ["dear", "likely", "unknown value", "unknown value, active"]
    assert by_loss[0].expected_loss == pytest.approx(10_000.0 * (by_loss[0].probability or 0.0))


def test_without_a_value_column_the_order_by_expected_loss_is_that_of_risk() -> None:
    table = _table(PLAIN, {"company": "a", "logins": 30.0}, {"company": "b", "logins": 2.0})
    entries = _rank(table, PLAIN, order_by="expected_loss")
    assert _names(entries) == ["b", "a"]
    assert {entry.expected_loss for entry in entries} == {None}


def test_the_same_clients_give_the_same_list_whatever_their_order() -> None:
    rows = [{"company": f"c{i:03d}", "logins": float(i % 7), "revenue": float(i % 3)} for i in range(200)]
    lists = []
    for seed in range(5):
        random.Random(seed).shuffle(rows)
        lists.append([(entry.client, entry.rank) for entry in _rank(_table(CLIENTS, *rows))])
    assert lists.count(lists[0]) == len(lists)


def test_probability_band_and_reasons_are_those_of_the_scorecard() -> None:
    table = _table(CLIENTS, {"company": "a", "logins": 2.0, "plan": "trial"})
    [entry] = _rank(table)
    assert entry.probability == _card().probability(table)[0]
    assert (entry.band, entry.at_risk, entry.status) == ("high", True, "listed")
    assert [reason.feature for reason in entry.reasons] == ["logins", "plan"]
    assert entry.reasons[0].sentence.startswith("2 logins last month; typical 10")
    assert all("because" not in reason.sentence for reason in entry.reasons)


def test_a_probability_at_the_threshold_is_at_risk() -> None:
    table = _table(CLIENTS, {"company": "a"})
    card = _card(threshold=float(_card().probability(table)[0]))
    [entry] = lists.rank(CLIENTS, Risk(), card, table, "000001-aa", "2026-03-01T06:00:00Z")
    assert entry.at_risk


def test_missing_unusual_and_unknown_values_are_warned_of() -> None:
    table = _table(
        CLIENTS,
        {"company": "a", "logins": float("nan"), "plan": "trial"},
        {"company": "b", "logins": 500.0, "plan": "barter"},
    )
    warned = {entry.client: entry.warnings for entry in _rank(table)}
    assert warned["a"] == ["logins last month is missing"]
    assert len(warned["b"]) == 2
    assert "barter" in warned["b"][1]


def test_a_client_of_whom_nothing_is_known_is_listed_last_with_the_cause() -> None:
    table = _table(
        CLIENTS,
        {"company": "blank", "logins": float("nan"), "plan": "", "revenue": 1e6},
        {"company": "known", "logins": 40.0},
    )
    known, blank = _rank(table)
    assert (known.client, known.rank) == ("known", 1)
    assert (blank.status, blank.rank, blank.probability, blank.band) == ("not_scored", None, None, "")
    assert "none of the columns" in blank.cause
    assert blank.expected_loss is None


def test_where_the_data_lacks_a_column_of_the_model_nobody_is_scored_and_it_is_named() -> None:
    table = _table(CLIENTS, {"company": "a"}, {"company": "b"}).drop(columns="plan")
    entries = _rank(table)
    assert {entry.status for entry in entries} == {"not_scored"}
    assert "plan" in entries[0].cause


def test_without_a_client_the_list_is_empty() -> None:
    table = _table(CLIENTS)
    active, gone = risklist.current_clients(CLIENTS, [table])
    assert _rank(active) == []
    assert _overview([]).stakes["total"] == risklist.Stake(0, 0, None, None)
    assert gone == []


def test_the_short_list_gives_each_owner_as_many_as_can_be_worked_on() -> None:
    rows = [
        {"company": f"c{i:02d}", "logins": float(i), "manager": "Ada" if i < 8 else "Ben"} for i in range(12)
    ]
    blank = {"company": "blank", "logins": float("nan"), "plan": ""}
    short = risklist.short_list(_rank(_table(CLIENTS, *rows, blank)), capacity=3)
    assert _names(short) == ["c00", "c01", "c02", "c08", "c09", "c10"]


def test_without_owners_the_short_list_is_capped_as_a_whole() -> None:
    rows = [{"company": f"c{i:02d}", "logins": float(i)} for i in range(12)]
    assert _names(risklist.short_list(_rank(_table(PLAIN, *rows), PLAIN), capacity=3)) == [
        "c00",
        "c01",
        "c02",
    ]


def test_what_is_at_stake_adds_up_over_the_bands() -> None:
    rows = [{"company": f"c{i:02d}", "logins": float(i), "revenue": 10.0 * i} for i in range(30)]
    entries = _rank(_table(CLIENTS, *rows, {"company": "no value", "revenue": float("nan")}))
    stakes = _overview(entries).stakes
    bands = [stakes[band] for band in risklist.BANDS]
    assert all(band.clients for band in bands)
    assert stakes["total"].clients == sum(band.clients for band in bands) == 31
    assert stakes["total"].valued == 30
    assert stakes["total"].value == sum(10.0 * i for i in range(30))
    assert stakes["total"].expected_loss == pytest.approx(sum(band.expected_loss or 0.0 for band in bands))


def test_no_sum_is_invented_where_there_is_no_value() -> None:
    stake = _overview(_rank(_table(PLAIN, {"company": "a"}), PLAIN)).stakes["total"]
    assert (stake.clients, stake.value, stake.expected_loss) == (1, None, None)


def test_the_export_has_every_column_that_people_and_programs_rely_on() -> None:
    table = _table(CLIENTS, {"company": "a", "logins": 2.0, "note": "VIP"})
    header, columns = listfiles.export(CLIENTS, _rank(table))
    assert header[:11] == [
        "company", "probability", "risk_band", "rank", "expected_loss",
        "previous_probability", "change_points", "status",
        "reason_1", "reason_2", "reason_3",
    ]  # fmt: skip
    assert header[11:15] == ["reason_1_feature", "reason_1_value", "reason_1_typical", "reason_1_effect"]
    assert header[23:25] == ["suggested_action", "act_by"]
    assert header[25:29] == ["warnings", "release", "threshold", "scored_at"]
    assert header[29:] == ["note", "plan", "logins", "revenue", "manager", "exited", "dataset"]
    cells = _cells(header, columns)
    assert cells["reason_1_feature"] == "logins"
    assert (cells["reason_1_value"], cells["reason_1_typical"], cells["reason_1_effect"]) == (2.0, 10.0, 1.6)
    assert (cells["reason_2"], cells["reason_3_effect"]) == (None, None)
    assert (cells["release"], cells["threshold"], cells["note"]) == ("000001-aa", 0.5, "VIP")


def test_the_export_says_why_a_client_was_not_scored() -> None:
    table = _table(CLIENTS, {"company": "blank", "logins": float("nan"), "plan": ""})
    cells = _cells(*listfiles.export(CLIENTS, _rank(table)))
    assert (cells["status"], cells["probability"], cells["rank"]) == ("not_scored", None, None)
    assert "none of the columns" in cells["warnings"]


def test_a_column_of_the_data_that_is_called_like_one_of_the_list_keeps_its_values() -> None:
    clients = Clients(
        id="company", target="exited", numeric=("logins",), categorical=("plan",), carry=("status", "rank")
    )
    table = _table(clients, {"company": "a", "status": "gold", "rank": "7th"})
    header, columns = listfiles.export(clients, _rank(table, clients))
    assert len(header) == len(set(header)) == len(columns)
    cells = _cells(header, columns)
    assert (cells["status"], cells["input_status"], cells["input_rank"]) == ("listed", "gold", "7th")


def test_bands_are_those_the_live_release_was_made_with() -> None:
    [entry] = _rank(_table(CLIENTS, {"company": "a", "logins": 2.0}), bands=Bands(high=0.99, medium=0.98))
    assert entry.band == _card().band(entry.probability or 0.0) == "high"


def _keep(
    folder: Path, table: pd.DataFrame, entries: Sequence[Entry], release: str = "000001-aa"
) -> KeptList:
    """The list as it is kept by a run, read back."""
    short = risklist.short_list(entries, 1)
    data = lists.kept(CLIENTS, entries, short, table, 1, release, "2026-03-01T06:00:00Z")
    place = folder / release / keptlists.NAME
    place.parent.mkdir()
    place.write_bytes(data)
    return keptlists.read(place)


def _rank_again(
    table: pd.DataFrame, before: KeptList, at: str = "2026-03-05T06:00:00Z", book: plays.Plays | None = None
) -> list[Entry]:
    return lists.rank(CLIENTS, Risk(), _card(), table, "000001-aa", at, book, before)


def test_the_same_data_and_release_twice_change_nothing(tmp_path: Path) -> None:
    rows = [{"company": f"c{i:02d}", "logins": float(i)} for i in range(40)]
    table = _table(CLIENTS, *rows, {"company": "blank", "logins": float("nan"), "plan": ""})
    again = _rank_again(table, _keep(tmp_path, table, _rank(table)))
    changed = _overview(again).moved
    assert changed == {"newly_at_risk": 0, "risen": 0, "recovered": 0, "new": 0, "not_scored": 1}
    assert {entry.status for entry in again} == {"steady", "not_scored"}
    assert [entry.change.before for entry in again[:-1]] == [entry.probability for entry in again[:-1]]


def test_each_client_s_change_stands_in_the_list(tmp_path: Path) -> None:
    before = _table(
        CLIENTS,
        {"company": "rises", "logins": 30.0},
        {"company": "falls", "logins": 2.0},
        {"company": "same"},
    )
    kept = _keep(tmp_path, before, _rank(before))
    now = _table(
        CLIENTS,
        {"company": "rises", "logins": 2.0},
        {"company": "falls", "logins": 30.0},
        {"company": "same"},
        {"company": "new"},
    )
    entries = {entry.client: entry for entry in _rank_again(now, kept)}
    assert {name: entry.status for name, entry in entries.items()} == {
        "rises": "newly_at_risk",
        "falls": "recovered",
        "same": "steady",
        "new": "new",
    }
    header, columns = listfiles.export(CLIENTS, [entries["rises"]])
    cells = _cells(header, columns)
    assert cells["previous_probability"] == round(entries["falls"].probability or 0.0, 6)
    gained = (entries["rises"].probability or 0.0) - (entries["falls"].probability or 0.0)
    assert cells["change_points"] == round(100 * gained, 1) > 50


def test_a_new_model_takes_the_comparison_away_not_the_list(tmp_path: Path) -> None:
    table = _table(CLIENTS, {"company": "a", "logins": 2.0}, {"company": "b", "logins": 30.0})
    kept = _keep(tmp_path, table, _rank(table), release="000000-zz")
    entries = _rank_again(table, kept)
    assert [(entry.status, entry.change.before) for entry in entries] == [("listed", None)] * 2
    assert all(entry.play and entry.due for entry in entries)


def test_the_strongest_reason_and_the_band_choose_the_action(tmp_path: Path) -> None:
    place = tmp_path / "plays.csv"
    place.write_text("reason,band,action,days\nlogins,high,Call the users,5\ndefault,any,Write a letter,20\n")
    table = _table(
        CLIENTS,
        {"company": "a", "logins": 0.0},
        {"company": "b", "logins": 40.0},
        {"company": "c", "plan": ""},
    )
    entries = lists.rank(
        CLIENTS, Risk(), _card(), table, "000001-aa", "2026-02-27T23:59:59Z", plays.load(place)
    )
    suggested = {entry.client: (entry.play and entry.play.action, entry.act_by) for entry in entries}
    assert suggested["a"] == ("Call the users", "2026-03-04")
    assert suggested["b"] == ("Write a letter", "2026-03-19")


def test_a_due_date_does_not_flee_from_list_to_list(tmp_path: Path) -> None:
    table = _table(CLIENTS, {"company": "a", "logins": 0.0})
    [first] = entries = _rank(table)
    assert first.act_by == "2026-03-08"
    kept = _keep(tmp_path, table, entries)
    assert [entry.act_by for entry in _rank_again(table, kept)] == ["2026-03-08"]
    # once it has passed, the next round begins; so it does where the action is another
    assert _rank_again(table, kept, at="2026-03-09T00:00:00Z")[0].act_by == "2026-03-16"
    other = plays.Plays({("default", "any"): plays.Play("Something else", 3)})
    assert _rank_again(table, kept, at="2026-03-02T00:00:00Z", book=other)[0].act_by == "2026-03-05"


def test_who_cannot_be_scored_is_given_no_action() -> None:
    table = _table(CLIENTS, {"company": "blank", "logins": float("nan"), "plan": ""})
    cells = _cells(*listfiles.export(CLIENTS, _rank(table)))
    assert (cells["suggested_action"], cells["act_by"]) == ("", "")


def test_the_short_list_by_owner_has_what_an_owner_needs() -> None:
    rows = [
        {"company": f"c{i}", "logins": float(i), "manager": manager}
        for i, manager in enumerate(["Ben", "Ada", "", "Ben"])
    ]
    entries = _rank(_table(CLIENTS, *rows))
    header, columns = listfiles.short_export(CLIENTS, risklist.short_list(entries, 2))
    assert header[:4] == ["manager", "company", "probability", "risk_band"]
    assert {"suggested_action", "act_by", "reason_1", "reason_3", "release", "scored_at"} <= set(header)
    assert not any(column.endswith("_effect") for column in header)
    assert list(zip(columns[0], columns[1], strict=True)) == [
        ("Ada", "c1"),
        ("Ben", "c0"),
        ("Ben", "c3"),
        ("", "c2"),
    ]
    assert listfiles.short_export(PLAIN, [])[0][0] == "company"


def test_columns_are_exported_as_rows_are() -> None:
    texts = ["plain", "=1+1", "-5", "a,b", 'say "hi"', "two\nlines", "", "\N{FULLWIDTH EQUALS SIGN}1", "'x"]
    numbers: list[Any] = [1, 2.0, -0.5, None, float("nan"), 1e-7, 3, 10**20, 0.1 + 0.2]
    columns = [texts, numbers, ["", "", *texts[:7]]]
    header = ["text", "a, number", "more"]
    assert tables.export_columns(header, columns) == tables.export_text(header, zip(*columns, strict=True))
    assert tables.export_columns(header, [[], [], []]) == tables.export_text(header, [])
    torn = tables.export_columns(["a", "b"], [["x\ry", "\r"], ["1", "2"]])
    assert list(csv.reader(io.StringIO(torn, newline=""))) == [["a", "b"], ["x\ry", "1"], ["'\r", "2"]]
    assert [tables.unguarded(tables.guarded(text)) for text in texts] == texts
