"""Who meets the project for the first time: make and the scripts, where something is missing."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.projects import CHECKOUT

NOBODY = 65534


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """What make needs of a checkout, in a folder with a space in its name."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    place = tmp_path / "a new folder"
    place.mkdir()
    for name in ("Makefile", "requirements.txt"):
        shutil.copy(CHECKOUT / name, place)
    return place


def make(
    place: Path, *arguments: str, user: int | None = None, env: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Exit status and all output of make under an environment that has next to nothing in it."""
    bare = {"PATH": "/usr/bin:/bin", "LANG": "C", **(env or {})}
    done = subprocess.run(
        ["make", f"PYTHON={sys.executable}", *arguments],
        cwd=place,
        env=bare,
        user=user,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stdout


def test_make_alone_lists_every_target_with_what_it_does(fresh: Path) -> None:
    status, told = make(fresh)
    assert status == 0
    makefile = (fresh / "Makefile").read_text()
    phony = re.findall(r"^\.PHONY: ([a-z-]+)$", makefile, re.M)
    targets = [line.split()[1] for line in told.splitlines()]
    assert targets == phony
    assert all(len(line.split()) > 2 for line in told.splitlines())


def test_where_no_package_index_answers_the_next_step_is_told_and_no_half_environment_stays(
    fresh: Path,
) -> None:
    # nothing listens on port 1
    nowhere = {
        "PIP_INDEX_URL": "http://127.0.0.1:1/simple",
        "PIP_RETRIES": "0",
        "PIP_CONFIG_FILE": os.devnull,
    }
    status, told = make(fresh, "setup", env=nowhere)
    assert status != 0
    assert "The packages of requirements.txt could not be installed" in told
    assert "PIP_INDEX_URL" in told
    assert not (fresh / ".venv" / ".runtime").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not write")
def test_in_a_folder_where_nothing_may_be_written_make_says_so_in_a_sentence(fresh: Path) -> None:
    for folder in (fresh, *fresh.parents):
        if folder.is_relative_to("/tmp") and folder != Path("/tmp"):
            folder.chmod(0o755)
    status, told = make(fresh, "setup", user=NOBODY)
    assert status != 0
    assert f"{fresh}: nobody may not write here, so .venv cannot be made." in told
    # an environment that was moved here cannot be made anew either; it stays whole
    (fresh / ".venv").mkdir()
    (fresh / ".venv" / "kept").touch()
    status, told = make(fresh, "setup", user=NOBODY)
    assert "may not write here" in told
    assert "cannot remove" not in told
    assert (fresh / ".venv" / "kept").exists()


def test_who_starts_the_server_as_a_script_is_told_how_it_is_started() -> None:
    done = subprocess.run([sys.executable, str(CHECKOUT / "app.py")], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "app.py is no script: gunicorn serves it. Run: make serve\n"
