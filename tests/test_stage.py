import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from attrition import __version__, files
from attrition.errors import EXIT_STATUSES
from tests.projects import CHECKOUT, Project, classic_rows

STAGES = (
    "ingestion",
    "training",
    "scoring",
    "deployment",
    "diagnostics",
    "reporting",
    "apicalls",
    "fullprocess",
)
A, B = "alder,10,100,5,0", "birch,20,200,6,1"


@pytest.fixture
def filled(project: Project) -> Project:
    project.dataset("a.csv", [A, B])
    return project


@pytest.mark.parametrize("stage", STAGES)
def test_every_script_knows_the_common_flags(stage: str, project: Project) -> None:
    told = project.run(f"{stage}.py", "--help").stdout
    for flag in ("--config", "--practice", "--json", "--dry-run", "--force", "-v", "-q", "--version"):
        assert flag in told
    assert f"example: python {stage}.py" in told
    for status, meaning in EXIT_STATUSES.items():
        assert f"  {status}  {meaning}" in told
    assert project.run(f"{stage}.py", "--version").stdout == f"{stage}.py {__version__}\n"


@pytest.mark.parametrize("stage", STAGES)
def test_an_unknown_flag_is_a_usage_fault(stage: str, project: Project) -> None:
    done = project.run(f"{stage}.py", "--surprise")
    assert done.returncode == 2
    assert "--surprise" in done.stderr


@pytest.mark.parametrize("stage", STAGES)
def test_a_broken_config_has_its_status_and_all_its_faults(stage: str, project: Project) -> None:
    project.configure(training={"folds": 0}, nonsense=1)
    done = project.run(f"{stage}.py", "--json")
    assert done.returncode == 3
    assert "training.folds" in done.stderr and "nonsense" in done.stderr
    answer = json.loads(done.stdout)
    assert (answer["stage"], answer["status"]) == (stage, "failed")
    assert answer["sentence"] in done.stderr


def test_the_result_is_one_sentence_or_one_json_object(filled: Project) -> None:
    sentence = filled.run("ingestion.py")
    assert sentence.stdout.count("\n") == 1 and sentence.stderr == ""
    answer = filled.json("ingestion.py", "--force")
    assert answer["sentence"].startswith("Datasets: ")
    assert answer["rows_total"] == 2
    assert filled.run("ingestion.py", "-q").stdout == ""


def test_verbose_shows_the_log_and_the_file_keeps_it_either_way(filled: Project) -> None:
    assert "INFO ingestion: " in filled.run("ingestion.py", "-v").stderr
    assert filled.run("ingestion.py").stderr == ""
    told = [line for line in filled.read("models/log.txt").splitlines() if " INFO ingestion: " in line]
    assert len(told) == 2


def test_one_event_is_one_line_of_the_log(filled: Project) -> None:
    filled.write("sourcedata/x\nforged line.csv", b"")
    filled.run("ingestion.py")
    assert not any(line.startswith("forged") for line in filled.read("models/log.txt").splitlines())


def test_every_run_leaves_one_history_line(filled: Project) -> None:
    filled.run("ingestion.py")
    filled.run("training.py")
    filled.run("scoring.py")
    lines = filled.history()
    assert [(line["stage"], line["status"]) for line in lines] == [
        ("ingestion", "done"),
        ("training", "refused"),
        ("scoring", "failed"),
    ]
    assert all(line["started"].endswith("Z") and line["seconds"] >= 0 for line in lines)
    assert lines[0]["facts"]["rows_added"] == 2
    assert "Run: python training.py" in lines[2]["sentence"]


def test_a_script_by_hand_excludes_every_other(filled: Project) -> None:
    with files.lock(filled.config().pipeline_lock):
        for stage in STAGES:
            done = filled.run(f"{stage}.py")
            assert done.returncode == 5
            assert f"held by process {os.getpid()}" in done.stderr
            # a tick that meets a longer run is no news for cron's mail
            assert filled.run(f"{stage}.py", "-q").stderr == ""
        assert filled.run("ingestion.py", "--practice", "--json").returncode == 4
    assert "skipped: " in filled.read("models/log.txt")


def test_the_same_fault_is_told_once_to_cron(project: Project) -> None:
    first, second = (project.run("fullprocess.py", "-q") for _ in range(2))
    assert (first.returncode, second.returncode) == (4, 4)
    assert "there is no dataset" in first.stderr
    assert second.stderr == ""
    assert "there is no dataset" in project.run("fullprocess.py").stderr


def test_a_dry_run_writes_nothing_at_all(filled: Project) -> None:
    before = filled.snapshot()
    for stage in STAGES:
        filled.run(f"{stage}.py", "--dry-run")
    assert filled.snapshot() == before


def test_a_full_standard_output_does_not_undo_the_work(filled: Project) -> None:
    command = [
        "sh",
        "-c",
        '"$0" "$1" --config "$2" >/dev/full',
        sys.executable,
        str(CHECKOUT / "ingestion.py"),
    ]
    done = subprocess.run([*command, str(filled.home / "config.json")], capture_output=True, text=True)
    assert done.returncode == 1
    assert "standard output cannot be written" in done.stderr
    assert filled.history("ingestion")[0]["status"] == "done"


@pytest.mark.skipif(
    os.geteuid() == 0 and not Path("/usr/bin/setpriv").exists(), reason="root ignores permissions"
)
def test_a_machine_s_fault_is_a_sentence_with_a_next_step(filled: Project) -> None:
    (filled.home / "models").mkdir(mode=0o555)
    drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
    for folder in [filled.home, *filled.home.parents]:
        if folder.stat().st_uid == os.geteuid() and folder != Path("/tmp") and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    command = [*drop, sys.executable, "-B", str(CHECKOUT / "ingestion.py")]
    done = subprocess.run(
        [*command, "--config", str(filled.home / "config.json")], capture_output=True, text=True, cwd="/"
    )
    assert done.returncode == 1
    assert "Permission denied. Give this user the permission" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_log_that_cannot_be_written_does_not_fail_the_run(filled: Project) -> None:
    filled.write("models/log.txt", "").unlink()
    (filled.home / "models/log.txt").symlink_to("/dev/full")
    assert filled.run("ingestion.py").returncode == 0


def test_every_exit_status_has_a_meaning() -> None:
    assert sorted(EXIT_STATUSES) == list(range(8))


def test_what_killed_runs_left_is_removed_at_the_door_and_nothing_else(project: Project) -> None:
    project.dataset("a.csv", classic_rows(20))
    assert project.run("ingestion.py").returncode == 0
    left = [
        project.write("models/.scores.json.0badcafe.tmp", "half"),
        project.write("ingesteddata/.previous.0badcafe.tmp", "half"),
        project.write("ingesteddata/.work-0badcafe/rows.csv", "half").parent,
        project.write("production_deployment/.draft-removed-000001-0badcafe/manifest.json", "half").parent,
        project.write("..config.json.stamp.0badcafe.tmp", "half"),
    ]
    others = [
        project.write("..config.json.practice.stamp.0badcafe.tmp", "at work beside"),
        project.write(".draft.tmp", "a person's"),
    ]
    assert project.run("ingestion.py").returncode == 0
    assert [path for path in left if path.exists()] == []
    assert [path for path in others if not path.exists()] == []
