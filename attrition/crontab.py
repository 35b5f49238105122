"""Put the line of cronjob.txt into your crontab, or take it out again; every other line stays as it is.

    python -m attrition.crontab install
    python -m attrition.crontab remove

A line is this project's when it runs fullprocess.py from the project's folder.
"""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path, PurePath

from attrition.errors import AttritionError

PROJECT = Path(__file__).resolve().parent.parent
PLACEHOLDER = "/opt/attrition"


class CrontabError(AttritionError):
    status = 1


def install(project: Path) -> str:
    if not os.access(project / ".venv/bin/python", os.X_OK):
        raise CrontabError(f"{project}: there is no environment for cron to use yet. Run make setup first.")
    line = line_for(str(project), (project / "cronjob.txt").read_text(encoding="utf-8"))
    before = _read()
    after = merged(before, line)
    if after != before:
        _write(after)
    if line not in _lines(_read()):
        raise CrontabError("The line was written, but is not there when read back. Look at it: crontab -l.")
    replaced = [f"Replaced: {old}" for old in _lines(before) if folder(old) == str(project) and old != line]
    return "\n".join([*replaced, f"In your crontab: {line}"])


def remove(project: Path) -> str:
    before = _read()
    after = without(before, str(project))
    if after == before:
        return f"Your crontab has no line for {project}."
    _write(after)
    return "\n".join(f"Removed: {old}" for old in _lines(before) if folder(old) == str(project))


def line_for(project: str, template: str) -> str:
    """The one line of cronjob.txt for a project in this folder: quoted for the shell, escaped for cron."""
    lines = [line for line in _lines(template) if line.strip() and not line.lstrip().startswith("#")]
    if len(lines) != 1:
        raise CrontabError(
            f"cronjob.txt: 1 line to install was expected, there are {len(lines)}. "
            "Settings like MAILTO go into the crontab itself: crontab -e."
        )
    if "\n" in project or "\r" in project:
        raise CrontabError(f"{project!r}: no crontab can hold a line break. Move the project.")
    line = lines[0].strip().replace(PLACEHOLDER, shlex.quote(project).replace("%", r"\%"))
    if folder(line) != project:
        raise CrontabError(
            f"cronjob.txt: its line does not run fullprocess.py from {project}. "
            f"Write {PLACEHOLDER} where the project's folder belongs."
        )
    return line


def merged(existing: str, line: str) -> str:
    """The crontab with the line in the place of the project's older one, or at the end."""
    lines = _lines(existing)
    ours = [number for number, old in enumerate(lines) if folder(old) == folder(line)]
    place = ours[0] if ours else len(lines)
    others = [old for number, old in enumerate(lines) if number not in ours]
    return _text([*others[:place], line, *others[place:]])


def without(existing: str, project: str) -> str:
    return _text([line for line in _lines(existing) if folder(line) != project])


def folder(line: str) -> str | None:
    """Folder from which a crontab line runs fullprocess.py; None for a comment and for any other line."""
    if line.lstrip().startswith("#"):
        return None
    try:
        lexer = shlex.shlex(line.replace(r"\%", "%"), posix=True, punctuation_chars=True)
        lexer.whitespace_split, lexer.commenters = True, ""
        words = list(lexer)
    except ValueError:
        return None
    scripts = [word for word in words if PurePath(word).name == "fullprocess.py"]
    if not scripts:
        return None
    start = words[words.index("cd") + 1] if "cd" in words[:-1] else ""
    return str(PurePath(start, scripts[0]).parent)


def _lines(text: str) -> list[str]:
    return text.removesuffix("\n").split("\n") if text else []


def _text(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _read() -> str:
    done = _crontab("-l")
    fault = os.fsdecode(done.stderr).strip()
    if done.returncode == 0:
        return os.fsdecode(done.stdout)
    # Only these words mean an empty crontab; taking any other failure for one would wipe out the other lines.
    if "no crontab for" in fault or "No such file" in fault:
        return ""
    raise CrontabError(f"crontab -l failed: {fault or done.returncode}. Nothing was changed.")


def _write(text: str) -> None:
    done = _crontab("-", text)
    if done.returncode != 0:
        fault = os.fsdecode(done.stderr).strip()
        raise CrontabError(f"crontab refused the new lines: {fault}. The old ones still hold.")


def _crontab(argument: str, text: str = "") -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("crontab")
    if program is None:
        raise CrontabError(
            "crontab is not installed. Install cron (Debian, Ubuntu: apt-get install cron), "
            "or use the systemd timer in deploy/."
        )
    english = {**os.environ, "LC_ALL": "C"}
    return subprocess.run(
        [program, argument], input=os.fsencode(text), capture_output=True, env=english, check=False
    )


def main(arguments: Sequence[str] | None = None) -> int:
    summary = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m attrition.crontab", description=summary)
    parser.add_argument("action", choices=("install", "remove"))
    action = {"install": install, "remove": remove}[parser.parse_args(arguments).action]
    try:
        sys.stdout.write(f"{action(PROJECT)}\n")
    except AttritionError as fault:
        sys.stderr.write(f"{fault}\n")
        return fault.status
    return 0


if __name__ == "__main__":
    sys.exit(main())
