"""A disk that is full, broken or out of reach at any call: a sentence, a status, the old state whole."""

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.reliability import ALL, checks, scenarios, spread
from tests.reliability.attempts import CHANGES, Action, Done, Fault, Kind, Server, program
from tests.reliability.conftest import Tell
from tests.reliability.scenarios import SCRIPTS, TICKS, Eve, Scenario

# from that call on there is no room; at that call alone the disk fails; that call alone is not permitted
FAULTS = {
    "ENOSPC": Fault(Action.FILL, error=errno.ENOSPC, kinds=Kind.CREATE | Kind.WRITE | Kind.SYNC),
    "EIO": Fault(Action.FAIL, error=errno.EIO, kinds=CHANGES),
    "EACCES": Fault(Action.FAIL, error=errno.EACCES, kinds=Kind.CREATE | Kind.NAME),
}
DRIFT, CORRECTED, DATABASE, REPORTING = TICKS[2], TICKS[5], TICKS[6], SCRIPTS[5]
CHOSEN = [*SCRIPTS, DRIFT, CORRECTED, DATABASE] if ALL else [SCRIPTS[0], SCRIPTS[3]]
POINTS = {**{script: 100 for script in SCRIPTS}, REPORTING: 30, DRIFT: 12, CORRECTED: 20, DATABASE: 20}
SIZES = 16 if ALL else 3


@pytest.mark.parametrize("scenario", CHOSEN, ids=str)
def test_a_fault_at_any_call_is_told_and_a_re_run_heals(
    server: Server, tell: Tell, scenario: Scenario
) -> None:
    found = []
    with scenarios.stand(server) as stand:
        eve = scenarios.eve(scenario, stand)
        for name, fault in FAULTS.items():
            stand.shelf.restore(eve.before)
            calls = eve.attempt(Fault(kinds=fault.kinds)).calls
            points = spread(range(1, len(calls) + 1), POINTS[scenario] if ALL else 5)
            faults = [each for point in points for each in failing(eve, fault.at(point))]
            tell(name, scenario.name, len(calls), len(points), len(faults))
            found += faults
    assert found == []


def failing(eve: Eve, fault: Fault) -> list[str]:
    """What is wrong after a run with this fault, and after a plain one behind it."""
    stand = eve.stand
    stand.shelf.restore(eve.before)
    done = eve.attempt(fault)
    where = (
        f"{errno.errorcode[fault.error]} {done.calls[0].other} {done.calls[0].place}" if done.calls else ""
    )
    return [*checks.faults(where, lambda: told(eve, done)), *checks.faults(where, lambda: heal(eve))]


def told(eve: Eve, done: Done) -> None:
    """Either the work is done all the same, or the run failed with a sentence; whole is all either way."""
    config = eve.stand.project.config()
    checks.whole(config)
    assert "Traceback" not in done.err, done.err
    if done.status == 0:
        found = checks.result(config) | {"left behind": []}
        assert found in eve.results, checks.difference(eve.results[0], found)
    else:
        script = eve.scenario.call.partition(":")[0]
        assert done.status == 1 and f"{script}.py: " in done.err, (done.status, done.err)


def heal(eve: Eve) -> None:
    eve.again()
    config = eve.stand.project.config()
    checks.whole(config)
    found = checks.result(config)
    assert found in eve.results, checks.difference(eve.results[0], found)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_disk_that_is_really_full_or_read_only(server: Server, tell: Tell, tmp_path: Path) -> None:
    faults: list[str] = []
    with disk(tmp_path) as home, scenarios.stand(server, home=home) as stand:
        eve = scenarios.eve(TICKS[1], stand)
        stand.run()
        most = used(home)
        stand.shelf.restore(eve.before)
        least = used(home)
        for size in spread(range(least, most + 1, 4096), SIZES):
            faults += on_a_disk_of(eve, f"size={size}", home)
        faults += on_a_disk_of(eve, "ro", home)
    tell("a disk of that size", TICKS[1].name, SIZES + 1, SIZES + 1, len(faults))
    assert faults == []


def on_a_disk_of(eve: Eve, option: str, home: Path) -> list[str]:
    eve.stand.shelf.restore(eve.before)
    subprocess.run(["mount", "-o", f"remount,{option}", home], check=True)
    done = eve.attempt(Fault())
    found = checks.faults(option, lambda: told(eve, done))
    subprocess.run(["mount", "-o", "remount,rw,size=64m", home], check=True)
    return [*found, *checks.faults(option, lambda: heal(eve))]


@contextmanager
def disk(folder: Path) -> Iterator[Path]:
    """A file system in memory, of its own."""
    made = subprocess.run(
        [program("mount", "mount"), "-t", "tmpfs", "-o", "size=64m", "none", folder],
        capture_output=True,
        text=True,
    )
    if made.returncode:
        pytest.skip(f"this machine lets nobody mount: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def used(folder: Path) -> int:
    at = os.statvfs(folder)
    return (at.f_blocks - at.f_bfree) * at.f_frsize
