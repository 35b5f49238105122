"""What came since the last *finished* run: a run that died half way is simply done again."""

import hashlib
import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from attrition import census, files, generations, ledger, publisher, releases, scorecard, sources
from attrition.config import Config
from attrition.contract import Contract
from attrition.errors import DataError, ReleaseError
from attrition.generations import Pieces
from attrition.publisher import Edition
from attrition.releases import Release
from attrition.settings import Clients

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    Hashes = NDArray[np.uint64]

log = logging.getLogger("attrition")


@dataclass(frozen=True)
class News:
    """The data as it is now, the generation the last finished run ended with, and the live release.

    `datasets` are new or have another content than then, `actions` is the fingerprint of the team's table of
    actions then. `damage` says what is wrong with the live release.
    """

    generation: Edition
    finished: str | None
    actions: str | None
    datasets: Sequence[str]
    live: Release | None
    damage: str | None

    @property
    def unfinished(self) -> bool:
        return self.generation.id != self.finished


@dataclass(frozen=True)
class Unseen:
    """New rows, and of them those that are no known row with its outcome, which came later."""

    rows: "NDArray[np.bool_]"
    inputs: "NDArray[np.bool_]"


def look(config: Config) -> News:
    generation = generations.require_current(config)
    last = ledger.last_finished(config.history, "fullprocess")
    facts = last["facts"] if last else {}
    finished = facts.get("ingested")
    live, damage = live_release(config)
    return News(
        generation, finished, facts.get("actions"), _new_datasets(config, generation, finished), live, damage
    )


def live_release(config: Config) -> tuple[Release | None, str | None]:
    """The live release, whole, verified and of a format that is read here; or what is wrong with it."""
    try:
        live = releases.live(config)
        if live:
            publisher.verify(live.shelf, live.edition)
            scorecard.load(live.read("scorecard.json"))
    except ReleaseError as fault:
        return None, str(fault)
    return live, None


def test_rows(config: Config) -> str:
    """A fingerprint of the test data, as far as there are any."""
    found = sources.find(config.test_folder) if config.test_folder.is_dir() else []
    return hashlib.sha256("".join(files.sha256(file.path) for file in found).encode()).hexdigest()


def table(contract: Contract, news: News) -> Pieces:
    return generations.pieces(contract, news.generation)


def identity(clients: Clients) -> list[str]:
    """The columns that tell one row from another, the outcome last."""
    return [clients.id, *clients.numeric, *clients.categorical, clients.target]


class Known:
    """The rows of earlier generations as hashes: tells rows that come piece by piece which none of them had.

    A row is known by client, model columns and outcome, however many times it stands there: a correction of
    another column, or another name of its dataset, does not make it new.
    """

    def __init__(self, clients: Clients, earlier: Sequence[Pieces]) -> None:
        import numpy as np

        self.columns = identity(clients)
        self.target = clients.target
        self._rows, self._left = self._counted(earlier)
        # a row with an outcome that was known without it
        blank = [_hashed(each[each[self.target] == ""], self.columns[:-1]) for each in _all(earlier)]
        self._waiting = np.unique(np.concatenate(blank)) if blank else np.zeros(0, dtype=np.uint64)

    def unseen(self, table: "pd.DataFrame") -> Unseen:
        """Of the next rows of the table those that are new: no earlier generation had them so often."""
        import numpy as np

        rows = np.ones(len(table), dtype=bool)
        here = _hashed(table, self.columns)
        at, met = census.found(self._rows, here)
        if met.any():
            place, time = at[met], _times(at[met])
            rows[met] = time >= self._left[place]
            np.subtract.at(self._left, place, 1)
        labelled = (table[self.target] != "").to_numpy()
        later = labelled & census.found(self._waiting, _hashed(table, self.columns[:-1]))[1]
        return Unseen(rows, rows & ~later)

    def _counted(self, earlier: Sequence[Pieces]) -> "tuple[Hashes, NDArray[np.int64]]":
        """Each hash, and how many rows of the generation that has most of them have it."""
        import numpy as np

        known, often = np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.int64)
        for pieces in earlier:
            hashes, counts = np.unique(
                np.concatenate([_hashed(each, self.columns) for each in pieces]), return_counts=True
            )
            at, there = census.found(known, hashes)
            often[at[there]] = np.maximum(often[at[there]], counts[there])
            known, often = np.append(known, hashes[~there]), np.append(often, counts[~there])
            order = np.argsort(known)
            known, often = known[order], often[order]
        return known, often


def known_rows(config: Config, contract: Contract, known: Collection[str]) -> Known | None:
    """The rows of these generations; None where one of them is gone."""
    try:
        editions = [publisher.read(generations.shelf(config), each) for each in sorted(known)]
        return Known(config.clients, [generations.pieces(contract, edition) for edition in editions])
    except DataError:
        return None


def _all(tables: Sequence[Pieces]) -> "Iterator[pd.DataFrame]":
    for pieces in tables:
        yield from pieces


def _hashed(table: "pd.DataFrame", columns: Sequence[str]) -> "Hashes":
    import pandas as pd

    return pd.util.hash_pandas_object(table[[*columns]], index=False).to_numpy()


def _times(places: "NDArray[np.intp]") -> "NDArray[np.intp]":
    """How many equal places come before each."""
    import numpy as np

    order = np.argsort(places, kind="stable")
    ordered = places[order]
    first = np.searchsorted(ordered, ordered, side="left")
    times = np.empty(len(places), dtype=np.intp)
    times[order] = np.arange(len(places)) - first
    return times


def _new_datasets(config: Config, generation: Edition, finished: str | None) -> list[str]:
    if finished == generation.id:
        return []
    known: dict[str, str] = {}
    if finished:
        try:
            earlier = publisher.read(generations.shelf(config), finished)
            known = {entry["name"]: entry["sha256"] for entry in generations.datasets(earlier)}
        except DataError:
            log.warning(
                "generation %s of the last finished run is gone: every dataset counts as new", finished
            )
    return [e["name"] for e in generations.datasets(generation) if known.get(e["name"]) != e["sha256"]]
