"""What becomes of each dataset: its entry in datasets.json, its part, what is set aside of it and why."""

import csv
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrition import files, generations, parts, sources, tables
from attrition.contract import Contract, Problem
from attrition.parts import Part
from attrition.publisher import Edition
from attrition.sources import Found, StillWritten, Unreadable

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

log = logging.getLogger("attrition")

EARLIER_STAY = "; its earlier rows stay"
TOO_MANY = "too_many_rejected"
# what may be read the next time although the file is the same
RETRIED = ("cannot_open", "cannot_read")
NOT_KEPT = "its file is gone, and its earlier rows could not stay in the table"


@dataclass(frozen=True)
class Seen:
    """One dataset as an ingestion leaves it: an entry of datasets.json.

    `status` is ingested, same content, rejected or removed. `rows_from` is the sha256 of the content whose
    rows are in the table: an earlier one where the newest was rejected, "" where it has no rows there. A
    removed one whose rows could not stay remembers it (NOT_KEPT): under another contract they may come back.
    """

    name: str
    sha256: str
    bytes: int
    stamp: Sequence[int]
    status: str
    reason: str = ""
    code: str = ""
    column: str = ""
    rows_from: str = ""
    rows_kept: int = 0
    rows_read: int = 0
    rows_added: int = 0
    duplicates: int = 0
    rejected: int = 0
    seconds: float = 0.0

    @property
    def in_table(self) -> bool:
        return bool(self.rows_from) and self.reason != NOT_KEPT


@dataclass(frozen=True)
class Last:
    """What the last ingestion left: its generation (None before the first) and its datasets by name.

    `position` is where its last extract of the database ended, as attrition.database gave it. `damaged` says
    that a newer generation cannot be read.
    """

    generation: Edition | None
    datasets: Mapping[str, Seen]
    position: Mapping[str, Any] | None = None
    damaged: bool = False


@dataclass(frozen=True)
class Judged:
    """A dataset after judging: its entry, and the part with its rows for the table.

    What was set aside: the dataset as a whole (`fault`), and rows of it, listed in the part `aside`.
    """

    seen: Seen
    part: Part | None = None
    fault: Problem | None = None
    aside: Part | None = None


@dataclass(frozen=True)
class Bench:
    """What judging and merging work with."""

    contract: Contract
    max_rejected_share: float
    engine: "DuckDBPyConnection"
    parts: Path
    removed: Path | None
    folder: Path
    last: Last
    again: bool


def judge(at: Bench, found: Sequence[Found], unsettled: Sequence[str]) -> tuple[list[Judged], list[str]]:
    """Judge every dataset, in the order of the names; rows of a file that is gone or unfit now stay."""
    by_name = {file.name: file for file in found}
    known = at.last.datasets
    twins = {seen.rows_from: name for name, seen in known.items() if unchanged(seen, by_name.get(name))}
    judged, waiting = [], list(unsettled)
    for name in sorted({*by_name, *known}, key=sources.natural):
        clock = time.monotonic()
        try:
            one = _present(at, by_name[name], twins) if name in by_name else _absent(at, name, waiting)
        except StillWritten:
            waiting.append(name)
            if name not in known:
                continue
            one = _absent(at, name, waiting)
        judged.append(replace(one, seen=replace(one.seen, seconds=round(time.monotonic() - clock, 3))))
    return judged, waiting


def _present(at: Bench, file: Found, twins: dict[str, str]) -> Judged:
    """One dataset's entry and part; what was judged before is read from its part."""
    before = at.last.datasets.get(file.name)
    if before and list(before.stamp) == file.stamp and (known := _as_before(at, before, twins)):
        return known
    seen = Seen(file.name, "", file.size, file.stamp, "ingested")
    try:
        with sources.opened(file) as descriptor:
            survey = sources.survey(descriptor)
            seen = replace(seen, sha256=survey.sha256)
            part = parts.make(at.engine, at.contract, survey, descriptor, at.parts, file)
        twin = twins.setdefault(survey.sha256, file.name)
    except Unreadable as fault:
        problem = Problem(fault.column, fault.code, fault.sentence)
        return _rejected(at, replace(seen, sha256=seen.sha256 or fault.sha256), problem, None)
    if twin != file.name:
        same = replace(seen, status="same content", reason=f"it has the same content as {twin}")
        return Judged(replace(same, rows_read=part.rows_read, duplicates=part.rows_read))
    if part.rows_rejected > at.max_rejected_share * part.rows_read:
        return _rejected(at, seen, _too_many(part, at.max_rejected_share), part)
    seen = replace(seen, rows_from=seen.sha256, rows_read=part.rows_read, rejected=part.rows_rejected)
    return Judged(seen, part, aside=part)


