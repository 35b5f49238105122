"""Run history: one JSON line per stage run, appended; what is old becomes sums and stays small.

    {"run": ..., "stage": "training", "started": "2026-03-01T06:00:02Z", "seconds": 1.9,
     "status": "done", "sentence": "...", "facts": {...}}

The order of the lines is the order of the runs, whatever the clock did.

A history that has outgrown MOST_BYTES is shortened in two steps, each whole or absent. First its older
lines are added to the sums in historysummary.json, which also says by sha256 which beginning of the history
they hold; then the history is replaced by its newest lines. A kill between the steps loses no run and counts
none twice. The lines by which a reader tells how things stand stay at the head, marked as counted.
"""

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from attrition import chronicle, files, landmarks
from attrition.chronicle import Chronicle
from attrition.errors import DataError

log = logging.getLogger("attrition")

FINISHED = chronicle.FINISHED
SUMMARY = "historysummary.json"
FORMAT = 1
MOST_BYTES = 1 << 20
KEPT_BYTES = 1 << 18
BLOCK = 1 << 16
COUNTED = "counted"

Entry = dict[str, Any]


@dataclass(frozen=True)
class Past:
    """All runs: `entries` are the lines there are, oldest first; `earlier` has the lines now gone as sums.

    An entry with `counted` is in the sums already.
    """

    entries: Sequence[Entry]
    earlier: Chronicle

    @property
    def recent(self) -> list[Entry]:
        return [entry for entry in self.entries if COUNTED not in entry]

    @property
    def whole(self) -> Chronicle:
        """The sums over all runs, each counted once."""
        return chronicle.joined(self.earlier, chronicle.of(self.recent))


@dataclass(frozen=True)
class Summary:
    """historysummary.json: the sums, which beginning of the history they hold, the bytes left at its head."""

    sums: Chronicle = Chronicle()
    size: int = 0
    sha256: str = ""
    head: int = 0

    def counted(self, history: bytes) -> int:
        """How many bytes of a history are in the sums, though still there: not 0 only after a kill."""
        if not self.size or hashlib.sha256(history[: self.size]).hexdigest() != self.sha256:
            return 0
        return self.size


def append(history: Path, entry: Mapping[str, Any]) -> None:
    line = json.dumps(entry, ensure_ascii=True, allow_nan=False, sort_keys=False)
    if files.append_line(history, line):
        log.warning("%s: a killed run left half a line at the end; it is passed over", history)
    if history.stat().st_size > MOST_BYTES:
        _shorten(history)


def entries(history: Path) -> list[Entry]:
    """The lines there are, oldest first; one torn by a killed writer is passed over."""
    try:
        return list(_readable(history.read_bytes().split(b"\n")))
    except FileNotFoundError:
        return []


def past(history: Path) -> Past:
    """Every run, as a line or in the sums; DataError where the sums are damaged.

    While a writer shortens the history, this is what was there before or after, never a mix.
    """
    while True:
        with _opened(history) as stream:
            content = stream.read() if stream else b""
            summary = _read_summary(history)
            # replaced since it was opened: the sums may hold lines of the next history
            if _is_still(history, stream):
                return _past(content, summary)


def last(history: Path, stage: str) -> Entry | None:
    return next(_newest_first(history, stage), None)


def last_finished(history: Path, stage: str) -> Entry | None:
    return next((entry for entry in _newest_first(history, stage) if entry["status"] in FINISHED), None)


def _shorten(history: Path) -> None:
    """A fault here must not spoil a run that is done: all lines stay, and the next append tries again."""
    try:
        summary = _read_summary(history)
        if history.stat().st_size > MOST_BYTES + summary.head:
            _fold(history, summary)
    except (DataError, OSError) as fault:
        log.warning("the run history is not shortened, all of its lines stay: %s", fault)


