"""ARCHITECTURE.md and README.md are held to the code: arrows, owners, keys, flags, endpoints, statuses."""

import ast
import inspect
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

import app
import deployment
from attrition import config, stage
from attrition.errors import EXIT_STATUSES
from attrition.settings import Settings
from tests.projects import CHECKOUT, Project, classic_rows

ARCHITECTURE = (CHECKOUT / "ARCHITECTURE.md").read_text()
README = (CHECKOUT / "README.md").read_text()


def rooms() -> dict[str, Path]:
    scripts = {path.stem: path for path in CHECKOUT.glob("*.py") if path.name != "gunicorn.conf.py"}
    package = {f"attrition.{path.stem}": path for path in (CHECKOUT / "attrition").glob("*.py")}
    del package["attrition.__init__"]
    return scripts | package


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found & rooms().keys()


def floors() -> dict[str, int]:
    return {room: int(floor) for floor, room in re.findall(r"^\| (\d+) \| ([\w.]+) \|", ARCHITECTURE, re.M)}


def test_every_room_is_drawn_and_no_other() -> None:
    assert floors().keys() == rooms().keys()


@pytest.mark.parametrize("room", sorted(rooms()))
def test_an_import_points_to_a_lower_floor(room: str) -> None:
    floor = floors()
    assert [other for other in imports(rooms()[room]) if floor[other] >= floor[room]] == []


def test_the_server_imports_no_stage_and_reads_no_pickle() -> None:
    seen: set[str] = set()
    waiting = {"wsgi"}
    while waiting:
        room = waiting.pop()
        seen.add(room)
        waiting |= imports(rooms()[room]) - seen
    assert not seen & {
        "ingestion",
        "training",
        "scoring",
        "deployment",
        "diagnostics",
        "reporting",
        "fullprocess",
    }
    assert [room for room in seen if "pickle.load" in rooms()[room].read_text()] == []


def owners() -> dict[str, str]:
    table = ARCHITECTURE.split("## Owners")[1].split("\n## ")[0]
    told = {}
    for places, writer in re.findall(r"^\| (.+?) \| ([\w.]+) \|$", table, re.M):
        folder = {"ingesteddata/:": "ingested_folder", "models/:": "model_folder"}.get(
            places.split()[0], "deployment_folder"
        )
        for name in re.findall(
            r"[\w.]+\.\w+|current|previous|rolledback|reports|refused|parts|extracts|removed",
            places.split(":")[-1],
        ):
            told[f"{folder}/{name}"] = writer
    return told


def test_every_kept_file_is_listed_beside_its_one_writer() -> None:
    told = owners()
    for kept in config.kept_files().values():
        assert told.get(f"{kept.folder}/{kept.name}") == kept.writer


def test_each_stage_changes_only_what_it_owns(project: Project) -> None:
    project.here = True
    project.dataset("a.csv", classic_rows(120))
    project.dataset("test.csv", classic_rows(60, start=1000), folder="testdata")
    everybody = {"attrition.ledger", "attrition.stage", "attrition.signing"}
    for name in ("ingestion", "training", "scoring", "deployment", "diagnostics", "reporting"):
        before = project.snapshot()
        assert project.run(f"{name}.py").returncode == 0
        files = {
            kept: entry
            for kept, entry in config.kept_files().items()
            if entry.writer not in {name} | everybody
        }
        foreign = {str(getattr(project.config(), kept).relative_to(project.home)) for kept in files}
        changed = {place for place, at in project.snapshot().items() if before.get(place) != at}
        assert changed & foreign == set()
        assert not any(
            place.startswith(("sourcedata", "testdata", "practicedata", "config.json")) for place in changed
        )


def keys(model: type[BaseModel], above: str = "") -> Iterator[tuple[str, Any, str]]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from keys(kind, f"{above}{name}.")
        else:
            yield f"{above}{name}", field.default, field.description or ""


@pytest.mark.parametrize(("key", "default", "meaning"), list(keys(Settings)))
def test_readme_has_every_key_with_its_default_and_meaning(key: str, default: Any, meaning: str) -> None:
    if default is PydanticUndefined:
        shown = "required"
    elif isinstance(default, BaseModel):
        shown = default.model_dump_json(by_alias=True)
    else:
        shown = Section.model_validate({"value": default}).model_dump_json()[len('{"value":') : -1]
    row = f"| {key} | {shown if shown == 'required' else f'`{shown}`'} | {meaning} |"
    assert row in README


class Section(BaseModel):
    value: Any


def test_readme_has_every_flag() -> None:
    options = stage._parser("x", "", ())._actions
    flags = {flag for option in options for flag in option.option_strings}
    flags |= set(re.findall(r'stage\.Action\("(--[\w-]+)"', inspect.getsource(deployment)))
    assert [flag for flag in flags if f"`{flag}" not in README and f" {flag}`" not in README] == []


def test_readme_has_every_exit_status() -> None:
    assert [
        status for status, meaning in EXIT_STATUSES.items() if f"| {status} | {meaning} |" not in README
    ] == []


def test_readme_has_every_endpoint(project: Project) -> None:
    served = app.create_app(project.config()).url_map.iter_rules()
    routes = {
        # <path:id> is <id> to a reader
        f"{method} {re.sub('<[a-z]+:', '<', rule.rule)}"
        for rule in served
        for method in rule.methods or ()
        if method in ("GET", "POST")
    }
    routes.discard("GET /static/<path:filename>")
    assert [route for route in routes if f"| {route} |" not in README] == []


def test_readme_has_every_file_a_person_may_open() -> None:
    assert [kept.name for kept in config.kept_files().values() if kept.name not in README] == []


def test_no_tracked_file_names_a_foreign_host_or_a_machine_s_path() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=CHECKOUT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this is no git checkout")
    # no hosts: the upstream of nginx.conf, a service of compose.yaml; what tests make up: a placeholder, a
    # name that cannot exist, an address with a password
    here = r"127\.0\.0\.1|localhost|api:8000|attrition;|x\b|[^/\s]*\.invalid|[^/\s]*[{@]"
    foreign = re.compile(rf"(?:https?|ftp)://(?!{here})\w|(?<![\w.])/(?:home|root|Users)/\w")
    found = [
        name
        for name in listed.stdout.splitlines()
        if foreign.search((CHECKOUT / name).read_bytes().decode("utf-8", "replace"))
    ]
    assert found == []
