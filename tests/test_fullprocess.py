import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from attrition import evidence, monitor, news, releases
from tests.projects import CHECKOUT, HEADER, Project, classic_rows


@pytest.fixture
def fed(project: Project) -> Project:
    project.here = True
    project.dataset("a.csv", classic_rows(200))
    project.dataset("test.csv", classic_rows(90, start=1000), folder="testdata")
    return project


def tick(project: Project, *flags: str) -> "subprocess.CompletedProcess[str]":
    done = project.run("fullprocess.py", *flags)
    assert done.returncode == 0, done.stderr
    return done


def live(project: Project) -> str:
    return releases.require_live(project.config()).id


def ran(project: Project, folder: str = "models") -> list[str]:
    """Stages of the last run, in the order they ended."""
    last = project.history(folder=folder)[-1]["run"]
    return [line["stage"] for line in project.history(folder=folder) if line["run"] == last]


ALL = ["ingestion", "training", "scoring", "deployment", "diagnostics", "reporting", "fullprocess"]
TOLD = ["ingestion", "diagnostics", "reporting", "fullprocess"]


def test_the_first_tick_ends_with_a_live_release_and_a_report(fed: Project) -> None:
    answer = fed.json("fullprocess.py")
    assert ran(fed) == ALL
    assert (answer["retrained"], answer["promoted"], answer["release"]) == (True, True, live(fed))
    assert answer["new_datasets"] == ["a.csv"]
    assert answer["api"].startswith("skipped: ")
    for name in ("report.html", "risklist.csv", "confusionmatrix.png", "diagnostics.json", "latestscore.txt"):
        assert (fed.home / "models" / name).stat().st_size > 0


def test_a_tick_with_nothing_new_is_silent_and_writes_nothing_but_the_stamps_time(fed: Project) -> None:
    tick(fed, "-q")
    before = fed.snapshot()
    os.utime(fed.config().stamp, (1, 1))
    for flags in ((), ("-q",)):
        done = tick(fed, *flags)
        assert (done.stdout, done.stderr) == ("", "")
    assert time.time() - fed.config().stamp.stat().st_mtime < 60
    after = fed.snapshot()
    assert {name for name in after if after[name] != before.get(name)} == {".config.json.stamp"}


def test_an_idle_tick_imports_next_to_nothing(fed: Project) -> None:
    tick(fed, "-q")
    command = [sys.executable, "-X", "importtime", str(CHECKOUT / "fullprocess.py"), "-q"]
    done = subprocess.run(
        [*command, "--config", str(fed.home / "config.json")], capture_output=True, text=True
    )
    bare = subprocess.run([sys.executable, "-X", "importtime", "-c", "pass"], capture_output=True, text=True)

    def imported(told: str) -> set[str]:
        return {line.split("|")[-1].strip() for line in told.splitlines()}

    assert done.returncode == 0
    assert imported(done.stderr) - imported(bare.stderr) == {"attrition", "attrition.stamp"}


def killed(fed: Project, stage: str) -> "subprocess.CompletedProcess[str]":
    """A tick that dies right after this stage was done."""
    script = (
        "import os, signal, sys, fullprocess; from attrition import ledger\n"
        "append = ledger.append\n"
        "def append_and_die(history, entry):\n"
        "    append(history, entry)\n"
        f"    if entry['stage'] == '{stage}': os.kill(os.getpid(), signal.SIGKILL)\n"
        "ledger.append = append_and_die\n"
        "sys.argv = ['fullprocess.py', '--config', sys.argv[1]]\n"
        "sys.exit(fullprocess.main())"
    )
    config = str(fed.home / "config.json")
    command = [sys.executable, "-c", script, config]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)


def test_new_data_without_drift_is_recorded_and_the_model_stays(fed: Project) -> None:
    tick(fed)
    before = live(fed)
    fed.dataset("b.csv", classic_rows(60, start=2000))
    answer = fed.json("fullprocess.py")
    assert (answer["new_datasets"], answer["retrained"], answer["drift"]) == (["b.csv"], False, None)
    assert answer["live_score"]["rows"] == 60
    assert answer["live_score"]["release"] == before == live(fed)
    assert ran(fed) == TOLD
    assert tick(fed).stdout == ""


