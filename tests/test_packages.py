"""Packages: what the lock requires, what is installed, what the index and the vulnerability service say.

pip and pip-audit are this interpreter's own; the index and the service are small servers on this machine.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from attrition import config as configuration
from attrition import files, packages
from attrition.config import Config
from tests.projects import CHECKOUT

NOW = "2026-03-10T06:00:00Z"
HALF_A_DAY_LATER = "2026-03-10T18:00:00Z"
THREE_DAYS_LATER = "2026-03-13T06:00:00Z"
PLUGGY, PACKAGING, INICONFIG = (metadata.version(name) for name in ("pluggy", "packaging", "iniconfig"))
LOCKED = packages.required(packages.LOCK.read_text("utf-8"))
HASH = f" \\\n    --hash=sha256:{64 * '0'}\n"
LOCK = f"pluggy=={PLUGGY}{HASH}packaging=={PACKAGING}{HASH}iniconfig=={INICONFIG}{HASH}"


class Index:
    """A package index (its pages by name) and a vulnerability service (its ids by name) on this machine."""

    def __init__(self) -> None:
        self.versions: dict[str, list[str]] = {}
        self.vulnerabilities: dict[str, list[str]] = {}
        self.answers = True
        self.asked: list[str] = []
        self._end = Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        self._end.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def page(self, name: str) -> str | None:
        wheels = [f"{name}-{version}-py3-none-any.whl" for version in self.versions.get(name, [])]
        return "".join(f'<a href="/files/{wheel}">{wheel}</a>' for wheel in wheels) if wheels else None

    def found(self, name: str) -> dict[str, Any]:
        affected = [{"package": {"name": name, "ecosystem": "PyPI"}}]
        vulns = [{"id": vuln, "affected": affected} for vuln in self.vulnerabilities.get(name, [])]
        return {"vulns": vulns} if vulns else {}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        index = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # noqa: N802
                page = index.page(self.path.strip("/").split("/")[-1])
                self.answer(404 if page is None else 200, "text/html", f"<html><body>{page}</body></html>")

            def do_POST(self) -> None:  # noqa: N802
                query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.answer(200, "application/json", json.dumps(index.found(query["package"]["name"])))

            def answer(self, status: int, kind: str, text: str) -> None:
                index.asked.append(self.path)
                if not index.answers:
                    index._end.wait(60)
                    return
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


@pytest.fixture(autouse=True)
def _may_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the check is on: each test brings its own index, or a stand-in for pip."""
    monkeypatch.delenv(packages.SWITCH, raising=False)


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Index]:
    for name in os.environ:
        if name.startswith("PIP_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    served = Index()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_INDEX_URL", f"{served.address}/simple")
    monkeypatch.setenv("PIP_AUDIT_VULNERABILITY_SERVICE", "osv")
    monkeypatch.setenv("PIP_AUDIT_OSV_URL", f"{served.address}/query")
    yield served
    served.close()


