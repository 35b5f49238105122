"""Editions of a folder: immutable, verified, made current by one rename. Old or new, never a mix.

    root/
      releases/000007-3fa9c1d2/{trainedmodel.pkl, ..., manifest.json}     an edition, never changed
      current -> releases/000007-3fa9c1d2                                 the one commit point
      previous -> releases/000006-90ab12ff                                the parent of the current one
      trainedmodel.pkl -> current/trainedmodel.pkl                        a fixed name for each file

Deployment publishes releases this way, ingestion generations of its data. The writer holds the lock.

manifest.json has size and sha256 of each file, the number and the parent, and is signed (attrition.seals): a
changed file is not what the manifest says, a changed manifest is not what was signed, and an old one under
a new number is not what its folder is called. To point `current` back at a kept edition is a rollback.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import Any

from attrition import files, seals
from attrition.errors import AttritionError

# what a manifest says of a file: its size and sha256, or those of its pieces
Entry = Mapping[str, Any]

MANIFEST = "manifest.json"
MOST_PIECES = 1000
LONGEST_MANIFEST = 1 << 20
YOUNG_SECONDS = 3600


@dataclass(frozen=True)
class Shelf:
    """Where editions of one kind live, where the key that signs them does, and how a fault is called."""

    root: Path
    kind: str
    links: tuple[str, ...]
    fault: type[AttritionError]
    next_step: str
    key: Path

    @property
    def folder(self) -> Path:
        return self.root / self.kind


@dataclass(frozen=True)
class Edition:
    """One published folder. Its files are what the manifest says: name, size, sha256."""

    id: str
    folder: Path
    manifest: Mapping[str, Any]

    @property
    def sequence(self) -> int:
        return int(self.id.split("-")[0])

    @property
    def parent(self) -> str | None:
        parent: str | None = self.manifest["parent"]
        return parent

    def path(self, name: str) -> Path:
        return self.folder / name


def publish(
    shelf: Shelf, fill: Callable[[Path], Mapping[str, Entry] | None], facts: Mapping[str, Any]
) -> Edition:
    """Have `fill` write the files into a draft, then make it the current edition by one rename.

    `fill` may return the entries of large files, by name: these are not read again. Whatever it raises
    discards the draft. When this returns, the edition is live and on disk.
    KeyFault where there is no key to sign it with.
    """
    key = seals.required(shelf.key)
    shelf.folder.mkdir(parents=True, exist_ok=True)
    tidy(shelf)
    parent = _parent(shelf)
    sequence = 1 + max((edition_sequence(name) for name in names(shelf)), default=0)
    draft = shelf.root / f".draft-{sequence:06d}"
    draft.mkdir()
    try:
        known = fill(draft) or {}
        inventory = _inventory(draft, known=known)
        for name in inventory:
            files.sync_file(draft / name)
        edition_id = _named_after(sequence, inventory)
        unsigned = {
            "format": 1,
            "id": edition_id,
            "sequence": sequence,
            "parent": parent.id if parent else None,
            **facts,
            "files": inventory,
        }
        manifest = seals.sealed(shelf.kind, unsigned, key)
        files.write_json(draft / MANIFEST, manifest)
        draft.rename(shelf.folder / edition_id)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    files.sync_folder(shelf.folder)
    edition = Edition(edition_id, shelf.folder / edition_id, manifest)
    make_current(shelf, edition, only_size=tuple(known))
    return edition


def make_current(shelf: Shelf, edition: Edition, only_size: Sequence[str] = ()) -> None:
    """Point `current` at a verified edition: the commit. Then mend the links that follow from it.

    Of the files in `only_size` the bytes are not read.
    """
    verify(shelf, edition, only_size)
    files.point_link(shelf.root / "current", f"{shelf.kind}/{edition.id}")
    point_fixed_links(shelf, edition)


def point_fixed_links(shelf: Shelf, edition: Edition) -> None:
    """`previous` and the fixed names follow from `current`; what a killed run left is mended by the next."""
    previous = shelf.root / "previous"
    if edition.parent and (shelf.folder / edition.parent).is_dir():
        _ensure_link(previous, f"{shelf.kind}/{edition.parent}")
    else:
        previous.unlink(missing_ok=True)
    for name in shelf.links:
        _ensure_link(shelf.root / name, f"current/{name}")


def current(shelf: Shelf) -> Edition | None:
    """The edition that `current` names, or None where nothing was ever published."""
    try:
        target = (shelf.root / "current").readlink()
    except FileNotFoundError:
        return None
    except OSError:
        raise shelf.fault(f"{shelf.root / 'current'}: this is not a link. {shelf.next_step}") from None
    return read(shelf, target.name)


def read(shelf: Shelf, edition_id: str) -> Edition:
    """One edition by its id; only its manifest is read, and its signature checked."""
    edition = _unsigned(shelf, edition_id)
    if not seals.fits(shelf.kind, edition.manifest, seals.key(shelf.key)):
        raise shelf.fault(
            f"{edition.path(MANIFEST)}: this is not signed with {shelf.key.name}, so not what was published. "
            f"{shelf.next_step}"
        )
    return edition


def sign(
    shelf: Shelf, edition_id: str, trusted: Callable[[Mapping[str, Any]], bool], key: bytes
) -> AttritionError | None:
    """Sign an edition with another key; returns why not, where it is not `trusted` or sound."""
    try:
        edition = _unsigned(shelf, edition_id)
        verify(shelf, edition)
    except shelf.fault as fault:
        return fault
    if not trusted(edition.manifest):
        return shelf.fault(f"{edition.path(MANIFEST)}: its signature does not fit. {shelf.next_step}")
    # made beside the edition: a draft that a killed run left in it would be a file too many
    draft = shelf.root / f".{MANIFEST}.tmp"
    files.write_json(draft, seals.sealed(shelf.kind, edition.manifest, key))
    draft.rename(edition.path(MANIFEST))
    files.sync_folder(edition.folder)
    return None


def verify(shelf: Shelf, edition: Edition, only_size: Sequence[str] = ()) -> None:
    """Raise the shelf's fault unless the files are exactly those of the manifest, in size and sha256.

    Of the files in `only_size` the bytes are not read.
    """
    published = edition.manifest["files"]
    unread = {name: published[name] for name in only_size if name in published}
    found = _inventory(edition.folder, known=unread, like=published)
    wrong = sorted(name for name in {**published, **found} if published.get(name) != found.get(name))
    if wrong:
        raise shelf.fault(
            f"{edition.folder}: {', '.join(wrong)} is not what was published. {shelf.next_step}"
        )


def read_verified(shelf: Shelf, edition: Edition, name: str) -> bytes:
    """The bytes of one file, which are the published ones or the shelf's fault is raised."""
    expected = edition.manifest["files"].get(name)
    try:
        data = files.read_plain(edition.path(name))
    except (FileNotFoundError, ValueError):
        data = b""
    if (
        not expected
        or len(data) != expected["size"]
        or hashlib.sha256(data).hexdigest() != expected.get("sha256")
    ):
        raise shelf.fault(f"{edition.path(name)}: this is not what was published. {shelf.next_step}")
    return data


