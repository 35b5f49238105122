"""Training on real small data: what wins, what is refused, what is written, what gives the outcome away."""

import hashlib
import json
import math
import pickle
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ingestion
import training
from attrition import contract as contracts
from attrition import files, generations, scorecard, sources, thresholds
from attrition.config import Config
from attrition.errors import DataError
from tests.projects import CHECKOUT, Project

CLIENTS = {
    "id": "client",
    "target": "left",
    "left": "yes",
    "stayed": "no",
    "numeric": ["visits", "tickets"],
    "categorical": ["plan"],
    "words": {"visits": "visits last month"},
}


def simulated(clients: int, seed: int = 0, each: int = 1, intercept: float = -0.5) -> list[dict[str, str]]:
    """Rows of clients who leave when visits are few and tickets many; some cells are blank."""
    random = np.random.default_rng(seed)
    rows = []
    for client in range(clients):
        for _ in range(each):
            visits, tickets = int(random.lognormal(3, 1)), int(random.poisson(1.5))
            plan = str(random.choice(["basic", "plus", "pro", ""]))
            odds = intercept + 1.2 * (3 - np.log1p(visits)) + 0.5 * (tickets - 1.5) + (plan == "basic")
            left = "yes" if random.random() < 1 / (1 + np.exp(-odds)) else "no"
            shown = "" if random.random() < 0.05 else str(visits)
            rows.append(
                {"client": f"c{client}", "visits": shown, "tickets": str(tickets), "plan": plan, "left": left}
            )
    return rows


def ingested(project: Project, rows: Sequence[dict[str, str]], **sections: Any) -> Config:
    """The config of a project whose rows are ingested; columns are those of the first row."""
    columns = list(rows[0])
    clients = sections.pop("clients", CLIENTS)
    project.configure(clients=clients, **sections)
    project.dataset("rows.csv", [",".join(row[c] for c in columns) for row in rows], ",".join(columns))
    config = project.config()
    ingestion.run(config)
    return config


def described(config: Config) -> dict[str, Any]:
    facts: dict[str, Any] = files.read_json(config.model_description)
    return facts


def with_column(
    rows: Sequence[dict[str, str]], column: str, value: Callable[[dict[str, str]], str]
) -> list[dict[str, str]]:
    return [{**row, column: value(row)} for row in rows]


def labels(rows: Sequence[dict[str, str]], *left: str) -> list[dict[str, str]]:
    return [{**row, "left": told} for row, told in zip(rows, left, strict=False)]


def test_the_winner_is_written_with_its_scorecard_and_a_description_that_names_both(project: Project) -> None:
    config = ingested(project, simulated(300))
    trained = training.run(config)
    facts = described(config)
    assert trained.status == "done"
    assert facts["sha256"] == {
        "reference.json": hashlib.sha256(config.reference.read_bytes()).hexdigest(),
        "trainedmodel.pkl": hashlib.sha256(config.trained_model.read_bytes()).hexdigest(),
        "scorecard.json": hashlib.sha256(config.scorecard.read_bytes()).hexdigest(),
    }
    generation = generations.require_current(config)
    assert facts["ingested"] == generation.id
    assert facts["ingested_files"] == generation.path("ingestedfiles.txt").read_text()
    assert facts["contract"] == contracts.compiled(config.clients).fingerprint
    assert (facts["model"], facts["rows"], facts["left"]) == (trained.model, trained.rows, trained.left)
    assert facts["rows"] == facts["clients"] == 300
    assert facts["window"] == "all labelled rows"
    assert 0 < facts["threshold"]["value"] < 1 and facts["threshold"]["from"] == "f1"
    assert set(facts["libraries"]) == {"python", "numpy", "pandas", "scikit-learn", "interpret-core"}
    losses = {each["name"]: each["log_loss"] for each in facts["candidates"]}
    assert list(losses) == ["logistic_strong", "logistic", "logistic_log"]
    assert losses[facts["model"]] <= min(losses.values()) + 0.02


def test_the_model_and_its_scorecard_give_the_same_calibrated_probabilities(project: Project) -> None:
    config = ingested(project, simulated(300))
    training.run(config)
    model = pickle.loads(config.trained_model.read_bytes())
    card = scorecard.load(config.scorecard.read_bytes())
    table = generations.table(contracts.compiled(config.clients), generations.require_current(config))
    probabilities = model.predict_proba(table)
    assert probabilities.shape == (300, 2)
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(300))
    assert np.allclose(probabilities[:, 1], card.probability(table), atol=1e-12, rtol=0)


def test_the_same_data_config_and_seed_give_the_same_scorecard_to_the_byte(project: Project) -> None:
    config = ingested(project, simulated(200))
    training.run(config)
    first = config.scorecard.read_bytes()
    training.run(config)
    assert config.scorecard.read_bytes() == first


