"""Many at once: one works, the others wait their turn or say so; a reader never sees a mix."""

import hashlib
import json
import threading
from pathlib import Path

import pytest

from attrition import files, generations, publisher, releases
from tests.projects import classic_rows
from tests.reliability import ALL, checks, scenarios
from tests.reliability.attempts import Action, Fault, Server
from tests.reliability.conftest import Tell
from tests.reliability.scenarios import STAGES, Stand

DONE, LOCKED = 0, 5
ROUNDS = 6 if ALL else 1
MIXED = [*("fullprocess",) * 4, *STAGES, *STAGES, *("ingestion",) * 4]


def start(stand: Stand, scripts: list[str]) -> list[int]:
    done = stand.server.attempt(
        "tests.reliability.crowd:at_once", stand.home, ",".join(scripts), *stand.arguments, "-q"
    )
    assert done.status == 0 and "Traceback" not in done.err, done.err
    statuses: list[int] = json.loads(done.out)
    return statuses


@pytest.mark.parametrize("scripts", [["fullprocess"] * 20, MIXED], ids=["20 ticks", "20 of all scripts"])
def test_of_twenty_starts_at_once_one_works_at_a_time(server: Server, tell: Tell, scripts: list[str]) -> None:
    with scenarios.stand(server) as stand:
        eve = scenarios.eve(scenarios.TICKS[1], stand)
        config = stand.project.config()
        for _ in range(ROUNDS):
            stand.shelf.restore(eve.before)
            statuses = start(stand, scripts)
            # every script finds its input: a first release is there
            assert {*statuses} <= {DONE, LOCKED} and DONE in statuses
            checks.whole(config)
            with files.lock(config.pipeline_lock):
                pass
            eve.again()
            table = stand.project.read("ingesteddata/finaldata.csv").splitlines()
            assert len(table) == len({*table}) == 1 + 160
            assert checks.left_behind(config) == []
        tell("20 starts at once", "ticks" if scripts[-1] == "fullprocess" else "all scripts", 20, ROUNDS, 0)


def test_a_reader_never_sees_a_mix_while_releases_and_data_change(server: Server, tell: Tell) -> None:
    with scenarios.stand(server) as stand:
        scenarios.live(stand)
        config = stand.project.config()
        scripts, times = "ingestion,training,scoring,deployment", str(12 if ALL else 3)
        ended: list[int] = []

        def write() -> None:
            call = "tests.reliability.crowd:in_turn"
            done = server.attempt(call, stand.home, scripts, times, *stand.arguments, "--force", "-q")
            ended.append(done.status)

        writer = threading.Thread(target=write)
        writer.start()
        reads, seen = 0, set()
        while writer.is_alive():
            release, generation = releases.require_live(config), generations.require_current(config)
            model, scores = release.read("trainedmodel.pkl"), json.loads(release.read("scores.json"))
            assert scores["model_sha256"] == hashlib.sha256(model).hexdigest()
            publisher.verify(generations.shelf(config), generation)
            reads += 1
            seen |= {release.id, generation.id}
        writer.join()
        assert ended == [0] and len(seen) >= 4
        tell("a reader beside writers", "releases and generations", len(seen), reads, 0)


@pytest.mark.parametrize("lock", ["removed", "left behind", "of another's process", "torn"])
def test_a_lock_file_in_any_state_locks_nobody_out(server: Server, lock: str) -> None:
    with scenarios.stand(server) as stand:
        scenarios.nothing(stand)
        stand.run("ingestion:main")
        place = stand.project.config().pipeline_lock
        place.unlink()
        if lock != "removed":
            contents = {"left behind": b"", "torn": b"held by pro\xff"}
            place.write_bytes(contents.get(lock, b"held by process 1\n"))
        stand.project.dataset("b.csv", classic_rows(12, start=3000))
        assert "1 new" in stand.run("ingestion:main").out
        assert stand.run("ingestion:main").out.startswith("No new data")


def test_who_may_not_open_the_lock_is_told(server: Server) -> None:
    with scenarios.stand(server) as stand:
        scenarios.nothing(stand)
        stand.run("ingestion:main")
        opened = stand.server.attempt("ingestion:main", stand.home, *stand.arguments, fault=Fault()).calls
        point = next(n for n, call in enumerate(opened, 1) if Path(call.place).name == "pipeline.lock")
        fault = Fault(Action.FAIL, point, 13)
        done = stand.server.attempt("ingestion:main", stand.home, *stand.arguments, fault=fault)
        assert (done.status, done.out) == (1, "")
        assert "pipeline.lock: Permission denied. Give this user the permission" in done.err
