"""Publish an edition, as the pipeline does or in one of the ways that break; runs in the fork server."""

import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

from attrition import files, publisher, seals, signing
from attrition.errors import ReleaseError
from attrition.publisher import Edition, Shelf

LINKS = ("model", "score")
SIZE = 600


def shelf(root: Path) -> Shelf:
    return Shelf(root, "releases", LINKS, ReleaseError, "Run: something", root / "signing.key")


def publish(root: Path, word: str) -> Edition:
    def fill(draft: Path) -> None:
        for name in LINKS:
            files.write_text(draft / name, f"{name} {word} " * SIZE)

    if not shelf(root).key.exists():
        signing.make_key(shelf(root).key)
    return publisher.publish(shelf(root), fill, {"word": word})


def without_syncs(skipped: Callable[[str, int], bool]) -> None:
    sync = os.fsync

    def fsync(descriptor: int) -> None:
        if not skipped(str(Path(f"/proc/self/fd/{descriptor}").readlink()), os.fstat(descriptor).st_mode):
            sync(descriptor)

    os.fsync = fsync  # type: ignore[assignment]


def unlink_first(link: Path, target: str) -> None:
    link.unlink(missing_ok=True)
    link.symlink_to(target)
    files.sync_folder(link.parent)


def in_place(root: Path, word: str) -> Edition:
    """Over the files of the live edition, as copying would."""
    live = publisher.current(shelf(root))
    assert live
    for name in LINKS:
        with live.path(name).open("wb", buffering=0) as stream:
            stream.write(f"{name} {word} ".encode() * SIZE)
    inventory = publisher._inventory(live.folder, {})
    name = publisher._named_after(live.sequence, inventory)
    facts = {**live.manifest, "word": word, "files": inventory, "id": name}
    manifest = seals.sealed("releases", facts, seals.required(shelf(root).key))
    files.write_json(live.path(publisher.MANIFEST), manifest)
    live.folder.rename(live.folder.with_name(name))
    files.point_link(root / "current", f"releases/{name}")
    return publisher.read(shelf(root), name)


VARIANTS: dict[str, Callable[[str], None]] = {
    "as it is": lambda root: None,
    "no fsync of files": lambda root: without_syncs(lambda path, mode: stat.S_ISREG(mode)),
    "no fsync of the draft folder": lambda root: without_syncs(
        lambda path, mode: ".draft-" in Path(path).name
    ),
    "no fsync of releases/": lambda root: without_syncs(lambda path, mode: path.endswith("/releases")),
    "no fsync of the root": lambda root: without_syncs(lambda path, mode: path == root),
    "unlink before the link": lambda root: setattr(files, "point_link", unlink_first),
    "copies in place": lambda root: globals().update(publish=in_place),
}


def main() -> int:
    root, word, variant = sys.argv[1:]
    VARIANTS[variant](root)
    publish(Path(root), word)
    return 0
