"""What came since the last *finished* run: a run that died half way is simply done again."""

import hashlib
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from attrition import files, generations, ledger, publisher, releases, scorecard, sources
from attrition.config import Config
from attrition.contract import Contract
from attrition.errors import DataError, ReleaseError
from attrition.publisher import Edition
from attrition.releases import Release
from attrition.settings import Clients

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

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


def table(contract: Contract, news: News) -> "pd.DataFrame":
    return generations.table(contract, news.generation)


def identity(clients: Clients) -> list[str]:
    """The columns that tell one row from another, the outcome last."""
    return [clients.id, *clients.numeric, *clients.categorical, clients.target]


def unseen(
    config: Config, contract: Contract, table: "pd.DataFrame", known: Collection[str]
) -> Unseen | None:
    """Which rows of the current table none of these generations had; None where one of them is gone.

    A row is known by client, model columns and outcome, however many times it stands there: a correction of
    another column, or another name of its dataset, does not make it new.
    """
    import numpy as np
    import pandas as pd

    clients, columns = config.clients, identity(config.clients)
    try:
        editions = [publisher.read(generations.shelf(config), each) for each in sorted(known)]
        tables = [generations.table(contract, edition)[columns] for edition in editions]
    except DataError:
        return None

    def hashed(rows: pd.DataFrame, kept: Sequence[str]) -> "pd.Series[Any]":
        return pd.util.hash_pandas_object(rows[[*kept]], index=False)

    here, often = hashed(table, columns), pd.Series(dtype=np.int64)
    for each in tables:
        often = often.combine(hashed(each, columns).value_counts(), max, fill_value=0)
    time = here.groupby(here, sort=False).cumcount()
    rows: NDArray[np.bool_] = (time >= here.map(often).fillna(0)).to_numpy()
    # a row with an outcome that was known without it
    waiting = [hashed(each[each[clients.target] == ""], columns[:-1]) for each in tables]
    later = hashed(table, columns[:-1]).isin(pd.concat(waiting)) & (table[clients.target] != "").to_numpy()
    return Unseen(rows, rows & ~later.to_numpy())


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
