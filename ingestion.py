"""Merge every dataset of the input folder into one table; set aside what breaks the contract; lose nothing.

Reads   the *.csv of the input folder, rows of the database beyond the cursor, the current generation
Writes  the next generation of ingesteddata/: finaldata.csv, ingestedfiles.txt, rejectedrows.csv,
        ingestionmetrics.csv, datasets.json; extracts/ of the database; parts/, a cache;
        with --hold-out FILE a dataset and test data

Example: python ingestion.py --json
         python ingestion.py --hold-out FILE      (new test data, and a dataset)
         python ingestion.py --propose-contract   (the clients section for config.json)
"""

import logging
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from attrition import contract as contracts
from attrition import (
    datasets,
    files,
    generations,
    holdout,
    ledger,
    merging,
    monitor,
    parts,
    proposal,
    publisher,
    releases,
    signing,
    sources,
    stage,
    tables,
)
from attrition.config import Config
from attrition.contract import Contract
from attrition.datasets import Bench, Judged, Last, Seen
from attrition.errors import DataError, ReleaseError
from attrition.publisher import Edition
from attrition.sources import Found

log = logging.getLogger("attrition")

KEPT_GENERATIONS = 2
# as long as this the script waits for fresh files to settle: who has just copied one need not start twice
LONGEST_WAIT = 5.0
# hashing a table of this size takes no time that anybody would notice
READ_AGAIN = 64 << 20
EXTRACTS = "extracts/"
REJECTED = ("dataset", "line", "column", "code", "message", "row")
METRICS = (
    "run",
    "time",
    "dataset",
    "sha256",
    "bytes",
    "rows_read",
    "rows_added",
    "duplicates",
    "rejected",
    "seconds",
)


@dataclass(frozen=True)
class Ingested:
    """What one ingestion did. Row counts are those of new and changed datasets; rows_total is the table's."""

    datasets_new: Sequence[str]
    datasets_changed: Sequence[str]
    datasets_rejected: Sequence[str]
    datasets_removed: Sequence[str]
    datasets_unsettled: Sequence[str]
    rows_read: int
    rows_added: int
    duplicates: int
    rows_rejected: int
    rows_total: int
    generation: str | None = None
    status: str = "done"

    def __str__(self) -> str:
        aside = f" Set aside: {', '.join(self.datasets_rejected)}." if self.datasets_rejected else ""
        later = f" Left for the next run, still being written: {', '.join(self.datasets_unsettled)}."
        tail = f"the table has {self.rows_total:,} rows.{aside}{later if self.datasets_unsettled else ''}"
        if self.status == "nothing to do":
            return f"No new data: {tail}"
        changes = {
            "new": self.datasets_new,
            "changed": self.datasets_changed,
            "removed (their rows stay)": self.datasets_removed,
        }
        told = [f"{len(names)} {word}" for word, names in changes.items() if names]
        rows = f"{self.rows_read:,} read, {self.rows_added:,} added, {self.duplicates:,} duplicates"
        datasets = ", ".join(told) or "all judged again"
        return f"Datasets: {datasets}. Rows: {rows}, {self.rows_rejected:,} rejected; {tail}"


@dataclass(frozen=True)
class Table:
    """The next finaldata.csv, before it is published."""

    place: Path
    entry: publisher.Entry


def run(config: Config) -> Ingested:
    signing.ready(config)
    contract = contracts.compiled(config.clients)
    last = last_ingestion(config)
    if last.generation and not last.damaged and not config.dry_run:
        publisher.point_fixed_links(generations.shelf(config), last.generation)
    found, unsettled = settled(config)
    again = config.force or last.damaged or _contract_of(last.generation) != contract.fingerprint
    known = _extracts(config, last)
    news = again and bool(found or last.datasets) or _looks_new([*found, *known], unsettled, last)
    extracts, position = extracted(config, last, known, news)
    found = [*found, *extracts]
    if not found and not last.datasets:
        raise DataError(_nothing_there(config.input_folder, unsettled))
    if not again and not _looks_new(found, unsettled, last):
        return _nothing_new(last, unsettled)
    with bench(config, contract, last, again) as at:
        judged, unsettled = datasets.judge(at, found, unsettled)
        if not judged:
            raise DataError(_nothing_there(config.input_folder, unsettled))
        changes = difference([one.seen for one in judged], last, unsettled)
        if not again and not (changes.datasets_new or changes.datasets_changed or changes.datasets_removed):
            return _nothing_new(last, unsettled)
        _warn(judged, last, changes)
        seen, table = merge(at, judged, again, only_count=config.dry_run)
        ingested = difference(seen, last, unsettled)
        if table is None:
            return ingested
        return replace(ingested, generation=publish(config, at, seen, judged, table, position).id)


