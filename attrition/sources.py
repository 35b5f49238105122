"""Where rows come from: a folder of CSV datasets, read as text, line by line, without a guess.

What cannot be read at all raises Unreadable, a code and a sentence; what a cell means is for the contract.
"""

import codecs
import csv
import errno
import hashlib
import io
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import time

LONGEST_HEADER = 65_536
LONGEST_FIELD = 131_072
HEADER_SHOWN = 40
# small enough to stay in a processor's cache while it is looked at
PIECE = 256 << 10
# from this size on, counting with numpy saves what importing it takes
WORTH_NUMPY = 32 << 20
# what makes a cell cost more to read or to write; WHITE_SPACE stands for all but blanks
QUOTE, WHITE_SPACE, UNDERSCORE, HASH = '"', "\t", "_", "#"
MARKS = frozenset({QUOTE, WHITE_SPACE, UNDERSCORE, HASH})
COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "zip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}


Count = Callable[[bytes | bytearray, bytes], int]


class Unreadable(Exception):
    """A dataset that cannot be read: its code and sentence go into the list of rejected datasets."""

    def __init__(self, code: str, sentence: str, column: str = "") -> None:
        super().__init__(sentence)
        self.code, self.sentence, self.column = code, sentence, column
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
class Survey:
    """What a look at every byte of a dataset shows.

    `plain`: a row is a line, and nothing stands where simpler readers differ from the csv module. `marks`:
    those of MARKS that may stand in cells. `commas`: how many there are; None where some may stand in quotes.
    """

    sha256: str
    size: int
    header: Sequence[str]
    first_row: int
    lines: int
    plain: bool
    marks: frozenset[str]
    commas: int | None


@dataclass(frozen=True)
class Dataset:
    """A dataset as text: every row with the line it begins on."""

    name: str
    sha256: str
    size: int
    header: Sequence[str]
    rows: Sequence[tuple[int, list[str]]]


def find(folder: Path, prefix: str = "") -> list[Found]:
    """The *.csv of a folder in natural order of their names, clients-9 before clients-10; no hidden ones.

    `prefix` is put before each name: a slash in it tells the datasets of one folder from those of another.
    """
    names = [entry.name for entry in os.scandir(folder)]
    names = [name for name in names if name.lower().endswith(".csv") and not name.startswith(".")]
    return [found for name in sorted(names, key=natural) if (found := _look(folder / name, prefix))]


def _look(path: Path, prefix: str = "") -> Found | None:
    try:
        at = path.lstat()
    except FileNotFoundError:
        return None
    # a name that is not UTF-8 is shown with its bytes escaped, in every file and message
    name = os.fsencode(path.name).decode("utf-8", "backslashreplace")
    return Found(prefix + name, path, at.st_size, at.st_mtime_ns, at.st_ctime_ns, at.st_ino)


def natural(name: str) -> list[tuple[int, int, str]]:
    """Sorting key under which numbers in names count as numbers."""
    parts = re.split(r"([0-9]+)", name)
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts if part]


