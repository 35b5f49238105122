"""The image and the services, as far as they can be looked at where no image can be built."""

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import yaml

from attrition import config
from tests.projects import CHECKOUT

DEPLOY = CHECKOUT / "deploy"
HOME = "/opt/attrition"


def services() -> dict[str, Any]:
    told = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    found: dict[str, Any] = told["services"]
    return found


def test_what_the_services_mount_from_the_project_is_there_and_read_only() -> None:
    for service in ("pipeline", "api"):
        mounts = [mount.split(":") for mount in services()[service]["volumes"]]
        from_here = [mount for mount in mounts if mount[0].startswith("..")]
        assert len(from_here) == 4
        for source, target, mode in from_here:
            place = (DEPLOY / source).resolve()
            assert place.exists() and (Path(HOME) / place.relative_to(CHECKOUT)) == Path(target)
            assert mode == "ro"


def test_what_the_pipeline_writes_lies_on_volumes() -> None:
    for service in ("pipeline", "api"):
        mounts = dict(mount.split(":")[:2] for mount in services()[service]["volumes"])
        for folder in ("ingesteddata", "models", "production_deployment"):
            assert mounts[folder] == f"{HOME}/{folder}"


def test_the_image_lies_where_the_line_of_cron_expects_it_and_starts_what_is_there() -> None:
    image = (DEPLOY / "Dockerfile").read_text()
    assert f"WORKDIR {HOME}" in image
    assert f"cd {HOME} &&" in (CHECKOUT / "cronjob.txt").read_text()
    assert "--require-hashes -r requirements.txt" in image
    for name in re.findall(r"[\w.]+\.(?:py|txt)", image.split("FROM")[1]):
        assert (CHECKOUT / name).is_file()
    assert (CHECKOUT / services()["pipeline"]["command"][0]).stat().st_mode & 0o111


def test_the_crontab_of_the_container_has_the_variables_and_the_shipped_line(tmp_path: Path) -> None:
    script = (DEPLOY / "cron.sh").read_text()
    made = script[script.index("{\n") : script.index("} | crontab")] + "}"
    environment = {"ATTRITION_API_KEYS": "a%b c", "PATH": "/usr/bin:/bin", "SECRET": "x"}
    done = subprocess.run(
        ["sh", "-euc", made], cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=True
    )
    lines = [line for line in done.stdout.splitlines() if line and not line.startswith("#")]
    assert lines[:2] == ["ATTRITION_API_KEYS=a%b c", 'MAILTO=""']
    assert lines[2].startswith("*/10 * * * * ") and len(lines) == 3
    assert subprocess.run(["sh", "-n", str(DEPLOY / "cron.sh")]).returncode == 0


def test_every_variable_of_the_services_is_one_that_the_scripts_know() -> None:
    known = {
        config.load(CHECKOUT / "config.json", {}).settings.api.keys_env,
        "ATTRITION_BIND",
        "ATTRITION_API_URL",
    }
    # named by a person in config.json: compose.yaml says how
    known |= set(re.findall(r'"url_env": "(ATTRITION_\w+)"', (DEPLOY / "compose.yaml").read_text()))
    for service in ("pipeline", "api"):
        assert set(services()[service]["environment"]) <= known
    assert shlex.split(" ".join(services()["api"]["healthcheck"]["test"][1:3])) == [".venv/bin/python", "-c"]
