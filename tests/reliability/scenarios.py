"""Pipelines on the eve of something: each is prepared once, then run again and again from the same state."""

import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from attrition import generations, releases
from tests.projects import HEADER, Project, classic_rows
from tests.reliability import checks
from tests.reliability.attempts import Done, Fault, Server
from tests.reliability.trees import Shelf, Tree

# a predecessor is forgotten soon, and a model chosen fast: thousands are
SETTINGS: Mapping[str, Any] = {"deployment": {"keep": 1}, "training": {"folds": 2}}
DATABASE, PUBLISHED = "clients.db", "published.db"
WRITTEN = (
    *checks.FOLDERS,
    ".config.json.stamp",
    *(f"{PUBLISHED}{end}" for end in ("", "-journal", "-wal", "-shm")),
)


@dataclass(frozen=True)
class Stand:
    """A pipeline in a folder of its own, the server that runs it, and the folders that it writes."""

    project: Project
    server: Server
    shelf: Shelf
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.project.home

    @property
    def arguments(self) -> tuple[str, ...]:
        return ("--config", str(self.home / "config.json"))

    def run(self, call: str = "fullprocess:main", *flags: str) -> Done:
        """A run that must succeed."""
        done = self.server.attempt(call, self.home, *self.arguments, *flags, environ=self.environ)
        assert done.status == 0, done.err
        return done

    def age(self) -> None:
        """As if the editions of the past were older than any reader: they may be forgotten."""
        for shelf in (generations.shelf(self.project.config()), releases.shelf(self.project.config())):
            for folder in shelf.folder.iterdir():
                os.utime(folder, (10**9, 10**9))


@dataclass(frozen=True)
class Scenario:
    """What was before, and the run that follows; `again` is the plain re-run that heals."""

    name: str
    prepare: Callable[[Stand], None]
    call: str = "fullprocess:main"
    flags: tuple[str, ...] = ()
    again: str | None = None

    def __str__(self) -> str:
        return self.name


@contextmanager
def stand(server: Server, home: Path | None = None) -> Iterator[Stand]:
    # in memory where there is room for files in memory: thousands of small trees are written
    memory = Path("/dev/shm")
    place = home or (memory if os.access(memory, os.W_OK) else None)
    with tempfile.TemporaryDirectory(prefix="attrition-", dir=place) as folder:
        project = Project(Path(folder), SETTINGS)
        project.dataset("test.csv", classic_rows(60, start=1000), folder="testdata")
        yield Stand(project, server, Shelf(project.home, WRITTEN))


def nothing(stand: Stand) -> None:
    stand.project.dataset("a.csv", classic_rows(120))


def live(stand: Stand) -> None:
    nothing(stand)
    stand.run()


def news(stand: Stand) -> None:
    live(stand)
    stand.project.dataset("b.csv", classic_rows(40, start=3000))


def moved_world(stand: Stand) -> None:
    """Three releases, the oldest to be forgotten, and rows that contradict the live one."""
    news(stand)
    stand.run()
    stand.project.dataset("c.csv", classic_rows(12, start=4000))
    for stage in ("ingestion", "training", "scoring", "deployment"):
        stand.run(f"{stage}:main")
    stand.run("training:main", "--force")
    stand.run("scoring:main")
    stand.run("deployment:main", "--force")
    stand.run()
    stand.age()
    stand.project.dataset("d.csv", classic_rows(400, start=5000, turned=True))


def more_of_the_same(stand: Stand) -> None:
    live(stand)
    stand.project.dataset("b.csv", classic_rows(90, start=3000))


def two_releases(stand: Stand) -> None:
    live(stand)
    stand.project.dataset("d.csv", classic_rows(400, start=5000, turned=True))
    stand.run()


