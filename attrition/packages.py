"""Every package of the lock: required, installed and latest version, known vulnerabilities, and what changed.

The lock and this environment are looked at in every run. The network is asked at most once a day, or with
--force, through this environment's own pip and pip-audit, so that their settings (index, proxy) hold. Their
commands start together and share one bound, LONGEST_SECONDS: short enough to wait for, so that no process
outlives its run. What has not answered by then is ended, its last answer is kept, and a sentence says how old
that is. No fault of the network rises from here. ATTRITION_PACKAGE_CHECK=off never asks.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache, lru_cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any

from attrition import files
from attrition.config import PROJECT, Config

if TYPE_CHECKING:
    from packaging.requirements import Requirement

LOCK = PROJECT / "requirements.txt"
SWITCH = "ATTRITION_PACKAGE_CHECK"
CHECK_EVERY_SECONDS = 24 * 3600
LONGEST_SECONDS = 20.0
SOCKET_SECONDS = 5
LONGEST_FAULT = 200
AGES = (("day", 86_400), ("hour", 3600), ("minute", 60))


class Unanswered(Exception):
    """Why a service gave no answer, as part of a sentence."""


@dataclass(frozen=True)
class Answer:
    """What a service said last: a value by package, when, and the fault that kept it from a newer answer."""

    values: Mapping[str, Any]
    at: str | None
    fault: str = ""


@dataclass(frozen=True)
class Output:
    """A command that has ended: its exit status (None: ended at the bound) and what it printed."""

    status: int | None
    stdout: str
    stderr: str


def check(
    config: Config, now: str, lock: Path = LOCK, longest_seconds: float = LONGEST_SECONDS
) -> dict[str, Any]:
    """The facts of packages.json at `now` (UTC with a Z), compared with those kept there."""
    clock = time.monotonic()
    text = lock.read_text("utf-8")
    pinned, kept = required(text), _kept(config.packages)
    latest, vulnerabilities = _kept_answers(kept, pinned)
    asked = _asks(config, kept.get("checked_at"), now)
    if asked:
        outputs = _outputs(_commands(lock, pinned), longest_seconds)
        latest = _answer(lambda: _latest(outputs, pinned), latest, now)
        vulnerabilities = _answer(lambda: _vulnerabilities(outputs, pinned), vulnerabilities, now)
    checked_at = now if asked else kept.get("checked_at")
    found = _packages(text, lock.with_suffix(".in"), latest, vulnerabilities)
    outdated, vulnerable = _counted(found, "outdated"), _counted(found, "vulnerabilities")
    return {
        "checked_at": checked_at,
        "seconds": round(time.monotonic() - clock, 3) if asked else kept.get("seconds"),
        "latest_status": _status("package index", latest, checked_at, now, f"outdated packages: {outdated}"),
        "latest_at": latest.at,
        "latest_fault": latest.fault,
        "vulnerabilities_status": _status(
            "vulnerability service", vulnerabilities, checked_at, now, f"vulnerable packages: {vulnerable}"
        ),
        "vulnerabilities_at": vulnerabilities.at,
        "vulnerabilities_fault": vulnerabilities.fault,
        "packages": found,
        "changes": changes(kept["packages"], found) if kept else [],
    }


def required(text: str) -> dict[str, str]:
    """Version of each package of a lock; of two lines for one package, the one whose marker holds here."""
    pinned: dict[str, str] = {}
    for requirement in sorted(_requirements(text), key=_holds_here):
        pinned |= {
            _name(requirement.name): pin.version for pin in requirement.specifier if pin.operator == "=="
        }
    return dict(sorted(pinned.items()))


def not_needed_here(text: str) -> set[str]:
    """Packages of a lock whose markers exclude this platform or this Python."""
    return set(required(text)) - {_name(r.name) for r in _requirements(text) if _holds_here(r)}


def changes(before: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What differs between two lists of packages; a latest version that was or is not known is no change."""
    old, new = ({package["name"]: package for package in packages} for packages in (before, now))
    differing = []
    for name in sorted({*old, *new}):
        for what in ("required", "installed", "latest"):
            versions = [packages.get(name, {}).get(what) for packages in (old, new)]
            if versions[0] != versions[1] and not (what == "latest" and None in versions):
                differing.append({"package": name, "what": what, "before": versions[0], "now": versions[1]})
    return differing


