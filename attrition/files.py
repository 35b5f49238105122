"""Whole or absent: write, fsync, rename, lock, point a link.

A reader of any file written here sees the old bytes or the new bytes, never a mix, whatever happens to the
writer. A failed fsync is never tried again (the kernel may have dropped the pages): the error rises.
"""

import errno
import fcntl
import hashlib
import json
import os
import secrets
import stat
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TextIO

from attrition.errors import LockedError

PIECE = 256 << 10
# what has no name yet is put on disk from this size on
IN_MEMORY = 32 << 20
LONGEST_COPY = 1 << 30
# far longer than any file that is read at once
LONGEST_PLAIN = 1 << 32
# what opening a link, a socket, or a file below a file says
NOT_PLAIN = (errno.ELOOP, errno.ENXIO, errno.ENOTDIR)

# the machine's fault, not a bug: the door turns these into a sentence
MACHINE_FAULTS = {
    errno.ENOSPC: "Free some space",
    errno.EDQUOT: "Free some space",
    errno.EFBIG: "Raise the file size limit",
    errno.EROFS: "Mount the folder writable",
    errno.EACCES: "Give this user the permission",
    errno.EPERM: "Give this user the permission",
    errno.EIO: "Check the disk",
    errno.EMFILE: "Raise the limit of open files",
    errno.ENFILE: "Raise the limit of open files",
}


def write_bytes(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Make `path` hold `data`, whole or not at all; the folder is made where it is missing.

    `mode` are the permissions, of which the umask takes some away.
    """
    write_pieces(path, [data], mode)


def write_pieces(path: Path, pieces: Iterable[bytes], mode: int = 0o666) -> None:
    """The same from pieces, one behind another, of which only one need be in memory."""
    with _draft(path, mode) as descriptor:
        for piece in pieces:
            _write_all(descriptor, piece)


@contextmanager
def written(path: Path) -> Iterator[TextIO]:
    """Text that is too long to be held at once: `path` is there, whole, once the block has ended well."""
    with (
        _draft(path) as descriptor,
        os.fdopen(descriptor, "w", encoding="utf-8", newline="", closefd=False) as stream,
    ):
        yield stream


@contextmanager
def _draft(path: Path, mode: int = 0o666) -> Iterator[int]:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            yield descriptor
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        draft.rename(path)
    except BaseException:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def unnamed(folder: Path) -> IO[bytes]:
    """A file in no folder's list, gone with the process; in memory while it is small."""
    return tempfile.SpooledTemporaryFile(IN_MEMORY, dir=str(folder) if folder.is_dir() else None)


def pieces_of(stream: IO[bytes]) -> Iterator[bytes]:
    """What an open file holds, from its beginning."""
    stream.seek(0)
    while piece := stream.read(PIECE):
        yield piece


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def write_json(path: Path, facts: Any) -> None:
    write_text(path, as_json(facts) + "\n")


def as_json(facts: Any) -> str:
    """JSON for a file: strict (no NaN), one key a line, UTF-8 as it is."""
    return json.dumps(facts, indent=1, allow_nan=False, ensure_ascii=False)


def write_joined(path: Path, pieces: Sequence[bytes | Path]) -> None:
    """Write bytes and other files' bytes one after another. For a draft: not synced, not renamed."""
    with path.open("xb", buffering=0) as out:
        for piece in pieces:
            if isinstance(piece, bytes):
                _write_all(out.fileno(), piece)
            else:
                _append_file(out.fileno(), piece)


def append_line(path: Path, line: str) -> bool:
    """Add one line and have it on disk; returns whether a killed writer's torn line was closed before it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        size = os.fstat(descriptor).st_size
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        _write_all(descriptor, f"{os.linesep if torn else ''}{line}\n".encode())
        os.fsync(descriptor)
        return torn
    finally:
        os.close(descriptor)


def read_json(path: Path) -> Any:
    return json.loads(path.read_bytes())


def read_plain(path: Path, most: int = LONGEST_PLAIN) -> bytes:
    """All bytes of a plain file; ValueError where it is a link, a pipe, or longer than `most`.

    FileNotFoundError where there is none. It never waits for a writer, and reads what it looked at.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in NOT_PLAIN:
            raise ValueError(f"{path} is no plain file") from None
        raise
    try:
        at = os.fstat(descriptor)
        if not stat.S_ISREG(at.st_mode) or at.st_size > most:
            raise ValueError(f"{path} is no plain file of at most {most} bytes")
        with os.fdopen(descriptor, "rb", closefd=False) as stream:
            return stream.read()
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    return sha256_of_pieces(path, [path.stat().st_size])[0]


def sha256_of_pieces(path: Path, sizes: Sequence[int], start: int = 0) -> list[str]:
    """The sha256 of each piece of a file, one behind another from the byte `start` on; of what there is."""
    digests, buffer = [], memoryview(bytearray(PIECE))
    with path.open("rb", buffering=0) as stream:
        stream.seek(start)
        for left in sizes:
            digest = hashlib.sha256()
            while left and (read := stream.readinto(buffer[:left])):
                digest.update(buffer[:read])
                left -= read
            digests.append(digest.hexdigest())
    return digests


def sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# on Linux a folder is synced as a file is: opened to read, then fsync
sync_folder = sync_file


def point_link(link: Path, target: str) -> None:
    """Make `link` a symbolic link to `target` by one rename: readers see the old target or the new one."""
    draft = link.with_name(f".{link.name}.{secrets.token_hex(4)}.tmp")
    draft.symlink_to(target)
    try:
        draft.rename(link)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    sync_folder(link.parent)


def sweep(folder: Path) -> None:
    """Remove the drafts that killed writers left; only for who holds the lock."""
    for draft in folder.glob(".*.tmp"):
        draft.unlink(missing_ok=True)


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold the kernel's lock on `path`, or raise LockedError at once. It dies with the process, never before.

    The file is never removed; should somebody remove it, the inode no longer fits and the new file is locked.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _locked_descriptor(path)
    try:
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"held by process {os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _append_file(descriptor: int, path: Path) -> None:
    """Copy all of a file behind what was written; the kernel does it, without a detour through here."""
    with path.open("rb", buffering=0) as stream:
        while os.sendfile(descriptor, stream.fileno(), None, LONGEST_COPY):
            pass


def _locked_descriptor(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and path.stat().st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        except BlockingIOError:
            holder = os.pread(descriptor, 200, 0).decode("utf-8", "replace").strip()
            os.close(descriptor)
            raise LockedError(
                f"{path}: another run is at work ({holder or 'it has just begun'}). "
                "Wait until it has finished; the lock goes with it, there is nothing to remove."
            ) from None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
