"""Every state in which a power cut may leave a file system, from a trace of system calls.

A model of what POSIX promises and no more: data of a file is there for certain once the file was synced, an
entry of a folder once that folder was synced; what was not synced is there or not, whatever its order, data
also in half. A rename is one step. After Pillai et al., All File Systems Are Not Created Equal: On the
Complexity of Crafting Crash-Consistent Applications (OSDI 2014).
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.reliability.attempts import Call

MOST = 10


@dataclass
class Node:
    """A file with content, a link with a target, or a folder with entries."""

    content: bytes = b""
    target: str | None = None
    entries: "dict[str, int] | None" = None

    def copy(self) -> "Node":
        return Node(self.content, self.target, None if self.entries is None else dict(self.entries))


@dataclass(frozen=True)
class Step:
    """One change of one node: data of a file, or entries of folders (a name without a node goes)."""

    node: int
    data: tuple[int, bytes] | None = None
    entries: tuple[tuple[int, str, int | None], ...] = ()


@dataclass
class Disk:
    """Nodes by number, 0 is the root folder; `made` are those that came with a step."""

    nodes: dict[int, Node] = field(default_factory=lambda: {0: Node(entries={})})

    def at(self, place: Path, root: Path) -> int | None:
        node: int | None = 0
        for part in place.relative_to(root).parts:
            entries = self.nodes[node].entries if node is not None else None
            node = (entries or {}).get(part)
        return node

    def add(self, node: Node) -> int:
        number = len(self.nodes)
        self.nodes[number] = node
        return number

    def copy(self) -> "Disk":
        return Disk({number: node.copy() for number, node in self.nodes.items()})

    def apply(self, step: Step, half: bool = False) -> None:
        node = self.nodes[step.node]
        if step.data:
            at, data = step.data
            data = data[: len(data) // 2] if half else data
            node.content = node.content[:at].ljust(at, b"\0") + data + node.content[at + len(data) :]
        for folder, name, target in step.entries:
            entries = self.nodes[folder].entries
            assert entries is not None
            if target is None:
                entries.pop(name, None)
            else:
                entries[name] = target

    def write(self, place: Path, number: int = 0) -> None:
        """Put it onto a real disk."""
        node = self.nodes[number]
        if node.target is not None:
            place.symlink_to(node.target)
        elif node.entries is None:
            place.write_bytes(node.content)
        else:
            place.mkdir()
            for name, below in node.entries.items():
                self.write(place / name, below)


@dataclass(frozen=True)
class State:
    """What may lie on disk after a power cut behind `after` calls of the trace."""

    after: int
    disk: Disk


def read(place: Path) -> Disk:
    """What lies below a folder, all of it synced."""
    disk = Disk()

    def fill(number: int, folder: Path) -> None:
        for path in sorted(folder.iterdir()):
            if path.is_symlink():
                node = Node(target=str(path.readlink()))
            elif path.is_dir():
                node = Node(entries={})
            else:
                node = Node(path.read_bytes())
            entries = disk.nodes[number].entries
            assert entries is not None
            entries[path.name] = disk.add(node)
            if node.entries is not None:
                fill(entries[path.name], path)

    fill(0, place)
    return disk


def states(before: Disk, trace: Sequence[Call], root: Path) -> Iterator[State]:
    """Each state once; `trace` are the calls below `root` in their order, with the data they wrote."""
    now, sure = before.copy(), before.copy()
    waiting: list[Step] = []
    seen: set[tuple[int, bool]] = set()
    for number, call in enumerate([None, *trace]):
        if call is not None:
            waiting = _happened(call, root, now, sure, waiting)
        for disk in _possible(sure, waiting):
            if (key := (_told(disk, 0), number == len(trace))) not in seen:
                seen.add(key)
                yield State(number, disk)


def _happened(call: Call, root: Path, now: Disk, sure: Disk, waiting: list[Step]) -> list[Step]:
    """The steps that may be lost after this call; `now` is what a process sees, `sure` what is synced."""
    if call.name == "fsync":
        node = now.at(Path(call.place), root)
        kept = [step for step in waiting if not _synced(step, node)]
        for step in waiting:
            if _synced(step, node):
                sure.apply(step)
        return kept
    steps = _steps(call, root, now)
    for step in steps:
        now.apply(step)
    for number in now.nodes.keys() - sure.nodes.keys():
        made = now.nodes[number]
        sure.nodes[number] = Node(b"", made.target, None if made.entries is None else {})
    return [*waiting, *steps]


def _synced(step: Step, node: int | None) -> bool:
    if step.entries:
        # of a rename the folder that it leads to; the other one follows with it
        return step.entries[-1][0] == node
    return step.node == node


def _steps(call: Call, root: Path, now: Disk) -> list[Step]:
    place = Path(call.place)
    folder, node = now.at(place.parent, root), now.at(place, root)
    assert folder is not None
    if call.name == "created" and node is None:
        node = now.add(Node())
        return [Step(node, entries=((folder, place.name, node),))]
    if call.name == "write" and node is not None:
        return [Step(node, data=(call.offset, call.data))]
    if call.name == "mkdir":
        node = now.add(Node(entries={}))
        return [Step(node, entries=((folder, place.name, node),))]
    if call.name == "symlink":
        node = now.add(Node(target=call.other))
        return [Step(node, entries=((folder, place.name, node),))]
    if call.name in ("unlink", "rmdir") and node is not None:
        return [Step(node, entries=((folder, place.name, None),))]
    if call.name == "rename" and node is not None:
        other = Path(call.other)
        to = now.at(other.parent, root)
        assert to is not None
        return [Step(node, entries=((folder, place.name, None), (to, other.name, node)))]
    return []


def _possible(sure: Disk, waiting: Sequence[Step]) -> Iterator[Disk]:
    """What is sure, with any of the steps that wait; beyond MOST of them, with few and with nearly all."""
    count = len(waiting)
    everything = range(count)
    chosen: Iterator[tuple[int, ...]]
    if count <= MOST:
        chosen = itertools.chain.from_iterable(
            itertools.combinations(everything, n) for n in range(count + 1)
        )
    else:
        few = [(), *((one,) for one in everything)]
        chosen = iter([*few, *(tuple(n for n in everything if n not in each) for each in few)])
    for steps in chosen:
        for half in (False, True):
            if half and not any(waiting[n].data for n in steps):
                continue
            disk = sure.copy()
            for n in steps:
                disk.apply(waiting[n], half)
            yield disk


def _told(disk: Disk, number: int) -> int:
    """A hash of what lies below a node; that of bytes is worked out once, copies share it."""
    node = disk.nodes[number]
    if node.entries is None:
        return hash((node.target, node.content))
    return hash(tuple(sorted((name, _told(disk, below)) for name, below in node.entries.items())))