@pytest.fixture
def config(tmp_path: Path) -> Config:
    keys = {
        "input_folder_path": "in",
        "output_folder_path": "data",
        "test_data_path": "test",
        "output_model_path": "models",
        "prod_deployment_path": "live",
    }
    files.write_json(tmp_path / "config.json", keys)
    return configuration.load(tmp_path / "config.json", environ={})


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    (tmp_path / "requirements.in").write_text("pluggy   # direct\n")
    (tmp_path / "requirements.txt").write_text(LOCK)
    return tmp_path / "requirements.txt"


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let a shell script stand in for this interpreter, to see what a broken pip does to us."""

    def put(script: str) -> None:
        place = tmp_path / "python"
        place.write_text(f"#!/bin/sh\n{script}\n")
        place.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(place))

    return put


def by_name(checked: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {package["name"]: package for package in checked["packages"]}


def kept_answer(config: Config, at: str = NOW, **of_pluggy: Any) -> None:
    """Keep an answer as if it had been given at that time."""
    package = {
        "name": "pluggy",
        "required": PLUGGY,
        "installed": PLUGGY,
        "latest": "99.0",
        "vulnerabilities": [],
    }
    times = {"checked_at": at, "latest_at": at, "vulnerabilities_at": at, "seconds": 1.5}
    files.write_json(config.packages, {**times, "packages": [{**package, **of_pluggy}]})


def test_a_lock_is_read_without_its_hashes_and_comments_and_with_one_spelling_of_a_name() -> None:
    text = (
        "# made by hand\n--index-url https://index.invalid/simple\n"
        "Boolean.Py==5.0 \\\n    --hash=sha256:0a \\\n    --hash=sha256:0b\n    # via license\n"
        "typing_extensions[extra]==4.16.0  # why\n"
        "zope.interface==7.2 ; python_version >= '3.8' \\\n    --hash=sha256:0c\n"
    )
    read = packages.required(text)
    assert read == {"boolean-py": "5.0", "typing-extensions": "4.16.0", "zope-interface": "7.2"}


def test_of_two_lines_for_a_package_the_one_for_this_platform_counts() -> None:
    here, elsewhere = f"a==1 ; sys_platform == '{sys.platform}'", "a==2 ; sys_platform == 'elsewhere'"
    for lines in ([here, elsewhere], [elsewhere, here]):
        assert packages.required("\n".join(lines)) == {"a": "1"}
        assert packages.not_needed_here("\n".join(lines)) == set()


def test_a_package_for_another_platform_is_not_needed_here(config: Config, lock: Path) -> None:
    lock.write_text(LOCK + "not-for-us==1.0 ; sys_platform == 'elsewhere'\nnot-there==2.0\n")
    found = by_name(packages.check(replace(config, dry_run=True), NOW, lock))
    assert (found["not-for-us"]["needed_here"], found["not-for-us"]["installed"]) == (False, None)
    assert (found["not-there"]["needed_here"], found["not-there"]["installed"]) == (True, None)


def test_every_direct_package_of_this_project_is_in_its_lock(config: Config) -> None:
    found = packages.check(replace(config, dry_run=True), NOW)["packages"]
    direct = {package["name"] for package in found if package["direct"]}
    assert {"pandas", "scikit-learn", "flask", "pip-audit"} <= direct < {package["name"] for package in found}
    assert all(package["required"] for package in found)


def test_the_latest_versions_come_from_the_index_that_pip_asks(
    index: Index, config: Config, lock: Path
) -> None:
    index.versions = {"pluggy": [PLUGGY, "99.1", "99.2rc1"], "packaging": ["0.1", PACKAGING]}
    checked = packages.check(config, NOW, lock, 60)
    found = by_name(checked)
    assert (found["pluggy"]["latest"], found["pluggy"]["outdated"]) == ("99.1", True)
    assert (found["packaging"]["latest"], found["packaging"]["outdated"]) == (PACKAGING, False)
    # the index does not know this one: that does not make it up to date
    assert (found["iniconfig"]["latest"], found["iniconfig"]["outdated"]) == (None, None)
    assert [found[name]["direct"] for name in ("pluggy", "packaging")] == [True, False]
    assert found["pluggy"]["installed"] == found["pluggy"]["required"] == PLUGGY
    assert checked["latest_status"] == (
        f"The package index answered at {NOW}, just now; outdated packages: 1 of 3 (not known: 1)."
    )
    assert checked["checked_at"] == checked["latest_at"] == NOW
    assert checked["seconds"] > 0
    assert checked["changes"] == []
    # what else is installed here is nobody's business
    assert {path.strip("/").split("/")[-1] for path in index.asked} == {*found, "query"}


def test_known_vulnerabilities_come_from_pip_audit(index: Index, config: Config, lock: Path) -> None:
    index.vulnerabilities = {"packaging": ["PYSEC-2026-1", "PYSEC-2026-2"]}
    checked = packages.check(config, NOW, lock, 60)
    found = by_name(checked)
    assert found["packaging"]["vulnerabilities"] == ["PYSEC-2026-1", "PYSEC-2026-2"]
    assert found["pluggy"]["vulnerabilities"] == []
    assert "vulnerable packages: 1 of 3." in checked["vulnerabilities_status"]


def test_the_audit_of_a_build_fails_where_a_package_of_the_lock_is_vulnerable(index: Index) -> None:
    index.versions = {name: [version] for name, version in LOCKED.items()}
    index.vulnerabilities = {"numpy": ["PYSEC-2026-1"]}
    audit = [sys.executable, str(CHECKOUT / ".ci/audit.py")]
    done = subprocess.run(audit, capture_output=True, text=True, cwd="/")
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"  numpy {LOCKED['numpy']}: PYSEC-2026-1. Run: make lock UPGRADE=yes\n" in done.stdout
    index.vulnerabilities = {}
    done = subprocess.run(audit, capture_output=True, text=True, cwd="/")
    assert done.returncode == 0 and "vulnerable packages: 0 of" in done.stdout


def test_a_package_that_the_service_does_not_know_is_not_called_safe(
    config: Config, lock: Path, stand_in: Callable[[str], None]
) -> None:
    skipped = {"name": "pluggy", "skip_reason": "it is not known"}
    audited = {"name": "packaging", "version": PACKAGING, "vulns": []}
    answer = json.dumps({"dependencies": [skipped, audited], "fixes": []})
    stand_in(f"case $* in *pip_audit*) echo '{answer}' ;; *) echo '[]' ;; esac")
    checked = packages.check(config, NOW, lock)
    found = by_name(checked)
    assert (found["pluggy"]["vulnerabilities"], found["packaging"]["vulnerabilities"]) == (None, [])
    assert "vulnerable packages: 0 of 3 (not known: 2)." in checked["vulnerabilities_status"]


def test_vulnerabilities_of_the_required_version_say_nothing_about_another_that_is_installed(
    index: Index, config: Config, lock: Path
) -> None:
    lock.write_text("pluggy==0.1\npackaging==" + PACKAGING)
    found = by_name(packages.check(config, NOW, lock, 60))
    assert (found["pluggy"]["required"], found["pluggy"]["installed"]) == ("0.1", PLUGGY)
    assert found["pluggy"]["vulnerabilities"] is None
    assert found["packaging"]["vulnerabilities"] == []


def test_an_index_out_of_reach_keeps_the_last_answer_and_says_how_old_it_is(
    index: Index, config: Config, lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept_answer(config, vulnerabilities=["PYSEC-2026-1"])
    index.close()
    checked = packages.check(config, THREE_DAYS_LATER, lock, 60)
    assert (by_name(checked)["pluggy"]["latest"], checked["latest_at"]) == ("99.0", NOW)
    assert by_name(checked)["pluggy"]["vulnerabilities"] == ["PYSEC-2026-1"]
    assert checked["latest_status"] == (
        f"The package index was out of reach at {THREE_DAYS_LATER}: no word about any of the packages. "
        f"The package index answered at {NOW}, 3 days ago; outdated packages: 1 of 3 (not known: 2)."
    )
    assert checked["vulnerabilities_status"].startswith(
        f"The vulnerability service was out of reach at {THREE_DAYS_LATER}: "
    )
    files.write_json(config.packages, checked)
    # twelve hours on nothing is asked, and the fault is still told
    later = packages.check(config, "2026-03-13T18:00:00Z", lock, 60)
    assert later["checked_at"] == THREE_DAYS_LATER
    assert f"out of reach at {THREE_DAYS_LATER}" in later["latest_status"]


def test_an_index_that_never_answered_leaves_the_latest_version_open(
    index: Index, config: Config, lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    checked = packages.check(config, NOW, lock, 60)
    assert by_name(checked)["pluggy"]["outdated"] is None
    assert checked["latest_status"].endswith("The package index has not answered yet.")
    assert checked["latest_at"] is None


def test_a_server_that_never_answers_holds_nothing_longer_than_the_bound(
    index: Index, config: Config, lock: Path
) -> None:
    index.answers = False
    kept_answer(config)
    clock = time.monotonic()
    checked = packages.check(config, THREE_DAYS_LATER, lock, 3)
    assert 3 <= time.monotonic() - clock < 10
    assert index.asked
    assert "no answer in time" in checked["latest_status"]
    assert "no answer in time" in checked["vulnerabilities_status"]
    assert by_name(checked)["pluggy"]["latest"] == "99.0"
    assert 3 <= checked["seconds"] < 10
    assert not [place for place in Path("/proc").glob("[0-9]*/stat") if is_child_that_runs_pip(place)]


def is_child_that_runs_pip(stat: Path) -> bool:
    try:
        parent = int(stat.read_text().rsplit(")", 1)[1].split()[1])
        return parent == os.getpid() and b"pip" in stat.with_name("cmdline").read_bytes()
    except OSError:
        return False


@pytest.mark.parametrize(
    ("checked_at", "asks"),
    [
        ("2026-03-10T05:50:00Z", False),
        ("2026-03-09T06:00:01Z", False),
        ("2026-03-09T06:00:00Z", True),
        ("2026-03-10T06:10:00Z", True),
    ],
    ids=["the tick before", "almost a day ago", "a day ago", "in the future: the clock was set back"],
)
def test_the_network_is_asked_at_most_once_a_day(
    config: Config, lock: Path, stand_in: Callable[[str], None], checked_at: str, asks: bool
) -> None:
    stand_in("echo '[]'")
    kept_answer(config, at=checked_at)
    assert (packages.check(config, NOW, lock)["checked_at"] == NOW) is asks


def test_force_asks_again(config: Config, lock: Path, stand_in: Callable[[str], None]) -> None:
    stand_in("echo '[]'")
    kept_answer(config)
    assert (
        packages.check(replace(config, force=True), HALF_A_DAY_LATER, lock)["checked_at"] == HALF_A_DAY_LATER
    )


@pytest.mark.parametrize("how", ["switched off", "dry run"])
def test_no_network_is_asked_when_switched_off_or_in_a_dry_run(
    index: Index, config: Config, lock: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    if how == "switched off":
        monkeypatch.setenv(packages.SWITCH, "off")
    checked = packages.check(replace(config, dry_run=how == "dry run", force=True), NOW, lock)
    assert not index.asked
    assert checked["checked_at"] is checked["seconds"] is None
    assert checked["latest_status"] == "The package index has not answered yet."
    assert by_name(checked)["pluggy"]["installed"] == PLUGGY


def test_an_answer_from_a_clock_that_was_ahead_is_called_so(config: Config, lock: Path) -> None:
    kept_answer(config, at=THREE_DAYS_LATER)
    checked = packages.check(replace(config, dry_run=True), NOW, lock)
    assert "by a clock that was set back since" in checked["latest_status"]


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        ("echo 'No module named pip' >&2; exit 1", "No module named pip"),
        ("exit 3", "exit status 3"),
        ("echo '{not json'", "exit status 0"),
        ("echo 3", "its answer has a form that is not known here"),
        (
            "echo 'ERROR: http://me:secret@127.0.0.1/simple: no' >&2; exit 1",
            "ERROR: http://127.0.0.1/simple: no",
        ),
    ],
)
def test_a_pip_that_fails_is_told_and_fails_nothing(
    config: Config, lock: Path, stand_in: Callable[[str], None], script: str, fault: str
) -> None:
    stand_in(script)
    checked = packages.check(config, NOW, lock)
    assert checked["latest_fault"] == checked["vulnerabilities_fault"] == fault
    assert "secret" not in json.dumps(checked)


def test_an_interpreter_that_cannot_be_started_fails_nothing(
    config: Config, lock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "gone"))
    assert "could not be started" in packages.check(config, NOW, lock)["latest_fault"]


def test_what_differs_from_the_last_check_is_told(config: Config, lock: Path) -> None:
    kept_answer(config, required="0.9", installed="0.8", latest=PLUGGY)
    checked = packages.check(replace(config, dry_run=True), HALF_A_DAY_LATER, lock)
    assert [change for change in checked["changes"] if change["package"] == "pluggy"] == [
        {"package": "pluggy", "what": "required", "before": "0.9", "now": PLUGGY},
        {"package": "pluggy", "what": "installed", "before": "0.8", "now": PLUGGY},
    ]
    files.write_json(config.packages, checked)
    assert packages.check(replace(config, dry_run=True), HALF_A_DAY_LATER, lock)["changes"] == []


def test_a_package_that_came_or_went_is_a_change_but_an_unknown_latest_version_is_none() -> None:
    came = {"name": "a", "required": "1", "installed": "1", "latest": "2"}
    assert packages.changes([], [came]) == [
        {"package": "a", "what": "required", "before": None, "now": "1"},
        {"package": "a", "what": "installed", "before": None, "now": "1"},
    ]
    assert packages.changes([came], [{**came, "latest": None}]) == []
    assert packages.changes([came], [{**came, "latest": "3"}]) == [
        {"package": "a", "what": "latest", "before": "2", "now": "3"}
    ]
    assert [change["now"] for change in packages.changes([came], [])] == [None, None]


def test_an_upgrade_since_the_last_answer_makes_the_installed_version_the_latest_known(
    config: Config, lock: Path
) -> None:
    kept_answer(config, latest="0.1")
    pluggy = by_name(packages.check(replace(config, dry_run=True), HALF_A_DAY_LATER, lock))["pluggy"]
    assert (pluggy["latest"], pluggy["outdated"]) == (PLUGGY, False)


def test_vulnerabilities_of_a_version_no_longer_required_are_forgotten(config: Config, lock: Path) -> None:
    kept_answer(config, required="0.1", vulnerabilities=["PYSEC-2026-1"])
    checked = packages.check(replace(config, dry_run=True), HALF_A_DAY_LATER, lock)
    assert by_name(checked)["pluggy"]["vulnerabilities"] is None


@pytest.mark.parametrize("damaged", ["", "{", "[]", "null", '{"packages": 3}'])
def test_a_damaged_packages_json_is_made_again(config: Config, lock: Path, damaged: str) -> None:
    files.write_text(config.packages, damaged)
    checked = packages.check(replace(config, dry_run=True), NOW, lock)
    assert (len(checked["packages"]), checked["changes"]) == (3, [])
