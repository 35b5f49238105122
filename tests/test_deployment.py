import json
import os
import shutil
from pathlib import Path

import pytest

import deployment
import ingestion
import scoring
import training
from attrition import publisher, releases
from attrition.errors import DataError, ReleaseError
from tests.projects import Project, classic_rows


@pytest.fixture
def trained(project: Project) -> Project:
    project.dataset("a.csv", classic_rows(120))
    project.dataset("test.csv", classic_rows(60, start=1000), folder="testdata")
    train(project)
    return project


def train(project: Project) -> None:
    for stage in (ingestion, training, scoring):
        stage.run(project.config())


def train_another(project: Project, name: str) -> None:
    project.dataset(name, classic_rows(40, start=len(name) * 5000))
    train(project)


FIXED = ("trainedmodel.pkl", "latestscore.txt", "ingestedfiles.txt")


def test_a_release_holds_everything_and_the_fixed_names_lead_to_it(trained: Project) -> None:
    deployed = deployment.run(trained.config())
    folder = trained.home / "production_deployment"
    assert deployed.action == "deployed"
    for name in FIXED:
        assert (folder / name).resolve().parent.name == deployed.release
    assert trained.read("production_deployment/latestscore.txt") == trained.read("models/latestscore.txt")
    assert trained.read("production_deployment/ingestedfiles.txt") == trained.read(
        "ingesteddata/ingestedfiles.txt"
    )
    held = {path.name for path in (folder / "current").iterdir()}
    assert held == {
        *FIXED,
        "scorecard.json",
        "reference.json",
        "model.json",
        "scores.json",
        "modelcard.md",
        "manifest.json",
    }
    live = releases.require_live(trained.config())
    publisher.verify(live.shelf, live.edition)
    assert live.facts["libraries"].keys() >= {"python", "scikit-learn"}


def test_the_same_model_is_not_deployed_twice(trained: Project) -> None:
    first = deployment.run(trained.config())
    # as a run leaves it that was killed right after the commit
    (trained.home / "production_deployment/latestscore.txt").unlink()
    again = deployment.run(trained.config())
    assert (trained.home / "production_deployment/latestscore.txt").exists()
    assert (again.release, again.action, again.status) == (first.release, "kept", "nothing to do")
    assert deployment.run(trained.config(force=True)).release != first.release


def test_a_rollback_makes_the_one_before_live_again(trained: Project) -> None:
    first = deployment.run(trained.config()).release
    train_another(trained, "b.csv")
    second = deployment.run(trained.config()).release
    back = trained.json("deployment.py", "--rollback")
    assert (back["release"], back["previous"], back["action"]) == (first, None, "rolled back")
    assert trained.json("deployment.py", "--rollback", status=6)["status"] == "failed"
    assert releases.require_live(trained.config()).id == first
    assert second in trained.run("deployment.py", "--list").stdout


def test_a_rollback_to_a_damaged_release_is_refused(trained: Project) -> None:
    first = deployment.run(trained.config()).release
    train_another(trained, "b.csv")
    second = deployment.run(trained.config()).release
    (trained.home / "production_deployment/releases" / first / "scorecard.json").write_text("{}")
    with pytest.raises(ReleaseError, match="scorecard.json is not what was published"):
        deployment.rollback(trained.config())
    assert releases.require_live(trained.config()).id == second


def test_the_list_marks_the_live_one_and_says_why_each_was_made(trained: Project) -> None:
    assert "No release yet" in trained.run("deployment.py", "--list").stdout
    deployment.deploy(trained.config(), "Because of the test.")
    train_another(trained, "b.csv")
    deployment.run(trained.config())
    before = trained.snapshot()
    first, second = trained.run("deployment.py", "--list").stdout.splitlines()
    assert first.startswith("  000001-") and first.endswith("Because of the test.")
    assert second.startswith("* 000002-")
    assert trained.snapshot() == before


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("trainedmodel.pkl", "training.py"),
        ("scorecard.json", "training.py"),
        ("model.json", "training.py"),
        ("scores.json", "scoring.py"),
        ("latestscore.txt", "scoring.py"),
    ],
)
def test_a_missing_file_is_named_with_the_script_that_makes_it(
    trained: Project, name: str, advice: str
) -> None:
    (trained.home / "models" / name).unlink()
    with pytest.raises(DataError, match=f"{name}: this is missing. Run: python {advice}"):
        deployment.run(trained.config())


@pytest.mark.parametrize("name", ["trainedmodel.pkl", "scorecard.json"])
def test_files_that_do_not_belong_together_are_never_released(trained: Project, name: str) -> None:
    path = trained.home / "models" / name
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(DataError, match="not what training wrote"):
        deployment.run(trained.config())
    assert releases.live(trained.config()) is None


