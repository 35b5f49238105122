"""Merge every dataset of the input folder into one table; set aside what breaks the contract; lose nothing.

Reads   the *.csv of the input folder, the current generation of ingesteddata/
Writes  the next generation of ingesteddata/: finaldata.csv, ingestedfiles.txt, rejectedrows.csv,
        ingestionmetrics.csv, datasets.json

Example: python ingestion.py --json
"""

import csv
import io
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from attrition import contract as contracts
from attrition import files, generations, ledger, publisher, releases, sources, stage, tables
from attrition.config import Config
from attrition.contract import Contract, Judged, Problem, Rejected
from attrition.errors import DataError, ReleaseError
from attrition.publisher import Edition
from attrition.sources import Dataset, Found, StillWritten, Unreadable

log = logging.getLogger("attrition")

KEPT_GENERATIONS = 2
# as long as this the script waits for fresh files to settle: who has just copied one need not start twice
LONGEST_WAIT = 5.0
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
class Seen:
    """One dataset as an ingestion leaves it: an entry of datasets.json.

    `status` is ingested, same content, rejected or removed. `rows_from` is the sha256 of the content whose
    rows are in the table: an earlier one where the newest was rejected, "" where it has no rows there.
    """

    name: str
    sha256: str
    bytes: int
    stamp: Sequence[int]
    status: str
    reason: str = ""
    rows_from: str = ""
    rows_read: int = 0
    rows_added: int = 0
    duplicates: int = 0
    rejected: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Last:
    """What the last ingestion left: its generation (None before the first) and its datasets by name."""

    generation: Edition | None
    datasets: Mapping[str, Seen]


@dataclass(frozen=True)
class Merged:
    """The table and its by-products, before anything is written."""

    rows: Sequence[tuple[str, Mapping[str, Any]]]
    rejected: Sequence[Rejected]
    datasets: Sequence[Seen]
    unsettled: Sequence[str]


def run(config: Config) -> Ingested:
    contract = contracts.compiled(config.clients)
    last = last_ingestion(config)
    found, unsettled = settled(config.input_folder, config.settings.ingestion.settle_seconds)
    if not found and not last.datasets:
        raise DataError(_nothing_there(config.input_folder, unsettled))
    again = config.force or last.generation is None or _contract_of(last.generation) != contract.fingerprint
    if not again and not _looks_new(found, unsettled, last):
        return _nothing_new(last, unsettled)
    merged = merge(contract, config.settings.ingestion.max_rejected_share, found, unsettled, last)
    ingested = _difference(merged, last)
    if not again and not (ingested.datasets_new or ingested.datasets_changed or ingested.datasets_removed):
        return _nothing_new(last, merged.unsettled)
    _warn_of_rejected(merged, last)
    if config.dry_run:
        return ingested
    return replace(ingested, generation=publish(config, contract, merged, last).id)


def last_ingestion(config: Config) -> Last:
    """What is known already; a damaged generation is made again from the datasets, and that is said."""
    try:
        generation = generations.current(config)
        if generation is None:
            return Last(None, {})
        publisher.verify(generations.shelf(config), generation)
    except DataError as fault:
        log.error("the ingested data is made again from the datasets. %s", fault)
        return Last(None, {})
    return Last(generation, {entry["name"]: Seen(**entry) for entry in generations.datasets(generation)})


def settled(folder: Path, settle_seconds: float) -> tuple[list[Found], list[str]]:
    """Datasets of a folder that nobody is writing any more, and the names of those still being written."""
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


