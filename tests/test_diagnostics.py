"""Diagnostics: figures that can be checked by hand, written once to diagnostics.json."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import diagnostics
import ingestion
from attrition import contract as contracts
from attrition import files, generations, ledger, monitor, publisher, releases, signing
from attrition.columns import Columns
from attrition.config import Config
from attrition.errors import DataError, ReleaseError
from attrition.monitor import Memory, Record
from tests import cards
from tests.projects import Project, classic_rows

CLIENTS = {
    "numeric": ["activity", "staff"],
    "categorical": ["industry"],
    "carry": ["note"],
    "value": "yearly_value",
    "derived": {"activity_each": "activity / staff"},
}
HEADER = "corporation,note,industry,activity,staff,yearly_value,exited"
ROWS = [
    "c1,first,steel,1,1,100,0",
    "c2,,steel,2,2,,0",
    "c3,, ,2,4,,1",
    "c4,,,3,0,,",
    "c5,,glass,,5,,  ",
]
# leaving at an activity of 10 or less, or where it is missing
COLUMN, LINE = cards.number(
    "lastmonth_activity", "activity last month", 10.0, 0.0, 1000.0, weight=-0.1, missing=1.0
)
CARD = cards.card([COLUMN], [LINE], base=0.0, threshold=0.5)


@pytest.fixture
def five(project: Project) -> Config:
    """Five rows of which every figure is known."""
    project.configure(clients=CLIENTS)
    project.dataset("a.csv", ROWS, HEADER)
    ingestion.run(project.config())
    return project.config(run="the run")


@pytest.fixture
def classic(project: Project) -> Config:
    project.dataset("a.csv", classic_rows(30))
    ingestion.run(project.config())
    return project.config()


def deploy(config: Config, card: Any = CARD) -> str:
    """Make a release live that has nothing but a scorecard."""

    def fill(draft: Path) -> None:
        files.write_json(draft / "scorecard.json", card)

    signing.ready(config)
    return publisher.publish(releases.shelf(config), fill, {}).id


def published(config: Config) -> dict[str, Any]:
    """diagnostics.json, read as strictly as any other program reads JSON."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    facts: dict[str, Any] = json.loads(config.diagnostics.read_bytes(), parse_constant=refuse)
    return facts


def ran(stage: str, seconds: float, status: str = "done", **facts: Any) -> dict[str, Any]:
    started = {"run": f"run-{seconds:g}", "stage": stage, "started": "2026-03-01T06:00:02Z"}
    return {**started, "seconds": seconds, "status": status, "sentence": "", "facts": facts}


def test_the_summary_equals_what_is_computed_by_hand(five: Config) -> None:
    summary = diagnostics.run(five).summary
    assert list(summary) == ["activity", "staff", "yearly_value", "activity_each"]
    assert summary["activity"] == {
        "mean": 2.0,
        "median": 2.0,
        "mode": 2.0,
        # sqrt((1 + 0 + 0 + 1) / 3)
        "standard_deviation": pytest.approx(0.816496580927726, abs=1e-15),
        "minimum": 1.0,
        "maximum": 3.0,
        "count": 4,
    }
    # 1/1, 2/2, 2/4; 3/0 and a missing activity are missing
    assert summary["activity_each"]["mean"] == pytest.approx(2.5 / 3)
    assert (summary["activity_each"]["mode"], summary["activity_each"]["count"]) == (1.0, 3)


def test_one_value_has_no_standard_deviation(five: Config) -> None:
    assert diagnostics.run(five).summary["yearly_value"] == {
        "mean": 100.0,
        "median": 100.0,
        "mode": 100.0,
        "standard_deviation": None,
        "minimum": 100.0,
        "maximum": 100.0,
        "count": 1,
    }


def test_of_several_most_frequent_values_the_smallest_is_the_mode() -> None:
    import numpy as np

    assert diagnostics.figures(np.array([7.0, 3.0, 9.0, 3.0, 7.0, math.nan]))["mode"] == 3.0


