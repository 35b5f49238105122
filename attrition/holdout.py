"""Share a file out: about one client in five becomes test data, the others a dataset.

Whole clients are drawn, by a hash of the id, so that a client is on the same side in every file. Only rows
that scoring can use are held out: what breaks the contract, or has no outcome yet, goes into the dataset.
The file itself stays as it is.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import chain, count, islice
from pathlib import Path
from typing import TextIO

from attrition import contract as contracts
from attrition import files, proposal, sources, tables
from attrition.config import Config
from attrition.contract import WHITE, Contract
from attrition.errors import DataError, UsageError
from attrition.settings import Clients
from attrition.sources import Dataset, Found, StillWritten, Unreadable

SHARE = 0.2

Row = tuple[int, list[str]]


@dataclass(frozen=True)
class HeldOut:
    """Where the rows went; `left` of those held out are of clients who left. `numbered`: the id is new."""

    dataset: str
    rows: int
    test_data: str
    rows_held_out: int
    left: int
    id: str
    numbered: bool
    next: str
    status: str = "done"

    def __str__(self) -> str:
        numbered = f" No column names the client: the new column {self.id} numbers the rows."
        return (
            f"{self.dataset} has {self.rows:,} rows, {self.test_data} {self.rows_held_out:,} "
            f"({self.left:,} left): about one client in five, drawn by {self.id}."
            f"{numbered if self.numbered else ''} Next: {self.next}"
        )


@dataclass(frozen=True)
class Shared:
    """The rows on each side, and how many of those held out left."""

    kept: int
    held_out: int
    left: int


def hold_out(config: Config, file: str) -> HeldOut:
    """Write both parts of a CSV file; DataError where it cannot be shared out or a part is there already."""
    if config.practice:
        raise UsageError(
            "--hold-out and --practice do not go together: the test data is production's. "
            "Put practice data into its folder by hand."
        )
    place = Path(file)
    parts = [folder / f"{place.stem}.csv" for folder in (config.input_folder, config.test_folder)]
    _check_places(config, place, parts)
    numbered = _column_of_numbers(config, place)
    with _opened(place, numbered) as (header, rows):
        head = Dataset(place.name, "", 0, header, list(islice(rows, proposal.MOST_ROWS)))
    contract = _contract(config, place, head)
    with _opened(place, numbered) as (header, rows):
        shared = _share_out(config, place, contract, header, rows, parts)
    fits = contracts.lacking(contracts.compiled(config.clients), header) is None
    return HeldOut(
        dataset=os.path.relpath(parts[0], config.home),
        rows=shared.kept,
        test_data=os.path.relpath(parts[1], config.home),
        rows_held_out=shared.held_out,
        left=shared.left,
        id=contract.clients.id,
        numbered=numbered is not None,
        next=config.command("fullprocess.py" if fits else "ingestion.py --propose-contract"),
    )


def _check_places(config: Config, place: Path, parts: Sequence[Path]) -> None:
    for folder in (config.input_folder, config.test_folder):
        if place.resolve().is_relative_to(folder.resolve()):
            raise DataError(
                f"{place}: it lies in {folder} already. Move it elsewhere and run again: it is shared out "
                "from there, and stays as it is."
            )
    for part in parts:
        if part.exists():
            raise DataError(
                f"{part}: there is a file of that name already. Move it away, or rename {place.name}, "
                "and run again."
            )


def _column_of_numbers(config: Config, place: Path) -> str | None:
    """Name of the column that must number the rows; None where one names the client."""
    with _opened(place) as (header, rows):
        if config.clients.id in header:
            return None
        head = Dataset(place.name, "", 0, header, list(islice(rows, proposal.MOST_ROWS)))
    if proposal.names_client(place, head):
        return None
    names = chain(("client", "client_id"), (f"client_id_{number}" for number in count(2)))
    return next(name for name in names if name not in header)


@contextmanager
def _opened(place: Path, numbered: str | None = None) -> Iterator[tuple[Sequence[str], Iterator[Row]]]:
    """Header and rows, of which one is held at a time; with a column before them that numbers the rows."""
    found = _found(place)
    try:
        with sources.opened(found) as descriptor:
            survey = sources.survey(descriptor)
            os.lseek(descriptor, 0, os.SEEK_SET)
            with open(descriptor, encoding="utf-8-sig", newline="", closefd=False) as stream:  # noqa: PTH123
                rows = sources.rows(stream, survey)
                if numbered is None:
                    yield survey.header, rows
                else:
                    yield [numbered, *survey.header], _with_numbers(place.stem, rows)
    except Unreadable as fault:
        raise DataError(f"{place}: {fault.sentence}. Correct the file and run again.") from None
    except StillWritten:
        raise DataError(f"{place}: it is still being written. Run again when it is complete.") from None


def _found(place: Path) -> Found:
    try:
        at = place.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{place}: there is no such file. Name the CSV file to share out.") from None
    # a link is followed: a person named it
    return Found(place.name, place.resolve(), at.st_size, at.st_mtime_ns, at.st_ctime_ns, at.st_ino)


def _with_numbers(stem: str, rows: Iterator[Row]) -> Iterator[Row]:
    for number, (line, fields) in enumerate(rows, start=1):
        yield line, [f"{stem}-{number:06d}", *fields]


def _contract(config: Config, place: Path, head: Dataset) -> Contract:
    """That of config.json where the file has its columns, else what would be proposed for the file."""
    configured = contracts.compiled(config.clients)
    if contracts.lacking(configured, head.header) is None:
        return configured
    proposed = proposal.inferred(place, [head])
    if "target" not in proposed.clients:
        why = next(str(reason) for reason in proposed.reasons if reason.role == "target")
        raise DataError(f"{place}: who left cannot be told. {why} Fill in clients in config.json, run again.")
    return contracts.compiled(Clients.model_validate(proposed.clients))


def _share_out(
    config: Config,
    place: Path,
    contract: Contract,
    header: Sequence[str],
    rows: Iterator[Row],
    parts: Sequence[Path],
) -> Shared:
    """Both parts whole, or neither where the rows cannot be shared out."""
    kept = held_out = left = 0
    clients = contract.clients
    with _part(config, parts[0]) as dataset, _part(config, parts[1]) as test_data:
        for stream in (dataset, test_data):
            tables.write_rows(stream, [header])
        for _, fields in rows:
            row = dict(zip(header, fields, strict=False))
            if len(fields) == len(header) and _is_held_out(contract, row):
                tables.write_rows(test_data, [fields])
                held_out += 1
                left += row[clients.target].strip(WHITE) == clients.left
            else:
                tables.write_rows(dataset, [fields])
                kept += 1
        if not (kept and 0 < left < held_out):
            raise DataError(
                f"{place}: it has too few clients to hold some out ({held_out:,} rows drawn, {left:,} of "
                f"them left). Put labelled rows of other clients into {config.test_folder} by hand."
            )
    return Shared(kept, held_out, left)


def _part(config: Config, place: Path) -> AbstractContextManager[TextIO]:
    return Path(os.devnull).open("w") if config.dry_run else files.written(place)


def _is_held_out(contract: Contract, row: dict[str, str]) -> bool:
    clients = contract.clients
    if not row[clients.target].strip(WHITE) or not is_drawn(row[clients.id].strip(WHITE)):
        return False
    return contract.judge(row).accepted


def is_drawn(client: str) -> bool:
    """Whether a client is one of those held out: the same for the same id, wherever and whenever."""
    return int.from_bytes(hashlib.sha256(client.encode()).digest()[:8]) < SHARE * 2**64
