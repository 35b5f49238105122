"""Where rows come from: a folder of CSV datasets, read as text, line by line, without a guess.

What cannot be read at all raises Unreadable, a code and a sentence; what a cell means is for the contract.
"""

import csv
import hashlib
import io
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import time

LONGEST_HEADER = 65_536
LONGEST_FIELD = 131_072
COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "zip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}


class Unreadable(Exception):
    """A dataset that cannot be read: its code and sentence go into the list of rejected datasets."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code, self.sentence = code, sentence
        self.sha256 = ""


class StillWritten(Exception):
    """A dataset that changed while it was read: its turn comes with the next run."""


@dataclass(frozen=True)
class Found:
    """A dataset's file as a look into the folder shows it."""

    name: str
    path: Path
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @property
    def stamp(self) -> list[int]:
        return [self.size, self.mtime_ns, self.ctime_ns, self.inode]

    def younger_than(self, seconds: float) -> bool:
        # a time in the future comes from a clock that was set back, and says nothing about now
        return 0 <= time() - self.mtime_ns / 1e9 < seconds


@dataclass(frozen=True)
class Dataset:
    """A dataset as text: every row with the line it begins on."""

    name: str
    sha256: str
    size: int
    header: Sequence[str]
    rows: Sequence[tuple[int, list[str]]]


def find(folder: Path) -> list[Found]:
    """The *.csv of a folder in natural order of their names, clients-9 before clients-10; no hidden ones."""
    names = [entry.name for entry in os.scandir(folder)]
    names = [name for name in names if name.lower().endswith(".csv") and not name.startswith(".")]
    return [found for name in sorted(names, key=natural) if (found := _look(folder / name))]


def _look(path: Path) -> Found | None:
    try:
        at = path.lstat()
    except FileNotFoundError:
        return None
    # a name that is not UTF-8 is shown with its bytes escaped, in every file and message
    name = os.fsencode(path.name).decode("utf-8", "backslashreplace")
    return Found(name, path, at.st_size, at.st_mtime_ns, at.st_ctime_ns, at.st_ino)


def natural(name: str) -> list[tuple[int, int, str]]:
    """Sorting key under which numbers in names count as numbers."""
    parts = re.split(r"([0-9]+)", name)
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts if part]


def read(found: Found) -> Dataset:
    """Read one dataset, or raise Unreadable or StillWritten; exactly the hashed bytes are parsed."""
    data = read_bytes(found.path)
    if _look(found.path) != found:
        raise StillWritten(found.name)
    try:
        return parse(found.name, data)
    except Unreadable as fault:
        fault.sha256 = hashlib.sha256(data).hexdigest()
        raise


def read_bytes(path: Path) -> bytes:
    """A plain file's bytes: no link is followed, no FIFO waited for."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise Unreadable("cannot_open", f"it cannot be opened ({error.strerror})") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Unreadable("no_plain_file", "it is not a plain file")
    with os.fdopen(descriptor, "rb") as stream:
        try:
            return stream.read()
        except OSError as error:
            raise Unreadable("cannot_read", f"it cannot be read ({error.strerror})") from None


def parse(name: str, data: bytes) -> Dataset:
    """Bytes of a CSV to rows of text, or Unreadable."""
    text = _decoded(data)
    header, rows = _split(text)
    return Dataset(name, hashlib.sha256(data).hexdigest(), len(data), header, rows)


def _decoded(data: bytes) -> str:
    if not data.strip():
        raise Unreadable("empty", "it is empty")
    for magic, kind in COMPRESSED.items():
        if data.startswith(magic):
            raise Unreadable("compressed", f"it is compressed ({kind}): unpack it first")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise Unreadable("encoding", "it is UTF-16: save it as UTF-8")
    if b"\0" in data:
        raise Unreadable("nul_bytes", "it holds NUL bytes: it is not text in UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Unreadable("encoding", f"line {line} is not UTF-8: save the file as UTF-8") from None


def _split(text: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    first = re.split(r"[\r\n]", text[: LONGEST_HEADER + 1], maxsplit=1)[0]
    if len(first) > LONGEST_HEADER:
        raise Unreadable("header_too_long", f"its first line is longer than {LONGEST_HEADER} characters")
    lines = _lines(text)
    _, header = next(lines, (0, []))
    header = [column.strip() for column in header]
    doubled = sorted(column for column, times in Counter(header).items() if times > 1)
    if doubled:
        raise Unreadable("duplicate_columns", f"its header names {', '.join(map(repr, doubled))} twice")
    rows = list(lines)
    while rows and not rows[-1][1]:
        rows.pop()
    if rows and len(rows[0][1]) != len(header):
        raise Unreadable(
            "ragged", f"its first row has {len(rows[0][1])} fields and its header has {len(header)} columns"
        )
    return header, rows


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(LONGEST_FIELD)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    try:
        for row in reader:
            yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise Unreadable("not_csv", f"line {line} cannot be read as CSV ({error})") from None