def test_the_result_has_the_keys_of_json_and_one_sentence(project: Project) -> None:
    ingested(project, simulated(120))
    answer = project.json("training.py")
    assert list(answer) == ["stage", "status", "sentence", "model", "rows", "left", "candidates", "warnings"]
    assert set(answer["candidates"][0]) == {
        "name",
        "log_loss",
        "log_loss_se",
        "roc_auc",
        "brier",
        "seconds",
        "glass",
        "note",
    }
    assert answer["sentence"].startswith(f"{answer['model']} won (log loss 0.")
    assert "\n" not in answer["sentence"]


def test_a_dry_run_finds_the_same_winner_and_writes_nothing(project: Project) -> None:
    config = ingested(project, simulated(120))
    before = project.snapshot()
    dry = training.run(project.config(dry_run=True))
    assert project.snapshot() == before
    assert dry.model == training.run(config).model


def test_without_ingested_data_it_says_what_to_run(project: Project) -> None:
    with pytest.raises(DataError, match=r"nothing was ingested yet. Run: python ingestion.py"):
        training.run(project.config())


def test_data_ingested_under_another_contract_must_be_ingested_again(project: Project) -> None:
    ingested(project, simulated(50))
    project.configure(clients={**CLIENTS, "numeric": ["visits"]})
    with pytest.raises(DataError, match=r"clients in config.json changed .* Run: python ingestion.py"):
        training.run(project.config())


@pytest.mark.parametrize(
    ("left", "reason"),
    [
        (["no"] * 40, "all 40 rows with a known outcome stayed"),
        (["yes"] * 40, "all 40 rows with a known outcome left"),
        (["yes", "no"] * 4 + [""] * 32, "only 8 rows have a known outcome"),
        ([""] * 40, "only 0 rows have a known outcome"),
    ],
)
def test_too_little_to_learn_from_is_refused_and_the_older_model_stays(
    project: Project, left: list[str], reason: str
) -> None:
    config = ingested(project, labels(simulated(40), *left))
    project.write("models/trainedmodel.pkl", "an older model")
    trained = training.run(config)
    assert trained.status == "refused"
    assert str(trained).startswith(f"No model was trained, what was there stays: {reason}")
    assert {path.name for path in config.model_folder.iterdir()} == {"signing.key", "trainedmodel.pkl"}
    assert project.read("models/trainedmodel.pkl") == "an older model"


def test_a_refusal_is_no_error(project: Project) -> None:
    ingested(project, labels(simulated(40), *["no"] * 40))
    answer = project.json("training.py", status=0)
    assert (answer["status"], answer["model"], answer["candidates"]) == ("refused", None, [])


def test_rows_whose_outcome_is_not_known_yet_are_not_trained_on(project: Project) -> None:
    known = simulated(100)
    unknown = [
        {**row, "client": f"new{at}", "left": "", "visits": "999999"}
        for at, row in enumerate(simulated(50, seed=1))
    ]
    config = ingested(project, [*known, *unknown])
    assert training.run(config).rows == 100
    visits = scorecard.load(config.scorecard.read_bytes()).columns[0]
    assert isinstance(visits, scorecard.NumberColumn)
    assert visits.high is not None and visits.high < 999999


def test_three_leavers_in_twenty_six_rows_are_cross_validated_in_three_folds(project: Project) -> None:
    project.folds = 5
    config = ingested(project, labels(simulated(26), *["yes"] * 3, *["no"] * 23))
    trained = training.run(config)
    assert trained.left == 3
    assert all(candidate.log_loss is not None for candidate in trained.candidates)
    assert trained.warnings == ["3 folds instead of 5: there are no more clients of one kind"]


def test_one_leaver_gives_a_model_without_cross_validation_and_says_so(project: Project) -> None:
    config = ingested(project, labels(simulated(26), "yes", *["no"] * 25))
    trained = training.run(config)
    assert trained.model == "logistic_strong"
    assert [(candidate.name, candidate.log_loss) for candidate in trained.candidates] == [
        ("logistic_strong", None)
    ]
    assert "too few clients of one kind to cross-validate" in str(trained)
    assert described(config)["threshold"]["value"] == 0.5
    assert described(config)["calibration"] == {"slope": 1.0, "intercept": 0.0, "kept": False}


def test_rows_of_one_client_never_straddle_folds() -> None:
    from attrition import folds

    client = np.repeat(np.arange(40), 3)
    outcome = (np.random.default_rng(0).random(120) < 0.2).astype(float)
    fold = folds.by_client(client, outcome, 5, seed=0)
    assert fold is not None
    for each in range(40):
        assert len(set(fold[client == each])) == 1
    ever_left = {each for each in range(40) if outcome[client == each].any()}
    for held_out in range(5):
        inside = set(client[fold == held_out])
        assert abs(len(inside & ever_left) - len(ever_left) / 5) < 1
        assert len(inside) == 8


