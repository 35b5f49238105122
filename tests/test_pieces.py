"""Tables that come piece by piece: every result is that of the whole table, however it is cut."""

import csv
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pandas as pd
import pytest

import deployment
import diagnostics
import ingestion
import reporting
import scoring
import training
from attrition import census, generations, keptlists, monitor, news, risklist, sampling
from attrition import contract as contracts
from attrition.columns import Columns
from attrition.config import Config
from attrition.news import Known
from attrition.settings import Clients
from tests.projects import Project

CLIENTS = Clients()


def rows(count: int, clients: int, seed: int = 0) -> list[str]:
    """Rows in which few activities go with leaving, several of a client; now and then one without outcome."""
    random, made = Random(seed), []
    for _ in range(count):
        last = random.randrange(200)
        left = "" if random.random() < 0.1 else str(int(random.random() < (0.6 if last < 60 else 0.1)))
        client, more, size = random.randrange(clients), random.randrange(900), random.randrange(1, 400)
        made.append(f"c{client},{last},{last + more},{size},{left}")
    return made


def table_of(lines: list[str]) -> pd.DataFrame:
    cells = [line.split(",") for line in lines]
    table = pd.DataFrame(cells, columns=list(CLIENTS.columns), dtype=object)
    return table.astype(dict.fromkeys(CLIENTS.numbers, "float64")).assign(dataset="a.csv")


def cut(table: pd.DataFrame, size: int) -> Iterator[pd.DataFrame]:
    return (table[first : first + size].reset_index(drop=True) for first in range(0, len(table), size))


@pytest.fixture
def ingested(project: Project) -> Config:
    project.dataset("a.csv", rows(300, 150))
    project.dataset("b.csv", rows(300, 150, seed=1))
    project.dataset("test.csv", rows(200, 150, seed=2), folder="testdata")
    config = project.config()
    ingestion.run(config)
    return config


@pytest.mark.parametrize("size", [1, 7, 400])
def test_a_sample_is_of_whole_clients_and_does_not_depend_on_the_cuts(size: int) -> None:
    table = table_of(rows(400, 90))
    drawn = sampling.Sample(100, seed=3)
    for piece in cut(table, size):
        drawn.add(piece, piece[CLIENTS.id])
    taken = drawn.table
    whole = Counter(table[CLIENTS.id])
    assert drawn.of == 400
    assert 100 - max(whole.values()) <= len(taken) <= 100
    assert all(count == whole[client] for client, count in Counter(taken[CLIENTS.id]).items())
    one = sampling.Sample(100, seed=3)
    one.add(table, table[CLIENTS.id])
    pd.testing.assert_frame_equal(taken, one.table)


def test_an_id_that_is_no_utf_8_has_a_number_and_changes_no_other() -> None:
    plain, mixed = sampling.numbers(["a", "é"], 1), sampling.numbers(["a", "é", "\ud83d"], 1)
    assert mixed[:2].tolist() == plain.tolist()
    assert len(set(mixed.tolist())) == 3


def test_another_seed_draws_other_clients_and_all_rows_are_kept_where_they_fit() -> None:
    table = table_of(rows(400, 90))
    drawn = []
    for seed in (0, 1):
        one = sampling.Sample(100, seed)
        one.add(table, table[CLIENTS.id])
        drawn.append(set(one.table[CLIENTS.id]))
    assert drawn[0] != drawn[1]
    every = sampling.Sample(400, 0)
    for piece in cut(table, 50):
        every.add(piece, piece[CLIENTS.id])
    pd.testing.assert_frame_equal(every.table, table)


@pytest.mark.parametrize("size", [1, 13, 400])
def test_the_census_finds_the_latest_row_of_each_client_and_who_is_gone(size: int) -> None:
    table = table_of(rows(400, 90))
    here = census.taken(CLIENTS, cut(table, size))
    latest = table.drop_duplicates(CLIENTS.id, keep="last")
    known = table[table[CLIENTS.target] != ""].drop_duplicates(CLIENTS.id, keep="last")
    gone = latest[CLIENTS.id].isin(known.loc[known[CLIENTS.target] == CLIENTS.left, CLIENTS.id])
    assert 0 < gone.sum() < len(latest)
    assert table[here.active].index.tolist() == latest[~gone].index.tolist()
    assert table[here.latest & here.gone].index.tolist() == latest[gone].index.tolist()
    parts = [part[mine.active] for part, mine in here.of(cut(table, size))]
    assert pd.concat(parts)[CLIENTS.id].tolist() == latest.loc[~gone, CLIENTS.id].tolist()
    active, names = risklist.current_clients(CLIENTS, list(cut(table, size)))
    assert active[CLIENTS.id].tolist() == latest.loc[~gone, CLIENTS.id].tolist()
    assert names == latest.loc[gone, CLIENTS.id].tolist()


def test_the_census_of_no_rows_is_empty() -> None:
    here = census.taken(CLIENTS, [table_of(["a,1,2,3,0"])[:0]])
    assert (len(here.latest), len(here.gone)) == (0, 0)


