"""The ingested data as readers see it: generations of one table and the list of what it was made from.

ingesteddata/generations/<id>/ holds finaldata.csv, ingestedfiles.txt, rejectedrows.csv, ingestionmetrics.csv
and datasets.json of one ingestion; they become current together.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from attrition import contract as contracts
from attrition import files, publisher
from attrition.config import Config
from attrition.contract import Contract
from attrition.errors import DataError
from attrition.publisher import Edition, Shelf

if TYPE_CHECKING:
    import pandas as pd

LINKS = ("finaldata.csv", "ingestedfiles.txt", "rejectedrows.csv", "ingestionmetrics.csv", "datasets.json")
# rows of a table that are in memory at once
PIECE = 65_536
NEXT_STEP = "Run: python ingestion.py --force (it is made again)."


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
        if self._only:
            return iter(self._only)
        read = contracts.read_final(self.contract, self.generation.path("finaldata.csv"), PIECE)
        if self.rows <= PIECE:
            self._only.extend(read)
            return iter(self._only)
        return read


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


def check(generation: Edition) -> None:
    """DamagedTable unless finaldata.csv has the bytes that were published."""
    place = generation.path("finaldata.csv")
    expected = generation.manifest["files"][place.name]
    if publisher.entry(place, expected) != expected:
        raise DamagedTable(f"{place}: this is not what was ingested. {NEXT_STEP}")


def datasets(generation: Edition) -> list[dict[str, Any]]:
    """What became of each dataset: name, sha256, status, reason, and its rows read, added, rejected."""
    listed: list[dict[str, Any]] = known(generation)["datasets"]
    return listed


def known(generation: Edition) -> dict[str, Any]:
    """datasets.json: the datasets, and the position in the database."""
    facts: dict[str, Any] = files.read_json(generation.path("datasets.json"))
    return facts