def again(config: Config) -> Ingested:
    """Make the table again from the datasets and what is kept of them."""
    return run(replace(config, force=True))


def last_ingestion(config: Config) -> Last:
    """What is known already. A damaged generation is made again, from the one before it and the datasets."""
    shelf, damaged = generations.shelf(config), False
    try:
        last = generations.current(config)
        known = [last] if last else []
        # a first generation that a killed run did not make current is there, and nobody can read it
        damaged = last is None and bool(publisher.names(shelf))
    except DataError as fault:
        known, damaged = [], True
        log.error("the ingested data is made again from the datasets. %s", fault)
    for generation in (*known, *reversed(publisher.editions(shelf))):
        try:
            # the table itself is checked where it is read
            publisher.verify(shelf, generation, only_size=("finaldata.csv",))
        except DataError as fault:
            log.error("the ingested data is made again from the datasets. %s", fault)
            damaged = True
            continue
        facts = generations.known(generation)
        seen = {entry["name"]: Seen(**entry) for entry in facts["datasets"]}
        return Last(generation, seen, facts.get("database"), damaged)
    return Last(None, {}, damaged=damaged)


def extracted(
    config: Config, last: Last, known: Sequence[Found], news: bool
) -> tuple[Sequence[Found], Mapping[str, Any] | None]:
    """The known extracts of the database, and a new one where it has rows beyond the last position.

    The position moves with the generation that holds the rows, so a killed run neither loses nor doubles one.
    With `news` from elsewhere a database in trouble is told, and does not hold up the rest.
    """
    settings = config.settings.database
    if settings is None or config.practice:
        return known, last.position
    from attrition import database

    position = database.Position(**last.position) if last.position else database.Position()
    number = 1 + max((int(name[-10:-4]) for name in last.datasets if name.startswith(EXTRACTS)), default=0)
    if last.damaged:
        number = 1 + max((int(file.name[-10:-4]) for file in known), default=number - 1)
    place = config.extracts / f"database-{number:06d}.csv"
    try:
        reason = database.look(settings, os.environ, position)
        if reason and not config.dry_run:
            log.info("the database is asked for rows: %s", reason)
            position = database.extract(settings, os.environ, position, place)
    except DataError as fault:
        if not news:
            raise
        log.error("%s", fault)
        return known, last.position
    return _extracts(config, last, place), asdict(position)


def settled(config: Config) -> tuple[list[Found], list[str]]:
    """Datasets of the folder that nobody is writing any more, and the names of those still being written."""
    folder, settle_seconds = config.input_folder, config.settings.ingestion.settle_seconds
    try:
        found = sources.find(folder)
        if settle_seconds <= LONGEST_WAIT and any(file.younger_than(settle_seconds) for file in found):
            time.sleep(settle_seconds)
            found = sources.find(folder)
    except FileNotFoundError:
        raise DataError(
            f"{folder}: there is no such folder. Make it, or correct the input folder in config.json."
        ) from None
    except NotADirectoryError:
        raise DataError(f"{folder}: this is no folder. Correct the input folder in config.json.") from None
    unsettled = [file.name for file in found if file.younger_than(settle_seconds)]
    return [file for file in found if file.name not in unsettled], unsettled


@contextmanager
def bench(config: Config, contract: Contract, last: Last, again: bool) -> Iterator[Bench]:
    """A folder to work in, beside the data, and DuckDB within the memory limit; both go afterwards."""
    root = None if config.dry_run else config.ingested_folder
    if root:
        root.mkdir(parents=True, exist_ok=True)
    settings = config.settings.ingestion
    with tempfile.TemporaryDirectory(prefix=".work-", dir=root) as work:
        folder = Path(work)
        place = config.parts if root else folder / "parts"
        with parts.engine(settings.memory_limit, folder / "spill") as engine:
            removed = config.removed if root else None
            yield Bench(contract, settings.max_rejected_share, engine, place, removed, folder, last, again)


def merge(
    at: Bench, judged: Sequence[Judged], again: bool, only_count: bool = False
) -> tuple[list[Seen], Table | None]:
    """Merge the parts into the next table; rows that come behind those of the last table are added to it.

    With `only_count` no table is written.
    """
    merged = [merging.Source(one.seen.name, one.part) for one in judged if one.part]
    contents = [(one.seen.name, one.seen.rows_from) for one in judged if one.part]
    before = [(name, seen.rows_from) for name, seen in at.last.datasets.items() if seen.in_table]
    known = len(before) if not again and contents[: len(before)] == before else 0
    place, rows = at.folder / "finaldata.csv", at.folder / "rows.csv"
    body, header = (rows, ()) if known else (place, at.contract.clients.columns)
    counts = merging.merge(at.engine, merged, known, None if only_count else body, header)
    added = dict(zip((source.name for source in merged[known:]), counts, strict=True))
    seen = [_counted(one.seen, added, at.last) for one in judged]
    if only_count:
        return seen, None
    if not known:
        return seen, Table(place, publisher.entry(place))
    try:
        return seen, _continued(at.last.generation, place, rows)
    except DataError as fault:
        log.error("the table is made again from the datasets. %s", fault)
        return merge(at, judged, again=True)