def merge(
    contract: Contract,
    max_rejected_share: float,
    found: Sequence[Found],
    unsettled: Sequence[str],
    last: Last,
) -> Merged:
    """Judge every dataset and merge what is accepted in the order of the names, equal rows once."""
    earlier = _EarlierRows(last)
    by_name = {file.name: file for file in found}
    twins = {
        seen.rows_from: name for name, seen in last.datasets.items() if _unchanged(seen, by_name.get(name))
    }
    rows: list[tuple[str, Mapping[str, Any]]] = []
    known: set[tuple[Any, ...]] = set()
    rejected: list[Rejected] = []
    datasets: list[Seen] = []
    waiting = list(unsettled)
    for name in sorted({*by_name, *last.datasets}, key=sources.natural):
        clock = time.monotonic()
        try:
            seen, judged = _judge(
                contract, max_rejected_share, name, by_name.get(name), waiting, earlier, twins
            )
        except StillWritten:
            waiting.append(name)
            if name not in last.datasets:
                continue
            seen, judged = _judge(contract, max_rejected_share, name, None, waiting, earlier, twins)
        added = [(name, row) for row in judged.rows if _is_first(contract, row, known)]
        rows += added
        rejected += judged.rejected
        if seen.status in ("ingested", "removed"):
            duplicates = len(judged.rows) - len(added)
            seen = replace(seen, rows_added=len(added), duplicates=duplicates)
        datasets.append(replace(seen, seconds=round(time.monotonic() - clock, 3)))
    return Merged(rows, rejected, datasets, waiting)


def publish(config: Config, contract: Contract, merged: Merged, last: Last) -> Edition:
    """The next generation: the table, what it was made from, what was set aside and the metrics, as one."""
    columns = contract.clients.columns
    table = ([*(row[column] for column in columns), dataset] for dataset, row in merged.rows)

    def fill(draft: Path) -> None:
        files.write_text(draft / "finaldata.csv", tables.csv_text([*columns, "dataset"], table))
        files.write_text(draft / "ingestedfiles.txt", _ingested_files(merged.datasets))
        files.write_text(draft / "rejectedrows.csv", _rejected_rows(merged.rejected))
        files.write_text(draft / "ingestionmetrics.csv", _metrics(config, merged, last))
        files.write_json(draft / "datasets.json", {"datasets": [asdict(seen) for seen in merged.datasets]})

    facts = {
        "created": stage.now(),
        "run": config.run,
        "contract": contract.fingerprint,
        "rows": len(merged.rows),
    }
    shelf = generations.shelf(config)
    generation = publisher.publish(shelf, fill, facts)
    publisher.forget(shelf, KEPT_GENERATIONS, pinned=_pinned(config))
    return generation


def _judge(
    contract: Contract,
    max_rejected_share: float,
    name: str,
    file: Found | None,
    unsettled: Sequence[str],
    earlier: "_EarlierRows",
    twins: dict[str, str],
) -> tuple[Seen, Judged]:
    """One dataset's entry, and its rows for the table; rows of a file that is gone or unfit now stay."""
    before = earlier.seen(name)
    if file is None:
        assert before is not None
        status = before.status if name in unsettled else "removed"
        return replace(before, status=status), _earlier(contract, earlier, name)
    try:
        dataset = sources.read(file)
    except Unreadable as fault:
        entry = Seen(name, fault.sha256, file.size, file.stamp, "rejected", fault.sentence)
        whole = Rejected(name, None, Problem("", fault.code, fault.sentence), "")
        return _with_earlier(contract, entry, [whole], earlier)
    entry = Seen(name, dataset.sha256, dataset.size, file.stamp, "ingested", rows_read=len(dataset.rows))
    twin = twins.setdefault(dataset.sha256, name)
    if twin != name:
        same = replace(entry, status="same content", reason=f"it has the same content as {twin}")
        return replace(same, duplicates=entry.rows_read), Judged([], [], entry.rows_read)
    judged = contracts.judge_dataset(contract, dataset)
    lines = {rejected.line for rejected in judged.rejected}
    problem = (
        judged.rejected[0].problem if None in lines else _too_many(len(lines), judged, max_rejected_share)
    )
    if problem:
        entry = replace(entry, status="rejected", reason=problem.message, rejected=entry.rows_read)
        whole = Rejected(name, None, problem, ",".join(dataset.header))
        rows = [rejected for rejected in judged.rejected if rejected.line is not None]
        return _with_earlier(contract, entry, [whole, *rows], earlier)
    return replace(entry, rows_from=entry.sha256, rejected=len(lines)), judged


