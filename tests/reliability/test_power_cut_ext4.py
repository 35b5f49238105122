"""A power cut in earnest: ext4 on a loop device, shut down at once without its journal, and mounted again."""

import fcntl
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.reliability import ALL, spread, writers
from tests.reliability.attempts import Action, Fault, Server, program
from tests.reliability.conftest import Tell
from tests.reliability.test_power_cuts import AGAIN, CALL, NEW, OLD, SOUND, wrong

# _IOR('X', 125, __u32), and what it is told: throw away what is not in the journal on disk yet
FS_IOC_SHUTDOWN, NO_LOG_FLUSH = 0x8004587D, 2
SEEN = (SOUND, "no fsync of files", "no fsync of the root")


@pytest.mark.parametrize("variant", SEEN if ALL else SEEN[:1])
def test_after_a_power_cut_anywhere_ext4_has_the_old_or_the_new(
    server: Server, tell: Tell, tmp_path: Path, variant: str
) -> None:
    faults, points = [], 0
    with ext4(tmp_path) as disk:
        calls = attempt(server, prepared(disk), variant, Fault())
        for point in spread(range(1, calls + 2), None if ALL else 6):
            points += 1
            root = prepared(disk)
            attempt(server, root, variant, Fault(Action.KILL, point))
            cut_power(disk)
            # behind the last call it was reported as live, so it is
            fault = wrong(root, (NEW,) if point > calls else (OLD, NEW))
            if fault is None:
                writers.publish(root, AGAIN)
                fault = wrong(root, (AGAIN,))
            faults += [f"point {point}: {fault}"] if fault else []
    told = "ext4" if variant == SOUND else f"ext4, {variant}: must fail"
    tell("power cut", told, calls, points, len(faults))
    assert (faults == []) == (variant == SOUND), faults


def prepared(disk: Path) -> Path:
    subprocess.run(["rm", "-rf", disk / "production"], check=True)
    root = disk / "production"
    writers.publish(root, OLD)
    os.sync()
    return root


def attempt(server: Server, root: Path, variant: str, fault: Fault) -> int:
    return len(server.attempt(CALL, root, str(root), NEW, variant, fault=fault).calls)


@contextmanager
def ext4(folder: Path) -> Iterator[Path]:
    """A file system of its own, or the test is skipped where nobody may make one."""
    image, disk = folder / "image", folder / "disk"
    with image.open("wb") as stream:
        stream.truncate(64 << 20)
    disk.mkdir()
    subprocess.run([program("mkfs.ext4", "e2fsprogs"), "-q", "-F", image], check=True)
    mounted = subprocess.run(["mount", "-o", "loop", image, disk], capture_output=True, text=True)
    if mounted.returncode:
        # also in CI: its kernel may have no loop devices, and the model of test_power_cuts.py sees more
        pytest.skip(f"this machine mounts no loop device: {mounted.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", disk], check=True)


def cut_power(disk: Path) -> None:
    assert disk.stat().st_dev != Path("/").stat().st_dev, "never the disk that the machine lives on"
    descriptor = os.open(disk, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, FS_IOC_SHUTDOWN, NO_LOG_FLUSH.to_bytes(4, "little"))
    finally:
        os.close(descriptor)
    image = disk.parent / "image"
    subprocess.run(["umount", disk], check=True)
    subprocess.run(["mount", "-o", "loop", image, disk], check=True)
