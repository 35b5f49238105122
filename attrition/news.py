"""What came since the last *finished* run: a run that died half way is simply done again."""

import csv
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from attrition import generations, ledger, publisher, releases, scorecard
from attrition.config import Config
from attrition.contract import Contract
from attrition.errors import DataError, ReleaseError
from attrition.publisher import Edition
from attrition.releases import Release

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("attrition")


@dataclass(frozen=True)
class News:
    """The data as it is now, the generation the last finished run ended with, and the live release.

    `datasets` are new or have another content than then. `damage` says what is wrong with the live release.
    """

    generation: Edition
    finished: str | None
    datasets: Sequence[str]
    live: Release | None
    damage: str | None

    @property
    def unfinished(self) -> bool:
        return self.generation.id != self.finished


def look(config: Config) -> News:
    generation = generations.require_current(config)
    last = ledger.last_finished(config.history, "fullprocess")
    finished = last["facts"].get("ingested") if last else None
    live, damage = live_release(config)
    return News(generation, finished, _new_datasets(config, generation, finished), live, damage)


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


def fresh_rows(config: Config, contract: Contract, news: News) -> "pd.DataFrame":
    """Rows of the table that neither the last finished run nor the training of the live release had seen."""
    seen_by = {news.finished, news.live.facts["ingested"] if news.live else None} - {None}
    known: set[tuple[str, ...]] = set()
    for generation_id in seen_by:
        known.update(_rows(config, str(generation_id)))
    table = generations.table(contract, news.generation)
    return table[[row not in known for row in _rows(config, news.generation.id)]]


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


def _rows(config: Config, generation_id: str) -> list[tuple[str, ...]]:
    """The rows of a generation as text, without the dataset each came from; none where it is gone."""
    try:
        path = publisher.read(generations.shelf(config), generation_id).path("finaldata.csv")
    except DataError:
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        return [tuple(row[:-1]) for row in csv.reader(stream)][1:]
