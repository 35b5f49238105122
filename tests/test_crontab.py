"""The line of cronjob.txt in a person's crontab: theirs is kept, ours is right."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attrition import crontab

TEMPLATE = (crontab.PROJECT / "cronjob.txt").read_text(encoding="utf-8")
OTHERS = "MAILTO=ops@example.org\n# nightly\n0 3 * * * backup $(date +\\%F)\n\n15 4 * * 1 echo 'odd\n"
AWKWARD = "/srv/o'brien's 100% $HOME & co"


def line_for(project: str) -> str:
    return crontab.line_for(project, TEMPLATE)


def test_cronjob_txt_has_one_line_that_starts_every_ten_minutes_and_throws_no_output_away() -> None:
    lines = [line for line in TEMPLATE.splitlines() if not line.startswith("#")]
    assert len(lines) == 1
    assert lines[0].startswith("*/10 * * * * ")
    assert "/dev/null" not in lines[0]
    assert TEMPLATE.endswith("\n")


def test_the_line_as_shipped_is_the_line_of_a_project_at_the_placeholder() -> None:
    assert f"\n{line_for(crontab.PLACEHOLDER)}\n" in TEMPLATE


def test_the_line_is_added_below_lines_that_stay_as_they_are() -> None:
    assert crontab.merged(OTHERS, line_for("/srv/a")) == OTHERS + line_for("/srv/a") + "\n"


def test_the_first_line_of_an_empty_crontab() -> None:
    assert crontab.merged("", line_for("/srv/a")) == line_for("/srv/a") + "\n"


def test_a_crontab_without_a_last_newline_does_not_swallow_the_line() -> None:
    assert crontab.merged("@daily true", line_for("/srv/a")) == f"@daily true\n{line_for('/srv/a')}\n"


@pytest.mark.parametrize("project", ["/srv/a", "/srv/two words", AWKWARD])
def test_installing_twice_changes_nothing(project: str) -> None:
    once = crontab.merged(OTHERS, line_for(project))
    assert crontab.merged(once, line_for(project)) == once


@pytest.mark.parametrize(
    "older",
    [
        "*/5 * * * * cd /srv/a && .venv/bin/python fullprocess.py",
        "@hourly cd /srv/a; python3 fullprocess.py >/dev/null 2>&1",
        "0 * * * * /srv/a/.venv/bin/python /srv/a/fullprocess.py -q",
        "0 * * * * cd '/srv/a/' && python3 ./fullprocess.py",
    ],
)
def test_an_older_line_of_this_project_is_replaced_where_it_stands(older: str) -> None:
    after = crontab.merged(f"# first\n{older}\n@daily true\n{older}\n", line_for("/srv/a"))
    assert after == f"# first\n{line_for('/srv/a')}\n@daily true\n"


@pytest.mark.parametrize(
    "other", [line_for("/srv/b"), "#" + line_for("/srv/a"), "0 1 * * * cd /srv/a && ./backup"]
)
def test_a_line_of_another_folder_a_disabled_one_and_another_job_are_kept(other: str) -> None:
    assert other in crontab.merged(f"{other}\n", line_for("/srv/a")).splitlines()


@settings(deadline=None)
@given(st.lists(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]))))
def test_removing_gives_back_what_was_there_before(lines: list[str]) -> None:
    before = "".join(f"{line}\n" for line in lines)
    assert crontab.without(crontab.merged(before, line_for("/srv/a")), "/srv/a") == before


@pytest.mark.parametrize(
    "template", ["# nothing\n", "MAILTO=a@b\n" + TEMPLATE, TEMPLATE.replace(crontab.PLACEHOLDER, "/else")]
)
def test_a_cronjob_txt_that_cannot_be_installed_says_why(template: str) -> None:
    with pytest.raises(crontab.CrontabError, match=r"^cronjob\.txt: "):
        crontab.line_for("/srv/a", template)


def test_a_path_with_a_line_break_is_refused() -> None:
    with pytest.raises(crontab.CrontabError, match="line break"):
        line_for("/srv/a\nb")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project in a folder with an awkward name, whose fullprocess.py prints what cron gave it."""
    project = tmp_path / AWKWARD.removeprefix("/srv/")
    (project / ".venv/bin").mkdir(parents=True)
    (project / ".venv/bin/python").symlink_to(sys.executable)
    (project / "cronjob.txt").write_text(TEMPLATE, encoding="utf-8")
    (project / "fullprocess.py").write_text(
        "import os, sys\n"
        "mask = os.umask(0)\n"
        "threads = os.environ['OMP_NUM_THREADS']\n"
        "print(os.getcwd(), sys.argv[1:], sys.flags.utf8_mode, threads, oct(mask), sep='\\n')\n"
    )
    return project