def test_a_client_seen_many_times_does_not_flatter_the_figures(project: Project) -> None:
    """Each client has a plan of its own and always the same outcome: other folds cannot know it."""
    random = np.random.default_rng(0)
    rows = [
        {
            "client": f"c{client}",
            "visits": str(random.integers(100)),
            "tickets": "1",
            "plan": f"p{client}",
            "left": told,
        }
        for client in range(60)
        for told in ["yes" if client % 2 else "no"]
        for _ in range(5)
    ]
    trained = training.run(ingested(project, rows))
    best = max(candidate.roc_auc or 0 for candidate in trained.candidates)
    assert best < 0.7


def test_constant_all_blank_and_blank_category_columns_train_without_a_warning(project: Project) -> None:
    clients = {
        **CLIENTS,
        "numeric": ["visits", "tickets", "always", "never"],
        "categorical": ["plan", "same", "none"],
    }
    rows = simulated(80)
    for column, value in {"always": "7.1", "never": "", "same": "x", "none": ""}.items():
        rows = with_column(rows, column, lambda row, value=value: value)  # type: ignore[misc]
    config = ingested(project, rows, clients=clients)
    trained = training.run(config)
    assert (trained.status, trained.warnings) == ("done", [])
    card = scorecard.load(config.scorecard.read_bytes())
    row = {"visits": 10.0, "tickets": 1.0, "plan": "basic"}
    usual = card.score_row({**row, "always": 7.1, "never": math.nan, "same": "x", "none": ""})
    unusual = card.score_row({**row, "always": 99.0, "never": 5.0, "same": "x", "none": ""})
    assert unusual == pytest.approx(usual, abs=1e-9)


@pytest.mark.parametrize(
    "columns", [{"numeric": ["visits"], "categorical": []}, {"numeric": [], "categorical": ["plan"]}]
)
def test_numbers_alone_or_categories_alone_are_enough(
    project: Project, columns: dict[str, list[str]]
) -> None:
    clients = {**CLIENTS, "words": {}, **columns}
    config = ingested(project, simulated(100), clients=clients)
    assert training.run(config).status == "done"


def test_derived_columns_are_trained_on(project: Project) -> None:
    clients = {**CLIENTS, "derived": {"tickets_per_visit": "tickets / visits"}}
    config = ingested(project, simulated(100), clients=clients)
    training.run(config)
    assert "tickets_per_visit" in scorecard.load(config.scorecard.read_bytes()).features


def out_of_fold(config: Config, outcome: Sequence[float], probability: Sequence[float]) -> thresholds.Cuts:
    odds = np.log(np.array(probability) / (1 - np.array(probability)))
    return thresholds.cuts(odds, np.array(outcome, dtype=float))


PROBABILITY = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05]
OUTCOME = [1, 1, 0, 1, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("risk", "threshold"),
    [
        ({"from": "f1"}, 0.55),
        ({"from": "cost", "missed": 1000, "needless": 1}, 0.55),
        ({"from": "cost", "missed": 1, "needless": 1.5}, 0.75),
        ({"from": "cost", "missed": 1, "needless": 1000}, 0.75),
    ],
)
def test_the_threshold_is_half_way_between_the_rows_it_divides(
    project: Project, risk: dict[str, Any], threshold: float
) -> None:
    project.configure(risk={"threshold": risk})
    config = project.config()
    cuts = out_of_fold(config, OUTCOME, PROBABILITY)
    choose = thresholds.THRESHOLDS[risk["from"]]
    assert choose(cuts, config.settings.risk, 100) == pytest.approx(threshold)


@pytest.mark.parametrize(("capacity", "active", "flagged"), [(20, 100, 2), (1, 1000, 0), (50, 10, 10)])
def test_capacity_flags_the_share_of_clients_that_the_team_can_work_on(
    project: Project, capacity: int, active: int, flagged: int
) -> None:
    project.configure(risk={"threshold": {"from": "capacity"}, "capacity": capacity})
    config = project.config()
    threshold = thresholds.as_many_as_fit(
        out_of_fold(config, OUTCOME, PROBABILITY), config.settings.risk, active
    )
    assert sum(probability >= threshold for probability in PROBABILITY) == flagged


def test_a_fixed_threshold_is_taken_as_it_is(project: Project) -> None:
    config = ingested(project, simulated(60), risk={"threshold": {"from": "fixed", "value": 0.37}})
    training.run(config)
    assert described(config)["threshold"] == {"value": 0.37, "from": "fixed"}


