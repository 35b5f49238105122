"""The simulated client base: what is shipped, what it promises about time, and what each drift does."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from attrition import simulation
from attrition.simulation import HORIZON_MONTHS, Drift, Simulation, name_of, simulate

ROOT = Path(__file__).resolve().parent.parent
COLUMNS = (
    "corporation,month,industry,contract,lastmonth_activity,lastyear_activity,number_of_employees,"
    "tenure_months,support_tickets,yearly_value,account_manager,exited"
)
NUMERIC = COLUMNS.split(",")[4:10]
CATEGORICAL = COLUMNS.split(",")[2:4]
MONTHS = 12
DRIFT_MONTH = 7


def datasets_below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.csv")}


def made(folder: Path, *arguments: str) -> dict[str, bytes]:
    assert simulation.main(["--out", str(folder), *arguments]) == 0
    return datasets_below(folder)


def shipped(folder: str) -> pd.DataFrame:
    return pd.concat([pd.read_csv(path) for path in sorted((ROOT / folder).glob("*.csv"))], ignore_index=True)


def rows_of(base: Simulation, first: int, last: int = MONTHS) -> pd.DataFrame:
    """The rows of the months with these numbers, counted from 1, each with its truth."""
    rows = pd.concat([base.snapshots[name_of(number - 1)] for number in range(first, last + 1)])
    return rows.drop(columns="exited").merge(base.truth, on=["corporation", "month"], validate="one_to_one")


def inputs(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[NUMERIC + CATEGORICAL].astype(dict.fromkeys(NUMERIC, float))


def linear_model(rows: pd.DataFrame) -> Pipeline:
    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    columns = make_column_transformer(
        (numbers, NUMERIC), (OneHotEncoder(handle_unknown="ignore"), CATEGORICAL)
    )
    model = make_pipeline(columns, LogisticRegression(max_iter=1000))
    return model.fit(inputs(rows), rows["exited"].astype(int))


def roc_auc(model: Pipeline, rows: pd.DataFrame) -> float:
    return float(roc_auc_score(rows["exited"].astype(int), model.predict_proba(inputs(rows))[:, 1]))


@pytest.fixture(scope="module")
def steady() -> Simulation:
    return simulate(2000, MONTHS, seed=5)


@pytest.fixture(scope="module")
def drifting() -> dict[str, Simulation]:
    return {kind: simulate(2000, MONTHS, 5, Drift(kind, DRIFT_MONTH)) for kind in simulation.KINDS}


@pytest.fixture(scope="module")
def early_model(steady: Simulation) -> Pipeline:
    """What a pipeline would have learned before any drift."""
    return linear_model(rows_of(steady, 1, DRIFT_MONTH - 1))


# What is shipped


def test_the_shipped_bytes_are_what_the_documented_command_makes(tmp_path: Path) -> None:
    here: dict[str, bytes] = {}
    for folder in ("practicedata", "sourcedata", "testdata"):
        here |= {f"{folder}/{name}": content for name, content in datasets_below(ROOT / folder).items()}
    assert made(tmp_path, "--shipped") == here


@pytest.mark.parametrize(
    ("folder", "files", "rows"), [("practicedata", 2, 1000), ("sourcedata", 4, 10_000), ("testdata", 1, 2000)]
)
def test_the_shipped_folders_have_their_size_and_leavers_enough_to_learn_from(
    folder: str, files: int, rows: int
) -> None:
    datasets = sorted((ROOT / folder).glob("*.csv"))
    assert (len(datasets), len(shipped(folder))) == (files, rows)
    assert {path.read_text("utf-8").partition("\n")[0] for path in datasets} == {COLUMNS}
    rates = shipped(folder).groupby("month")["exited"].mean().dropna()
    assert rates.between(0.12, 0.20).all(), rates


def test_the_newest_shipped_month_is_the_only_one_whose_outcomes_are_not_known_yet() -> None:
    unknown = shipped("sourcedata").groupby("month")["exited"].agg(lambda exited: exited.isna().mean())
    assert unknown.to_dict() == {"2025-06": 0.0, "2025-09": 0.0, "2025-12": 0.0, "2026-03": 1.0}
    assert shipped("practicedata")["exited"].notna().all()
    assert shipped("testdata")["exited"].notna().all()


def test_the_test_clients_are_others_and_later_than_every_window_one_can_learn_from() -> None:
    practice, source, test = shipped("practicedata"), shipped("sourcedata"), shipped("testdata")
    clients = [set(rows["corporation"]) for rows in (practice, source, test)]
    assert len(set.union(*clients)) == sum(map(len, clients))
    known = pd.concat([practice, source]).dropna(subset=["exited"])
    window_ends = pd.PeriodIndex(known["month"], freq="M") + HORIZON_MONTHS
    assert window_ends.max() <= pd.PeriodIndex(test["month"], freq="M").min()


def test_the_truth_beats_a_linear_model_by_what_it_cannot_see() -> None:
    datasets = simulation.make_shipped_datasets()
    test = datasets["testdata/testdata.csv"].merge(datasets["truth.csv"].drop(columns="exited"), how="left")
    oracle = roc_auc_score(test["exited"].astype(int), test["probability"])
    linear = roc_auc(linear_model(shipped("sourcedata").dropna(subset=["exited"])), test)
    assert 0.78 <= linear <= 0.85
    assert oracle >= linear + 0.02


# The rows


def test_the_numbers_can_be_true(steady: Simulation) -> None:
    rows = rows_of(steady, 1)
    both = rows.dropna(subset=["lastmonth_activity", "lastyear_activity"])
    assert (both["lastmonth_activity"] <= both["lastyear_activity"]).all()
    assert (rows[NUMERIC].min() >= [0, 0, 1, 0, 0, 0]).all()
    assert not rows.duplicated(["corporation", "month"]).any()
    assert rows["corporation"].str.fullmatch(r"[A-Z][a-z]+ [A-Z][a-z]+ \d{5}").all()


def test_a_few_percent_are_missing_and_small_companies_more_often_hide_their_size(steady: Simulation) -> None:
    missing = rows_of(steady, 1)[COLUMNS.split(",")[:-1]].isna().mean()
    gaps = ["lastmonth_activity", "lastyear_activity", "number_of_employees", "support_tickets"]
    assert missing[gaps].between(0.005, 0.06).all(), missing
    assert (missing.drop(gaps) == 0).all()
    rows = rows_of(steady, 1)
    untold = rows["number_of_employees"].isna()
    # value grows with size, and is always told
    assert rows.loc[untold, "yearly_value"].median() < 0.7 * rows.loc[~untold, "yearly_value"].median()


def test_november_is_busier_than_may_and_most_of_all_in_retail(steady: Simulation) -> None:
    activity = rows_of(steady, 1).pivot_table(values="lastmonth_activity", index="month", columns="industry")
    rise = activity.loc["2025-11"].astype(float) / activity.loc["2025-05"].astype(float)
    others = rise.drop("Retail").mean()
    assert 1.05 < others < 1.4
    assert rise["Retail"] > others + 0.3


# Time


def test_who_left_is_gone_and_who_stayed_is_there_until_the_window_ends(steady: Simulation) -> None:
    present = {month: set(rows["corporation"]) for month, rows in steady.snapshots.items()}
    leavers = 0
    for number in range(MONTHS - HORIZON_MONTHS):
        rows = steady.snapshots[name_of(number)]
        left = set(rows.loc[rows["exited"] == 1, "corporation"])
        stayed = set(rows.loc[rows["exited"] == 0, "corporation"])
        later = [present[name_of(month)] for month in range(number + HORIZON_MONTHS, MONTHS)]
        assert not left & set.union(*later)
        assert stayed <= later[0]
        leavers += len(left)
    assert leavers > 1000
    assert all(rows["corporation"].nunique() == 2000 for rows in steady.snapshots.values())


def test_a_row_does_not_know_its_future(steady: Simulation) -> None:
    """Cutting the last months off changes no earlier row, only outcomes whose window was cut."""
    shorter = MONTHS - 4
    cut = simulate(2000, shorter, seed=5)
    for number in range(shorter):
        rows, whole = cut.snapshots[name_of(number)], steady.snapshots[name_of(number)]
        if number + HORIZON_MONTHS >= shorter:
            assert rows["exited"].isna().all()
            rows, whole = rows.drop(columns="exited"), whole.drop(columns="exited")
        pd.testing.assert_frame_equal(rows, whole)


def test_outcomes_are_blank_exactly_while_their_window_is_open(steady: Simulation) -> None:
    unknown = [steady.snapshots[name_of(number)]["exited"].isna().mean() for number in range(MONTHS)]
    assert unknown == [0.0] * (MONTHS - HORIZON_MONTHS) + [1.0] * HORIZON_MONTHS
    assert steady.truth["exited"].notna().all()


# The truth


def test_the_true_probability_is_calibrated_and_stays_out_of_the_datasets(steady: Simulation) -> None:
    bands = steady.truth.groupby(
        pd.cut(steady.truth["probability"], [0, 0.05, 0.15, 0.35, 0.65, 1]), observed=True
    )
    figures = bands.agg(said=("probability", "mean"), happened=("exited", "mean"), rows=("exited", "size"))
    # rows of one client in neighbouring months share their fate: about HORIZON_MONTHS rows weigh as one
    error = np.sqrt(figures["said"] * (1 - figures["said"]) * HORIZON_MONTHS / figures["rows"])
    assert len(figures) == 5
    assert ((figures["said"] - figures["happened"].astype(float)).abs() < 4 * error).all(), figures
    assert {",".join(rows.columns) for rows in steady.snapshots.values()} == {COLUMNS}


def test_the_truth_is_written_only_when_asked_for_and_then_about_every_row(tmp_path: Path) -> None:
    size = ("--clients", "30", "--months", "5")
    assert "truth.csv" not in made(tmp_path / "without", *size)
    told = made(tmp_path / "with", *size, "--truth")
    truth = pd.read_csv(tmp_path / "with" / "truth.csv").set_index(["corporation", "month"])
    assert truth["probability"].between(0, 1).all()
    written = pd.concat([pd.read_csv(tmp_path / "with" / name) for name in told if name != "truth.csv"])
    assert sorted(truth.index) == sorted(zip(written["corporation"], written["month"], strict=True))


# The command


def test_the_same_seed_gives_the_same_bytes_in_any_process_and_another_seed_others(tmp_path: Path) -> None:
    size = ["--clients", "40", "--months", "5", "--seed"]
    first, other = made(tmp_path / "first", *size, "3"), made(tmp_path / "other", *size, "4")
    command = [sys.executable, "-m", "attrition.simulation", "--out", str(tmp_path / "again"), *size, "3"]
    environment = os.environ | {"PYTHONHASHSEED": "17", "LC_ALL": "C", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    assert datasets_below(tmp_path / "again") == first
    assert first.keys() == other.keys()
    assert len(first) == 6
    assert not any(first[name] == other[name] for name in first)
    assert not any(b"\r" in content for content in first.values())


def test_the_command_lays_a_test_set_of_the_newest_month_beside_the_monthly_datasets(tmp_path: Path) -> None:
    made(tmp_path, "--clients", "40", "--months", "5")
    source = {path.stem: pd.read_csv(path) for path in (tmp_path / "sourcedata").iterdir()}
    test = pd.read_csv(tmp_path / "testdata" / "testdata.csv")
    assert sorted(source) == [f"clients-2025-0{number}" for number in range(1, 6)]
    assert {stem: set(rows["month"]) for stem, rows in source.items()} == {
        stem: {stem[8:]} for stem in source
    }
    assert (set(test["month"]), set(test["exited"])) == ({"2025-05"}, {0, 1})
    numbers = {client.split()[-1] for rows in source.values() for client in rows["corporation"]}
    assert not numbers & {client.split()[-1] for client in test["corporation"]}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["--drift", "flood@2"],
            "no kind is called 'flood'. Name one of covariate, concept, prior, broken, segment.",
        ),
        (["--drift", "prior@13"], "'13' is no month from 1 to 12."),
        (["--drift", "prior@0"], "'0' is no month from 1 to 12."),
        (["--drift", "prior"], "Write it like prior@1."),
        (["--clients", "0"], "--clients and --months count from 1"),
        (["--shipped", "--seed", "3"], "--shipped has its own"),
    ],
)
def test_what_cannot_be_simulated_is_refused_with_a_sentence(
    arguments: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        simulation.main(["--out", str(tmp_path), *arguments])
    assert refused.value.code == 2
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


# Drift


@pytest.mark.parametrize("kind", simulation.KINDS)
def test_no_drift_touches_a_month_before_its_own(
    kind: str, steady: Simulation, drifting: dict[str, Simulation]
) -> None:
    before = DRIFT_MONTH - 1
    pd.testing.assert_frame_equal(rows_of(drifting[kind], 1, before), rows_of(steady, 1, before))
    assert not rows_of(drifting[kind], DRIFT_MONTH, DRIFT_MONTH).equals(
        rows_of(steady, DRIFT_MONTH, DRIFT_MONTH)
    )


def test_covariate_drift_moves_the_inputs_and_keeps_the_relation(
    steady: Simulation, drifting: dict[str, Simulation], early_model: Pipeline
) -> None:
    for number in range(DRIFT_MONTH, MONTHS + 1):
        moved, still = rows_of(drifting["covariate"], number, number), rows_of(steady, number, number)
        assert moved["lastmonth_activity"].mean() < 0.85 * still["lastmonth_activity"].mean()
        assert moved["support_tickets"].mean() > 1.3 * still["support_tickets"].mean()
    settled, usual = rows_of(drifting["covariate"], DRIFT_MONTH + 2), rows_of(steady, DRIFT_MONTH + 2)
    assert roc_auc(early_model, settled) == pytest.approx(roc_auc(early_model, usual), abs=0.04)


def test_concept_drift_keeps_the_inputs_and_turns_the_relation_round(
    steady: Simulation, drifting: dict[str, Simulation], early_model: Pipeline
) -> None:
    turned = drifting["concept"]
    first, still = rows_of(turned, DRIFT_MONTH, DRIFT_MONTH), rows_of(steady, DRIFT_MONTH, DRIFT_MONTH)
    pd.testing.assert_frame_equal(inputs(first), inputs(still))
    assert roc_auc(early_model, first) < roc_auc(early_model, still) - 0.1
    assert roc_auc(early_model, rows_of(turned, DRIFT_MONTH + 2)) < 0.4


def test_prior_drift_makes_more_clients_leave_and_keeps_their_order(
    steady: Simulation, drifting: dict[str, Simulation], early_model: Pipeline
) -> None:
    for number in range(DRIFT_MONTH, MONTHS + 1):
        more, usual = rows_of(drifting["prior"], number, number), rows_of(steady, number, number)
        assert more["exited"].mean() > 1.15 * usual["exited"].mean()
    settled, usual = rows_of(drifting["prior"], DRIFT_MONTH + 2), rows_of(steady, DRIFT_MONTH + 2)
    assert settled["exited"].mean() > 1.4 * usual["exited"].mean()
    assert roc_auc(early_model, settled) == pytest.approx(roc_auc(early_model, usual), abs=0.04)


def test_a_broken_feed_delivers_zeros_in_one_column_and_harms_nothing_else(
    steady: Simulation, drifting: dict[str, Simulation]
) -> None:
    broken, whole = rows_of(drifting["broken"], DRIFT_MONTH), rows_of(steady, DRIFT_MONTH)
    assert (broken["lastmonth_activity"] == 0).all()
    assert (whole["lastmonth_activity"] > 0).mean() > 0.9
    column = ["lastmonth_activity"]
    pd.testing.assert_frame_equal(broken.drop(columns=column), whole.drop(columns=column))


def test_a_new_segment_arrives_with_behaviour_of_its_own_and_leaves_the_others_alone(
    steady: Simulation, drifting: dict[str, Simulation], early_model: Pipeline
) -> None:
    rows = rows_of(drifting["segment"], DRIFT_MONTH)
    new = rows["industry"] == "Energy"
    assert new.groupby(rows["month"]).mean().between(0.15, 0.25).all()
    assert "Energy" not in set(rows_of(steady, 1)["industry"])
    pd.testing.assert_frame_equal(rows[~new].reset_index(drop=True), rows_of(steady, DRIFT_MONTH))
    assert roc_auc(early_model, rows[new]) < 0.4


@pytest.mark.parametrize("kind", simulation.KINDS)
def test_the_truth_stays_calibrated_under_drift(kind: str, drifting: dict[str, Simulation]) -> None:
    rows = rows_of(drifting[kind], DRIFT_MONTH)
    assert rows["exited"].mean() == pytest.approx(rows["probability"].mean(), abs=0.02)