def test_drift_trains_a_challenger_which_is_deployed_when_not_worse(fed: Project) -> None:
    tick(fed)
    before = live(fed)
    # the test data still tells of the old world: the newest rows, held out, are what counts
    fed.dataset("b.csv", classic_rows(900, start=2000, turned=True))
    answer = fed.json("fullprocess.py")
    assert "the live release errs on 90.0% of 900 new labelled rows" in answer["drift"]["reason"]
    assert answer["drift"]["kind"] == "concept"
    assert (answer["retrained"], answer["promoted"]) == (True, True)
    assert "newest rows" in answer["reason"]
    assert live(fed) != before
    assert "Drift: the live release errs" in fed.run("deployment.py", "--list").stdout
    facts = json.loads(releases.require_live(fed.config()).read("model.json"))
    assert 240 < facts["held_out"]["rows"] < 360
    assert facts["labelled"] == 1100
    # the 200 rows of the old world mislead by now
    assert facts["window"] == "the newest half of the labelled rows"
    assert facts["rows"] == (1100 - facts["held_out"]["rows"]) // 2
    assert tick(fed).stdout == ""


def test_after_a_long_stable_life_the_rows_since_the_drift_decide(fed: Project) -> None:
    fed.configure(retraining={"growth": 99, "enough_labels": 9999})
    tick(fed)
    before = live(fed)
    fed.dataset("b.csv", classic_rows(1200, start=2000))
    assert not fed.json("fullprocess.py")["retrained"]
    fed.dataset("c.csv", classic_rows(700, start=4000, turned=True))
    answer = fed.json("fullprocess.py")
    assert (answer["retrained"], answer["promoted"]) == (True, True)
    # some 630 are held out, two thirds of them of the old world
    assert "on 200 newest rows" in answer["reason"]
    assert live(fed) != before


def test_the_rows_since_the_drift_are_the_newest_that_can_tell() -> None:
    often, seldom = np.arange(1000) % 4 == 0, np.arange(1000) % 40 == 0
    assert evidence.since_the_drift(often.astype(float)) == slice(800, None)
    assert evidence.since_the_drift(seldom.astype(float)) == slice(200, None)
    assert evidence.since_the_drift(np.zeros(1000)) == slice(0, None)
    assert evidence.since_the_drift(np.zeros(0)) == slice(0, None)


def test_test_rows_that_drift_left_behind_judge_no_more_and_this_is_told(fed: Project) -> None:
    tick(fed)
    fed.dataset("b.csv", classic_rows(900, start=2000, turned=True))
    assert fed.json("fullprocess.py")["promoted"]
    memory = monitor.read(fed.config().monitor)
    assert releases.require_live(fed.config()).scores["test_rows"] in memory.outdated
    # they tell of the old world: on them a challenger that learnt more of the new one looks worse
    fed.dataset("c.csv", classic_rows(900, start=4000, turned=True))
    answer = fed.json("fullprocess.py")
    assert answer["retrained"] and answer["drift"] is None
    assert "newest rows" in answer["reason"] and "test rows" not in answer["reason"]
    assert "Put newer labelled rows into their folder" in fed.read("models/report.html")
    # others in their place count again
    fed.dataset("test.csv", classic_rows(90, start=1000, turned=True), folder="testdata")
    assert news.test_rows(fed.config()) not in memory.outdated


def test_a_challenger_that_is_not_better_is_kept_aside_and_the_tick_is_no_failure(fed: Project) -> None:
    tick(fed)
    before = live(fed)
    # what a run left that was killed while it kept a challenger aside
    fed.write("models/refused/20260101T000000.000Z-1/.model.json.0000abcd.tmp", "{half")
    fed.dataset("b.csv", classic_rows(150, start=2000))
    answer = fed.json("fullprocess.py")
    assert "There are 150 new labelled rows, and the model was fitted on 200." in answer["reason"]
    assert (answer["retrained"], answer["promoted"], answer["status"]) == (True, False, "done")
    assert "kept aside, since it is not proven better" in answer["reason"]
    assert live(fed) == before
    (folder,) = (fed.home / "models/refused").iterdir()
    assert (folder / "reason.txt").read_text().strip() in answer["reason"]
    assert json.loads((folder / "model.json").read_text())["labelled"] == 350
    assert tick(fed).stdout == ""