def corrected(stand: Stand) -> None:
    """One dataset corrected, one gone, one unfit, and generations old enough to be forgotten."""
    news(stand)
    stand.run()
    for name, start in (("c.csv", 3100), ("d.csv", 3200)):
        stand.project.dataset(name, classic_rows(12, start=start))
        stand.run()
    stand.age()
    stand.project.dataset("b.csv", [*classic_rows(36, start=3000), "client03036,-5,70,9,0"])
    (stand.project.home / "sourcedata/c.csv").unlink()
    stand.project.write("sourcedata/unfit.csv", "neither,rows\nnor,columns\n")


def database(stand: Stand) -> None:
    """Rows of a database beside those of the folder, and tables for BI tools."""
    columns = HEADER.split(",")
    with closing(sqlite3.connect(stand.home / DATABASE)) as connection, connection:
        connection.execute(f"CREATE TABLE clients ({', '.join(columns)}, change)")
    stand.project.configure(
        **SETTINGS,
        database={"query": f"SELECT {HEADER}, change FROM clients", "cursor": "change"},
        publish={},
    )
    stand.environ["ATTRITION_DATABASE_URL"] = f"sqlite:///{stand.home / DATABASE}"
    stand.environ["ATTRITION_PUBLISH_URL"] = f"sqlite:///{stand.home / PUBLISHED}"
    nothing(stand)
    _insert(stand, 1, classic_rows(20, start=6000))
    stand.run()
    _insert(stand, 2, classic_rows(20, start=6100))


def _insert(stand: Stand, change: int, rows: list[str]) -> None:
    with closing(sqlite3.connect(stand.home / DATABASE)) as connection, connection:
        for row in rows:
            connection.execute("INSERT INTO clients VALUES (?, ?, ?, ?, ?, ?)", [*row.split(","), change])


def up_to(stage: str) -> Callable[[Stand], None]:
    """A first release, new data, and every stage before this one done by hand."""

    def prepare(stand: Stand) -> None:
        news(stand)
        for before in STAGES[: STAGES.index(stage)]:
            stand.run(f"{before}:main")

    return prepare


STAGES = ("ingestion", "training", "scoring", "deployment", "diagnostics", "reporting")
TICKS = (
    Scenario("first release", nothing),
    Scenario("new data, no drift", news),
    Scenario("drift, a release follows", moved_world),
    Scenario("a challenger refused", more_of_the_same),
    # what follows is no tick: an idle one ends at its stamp, and leaves drafts to the next that has work
    Scenario("rollback", two_releases, "deployment:main", ("--rollback",), "ingestion:main"),
    Scenario("a dataset corrected", corrected),
    Scenario("database and BI tables", database),
)
SCRIPTS = tuple(Scenario(f"{stage}.py", up_to(stage), f"{stage}:main") for stage in STAGES)


@dataclass(frozen=True)
class Eve:
    """A scenario prepared: its state before, and the results that its run and a re-run may come to."""

    scenario: Scenario
    stand: Stand
    before: Tree
    results: Sequence[dict[str, Any]]

    def run(self) -> Done:
        return self.stand.run(self.scenario.call, *self.scenario.flags)

    def attempt(self, fault: Fault) -> Done:
        """The run with a fault in it."""
        stand, arguments = self.stand, (*self.stand.arguments, *self.scenario.flags)
        return stand.server.attempt(
            self.scenario.call, stand.home, *arguments, fault=fault, environ=stand.environ
        )

    def again(self) -> Done:
        """The plain re-run after trouble."""
        return self.stand.run(self.scenario.again) if self.scenario.again else self.run()


def eve(scenario: Scenario, stand: Stand) -> Eve:
    scenario.prepare(stand)
    made = Eve(scenario, stand, stand.shelf.read(), ())
    results = []
    # a rollback that never began is not done again: then the re-run alone is right as well
    for runs in ((made.run, made.again), (made.again,)) if scenario.again else ((made.run,),):
        for run in runs:
            run()
        results.append(checks.result(stand.project.config()))
        stand.shelf.restore(made.before)
    return replace(made, results=results)
