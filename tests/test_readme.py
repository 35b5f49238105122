"""README.md is a transcript: its commands are run here, in order, and must print what it says."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.projects import CHECKOUT
from tests.servers import serving

README_URL = "http://127.0.0.1:8000"
SHIPPED = ("sourcedata", "testdata", "practicedata", "attrition")


def transcript() -> Iterator[tuple[str, list[str]]]:
    """Each command of README's console blocks with the lines it prints."""
    command: str = ""
    printed: list[str] = []
    for block in re.findall(r"```console\n(.*?)```", (CHECKOUT / "README.md").read_text(), re.S):
        for line in block.splitlines():
            if line.startswith("$ "):
                if command:
                    yield command, printed
                command, printed = line[2:], []
            else:
                printed.append(line)
    yield command, printed


def pattern(line: str) -> str:
    """What a line may vary in: ids of releases and generations, hashes, times; `...` is anything."""
    line = re.escape(line).replace(r"\.\.\.", ".*")
    line = re.sub(r"(\d{6})\\-[0-9a-f]{8}", r"\1-[0-9a-f]{8}", line)
    line = re.sub(r"\d{4}\\-\d\d\\-\d\dT\d\d:\d\d:\d\dZ", r"\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\dZ", line)
    return re.sub(r'(model_sha256":\\ ")[0-9a-f]+', r"\1[0-9a-f]+", line)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    copy = tmp_path / "a folder with a space"
    for folder in SHIPPED:
        shutil.copytree(CHECKOUT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for path in [
        *CHECKOUT.glob("*.py"),
        *CHECKOUT.glob("requirements*"),
        CHECKOUT / "config.json",
        CHECKOUT / "plays.csv",
    ]:
        shutil.copy(path, copy)
    return copy


def test_every_command_prints_what_readme_says(checkout: Path, tmp_path: Path) -> None:
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    path = f"{python.parent}:{os.environ['PATH']}"
    with serving(checkout) as server:
        environment = {**os.environ, "PATH": path, "ATTRITION_API_URL": server.url}
        for command, printed in transcript():
            done = subprocess.run(
                ["bash", "-c", command.replace(README_URL, server.url)],
                cwd=checkout,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            lines = done.stdout.replace(server.url, README_URL).splitlines()
            wanted = [pattern(line) for line in printed]
            assert len(lines) == len(wanted), f"$ {command}\n{done.stdout}"
            for line, regex in zip(lines, wanted, strict=True):
                assert re.fullmatch(regex, line), f"$ {command}\n{line}\n{regex}"
