"""kill -9 at every call that changes something: afterwards all is old or new, and one plain re-run heals.

A process that is killed leaves on disk what lies there at that moment, and its locks go with it. So one
run is stopped before each call, and in the middle of each write; what lies there then is looked at, kept, and
later put back and run again: once for each that a re-run can tell from the others, which is to say drafts
aside, and some of the rest. Some points are killed in earnest as well.
"""

from collections.abc import Callable, Sequence

import pytest

from attrition import files
from tests.reliability import ALL, checks, scenarios, spread, trees
from tests.reliability.attempts import Action, Call, Fault, Server
from tests.reliability.conftest import Tell
from tests.reliability.scenarios import SCRIPTS, TICKS, Eve, Scenario
from tests.reliability.trees import Tree

HEALED, MORE, KILLED = 3, 10, 12 if ALL else 1
Met = tuple[Call, Tree]
CHOSEN = (*TICKS, *SCRIPTS) if ALL else (SCRIPTS[0], SCRIPTS[3])


@pytest.mark.parametrize("scenario", CHOSEN, ids=str)
def test_a_kill_anywhere_leaves_old_or_new_and_a_re_run_heals(
    server: Server, tell: Tell, scenario: Scenario
) -> None:
    with scenarios.stand(server) as stand:
        eve = scenarios.eve(scenario, stand)
        points, states, faults = stopped_everywhere(eve)
        assert points > 10 and len(states) > 5
        again = to_be_healed([*states.values()])
        for call, state in again:
            stand.shelf.restore(state)
            faults += healed(eve, call)
        for point in spread(range(1, points + 1), KILLED):
            faults += killed(eve, point)
        tried = f"{scenario.name} ({len(again) + KILLED} run again)"
        tell("kill -9", tried, points, len(states), len(faults))
    assert faults == []


def to_be_healed(states: Sequence[Met]) -> Sequence[Met]:
    told = {trees.fingerprint(trees.without_drafts(tree)): (call, tree) for call, tree in states}
    if ALL:
        return [*told.values(), *spread([met for met in states if met not in told.values()], MORE)]
    return [*spread(states, HEALED), *(met for met in states if met[0].place.endswith("/current"))]


def stopped_everywhere(eve: Eve) -> tuple[int, dict[str, Met], list[str]]:
    """How many points there are, each different state on disk with the call it was met before, and faults."""
    stand, config = eve.stand, eve.stand.project.config()
    states: dict[str, Met] = {}
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