@contextmanager
def opened(found: Found) -> Iterator[int]:
    """A descriptor of a plain file: no link is followed, no FIFO waited for. Unreadable where it is none.

    StillWritten where the file is another one afterwards than it was found to be.
    """
    try:
        descriptor = os.open(found.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise Unreadable("cannot_open", f"it cannot be opened ({error.strerror})") from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Unreadable("no_plain_file", "it is not a plain file")
        try:
            yield descriptor
        except OSError as error:
            # where it can be read, the disk failed under what was made of it
            if error.errno != errno.EIO or _can_be_read(descriptor):
                raise
            raise Unreadable("cannot_read", f"it cannot be read ({error.strerror})") from None
        check(found)
    finally:
        os.close(descriptor)


def _can_be_read(descriptor: int) -> bool:
    """Whether all of a file can be read, in either way in which it is read."""
    at = os.lseek(descriptor, 0, os.SEEK_SET)
    try:
        while piece := os.read(descriptor, PIECE):
            os.pread(descriptor, len(piece), at)
            at += len(piece)
    except OSError:
        return False
    return True


def check(found: Found) -> None:
    """StillWritten where a file is another one than it was found to be."""
    now = _look(found.path)
    if now is None or now.stamp != found.stamp:
        raise StillWritten(found.name)


def read(found: Found) -> Dataset:
    """Read one dataset whole, or raise Unreadable or StillWritten; exactly the hashed bytes are parsed."""
    with opened(found) as descriptor:
        pieces = []
        while piece := os.read(descriptor, PIECE):
            pieces.append(piece)
    return parse(found.name, b"".join(pieces))


def parse(name: str, data: bytes) -> Dataset:
    """Bytes of a CSV to rows of text, or Unreadable."""
    survey = _survey([data], _counting(len(data)))
    stream = io.StringIO(data.decode("utf-8-sig"), newline="")
    return Dataset(name, survey.sha256, survey.size, survey.header, list(rows(stream, survey)))


def survey(descriptor: int) -> Survey:
    """Look at every byte once, without keeping them; Unreadable where they cannot be a dataset."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    return _survey(_pieces(descriptor), _counting(os.fstat(descriptor).st_size))


def _pieces(descriptor: int) -> Iterator[bytearray]:
    """One buffer, filled again and again: a new one for each piece would cost more than any look at it."""
    buffer = bytearray(PIECE)
    with io.FileIO(descriptor, closefd=False) as stream:
        while size := stream.readinto(buffer):
            yield buffer if size == PIECE else buffer[:size]


def _counting(size: int) -> Count:
    """How to count a mark in the pieces of a file: numpy is five times faster, once it is imported."""
    if size < WORTH_NUMPY:
        return lambda piece, mark: piece.count(mark)
    import numpy as np

    return lambda piece, mark: int(np.count_nonzero(np.frombuffer(piece, np.uint8) == ord(mark)))


def _survey(pieces: Iterable[bytes | bytearray], count: Count) -> Survey:
    """What all pieces show together; the sha256 is that of all bytes, whatever is wrong with some."""
    digest, decoder, size, line_ends, fault = hashlib.sha256(), _Decoder(), 0, 0, None
    first, last, seen = b"", b"", _Marks(count)
    for piece in pieces:
        digest.update(piece)
        size += len(piece)
        first = first if len(first) > LONGEST_HEADER else first + piece[: LONGEST_HEADER + 1]
        fault = fault or decoder.fault(piece, 1 + line_ends)
        line_ends += count(piece, b"\n")
        seen.look(last, piece)
        last = bytes(piece[-1:])
    try:
        _check(first, fault or decoder.fault(b"", 1 + line_ends, final=True))
        header, first_row = _header(first)
    except Unreadable as unreadable:
        unreadable.sha256 = digest.hexdigest()
        raise
    lines = line_ends + (last != b"\n")
    plain = seen.plain(line_ends) and first_row == 2 and not (seen.quoted and last == b",")
    commas = None if seen.quoted else seen.commas
    return Survey(digest.hexdigest(), size, header, first_row, lines, plain, seen.in_cells(), commas)


class _Decoder:
    """Whether the pieces together are text in UTF-8 without a NUL."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def fault(self, piece: bytes | bytearray, first_line: int, final: bool = False) -> Unreadable | None:
        if b"\0" in piece:
            return Unreadable("nul_bytes", "it holds NUL bytes: it is not text in UTF-8")
        try:
            if final or not piece.isascii() or self._decoder.getstate()[0]:
                self._decoder.decode(piece, final)
        except UnicodeDecodeError as error:
            line = first_line + error.object.count(b"\n", 0, error.start)
            return Unreadable("encoding", f"line {line} is not UTF-8: save the file as UTF-8")
        return None


class _Marks:
    """Bytes that decide whether a simpler reader than the csv module reads the same."""

    def __init__(self, count: Count) -> None:
        self._count = count
        self.returns, self.lone, self.commas, self.pieces = 0, 0, 0, 0
        self.quoted, self.tabbed, self.doubtful = False, False, False
        self.rare = dict.fromkeys((b"_", b"#"), False)

    @property
    def white(self) -> bool:
        return self.tabbed or self.lone > 0

    def look(self, last: bytes, piece: bytes | bytearray) -> None:
        """`last` is the byte before the piece."""
        seam = last + piece[:1]
        if b"\r" in piece or b"\r" in seam:
            ends = piece.count(b"\r\n") + (seam == b"\r\n")
            self.returns += ends
            self.lone += piece.count(b"\r") - ends
        self.commas += self._count(piece, b",")
        if not self.quoted and b'"' in piece:
            # whether rows before this piece ended in a comma was not looked for
            self.quoted, self.doubtful = True, self.pieces > 0
        # names of columns may hold what the cells below do not
        below = 0 if self.pieces else piece.find(b"\n") + 1
        self.rare = {mark: seen or piece.find(mark, below) >= 0 for mark, seen in self.rare.items()}
        self.pieces += 1
        self.tabbed |= any(mark in piece for mark in (b"\t", b"\v", b"\f"))
        if self.quoted:
            self.doubtful |= any(m in piece or m in seam for m in (b'" ', b' "', b",\n", b",\r"))

    def in_cells(self) -> frozenset[str]:
        seen = {
            QUOTE: self.quoted,
            WHITE_SPACE: self.white,
            UNDERSCORE: self.rare[b"_"],
            HASH: self.rare[b"#"],
        }
        return frozenset(mark for mark, there in seen.items() if there)

    def plain(self, line_ends: int) -> bool:
        return self.returns in (0, line_ends) and not (self.quoted and (self.doubtful or self.white))


def _check(first: bytes, fault: Unreadable | None) -> None:
    for magic, kind in COMPRESSED.items():
        if first.startswith(magic):
            raise Unreadable("compressed", f"it is compressed ({kind}): unpack it first")
    if first.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise Unreadable("encoding", "it is UTF-16: save it as UTF-8")
    if fault:
        raise fault
    if not first.removeprefix(codecs.BOM_UTF8).strip():
        raise Unreadable("empty", "it is empty")


def _header(first: bytes) -> tuple[list[str], int]:
    """The columns, and the line of the first row."""
    if len(re.split(rb"[\r\n]", first[: LONGEST_HEADER + 1], maxsplit=1)[0]) > LONGEST_HEADER:
        raise Unreadable("header_too_long", f"its first line is longer than {LONGEST_HEADER} characters")
    reader = csv.reader(io.StringIO(first.decode("utf-8-sig", "ignore"), newline=""), strict=True)
    try:
        header = [column.strip() for column in next(reader)]
    except csv.Error as error:
        raise Unreadable("not_csv", f"its header cannot be read as CSV ({error})") from None
    doubled = sorted(column for column, times in Counter(header).items() if times > 1)
    if doubled:
        raise Unreadable("duplicate_columns", f"its header names {', '.join(map(repr, doubled))} twice")
    return header, reader.line_num + 1


def otherwise_separated(header: Sequence[str]) -> str:
    """What is to be said of a header whose columns are not separated by commas, or ""."""
    if len(header) != 1 or not any(mark in header[0] for mark in ";\t|"):
        return ""
    shown = header[0] if len(header[0]) <= HEADER_SHOWN else f"{header[0][:HEADER_SHOWN]}..."
    return f"its header is {shown!r}: separate the columns by commas, and write 1.5, not 1,5"


def rows(stream: Iterable[str], survey: Survey) -> Iterator[tuple[int, list[str]]]:
    """Every row below the header with the line it begins on; blank lines at the end are no rows.

    Unreadable where the very first row has another length than the header, or where quotes are at fault.
    """
    blank: list[tuple[int, list[str]]] = []
    for line, fields in _lines(stream, survey.first_row):
        if line == survey.first_row and len(fields) not in (0, len(survey.header)):
            told = f"its first row has {len(fields)} fields and its header has {len(survey.header)} columns"
            told += f"; {apart}" if (apart := otherwise_separated(survey.header)) else ""
            raise Unreadable("ragged", told)
        if fields:
            yield from blank
            blank.clear()
            yield line, fields
        else:
            blank.append((line, fields))


def _lines(stream: Iterable[str], first_row: int) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(LONGEST_FIELD)
    reader = csv.reader(stream, strict=True)
    line = 1
    try:
        for fields in reader:
            if line >= first_row:
                yield line, fields
            line = reader.line_num + 1
    except csv.Error as error:
        raise Unreadable("not_csv", f"line {line} cannot be read as CSV ({error})") from None