def publish(
    config: Config,
    at: Bench,
    seen: Sequence[Seen],
    judged: Sequence[Judged],
    table: Table,
    position: Mapping[str, Any] | None,
) -> Edition:
    """The next generation: the table, what it was made from, what was set aside and the metrics, as one."""
    shelf = generations.shelf(config)

    def fill(draft: Path) -> Mapping[str, publisher.Entry]:
        table.place.rename(draft / "finaldata.csv")
        files.write_text(draft / "ingestedfiles.txt", _ingested_files(seen))
        with (draft / "rejectedrows.csv").open("x", encoding="utf-8", newline="") as stream:
            tables.write_export(stream, REJECTED, _rejected_rows(judged))
        files.write_text(draft / "ingestionmetrics.csv", _metrics(config, seen, at.last))
        known = {"datasets": [asdict(one) for one in seen], "database": position}
        files.write_json(draft / "datasets.json", known)
        return {"finaldata.csv": table.entry}

    rows = sum(one.rows_kept for one in seen)
    facts = {"created": stage.now(), "run": config.run, "contract": at.contract.fingerprint, "rows": rows}
    generation = publisher.publish(shelf, fill, facts)
    publisher.forget(shelf, KEPT_GENERATIONS, pinned=_pinned(config))
    parts.forget(at.parts, [part for one in judged for part in (one.part, one.aside) if part])
    gone = {f"{one.rows_from}.csv" for one in seen if one.status == "removed"}
    for place in config.removed.iterdir() if config.removed.is_dir() else ():
        if place.name not in gone:
            place.unlink()
    return generation


def difference(seen: Sequence[Seen], last: Last, unsettled: Sequence[str]) -> Ingested:
    """What is new against the last ingestion, with the counts of the datasets that are new or changed."""
    before = {name: one for name, one in last.datasets.items() if one.status != "removed"}
    present = [one for one in seen if one.status != "removed"]
    new = [one for one in present if one.name not in before]
    changed = [one for one in present if one.name in before and one.sha256 != before[one.name].sha256]
    touched = [*new, *changed]
    return Ingested(
        datasets_new=[one.name for one in new],
        datasets_changed=[one.name for one in changed],
        datasets_rejected=[one.name for one in present if one.status == "rejected"],
        datasets_removed=[one.name for one in seen if one.status == "removed" and one.name in before],
        datasets_unsettled=unsettled,
        rows_read=sum(one.rows_read for one in touched),
        rows_added=sum(one.rows_added for one in touched),
        duplicates=sum(one.duplicates for one in touched),
        rows_rejected=sum(one.rejected for one in touched),
        rows_total=sum(one.rows_kept for one in seen),
    )


def _continued(last: Edition | None, place: Path, rows: Path) -> Table:
    """The last table and rows behind it; DamagedTable where it is found not to be what was published.

    A large one is copied unread, since its readers check it: a tick then has it made again.
    """
    assert last, "a table that goes on has one before it"
    before = last.manifest["files"]["finaldata.csv"]
    if before["size"] <= READ_AGAIN:
        generations.check(last)
    files.write_joined(place, [last.path("finaldata.csv"), rows])
    return Table(place, publisher.grown(before, place))


def _counted(seen: Seen, added: Mapping[str, int], last: Last) -> Seen:
    """The entry with the rows that its dataset has in the table; equal ones count for the first."""
    # not merged anew: in the table already, or without rows in it
    before = last.datasets[seen.name].rows_kept if seen.name in last.datasets and seen.in_table else 0
    rows = added.get(seen.name, before)
    if seen.status != "ingested":
        return replace(seen, rows_kept=rows)
    return replace(seen, rows_kept=rows, rows_added=rows, duplicates=seen.rows_read - seen.rejected - rows)


def _extracts(config: Config, last: Last, new: Path | None = None) -> list[Found]:
    """The extracts that a generation tells of, and the new one; what else lies there a killed run left."""
    if not config.extracts.is_dir():
        return []
    if not config.dry_run:
        files.sweep(config.extracts)
    listed = sources.find(config.extracts, EXTRACTS)
    # where the list is damaged nobody can say which ones it told of: all of them, since equal rows count once
    return [file for file in listed if last.damaged or file.name in last.datasets or file.path == new]


