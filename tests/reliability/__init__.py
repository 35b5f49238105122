"""Proof that it does not break. `make test` tries a selection, `make test-reliability` everything."""

import os
from collections.abc import Sequence
from typing import TypeVar

ALL = os.environ.get("RELIABILITY") == "all"

Each = TypeVar("Each")


def spread(found: Sequence[Each], most: int | None) -> Sequence[Each]:
    """All, or at most so many from the first to the last at equal distances; of one, that in the middle."""
    if most is None or len(found) <= most:
        return found
    if most == 1:
        return [found[len(found) // 2]]
    return [found[round(at * (len(found) - 1) / (most - 1))] for at in range(most)]