class _EarlierRows:
    """Rows of the last table by dataset, read only where some are needed again."""

    def __init__(self, last: Last) -> None:
        self.last = last
        self._tables: dict[str, Dataset] | None = None

    def seen(self, name: str) -> Seen | None:
        return self.last.datasets.get(name)

    def rows(self, name: str) -> Dataset | None:
        if self._tables is None:
            self._tables = self._read()
        return self._tables.get(name)

    def _read(self) -> dict[str, Dataset]:
        if self.last.generation is None:
            return {}
        whole = sources.parse("finaldata.csv", self.last.generation.path("finaldata.csv").read_bytes())
        place = list(whole.header).index("dataset")
        rows: dict[str, list[tuple[int, list[str]]]] = {}
        for line, fields in whole.rows:
            rows.setdefault(fields[place], []).append((line, fields))
        return {name: Dataset(name, "", 0, whole.header, lines) for name, lines in rows.items()}


def _earlier(contract: Contract, earlier: _EarlierRows, name: str) -> Judged:
    dataset = earlier.rows(name)
    return contracts.judge_dataset(contract, dataset) if dataset else Judged([], [], 0)


def _with_earlier(
    contract: Contract, entry: Seen, rejected: Sequence[Rejected], earlier: _EarlierRows
) -> tuple[Seen, Judged]:
    """A rejected dataset: where an earlier content of its name was ingested, those rows stay in the table."""
    judged = _earlier(contract, earlier, entry.name)
    before = earlier.seen(entry.name)
    if judged.rows and before:
        entry = replace(entry, rows_from=before.rows_from, reason=f"{entry.reason}; its earlier rows stay")
    return entry, Judged(judged.rows, rejected, entry.rows_read)


def _too_many(rejected: int, judged: Judged, share: float) -> Problem | None:
    if rejected <= share * judged.rows_read:
        return None
    first = judged.rejected[0]
    broken = f"{rejected} of its {judged.rows_read} rows break the contract"
    limit = f"more than max_rejected_share ({share:g}) allows"
    return Problem("", "too_many_rejected", f"{broken}, {limit}; line {first.line}: {first.problem.message}")


def _is_first(contract: Contract, row: Mapping[str, Any], known: set[tuple[Any, ...]]) -> bool:
    """Whether no row before was equal in every column; missing equals missing."""
    key = tuple(None if row[c] != row[c] else row[c] for c in contract.clients.columns)
    if key in known:
        return False
    known.add(key)
    return True


def _unchanged(seen: Seen, file: Found | None) -> bool:
    return file is not None and seen.status == "ingested" and list(seen.stamp) == file.stamp


def _looks_new(found: Sequence[Found], unsettled: Sequence[str], last: Last) -> bool:
    """Whether a file came, changed or went, by size, times and inode alone: nothing is read."""
    present = {file.name: file.stamp for file in found}
    known = {seen.name: list(seen.stamp) for seen in last.datasets.values() if seen.status != "removed"}
    return present != {name: stamp for name, stamp in known.items() if name not in unsettled}


