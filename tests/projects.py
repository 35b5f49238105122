"""A pipeline in a temporary folder: a config, datasets, and the scripts run on them as a person would."""

import contextlib
import importlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrition import config as configuration
from attrition import stamp
from attrition.config import Config

CHECKOUT = Path(__file__).resolve().parent.parent
SHARED = CHECKOUT.parent / "shared" / "data"
HEADER = "corporation,lastmonth_activity,lastyear_activity,number_of_employees,exited"
FOLDERS = {
    "input_folder_path": "sourcedata",
    "output_folder_path": "ingesteddata",
    "test_data_path": "testdata",
    "output_model_path": "models",
    "prod_deployment_path": "production_deployment",
}


# what reports of this process have drawn
ALBUM: dict[str, Any] = {}


class Project:
    """Folders and a config below `home`; datasets are settled at once, only cheap models compete."""

    def __init__(self, home: Path, settings: Mapping[str, Any] | None = None) -> None:
        self.home = home
        self.here = False
        for folder in ("sourcedata", "testdata", "practicedata"):
            (home / folder).mkdir(parents=True, exist_ok=True)
        self.configure(**(settings or {}))

    def configure(self, **sections: Any) -> None:
        sections["training"] = {"candidates": ["logistic"], **sections.get("training", {})}
        settings = {**FOLDERS, "ingestion": {"settle_seconds": 0}, **sections}
        (self.home / "config.json").write_text(json.dumps(settings))

    def config(self, **started: Any) -> Config:
        return configuration.load(self.home / "config.json", {}, **started)

    def write(self, place: str, content: str | bytes) -> Path:
        path = self.home / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def dataset(
        self, name: str, rows: Sequence[str], header: str = HEADER, folder: str = "sourcedata"
    ) -> Path:
        return self.write(f"{folder}/{name}", "".join(f"{line}\n" for line in (header, *rows)))

    def run(
        self, script: str, *flags: str, env: Mapping[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Start a script by hand, from a folder not the project's; or, `here`, in this very process."""
        arguments = ["--config", str(self.home / "config.json"), *flags]
        if self.here:
            with self._album("practicemodels" if "--practice" in flags else "models"):
                return _run_here(script, arguments)
        command = [sys.executable, str(CHECKOUT / script), *arguments]
        environment = {**os.environ, "ATTRITION_PACKAGE_CHECK": "off", **(env or {})}
        return subprocess.run(command, capture_output=True, text=True, cwd="/", env=environment, timeout=300)

    @contextlib.contextmanager
    def _album(self, folder: str) -> Iterator[None]:
        """Lend a project without pictures those that others drew: the same figures look the same anywhere."""
        place = self.home / folder / "pictures.json"
        is_new, lent = not place.parent.is_dir(), 0
        if ALBUM and not place.exists():
            place.parent.mkdir(exist_ok=True)
            place.write_text(json.dumps(ALBUM))
            lent = place.stat().st_ino
        yield
        if lent and place.exists() and place.stat().st_ino == lent:
            # nothing was reported: the place is left as it was
            place.unlink()
            if is_new and not any(place.parent.iterdir()):
                place.parent.rmdir()
        elif place.exists():
            with contextlib.suppress(ValueError, KeyError, TypeError):
                told = json.loads(place.read_text())
                ALBUM.update(told, pictures={**ALBUM.get("pictures", {}), **told["pictures"]})

    def json(self, script: str, *flags: str, status: int = 0) -> dict[str, Any]:
        """What a script answers with --json; its exit status must be the one expected."""
        done = self.run(script, "--json", *flags)
        assert done.returncode == status, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def read(self, place: str) -> str:
        return (self.home / place).read_text()

    def history(self, stage: str | None = None, folder: str = "models") -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.read(f"{folder}/history.jsonl").splitlines()]
        return [line for line in lines if stage in (None, line["stage"])]

    def snapshot(self) -> dict[str, tuple[int, int]]:
        """Every file and link below the home with size and time: equal snapshots mean nothing was written."""
        found = {}
        for path in sorted(self.home.rglob("*")):
            at = path.lstat()
            # a folder's own time tells only that something came and went
            written = (at.st_size, at.st_mtime_ns) if not path.is_dir() or path.is_symlink() else (0, 0)
            found[str(path.relative_to(self.home))] = written
        return found


def _run_here(script: str, arguments: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    """What the script does when it is started, without the second that importing the libraries takes."""
    out, err, before = io.StringIO(), io.StringIO(), sys.argv
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        sys.argv = [script, *arguments]
        try:
            idle = script == "fullprocess.py" and stamp.nothing_new(list(arguments))
            status = 0 if idle else importlib.import_module(script.removesuffix(".py")).main()
        finally:
            sys.argv = before
    return subprocess.CompletedProcess(sys.argv, status, out.getvalue(), err.getvalue())


def classic_rows(count: int, start: int = 0, turned: bool = False) -> list[str]:
    """Rows in the classic columns in which low activity means leaving, or with `turned` staying."""
    rows = []
    for i in range(start, start + count):
        leaves = i % 3 == 0
        month = (i * 7) % 23 if leaves else 60 + (i * 13) % 90
        # every tenth row tells the opposite, so that nothing is learnt by heart
        left = (leaves != (i % 10 == 9)) != turned
        rows.append(f"client{i:05d},{month},{month * 9 + i % 17},{5 + (i * 11) % 300},{int(left)}")
    return rows
