"""The ingested data as readers see it: generations of one table and the list of what it was made from.

ingesteddata/generations/<id>/ holds finaldata.csv, ingestedfiles.txt, rejectedrows.csv, ingestionmetrics.csv
and datasets.json of one ingestion; they become current together. Within a process finaldata.csv is hashed and
read once: what was verified, and has not been touched since, is not looked at again.
"""

import os
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import time_ns
from typing import TYPE_CHECKING, Any

from attrition import contract as contracts
from attrition import files, publisher
from attrition.config import Config
from attrition.contract import Contract
from attrition.errors import DataError
from attrition.publisher import Edition, Entry, Shelf

if TYPE_CHECKING:
    import pandas as pd

LINKS = ("finaldata.csv", "ingestedfiles.txt", "rejectedrows.csv", "ingestionmetrics.csv", "datasets.json")
# a file system's clock is coarse: what was touched less than this ago could be touched again unseen
COARSE_NS = 50_000_000
# rows of a table that are in memory at once
PIECE = 65_536
# tables of one piece stay in memory: the current one, and one before it
MOST_KEPT = 2
NEXT_STEP = "Run: python ingestion.py --force (it is made again)."


# of each finaldata.csv that was verified in this process, when it was touched last and what it had to be
_verified: dict[Path, tuple[Hashable, Entry]] = {}
_tables: "dict[Hashable, pd.DataFrame]" = {}


class DamagedTable(DataError):
    """finaldata.csv is not what was published; from the datasets and what is kept it can be made again."""


def shelf(config: Config) -> Shelf:
    return Shelf(config.ingested_folder, "generations", LINKS, DataError, NEXT_STEP, config.signing_key)


def current(config: Config) -> Edition | None:
    """The current generation, or None before the first ingestion."""
    return publisher.current(shelf(config))


def require_current(config: Config) -> Edition:
    generation = current(config)
    if generation is None:
        raise DataError(f"{config.ingested_folder}: nothing was ingested yet. Run: python ingestion.py")
    return generation


@dataclass(frozen=True)
class Pieces:
    """finaldata.csv in tables of at most PIECE rows, as often as it is looped over; one piece is read once.

    Their columns are the contract's, derived ones, and `dataset`, the one a row came from. A table without
    rows is one piece.
    """

    contract: Contract
    generation: Edition
    _only: "list[pd.DataFrame]" = field(default_factory=list, repr=False)

    @property
    def rows(self) -> int:
        """As many as were published."""
        return int(self.generation.manifest["rows"])

    def __iter__(self) -> "Iterator[pd.DataFrame]":
        place = self.generation.path("finaldata.csv")
        if self.rows > PIECE:
            return contracts.read_final(self.contract, place, PIECE)
        if not self._only:
            self._only.append(_kept(self.contract, place))
        # what is written into it is written into a copy (pandas, copy on write)
        return iter([self._only[0].copy(deep=False)])


def pieces(contract: Contract, generation: Edition) -> Pieces:
    """The table, piece by piece, of which the bytes were checked now.

    DamagedTable, or DataError where it was ingested under another contract: its columns may be others.
    """
    if generation.manifest.get("contract") != contract.fingerprint:
        raise DataError(
            f"{generation.folder}: clients in config.json has changed since this was ingested. "
            "Run: python ingestion.py"
        )
    check(generation)
    return Pieces(contract, generation)


def table(contract: Contract, generation: Edition) -> "pd.DataFrame":
    """All pieces as one: for who has the memory."""
    import pandas as pd

    read = list(pieces(contract, generation))
    return read[0] if len(read) == 1 else pd.concat(read, ignore_index=True)


def _kept(contract: Contract, place: Path) -> "pd.DataFrame":
    """The table as one piece, read once in this process as long as its file is not touched."""
    seen = _verified.get(place)
    key = seen and (place, seen[0], contract.fingerprint)
    table = _tables.pop(key, None) if key else None
    if table is None:
        (table,) = contracts.read_final(contract, place)
    if key:
        _tables[key] = table
    for oldest in list(_tables)[:-MOST_KEPT]:
        del _tables[oldest]
    return table


def check(generation: Edition) -> None:
    """DamagedTable unless finaldata.csv has the bytes that were published."""
    place = generation.path("finaldata.csv")
    expected = generation.manifest["files"][place.name]
    # looked at before it is read: what is written meanwhile has another time than this
    at, now = place.stat(), time_ns()
    seen = _untouched(at), expected
    if _verified.get(place) == seen:
        return
    _verified.pop(place, None)
    if publisher.entry(place, expected) != expected:
        raise DamagedTable(f"{place}: this is not what was ingested. {NEXT_STEP}")
    if at.st_ctime_ns + COARSE_NS < now:
        _verified[place] = seen


def datasets(generation: Edition) -> list[dict[str, Any]]:
    """What became of each dataset: name, sha256, status, reason, and its rows read, added, rejected."""
    listed: list[dict[str, Any]] = known(generation)["datasets"]
    return listed


def known(generation: Edition) -> dict[str, Any]:
    """datasets.json: the datasets, and the position in the database."""
    facts: dict[str, Any] = files.read_json(generation.path("datasets.json"))
    return facts


def _untouched(at: os.stat_result) -> Hashable:
    """What no write leaves as it is: any write sets ctime, which nobody can set back."""
    return at.st_dev, at.st_ino, at.st_size, at.st_mtime_ns, at.st_ctime_ns
