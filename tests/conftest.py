import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import pictures
from tests.projects import SHARED, Project


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the machine the tests run on changes what they see; no test asks the package index."""
    for name in list(os.environ):
        if name.startswith("ATTRITION_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("ATTRITION_PACKAGE_CHECK", "off")


@pytest.fixture(autouse=True)
def _empty_pictures(request: pytest.FixtureRequest) -> Iterator[None]:
    """Reports of this process have empty pictures, but where a test is marked to draw them."""
    if request.node.get_closest_marker("draws"):
        yield
        return
    with pictures.empty():
        yield


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real data beside the checkout, never copied into it."""
    if not SHARED.is_dir():
        pytest.skip("the real data (../shared/data) is not beside this checkout")
    return SHARED
