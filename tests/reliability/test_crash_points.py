"""kill -9 at every call that changes something: afterwards all is old or new, and one plain re-run heals.

A process that is killed leaves on disk what lies there at that moment, and its locks go with it. So one
run is stopped before each call, and in the middle of each write; what lies there then is looked at, kept, and
later put back and run again, once for each different state. Some points are killed in earnest as well.
"""

from collections.abc import Callable

import pytest

from attrition import files
from tests.reliability import ALL, checks, scenarios, spread, trees
from tests.reliability.attempts import Action, Call, Fault, Server
from tests.reliability.conftest import Tell
from tests.reliability.scenarios import SCRIPTS, TICKS, Eve, Scenario
from tests.reliability.trees import Tree

HEALED, KILLED = (None, 12) if ALL else (3, 1)
CHOSEN = (*TICKS, *SCRIPTS) if ALL else (SCRIPTS[0], SCRIPTS[3])


@pytest.mark.parametrize("scenario", CHOSEN, ids=str)
def test_a_kill_anywhere_leaves_old_or_new_and_a_re_run_heals(
    server: Server, tell: Tell, scenario: Scenario
) -> None:
    with scenarios.stand(server) as stand:
        eve = scenarios.eve(scenario, stand)
        points, states, faults = stopped_everywhere(eve)
        assert points > 10 and len(states) > 5
        commits = [(call, state) for call, state in states.values() if call.place.endswith("/current")]
        for call, state in (*spread([*states.values()], HEALED), *(() if ALL else commits)):
            stand.shelf.restore(state)
            faults += healed(eve, call)
        for point in spread(range(1, points + 1), KILLED):
            faults += killed(eve, point)
        tell("kill -9", scenario.name, points, len(states), len(faults))
    assert faults == []


def stopped_everywhere(eve: Eve) -> tuple[int, dict[str, tuple[Call, Tree]], list[str]]:
    """How many points there are, each different state on disk with the call it was met before, and faults."""
    stand, config = eve.stand, eve.stand.project.config()
    states: dict[str, tuple[Call, Tree]] = {}
    points, faults = 0, []
    arguments = (*stand.arguments, *eve.scenario.flags)
    for call in stand.server.pauses(eve.scenario.call, stand.home, *arguments, environ=stand.environ):
        points += 1
        tree = stand.shelf.read()
        if (key := trees.fingerprint(tree)) not in states:
            states[key] = (call, tree)
            faults += told(call, lambda: checks.whole(config))
    return points, states, faults


def healed(eve: Eve, call: Call) -> list[str]:
    """What is wrong after a plain re-run upon what lies there now."""

    def heal() -> None:
        eve.again()
        config = eve.stand.project.config()
        checks.whole(config)
        found = checks.result(config)
        assert found in eve.results, checks.difference(eve.results[0], found)

    return told(call, heal)


def killed(eve: Eve, point: int) -> list[str]:
    """A kill in earnest at this point, in the middle where it is a write: the lock is free, all is whole."""
    stand, config = eve.stand, eve.stand.project.config()
    stand.shelf.restore(eve.before)
    done = eve.attempt(Fault(Action.TEAR, point))
    call = done.calls[-1]

    def look() -> None:
        assert done.status == -9, done.err
        checks.whole(config)
        with files.lock(config.pipeline_lock):
            pass

    return [*told(call, look), *healed(eve, call)]


def told(call: Call, look: Callable[[], object]) -> list[str]:
    return checks.faults(f"{call.name} {call.place}", look)