def test_figures_without_bounds_or_without_any_value_are_null_in_json() -> None:
    import numpy as np

    for values, count in (([], 0), ([math.nan, math.inf], 0), ([1e308, -1e308, 1e308, 1e308], 4)):
        figures = diagnostics.figures(np.array(values, dtype=float))
        assert json.loads(json.dumps(figures, allow_nan=False)) == figures
        assert (figures["standard_deviation"], figures["count"]) == (None, count)
    assert figures["mode"] == 1e308


def test_missing_is_a_percentage_of_every_column_and_blank_text_is_missing(five: Config) -> None:
    assert diagnostics.run(five).missing_percent == {
        "corporation": 0.0,
        "note": 80.0,
        "industry": 40.0,
        "activity": 20.0,
        "staff": 0.0,
        "yearly_value": 80.0,
        "exited": 40.0,
    }


def test_a_cell_of_blanks_is_missing_even_where_nobody_trimmed_it(project: Project, tmp_path: Path) -> None:
    import pandas as pd

    clients = project.config().clients
    table = pd.DataFrame({column: ["1", " \t"] for column in clients.columns}, dtype=object)
    table[list(clients.numbers)] = [[1.0] * 3, [math.nan] * 3]
    with Columns(tmp_path) as columns:
        counted = diagnostics.Counted(clients, columns)
        counted.with_this(table)
        counted.with_this(table)
        assert set(counted.missing_percent().values()) == {50.0}
        assert columns.values(clients.numeric[0]).tolist() == pytest.approx([1.0, math.nan] * 2, nan_ok=True)


@pytest.mark.parametrize("rows", [[], ROWS[:1]], ids=["no row", "one row"])
def test_a_table_of_hardly_any_row_is_told_without_a_nan(project: Project, rows: Sequence[str]) -> None:
    project.configure(clients=CLIENTS)
    project.dataset("a.csv", rows, HEADER)
    ingestion.run(project.config())
    diagnosed = diagnostics.run(project.config())
    facts = published(project.config())
    assert facts["rows"] == diagnosed.rows == len(rows)
    assert facts["missing_percent"]["activity"] == (0.0 if rows else None)
    assert facts["summary"]["activity"]["count"] == len(rows)
    assert f"Rows: {len(rows)}; nothing predicted: no release is live;" in str(diagnosed)


def test_a_column_that_is_missing_throughout_is_told_without_a_nan(project: Project) -> None:
    project.dataset("a.csv", ["a,,1,2,0", "b,,1,2,1"])
    ingestion.run(project.config())
    diagnostics.run(project.config())
    facts = published(project.config())
    assert facts["missing_percent"]["lastmonth_activity"] == 100.0
    assert facts["summary"]["lastmonth_activity"]["mean"] is None


def test_the_live_release_predicts_every_row_at_its_threshold(project: Project) -> None:
    project.dataset("a.csv", ["a,9,1,2,0", "b,10,1,2,1", "c,11,1,2,", "d,,1,2,0", "e,500,1,2,0"])
    config = project.config()
    ingestion.run(config)
    release = deploy(config)
    diagnosed = diagnostics.run(config)
    told = {"release": release, "rows": 5, "leaving": 3, "threshold": 0.5, "reason": ""}
    assert diagnosed.predictions == published(config)["predictions"] == told
    assert f"predicted to leave by {release}: 3;" in str(diagnosed)
    generation = generations.require_current(config)
    table = generations.table(contracts.compiled(config.clients), generation)
    odds = [-0.1 * (9 - 10), 0.0, -0.1 * (11 - 10), 1.0, -0.1 * (500 - 10)]
    expected = [1 / (1 + math.exp(-odd)) for odd in odds]
    assert diagnostics.model_predictions(config, table).tolist() == pytest.approx(expected)


def test_without_a_live_release_everything_else_is_told(classic: Config) -> None:
    assert diagnostics.run(classic).predictions == {
        "release": None,
        "rows": 30,
        "leaving": None,
        "threshold": None,
        "reason": "no release is live",
    }
    with pytest.raises(ReleaseError, match="no release is live yet"):
        diagnostics.model_predictions(classic, [])


