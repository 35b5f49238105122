"""Columns of new rows beside those of the training rows, as shares in a few bins: what a drift plot draws.

Touches no disk. The shares are descriptive; what of them is more than chance, attrition.shift says.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from attrition import arrivals
from attrition.arrivals import Memory

BINS = 8
KINDS = 7
MISSING, OTHER = "missing", "other"

Bin = tuple[float | str | None, int, int]


def columns(profile: Mapping[str, Any], memory: Memory) -> list[dict[str, Any]]:
    """Each column of the profile: its `bins`, and the share of rows in each `then` and `now`.

    Of a number column a bin is named by its upper end (None: no end), and holds about an eighth of the
    training rows; of a category column by its value. Blanks are in the bin "missing", where there are any.
    `now` are all rows that the memory holds; without any the list is empty. Raises DataError where the
    memory belongs to another profile.
    """
    arrivals.check(profile, memory)
    if not memory.blocks:
        return []
    all_rows = arrivals.windows(memory.blocks)
    numbers = [
        _column(name, "number", _of_number(known, all_rows.numbers[-1][at].tolist()))
        for at, (name, known) in enumerate(profile["numbers"].items())
    ]
    categories = [
        _column(name, "category", _of_category(known, all_rows.categories[at][-1].tolist()))
        for at, (name, known) in enumerate(profile["categories"].items())
    ]
    return numbers + categories


def _column(name: str, kind: str, bins: Sequence[Bin]) -> dict[str, Any]:
    then, now = sum(each[1] for each in bins), sum(each[2] for each in bins)
    return {
        "column": name,
        "kind": kind,
        "rows": now,
        "bins": [each[0] for each in bins],
        "then": [each[1] / max(then, 1) for each in bins],
        "now": [each[2] / max(now, 1) for each in bins],
    }


def _of_number(known: Mapping[str, Any], counts: Sequence[int]) -> list[Bin]:
    """Bins of the profile, merged to about BINS: each ends at one of its points, the last one nowhere."""
    points, then = known["points"], known["bins"]
    merged: list[Bin] = []
    low = 0
    for place, point in enumerate(points):
        # bins are: below the first point, at it, between it and the next, at that, and so on
        high = 2 * place + 2
        if sum(then[low:high]) * BINS >= known["rows"]:
            merged.append((point, sum(then[low:high]), sum(counts[low:high])))
            low = high
    merged.append((None, sum(then[low:]), sum(counts[low : len(then)])))
    return _with_missing(merged, known["missing"], counts[-1])


def _of_category(known: Mapping[str, Any], counts: Sequence[int]) -> list[Bin]:
    """The most frequent categories of then, and all others together."""
    *named, unnamed, missing = counts
    names = list(known["counts"])
    shown = [(name, known["counts"][name], named[at]) for at, name in enumerate(names[:KINDS])]
    others = known["rows"] - sum(each[1] for each in shown)
    rest = (OTHER, others, sum(named[KINDS:]) + unnamed)
    return _with_missing([*shown, rest], known["missing"], missing)


def _with_missing(bins: list[Bin], then: int, now: int) -> list[Bin]:
    told = [*bins, (MISSING, then, now)]
    return [each for each in told if each[1] or each[2]]
