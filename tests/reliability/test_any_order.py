"""Whatever people and the machine do, in any order: the table is what a small model of it says."""

from contextlib import ExitStack
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from attrition import monitor, releases
from tests.projects import Project, classic_rows
from tests.reliability import ALL, checks, scenarios
from tests.reliability.attempts import Action, Fault, Server
from tests.reliability.conftest import Tell
from tests.reliability.scenarios import Stand

ROWS = 24
EXAMPLES, STEPS = (14, 16) if ALL else (2, 8)


class Life(RuleBasedStateMachine):
    """A pipeline, and a model of it: the rows that each dataset has, or had when it was removed."""

    server: Server
    steps: int = 0
    kills: int = 0

    @initialize()
    def begin(self) -> None:
        self.ended = ExitStack()
        self.stand: Stand = self.ended.enter_context(scenarios.stand(self.server))
        self.rows: dict[str, list[str]] = {}
        self.there: set[str] = set()
        self.ever: set[str] = set()
        self.made, self.behind = 0, True
        self.drop(False)
        self.tick()

    def teardown(self) -> None:
        if hasattr(self, "ended"):
            self.ended.close()

    @property
    def project(self) -> Project:
        return self.stand.project

    @rule(turned=st.booleans())
    def drop(self, turned: bool) -> None:
        self.made += 1
        self._put(f"d{self.made:03d}.csv", classic_rows(ROWS * 3, start=2000 * self.made, turned=turned))

    @rule()
    def drop_what_is_unfit(self) -> None:
        self.made += 1
        self.project.write(f"sourcedata/d{self.made:03d}.csv", "neither,rows\nnor,columns\n")
        self.behind = True

    @precondition(lambda self: self.there)
    @rule(data=st.data())
    def correct(self, data: Any) -> None:
        name = data.draw(st.sampled_from(sorted(self.there)))
        kept = self.rows[name][: max(2, len(self.rows[name]) - 2)]
        self._put(name, [*kept, f"corrected{self.made:03d}{len(kept):03d},70,630,9,0"])

    @precondition(lambda self: self.there and not self.behind)
    @rule(data=st.data())
    def remove(self, data: Any) -> None:
        """Once its rows are in the table, they stay there."""
        name = data.draw(st.sampled_from(sorted(self.there)))
        (self.project.home / "sourcedata" / name).unlink()
        self.there.discard(name)
        self.behind = True

    @rule(folds=st.integers(2, 6))
    def edit_the_config(self, folds: int) -> None:
        self.project.configure(deployment={"keep": 1}, training={"folds": folds})

    @rule()
    def roll_back(self) -> None:
        live = releases.live(self.project.config())
        if live and live.edition.parent and live.edition.parent in releases.kept(self.project.config()):
            self.stand.run("deployment:main", "--rollback")
            assert releases.require_live(self.project.config()).id == live.edition.parent

    @rule(point=st.integers(1, 420), action=st.sampled_from([Action.KILL, Action.TEAR]))
    def kill_a_tick(self, point: int, action: Action) -> None:
        done = self.stand.server.attempt(
            "fullprocess:main", self.stand.home, *self.stand.arguments, fault=Fault(action, point)
        )
        assert done.status in (0, -9), done.err
        type(self).kills += done.status == -9
        self.behind |= done.status != 0

    @rule()
    def tick(self) -> None:
        self.stand.run()
        self.behind = False
        assert self._table() == self._expected()
        assert checks.left_behind(self.project.config()) == []
        assert self.stand.run().out == ""

    @invariant()
    def all_is_whole(self) -> None:
        if not hasattr(self, "stand"):
            return
        type(self).steps += 1
        config = self.project.config()
        checks.whole(config)
        rows = self._table()
        assert len(rows) == len({*rows})
        for record in monitor.read(config.monitor).records.values():
            assert record.labels <= len(self.ever)

    def _put(self, name: str, rows: list[str]) -> None:
        self.rows[name] = rows
        self.ever |= {*rows}
        self.there.add(name)
        self.project.dataset(name, rows)
        self.behind = True

    def _expected(self) -> list[str]:
        return sorted({row for rows in self.rows.values() for row in rows})

    def _table(self) -> list[str]:
        place = self.project.home / "ingesteddata/finaldata.csv"
        lines = place.read_text().splitlines()[1:] if place.exists() else []
        return sorted(line.rpartition(",")[0] for line in lines)


def test_any_order_of_events_ends_where_the_model_says(server: Server, tell: Tell) -> None:
    class Here(Life):
        pass

    Here.server = server
    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=True,
            suppress_health_check=[*HealthCheck],
        ),
    )
    assert Here.steps > STEPS
    tell("any order of events", "steps, kills among them", Here.steps, Here.kills, 0)
