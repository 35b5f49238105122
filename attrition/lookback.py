"""Once outcomes have arrived: did the clients of earlier lists leave, as many as promised? Touches no disk.

known = lookback.outcomes(clients, pieces, active, gone)
lookback.look_back(kept.lists, known)

A client of a list has left where it is gone now. It has stayed where the row it was scored on, or one
of a later dataset, has an outcome that was not known then. Otherwise nothing is known of it yet, and
it is counted in no figure. Lists that say the same (same rows, same release) are looked at once.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from attrition import keptlists, sources
from attrition.keptlists import KeptList
from attrition.plots import Z95, wilson
from attrition.settings import Clients

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

# up to so many clients the number who leave is counted out exactly
EXACT = 400
MOST_MISSED = 20


@dataclass(frozen=True)
class Outcomes:
    """What the table says now, by client: `clients` are keys, sorted; `names` and `left` in their order.

    `labelled` holds a sorted number for each row with an outcome: place of the client, then of its dataset.
    """

    clients: "NDArray[np.uint64]"
    names: Sequence[str]
    left: "NDArray[np.bool_]"
    datasets: Sequence[str]
    labelled: "NDArray[np.int64]"

    def since(self, at: "NDArray[np.intp]", dataset: "NDArray[np.intp]") -> "NDArray[np.intp]":
        """How many rows with an outcome each client has from a dataset (by place) on; shape (clients,)."""
        import numpy as np

        step = len(self.datasets) + 1
        ends = np.searchsorted(self.labelled, (at + 1) * step)
        return ends - np.searchsorted(self.labelled, at * step + dataset)


@dataclass(frozen=True)
class Interval:
    """A figure and its 95 % interval; None where nothing is known."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Group:
    """Clients of a list: how many, of how many the outcome is known, how many of these left.

    `expected` is what was promised for those whose outcome is known: the sum of their probabilities, with the
    interval in which the number of leavers lies 19 times in 20 if the probabilities are right.
    """

    clients: int
    known: int
    left: int
    expected: Interval

    @property
    def verdict(self) -> str:
        low, high = self.expected.low, self.expected.high
        if low is None or high is None:
            return "not known yet"
        if self.left < low:
            return "fewer than promised"
        return "more than promised" if self.left > high else "as promised"


@dataclass(frozen=True)
class RunKept:
    """What became of one list: of its short list, and of all clients scored in it.

    `precision` is the share of the short list that left, `no_skill` that of all; `capture` the share of all
    leavers who were on the short list.
    """

    run: str
    scored_at: str
    release: str
    short: Group
    scored: Group
    precision: Interval
    no_skill: float
    capture: Interval


@dataclass(frozen=True)
class Missed:
    """A client who left without having been on any short list: the last list it was scored in, and how."""

    client: str
    run: str
    scored_at: str
    release: str
    rank: int
    probability: float
    reasons: Sequence[str] = ()


@dataclass(frozen=True)
class LookBack:
    """What became of earlier lists, the newest first, and who was missed, the least expected first.

    `leavers` have left since the oldest of the lists; `never_listed` of them stood on no short list.
    """

    runs: Sequence[RunKept]
    leavers: int
    missed: Sequence[Missed]
    never_listed: int


def outcomes(
    clients: Clients, pieces: "Iterable[pd.DataFrame]", active: Sequence[str], gone: Sequence[str]
) -> Outcomes:
    """What is known by now, from every row of the table and the ids of its clients, active and gone."""
    import numpy as np

    from attrition import census

    names = [*active, *gone]
    keys, index = keptlists.keys(names), census.Index(names)
    order = np.argsort(keys, kind="stable")
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    seen: dict[str, int] = {}
    who, where = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for piece in pieces:
        origin, found = piece["dataset"].factorize()
        places = np.array([seen.setdefault(name, len(seen)) for name in found], dtype=np.int64)
        known = (piece[clients.target] != "").to_numpy()
        who.append(place[index.places(piece[clients.id][known])[0]])
        where.append(places[origin[known]])
    datasets = sorted(seen, key=sources.natural)
    rank = {name: at for at, name in enumerate(datasets)}
    of_dataset = np.array([rank[name] for name in seen], dtype=np.int64)
    labelled = np.concatenate(who) * (len(datasets) + 1) + of_dataset[np.concatenate(where)]
    left = order >= len(active)
    return Outcomes(keys[order], [names[at] for at in order.tolist()], left, datasets, np.sort(labelled))