def entry(path: Path, like: Entry | None = None) -> Entry:
    """A file's entry, read from the disk; in the pieces of `like`, where that has pieces."""
    size = path.stat().st_size
    if like is None or "pieces" not in like:
        return {"size": size, "sha256": files.sha256(path)}
    sizes = [piece["size"] for piece in like["pieces"]]
    if sum(sizes) != size:
        return {"size": size}
    digests = files.sha256_of_pieces(path, sizes)
    return {"size": size, "pieces": [_piece(*one) for one in zip(sizes, digests, strict=True)]}


def grown(before: Entry, path: Path) -> Entry:
    """The entry of a file that is said to begin with the bytes of `before`: only what follows is read.

    Whether it does, shows when the whole is read: the earlier pieces keep their sha256.
    """
    pieces = before.get("pieces") or [_piece(before["size"], before["sha256"])]
    if len(pieces) >= MOST_PIECES:
        return entry(path)
    size = path.stat().st_size
    more = size - before["size"]
    (digest,) = files.sha256_of_pieces(path, [more], start=before["size"])
    return {"size": size, "pieces": [*pieces, _piece(more, digest)]}


def editions(shelf: Shelf) -> list[Edition]:
    """All editions whose manifest can be read, oldest first."""
    found = []
    for name in names(shelf):
        with suppress(shelf.fault):
            found.append(read(shelf, name))
    return found