def test_active_clients_are_those_whose_latest_row_is_not_that_they_left(project: Project) -> None:
    rows = labels(simulated(3, each=2), "no", "yes", "no", "", "no", "no")
    config = ingested(project, rows)
    table = generations.table(contracts.compiled(config.clients), generations.require_current(config))
    assert training.active_clients(config.clients, [table]) == 2


LEAKS: dict[str, tuple[str, Callable[[dict[str, str]], str], str]] = {
    "a number that knows": (
        "numeric",
        lambda row: f"{(row['left'] == 'yes') + int(row['client'][1:]) / 1e6:.6f}",
        "alone tells who left (ROC AUC 1.000)",
    ),
    "a category that knows": (
        "categorical",
        lambda row: "closed" if row["left"] == "yes" else f"open{len(row['visits'])}",
        "alone tells who left",
    ),
    "filled in only for leavers": (
        "numeric",
        lambda row: "5" if row["left"] == "yes" else "",
        "is blank only in rows that stayed",
    ),
    "a date of leaving": (
        "categorical",
        lambda row: "" if row["left"] == "no" else f"2026-0{1 + len(row['visits'])}",
        "is blank only in rows that stayed",
    ),
    "another id": ("categorical", lambda row: f"key-{row['client']}", "120 values among 120 clients"),
}


@pytest.mark.parametrize("leak", LEAKS)
def test_a_column_that_gives_the_outcome_away_is_told(project: Project, leak: str) -> None:
    kind, value, warning = LEAKS[leak]
    clients = {**CLIENTS, kind: [*CLIENTS[kind], "planted"]}
    config = ingested(project, with_column(simulated(120), "planted", value), clients=clients)
    trained = training.run(config)
    (told,) = trained.warnings
    assert told.startswith("planted ") and warning in told
    assert described(config)["warnings"] == [told]


@pytest.mark.parametrize("leak", LEAKS)
def test_with_on_leak_stop_such_a_column_means_no_model(project: Project, leak: str) -> None:
    kind, value, warning = LEAKS[leak]
    clients = {**CLIENTS, kind: [*CLIENTS[kind], "planted"]}
    rows = with_column(simulated(120), "planted", value)
    config = ingested(project, rows, clients=clients, training={"on_leak": "stop"})
    trained = training.run(config)
    assert trained.status == "refused"
    assert warning in str(trained)
    assert not config.trained_model.exists()


def test_a_few_blanks_that_happen_to_be_of_one_class_are_no_leak(project: Project) -> None:
    rows = simulated(120)
    stayed = [row["client"] for row in rows if row["left"] == "no"][:5]
    rows = with_column(rows, "visits", lambda row: "" if row["client"] in stayed else row["visits"] or "20")
    assert training.run(ingested(project, rows)).warnings == []


def test_above_max_rows_whole_clients_are_sampled_and_that_is_said(project: Project) -> None:
    config = ingested(project, simulated(100, each=3), training={"max_rows": 100})
    trained = training.run(config)
    assert 97 < trained.rows <= 100 and trained.rows % 3 == 0
    assert f"trained on {trained.rows} of 300 labelled rows" in trained.warnings[0]
    assert described(config)["clients"] * 3 == trained.rows


def test_importing_the_script_costs_no_pandas_and_no_scikit_learn() -> None:
    code = "import sys, training, scoring; print({'pandas', 'numpy', 'scipy', 'sklearn'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


def test_the_classic_practice_data_teach_what_the_validation_data_ask(project: Project, shared: Path) -> None:
    for dataset in (shared / "classic" / "practicedata").iterdir():
        project.write(f"sourcedata/{dataset.name}", dataset.read_bytes())
    config = project.config()
    ingestion.run(config)
    trained = training.run(config)
    assert (trained.rows, trained.left) == (26, 15)
    card = scorecard.load(config.scorecard.read_bytes())
    contract = contracts.compiled(config.clients)
    right = {}
    for folder in ("no_drift", "drift"):
        (found,) = sources.find(shared / "classic" / "validation_data" / folder)
        table = contracts.frame(contract, contracts.judge_dataset(contract, sources.read(found)).rows)
        outcome = contracts.outcomes(config.clients, table)
        right[folder] = int(((card.probability(table) >= card.threshold) == outcome).sum())
    assert right["no_drift"] >= 7
    assert right["drift"] <= 1


def test_the_model_description_is_strict_json(project: Project) -> None:
    config = ingested(project, labels(simulated(26), "yes", *["no"] * 25))
    training.run(config)
    for path in (config.model_description, config.scorecard):
        json.loads(path.read_text(), parse_constant=refused_constant)


def refused_constant(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")
