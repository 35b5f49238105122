"""What changed from one list to the next: newly at risk, risen, recovered, new, gone. No disk.

A client stands in one of these only; at risk is who is at or above the threshold of the list. New
is who had no score on the list before. Two lists of different releases cannot be compared, since
another model gives another probability to the same client: then only who is new, gone or not scored
is told, and everybody else is `listed`, as on a first list.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from attrition.keptlists import KeptList

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LISTED, STEADY, NOT_SCORED = "listed", "steady", "not_scored"
NEW, NEWLY_AT_RISK, RISEN, RECOVERED = "new", "newly_at_risk", "risen", "recovered"
STATUSES = (LISTED, NEW, NEWLY_AT_RISK, RISEN, RECOVERED, STEADY, NOT_SCORED)
# those that a person is told of
TOLD = (NEWLY_AT_RISK, RISEN, RECOVERED, NEW)
NEW_MODEL = "scores not comparable, new model"
# 0.35 - 0.20 is a hair below 0.15 in binary: differences are compared without their last bits
POINT_DIGITS = 9


@dataclass(frozen=True)
class Change:
    """What became of one client since the list before; None where the lists cannot be compared."""

    status: str
    before: float | None = None
    points: float | None = None


@dataclass(frozen=True)
class Since:
    """Two lists beside each other: ids of clients by what became of them."""

    since: str
    run: str
    same_model: bool
    newly_at_risk: Sequence[str]
    risen: Sequence[str]
    recovered: Sequence[str]
    new: Sequence[str]
    gone: Sequence[str]
    not_scored: Sequence[str]


def compare(
    before: KeptList | None,
    release: str,
    threshold: float,
    clients: "NDArray[np.uint64]",
    probability: "NDArray[np.float64]",
    delta_points: float,
) -> list[Change]:
    """The change of each client, in their order.

    `clients` are keys (see keptlists.keys), `probability` is NaN where not scored; both of shape
    (clients,). Risen is who gained at least `delta_points` percentage points.
    """
    import numpy as np

    if before is None:
        return [Change(NOT_SCORED if p != p else LISTED) for p in probability.tolist()]
    at = before.find(clients)
    old = (
        np.where(at >= 0, before.rows["probability"][at], np.nan)
        if len(before.rows)
        else probability * np.nan
    )
    unknown = np.isnan(old)
    if before.release != release:
        status = np.where(unknown, NEW, LISTED)
        status = np.where(np.isnan(probability), NOT_SCORED, status)
        return [Change(each) for each in status.tolist()]
    points = np.round(100 * (probability - old), POINT_DIGITS)
    was, now = old >= before.threshold, probability >= threshold
    cases = [np.isnan(probability), unknown, now & ~was, was & ~now, points >= delta_points]
    status = np.select(cases, [NOT_SCORED, NEW, NEWLY_AT_RISK, RECOVERED, RISEN], STEADY)
    known = ~(unknown | np.isnan(probability))
    return [
        Change(each, p if p == p else None, d if is_known else None)
        for each, p, d, is_known in zip(
            status.tolist(), old.tolist(), points.tolist(), known.tolist(), strict=True
        )
    ]


def since(before: KeptList, now: KeptList, delta_points: float) -> Since:
    """What changed between two kept lists, each group in the order of the later; who is gone by id.

    ValueError where the names of one are damaged.
    """
    import numpy as np

    rows = now.rows
    found = compare(before, now.release, now.threshold, rows["client"], rows["probability"], delta_points)
    by_status: dict[str, list[str]] = {status: [] for status in STATUSES}
    names = now.names
    for at in np.argsort(np.where(rows["rank"] == 0, len(rows) + 1, rows["rank"]), kind="stable").tolist():
        by_status[found[at].status].append(names[at])
    absent = np.flatnonzero(now.find(before.rows["client"]) < 0).tolist()
    return Since(
        before.run,
        now.run,
        before.release == now.release,
        **{status: by_status[status] for status in (*TOLD, NOT_SCORED)},
        gone=sorted(before.names[at] for at in absent),
    )