@pytest.mark.parametrize("size", [1, 5, 600])
def test_columns_come_back_as_they_were_put_in(tmp_path: Path, size: int, monkeypatch: Any) -> None:
    monkeypatch.setattr("attrition.files.IN_MEMORY", 64)
    one, other = np.arange(20.0), np.linspace(-1, np.nan, 20)
    with Columns(tmp_path) as columns:
        for first in range(0, 20, size):
            columns.add("one", one[first : first + size])
            columns.add("other", other[first : first + size])
        assert columns.values("one").tolist() == one.tolist()
        np.testing.assert_array_equal(columns.values("other"), other)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [1, 50, 1000])
def test_rows_are_new_only_where_no_earlier_generation_had_them_as_often(
    ingested: Config, project: Project, size: int
) -> None:
    contract = contracts.compiled(ingested.clients)
    before = generations.require_current(ingested).id
    more = ["new,1,2,3,", *rows(40, 150), *rows(60, 150, seed=9)]
    project.dataset("c.csv", more)
    ingestion.run(ingested)
    table = generations.table(contract, generations.require_current(ingested))
    known = news.known_rows(ingested, contract, {before})
    assert isinstance(known, Known)
    found = np.concatenate([known.unseen(piece).rows for piece in cut(table, size)])
    fresh = table[found]
    # equal rows of two datasets are in the table once: the 40 repeated ones are not new
    assert len(fresh) == 61
    assert set(fresh["dataset"]) == {"c.csv"}


def test_a_list_made_in_batches_is_the_list(
    ingested: Config, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fullprocess

    def listed() -> list[Any]:
        told = reporting.run(ingested)
        told_of = json.loads(ingested.report_facts.read_text())
        facts = json.loads(ingested.risk_facts.read_text())
        with ingested.risk_list.open(newline="") as stream:
            cells = [{**row, "scored_at": ""} for row in csv.DictReader(stream)]
        kept = keptlists.kept(ingested.reports).last
        assert kept is not None
        sections = {name: told_of[name] for name in ("list", "at_stake")}
        changed = told_of["changed"]["groups"]
        figures = [told.bands, told.expected_loss, told.active]
        return [cells, kept.rows.tobytes(), kept.names, sections, changed, facts["at_stake"], figures]

    fullprocess.run(ingested)
    reporting.run(ingested)
    whole = listed()
    small_pieces(monkeypatch, 17)
    monkeypatch.setattr(risklist, "BATCH", 7)
    assert len(whole[0]) > 50
    assert listed() == whole


def small_pieces(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(generations, "PIECE", size)


def untimed(facts: dict[str, Any]) -> dict[str, Any]:
    moments = ["trained_at", "seconds", "scored_at", "seal", "timings", "packages", "looked_at"]
    return {key: value for key, value in facts.items() if key not in moments}


def test_every_stage_writes_the_same_from_many_pieces(
    ingested: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def outcome_of_all() -> list[Any]:
        training.run(ingested)
        scoring.run(ingested)
        deployment.run(ingested)
        diagnosed = asdict(diagnostics.run(ingested))
        facts = json.loads(ingested.model_description.read_text())
        for contestant in facts["candidates"]:
            contestant.pop("seconds")
        kept = (ingested.trained_model, ingested.scorecard, ingested.reference, ingested.test_predictions)
        return [untimed(facts), untimed(diagnosed), *(path.read_bytes() for path in kept)]

    whole = outcome_of_all()
    small_pieces(monkeypatch, 17)
    pieces = generations.pieces(contracts.compiled(ingested.clients), generations.require_current(ingested))
    assert len(list(pieces)) > 20
    assert outcome_of_all() == whole


def test_what_the_live_release_meets_is_the_same_from_many_pieces(
    ingested: Config, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fullprocess

    fullprocess.run(ingested)
    before = ingested.monitor.read_bytes() if ingested.monitor.exists() else b"{}"
    project.dataset("c.csv", rows(150, 150, seed=5))
    project.dataset("d.csv", rows(150, 150, seed=6))
    ingestion.run(ingested)
    contract = contracts.compiled(ingested.clients)
    met = []
    for size in (generations.PIECE, 19):
        ingested.monitor.write_bytes(before)
        small_pieces(monkeypatch, size)
        record = fullprocess.judge_live(ingested, contract, news.look(ingested))
        assert record is not None and record.rows > 200
        facts = untimed(asdict(record))
        facts["live_score"] = untimed(facts["live_score"])
        met.append(facts)
    assert met[0] == met[1]
    assert monitor.read(ingested.monitor).records


def test_above_max_rows_model_json_says_how_rows_were_drawn(ingested: Config, project: Project) -> None:
    project.configure(training={"max_rows": 200})
    config = project.config()
    trained = training.run(config)
    facts = json.loads(config.model_description.read_text())
    labelled = facts["labelled"]
    assert facts["sample"] == {
        "rows": trained.rows,
        "of": labelled,
        "max_rows": 200,
        "drawn_by": "whole clients, by a keyed hash of their ids",
    }
    assert f"trained on {trained.rows} of {labelled} labelled rows" in str(trained)
    assert facts["window"].startswith("a sample of")
