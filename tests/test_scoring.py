"""Scoring on the test data: what is written, and what is refused with place, fault and next step."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics

import ingestion
import scoring
import training
from attrition import contract as contracts
from attrition import files, generations, publisher, signing
from attrition.config import Config
from attrition.errors import DataError
from tests.projects import HEADER, Project


def simulated(rows: int, seed: int = 0, name: str = "c") -> list[str]:
    """Rows of the classic five columns; little activity means leaving."""
    random = np.random.default_rng(seed)
    lines = []
    for client in range(rows):
        month = int(random.lognormal(4, 1.5))
        left = int(random.random() < 1 / (1 + np.exp(month / 40 - 1)))
        lines.append(f"{name}{client},{month},{month * 10},{random.integers(1, 90)},{left}")
    return lines


@pytest.fixture
def trained(project: Project) -> Config:
    """A model of 200 clients, and 150 test rows of others."""
    project.dataset("a.csv", simulated(200))
    project.dataset("test.csv", simulated(150, seed=1, name="t"), folder="testdata")
    config = project.config()
    ingestion.run(config)
    training.run(config)
    return config


def published(config: Config) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(config.scores.read_bytes(), parse_constant=_refuse)
    return facts


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def predictions(config: Config) -> list[dict[str, str]]:
    return list(csv.DictReader(config.test_predictions.read_text().splitlines()))


def test_the_scores_are_what_the_predictions_give(trained: Config) -> None:
    scored = scoring.run(trained)
    rows = predictions(trained)
    outcome = [int(row["outcome"]) for row in rows]
    probability = [float(row["probability"]) for row in rows]
    predicted = [int(row["prediction"]) for row in rows]
    assert [row["id"] for row in rows] == [f"t{client}" for client in range(150)]
    assert predicted == [int(each >= scored.threshold) for each in probability]
    assert scored.f1 == pytest.approx(metrics.f1_score(outcome, predicted))
    assert scored.roc_auc == pytest.approx(metrics.roc_auc_score(outcome, probability))
    assert scored.log_loss == pytest.approx(metrics.log_loss(outcome, probability))
    confusion = metrics.confusion_matrix(outcome, predicted).ravel().tolist()
    names = ("true_negative", "false_positive", "false_negative", "true_positive")
    assert published(trained)["confusion"] == dict(zip(names, confusion, strict=True))


def test_latestscore_is_the_f1_alone_and_a_newline(trained: Config) -> None:
    scored = scoring.run(trained)
    assert trained.latest_score.read_text() == f"{scored.f1!r}\n"


def test_scores_json_names_the_model_the_threshold_and_every_figure_with_its_interval(
    trained: Config,
) -> None:
    scored = scoring.run(trained)
    facts, description = published(trained), files.read_json(trained.model_description)
    assert facts["model_sha256"] == files.sha256(trained.trained_model)
    assert facts["threshold"] == description["threshold"]["value"] == scored.threshold
    assert facts["threshold_from"] == "f1"
    assert (facts["rows"], facts["left"]) == (150, sum(row["outcome"] == "1" for row in predictions(trained)))
    ranking = {"f1", "precision", "recall", "roc_auc", "pr_auc", "log_loss", "brier"}
    assert set(facts["figures"]) == {*ranking, "slope", "intercept", "calibration_error"}
    assert facts["deciles"][-1]["capture"]["value"] == 1.0
    assert facts["scorecard_apart"] < 1e-9
    for figure in facts["figures"].values():
        assert figure["low"] < figure["value"] < figure["high"]
    assert sum(each["count"] for each in facts["calibration"]) == 150


def test_the_result_has_the_keys_of_json_and_one_sentence(trained: Config, project: Project) -> None:
    answer = project.json("scoring.py")
    figures = ["f1", "precision", "recall", "roc_auc", "pr_auc", "log_loss", "brier"]
    assert list(answer) == ["stage", "status", "sentence", "rows", *figures, "threshold", "f1_low", "f1_high"]
    assert answer["status"] == "done"
    assert answer["sentence"].startswith(f"F1 {answer['f1']:.3f} at threshold ")


def test_a_dry_run_writes_nothing(trained: Config, project: Project) -> None:
    before = project.snapshot()
    dry = scoring.run(project.config(dry_run=True))
    assert project.snapshot() == before
    assert dry == scoring.run(trained)


def test_the_score_is_made_again_to_the_last_digit(trained: Config) -> None:
    scoring.run(trained)
    first = published(trained)
    scoring.run(trained)
    assert {**published(trained), "scored_at": ""} == {**first, "scored_at": ""}


def test_without_a_model_it_says_what_to_run(project: Project) -> None:
    with pytest.raises(DataError, match=r"no model was trained yet. Run: python training.py"):
        scoring.run(project.config())


def test_a_model_that_training_did_not_write_is_never_unpickled(trained: Config) -> None:
    trained.trained_model.write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(DataError, match=r"not the model that model.json describes. Run: python training.py"):
        scoring.run(trained)


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}", "null"])
def test_a_damaged_description_says_what_to_run(trained: Config, damage: str) -> None:
    trained.model_description.write_text(damage)
    with pytest.raises(DataError, match=r"model.json: this is damaged. Run: python training.py"):
        scoring.run(trained)


def test_a_missing_model_beside_its_description_says_what_to_run(trained: Config) -> None:
    trained.trained_model.unlink()
    with pytest.raises(DataError, match=r"there is no such file. Run: python training.py"):
        scoring.run(trained)


def test_a_model_of_another_scikit_learn_is_trained_again(trained: Config) -> None:
    facts = files.read_json(trained.model_description)
    facts["libraries"]["scikit-learn"] = "0.1"
    signing.write_description(trained, facts)
    with pytest.raises(DataError, match=r"made by scikit-learn 0.1, and .* Run: python training.py"):
        scoring.run(trained)


def test_a_model_of_another_contract_is_trained_again(trained: Config, project: Project) -> None:
    project.configure(clients={"numeric": ["lastmonth_activity"]})
    with pytest.raises(DataError, match=r"clients in config.json changed after this training"):
        scoring.run(project.config())


BAD_TEST_DATA: dict[str, tuple[str, str]] = {
    "a label 7": (f"{HEADER}\nx,1,2,3,1\ny,1,2,3,7\n", "line 3: exited is '7'"),
    "text in a number": (f"{HEADER}\nx,one,2,3,1\n", "line 2: lastmonth_activity is 'one'"),
    "half a row": (f"{HEADER}\nx,1,2,3,1\ny,1\n", "line 3: the row has 2 fields"),
    "a missing column": ("corporation,exited\nx,1\n", "it has no column lastmonth_activity"),
    "nothing in it": ("", "it is empty"),
    "a header only": (f"{HEADER}\n", "none of its 0 rows says in exited whether the client left"),
    "no outcome known": (f"{HEADER}\nx,1,2,3,\n", "none of its 1 rows says in exited whether"),
    "nobody left": (f"{HEADER}\nx,1,2,3,0\n", "none of its 1 labelled rows left, so there is no F1 score"),
}


@pytest.mark.parametrize("fault", BAD_TEST_DATA)
def test_test_data_that_cannot_be_used_says_file_line_and_fault_and_leaves_the_score(
    trained: Config, project: Project, fault: str
) -> None:
    scoring.run(trained)
    before = trained.latest_score.read_bytes(), trained.scores.read_bytes()
    content, sentence = BAD_TEST_DATA[fault]
    project.write("testdata/test.csv", content)
    with pytest.raises(DataError) as raised:
        scoring.run(trained)
    assert sentence in str(raised.value)
    assert "testdata" in str(raised.value)
    assert (trained.latest_score.read_bytes(), trained.scores.read_bytes()) == before


def test_of_many_faults_the_first_are_shown_and_the_rest_counted(trained: Config, project: Project) -> None:
    project.dataset("test.csv", [f"x{client},1,2,3,9" for client in range(30)], folder="testdata")
    with pytest.raises(DataError) as raised:
        scoring.run(trained)
    assert str(raised.value).count("line ") == 5
    assert "30 fault(s)" in str(raised.value) and "and 25 more" in str(raised.value)


def test_a_missing_or_empty_test_folder_says_so(trained: Config, project: Project) -> None:
    (project.home / "testdata" / "test.csv").unlink()
    with pytest.raises(DataError, match=r"testdata: there is no test data \(\*.csv\) in it"):
        scoring.run(trained)
    (project.home / "testdata").rmdir()
    with pytest.raises(DataError, match=r"testdata: there is no such folder"):
        scoring.run(trained)


def test_every_file_of_the_folder_is_scored_and_rows_without_an_outcome_are_left_out(
    trained: Config, project: Project
) -> None:
    project.dataset("more.csv", ["new1,5,50,3,1", "new2,5,50,3,", "new3,900,950,3,0"], folder="testdata")
    assert scoring.run(trained).rows == 152
    contract = contracts.compiled(trained.clients)
    table = scoring.read_test_rows(trained, contract)
    assert list(table["corporation"][:2]) == ["new1", "new3"]
    assert list(table.index) == list(range(152))


def test_rows_that_were_trained_on_are_counted_and_told(trained: Config, project: Project) -> None:
    project.dataset("test.csv", [*simulated(20), *simulated(30, seed=1, name="t")], folder="testdata")
    scoring.run(trained)
    assert (
        "20 of 50 test rows are in the training data too: the figures flatter"
        in published(trained)["warnings"]
    )


def test_missing_numbers_do_not_hide_a_shared_row(project: Project) -> None:
    project.dataset("a.csv", [*simulated(50), "blank,,5,,1"])
    project.dataset("test.csv", ["blank,,5,,1", "other,,5,,1"], folder="testdata")
    config = project.config()
    ingestion.run(config)
    training.run(config)
    scoring.run(config)
    assert published(config)["warnings"][-1].startswith("1 of 2 test rows are in the training data")


def test_a_forgotten_generation_of_the_training_is_told(trained: Config) -> None:
    publisher.publish(generations.shelf(trained), lambda draft: None, {})
    gone = files.read_json(trained.model_description)["ingested"]
    (trained.ingested_folder / "generations" / gone / "manifest.json").unlink()
    scoring.run(trained)
    assert "the data of this training is forgotten" in published(trained)["warnings"][-1]


def test_few_leavers_are_told_and_the_intervals_are_wide(
    trained: Config, project: Project, shared: Path
) -> None:
    project.write("testdata/test.csv", (shared / "classic" / "testdata" / "testdata.csv").read_bytes())
    assert scoring.run(trained).rows == 5
    facts = published(trained)
    assert facts["warnings"][0].startswith("only 3 of 5 test rows left")
    f1 = facts["figures"]["f1"]
    assert f1["high"] - f1["low"] > 0.4


def test_test_rows_that_all_left_have_no_roc_auc_and_that_is_told(trained: Config, project: Project) -> None:
    project.dataset("test.csv", ["x,1,2,3,1", "y,900,900,3,1"], folder="testdata")
    scored = scoring.run(trained)
    assert (scored.roc_auc, scored.pr_auc) == (None, None)
    assert published(trained)["figures"]["roc_auc"] is None
    assert "ROC AUC and PR AUC are undefined" in published(trained)["warnings"][0]
    assert "ROC" not in str(scored)


def test_telco_clients_are_told_apart_as_well_as_logistic_regression_can(
    project: Project, shared: Path
) -> None:
    header, *rows = (shared / "churn" / "telco_ibm.csv").read_text().splitlines()
    numeric = ["tenure", "MonthlyCharges", "TotalCharges", "SeniorCitizen"]
    categorical = [name for name in header.split(",") if name not in [*numeric, "customerID", "Churn"]]
    target = {"id": "customerID", "target": "Churn", "left": "Yes", "stayed": "No"}
    project.configure(clients={**target, "numeric": numeric, "categorical": categorical})
    shuffled = [rows[at] for at in np.random.default_rng(0).permutation(len(rows))]
    project.dataset("train.csv", shuffled[1761:], header)
    project.dataset("test.csv", shuffled[:1761], header, folder="testdata")
    config = project.config()
    ingestion.run(config)
    trained = training.run(config)
    scored = scoring.run(config)
    assert trained.warnings == []
    assert scored.roc_auc is not None and scored.roc_auc >= 0.83
    assert scored.f1 > 0.6
    assert published(config)["warnings"] == []