def _as_before(at: Bench, before: Seen, twins: Mapping[str, str]) -> Judged | None:
    """What was judged of a content that has not changed; None where it must be read again."""
    part = parts.kept(at.contract, before.sha256, at.parts)
    if before.status == "ingested":
        return Judged(before, part, aside=part) if part else None
    if at.again or before.code in RETRIED or before.status == "removed":
        return None
    if before.status == "same content":
        return Judged(before) if twins.get(before.sha256, before.name) != before.name else None
    if before.code == TOO_MANY and part is None:
        return None
    fault = Problem(before.column, before.code, before.reason.removesuffix(EARLIER_STAY))
    return Judged(before, _earlier_part(at, before.name), fault, part)


def _absent(at: Bench, name: str, waiting: Sequence[str]) -> Judged:
    """A dataset whose file is gone, or is being written anew: its rows stay."""
    before = at.last.datasets[name]
    part = _earlier_part(at, name)
    if name in waiting:
        return Judged(before, part)
    if part and at.removed:
        _keep(at, part, at.removed / f"{before.rows_from}.csv")
    if part is None:
        return Judged(replace(before, status="removed", reason=NOT_KEPT))
    return Judged(replace(before, status="removed", reason=""), part)


def _keep(at: Bench, part: Part, place: Path) -> None:
    """Keep the rows of a dataset whose file is gone: what is left of it may not lie in a cache alone."""
    if not place.exists():
        rows = at.folder / "removed.csv"
        header = tables.csv_text(at.contract.clients.columns, []).encode()
        parts.write_rows(at.engine, part, rows)
        place.parent.mkdir(parents=True, exist_ok=True)
        draft = place.with_name(f".{place.name}.tmp")
        draft.unlink(missing_ok=True)
        files.write_joined(draft, [header, rows])
        files.sync_file(draft)
        draft.rename(place)
        rows.unlink()


def _rejected(at: Bench, seen: Seen, fault: Problem, aside: Part | None) -> Judged:
    """A dataset set aside whole; where an earlier content of its name was ingested, those rows stay."""
    part, reason, rows_from = _earlier_part(at, seen.name), fault.message, ""
    if part:
        reason, rows_from = f"{reason}{EARLIER_STAY}", at.last.datasets[seen.name].rows_from
    rows = aside.rows_read if aside else 0
    told = {"status": "rejected", "reason": reason, "code": fault.code, "column": fault.column}
    seen = replace(seen, **told, rows_from=rows_from, rows_read=rows, rejected=rows)  # type: ignore[arg-type]
    return Judged(seen, part, fault, aside)


def _earlier_part(at: Bench, name: str) -> Part | None:
    """The part of the rows that a dataset has in the last table; made from these where it is gone."""
    before = at.last.datasets.get(name)
    if before is None or not before.rows_from or at.last.generation is None:
        return None
    if part := parts.kept(at.contract, before.rows_from, at.parts):
        return part
    rows = at.removed / f"{before.rows_from}.csv" if at.removed else None
    if rows is None or not rows.is_file():
        rows = _rows_in_table(at.last.generation, name, at.folder / "earlier.csv")
    if rows is None:
        if before.reason != NOT_KEPT:
            log.error("the earlier rows of %s are lost: the table they stood in is damaged", name)
        return None
    try:
        with rows.open("rb") as stream:
            survey = replace(sources.survey(stream.fileno()), plain=False)
            return parts.make(at.engine, at.contract, survey, stream.fileno(), at.parts)
    except Unreadable as fault:
        if before.reason != NOT_KEPT:
            log.error("the earlier rows of %s cannot stay in the table: %s", name, fault.sentence)
        return None


def _rows_in_table(generation: Edition, name: str, place: Path) -> Path | None:
    """The rows that a dataset has in a table; None where the table is damaged."""
    try:
        generations.check(generation)
    except generations.DamagedTable:
        return None
    with (
        generation.path("finaldata.csv").open(encoding="utf-8", newline="") as table,
        place.open("w", encoding="utf-8", newline="") as stream,
    ):
        tables.write_rows(stream, (row[:-1] for row in csv.reader(table) if row[-1] in ("dataset", name)))
    return place


def _too_many(part: Part, share: float) -> Problem:
    line, first, _ = next(part.rejected())
    broken = f"{part.rows_rejected} of its {part.rows_read} rows break the contract"
    limit = f"more than max_rejected_share ({share:g}) allows"
    return Problem("", TOO_MANY, f"{broken}, {limit}; line {line}: {first.message}")


def unchanged(seen: Seen, file: Found | None) -> bool:
    return file is not None and seen.status == "ingested" and list(seen.stamp) == file.stamp