def forget(shelf: Shelf, keep: int, pinned: frozenset[str] = frozenset()) -> list[str]:
    """Remove old editions; returns their ids.

    Kept are the current one, its `keep` nearest predecessors, the pinned ones, and all younger than an hour,
    since a reader may be at work in them.
    """
    live = current(shelf)
    if live is None:
        return []
    predecessors = [name for name in names(shelf) if edition_sequence(name) < live.sequence][-keep:]
    spared = {live.id, *predecessors, *pinned}
    gone = [name for name in names(shelf) if name not in spared and not _young(shelf.folder / name)]
    for name in gone:
        # out of sight first: a half-removed edition must not have an edition's name
        rubbish = shelf.root / f".draft-removed-{name}"
        (shelf.folder / name).rename(rubbish)
        shutil.rmtree(rubbish)
    return gone


def tidy(shelf: Shelf) -> None:
    """Remove what killed writers left."""
    for draft in shelf.root.glob(".draft-*"):
        shutil.rmtree(draft)
    files.sweep(shelf.root)


def names(shelf: Shelf) -> list[str]:
    """Folders with an edition's name, oldest first; what they hold is not looked at."""
    if not shelf.folder.is_dir():
        return []
    found = (p.name for p in shelf.folder.iterdir() if p.is_dir() and not p.is_symlink())
    return sorted((name for name in found if edition_sequence(name)), key=edition_sequence)


def edition_sequence(name: str) -> int:
    """Number of an edition by its folder's name; 0 for a name that is none."""
    number = name.split("-")[0]
    return int(number) if number.isdigit() else 0


def _unsigned(shelf: Shelf, edition_id: str) -> Edition:
    """An edition that says of itself what its folder is called; its signature is not looked at."""
    folder = shelf.folder / edition_id
    try:
        manifest = json.loads(files.read_plain(folder / MANIFEST, LONGEST_MANIFEST))
        named = edition_id == manifest["id"] == _named_after(manifest["sequence"], manifest["files"])
        known = named and "parent" in manifest
    except FileNotFoundError:
        raise shelf.fault(f"{folder}: this has no {MANIFEST}. {shelf.next_step}") from None
    except (ValueError, TypeError, KeyError, RecursionError):
        known = False
    if not known:
        raise shelf.fault(f"{folder / MANIFEST}: this is damaged. {shelf.next_step}")
    return Edition(edition_id, folder, manifest)


def _named_after(sequence: int, inventory: Mapping[str, Any]) -> str:
    """The id of an edition: its number, and the beginning of the sha256 of what it holds."""
    digest = hashlib.sha256(files.as_json(inventory).encode()).hexdigest()
    return f"{sequence:06d}-{digest[:8]}"


def _young(folder: Path) -> bool:
    # a time in the future (a clock set back) is not young for ever: only the last hour counts
    return 0 <= time() - folder.stat().st_mtime < YOUNG_SECONDS


def _inventory(
    folder: Path, known: Mapping[str, Entry], like: Mapping[str, Entry] | None = None
) -> dict[str, Entry]:
    """The entry of each file, read or `known` but for its size; what is no plain file has an empty one."""
    inventory: dict[str, Entry] = {}
    for path in sorted(folder.iterdir()):
        if path.is_symlink() or not path.is_file():
            inventory[path.name] = {}
        elif path.name in known:
            inventory[path.name] = {**known[path.name], "size": path.stat().st_size}
        elif path.name != MANIFEST:
            inventory[path.name] = entry(path, (like or {}).get(path.name))
    return inventory


def _piece(size: int, sha256: str) -> dict[str, Any]:
    return {"size": size, "sha256": sha256}


def _parent(shelf: Shelf) -> Edition | None:
    try:
        return current(shelf)
    except shelf.fault:
        # a damaged edition must not keep a sound one from taking its place
        return None


def _ensure_link(link: Path, target: str) -> None:
    if not (link.is_symlink() and str(link.readlink()) == target):
        files.point_link(link, target)
