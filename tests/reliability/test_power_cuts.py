"""The power may go at any time: the publisher leaves the old edition or the new one, in every legal state.

Two harnesses, and a test of both: each way of publishing that is known to break must be seen by one of them.
"""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from attrition import publisher
from attrition.errors import ReleaseError
from tests.reliability import ALL, checks, power, scenarios, spread, writers
from tests.reliability.attempts import Call, Fault, Server
from tests.reliability.conftest import Tell
from tests.reliability.power import State
from tests.reliability.scenarios import SCRIPTS, Eve, Scenario

CALL = "tests.reliability.writers:main"
SOUND = "as it is"
OLD, NEW, AGAIN = "old", "new", "again"
STATES, HEALED = (600, 8) if ALL else (24, 12)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "production"


def after_a_power_cut(server: Server, root: Path, variant: str) -> tuple[int, int, list[str]]:
    """Calls of the trace, states on disk they may leave, and what a reader finds wrong in these."""
    writers.publish(root, OLD)
    before = power.read(root)
    done = server.attempt(CALL, root, str(root), NEW, variant, fault=Fault(with_data=True))
    assert done.status == 0, done.err
    found = list(power.states(before, done.calls, root))
    faults = [fault for state in found for fault in read_again(state, root, len(done.calls))]
    return len(done.calls), len(found), faults


def read_again(state: State, root: Path, calls: int) -> list[str]:
    shutil.rmtree(root)
    state.disk.write(root)
    # once it was reported as live, it is
    allowed = (NEW,) if state.after == calls else (OLD, NEW)
    fault = wrong(root, allowed)
    try:
        writers.publish(root, AGAIN)
        fault = fault or wrong(root, (AGAIN,))
    except (ReleaseError, OSError) as error:
        fault = fault or f"the next run does not heal it: {error}"
    return [f"after call {state.after}: {fault}"] if fault else []


def wrong(root: Path, allowed: Sequence[str]) -> str | None:
    """What a reader finds wrong."""
    shelf = writers.shelf(root)
    try:
        live = publisher.current(shelf)
        if live is None:
            return "nothing is live"
        publisher.verify(shelf, live)
    except ReleaseError as fault:
        return str(fault)
    word = live.manifest["word"]
    return None if word in allowed else f"{word} is live, which is none of {', '.join(allowed)}"


def after_a_kill(server: Server, root: Path, variant: str) -> tuple[int, list[str]]:
    """Points at which a publisher was looked at as if killed there, and what a reader finds wrong."""
    shutil.rmtree(root, ignore_errors=True)
    writers.publish(root, OLD)
    found = [(call, wrong(root, (OLD, NEW))) for call in pauses(server, root, variant)]
    return len(found), [f"{call.name} {call.place}: {fault}" for call, fault in found if fault]


def pauses(server: Server, root: Path, variant: str) -> Iterator[Call]:
    return server.pauses(CALL, root, str(root), NEW, variant)


@pytest.mark.parametrize("variant", list(writers.VARIANTS))
def test_the_publisher_survives_and_each_broken_one_is_seen(
    server: Server, tell: Tell, root: Path, variant: str
) -> None:
    calls, states, after_cut = after_a_power_cut(server, root, variant)
    points, after_kill = after_a_kill(server, root, variant)
    if variant == SOUND:
        assert (after_cut, after_kill) == ([], [])
        assert states > 20
        tell("power cut", "the publisher", calls, states, 0)
        tell("kill -9", "the publisher", points, points, 0)
    else:
        assert after_cut or after_kill
        tell("broken on purpose", f"{variant}: must fail", points, states, len(after_cut) + len(after_kill))


@pytest.mark.parametrize("scenario", [SCRIPTS[0], SCRIPTS[3]], ids=str)
def test_a_power_cut_under_a_script_leaves_old_or_new(server: Server, tell: Tell, scenario: Scenario) -> None:
    with scenarios.stand(server) as stand:
        eve = scenarios.eve(scenario, stand)
        config, before = stand.project.config(), power.read(stand.home)
        old = checks.whole(config)
        calls = eve.attempt(Fault(with_data=True)).calls
        new, found = checks.whole(config), list(power.states(before, calls, stand.home))
        faults = []
        for number, state in enumerate(chosen := spread(found, STATES)):
            put(state, stand.home)
            where = f"after call {state.after}"
            faults += checks.faults(where, lambda: is_one_of(checks.whole(config), old, new))
            if number % HEALED == 0:
                faults += checks.faults(where, lambda: is_healed(eve))
        tell("power cut", f"{scenario.name} (of {len(found):,} states)", len(calls), len(chosen), len(faults))
    assert faults == []


def put(state: State, home: Path) -> None:
    for path in home.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    home.rmdir()
    state.disk.write(home)


def is_one_of(live: object, *allowed: object) -> None:
    assert live in allowed, f"{live} is live, and neither of {allowed}"


def is_healed(eve: Eve) -> None:
    eve.again()
    found = checks.result(eve.stand.project.config())
    assert found in eve.results, checks.difference(eve.results[0], found)
