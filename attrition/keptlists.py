"""The lists of earlier runs, each as a small summary beside its report: a year of them is read at once.

reports/<run>/list.zip, uncompressed, holds

  list.json   format, version, number (the order of the lists, whatever the clock did), scored_at,
              release, threshold, datasets and actions (the names that rows give by their place)
  rows        the clients in the order of their keys, as records of ROW, little-endian
  names.json  their ids, in the same order
"""

import hashlib
import io
import json
import os
import struct
import zipfile
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FORMAT, VERSION = "attrition-list", 1
NAME = "list.zip"
NO_DATE = 0
# of a member of a ZIP file, before its name: signature, version, flags, method, time, date, CRC-32, sizes,
# and the lengths of name and extra field (APPNOTE.TXT 4.3.7)
LOCAL_HEADER = struct.Struct("<4s5H3I2H")
PIECE = 1 << 20
ROW = [
    ("client", "<u8"),  # key_of its id
    ("rank", "<u4"),  # 0: not scored
    ("probability", "<f8"),  # NaN: not scored
    ("listed", "?"),  # on the short list
    ("dataset", "<u4"),  # place in datasets of the one that its row came from
    ("known", "<u4"),  # how many of its rows in that dataset had an outcome
    ("action", "<u4"),  # place in actions
    ("due", "<u4"),  # ordinal of the date, or NO_DATE
]
# without padding: of a bool one byte
ROW_SIZE = sum(1 if kind == "?" else int(kind[-1]) for _, kind in ROW)
DAMAGES = (
    *(OSError, ValueError, KeyError, TypeError, EOFError, RuntimeError, OverflowError, RecursionError),
    *(struct.error, zipfile.BadZipFile),
)


@dataclass(frozen=True)
class KeptList:
    """The list of one run, whose rows and names are read when they are asked for, and kept from then on."""

    run: str
    number: int
    scored_at: str
    release: str
    threshold: float
    datasets: tuple[str, ...]
    actions: tuple[str, ...]
    place: Path

    @cached_property
    def rows(self) -> "NDArray[np.void]":
        """The fields of ROW, sorted by client, shape (clients,); ValueError where they are damaged."""
        import numpy as np

        try:
            with zipfile.ZipFile(self.place) as members:
                return np.frombuffer(members.read("rows"), dtype=np.dtype(ROW))
        except DAMAGES as fault:
            raise ValueError(f"{type(fault).__name__}: {fault}") from None

    @cached_property
    def names(self) -> list[str]:
        """The clients' ids, in the order of the rows; ValueError where they are damaged."""
        try:
            with zipfile.ZipFile(self.place) as members:
                names = json.loads(members.read("names.json"))
        except DAMAGES as fault:
            raise ValueError(f"{type(fault).__name__}: {fault}") from None
        if not isinstance(names, list) or len(names) != len(self.rows):
            raise ValueError("it has not as many names as rows")
        return names

    def find(self, clients: "NDArray[np.uint64]") -> "NDArray[np.intp]":
        """The row of each key, -1 where the list has none; shape (keys,)."""
        import numpy as np

        if not len(self.rows):
            return np.full(len(clients), -1)
        kept = self.rows["client"]
        at = np.minimum(np.searchsorted(kept, clients), len(kept) - 1)
        return np.where(kept[at] == clients, at, -1)


@dataclass(frozen=True)
class Stand:
    """Where a client stood on one list; `rank` and `probability` are None where it was not scored."""

    run: str
    at: str
    release: str
    threshold: float
    probability: float | None
    rank: int | None


@dataclass(frozen=True)
class OnDisk:
    """A kept list whose rows stay in its file: a client is looked up there without reading the others."""

    run: str
    number: int
    scored_at: str
    release: str
    threshold: float
    place: Path
    first: int
    rows: int

    def stand(self, client: int) -> Stand | None:
        """Of the client with that key, or None where the list has not got it; OSError where it is gone."""
        import numpy as np

        row = np.dtype(ROW)
        file = os.open(self.place, os.O_RDONLY)
        try:

            def read(at: int, size: int) -> bytes:
                return os.pread(file, size, self.first + at * row.itemsize)

            # the key is a row's first field
            at = bisect_left(range(self.rows), client, key=lambda at: int.from_bytes(read(at, 8), "little"))
            data = read(at, row.itemsize) if at < self.rows else b""
        finally:
            os.close(file)
        found = np.frombuffer(data, dtype=row)
        if not len(found) or int(found["client"][0]) != client:
            return None
        probability, rank = float(found["probability"][0]), int(found["rank"][0])
        known = None if probability != probability else probability
        return Stand(self.run, self.scored_at, self.release, self.threshold, known, rank or None)