def _difference(merged: Merged, last: Last) -> Ingested:
    before = {name: seen for name, seen in last.datasets.items() if seen.status != "removed"}
    present = [seen for seen in merged.datasets if seen.status != "removed"]
    new = [seen for seen in present if seen.name not in before]
    changed = [seen for seen in present if seen.name in before and seen.sha256 != before[seen.name].sha256]
    touched = [*new, *changed]
    return Ingested(
        datasets_new=[seen.name for seen in new],
        datasets_changed=[seen.name for seen in changed],
        datasets_rejected=[seen.name for seen in present if seen.status == "rejected"],
        datasets_removed=[
            seen.name for seen in merged.datasets if seen.status == "removed" and seen.name in before
        ],
        datasets_unsettled=merged.unsettled,
        rows_read=sum(seen.rows_read for seen in touched),
        rows_added=sum(seen.rows_added for seen in touched),
        duplicates=sum(seen.duplicates for seen in touched),
        rows_rejected=sum(seen.rejected for seen in touched),
        rows_total=len(merged.rows),
    )


def _nothing_new(last: Last, unsettled: Sequence[str]) -> Ingested:
    rejected = [name for name, seen in last.datasets.items() if seen.status == "rejected"]
    total = last.generation.manifest["rows"] if last.generation else 0
    generation = last.generation.id if last.generation else None
    return Ingested([], [], rejected, [], unsettled, 0, 0, 0, 0, total, generation, "nothing to do")


def _nothing_there(folder: Path, unsettled: Sequence[str]) -> str:
    if unsettled:
        return f"{folder}: {', '.join(unsettled)} is still being written. Run again when it is complete."
    return f"{folder}: there is no dataset (*.csv) in it. Put one there and run again."


def _warn_of_rejected(merged: Merged, last: Last) -> None:
    """Each rejected content is told once, not every ten minutes."""
    told = {(seen.name, seen.sha256) for seen in last.datasets.values() if seen.status == "rejected"}
    for seen in merged.datasets:
        if seen.status == "rejected" and (seen.name, seen.sha256) not in told:
            log.error(
                "dataset %s is set aside: %s. Correct it; the others were ingested.", seen.name, seen.reason
            )


def _contract_of(generation: Edition) -> str | None:
    return generation.manifest.get("contract")


def _ingested_files(datasets: Sequence[Seen]) -> str:
    """The form of sha256sum's output, so that `sha256sum -c` can check it from within the input folder."""
    lines = []
    for seen in datasets:
        name = seen.name.replace("\\", "\\\\").replace("\n", "\\n")
        if seen.rows_from:
            lines.append(f"{'' if name == seen.name else chr(92)}{seen.rows_from}  {name}\n")
    return "".join(lines)


def _rejected_rows(rejected: Sequence[Rejected]) -> str:
    header = ("dataset", "line", "column", "code", "message", "row")
    rows = ((r.dataset, r.line, r.problem.column, r.problem.code, r.problem.message, r.row) for r in rejected)
    return tables.export_text(header, rows)


def _metrics(config: Config, merged: Merged, last: Last) -> str:
    """The metrics so far and a line for each dataset that is new or changed."""
    kept: list[list[Any]] = []
    if last.generation:
        kept = list(csv.reader(io.StringIO(last.generation.path("ingestionmetrics.csv").read_text("utf-8"))))[
            1:
        ]
    difference = _difference(merged, last)
    touched = {*difference.datasets_new, *difference.datasets_changed}
    for seen in merged.datasets:
        if seen.name in touched:
            counts = [seen.rows_read, seen.rows_added, seen.duplicates, seen.rejected, seen.seconds]
            kept.append([config.run, stage.now(), seen.name, seen.sha256, seen.bytes, *counts])
    return tables.csv_text(METRICS, kept)


def _pinned(config: Config) -> frozenset[str]:
    """Generations still asked for: of the last finished fullprocess run, and of the live release."""
    finished = ledger.last_finished(config.history, "fullprocess")
    pinned = {finished["facts"].get("ingested")} if finished else set()
    try:
        release = releases.live(config)
        pinned |= {release.facts.get("ingested")} if release else set()
    except ReleaseError:
        log.info("the live release is damaged: its generation is not known")
    return frozenset(name for name in pinned if name)


def main() -> int:
    return stage.enter("ingestion", __doc__, run)


if __name__ == "__main__":
    raise SystemExit(main())
