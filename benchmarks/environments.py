"""Make the environments of the peers that do not go beside this project's packages, below .venv/peers/.

Each is made from benchmarks/requirements/NAME.txt, once. What cannot be installed is told, and the benchmarks
leave it out.

Example: python -m benchmarks.environments
"""

import subprocess
import sys
import venv
from pathlib import Path

from benchmarks.tick import CHECKOUT

REQUIREMENTS = CHECKOUT / "benchmarks" / "requirements"
PEERS = CHECKOUT / ".venv" / "peers"


def python(name: str) -> Path:
    """The interpreter of a peer's environment."""
    return PEERS / name / "bin" / "python"


def missing(name: str) -> str | None:
    """Why a peer cannot be measured, in a sentence; None where its environment is whole and up to date."""
    mark = _mark(name)
    if mark.exists() and mark.read_text() == _wanted(name).read_text():
        return None
    return f"{name} is not installed and left out. Run: python -m benchmarks.environments"


def install(name: str) -> str | None:
    """Make a peer's environment; why it cannot be made, in a sentence, or None."""
    if missing(name) is None:
        return None
    venv.create(PEERS / name, with_pip=True, clear=True)
    pip = [str(python(name)), "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]
    done = subprocess.run([*pip, "--requirement", str(_wanted(name))], capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip() or "pip said nothing").splitlines()[-1]
        return f"{name} cannot be installed and is left out: {last}"
    # last: an environment that is not whole, or of older requirements, is made again
    _mark(name).write_text(_wanted(name).read_text())
    return None


def _wanted(name: str) -> Path:
    return REQUIREMENTS / f"{name}.txt"


def _mark(name: str) -> Path:
    return PEERS / name / "installed.txt"


def main() -> int:
    for wanted in sorted(REQUIREMENTS.glob("*.txt")):
        if missing(wanted.stem):
            print(
                f"Installing {wanted.stem} into an environment of its own; this can take a minute.",
                flush=True,
            )
        if why := install(wanted.stem):
            print(why, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
