"""cronjob.txt end to end: the environment that cron gives, a real cron, and clocks that jump."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from attrition import crontab, ledger, releases
from tests.projects import CHECKOUT, Project, classic_rows
from tests.reliability import ALL, checks
from tests.reliability.attempts import program

# a tick every 5 seconds; the pipeline itself, which inherits nothing from cron, keeps the real time
SPEED = 120
PATIENCE = 240
CRON = """
set -e
mount -t tmpfs none /var/spool/cron
mkdir -m 1730 /var/spool/cron/crontabs
mount -t tmpfs none /run
mount -t tmpfs none /dev/shm
mkdir -p "$MAIL/upper" "$MAIL/work"
mount -t overlay overlay -o "lowerdir=/usr/sbin,upperdir=$MAIL/upper,workdir=$MAIL/work" /usr/sbin
printf '#!/bin/sh\\ncat >> "%s/mails"\\n' "$MAIL" > /usr/sbin/sendmail
chmod 755 /usr/sbin/sendmail
cd "$PROJECT"
"$PYTHON" -m attrition.crontab install > /dev/null
{ echo ATTRITION_PACKAGE_CHECK=off; crontab -l; } > "$MAIL/crontab"
crontab "$MAIL/crontab"
exec faketime -f "@2026-03-29 00:30:00 x$SPEED" cron -f
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A checkout in a folder of its own, with a space in its name, as a person sets it up."""
    home = tmp_path / "a checkout"
    shutil.copytree(CHECKOUT / "attrition", home / "attrition", ignore=shutil.ignore_patterns("__pycache__"))
    for path in (*CHECKOUT.glob("*.py"), *CHECKOUT.glob("requirements*"), CHECKOUT / "cronjob.txt"):
        shutil.copy(path, home)
    (home / ".venv").symlink_to(sys.prefix)
    made = Project(home)
    made.dataset("a.csv", classic_rows(120))
    made.dataset("test.csv", classic_rows(60, start=1000), folder="testdata")
    return made


def by_cron(project: Project, **more: str) -> "subprocess.CompletedProcess[str]":
    """The very line, in the environment that cron gives a job."""
    template = (CHECKOUT / "cronjob.txt").read_text()
    line = crontab.line_for(str(project.home), template).split(maxsplit=5)[5]
    given = {"HOME": "/", "LOGNAME": "root", "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh"}
    environ = {**given, "ATTRITION_PACKAGE_CHECK": "off", **more}
    return subprocess.run(
        ["/bin/sh", "-c", line.replace(r"\%", "%")], env=environ, cwd="/", capture_output=True, text=True
    )


def test_the_line_works_in_cron_s_bare_environment_and_tells_only_trouble(project: Project) -> None:
    done = by_cron(project)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    written = [path for path in project.home.rglob("*") if "__pycache__" not in path.parts]
    made = [path for path in written if path.is_relative_to(project.home / "models") and path.is_file()]
    assert made and all(path.stat().st_mode & 0o077 == 0 for path in made)
    assert (by_cron(project).stdout, by_cron(project).stderr) == ("", "")
    good = (project.home / "config.json").read_bytes()
    (project.home / "config.json").write_text("{")
    told = by_cron(project)
    assert (told.returncode, told.stdout) == (3, "")
    assert told.stderr.startswith("fullprocess.py: ") and "config.json: this is not JSON" in told.stderr
    (project.home / "config.json").write_bytes(good)
    assert by_cron(project).stderr == ""


CLOCKS = {
    "before summer time": "2026-03-29 00:55:00",
    "after it began": "2026-03-29 02:05:00",
    "before it ends": "2026-10-25 01:55:00",
    "the same hour again": "2026-10-25 01:05:00",
    "set back by years": "2020-01-01 00:00:00",
}


def test_clocks_that_jump_stop_nothing(project: Project) -> None:
    faketime = program("faketime", "faketime")
    script = [str(project.home / ".venv/bin/python"), str(project.home / "fullprocess.py"), "-q"]
    environ = {**os.environ, "TZ": "Europe/London", "ATTRITION_PACKAGE_CHECK": "off"}
    generations = []
    for number, at in enumerate(CLOCKS.values() if ALL else [*CLOCKS.values()][-1:]):
        project.dataset(f"b{number}.csv", classic_rows(12, start=3000 + 100 * number))
        done = subprocess.run([faketime, at, *script], env=environ, capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        generations.append((project.home / "ingesteddata/current").readlink().name)
        checks.whole(project.config())
        table = project.read("ingesteddata/finaldata.csv").splitlines()
        assert len(table) == 1 + 120 + 12 * (number + 1)
    assert generations == sorted(generations)
    assert all(entry["started"].endswith("Z") for entry in ledger.entries(project.config().history))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may start a cron of its own")
@pytest.mark.skipif(not ALL, reason="minutes long: make test-reliability")
def test_a_real_cron_brings_releases_heals_what_was_killed_and_mails_only_trouble(
    project: Project, tmp_path: Path
) -> None:
    mails = tmp_path / "mail"
    mails.mkdir()
    config = project.config()
    with cron(project, mails):
        until(lambda: released(project) == 1, mails)
        until(config.stamp.exists, mails)
        project.dataset("b.csv", classic_rows(40, start=3000))
        until(lambda: "client03000" in project.read("ingesteddata/finaldata.csv"), mails)
        until(lambda: not at_work(project), mails)
        assert mailed(mails) == ""
        project.dataset("c.csv", classic_rows(400, start=5000, turned=True))
        until(lambda: bool(at_work(project)) and kill_half_way(project), mails)
        checks.whole(config)
        until(lambda: released(project) >= 2 and config.stamp.exists() and not at_work(project), mails)
        checks.whole(config)
        # the shell's own word about the kill, and nothing else
        assert mailed(mails).count("Subject: ") == mailed(mails).count("\nKilled\n"), mailed(mails)
        (project.home / "config.json").write_text("{")
        until(lambda: "this is not JSON" in mailed(mails), mails)
    assert "Subject: Cron <" in mailed(mails)
    table = project.read("ingesteddata/finaldata.csv").splitlines()
    assert len(table) == len({*table}) == 1 + 120 + 40 + 400


@contextmanager
def cron(project: Project, mails: Path) -> Iterator[None]:
    """A cron of its own, in mount and process namespaces of its own; with its end all it started ends."""
    for name, package in (("cron", "cron"), ("faketime", "faketime"), ("unshare", "util-linux")):
        program(name, package)
    environ: Mapping[str, str] = {
        **os.environ,
        "PYTHON": str(project.home / ".venv/bin/python"),
        "PROJECT": str(project.home),
        "MAIL": str(mails),
        "SPEED": str(SPEED),
    }
    command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "/bin/sh", "-c", CRON]
    with (
        (mails / "cron.txt").open("wb") as log,
        subprocess.Popen(command, env=environ, stdout=log, stderr=log, start_new_session=True) as process,
    ):
        try:
            yield
        finally:
            process.send_signal(signal.SIGKILL)


def mailed(mails: Path) -> str:
    place = mails / "mails"
    return place.read_text() if place.exists() else ""


def until(happens: Callable[[], bool], mails: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with suppress(FileNotFoundError):
            if happens():
                return
        time.sleep(0.05)
    told = [place.read_text() for place in (mails / "mails", mails / "cron.txt") if place.exists()]
    raise AssertionError(f"it did not happen in {PATIENCE} s. {' '.join(told)}")


def released(project: Project) -> int:
    return len(releases.kept(project.config()))


def at_work(project: Project) -> list[int]:
    """Processes that run the pipeline of this project."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (place / "cmdline").read_bytes().split(b"\0")
            if b"fullprocess.py" in words and (place / "cwd").resolve() == project.home:
                found.append(int(place.name))
    return found


def kill_half_way(project: Project) -> bool:
    """Whether a tick was killed that had ingested the new rows and had not finished."""
    if "client05000" not in project.read("ingesteddata/finaldata.csv"):
        return False
    for process in at_work(project):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    return True
