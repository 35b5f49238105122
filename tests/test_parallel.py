"""Many workers, one result: processes and a real cluster give the bytes that one process gives."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import deployment
import diagnostics
import scoring
import training
from attrition import cluster, files, generations, parallel, proof, scorecard
from attrition.config import Config
from attrition.errors import ClusterError, ConfigError
from attrition.settings import Parallel
from tests import clusters, receivers
from tests.clusters import Cluster
from tests.projects import CHECKOUT, Project, classic_rows
from tests.test_scorecard import carded, fitted
from tests.test_training import ingested, simulated

SECONDS = 60
TRAINING = {"candidates": ["logistic", "spline", "boosting", "blend"], "folds": 3}


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with clusters.running(tmp_path_factory.mktemp("cluster")) as started:
        yield started


def settings(name: str, started: Cluster | None = None) -> dict[str, Any]:
    if name == "loky":
        return {"backend": "loky", "workers": 2}
    return {"backend": name, "address": started.address} if started else {"backend": name}


def trained(project: Project, parallel: dict[str, Any], rows: int = 300) -> Config:
    """The config of a project that was trained and scored by these workers, on the same rows each time."""
    config = ingested(project, simulated(rows), training=TRAINING, parallel=parallel)
    test_rows = simulated(150, seed=1)
    lines = [",".join(row.values()) for row in test_rows]
    project.dataset("test.csv", lines, ",".join(test_rows[0]), folder="testdata")
    training.run(config)
    scoring.run(config)
    return config


def written(config: Config) -> dict[str, Any]:
    """All that training and scoring wrote, without what only time tells."""
    as_bytes = [config.trained_model, config.scorecard, config.reference]
    as_bytes += [config.test_predictions, config.latest_score]
    facts: dict[str, Any] = {path.name: path.read_bytes() for path in as_bytes}
    scores, description = files.read_json(config.scores), files.read_json(config.model_description)
    facts["scores"] = {key: value for key, value in scores.items() if key != "scored_at"}
    timed = {"trained_at", "seconds", "seal", "ingested", "candidates"}
    facts["model"] = {key: value for key, value in description.items() if key not in timed}
    facts["candidates"] = [
        {key: value for key, value in each.items() if key != "seconds"} for each in description["candidates"]
    ]
    return facts


@pytest.fixture(scope="module")
def by_one_process(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return written(trained(Project(tmp_path_factory.mktemp("serial")), settings("serial")))


def assert_equal(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert [name for name in wanted if found[name] != wanted[name]] == []


def test_two_processes_write_the_bytes_that_one_writes(
    project: Project, by_one_process: dict[str, Any]
) -> None:
    found = written(trained(project, settings("loky")))
    assert_equal(found, by_one_process)
    # what was given up is given up, though a process had begun it
    assert any("given up" in each["note"] for each in found["candidates"])


def test_a_cluster_writes_the_bytes_that_one_process_writes(
    project: Project, by_one_process: dict[str, Any], two_workers: Cluster
) -> None:
    assert_equal(written(trained(project, settings("dask", two_workers))), by_one_process)


def test_a_worker_of_a_cluster_that_is_killed_half_way_is_made_up_for(
    project: Project, by_one_process: dict[str, Any], tmp_path: Path
) -> None:
    with clusters.running(tmp_path / "cluster") as started:
        killed = threading.Thread(target=kill_once_busy, args=(started, started.workers[:1]))
        killed.start()
        found = written(trained(project, settings("dask", started)))
        killed.join(SECONDS)
        assert started.workers[0].poll() == -signal.SIGKILL
    assert_equal(found, by_one_process)


def kill_once_busy(started: Cluster, processes: "list[subprocess.Popen[bytes]]") -> None:
    """SIGKILL, as soon as every worker has a fit to do."""
    import distributed

    with distributed.Client(started.address, set_as_default=False) as client:
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            doing = client.processing()
            if len(doing) == len(started.workers) and all(
                any("batch_of__there" in str(task) for task in tasks) for tasks in doing.values()
            ):
                break
            time.sleep(0.005)
        for process in processes:
            process.send_signal(signal.SIGKILL)
            process.wait(SECONDS)


@pytest.mark.parametrize("lost", ["workers", "scheduler"])
def test_a_cluster_that_is_lost_half_way_ends_the_run_with_a_sentence_and_changes_nothing(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    monkeypatch.setattr(cluster, "LOST_SECONDS", 2.0)
    monkeypatch.setattr(cluster, "REACH_SECONDS", 5.0)
    with clusters.running(tmp_path / "cluster") as started:
        config = ingested(project, simulated(300), training=TRAINING, parallel=settings("dask", started))
        assert started.scheduler
        doomed = started.workers if lost == "workers" else [started.scheduler]
        killed = threading.Thread(target=kill_once_busy, args=(started, doomed))
        killed.start()
        with pytest.raises(ClusterError, match='or set parallel.backend to "serial"') as told:
            training.run(config)
        killed.join(SECONDS)
    assert "Nothing was changed" in str(told.value)
    assert not config.trained_model.exists() and not config.model_description.exists()


def test_a_cluster_is_reached_by_tls_where_the_certificates_are_named(
    project: Project, by_one_process: dict[str, Any], tmp_path: Path
) -> None:
    clusters.installed()
    certificate = str(receivers.certificate(tmp_path))
    tls = "DASK_DISTRIBUTED__COMM__TLS__"
    named = {f"{tls}CA_FILE": str(tmp_path / "public.pem")}
    for whose in ("SCHEDULER", "WORKER", "CLIENT"):
        named |= {f"{tls}{whose}__CERT": certificate, f"{tls}{whose}__KEY": certificate}
    with clusters.running(tmp_path / "cluster", protocol="tls", environment=named) as started:
        config = ingested(project, simulated(300), training=TRAINING, parallel=settings("dask", started))
        stranger = project.run("training.py")
        assert stranger.returncode == 3
        assert f"no scheduler of dask answers at {started.address}" in stranger.stderr
        done = project.run("training.py", env=named)
    assert done.returncode == 0, done.stderr
    assert config.trained_model.read_bytes() == by_one_process["trainedmodel.pkl"]


# --- what cannot be used is refused before any work -------------------------------------------------------


def test_an_address_where_nobody_answers_is_refused_before_any_work(project: Project) -> None:
    clusters.installed()
    project.configure(parallel={"backend": "dask", "address": "tcp://127.0.0.1:9"})
    answer = project.json("training.py", status=3)
    assert "no scheduler of dask answers at tcp://127.0.0.1:9" in answer["sentence"]
    assert 'set parallel.backend to "serial"' in answer["sentence"]


def test_a_tick_whose_cluster_is_gone_fails_and_counts_no_training(project: Project) -> None:
    clusters.installed()
    project.dataset("a.csv", classic_rows(120))
    project.dataset("test.csv", classic_rows(60, start=1000), folder="testdata")
    project.configure(parallel={"backend": "dask", "address": "tcp://127.0.0.1:9"})
    answer = project.json("fullprocess.py", status=3)
    assert "no scheduler of dask answers" in answer["sentence"]
    assert project.history("training") == []
    assert not project.config().monitor.exists()
    # once it is given up, the next tick does what is left
    project.configure(parallel={"backend": "serial"})
    assert project.json("fullprocess.py")["promoted"]


def refusal(started: Cluster) -> str:
    with pytest.raises(ConfigError) as told:
        parallel.require(Parallel(backend="dask", address=started.address))
    return str(told.value)


def test_workers_that_compute_otherwise_are_refused_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "REACH_SECONDS", 5.0)
    with clusters.running(tmp_path / "cluster", workers=0) as started:
        assert "has no workers. Start some: dask worker" in refusal(started)
        threaded = started.add("--nthreads", "2")
        assert "runs 2 threads, and each fit needs a process of its own" in refusal(started)
        gone(started, threaded)
        bare = started.add(code=tmp_path)
        assert "cannot import this pipeline (No module named 'attrition')" in refusal(started)
        gone(started, bare)
        other = started.add(code=with_a_change(tmp_path / "other"))
        assert "has code" in (told := refusal(started)) and "in a checkout of this very version" in told
        started.add()
        # one that differs is enough
        assert "has code" in refusal(started)
        gone(started, other)
        parallel.require(Parallel(backend="dask", address=started.address))


def test_a_worker_that_came_later_and_differs_does_no_work() -> None:
    clusters.installed()
    mine = cluster.here()
    assert cluster._there(tuple(mine.items()), slowly, 0.0, 7) == 7
    others = {**mine, "numpy": "1.0"}
    with pytest.raises(ClusterError, match="joined the cluster half way has numpy .* instead of 1.0"):
        cluster._there(tuple(others.items()), slowly, 0.0, 7)


def gone(started: Cluster, worker: "subprocess.Popen[bytes]") -> None:
    """Ended in order, and not known to the scheduler any more."""
    import distributed

    worker.terminate()
    worker.wait(SECONDS)
    with distributed.Client(started.address, set_as_default=False) as client:
        alive = sum(each.poll() is None for each in started.workers)
        deadline = time.monotonic() + SECONDS
        while len(client.nthreads()) > alive and time.monotonic() < deadline:
            time.sleep(0.05)


def with_a_change(folder: Path) -> Path:
    """A copy of the pipeline that differs by a line."""
    package = folder / "attrition"
    package.mkdir(parents=True)
    for path in (CHECKOUT / "attrition").glob("*.py"):
        (package / path.name).write_bytes(path.read_bytes())
    with (package / "folds.py").open("a") as room:
        room.write("\n# another version\n")
    (folder / "tests").symlink_to(CHECKOUT / "tests")
    return folder


# --- results and their order ------------------------------------------------------------------------------


def slowly(seconds: float, unit: int) -> int:
    time.sleep(seconds)
    return unit


def slow_at_first(first: int, unit: int) -> int:
    time.sleep(0.3 if unit == first else 0.0)
    return unit * unit


@pytest.fixture(params=["serial", "loky", "dask"])
def crew_settings(request: pytest.FixtureRequest) -> Parallel:
    if request.param != "dask":
        return Parallel(**settings(request.param))
    return Parallel(**settings("dask", request.getfixturevalue("two_workers")))


def test_results_come_in_the_order_of_the_units_whichever_is_ready_first(crew_settings: Parallel) -> None:
    with parallel.crew(crew_settings) as crew:
        assert list(crew.results(slow_at_first, 0, range(9))) == [(unit, unit**2) for unit in range(9)]
        assert list(crew.results(slow_at_first, 0, [])) == []


@pytest.mark.parametrize("name", ["logistic_log", "ebm_pairs", "boosting"])
def test_a_table_scored_in_parts_has_the_bits_of_the_whole(
    monkeypatch: pytest.MonkeyPatch, crew_settings: Parallel, name: str
) -> None:
    card = carded(fitted(name))
    rows = proof.adversarial(card, 1003, seed=2)
    whole = card._log_odds(rows)
    assert len(set(whole.tolist())) > 100
    with parallel.crew(crew_settings) as crew:
        for part in (97, 64, 1002):
            monkeypatch.setattr(scorecard, "PART", part)
            assert card.log_odds(rows).tobytes() == whole.tobytes()
            assert card.log_odds(rows, crew).tobytes() == whole.tobytes()
            assert card.probability(rows, crew).tobytes() == card.probability(rows).tobytes()


def test_few_rows_are_not_worth_a_cluster_and_many_are() -> None:
    nowhere = Parallel(backend="dask", address="tcp://127.0.0.1:9")
    with parallel.crew_for(parallel.ROWS_WORTH_SENDING - 1, nowhere) as crew:
        assert crew is parallel.HERE
    with parallel.crew_for(parallel.ROWS_WORTH_SENDING, Parallel(backend="loky", workers=2)) as crew:
        assert crew == parallel.Processes(2)


def test_diagnostics_have_many_rows_scored_by_the_workers(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = trained(project, settings("loky"))
    deployment.run(config)
    alone = diagnostics.run(config).predictions
    monkeypatch.setattr(parallel, "ROWS_WORTH_SENDING", 1)
    monkeypatch.setattr(generations, "PIECE", 50)
    asked: list[int] = []
    results = parallel.Processes.results

    def counted(crew: parallel.Processes, work: Any, shared: Any, units: Any) -> Any:
        for unit, result in results(crew, work, shared, units):
            asked.append(len(result))
            yield unit, result

    monkeypatch.setattr(parallel.Processes, "results", counted)
    assert diagnostics.run(config).predictions == alone
    assert asked == [50] * 6


def faulty(shared: str, unit: int) -> int:
    if unit == 2:
        raise ArithmeticError(f"{shared} {unit}")
    return unit


def test_a_fault_of_the_work_reaches_the_caller_as_it_is(crew_settings: Parallel) -> None:
    with parallel.crew(crew_settings) as crew, pytest.raises(ArithmeticError, match="unit 2"):
        list(crew.results(faulty, "unit", range(4)))


def deadly(parent: int, unit: int) -> int:
    if unit == 3 and os.getpid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
    return unit * unit


def test_what_a_killed_process_owes_is_done_by_this_one(caplog: pytest.LogCaptureFixture) -> None:
    with parallel.crew(Parallel(backend="loky", workers=2)) as crew:
        found = list(crew.results(deadly, os.getpid(), iter(range(9))))
    assert found == [(unit, unit**2) for unit in range(9)]
    assert "a worker process was killed" in caplog.text


def large(shared: int, unit: int) -> bytes:
    return bytes(shared)


def test_processes_end_with_the_script_that_is_killed() -> None:
    code = (
        "from attrition import parallel; from attrition.settings import Parallel\n"
        "from tests.test_parallel import large\n"
        "with parallel.crew(Parallel(backend='loky', workers=2)) as crew:\n"
        "    for unit, _ in crew.results(large, 1_000_000, range(1_000_000)): print(unit, flush=True)"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=CHECKOUT, stdout=subprocess.PIPE) as script:
        assert script.stdout and script.stdout.readline() == b"0\n"
        workers = children(script.pid)
        assert len(workers) >= 2
        script.kill()
    deadline = time.monotonic() + SECONDS
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert [pid for pid in workers if alive(pid)] == []


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    try:
        # one that nobody waited for is dead too
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def whose(shared: int, unit: int) -> int:
    return os.getpid()


def test_a_cluster_of_one_worker_does_the_work_too(tmp_path: Path) -> None:
    with clusters.running(tmp_path / "cluster", workers=1) as started:
        with parallel.crew(Parallel(backend="dask", address=started.address)) as crew:
            found = {pid for _, pid in crew.results(whose, 0, range(3))}
        assert found == {started.workers[0].pid}


def test_a_unit_that_kills_every_worker_it_is_given_to_ends_the_run(tmp_path: Path) -> None:
    with clusters.running(tmp_path / "cluster", workers=5) as started:
        address = Parallel(backend="dask", address=started.address)
        with parallel.crew(address) as crew, pytest.raises(ClusterError, match="The cluster gave up"):
            list(crew.results(deadly, os.getpid(), range(6)))


def test_one_process_needs_neither_joblib_nor_dask() -> None:
    code = (
        "import sys; from attrition import parallel; from attrition.settings import Parallel\n"
        "with parallel.crew(Parallel()) as crew: list(crew.results(max, 1, [2, 3]))\n"
        "print(sorted({'joblib', 'distributed', 'numpy'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_differences_name_what_and_how() -> None:
    mine = {"Python": "3.11.7", "numpy": "2.4.6"}
    assert cluster.differences(mine, mine) == ""
    assert cluster.differences(mine, {"Python": "3.11.7", "numpy": "2.4.5"}) == "numpy 2.4.5 instead of 2.4.6"
    assert cluster.differences(mine, {"Python": "3.11.7"}) == "numpy missing instead of 2.4.6"
