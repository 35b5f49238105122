"""The pipeline on real data, by config alone. It lies beside the checkout; without it these tests skip."""

import csv
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

import app
from attrition import files, generations, releases, tables
from tests.projects import FOLDERS, Project

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


def telco(project: Project, source: Path) -> None:
    """Split the clients into three datasets and a test set, by a seed; only config.json names the columns."""
    with source.open(newline="", encoding="utf-8-sig") as stream:
        header, *rows = csv.reader(stream)
    random.Random(0).shuffle(rows)
    places = ("sourcedata/part1.csv", "sourcedata/part2.csv", "sourcedata/part3.csv", "testdata/test.csv")
    for part, place in enumerate(places):
        project.write(place, tables.csv_text(header, rows[part::4]))
    project.configure(clients=TELCO)


def test_telco_from_files_to_predictions_by_config_alone(project: Project, shared: Path) -> None:
    project.here = True
    telco(project, shared / "churn" / "telco_ibm.csv")
    answer = project.json("fullprocess.py")
    assert answer["promoted"]
    config = project.config()
    live = releases.require_live(config)
    assert live.scores["figures"]["roc_auc"]["value"] >= 0.83
    rejected = [d for d in generations.datasets(generations.require_current(config)) if d["rejected"]]
    assert rejected == []
    assert (project.home / "models" / "report.html").stat().st_size < 1_048_576

    client = app.create_app(config).test_client()
    told: dict[str, Any] = client.post("/prediction", json={"filepath": "testdata/test.csv"}).get_json()
    assert told["release"] == live.id
    assert len(told["predictions"]) == live.scores["rows"] == 1760
    with config.test_predictions.open(newline="") as stream:
        scored = [float(row["probability"]) for row in csv.DictReader(stream)]
    served = [one["probability"] for one in told["predictions"]]
    assert served == pytest.approx(scored, abs=1e-9)
    assert files.read_json(config.diagnostics)["missing_percent"]["TotalCharges"] > 0