def test_a_refused_challenger_is_not_trained_again_on_the_same_data(fed: Project) -> None:
    tick(fed)
    # too few to hold some out: the test data, which tells of the old world, decides
    fed.dataset("b.csv", classic_rows(50, start=2000, turned=True))
    answer = fed.json("fullprocess.py")
    assert (answer["retrained"], answer["promoted"]) == (True, False)
    assert "The live model has drifted, but the new one is kept aside" in answer["reason"]
    # rows without an outcome are no other data to train on
    fed.dataset("c.csv", [row[:-1] for row in classic_rows(30, start=3000)])
    answer = fed.json("fullprocess.py")
    assert not answer["retrained"]
    assert "A challenger trained on the same data was refused" in answer["reason"]
    fed.dataset("d.csv", classic_rows(30, start=4000, turned=True))
    assert fed.json("fullprocess.py")["retrained"]
    assert fed.json("fullprocess.py", "--force")["retrained"]


def test_after_a_refusal_as_many_new_labels_are_waited_for_again(fed: Project) -> None:
    fed.configure(retraining={"enough_labels": 1000})
    tick(fed)
    fed.dataset("b.csv", classic_rows(150, start=2000))
    assert fed.json("fullprocess.py")["retrained"]
    # half of 200 rows asked for the first challenger, half of the 350 that it knew ask for the next
    fed.dataset("c.csv", classic_rows(100, start=3000))
    assert not fed.json("fullprocess.py")["retrained"]
    fed.dataset("d.csv", classic_rows(75, start=4000))
    answer = fed.json("fullprocess.py")
    assert answer["retrained"]
    told = "the model was fitted on 200; a challenger that knew 150 of them was refused"
    assert f"There are 325 new labelled rows, and {told}." in answer["reason"]


def test_no_more_challengers_are_trained_in_a_day_than_allowed(fed: Project) -> None:
    fed.configure(retraining={"most_per_day": 2})
    tick(fed)
    retrained = []
    for name, start in (("b.csv", 2000), ("c.csv", 3000)):
        fed.dataset(name, classic_rows(200, start=start))
        answer = fed.json("fullprocess.py")
        retrained.append(answer["retrained"])
    assert retrained == [True, False]
    assert "2 challengers were trained in the last 24 hours" in answer["reason"]
    assert fed.json("fullprocess.py", "--force")["retrained"]


def test_a_challenger_that_waits_for_its_day_is_trained_without_other_news(fed: Project) -> None:
    fed.configure(retraining={"most_per_day": 1})
    tick(fed)
    fed.dataset("b.csv", classic_rows(900, start=2000, turned=True))
    waits = fed.json("fullprocess.py")
    assert "the next one waits" in waits["reason"] and not waits["retrained"]
    stamp = fed.home / ".config.json.stamp"
    assert b"\nuntil " in stamp.read_bytes()
    # a day later
    memory = monitor.read(fed.config().monitor)
    monitor.write(fed.config().monitor, replace(memory, trainings=["2026-01-01T00:00:00Z"]))
    stamp.write_bytes(re.sub(rb"\nuntil \d+", b"\nuntil 1", stamp.read_bytes()))
    done = tick(fed)
    assert "Drift: the live release errs" in done.stdout and live(fed).startswith("000002")


def test_a_refused_training_keeps_no_files_of_an_earlier_model_aside(fed: Project) -> None:
    tick(fed)
    fed.configure(training={"on_leak": "stop"}, clients={"ranges": {"number_of_employees": [1, None]}})
    planted = [f"leak{i:04d},{900 if i % 2 else 1},900,5,{i % 2}" for i in range(600)]
    (fed.home / "sourcedata/a.csv").unlink()
    fed.dataset("a.csv", planted)
    answer = fed.json("fullprocess.py")
    assert (answer["status"], answer["retrained"]) == ("refused", False)
    assert not (fed.home / "models/refused").exists()


