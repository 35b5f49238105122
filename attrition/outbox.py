"""Alerts that wait for their receivers: each way of telling counts its own tries. Touches no disk."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from attrition.flips import Alert
from attrition.posting import Undelivered

log = logging.getLogger("attrition")

MOST_AT_ONCE = 10
# a day of ticks
MOST_TRIES = 144
# sent whole and never answered: as often as this a message may arrive twice before it is taken for told
MOST_UNCLEAR = 6


@dataclass(frozen=True)
class Waiting:
    """An alert that is not delivered yet: tries, and tries without an answer, by the kinds it waits for."""

    alert: Alert
    tries: Mapping[str, int]
    unclear: Mapping[str, int]


def batch(waiting: Sequence[Waiting], kind: str) -> list[Alert]:
    """What `kind` is to tell next, the oldest first."""
    return [one.alert for one in waiting if kind in one.tries][:MOST_AT_ONCE]


def still(waiting: Sequence[Waiting], using: Collection[str]) -> list[Waiting]:
    """What waits for a kind that is still configured."""
    kept = [replace(one, tries={k: count for k, count in one.tries.items() if k in using}) for one in waiting]
    return [one for one in kept if one.tries]


def tried(waiting: Sequence[Waiting], batches: Mapping[str, Sequence[Alert]]) -> list[Waiting]:
    """What waits, with one more try for each alert of a batch."""
    return [
        replace(
            one,
            tries={kind: count + (one.alert in batches.get(kind, ())) for kind, count in one.tries.items()},
        )
        for one in waiting
    ]


def after(
    waiting: Sequence[Waiting], kind: str, batch: Sequence[Alert], fault: Undelivered | None
) -> list[Waiting]:
    """What still waits once `kind` has said what became of its batch: delivered and given up are gone."""
    left = []
    for one in waiting:
        if one.alert in batch and kind in one.tries:
            if fault and fault.unclear:
                one = replace(one, unclear={**one.unclear, kind: one.unclear.get(kind, 0) + 1})
            if fault and _hopeless(one, kind):
                log.error("given up: nobody was told by %s: %s", kind, one.alert.title)
            if fault is None or _hopeless(one, kind):
                one = replace(one, tries={name: count for name, count in one.tries.items() if name != kind})
        if one.tries:
            left.append(one)
    return left


def _hopeless(one: Waiting, kind: str) -> bool:
    return one.tries[kind] >= MOST_TRIES or one.unclear.get(kind, 0) >= MOST_UNCLEAR