@lru_cache(maxsize=4)
def _requirements(text: str) -> "tuple[Requirement, ...]":
    """The requirements of a requirements file, without hashes, options and comments."""
    from packaging.requirements import Requirement

    lines = text.replace("\\\n", " ").splitlines()
    specified = (re.split(r"(?:^|\s)(?:#|--hash)", line)[0].strip() for line in lines)
    return tuple(Requirement(each) for each in specified if each and not each.startswith("-"))


def _holds_here(requirement: "Requirement") -> bool:
    return requirement.marker is None or requirement.marker.evaluate()


def _name(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _kept(place: Path) -> dict[str, Any]:
    """What the last run kept; {} where there is nothing that can be read: it is only made again."""
    try:
        kept = files.read_json(place)
        return kept if isinstance(kept["packages"], list) else {}
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return {}


def _kept_answers(kept: Mapping[str, Any], pinned: Mapping[str, str]) -> tuple[Answer, Answer]:
    """The last answers; one about the vulnerabilities of a version that is no longer required is dropped."""
    packages = kept.get("packages", [])
    latest = {package["name"]: package["latest"] for package in packages}
    vulnerabilities = {
        package["name"]: package["vulnerabilities"]
        for package in packages
        if package["required"] == pinned.get(package["name"])
    }
    return (
        Answer(latest, kept.get("latest_at"), kept.get("latest_fault", "")),
        Answer(vulnerabilities, kept.get("vulnerabilities_at"), kept.get("vulnerabilities_fault", "")),
    )


def _asks(config: Config, checked_at: str | None, now: str) -> bool:
    if config.dry_run or os.environ.get(SWITCH, "").lower() == "off":
        return False
    # a check in the future is due: the clock was set back
    return config.force or checked_at is None or not 0 <= _seconds(checked_at, now) < CHECK_EVERY_SECONDS


def _seconds(then: str, now: str) -> float:
    return (datetime.fromisoformat(now) - datetime.fromisoformat(then)).total_seconds()


def _commands(lock: Path, pinned: Mapping[str, str]) -> dict[str, list[str]]:
    """pip is silent about a package it cannot find: so it is asked for the outdated and the up to date."""
    from importlib import metadata

    # -P: a file of the working directory must not stand in for a module of pip
    python = [sys.executable, "-P", "-m"]
    others = sorted({_name(d.metadata["Name"] or "") for d in metadata.distributions()} - {*pinned, ""})
    pip = [*python, "pip", "list", "--format", "json", "--disable-pip-version-check", "--no-input"]
    pip += ["--timeout", str(SOCKET_SECONDS), "--retries", "1"]
    pip += [f"--exclude={name}" for name in others]
    audit = [*python, "pip_audit", "--format", "json", "--desc", "off", "--progress-spinner", "off"]
    audit += ["--timeout", str(SOCKET_SECONDS), "--no-deps", "--disable-pip", "-r", str(lock)]
    return {"outdated": [*pip, "--outdated"], "up to date": [*pip, "--uptodate"], "audit": audit}


def _outputs(commands: Mapping[str, Sequence[str]], longest_seconds: float) -> dict[str, Output]:
    """What each command printed. They run side by side; those still at work at the bound are ended."""
    deadline = time.monotonic() + longest_seconds
    with ExitStack() as stack:
        try:
            running = {name: stack.enter_context(_running(command)) for name, command in commands.items()}
        except OSError as error:
            return {name: Output(1, "", f"it could not be started ({error.strerror})") for name in commands}
        return {name: _output(*started, deadline) for name, started in running.items()}


@contextmanager
def _running(command: Sequence[str]) -> Iterator[tuple["subprocess.Popen[bytes]", IO[bytes], IO[bytes]]]:
    """A started command, printing into files: a full pipe would make it wait. It ends with this context."""
    with TemporaryFile() as out, TemporaryFile() as err:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
        )
        try:
            yield process, out, err
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _output(process: "subprocess.Popen[bytes]", out: IO[bytes], err: IO[bytes], deadline: float) -> Output:
    try:
        status = process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return Output(None, "", "")
    out.seek(0)
    err.seek(0)
    return Output(status, out.read().decode("utf-8", "replace"), err.read().decode("utf-8", "replace"))