def test_a_first_model_no_better_than_a_constant_is_not_released(project: Project) -> None:
    random = np.random.default_rng(0)
    noise = [f"client{i:04d},{random.integers(99)},500,{i % 50},{random.integers(2)}" for i in range(1200)]
    project.dataset("a.csv", noise[:200])
    project.dataset("test.csv", noise[200:], folder="testdata")
    answer = project.json("fullprocess.py")
    assert (answer["retrained"], answer["promoted"], answer["release"]) == (True, False, None)
    assert "no better than a constant" in answer["reason"]
    assert tick(project).stdout == ""


def test_a_killed_tick_counts_no_row_twice(fed: Project) -> None:
    tick(fed)
    fed.dataset("b.csv", classic_rows(60, start=2000))
    died = killed(fed, "diagnostics")
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert fed.json("fullprocess.py")["live_score"]["rows"] == 60
    record = monitor.read(fed.config().monitor).records[live(fed)]
    assert (record.rows, record.labels) == (60, 60)


def test_corrections_and_other_names_of_a_dataset_are_no_new_labels(fed: Project) -> None:
    fed.configure(clients={"carry": ["note"]})
    header = HEADER.replace(",exited", ",note,exited")
    rows = [f"{row[:-2]},first{row[-2:]}" for row in classic_rows(260)]
    fed.dataset("a.csv", rows[:200], header)
    fed.dataset(
        "test.csv", [f"{row[:-2]},x{row[-2:]}" for row in classic_rows(90, start=500)], header, "testdata"
    )
    tick(fed)
    fed.dataset("b.csv", rows[200:], header)
    assert fed.json("fullprocess.py")["live_score"]["rows"] == 60
    fed.dataset("b.csv", [row.replace("first", "second") for row in rows[200:]], header)
    assert fed.json("fullprocess.py")["live_score"] is None
    (fed.home / "sourcedata/b.csv").rename(fed.home / "sourcedata/c.csv")
    assert fed.json("fullprocess.py")["live_score"] is None
    assert monitor.read(fed.config().monitor).records[live(fed)].labels == 60


def test_a_damaged_memory_is_counted_again_and_this_is_told(fed: Project) -> None:
    tick(fed)
    fed.dataset("b.csv", classic_rows(60, start=2000))
    tick(fed)
    fed.write("models/monitor.json", "{")
    fed.dataset("c.csv", classic_rows(40, start=3000))
    done = fed.run("fullprocess.py", "-q")
    assert (done.returncode, "monitor.json: this is damaged" in done.stderr) == (0, True)
    assert monitor.read(fed.config().monitor).records[live(fed)].labels == 100


def test_broken_columns_are_told_and_ask_for_a_challenger_where_there_are_labels(fed: Project) -> None:
    tick(fed)
    broken = [",".join([row.split(",")[0], "0", *row.split(",")[2:]]) for row in classic_rows(60, start=2000)]
    fed.dataset("b.csv", [row[:-1] for row in broken])
    answer = fed.json("fullprocess.py")
    assert not answer["retrained"]
    assert "No new outcomes: the model stays. Inputs (act): " in answer["reason"]
    inputs = monitor.read(fed.config().monitor).records[live(fed)].shift
    assert inputs and inputs["level"] == "act"
    assert any("lastmonth activity" in sentence and "b.csv" in sentence for sentence in inputs["sentences"])
    fed.configure(retraining={"enough_labels": 20, "growth": 9})
    fed.dataset("c.csv", classic_rows(30, start=3000))
    answer = fed.json("fullprocess.py")
    assert answer["retrained"]
    assert "There are 30 new labelled rows to learn from." in answer["reason"]


def test_the_live_release_is_scored_on_exactly_the_new_labelled_rows(fed: Project) -> None:
    tick(fed)
    unknown = [row[:-1] for row in classic_rows(30, start=3000)]
    fed.dataset("b.csv", [*classic_rows(50, start=150), *unknown])
    # 50 rows are known from a.csv, 30 have no outcome yet
    assert fed.json("fullprocess.py")["live_score"] is None
    fed.dataset("c.csv", classic_rows(30, start=3000))
    assert fed.json("fullprocess.py")["live_score"]["rows"] == 30
    # outcomes that come later are new labels, but no new inputs
    record = monitor.read(fed.config().monitor).records[live(fed)]
    assert record.inputs and (record.labels, record.inputs["rows"]) == (30, 30)


