"""A folder tree as a value: kept in memory, compared, put back; what did not change is left alone."""

import hashlib
import os
import shutil
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple


class Entry(NamedTuple):
    """One file, link or folder: its type and mode, its content or target, and when it was written."""

    mode: int
    content: bytes
    written: int


Tree = Mapping[str, Entry]


@dataclass
class Shelf:
    """Reads and restores the folders `names` below `home`, files beside them included."""

    home: Path
    names: tuple[str, ...]
    known: dict[tuple[str, int, int, int, int], bytes] = field(default_factory=dict)

    def read(self) -> Tree:
        return {str(path.relative_to(self.home)): self._entry(path) for path in self._paths()}

    def restore(self, wanted: Tree) -> None:
        """Make what lies on disk equal to `wanted`, times included."""
        here = self.read()
        for name in sorted(here.keys() - wanted.keys(), reverse=True):
            _remove(self.home / name)
        changed = [name for name in sorted(wanted) if here.get(name) != wanted[name]]
        for name in changed:
            _put(self.home / name, wanted[name])
        # a folder's time changes with what is put into it
        for name in sorted(wanted, reverse=True):
            if stat.S_ISDIR(wanted[name].mode):
                os.utime(self.home / name, ns=(wanted[name].written, wanted[name].written))

    def _paths(self) -> Iterable[Path]:
        for name in self.names:
            top = self.home / name
            if top.exists() or top.is_symlink():
                yield top
            if top.is_dir() and not top.is_symlink():
                for folder, folders, names in os.walk(top):
                    yield from (Path(folder, each) for each in (*folders, *names))

    def _entry(self, path: Path) -> Entry:
        at = path.lstat()
        if stat.S_ISLNK(at.st_mode):
            return Entry(at.st_mode, os.fsencode(path.readlink()), 0)
        if not stat.S_ISREG(at.st_mode):
            return Entry(at.st_mode, b"", at.st_mtime_ns)
        key = (str(path), at.st_ino, at.st_size, at.st_mtime_ns, at.st_ctime_ns)
        if key not in self.known:
            self.known[key] = path.read_bytes()
        return Entry(at.st_mode, self.known[key], at.st_mtime_ns)


def is_draft(name: str) -> bool:
    """Whether it is, or lies in, what was never published: nobody reads it, the next run removes it."""
    _, *below = name.split("/")
    return any(part.startswith(".") for part in below) or name.endswith(".tmp")


def without_drafts(tree: Tree) -> Tree:
    """What a re-run can tell: all that was published, and that drafts lie about."""
    published = {name: entry for name, entry in tree.items() if not is_draft(name)}
    return published if len(published) == len(tree) else {**published, ".draft": Entry(0, b"", 0)}


def fingerprint(tree: Tree) -> str:
    """Equal for trees with the same names, types, modes and contents, whenever they were written."""
    digest = hashlib.sha256()
    for name in sorted(tree):
        entry = tree[name]
        digest.update(f"{name}\0{entry.mode}\0{len(entry.content)}\0".encode() + entry.content)
    return digest.hexdigest()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _put(path: Path, entry: Entry) -> None:
    if stat.S_ISDIR(entry.mode):
        path.mkdir(exist_ok=True)
        path.chmod(stat.S_IMODE(entry.mode))
        return
    if path.is_symlink() or path.exists():
        path.unlink()
    if stat.S_ISLNK(entry.mode):
        path.symlink_to(os.fsdecode(entry.content))
        return
    path.write_bytes(entry.content)
    path.chmod(stat.S_IMODE(entry.mode))
    os.utime(path, ns=(entry.written, entry.written))