def _fold(history: Path, summary: Summary) -> None:
    content = history.read_bytes()
    cut = max(_cut(content), summary.counted(content))
    if not cut:
        return
    older, newer = content[:cut], content[cut:]
    known = _past(older, summary)
    places = landmarks.places([*known.entries, *_readable(newer.split(b"\n"))])
    head = b"".join(_line(entry) for place, entry in enumerate(known.entries) if place in places)
    sha256 = hashlib.sha256(older).hexdigest()
    _write_summary(history, Summary(chronicle.coarsened(known.whole), cut, sha256, len(head)))
    files.write_bytes(history, head + newer)


def _cut(content: bytes) -> int:
    """Where the newest KEPT_BYTES begin, at the first line of a run; 0 where no run begins in them."""
    at = content.find(b"\n", max(0, len(content) - KEPT_BYTES)) + 1
    before = next(_readable(reversed(content[:at].split(b"\n"))), None)
    for line in content[at:].splitlines(keepends=True):
        entry = next(_readable([line]), None)
        if before and entry and entry["run"] != before["run"]:
            return at
        before, at = entry or before, at + len(line)
    return 0


def _line(entry: Entry) -> bytes:
    return json.dumps({**entry, COUNTED: True}).encode() + b"\n"


def _past(content: bytes, summary: Summary) -> Past:
    counted = summary.counted(content)
    told = [{**entry, COUNTED: True} for entry in _readable(content[:counted].split(b"\n"))]
    return Past([*told, *_readable(content[counted:].split(b"\n"))], summary.sums)


def _read_summary(history: Path) -> Summary:
    place = history.with_name(SUMMARY)
    try:
        facts = json.loads(place.read_bytes())
        if facts["format"] != FORMAT:
            raise ValueError(f"its format is {facts['format']!r}, not {FORMAT}")
        sums, counted = chronicle.from_facts(facts["sums"]), facts["counted"]
        return Summary(sums, int(counted["bytes"]), str(counted["sha256"]), int(facts["head"]))
    except FileNotFoundError:
        return Summary()
    except (ValueError, KeyError, TypeError) as fault:
        raise DataError(
            f"{place}: this is damaged ({fault!r}). Restore the file, or move it away: "
            "then the sums of the older runs are gone, and all else goes on."
        ) from None


def _write_summary(history: Path, summary: Summary) -> None:
    facts = {
        "format": FORMAT,
        "counted": {"bytes": summary.size, "sha256": summary.sha256},
        "head": summary.head,
        "sums": chronicle.as_facts(summary.sums),
    }
    files.write_text(history.with_name(SUMMARY), json.dumps(facts, allow_nan=False) + "\n")


def _opened(history: Path) -> AbstractContextManager[IO[bytes] | None]:
    try:
        return history.open("rb")
    except FileNotFoundError:
        return nullcontext()


def _is_still(history: Path, stream: IO[bytes] | None) -> bool:
    try:
        inode = history.stat().st_ino
    except FileNotFoundError:
        return stream is None
    return stream is not None and inode == os.fstat(stream.fileno()).st_ino


def _newest_first(history: Path, stage: str) -> Iterator[Entry]:
    named = json.dumps(stage).encode()
    lines = (line for line in _backwards(history) if named in line)
    return (entry for entry in _readable(lines) if entry["stage"] == stage)


def _backwards(history: Path) -> Iterator[bytes]:
    """The lines, the newest first, read from the end no further than is asked for."""
    with _opened(history) as stream:
        end, rest = stream.seek(0, os.SEEK_END) if stream else 0, b""
        while stream and end:
            start = max(0, end - BLOCK)
            stream.seek(start)
            rest, *lines = (stream.read(end - start) + rest).split(b"\n")
            yield from reversed(lines)
            end = start
        yield rest


def _readable(lines: Iterable[bytes]) -> Iterator[Entry]:
    for line in lines:
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict) and _is_entry(entry):
            yield entry


def _is_entry(entry: Entry) -> bool:
    words = (entry.get(key) for key in ("run", "stage", "started", "status"))
    sound = all(isinstance(word, str) for word in words) and chronicle.is_number(entry.get("seconds"))
    return sound and isinstance(entry.get("facts") or {}, dict)