def test_the_line_runs_under_crons_bare_environment_whatever_the_folders_name(project: Path) -> None:
    schedule, _, command = line_for(str(project)).partition("* * * * ")
    assert schedule == "*/10 "
    assert command.replace(r"\%", "").count("%") == 0
    bare = {"HOME": "/", "LOGNAME": "nobody", "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        ["/bin/sh", "-c", command.replace(r"\%", "%")],
        env=bare,
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [str(project), "['-q']", "1", "1", "0o77"]
    assert done.stderr == ""


@pytest.fixture
def kept_crontab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the crontab program, first on the PATH, and the file it keeps."""
    kept, program = tmp_path / "kept", tmp_path / "bin/crontab"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\nif test "$1" = -; then cat > {kept}; exit; fi\n'
        f'if test -e {kept}; then cat {kept}; else echo "no crontab for you" >&2; exit 1; fi\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return kept


def test_install_shows_the_line_as_read_back_and_remove_takes_it_out(
    project: Path, kept_crontab: Path
) -> None:
    kept_crontab.write_bytes(OTHERS.encode() + b"# caf\xe9\n")
    line = line_for(str(project))
    assert crontab.install(project) == f"In your crontab: {line}"
    assert kept_crontab.read_bytes() == OTHERS.encode() + b"# caf\xe9\n" + line.encode() + b"\n"
    assert crontab.install(project) == f"In your crontab: {line}"
    assert crontab.remove(project) == f"Removed: {line}"
    assert kept_crontab.read_bytes() == OTHERS.encode() + b"# caf\xe9\n"
    assert crontab.remove(project) == f"Your crontab has no line for {project}."


def test_install_tells_which_line_it_replaced(project: Path, kept_crontab: Path) -> None:
    older = line_for(str(project)).replace("*/10", "*/5")
    kept_crontab.write_text(f"{older}\n")
    assert crontab.install(project).splitlines() == [
        f"Replaced: {older}",
        f"In your crontab: {line_for(str(project))}",
    ]


def test_a_user_without_a_crontab_gets_one(project: Path, kept_crontab: Path) -> None:
    crontab.install(project)
    assert kept_crontab.read_text() == line_for(str(project)) + "\n"


def test_a_crontab_that_cannot_be_read_is_never_overwritten(project: Path, kept_crontab: Path) -> None:
    program = kept_crontab.parent / "bin/crontab"
    program.write_text(f"#!/bin/sh\ntest $1 = - && touch {kept_crontab}\necho 'you may not' >&2; exit 1\n")
    with pytest.raises(crontab.CrontabError, match=r"you may not\. Nothing was changed"):
        crontab.install(project)
    assert not kept_crontab.exists()


def test_a_line_that_is_not_there_when_read_back_is_an_error(project: Path, kept_crontab: Path) -> None:
    (kept_crontab.parent / "bin/crontab").write_text("#!/bin/sh\nexit 0\n")
    with pytest.raises(crontab.CrontabError, match="read back"):
        crontab.install(project)


def test_a_project_without_an_environment_is_told_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(crontab.CrontabError, match="make setup"):
        crontab.install(tmp_path)


def test_without_cron_the_command_says_so_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert crontab.main(["remove"]) == 1
    assert capsys.readouterr().err.startswith("crontab is not installed. Install cron")