def _looks_new(found: Sequence[Found], unsettled: Sequence[str], last: Last) -> bool:
    """Whether a file came, changed or went, by size, times and inode alone: nothing is read."""
    present = {file.name: file.stamp for file in found}
    known = {seen.name: list(seen.stamp) for seen in last.datasets.values() if seen.status != "removed"}
    return present != {name: stamp for name, stamp in known.items() if name not in unsettled}


def _nothing_new(last: Last, unsettled: Sequence[str]) -> Ingested:
    rejected = [name for name, seen in last.datasets.items() if seen.status == "rejected"]
    total = last.generation.manifest["rows"] if last.generation else 0
    generation = last.generation.id if last.generation else None
    return Ingested([], [], rejected, [], unsettled, 0, 0, 0, 0, total, generation, "nothing to do")


def _nothing_there(folder: Path, unsettled: Sequence[str]) -> str:
    if unsettled:
        return f"{folder}: {', '.join(unsettled)} is still being written. Run again when it is complete."
    return f"{folder}: there is no dataset (*.csv) in it. Put one there and run again."


def _warn(judged: Sequence[Judged], last: Last, changes: Ingested) -> None:
    """Each rejected content is told once, not every ten minutes; so is a dataset without rows."""
    told = {(seen.name, seen.sha256) for seen in last.datasets.values() if seen.status == "rejected"}
    others = any(one.seen.status == "ingested" for one in judged)
    news = {*changes.datasets_new, *changes.datasets_changed}
    for one in judged:
        name, reason = one.seen.name, one.seen.reason
        if one.seen.status == "rejected" and (name, one.seen.sha256) not in told:
            log.error("dataset %s is set aside: %s. %s", name, reason, _advice(one, others))
        if name in news and one.part and not one.part.rows_read:
            log.warning("dataset %s has no rows", name)


def _advice(one: Judged, others: bool) -> str:
    if others:
        return "Correct it; the others were ingested."
    if one.fault and one.fault.code == "missing_column":
        return (
            "Correct it; or, where its columns are right, name them in config.json: "
            "python ingestion.py --propose-contract prints the clients section."
        )
    return "Correct it."


def _contract_of(generation: Edition | None) -> str | None:
    return generation.manifest.get("contract") if generation else None


def _ingested_files(datasets: Sequence[Seen]) -> str:
    """The form of sha256sum's output, so that `sha256sum -c` can check it from within the input folder."""
    lines = []
    for seen in datasets:
        name = seen.name.replace("\\", "\\\\").replace("\n", "\\n")
        if seen.in_table:
            lines.append(f"{'' if name == seen.name else chr(92)}{seen.rows_from}  {name}\n")
    return "".join(lines)


def _rejected_rows(judged: Sequence[Judged]) -> Iterator[Sequence[Any]]:
    for one in judged:
        name = one.seen.name
        if one.fault:
            yield name, "", one.fault.column, one.fault.code, one.fault.message, ""
        for line, problem, row in one.aside.rejected() if one.aside else ():
            yield name, line, problem.column, problem.code, problem.message, row


def _metrics(config: Config, seen: Sequence[Seen], last: Last) -> str:
    """The metrics so far and a line for each dataset that is new or changed."""
    kept: list[list[Any]] = []
    if last.generation:
        with last.generation.path("ingestionmetrics.csv").open(encoding="utf-8", newline="") as stream:
            kept = list(tables.read_rows(stream))[1:]
    changes = difference(seen, last, ())
    for one in seen:
        if one.name in (*changes.datasets_new, *changes.datasets_changed):
            counts = [one.rows_read, one.rows_added, one.duplicates, one.rejected, one.seconds]
            kept.append([config.run, stage.now(), one.name, one.sha256, one.bytes, *counts])
    return tables.csv_text(METRICS, kept)


def _pinned(config: Config) -> frozenset[str]:
    """Generations still asked for: of the last finished fullprocess run, and of the live release."""
    finished = ledger.last_finished(config.history, "fullprocess")
    pinned = {finished["facts"].get("ingested")} if finished else set()
    try:
        release = releases.live(config)
        if release:
            ingested = release.facts["ingested"]
            pinned |= {ingested, monitor.read(config.monitor).of(release.id, ingested).counted}
    except ReleaseError:
        log.info("the live release is damaged: its generation is not known")
    return frozenset(name for name in pinned if name)


def main() -> int:
    propose = stage.Action(
        "--propose-contract", proposal.propose, "print a clients section to check", only_reads=True
    )
    hold_out = stage.Action(
        "--hold-out",
        holdout.hold_out,
        "share a CSV file out: one client in five to the test data, the others to the input folder",
        metavar="FILE",
    )
    return stage.enter("ingestion", __doc__, run, (propose, hold_out))


if __name__ == "__main__":
    raise SystemExit(main())
