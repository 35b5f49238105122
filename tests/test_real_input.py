"""The pipeline on real data, by config alone. It lies beside the checkout; without it these tests skip."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import app
from attrition import files, generations, releases
from tests.projects import FOLDERS, Project, pasted

TELCO = {
    "id": "customerID",
    "target": "Churn",
    "left": "Yes",
    "stayed": "No",
    "numeric": ["SeniorCitizen", "tenure", "MonthlyCharges", "TotalCharges"],
    "categorical": [
        *("gender", "Partner", "Dependents", "PhoneService", "MultipleLines", "InternetService"),
        *("OnlineSecurity", "OnlineBackup", "DeviceProtection", "TechSupport", "StreamingTV"),
        *("StreamingMovies", "Contract", "PaperlessBilling", "PaymentMethod"),
    ],
}


@pytest.fixture
def classic(tmp_path: Path, shared: Path) -> Project:
    """The five-column data with a config of the five path keys and nothing else."""
    project = Project(tmp_path)
    project.here = True
    for folder in ("practicedata", "sourcedata", "testdata"):
        shutil.copytree(shared / "classic" / folder, tmp_path / folder, dirs_exist_ok=True)
    for path in tmp_path.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    project.write("config.json", json.dumps(FOLDERS))
    return project


def drop(project: Project, source: Path, folder: str) -> None:
    (project.home / folder / source.name).write_bytes(source.read_bytes())


def test_the_classic_data_from_first_release_to_drift(classic: Project, shared: Path) -> None:
    first = classic.json("fullprocess.py", "--practice")
    assert (first["retrained"], first["promoted"]) == (True, True)
    assert len(classic.read("practicemodels/ingesteddata/finaldata.csv").splitlines()) == 1 + 26
    report = classic.read("practicemodels/report.html")
    assert "26" in report and "5 test rows" in report

    before = classic.snapshot()
    assert classic.run("fullprocess.py", "--practice").stdout == ""
    changed = {name for name, at in classic.snapshot().items() if before.get(name) != at}
    assert changed <= {".config.json.practice.stamp"}

    drop(classic, shared / "classic/validation_data/no_drift/no_drift.csv", "practicedata")
    kept = classic.json("fullprocess.py", "--practice")
    assert (kept["new_datasets"], kept["retrained"]) == (["no_drift.csv"], False)
    assert (kept["live_score"]["rows"], kept["drift"]) == (8, None)
    assert classic.run("fullprocess.py", "--practice").stdout == ""

    drop(classic, shared / "classic/validation_data/drift/drift.csv", "practicedata")
    drifted = classic.json("fullprocess.py", "--practice")
    assert (drifted["new_datasets"], drifted["retrained"]) == (["drift.csv"], True)
    assert drifted["live_score"]["figures"]["f1"]["value"] == 0
    assert "erred on 8 of 8 new labelled rows" in drifted["drift"]["reason"]
    assert classic.run("fullprocess.py", "--practice").stdout == ""


def test_the_classic_source_rows_are_shifted_inputs_that_the_score_alone_would_have_missed(
    classic: Project, shared: Path
) -> None:
    assert classic.json("fullprocess.py", "--practice")["promoted"]
    for source in sorted((shared / "classic/sourcedata").iterdir()):
        drop(classic, source, "practicedata")
    answer = classic.json("fullprocess.py", "--practice")
    assert (answer["live_score"]["rows"], answer["drift"]) == (26, None)
    inputs = files.read_json(classic.config(practice=True).diagnostics)["drift"]["inputs"]
    assert inputs["level"] == "act"
    told = "lastmonth activity is above lastyear activity in 65 % of rows in the 2 datasets from dataset3.csv"
    assert inputs["sentences"][0].startswith(told)


def test_the_classic_source_data_is_ingested(classic: Project) -> None:
    done = classic.json("ingestion.py")
    assert (done["rows_read"], done["rows_added"], done["rows_rejected"]) == (26, 26, 0)
    assert classic.json("fullprocess.py")["promoted"]


# what a plain logistic regression reaches on each, with room below for other rows held out
STRANGERS = {
    "telco_ibm": ("customerID", 0.83),
    "ecommerce_churn": ("CustomerID", 0.84),
    "ibm_hr_attrition": ("EmployeeNumber", 0.75),
    "mlc_churn_5000": ("client", 0.75),
}


@pytest.fixture(params=STRANGERS)
def stranger(request: pytest.FixtureRequest, tmp_path: Path, shared: Path) -> Project:
    """A live release made of a file as it was found, by the commands of README and nothing else."""
    project = Project(tmp_path)
    project.here = True
    # the five path keys, as README has them; and one cheap candidate for the sake of time
    settings: dict[str, Any] = {**FOLDERS, "training": {"candidates": ["logistic"]}}
    project.write("config.json", json.dumps(settings))
    raw = shared / "churn" / f"{request.param}.csv"
    done = project.run("ingestion.py", "--hold-out", str(raw))
    assert "Next: python ingestion.py --propose-contract" in done.stdout, done.stderr
    proposed = project.run("ingestion.py", "--propose-contract")
    assert "every row that was looked at is accepted" in proposed.stdout, proposed.stderr
    project.write("config.json", json.dumps({**settings, "clients": pasted(proposed.stdout)}))
    done = project.run("fullprocess.py")
    assert (done.returncode, done.stderr) == (0, "")
    return project


def test_a_file_as_it_was_found_becomes_a_release_a_list_a_report_and_predictions(
    stranger: Project, shared: Path
) -> None:
    config = stranger.config()
    live = releases.require_live(config)
    name, (client_id, at_least) = next(
        each for each in STRANGERS.items() if (config.input_folder / f"{each[0]}.csv").exists()
    )
    auc = live.scores["figures"]["roc_auc"]
    assert at_least <= auc["value"] < 0.97
    assert auc["low"] > 0.7
    assert [d for d in generations.datasets(generations.require_current(config)) if d["rejected"]] == []
    assert config.clients.id == client_id

    with (shared / "churn" / f"{name}.csv").open(newline="", encoding="utf-8-sig") as stream:
        raw = list(csv.DictReader(stream))
    with config.risk_list.open(newline="") as stream:
        listed = [row[client_id] for row in csv.DictReader(stream)]
    stayed = sum(row[config.clients.target] == config.clients.stayed for row in raw)
    rows, left = live.scores["rows"], live.scores["left"]
    # every client of the dataset who has not left, once; those held out are in the test data
    assert len(set(listed)) == len(listed) == stayed - (rows - left)
    assert config.report.stat().st_size < 1_048_576
    assert f"{rows:,} test rows" in config.report.read_text()

    client = app.create_app(config).test_client()
    told: dict[str, Any] = client.post("/prediction", json={"filepath": f"testdata/{name}.csv"}).get_json()
    assert told["release"] == live.id
    with config.test_predictions.open(newline="") as stream:
        scored = [float(row["probability"]) for row in csv.DictReader(stream)]
    served = [one["probability"] for one in told["predictions"]]
    assert len(served) == rows
    assert served == pytest.approx(scored, abs=1e-9)
    with (config.test_folder / f"{name}.csv").open(newline="") as stream:
        at, row = next((at, row) for at, row in enumerate(csv.DictReader(stream)) if all(row.values()))
    numbers = config.clients.numeric
    instance = {c: float(row[c]) if c in numbers else row[c] for c in config.clients.columns}
    one = client.post("/prediction?explain=1", json={"instances": [instance]}).get_json()
    assert one["predictions"][0]["probability"] == pytest.approx(served[at], abs=1e-9)
    assert one["predictions"][0]["reasons"]
