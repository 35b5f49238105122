"""What the pipeline is made of: packages pinned by hash, and licences that are known."""

import re
from importlib import metadata
from pathlib import Path

import pytest

from attrition import packages
from tests.projects import CHECKOUT

LOCKS = sorted(CHECKOUT.glob("requirements*.txt"))
# licences that let a company use, change and pass on what it builds, by the names packages give them
KNOWN = re.compile(
    r"MIT|BSD|0BSD|Apache|ISC|Zlib|CC0|PSF|Python Software Foundation|MPL|Mozilla Public License|Unlicense"
)
COPYLEFT = re.compile(r"GPL|General Public License", re.I)
REVIEWED = {
    "interpret-core": "MIT, by the licence file of its project; its metadata names none",
    "psycopg": "LGPL-3.0: used unchanged as a library, and replaceable by another driver of SQLAlchemy's",
    "psycopg-binary": "LGPL-3.0: as psycopg",
}
LOCKED = (CHECKOUT / "requirements.txt").read_text()
RUN_TIME = sorted(packages.required(LOCKED).keys() - packages.not_needed_here(LOCKED))


def licence(name: str) -> str:
    """All that a package says of its licence, in one line; of a licence's text its first line."""
    told = metadata.metadata(name).json
    classifiers = [each for each in told.get("classifier", []) if each.startswith("License ::")]
    text = str(told.get("license", "")).strip().splitlines()[:1]
    return "; ".join([*filter(None, [str(told.get("license_expression", ""))]), *classifiers, *text])


@pytest.mark.parametrize("name", RUN_TIME)
def test_every_run_time_package_has_a_licence_that_a_company_can_live_with(name: str) -> None:
    found = licence(name)
    if name not in REVIEWED:
        assert KNOWN.search(found), f"{name}: licence {found!r} is not known. Read it; add it to REVIEWED."
        assert not COPYLEFT.search(found), (
            f"{name}: {found}. Replace it, or add it to REVIEWED with a reason."
        )


def test_a_review_is_of_a_package_that_needs_one() -> None:
    for name in REVIEWED:
        assert name in RUN_TIME
        assert COPYLEFT.search(licence(name)) or not KNOWN.search(licence(name))


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_package_of_a_lock_is_pinned_and_has_hashes(lock: Path) -> None:
    """pip refuses a lock with hashes unless each line has them: .ci/run installs it afresh."""
    pins = re.sub(r"\s*\\\n\s*", " ", lock.read_text()).splitlines()
    pins = [line for line in pins if line and not line.lstrip().startswith("#")]
    assert len(pins) > 10
    assert [
        line for line in pins if not re.match(r"[\w.\[\],-]+==\S+( ;.*?)? --hash=sha256:[0-9a-f]{64}", line)
    ] == []


def test_the_makefile_installs_by_hash_alone() -> None:
    makefile = (CHECKOUT / "Makefile").read_text()
    assert "--require-hashes" in makefile
    assert [
        line for line in makefile.splitlines() if "pip install" in line and "--require-hashes" not in line
    ] == []


def test_ci_audits_the_lock() -> None:
    assert "make audit" in (CHECKOUT / ".ci/run").read_text()