def test_rows_a_release_was_trained_on_by_hand_are_not_new_to_it(fed: Project) -> None:
    tick(fed)
    fed.dataset("b.csv", classic_rows(60, start=2000))
    for script in ("ingestion.py", "training.py", "scoring.py", "deployment.py"):
        assert fed.run(script).returncode == 0
    answer = fed.json("fullprocess.py")
    assert answer["new_datasets"] == ["b.csv"]
    assert answer["live_score"] is None


@pytest.mark.parametrize(
    "stage", ["ingestion", "training", "scoring", "deployment", "diagnostics", "reporting"]
)
def test_a_run_killed_after_any_stage_is_simply_done_again(fed: Project, stage: str) -> None:
    tick(fed)
    fed.dataset("b.csv", classic_rows(300, start=2000, turned=True))
    fed.dataset("test.csv", classic_rows(90, start=4000, turned=True), folder="testdata")
    died = killed(fed, stage)
    assert died.returncode == -signal.SIGKILL, died.stderr
    answer = fed.json("fullprocess.py")
    assert answer["new_datasets"] == ["b.csv"]
    last = fed.config().scores.read_bytes()
    assert releases.require_live(fed.config()).read("scores.json") == last
    assert "Drift" in releases.require_live(fed.config()).facts["reason"]
    assert tick(fed).stdout == ""