@dataclass(frozen=True)
class Kept:
    """The lists that are kept, the oldest first, and those that cannot be read, with what is wrong."""

    lists: Sequence[KeptList]
    damaged: Sequence[tuple[str, str]]

    @property
    def last(self) -> KeptList | None:
        return self.lists[-1] if self.lists else None

    @property
    def next_number(self) -> int:
        return self.last.number + 1 if self.last else 1


def keys(clients: Iterable[str]) -> "NDArray[np.uint64]":
    """A number for each id, the same in every run and on every machine; shape (clients,)."""
    import numpy as np

    digests = [hashlib.blake2b(_encoded(client), digest_size=8).digest() for client in clients]
    return np.frombuffer(b"".join(digests), dtype="<u8")


def pack(
    facts: dict[str, Any], datasets: Sequence[str], actions: Sequence[str], rows: Any, names: Sequence[str]
) -> bytes:
    """The content of list.zip; `rows` are records of ROW beside their `names`, in any order."""
    import numpy as np

    order = np.argsort(rows["client"], kind="stable")
    head = {"format": FORMAT, "version": VERSION, **facts, "datasets": datasets, "actions": actions}
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as members:
        members.writestr(zipfile.ZipInfo("list.json"), json.dumps(head, allow_nan=False))
        members.writestr(zipfile.ZipInfo("rows"), rows[order].tobytes())
        members.writestr(zipfile.ZipInfo("names.json"), json.dumps([names[at] for at in order.tolist()]))
    return stream.getvalue()


def kept(reports: Path) -> Kept:
    """Every list below the folder of reports; a run that was killed has left none."""
    lists, damaged = [], []
    for place in sorted(reports.glob(f"*/{NAME}")):
        try:
            lists.append(read(place))
        except DAMAGES as fault:
            damaged.append((place.parent.name, f"{type(fault).__name__}: {fault}"))
    return Kept(sorted(lists, key=lambda one: (one.number, one.run)), damaged)


def key_of(client: str) -> int:
    """The number of one id, as in `keys`."""
    return int.from_bytes(hashlib.blake2b(_encoded(client), digest_size=8).digest(), "little")


def on_disk(place: Path) -> OnDisk:
    """The same list, read once to the end to be sure of it; one of DAMAGES where it is none, or not whole."""

    with zipfile.ZipFile(place) as members:
        facts, about = _facts(members), members.getinfo("rows")
        if about.compress_type != zipfile.ZIP_STORED:
            raise ValueError("its rows are compressed")
        _check_rows(members)
    with place.open("rb") as file:
        file.seek(about.header_offset)
        *_, name, extra = LOCAL_HEADER.unpack(file.read(LOCAL_HEADER.size))
    return OnDisk(
        run=place.parent.name,
        number=int(facts["number"]),
        scored_at=str(facts["scored_at"]),
        release=str(facts["release"]),
        threshold=float(facts["threshold"]),
        place=place,
        first=about.header_offset + LOCAL_HEADER.size + name + extra,
        rows=about.file_size // ROW_SIZE,
    )


def _check_rows(members: zipfile.ZipFile) -> None:
    """One of DAMAGES where they are not whole; a piece at a time, the last one compares the CRC-32."""
    size = 0
    with members.open("rows") as rows:
        while piece := rows.read(PIECE):
            size += len(piece)
    if size % ROW_SIZE:
        raise ValueError(f"{size} bytes of rows are not rows of {ROW_SIZE} bytes")


def _facts(members: zipfile.ZipFile) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(members.read("list.json"))
    if (facts["format"], facts["version"]) != (FORMAT, VERSION):
        raise ValueError(f"it is {facts['format']} version {facts['version']}, not {FORMAT} {VERSION}")
    return facts


def _encoded(client: str) -> bytes:
    return client.encode("utf-8", "surrogatepass")


def read(place: Path) -> KeptList:
    """One of DAMAGES where the file is no such list, or not whole."""
    # each member is checked against its CRC-32 as it is read
    with zipfile.ZipFile(place) as members:
        facts = _facts(members)
        _check_rows(members)
    return KeptList(
        run=place.parent.name,
        number=int(facts["number"]),
        scored_at=str(facts["scored_at"]),
        release=str(facts["release"]),
        threshold=float(facts["threshold"]),
        datasets=tuple(facts["datasets"]),
        actions=tuple(facts["actions"]),
        place=place,
    )