def look_back(lists: Sequence[KeptList], known: Outcomes) -> LookBack:
    """Each earlier list, the oldest first and the present one left out, against what became of it."""
    import numpy as np

    size = len(known.clients)
    ever_listed, scored_last = np.zeros(size, dtype=bool), np.full(size, -1)
    rank, probability = np.zeros(size, dtype=int), np.full(size, np.nan)
    runs: list[RunKept] = []
    # copies forget the rows that they have read
    for number, each in enumerate(map(replace, lists)):
        rows = each.rows[each.rows["rank"] > 0]
        at, is_there = _places(known, rows["client"])
        seen, listed = at[is_there], rows["listed"][is_there]
        ever_listed[seen] |= listed
        scored_last[seen], rank[seen] = number, rows["rank"][is_there]
        probability[seen] = rows["probability"][is_there]
        if number + 1 < len(lists) and _says_the_same(each, replace(lists[number + 1])):
            continue
        left, stayed = _became(each, rows, known)
        if (left | stayed).any():
            runs.append(_kept(each, rows, left, left | stayed))
    missed = np.flatnonzero(known.left & (scored_last >= 0) & ~ever_listed)
    shown = missed[np.argsort(probability[missed], kind="stable")][:MOST_MISSED].tolist()
    return LookBack(
        runs[::-1],
        int((known.left & (scored_last >= 0)).sum()),
        [
            _missed(lists[scored_last[at]], known.names[at], int(rank[at]), float(probability[at]))
            for at in shown
        ],
        len(missed),
    )


def expected_leavers(probability: "NDArray[np.float64]") -> Interval:
    """The sum of probabilities, and between which numbers the leavers are in 95 % of worlds where they hold.

    Exact (the Poisson-binomial distribution, summed client by client) up to EXACT clients; a normal
    distribution beyond. None where there is no client.
    """
    import numpy as np

    if not len(probability):
        return Interval(None, None, None)
    mean = float(probability.sum())
    if len(probability) > EXACT:
        half = Z95 * math.sqrt(float((probability * (1 - probability)).sum()))
        return Interval(mean, max(0.0, mean - half), min(float(len(probability)), mean + half))
    chance = np.zeros(len(probability) + 1)
    chance[0] = 1.0
    for leaving in probability.tolist():
        chance[1:] = chance[1:] * (1 - leaving) + chance[:-1] * leaving
        chance[0] *= 1 - leaving
    low, high = np.searchsorted(chance.cumsum(), [0.025, 0.975]).tolist()
    return Interval(mean, float(low), float(min(high, len(probability))))


def _became(
    each: KeptList, rows: "NDArray[np.void]", known: Outcomes
) -> "tuple[NDArray[np.bool_], NDArray[np.bool_]]":
    """Of each row of a list whether its client has left, and whether it has stayed; shape (rows,)."""
    at, is_there = _places(known, rows["client"])
    left = is_there & known.left[at] if len(known.clients) else is_there
    later = known.since(at, _datasets(each, known, rows))
    return left, is_there & ~left & (later > rows["known"])


def _kept(
    each: KeptList, rows: "NDArray[np.void]", left: "NDArray[np.bool_]", known: "NDArray[np.bool_]"
) -> RunKept:
    listed = rows["listed"]
    short = _group(rows[listed], left[listed], known[listed])
    scored = _group(rows, left, known)
    return RunKept(
        each.run,
        each.scored_at,
        each.release,
        short,
        scored,
        precision=_share(short.left, short.known),
        no_skill=scored.left / scored.known,
        capture=_share(short.left, scored.left),
    )


def _group(rows: "NDArray[np.void]", left: "NDArray[np.bool_]", known: "NDArray[np.bool_]") -> Group:
    return Group(
        len(rows), int(known.sum()), int(left.sum()), expected_leavers(rows["probability"][known].copy())
    )


def _share(part: int, whole: int) -> Interval:
    if not whole:
        return Interval(None, None, None)
    low, high = wilson(part / whole, whole)
    return Interval(part / whole, max(0.0, low), min(1.0, high))


def _missed(each: KeptList, client: str, rank: int, probability: float) -> Missed:
    return Missed(client, each.run, each.scored_at, each.release, rank, probability)


def _places(known: Outcomes, clients: "NDArray[np.uint64]") -> "tuple[NDArray[np.intp], NDArray[np.bool_]]":
    """The place of each key among the clients known now, and whether it is there."""
    import numpy as np

    if not len(known.clients):
        return np.zeros(len(clients), dtype=np.intp), np.zeros(len(clients), dtype=bool)
    at = np.minimum(np.searchsorted(known.clients, clients), len(known.clients) - 1)
    return at, known.clients[at] == clients


def _datasets(each: KeptList, known: Outcomes, rows: "NDArray[np.void]") -> "NDArray[np.intp]":
    """The place that each row's dataset has, or would have, among those of today."""
    import numpy as np

    order = [sources.natural(name) for name in known.datasets]
    places = np.array([bisect_left(order, sources.natural(name)) for name in each.datasets], dtype=np.intp)
    return places[rows["dataset"]]


def _says_the_same(one: KeptList, other: KeptList) -> bool:
    same = ("client", "rank", "probability", "listed", "dataset", "known")
    return (
        (one.release, one.datasets) == (other.release, other.datasets)
        and len(one.rows) == len(other.rows)
        and all(one.rows[field].tobytes() == other.rows[field].tobytes() for field in same)
    )