def test_a_release_that_reads_a_column_the_contract_lost_is_told_and_predicts_nothing(five: Config) -> None:
    deploy(five)
    diagnosed = diagnostics.run(five)
    assert diagnosed.predictions["leaving"] is None
    assert "needs the column lastmonth_activity" in str(diagnosed)
    table = generations.table(contracts.compiled(five.clients), generations.require_current(five))
    with pytest.raises(ReleaseError, match="needs the column lastmonth_activity.*fullprocess.py --force"):
        diagnostics.model_predictions(five, table)


def test_a_scorecard_of_another_version_is_a_fault_of_the_release(classic: Config) -> None:
    deploy(classic, {**CARD, "version": 99})
    with pytest.raises(ReleaseError, match="version 99.*fullprocess.py --force"):
        diagnostics.run(classic)


def test_before_the_first_ingestion_the_next_step_is_named(project: Project) -> None:
    with pytest.raises(DataError, match="Run: python ingestion.py"):
        diagnostics.run(project.config())


def test_timings_come_from_finished_runs_of_the_history_alone() -> None:
    history = [
        ran("training", 2.0),
        ran("ingestion", 0.3),
        ran("training", 9.0, "failed"),
        ran("training", 4.0, "refused"),
        ran("training", 0.1, "nothing to do"),
        ran("training", 3.0),
    ]
    timings = diagnostics.timings(history)
    assert list(timings) == ["training", "ingestion"]
    assert timings["training"] == {
        "runs": 3,
        "idle": 1,
        "failures": 1,
        "last_seconds": 3.0,
        "median_seconds": 3.0,
        "p95_seconds": 4.0,
        "longest_seconds": 4.0,
        "trend": None,
        "trend_percent": None,
    }
    assert diagnostics.timings([ran("training", 9.0, "failed")])["training"]["last_seconds"] is None


def test_the_slow_end_is_the_95th_percentile_by_nearest_rank() -> None:
    told = diagnostics.timings([ran("scoring", float(second)) for second in range(40, 0, -1)])["scoring"]
    assert (told["p95_seconds"], told["longest_seconds"]) == (38.0, 40.0)


@pytest.mark.parametrize(
    ("seconds", "sentence", "percent"),
    [
        ([1, 1, 1, 1, 1, 2, 2, 2, 2], None, None),
        (
            [9, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3],
            "3.00 s in the last 5 runs, 2.00 s in the 5 before, 50% slower",
            50.0,
        ),
        (
            [4, 4, 4, 4, 4, 9, 1, 1, 1, 0],
            "1.00 s in the last 5 runs, 4.00 s in the 5 before, 75% faster",
            -75.0,
        ),
        ([2] * 10, "2.00 s in the last 5 runs, 2.00 s in the 5 before", 0.0),
        ([0] * 5 + [1] * 5, "1.00 s in the last 5 runs, 0.00 s in the 5 before", None),
    ],
    ids=["nine runs are too few", "slower", "faster", "the same", "from nothing"],
)
def test_the_trend_compares_the_last_five_runs_with_the_five_before(
    seconds: list[float], sentence: str | None, percent: float | None
) -> None:
    assert diagnostics.trend(seconds) == {"trend": sentence, "trend_percent": percent}


def test_no_stage_is_run_again_to_be_timed(classic: Config) -> None:
    ledger.append(classic.history, ran("training", 2.0))
    before = classic.history.read_bytes()
    assert list(diagnostics.run(classic).timings) == ["training"]
    assert classic.history.read_bytes() == before


def test_drift_is_what_the_live_release_met(five: Config) -> None:
    deploy(five)
    live = releases.require_live(five)
    assert diagnostics.known_drift(five, None) is None
    assert diagnostics.known_drift(five, live) is None
    met = Record("000001-aa", rows=60, labels=40, looked_at="2026-03-01T06:00:00Z", live_score={"rows": 40})
    alarmed = replace(met, drift={"reason": "the live release errs", "since": "2026-03-01T06:00:00Z"})
    monitor.write(five.monitor, Memory({"000000-another": alarmed}))
    assert diagnostics.known_drift(five, live) is None
    monitor.write(five.monitor, Memory({live.id: alarmed}))
    diagnostics.run(five)
    told = published(five)["drift"]
    assert (told["release"], told["rows"], told["labels"]) == (live.id, 60, 40)
    assert told["drift"] == alarmed.drift
    assert told["live_score"] == {"rows": 40}