def test_data_that_comes_while_a_tick_is_at_work_is_taken_by_the_next(fed: Project) -> None:
    command = [sys.executable, str(CHECKOUT / "fullprocess.py"), "--config", str(fed.home / "config.json")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as first:
        while not (fed.home / "ingesteddata/current").exists():
            time.sleep(0.01)
        fed.dataset("b.csv", classic_rows(60, start=2000))
    assert first.returncode == 0
    assert fed.json("fullprocess.py")["new_datasets"] == ["b.csv"]


def test_a_damaged_live_release_is_replaced_and_this_is_told(fed: Project) -> None:
    tick(fed)
    before = live(fed)
    (fed.home / "production_deployment/current/scorecard.json").write_text("{}")
    done = fed.run("fullprocess.py", "-q", "--force")
    assert done.returncode == 0
    assert "damaged" in done.stderr
    assert live(fed) != before


def test_a_damaged_table_is_made_again_by_the_tick_that_finds_it(fed: Project) -> None:
    assert fed.run("ingestion.py").returncode == 0
    table = (fed.home / "ingesteddata/finaldata.csv").resolve()
    whole = table.read_bytes()
    table.write_bytes(whole[:-2] + b"?\n")
    done = tick(fed, "-q")
    assert "the table is made again" in done.stderr and "finaldata.csv" in done.stderr
    assert (fed.home / "ingesteddata/finaldata.csv").read_bytes() == whole
    assert live(fed) and "training" in ran(fed)
    assert tick(fed, "-q").stderr == ""


def test_a_rollback_by_hand_is_honoured(fed: Project) -> None:
    tick(fed)
    first = live(fed)
    fed.dataset("b.csv", classic_rows(900, start=2000, turned=True))
    tick(fed)
    assert live(fed) != first
    assert fed.run("deployment.py", "--rollback").returncode == 0
    assert tick(fed).stdout == ""
    assert live(fed) == first
    # rows without an outcome are no new reason, and labelled ones are
    fed.dataset("c.csv", [row[:-1] for row in classic_rows(30, start=6000)])
    assert "was rolled back: it is not made again" in fed.json("fullprocess.py")["reason"]
    assert live(fed) == first
    fed.dataset("d.csv", classic_rows(60, start=7000, turned=True))
    assert fed.json("fullprocess.py")["promoted"]


def test_a_release_that_a_killed_run_did_not_make_live_is_made_again(fed: Project) -> None:
    tick(fed)
    fed.dataset("b.csv", classic_rows(900, start=2000, turned=True))
    script = (
        "import os, signal, sys, fullprocess; from attrition import publisher\n"
        "commit = publisher.make_current\n"
        "def commit_or_die(shelf, *rest, **more):\n"
        "    if shelf.kind == 'releases': os.kill(os.getpid(), signal.SIGKILL)\n"
        "    commit(shelf, *rest, **more)\n"
        "publisher.make_current = commit_or_die\n"
        "sys.argv = ['fullprocess.py', '--config', sys.argv[1]]\n"
        "sys.exit(fullprocess.main())"
    )
    died = subprocess.run([sys.executable, "-c", script, str(fed.home / "config.json")], cwd=CHECKOUT)
    assert died.returncode == -signal.SIGKILL
    assert len(list((fed.home / "production_deployment/releases").iterdir())) == 2
    assert fed.json("fullprocess.py")["promoted"]
    assert live(fed).startswith("000003-")


def test_another_clients_section_gives_a_new_release(fed: Project) -> None:
    tick(fed)
    before = live(fed)
    fed.configure(clients={"numeric": ["lastmonth_activity", "number_of_employees"]})
    answer = fed.json("fullprocess.py")
    assert "has changed since release" in answer["reason"]
    assert live(fed) != before
    assert tick(fed).stdout == ""


def test_an_edited_table_of_actions_is_told_and_a_bad_one_refused_before_any_work(
    fed: Project,
) -> None:
    fed.configure(risk={"plays": "plays.csv"})
    fed.write("plays.csv", "reason,band,action,days\ndefault,any,Call them,3\n")
    tick(fed)
    assert "Call them" in fed.read("models/risklist.csv")
    fed.write("plays.csv", "reason,band,action,days\ndefault,any,Visit them,3\n")
    answer = fed.json("fullprocess.py")
    assert (answer["status"], answer["retrained"]) == ("done", False)
    assert "Visit them" in fed.read("models/risklist.csv")
    assert tick(fed).stdout == ""
    fed.write("plays.csv", "reason,band,action,days\ndefault,any,Call them,soon\n")
    fed.dataset("b.csv", classic_rows(60, start=2000))
    assert "plays.csv" in fed.json("fullprocess.py", status=3)["sentence"]
    assert ran(fed) == ["fullprocess"]


def test_bad_datasets_change_nothing_and_are_not_tried_again(fed: Project) -> None:
    tick(fed)
    before = live(fed)
    fed.write("sourcedata/bad.csv", bytes(range(256)))
    told = tick(fed, "-q")
    assert "bad.csv is set aside" in told.stderr
    assert live(fed) == before
    quiet = tick(fed, "-q")
    assert (quiet.stdout, quiet.stderr) == ("", "")
    assert fed.json("ingestion.py")["datasets_rejected"] == ["bad.csv"]


def test_one_class_only_gives_no_model_and_a_sentence(project: Project) -> None:
    project.dataset("a.csv", [f"client{i},{i},{i * 9},5,0" for i in range(50)])
    project.dataset("test.csv", classic_rows(30), folder="testdata")
    answer = project.json("fullprocess.py")
    assert (answer["status"], answer["release"]) == ("refused", None)
    assert "all 50" in answer["reason"]
    assert tick(project).stdout == ""


def test_without_test_data_nothing_is_trained_in_vain(fed: Project) -> None:
    (fed.home / "testdata/test.csv").unlink()
    answer = fed.json("fullprocess.py", status=4)
    assert "testdata" in answer["sentence"]
    assert "training" not in ran(fed)


def test_a_dry_run_says_what_would_follow_and_writes_nothing(fed: Project) -> None:
    before = fed.snapshot()
    answer = fed.json("fullprocess.py", "--dry-run")
    assert answer["new_datasets"] == ["a.csv"]
    assert "would be trained" in answer["reason"]
    assert fed.snapshot() == before
    tick(fed)
    fed.dataset("b.csv", classic_rows(60, start=2000))
    before = fed.snapshot()
    assert "would be scored" in fed.json("fullprocess.py", "--dry-run")["reason"]
    assert fed.snapshot() == before


def test_practice_never_touches_production(fed: Project) -> None:
    tick(fed)
    production = {n: at for n, at in fed.snapshot().items() if not n.startswith("practice")}
    fed.dataset("p.csv", classic_rows(100, start=7000), folder="practicedata")
    tick(fed, "--practice")
    assert ran(fed, "practicemodels") == ALL
    assert tick(fed, "--practice").stdout == ""
    after = {n: at for n, at in fed.snapshot().items() if not n.startswith("practice")}
    del after[".config.json.practice.stamp"]
    assert after == production
