"""A person is told once: of flips, never of states, whatever the receivers and the datasets are like."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import reporting
from attrition import alerts, channels, flips, outbox, standing
from attrition.flips import NOTHING_TOLD, Alert, State
from attrition.outbox import MOST_TRIES, MOST_UNCLEAR, Waiting
from attrition.posting import Undelivered
from attrition.settings import Alerts
from attrition.standing import Client, Facts, Live, Rejected, Trouble
from tests import receivers
from tests.projects import CHECKOUT, Project, classic_rows
from tests.receivers import Receiver

SECRET = "T0PS3CR3T"
HOOK, PING, SMTP = "ATTRITION_WEBHOOK_URL", "ATTRITION_PING_URL", "ATTRITION_SMTP_URL"
AT, LATER, NEXT_DAY = "2026-03-01T06:00:00Z", "2026-03-01T09:20:00Z", "2026-03-02T06:00:00Z"


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with receivers.http() as receiver:
        monkeypatch.setenv(HOOK, f"http://127.0.0.1:{receiver.port}/{SECRET}")
        yield receiver


@pytest.fixture
def switch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with receivers.http() as receiver:
        monkeypatch.setenv(PING, f"http://127.0.0.1:{receiver.port}/{SECRET}")
        yield receiver


@pytest.fixture
def fed(project: Project) -> Project:
    project.here, project.folds = True, 5
    project.configure(alerts={"webhook_env": HOOK})
    project.dataset("a.csv", classic_rows(200))
    project.dataset("test.csv", classic_rows(90, start=1000), folder="testdata")
    return project


def told(receiver: Receiver) -> list[str]:
    """The titles of what came since this was asked last, the digest of clients aside."""
    return [alert["title"] for alert in came(receiver) if alert["about"] != "clients"]


def came(receiver: Receiver) -> list[dict[str, Any]]:
    return [alert for request in receiver.taken() for alert in request.json["alerts"]]


def digests(receiver: Receiver) -> list[str]:
    return [alert["title"] for alert in came(receiver) if alert["about"] == "clients"]


def tick(project: Project, *flags: str, status: int = 0) -> "subprocess.CompletedProcess[str]":
    done = project.run("fullprocess.py", "-q", *flags)
    assert done.returncode == status, done.stderr
    return done


def waiting(project: Project) -> list[Any]:
    kept: list[Any] = json.loads(project.read("models/alerts.json"))["waiting"]
    return kept


# the whole pipeline


def test_a_person_is_told_of_a_flip_and_not_of_a_state(fed: Project, hook: Receiver) -> None:
    tick(fed)
    assert told(hook) == ["a new release is live"]
    tick(fed)
    fed.write("sourcedata/bad.csv", "no,such\n1,2\n")
    tick(fed)
    assert told(hook) == ["dataset bad.csv set aside"]
    tick(fed)
    tick(fed, "--force")
    assert "dataset bad.csv set aside" not in told(hook)
    fed.write("sourcedata/bad.csv", "no,such\n3,4\n")
    tick(fed)
    # another content is another fault
    assert told(hook) == ["dataset bad.csv set aside"]
    fed.dataset("bad.csv", classic_rows(20, start=500))
    tick(fed)
    assert told(hook) == ["dataset bad.csv taken after all"]


def test_a_stage_that_fails_is_told_once_and_once_when_it_works_again(fed: Project, hook: Receiver) -> None:
    kept = fed.read("testdata/test.csv")
    (fed.home / "testdata/test.csv").unlink()
    for _ in range(3):
        tick(fed, status=4)
    (request,) = hook.taken()
    (alert,) = request.json["alerts"]
    assert (alert["title"], alert["good"]) == ("fullprocess fails", False)
    assert "testdata" in alert["text"] and alert["text"].startswith("Since 20")
    fed.write("testdata/test.csv", kept)
    tick(fed)
    assert told(hook) == ["fullprocess works again", "a new release is live"]
    tick(fed)
    assert told(hook) == []


def test_a_fault_that_comes_and_goes_leaves_no_idle_tick_behind(fed: Project, hook: Receiver) -> None:
    tick(fed)
    hook.taken()
    # away and back with the same times and inodes: all looks as the last finished run left it
    (fed.home / "sourcedata").rename(fed.home / "elsewhere")
    tick(fed, status=4)
    assert told(hook) == ["ingestion fails"]
    (fed.home / "elsewhere").rename(fed.home / "sourcedata")
    tick(fed)
    assert told(hook) == ["ingestion works again"]


def test_columns_that_break_are_told_once_and_a_release_that_knows_them_answers_it(
    fed: Project, hook: Receiver
) -> None:
    tick(fed)
    hook.taken()
    broken = [",".join([row.split(",")[0], "0", *row.split(",")[2:]]) for row in classic_rows(60, start=2000)]
    fed.dataset("b.csv", [row[:-1] for row in broken])
    tick(fed)
    (alert,) = [alert for alert in came(hook) if alert["about"] != "clients"]
    assert alert["title"] == "new rows look otherwise than those trained on"
    assert "lastmonth activity" in alert["text"] and "b.csv" in alert["text"]
    fed.dataset("c.csv", [row[:-1] for row in classic_rows(5, start=4000)])
    tick(fed)
    assert told(hook) == []
    fed.run("training.py"), fed.run("scoring.py")
    assert fed.run("deployment.py", "--force").returncode == 0
    fed.dataset("d.csv", [row[:-1] for row in classic_rows(5, start=5000)])
    tick(fed)
    assert told(hook) == ["new rows look like those trained on again", "a new release is live"]


def test_drift_is_told_once_and_a_new_release_answers_it(fed: Project, hook: Receiver) -> None:
    # the first training is the only one of the day
    fed.configure(alerts={"webhook_env": HOOK}, retraining={"most_per_day": 1})
    tick(fed)
    hook.taken()
    fed.dataset("b.csv", classic_rows(600, start=2000, turned=True))
    tick(fed)
    assert told(hook) == ["the live model has drifted", "new rows look otherwise than those trained on"]
    fed.dataset("c.csv", classic_rows(300, start=4000, turned=True))
    tick(fed)
    assert told(hook) == []
    tick(fed, "--force")
    again = "new rows look like those trained on again"
    assert told(hook) == ["the drift has ended", again, "a new release is live"]


def test_a_refused_model_is_told_once(fed: Project, hook: Receiver) -> None:
    tick(fed)
    hook.taken()
    fed.dataset("b.csv", classic_rows(150, start=2000))
    tick(fed)
    assert told(hook) == ["a new model is refused"]
    tick(fed, "--force")
    assert told(hook) == []


def test_a_rollback_by_hand_is_told_by_the_next_tick(fed: Project, hook: Receiver) -> None:
    tick(fed)
    fed.dataset("b.csv", classic_rows(600, start=2000, turned=True))
    tick(fed)
    assert told(hook) == ["a new release is live"] * 2
    assert fed.run("deployment.py", "--rollback").returncode == 0
    assert told(hook) == []
    tick(fed)
    # the rows that brought the new release are still odd to the old one
    assert told(hook) == ["new rows look otherwise than those trained on", "a release was rolled back"]


def test_what_is_not_delivered_is_told_when_the_receiver_is_back(fed: Project, hook: Receiver) -> None:
    hook.behaviour = "500"
    first = tick(fed)
    # the trouble with telling is told by cron's mail, and once
    assert first.stderr.count(f"the URL in {HOOK} answered 500") == 1
    assert tick(fed).stderr == ""
    assert [entry["status"] for entry in fed.history("alerts")] == ["failed", "failed"]
    (finding,) = reporting.failures(fed.config())
    assert "answered 500" in finding.sentence and finding.command.startswith("python fullprocess.py")
    hook.taken()
    hook.behaviour = "yes"
    tick(fed)
    assert told(hook) == ["a new release is live"]
    assert waiting(fed) == []
    assert fed.history("alerts")[-1]["status"] == "done"
    before = fed.snapshot()
    tick(fed)
    assert told(hook) == []
    after = fed.snapshot()
    assert {name for name in after if after[name] != before.get(name)} == {".config.json.stamp"}


@pytest.mark.parametrize("behaviour", ["hole", "drip", "reset", "moved", "404"])
def test_no_receiver_fails_or_holds_a_run(
    fed: Project, hook: Receiver, behaviour: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts, "LONGEST_SECONDS", 1.0)
    hook.behaviour = behaviour
    tick(fed)
    (entry,) = fed.history("alerts")
    assert (entry["status"], len(waiting(fed))) == ("failed", 1)
    assert fed.history("fullprocess")[-1]["status"] == "done"


def test_what_cannot_be_written_down_is_not_sent(fed: Project, hook: Receiver) -> None:
    tick(fed)
    hook.taken()
    fed.write("sourcedata/bad.csv", "no,such\n1,2\n")
    (fed.home / "models/alerts.json").unlink()
    (fed.home / "models/alerts.json").mkdir()
    assert "alerts are not told, since " in tick(fed).stderr
    assert hook.requests == []
    (fed.home / "models/alerts.json").rmdir()
    tick(fed)
    assert told(hook) == ["dataset bad.csv set aside"]


def test_a_variable_that_is_not_set_is_a_sentence(fed: Project) -> None:
    assert f"the URL in {HOOK} is not set where this run was started" in tick(fed).stderr


def test_a_run_killed_between_delivery_and_its_record_tells_once_more(fed: Project, hook: Receiver) -> None:
    script = (
        "import os, signal, sys, fullprocess; from attrition import outbox\n"
        "outbox.after = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "sys.argv = ['fullprocess.py', '--config', sys.argv[1]]\n"
        "sys.exit(fullprocess.main())"
    )
    command = [sys.executable, "-c", script, str(fed.home / "config.json")]
    died = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)
    assert died.returncode == -signal.SIGKILL, died.stderr
    first = hook.taken()
    tick(fed)
    second = hook.taken()
    assert [r.json["alerts"] for r in first] == [r.json["alerts"] for r in second]
    tick(fed)
    assert (told(hook), waiting(fed)) == ([], [])


def test_a_run_killed_before_it_looked_for_flips_loses_none(fed: Project, hook: Receiver) -> None:
    tick(fed)
    hook.taken()
    fed.write("sourcedata/bad.csv", "no,such\n1,2\n")
    script = (
        "import os, signal, sys, fullprocess; from attrition import alerts\n"
        "alerts.tell = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "sys.argv = ['fullprocess.py', '--config', sys.argv[1]]\n"
        "sys.exit(fullprocess.main())"
    )
    command = [sys.executable, "-c", script, str(fed.home / "config.json")]
    assert subprocess.run(command, cwd=CHECKOUT, capture_output=True).returncode == -signal.SIGKILL
    tick(fed)
    assert told(hook) == ["dataset bad.csv set aside"]


def test_cron_s_line_tells_and_no_secret_is_left_anywhere(
    fed: Project, hook: Receiver, switch: Receiver
) -> None:
    fed.here = False
    fed.configure(alerts={"webhook_env": HOOK, "ping_env": PING, "mail_to": "ops@example.org"})
    with receivers.smtp() as server:
        variables = {SMTP: f"smtp://user:{SECRET}@127.0.0.1:{server.port}"}
        printed = ""
        for behaviour in ("yes", "500"):
            hook.behaviour = switch.behaviour = behaviour
            fed.write(f"sourcedata/bad-{behaviour}.csv", "no,such\n1,2\n")
            done = fed.run("fullprocess.py", "-v", env=variables)
            assert done.returncode == 0, done.stderr
            printed += done.stdout + done.stderr
    assert "offers no STARTTLS" in printed and "answered 500" in printed
    assert SECRET not in printed
    left = [path for path in fed.home.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert left == []
    assert told(hook)[:2] == ["dataset bad-yes.csv set aside", "a new release is live"]


def test_mail_reaches_a_real_server(fed: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    fed.configure(alerts={"mail_to": ["ops@example.org", "b@example.org"], "mail_from": "a@example.org"})
    with receivers.smtp() as server:
        monkeypatch.setenv(SMTP, f"smtp://127.0.0.1:{server.port}")
        tick(fed)
        fed.write("sourcedata/größe\nBcc: x@example.org.csv", "no,such\n1,2\n")
        tick(fed)
        tick(fed)
    first, second = server.mails
    assert (first["From"], first["To"]) == ("a@example.org", "ops@example.org, b@example.org")
    assert first["Subject"] == "[attrition] a new release is live"
    assert second["Subject"] == "[attrition] dataset größe Bcc: x@example.org.csv set aside"
    assert second["Bcc"] is None
    assert {*server.recipients} == {"ops@example.org", "b@example.org"}
    assert first["Message-ID"] != second["Message-ID"]


def test_each_way_of_telling_keeps_its_own_count(
    fed: Project, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    fed.configure(alerts={"webhook_env": HOOK, "mail_to": "ops@example.org"})
    with receivers.smtp() as server:
        monkeypatch.setenv(SMTP, f"smtp://127.0.0.1:{server.port}")
        server.behaviour = "nobody"
        tick(fed)
        tick(fed)
        assert len(told(hook)) == 1
        server.behaviour = "yes"
        tick(fed)
        tick(fed)
        assert (len(server.mails), told(hook)) == (1, [])


def test_without_alerts_configured_nothing_is_kept(fed: Project, hook: Receiver) -> None:
    fed.configure()
    tick(fed)
    assert not (fed.home / "models/alerts.json").exists()
    assert (hook.requests, fed.history("alerts")) == ([], [])


def test_who_asks_for_alerts_late_hears_what_is_wrong_now_and_no_old_news(
    fed: Project, hook: Receiver
) -> None:
    fed.configure()
    fed.write("sourcedata/bad.csv", "no,such\n1,2\n")
    tick(fed)
    fed.configure(alerts={"webhook_env": HOOK})
    tick(fed)
    assert told(hook) == ["dataset bad.csv set aside"]


DAMAGES = ["", "{", "[]", '{"state": 1}', '{"waiting": [{}]}', '{"state": {"failing": null, "rejected": []}}']


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_memory_is_made_anew(fed: Project, hook: Receiver, damage: str) -> None:
    fed.write("sourcedata/bad.csv", "no,such\n1,2\n")
    tick(fed)
    hook.taken()
    fed.write("models/alerts.json", damage)
    tick(fed)
    assert told(hook) == ["dataset bad.csv set aside"]
    tick(fed)
    assert told(hook) == []


def test_a_dry_run_and_a_script_by_hand_tell_nobody(fed: Project, hook: Receiver, switch: Receiver) -> None:
    fed.configure(alerts={"webhook_env": HOOK, "ping_env": PING})
    tick(fed, "--dry-run")
    fed.run("scoring.py")
    assert (hook.requests, switch.requests) == ([], [])


def test_a_practice_run_tells_with_its_name_and_never_pings(
    fed: Project, hook: Receiver, switch: Receiver
) -> None:
    fed.configure(alerts={"webhook_env": HOOK, "ping_env": PING})
    fed.dataset("p.csv", classic_rows(100, start=7000), folder="practicedata")
    for _ in range(2):
        tick(fed, "--practice")
    (request,) = hook.requests
    assert request.json["subject"] == "[attrition, practice] a new release is live"
    assert " --practice --config " in request.json["alerts"][0]["command"]
    assert switch.requests == []
    assert not (fed.home / "models/alerts.json").exists()


def test_each_tick_pings_the_switch_an_idle_one_too(fed: Project, switch: Receiver) -> None:
    fed.configure(alerts={"ping_env": PING})
    tick(fed)
    tick(fed)
    fed.write("config.json", fed.read("config.json"))
    (fed.home / "sourcedata").rename(fed.home / "elsewhere")
    tick(fed, status=4)
    pinged = [request.path.removeprefix(f"/{SECRET}") for request in switch.requests]
    assert pinged == ["/start", "", "", "/start", "/4"]


def test_an_idle_tick_pings_without_importing_the_pipeline(fed: Project, switch: Receiver) -> None:
    fed.configure(alerts={"ping_env": PING})
    tick(fed)
    switch.taken()
    fed.here = False
    command = [sys.executable, "-X", "importtime", str(CHECKOUT / "fullprocess.py"), "-q"]
    done = subprocess.run(
        [*command, "--config", str(fed.home / "config.json")], capture_output=True, text=True
    )
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert done.returncode == 0
    assert {name for name in imported if name.startswith("attrition.")} == {
        "attrition.stamp",
        "attrition.posting",
    }
    assert not imported & {"pandas", "numpy", "pydantic", "requests", "logging"}
    assert [request.path for request in switch.requests] == [f"/{SECRET}"]


def test_a_dead_switch_costs_an_idle_tick_neither_its_status_nor_a_word(
    fed: Project, switch: Receiver
) -> None:
    fed.configure(alerts={"ping_env": PING})
    tick(fed)
    switch.behaviour = "500"
    done = tick(fed)
    assert (done.stdout, done.stderr) == ("", "")


def test_a_long_silence_is_told_when_it_ends(fed: Project, hook: Receiver) -> None:
    tick(fed)
    hook.taken()
    for place in (fed.config().stamp, fed.config().history):
        os.utime(place, (1_700_000_000, 1_700_000_000))
    tick(fed, "--force")
    assert "the pipeline runs again" in told(hook)
    tick(fed, "--force")
    assert "the pipeline runs again" not in told(hook)


def test_every_command_of_an_alert_can_be_run(fed: Project) -> None:
    texts = re.findall(r'"((?:\w+)\.py[ \w-]*)"', Path(flips.__file__).read_text())
    commands = {*texts, *(f"{stage}.py -v" for stage in ("ingestion", "training", "apicalls"))}
    assert {"deployment.py --list", "ingestion.py --json", "reporting.py"} <= commands
    for command in commands:
        script, *flags = command.split()
        shown = fed.run(script, *flags, "--dry-run") if script == "fullprocess.py" else None
        assert (CHECKOUT / script).exists() and (shown is None or shown.returncode == 0)
        with pytest.raises(SystemExit) as ended:
            fed.run(script, *flags, "--help")
        assert ended.value.code == 0


def test_the_daily_digest_is_made_from_the_list(fed: Project, hook: Receiver) -> None:
    tick(fed)
    hook.taken()
    found = standing._at_risk(fed.config())
    assert found and all(client.probability > 0 and client.reason for client in found)
    kept = json.loads(fed.read("models/alerts.json"))
    assert kept["state"]["at_risk"] == [client.id for client in found]
    # of the list that was told, the first client was not yet part
    kept["state"]["at_risk"] = kept["state"]["at_risk"][1:]
    fed.write("models/alerts.json", json.dumps(kept))
    tick(fed, "--force")
    assert digests(hook) == [f"client {found[0].id} newly at risk"]


def test_within_a_day_of_a_digest_the_next_one_waits_and_wakes_an_idle_tick(
    fed: Project, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    tick(fed)
    kept = json.loads(fed.read("models/alerts.json"))
    kept["state"] |= {"at_risk": kept["state"]["at_risk"][1:], "digest_at": alerts.stage.now()}
    fed.write("models/alerts.json", json.dumps(kept))
    tick(fed, "--force")
    tick(fed)
    assert digests(hook) == []
    due = alerts.look_again(fed.config())
    assert due and b"\nuntil %d\n" % due in fed.config().stamp.read_bytes()
    monkeypatch.setattr("attrition.stamp.time.time", lambda: due + 1)
    monkeypatch.setattr("attrition.stage.now", lambda: alerts._utc(due + 1))
    tick(fed)
    assert len(digests(hook)) == 1


# the pure core


def facts(**more: Any) -> Facts:
    return Facts(**{"at": AT, "run": "r1", "failing": {}, **more})


def clients(*names: str, owner: str = "Ann") -> list[Client]:
    return [Client(name, owner, 0.8, "2 logins; typical 40") for name in names]


def titles(before: State, now: Facts) -> list[str]:
    return [alert.title for alert in flips.flips(before, now)]


UNANSWERED = Undelivered("gave no answer", unclear=True)
LIVE = Live("000002-abcdef01", AT, "No release was live.", 0.61, "r1")
EVERYTHING_BAD = facts(
    failing={"training": Trouble(AT, "no rows")},
    drift=Trouble(AT, "F1 fell from 0.61 to 0.40"),
    moved=Trouble(AT, "lastmonth activity is 0 in all rows"),
    unfit=Trouble(AT, "kept aside"),
    rejected={"a.csv": Rejected("1", "no column x")},
    live=LIVE,
)


def test_every_flip_has_what_since_when_and_a_next_step() -> None:
    found = flips.flips(NOTHING_TOLD, EVERYTHING_BAD)
    assert [alert.title for alert in found] == [
        "training fails",
        "dataset a.csv set aside",
        "the live model has drifted",
        "new rows look otherwise than those trained on",
        "a new model is refused",
        "a new release is live",
    ]
    assert all(alert.command.split()[0].endswith(".py") and alert.at == AT for alert in found)
    assert f"Since {AT}: F1 fell from 0.61 to 0.40." in found[2].text


def test_the_same_facts_flip_once() -> None:
    state = flips.told(NOTHING_TOLD, EVERYTHING_BAD)
    assert flips.flips(state, dataclasses.replace(EVERYTHING_BAD, at=LATER)) == []
    assert json.loads(json.dumps(dataclasses.asdict(state))) == dataclasses.asdict(state)


def test_all_is_well_again() -> None:
    state = flips.told(NOTHING_TOLD, EVERYTHING_BAD)
    now = facts(at=LATER, rejected={}, ingested=["a.csv"], live=LIVE, verdict="No drift: F1 is 0.6")
    found = flips.flips(state, now)
    assert [alert.title for alert in found] == [
        "training works again",
        "dataset a.csv taken after all",
        "the drift has ended",
        "new rows look like those trained on again",
    ]
    assert all(alert.good for alert in found)
    assert found[0].text == f"It had failed since {AT} (3 h 20 min)."
    assert found[2].text.startswith("No drift: F1 is 0.6. ")


def test_what_cannot_be_told_changes_nothing() -> None:
    state = flips.told(NOTHING_TOLD, EVERYTHING_BAD)
    unknown = dataclasses.replace(EVERYTHING_BAD, rejected=None, live=None, at_risk=None)
    assert flips.flips(state, unknown) == []
    assert flips.told(state, unknown) == state


def test_a_dataset_that_is_removed_is_no_news() -> None:
    state = flips.told(NOTHING_TOLD, facts(rejected={"a.csv": Rejected("1", "x")}))
    assert titles(state, facts(rejected={}, ingested=["b.csv"])) == []


def test_a_thousand_bad_datasets_are_one_alert() -> None:
    rejected = {f"{i}.csv": Rejected(str(i), "x" * 10_000) for i in range(1000)}
    (alert,) = flips.flips(NOTHING_TOLD, facts(rejected=rejected))
    assert alert.title == "1,000 datasets set aside"
    assert "and 995 more" in alert.text and len(alert.text) < 2000


def test_the_digest_is_daily_by_owner_and_capped() -> None:
    state = flips.told(NOTHING_TOLD, facts(at_risk=clients("A")))
    grown = [*clients("A", "B"), *clients(*(f"c{i}" for i in range(15)), owner="Bo")]
    (alert,) = flips.flips(state, facts(at=LATER, at_risk=grown))
    assert alert.title == "16 clients newly at risk"
    assert "Ann: B 80% (2 logins; typical 40)\n" in alert.text
    assert "c9 80%" in alert.text and "c10 80%" not in alert.text and "; and 5 more" in alert.text
    state = flips.told(state, facts(at=LATER, at_risk=grown))
    more = facts(at="2026-03-01T10:00:00Z", at_risk=[*grown, *clients("Z")])
    assert titles(state, more) == []
    assert str(flips.digest_due(state, more)) == "2026-03-02 09:20:00+00:00"
    state = flips.told(state, more)
    next_day = dataclasses.replace(more, at="2026-03-02T09:20:00Z")
    assert titles(state, next_day) == ["client Z newly at risk"]
    state = flips.told(state, next_day)
    assert titles(state, next_day) == [] and flips.digest_due(state, next_day) is None


def test_a_client_who_recovered_and_falls_ill_again_is_told_again() -> None:
    state = flips.told(NOTHING_TOLD, facts(at_risk=clients("B")))
    state = flips.told(state, facts(at_risk=clients("A", "B")))
    assert state.digest_at == AT
    state = flips.told(state, facts(at=LATER, at_risk=clients("B")))
    assert titles(state, facts(at=NEXT_DAY, at_risk=clients("A", "B"))) == ["client A newly at risk"]


def test_a_digest_across_releases_says_so() -> None:
    state = flips.told(NOTHING_TOLD, facts(at_risk=clients("A"), live=LIVE))
    other = dataclasses.replace(LIVE, id="000003-abcdef01")
    found = flips.flips(state, facts(at_risk=clients("A", "B"), live=other))
    assert "Scored by another release" in found[-1].text


def test_hostile_names_stay_one_short_line() -> None:
    name = "x\r\nBcc: y\u2028\u202e\x00<!channel>&" + "n" * 10_000
    found = flips.flips(
        flips.told(NOTHING_TOLD, facts(at_risk=[])),
        facts(
            rejected={name: Rejected("1", name)},
            failing={"training": Trouble(AT, name)},
            at_risk=[Client(name, name, 0.9, name)],
        ),
    )
    assert len(found) == 3
    for alert in found:
        assert alert.title.isprintable() and len(alert.title) < 130
        assert all(line.isprintable() for line in alert.text.split("\n"))
        assert len(alert.text) < 2000 and not re.search(r"^Bcc", alert.text, re.M)


def test_slack_s_markup_is_escaped_and_a_subject_is_one_header(project: Project) -> None:
    alert = Alert("datasets", False, "dataset <!channel> & größe set aside", "a > b", "ingestion.py", AT)
    message = alerts.message(project.config(), [alert, alert])
    assert message.subject == "[attrition] dataset <!channel> & größe set aside, and 1 more"
    assert f"Bad: {alert.title} ({AT})\na > b\nNext: ingestion.py" in message.text
    settings = Alerts.model_validate({"mail_to": ("ops@example.org",)})
    raw = channels.letter(settings, message).as_bytes()
    assert raw.isascii() and b"=?utf-8?" in raw.split(b"\n\n")[0]


def test_an_alert_is_given_up_after_a_day_of_ticks_and_a_silent_receiver_sooner() -> None:
    alert = Alert("drift", False, "x", "y", "z.py", AT)
    queue, batch = [Waiting(alert, {"webhook": 0, "mail": 0}, {})], [alert]
    for count in range(1, MOST_TRIES + 1):
        queue = outbox.tried(queue, {"mail": batch})
        assert queue[0].tries == {"webhook": 0, "mail": count}
        queue = outbox.after(queue, "mail", batch, Undelivered("answered 500"))
    assert queue[0].tries == {"webhook": 0}
    for _ in range(MOST_UNCLEAR):
        assert queue
        queue = outbox.after(outbox.tried(queue, {"webhook": batch}), "webhook", batch, UNANSWERED)
    assert queue == []


def ran(stage: str, status: str, run: str, **more: Any) -> dict[str, Any]:
    return {"run": run, "stage": stage, "started": f"2026-03-01T0{run}:00:00Z", "status": status, **more}


def test_a_failing_stage_is_told_since_when_and_its_tick_is_not_told_too() -> None:
    history = [
        ran("training", "failed", "1", sentence="first"),
        ran("fullprocess", "failed", "1", sentence="first"),
        ran("training", "failed", "2", sentence="second"),
        ran("fullprocess", "failed", "2", sentence="second"),
        ran("alerts", "failed", "2", sentence="no server"),
        # by hand
        ran("scoring", "failed", "3", sentence="no model"),
    ]
    assert standing.failing(history) == {"training": Trouble("2026-03-01T01:00:00Z", "first")}
    assert standing.failing([*history, ran("training", "done", "4")]) == {}
    assert standing.failing([*history, ran("fullprocess", "nothing to do", "4")]) == {}


def test_the_api_in_trouble_outlives_a_tick_that_finished() -> None:
    history = [ran("apicalls", "failed", "1", sentence="401"), ran("fullprocess", "done", "1")]
    assert [*standing.failing(history)] == ["apicalls"]
    assert standing.failing([*history, ran("apicalls", "done", "2")]) == {}


def test_drift_lasts_until_a_score_refutes_it_or_a_release_answers_it() -> None:
    drifted = ran("fullprocess", "done", "1", facts={"drift": {"reason": "fell"}, "retrained": True})
    silent = ran("fullprocess", "done", "2", facts={"drift": None, "live_score": None})
    assert standing.drifting([drifted, silent]) == Trouble("2026-03-01T01:00:00Z", "fell")
    for end in ({"live_score": {"rows": 9}}, {"drift": {"reason": "fell"}, "promoted": True}):
        after = [drifted, silent, ran("fullprocess", "done", "3", facts=end)]
        assert (standing.drifting(after), standing.unfit(after)) == (None, None)


# the configuration


@pytest.mark.parametrize("key", ["webhook_env", "smtp_env", "ping_env"])
def test_a_url_put_into_the_config_is_refused_without_being_quoted(project: Project, key: str) -> None:
    project.configure(alerts={key: f"https://example.invalid/{SECRET}"})
    done = project.run("fullprocess.py")
    assert done.returncode == 3
    assert f"{key} must be the name of an environment variable" in done.stderr
    assert SECRET not in done.stderr


@pytest.mark.parametrize(
    "to", ["no address", "a@b\r\nBcc: c@d", "a@b\n", "a@b,c@d", "A <a@b>", "", [], ["a@b", "ü@x"], 5]
)
def test_what_is_no_address_is_refused(to: Any) -> None:
    with pytest.raises(ValidationError):
        Alerts.model_validate_json(json.dumps({"mail_to": to}))


def test_one_address_or_many(project: Project) -> None:
    for to, wanted in (("a@b.org", ("a@b.org",)), (["a@b.org", "c@d.org"], ("a@b.org", "c@d.org"))):
        project.configure(alerts={"mail_to": to})
        assert project.config().settings.alerts.mail_to == wanted
    assert project.config().settings.alerts.smtp_env == SMTP
