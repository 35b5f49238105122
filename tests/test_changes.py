"""What changed between two lists: one status for each client, none claimed where two models stand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attrition import changes, keptlists
from attrition.changes import Change
from attrition.keptlists import KeptList
from tests.test_keptlists import packed, write


def _kept(folder: Path, run: str, probability: dict[str, float], **facts: Any) -> KeptList:
    scored = [p == p for p in probability.values()]
    rank = np.where(scored, np.arange(1, len(scored) + 1), 0)
    data = packed([*probability], probability=[*probability.values()], rank=rank, **facts)
    return keptlists.read(write(folder, run, data))


def _compare(before: KeptList | None, now: dict[str, float], release: str = "000001-aa") -> dict[str, Change]:
    found = changes.compare(before, release, 0.5, keptlists.keys(now), np.array([*now.values()]), 15)
    return dict(zip(now, found, strict=True))


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        (0.4, 0.4, "steady"),
        (0.4, 0.5, "newly_at_risk"),
        (0.2, 0.9, "newly_at_risk"),
        (0.5, 0.499, "recovered"),
        (0.9, 0.1, "recovered"),
        # 100 * (0.35 - 0.20) is 14.999999999999996
        (0.20, 0.35, "risen"),
        (0.6, 0.75, "risen"),
        (0.2, 0.3499, "steady"),
        (0.9, 0.6, "steady"),
        (np.nan, 0.9, "new"),
        (0.9, np.nan, "not_scored"),
        (np.nan, np.nan, "not_scored"),
    ],
)
def test_a_client_has_one_status(tmp_path: Path, old: float, new: float, status: str) -> None:
    found = _compare(_kept(tmp_path, "run", {"a": old}), {"a": new})["a"]
    assert found.status == status
    if status in ("steady", "newly_at_risk", "recovered", "risen"):
        assert found.before == old and found.points == pytest.approx(100 * (new - old))
    else:
        assert found.points is None


def test_who_was_not_on_the_list_before_is_new(tmp_path: Path) -> None:
    before = _kept(tmp_path, "run", {"a": 0.4})
    assert _compare(before, {"b": 0.9, "a": 0.4, "c": 0.1}) == {
        "a": Change("steady", 0.4, 0.0),
        "b": Change("new"),
        "c": Change("new"),
    }
    assert _compare(_kept(tmp_path, "empty", {}), {"a": 0.9}) == {"a": Change("new")}


def test_on_the_first_list_nobody_has_changed() -> None:
    assert _compare(None, {"a": 0.9, "b": np.nan}) == {"a": Change("listed"), "b": Change("not_scored")}


def test_of_another_model_nothing_is_claimed_but_who_is_new(tmp_path: Path) -> None:
    before = _kept(tmp_path, "run", {"a": 0.1, "b": 0.9, "c": 0.2})
    found = _compare(before, {"a": 0.9, "b": 0.1, "c": np.nan, "d": 0.9}, release="000002-bb")
    assert found == {
        "a": Change("listed"),
        "b": Change("listed"),
        "c": Change("not_scored"),
        "d": Change("new"),
    }


def test_the_same_list_twice_has_changed_in_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    clients = {f"c{number}": float(p) for number, p in enumerate(rng.random(500))}
    # a probability at the very threshold must not flip by being kept
    clients["edge"] = 0.5
    before = _kept(tmp_path, "run", clients)
    assert {change.status for change in _compare(before, clients).values()} == {"steady"}


def test_any_two_kept_lists_can_be_compared(tmp_path: Path) -> None:
    before = _kept(tmp_path, "one", {"a": 0.1, "b": 0.9, "c": 0.2, "left": 0.3, "also": 0.3, "e": 0.4})
    now = _kept(tmp_path, "two", {"a": 0.9, "d": 0.8, "c": 0.4, "e": 0.4, "b": 0.1, "f": np.nan}, number=2)
    since = changes.since(before, now, 15)
    assert (since.since, since.run, since.same_model) == ("one", "two", True)
    assert (since.newly_at_risk, since.risen, since.recovered) == (["a"], ["c"], ["b"])
    assert (since.new, since.gone, since.not_scored) == (["d"], ["also", "left"], ["f"])
    assert not any(getattr(changes.since(now, now, 15), group) for group in (*changes.TOLD, "gone"))
    other = changes.since(before, _kept(tmp_path, "three", {"a": 0.9}, release="000002-bb"), 15)
    assert (other.same_model, other.newly_at_risk, len(other.gone)) == (False, [], 5)