def _answer(ask: Callable[[], Mapping[str, Any]], last: Answer, now: str) -> Answer:
    try:
        values = ask()
    except Unanswered as fault:
        return Answer(last.values, last.at, str(fault))
    except (TypeError, KeyError, AttributeError):
        return Answer(last.values, last.at, "its answer has a form that is not known here")
    return Answer(values, now)


def _latest(outputs: Mapping[str, Output], pinned: Mapping[str, str]) -> dict[str, str]:
    """Latest version by package, for those that the index knows."""
    uptodate = {_name(package["name"]): package["version"] for package in _json(outputs["up to date"])}
    outdated = {_name(package["name"]): package["latest_version"] for package in _json(outputs["outdated"])}
    return _of_ours({**uptodate, **outdated}, pinned)


def _vulnerabilities(outputs: Mapping[str, Output], pinned: Mapping[str, str]) -> dict[str, list[str]]:
    """Ids of known vulnerabilities by package, for those that were audited."""
    audited = [package for package in _json(outputs["audit"])["dependencies"] if "vulns" in package]
    found = {_name(package["name"]): [vuln["id"] for vuln in package["vulns"]] for package in audited}
    return _of_ours(found, pinned)


def _of_ours(values: Mapping[str, Any], pinned: Mapping[str, str]) -> dict[str, Any]:
    ours = {name: value for name, value in values.items() if name in pinned}
    if not ours:
        # pip and pip-audit end well with an empty answer where they reached nobody
        raise Unanswered("no word about any of the packages")
    return ours


def _json(output: Output) -> Any:
    """The answer printed, whatever the exit status: pip-audit's is 1 where it found something."""
    if output.status is None:
        raise Unanswered("no answer in time")
    try:
        return json.loads(output.stdout)
    except ValueError:
        said = (output.stderr.strip().splitlines() or [f"exit status {output.status}"])[-1]
        # an index's address can hold a password
        raise Unanswered(re.sub(r"//[^/@\s]+@", "//", said)[:LONGEST_FAULT]) from None


def _packages(text: str, direct: Path, latest: Answer, vulnerabilities: Answer) -> list[dict[str, Any]]:
    excluded = not_needed_here(text)
    named = {_name(requirement.name) for requirement in _requirements(direct.read_text("utf-8"))}
    packages = []
    for name, version in required(text).items():
        installed = _installed(name)
        newest = _newest(installed, latest.values.get(name))
        packages.append(
            {
                "name": name,
                "direct": name in named,
                "needed_here": installed is not None or name not in excluded,
                "required": version,
                "installed": installed,
                "latest": newest,
                "outdated": None if installed is None or newest is None else newest != installed,
                # the required version was audited: that says nothing about another one
                "vulnerabilities": vulnerabilities.values.get(name) if installed in (version, None) else None,
            }
        )
    return packages


# an environment is made anew, or a process started, before a package that is in use has another version
@cache
def _installed(name: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _newest(installed: str | None, latest: str | None) -> str | None:
    """The latest version; an upgrade since the answer makes the installed one the latest known."""
    from packaging.version import Version

    if installed is None or latest is None:
        return latest
    return installed if Version(installed) >= Version(latest) else latest


def _counted(packages: Sequence[Mapping[str, Any]], key: str) -> str:
    """How many packages have `key`, of how many, and of how many that is not known."""
    unknown = sum(package[key] is None for package in packages if package["needed_here"])
    counted = f"{sum(bool(package[key]) for package in packages)} of {len(packages)}"
    return f"{counted} (not known: {unknown})" if unknown else counted


def _status(service: str, answer: Answer, checked_at: str | None, now: str, counted: str) -> str:
    """Where an answer stands, as a sentence for a person."""
    fault = f"The {service} was out of reach at {checked_at}: {answer.fault}. " if answer.fault else ""
    if answer.at is None:
        return f"{fault}The {service} has not answered yet."
    return f"{fault}The {service} answered at {answer.at}, {_age(_seconds(answer.at, now))}; {counted}."


def _age(seconds: float) -> str:
    if seconds < 0:
        return "by a clock that was set back since"
    for unit, size in AGES:
        if count := int(seconds // size):
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"