def test_what_became_of_the_datasets_is_counted_with_the_reasons(project: Project) -> None:
    project.dataset("a.csv", classic_rows(10))
    project.dataset("b.csv", [*classic_rows(9, start=9), "x,1,2,3,7"])
    project.dataset("c.csv", classic_rows(10))
    project.dataset("d.csv", ["1"], header="one")
    ingestion.run(project.config())
    diagnostics.run(project.config())
    told = published(project.config())["datasets"]
    assert told["by_status"] == {"ingested": 2, "same content": 1, "rejected": 1}
    assert (told["rows_read"], told["rows_added"], told["rejected"]) == (30, 18, 1)
    assert [(dataset["name"], dataset["status"]) for dataset in told["set_aside"]] == [
        ("c.csv", "same content"),
        ("d.csv", "rejected"),
    ]
    assert "no column" in told["set_aside"][1]["reason"]


def test_diagnostics_json_holds_all_that_is_served(five: Config) -> None:
    diagnosed = diagnostics.run(five)
    facts = published(five)
    assert list(facts) == [
        "diagnosed_at",
        "run",
        "generation",
        "release",
        "rows",
        "predictions",
        "summary",
        "missing_percent",
        "timings",
        "drift",
        "datasets",
        "packages",
    ]
    assert (facts["run"], facts["rows"], facts["drift"], facts["release"]) == ("the run", 5, None, None)
    assert facts["generation"] == generations.require_current(five).id
    assert facts["packages"] == files.read_json(five.packages) == diagnosed.packages
    pandas = next(package for package in facts["packages"]["packages"] if package["name"] == "pandas")
    assert pandas["direct"] and pandas["installed"]
    assert facts["packages"]["checked_at"] is None


def test_a_dry_run_tells_the_same_and_writes_nothing(five: Config, project: Project) -> None:
    before = project.snapshot()
    assert diagnostics.run(project.config(dry_run=True)).rows == 5
    assert project.snapshot() == before


def test_the_command_prints_the_keys_of_the_interface_and_keeps_the_bulk_out_of_the_history(
    project: Project,
) -> None:
    project.dataset("a.csv", classic_rows(30))
    project.json("ingestion.py")
    answer = project.json("diagnostics.py")
    assert {"rows", "summary", "missing_percent", "timings", "drift", "packages"} <= answer.keys()
    assert (answer["stage"], answer["status"], answer["rows"]) == ("diagnostics", "done", 30)
    assert list(answer["timings"]) == ["ingestion"]
    line = project.history("diagnostics")[-1]
    assert list(line["facts"]) == ["rows", "predictions", "missing"]
    assert line["facts"]["missing"] == {"percent": 0.0, "worst": "lastmonth_activity", "worst_percent": 0.0}
    assert line["sentence"] == answer["sentence"]
    assert project.run("diagnostics.py", "-q").stdout == ""


def test_in_practice_mode_nothing_of_production_is_touched(project: Project) -> None:
    project.dataset("a.csv", classic_rows(30), folder="practicedata")
    project.json("ingestion.py", "--practice")
    project.json("diagnostics.py", "--practice")
    assert (project.home / "practicemodels" / "diagnostics.json").is_file()
    assert not (project.home / "models").exists()


def test_without_any_data_the_command_ends_with_the_status_of_missing_input(project: Project) -> None:
    assert project.json("diagnostics.py", status=4)["status"] == "failed"


def test_damaged_sums_of_older_runs_do_not_stop_the_diagnostics(
    classic: Config, caplog: pytest.LogCaptureFixture
) -> None:
    ledger.append(classic.history, ran("training", 2.0))
    classic.history_summary.write_text("{")
    assert list(diagnostics.run(classic).timings) == ["training"]
    assert "timings are those of the newest runs alone" in caplog.text