def test_a_new_model_with_an_old_score_is_never_released(trained: Project) -> None:
    trained.dataset("b.csv", classic_rows(30, start=5000))
    ingestion.run(trained.config())
    training.run(trained.config())
    with pytest.raises(DataError, match="score of another model"):
        deployment.run(trained.config())


def test_a_damaged_live_release_is_replaced(trained: Project) -> None:
    first = deployment.run(trained.config()).release
    (trained.home / "production_deployment/releases" / first / "manifest.json").write_text("{")
    with pytest.raises(ReleaseError, match="damaged"):
        releases.live(trained.config())
    second = deployment.run(trained.config())
    assert second.action == "deployed"
    assert releases.require_live(trained.config()).id == second.release


def test_files_of_an_older_system_give_way_to_the_fixed_names(trained: Project) -> None:
    trained.write("production_deployment/trainedmodel.pkl", "old")
    release = deployment.run(trained.config()).release
    assert (trained.home / "production_deployment/trainedmodel.pkl").resolve().parent.name == release


def test_as_many_predecessors_are_kept_as_configured(trained: Project) -> None:
    trained.configure(deployment={"keep": 1})
    for name in ("b.csv", "cc.csv", "ddd.csv"):
        deployment.run(trained.config())
        for folder in (trained.home / "production_deployment/releases").iterdir():
            os.utime(folder, (1, 1))
        train_another(trained, name)
    deployment.run(trained.config())
    kept = sorted(p.name[:6] for p in (trained.home / "production_deployment/releases").iterdir())
    assert kept == ["000003", "000004"]


def test_a_dry_run_proves_and_writes_nothing(trained: Project) -> None:
    before = trained.snapshot()
    assert trained.json("deployment.py", "--dry-run")["action"] == "deployed"
    assert trained.snapshot() == before


def test_whoever_finds_the_folder_is_told_what_it_is(trained: Project) -> None:
    deployment.run(trained.config())
    told = trained.read("production_deployment/README.txt")
    for word in ("current", "previous", "--rollback", "never"):
        assert word in told
    assert Path(trained.home / "production_deployment/README.txt").stat().st_size < 2000


def test_a_release_is_reproduced_to_the_last_bit_or_it_says_what_differs(trained: Project) -> None:
    release = deployment.run(trained.config()).release
    answer = trained.json("training.py", "--reproduce", release)
    assert (answer["equal"], answer["rows"], answer["differences"]) == (True, 120, [])
    again = training.reproduce(trained.config(), release)
    assert str(again) == f"{release} is reproduced: 120 predictions are equal to the last bit."
    trained.configure(clients={"numeric": ["lastmonth_activity"]})
    other = training.reproduce(trained.config(), release)
    assert not other.equal and "clients in config.json" in str(other)


def test_a_release_whose_data_is_gone_cannot_be_reproduced_and_that_is_said(trained: Project) -> None:
    release = deployment.run(trained.config()).release
    train_another(trained, "b.csv")
    ingested = json.loads(releases.by_id(trained.config(), release).read("model.json"))["ingested"]
    (trained.home / "ingesteddata" / "generations" / ingested / "manifest.json").unlink()
    assert "is not kept any more" in str(training.reproduce(trained.config(), release))


def test_the_model_card_has_every_heading_filled_or_not_stated(trained: Project) -> None:
    trained.configure(model_card={"purpose": "whom to call first"})
    scoring.run(trained.config())
    card = trained.read("models/modelcard.md")
    sections = dict(part.split("\n\n", 1) for part in card.split("\n## ")[1:])
    headings = [
        "Purpose",
        "Out-of-scope use",
        "Model",
        "Data",
        "Metrics",
        "What it looks at",
        "Limits",
        "Contact",
    ]
    assert list(sections) == headings
    assert sections["Purpose"].strip() == "whom to call first"
    assert sections["Contact"].strip() == "not stated"
    assert "not causes" in sections["Limits"]
    facts = json.loads(trained.read("models/modelcard.json"))
    assert facts["contact"] == "not stated" and facts["metrics"]["f1"]["value"] > 0


def test_a_release_that_a_killed_run_left_does_not_push_the_parent_out(trained: Project) -> None:
    trained.configure(deployment={"keep": 1})
    first = trained.json("deployment.py")["release"]
    orphan = trained.home / "production_deployment/releases/000002-0badcafe"
    shutil.copytree(trained.home / "production_deployment/releases" / first, orphan)
    for folder in orphan.parent.iterdir():
        os.utime(folder, (1, 1))
    assert trained.json("deployment.py", "--force")["previous"] == first
    assert trained.json("deployment.py", "--rollback")["release"] == first
