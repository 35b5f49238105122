"""Only what is new is read, and what comes out is what a rebuild from everything would give."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ingestion
from attrition import generations, publisher
from tests.projects import CHECKOUT, HEADER, Project

A, B, C, D = "alder,10,100,5,0", "birch,20,200,6,1", "cedar,30,300,7,", "dogwood,40,400,8,1"
BAD = "oak,many,1,2,0"


def ingest(project: Project, **started: bool) -> ingestion.Ingested:
    return ingestion.run(project.config(**started))


def results(project: Project) -> dict[str, bytes]:
    """What is told of the data itself, byte for byte."""
    names = ("finaldata.csv", "ingestedfiles.txt", "rejectedrows.csv")
    return {name: (project.home / "ingesteddata" / name).read_bytes() for name in names}


def table(project: Project) -> list[str]:
    return results(project)["finaldata.csv"].decode().splitlines()[1:]


def rebuilt(project: Project) -> dict[str, bytes]:
    """The same from everything: nothing that an earlier run has kept is used."""
    forget_parts(project)
    ingest(project, force=True)
    return results(project)


def from_nothing(project: Project, home: Path) -> dict[str, bytes]:
    """The same in a project that sees all datasets at once."""
    fresh = Project(home)
    shutil.copytree(project.home / "sourcedata", home / "sourcedata", dirs_exist_ok=True)
    shutil.copy(project.home / "config.json", home / "config.json")
    ingest(fresh)
    return results(fresh)


def forget_parts(project: Project) -> None:
    shutil.rmtree(project.home / "ingesteddata/parts", ignore_errors=True)


def cut_parts(project: Project) -> None:
    for part in (project.home / "ingesteddata/parts").glob("*.parquet"):
        os.truncate(part, part.stat().st_size // 2)


def lose_single_files(project: Project) -> None:
    """Of every second part the rows, of the others what is known of them."""
    for number, part in enumerate(sorted((project.home / "ingesteddata/parts").glob("*.parquet"))):
        if number % 2:
            part.unlink()
        else:
            part.with_suffix(".json").write_text('{"rows_read": 1')


def leave_alone(project: Project) -> None:
    pass


DAMAGES: list[Callable[[Project], None]] = [
    leave_alone,
    forget_parts,
    cut_parts,
    lose_single_files,
]
damaged = pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)


# --- the same bytes as a rebuild


@damaged
def test_datasets_that_come_one_by_one_give_the_bytes_of_all_at_once(
    project: Project, tmp_path_factory: pytest.TempPathFactory, damage: Callable[[Project], None]
) -> None:
    batches = [
        [A, B, A, BAD, *(f"client{i},{i},2,3,1" for i in range(9))],
        [B, "birch,20.0,2e2,+6,1", C],
        ['"el\nm",1,2,3,0', "x,1", A, *(f"client{i},{i},2,3,1" for i in range(5, 12))],
        [A, B, C],
    ]
    for number, rows in enumerate(batches):
        project.dataset(f"d{number}.csv", rows)
        done = ingest(project)
        assert done.datasets_new == [f"d{number}.csv"]
        if number == 2:
            damage(project)
    found = results(project)
    assert found == from_nothing(project, tmp_path_factory.mktemp("fresh"))
    assert found == rebuilt(project)
    assert found["finaldata.csv"].count(b"alder") == 1


@damaged
def test_a_dataset_in_the_middle_of_the_names_gives_the_bytes_of_a_rebuild(
    project: Project, tmp_path_factory: pytest.TempPathFactory, damage: Callable[[Project], None]
) -> None:
    project.dataset("a.csv", [A])
    project.dataset("c.csv", [B, C, D])
    ingest(project)
    damage(project)
    project.dataset("b.csv", [C, A])
    done = ingest(project)
    assert (done.rows_read, done.rows_added, done.duplicates, done.rows_total) == (2, 1, 1, 4)
    assert table(project) == [f"{A},a.csv", f"{C},b.csv", f"{B},c.csv", f"{D},c.csv"]
    assert results(project) == from_nothing(project, tmp_path_factory.mktemp("fresh")) == rebuilt(project)


@damaged
def test_a_correction_gives_the_bytes_of_a_rebuild_and_frees_what_was_a_duplicate(
    project: Project, tmp_path_factory: pytest.TempPathFactory, damage: Callable[[Project], None]
) -> None:
    project.dataset("a.csv", [A, B])
    project.dataset("b.csv", [B, C])
    ingest(project)
    damage(project)
    project.dataset("a.csv", [A])
    ingest(project)
    assert table(project) == [f"{A},a.csv", f"{B},b.csv", f"{C},b.csv"]
    assert results(project) == from_nothing(project, tmp_path_factory.mktemp("fresh")) == rebuilt(project)


@damaged
def test_rows_of_a_removed_dataset_stay_in_a_rebuild(
    project: Project, damage: Callable[[Project], None]
) -> None:
    project.dataset("a.csv", [A, B])
    path = project.dataset("b.csv", [B, C])
    ingest(project)
    path.unlink()
    ingest(project)
    damage(project)
    project.dataset("c.csv", [C, D])
    ingest(project)
    found = results(project)
    assert table(project) == [f"{A},a.csv", f"{B},a.csv", f"{C},b.csv", f"{D},c.csv"]
    assert found == rebuilt(project)


def test_removed_rows_that_another_contract_refuses_leave_the_table_are_told_once_and_come_back(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    path = project.dataset("a.csv", [A, B])
    project.dataset("b.csv", [C])
    ingest(project)
    path.unlink()
    ingest(project)
    (project.home / "sourcedata" / "b.csv").unlink()
    project.dataset("other.csv", ["Acme,1,yes", "Bolt,2,no"], "client,visits,churn")
    other = {"id": "client", "target": "churn", "left": "yes", "stayed": "no", "numeric": ["visits"]}
    project.configure(clients=other)
    done = ingest(project)
    assert (done.rows_total, table(project)) == (2, ["Acme,1,yes,other.csv", "Bolt,2,no,other.csv"])
    assert [
        line.rpartition("  ")[2] for line in project.read("ingesteddata/ingestedfiles.txt").split("\n")
    ] == [
        "other.csv",
        "",
    ]
    assert caplog.text.count("earlier rows of a.csv cannot stay") == 1
    project.dataset("p.csv", ["Cole,3,yes"], "client,visits,churn")
    done = ingest(project)
    assert (done.rows_added, done.rows_total) == (1, 3)
    assert caplog.text.count("earlier rows of a.csv cannot stay") == 1
    project.configure()
    assert f"{A},a.csv" in (ingest(project), table(project))[1]


@damaged
def test_a_removed_dataset_keeps_the_rows_that_were_duplicates_of_one_that_was_corrected(
    project: Project, damage: Callable[[Project], None]
) -> None:
    project.dataset("a.csv", [A, B])
    path = project.dataset("b.csv", [B, C])
    ingest(project)
    path.unlink()
    ingest(project)
    damage(project)
    project.dataset("a.csv", [A])
    ingest(project)
    assert table(project) == [f"{A},a.csv", f"{B},b.csv", f"{C},b.csv"]


@damaged
def test_a_dataset_that_was_removed_and_comes_back_is_read_whole(
    project: Project, damage: Callable[[Project], None]
) -> None:
    rows = [A, B, BAD, *(f"client{i},{i},2,3,1" for i in range(9))]
    project.dataset("a.csv", [A])
    path = project.dataset("b.csv", rows)
    ingest(project)
    whole = results(project)
    path.unlink()
    ingest(project)
    damage(project)
    project.dataset("c.csv", [C])
    ingest(project)
    project.dataset("b.csv", rows)
    done = ingest(project)
    assert (done.rows_read, done.rows_added + done.duplicates, done.rows_rejected) == (12, 11, 1)
    assert results(project)["rejectedrows.csv"] == whole["rejectedrows.csv"]
    assert results(project)["finaldata.csv"] == whole["finaldata.csv"] + f"{C},c.csv\n".encode()


def test_a_dataset_that_was_only_touched_keeps_its_counts(project: Project) -> None:
    path = project.dataset("a.csv", [A, B, A, *(f"client{i},{i},2,3,1" for i in range(9)), BAD])
    ingest(project)
    os.utime(path, (1, 1))
    project.dataset("b.csv", [C])
    ingest(project)
    entry = generations.datasets(generations.require_current(project.config()))[0]
    counted = (entry["rows_read"], entry["rows_added"], entry["duplicates"], entry["rejected"])
    assert counted == (13, 11, 1, 1)


@damaged
def test_a_broken_correction_leaves_the_earlier_rows_in_a_rebuild(
    project: Project, damage: Callable[[Project], None]
) -> None:
    project.dataset("a.csv", [A, B])
    project.dataset("b.csv", [C])
    ingest(project)
    project.write("sourcedata/a.csv", b"\0")
    ingest(project)
    damage(project)
    project.dataset("c.csv", [B, D])
    ingest(project)
    assert table(project) == [f"{A},a.csv", f"{B},a.csv", f"{C},b.csv", f"{D},c.csv"]
    assert results(project) == rebuilt(project)


def test_an_outcome_that_comes_later_stands_beside_the_row_that_did_not_know_it(project: Project) -> None:
    project.dataset("2026-01.csv", [A, C])
    ingest(project)
    project.dataset("2026-02.csv", [f"{C}1", C])
    done = ingest(project)
    assert (done.rows_added, done.duplicates) == (1, 1)
    assert table(project) == [f"{A},2026-01.csv", f"{C},2026-01.csv", f"{C}1,2026-02.csv"]
    assert results(project) == rebuilt(project)


# what a dataset may hold beside two rows that no other content has, and what the table says of it
POOL = {
    A: A,
    B: B,
    C: C,
    "alder,1e1,100.0,5,0": A,
    '" birch",20,+200,6, 1 ': B,
    '"two\nlines",1,2,3,': '"two\nlines",1,2,3,',
    BAD: None,
    "x,1": None,
}
Step = tuple[str | Callable[[Project], None], str, list[str]]
NAME = st.sampled_from(["a.csv", "b.csv", "c.csv", "d.csv"])
NONE: list[str] = []
CONTENT = st.lists(st.sampled_from(list(POOL)), max_size=6)
WRITE: st.SearchStrategy[Step] = st.tuples(st.just("write"), NAME, CONTENT)
REMOVE: st.SearchStrategy[Step] = st.tuples(st.just("remove"), NAME, st.just(NONE))
DAMAGE: st.SearchStrategy[Step] = st.tuples(st.sampled_from(DAMAGES), st.just(""), st.just(NONE))
# removals in one half, lost parts in the other: for both at once there are tests above
LIVES = st.one_of(
    st.lists(st.one_of(WRITE, WRITE, REMOVE), min_size=2, max_size=5),
    st.lists(st.one_of(WRITE, WRITE, DAMAGE), min_size=2, max_size=5),
)


def merged(datasets: dict[str, list[str]]) -> list[str]:
    """The lines of the table by the rule alone: datasets in the order of the names, equal rows once."""
    first = {row: name for name in sorted(datasets, reverse=True) for row in datasets[name]}
    by_name = ((name, dict.fromkeys(datasets[name])) for name in sorted(datasets))
    return [f"{row},{name}" for name, rows in by_name for row in rows if first[row] == name]


@settings(max_examples=15, deadline=None, suppress_health_check=[*HealthCheck])
@given(life=LIVES)
def test_whatever_happened_before_the_table_is_that_of_a_rebuild(
    tmp_path_factory: pytest.TempPathFactory, life: list[Step]
) -> None:
    project = Project(tmp_path_factory.mktemp("life"))
    project.configure(ingestion={"settle_seconds": 0, "max_rejected_share": 1})
    contents: dict[str, list[str]] = {}
    for number, (what, name, rows) in enumerate(life):
        if callable(what):
            what(project)
        elif what == "write":
            contents[name] = [f"{number},1,2,3,0", *rows, f"{number},1,2,3,1"]
            project.dataset(name, contents[name])
        else:
            (project.home / "sourcedata" / name).unlink(missing_ok=True)
        if contents:
            ingest(project)
            meant = {name: [m for row in contents[name] if (m := POOL.get(row, row))] for name in contents}
            assert "\n".join(table(project)) == "\n".join(merged(meant))
    if contents:
        assert results(project) == rebuilt(project)


# --- only what is new is read

WATCHED = """
import json, sys
opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
import ingestion
sys.argv = ["ingestion.py", "-q", "--config", sys.argv[1]]
status = ingestion.main()
sys.stdout.write(json.dumps(opened))
sys.exit(status)
"""


def opened_by_a_run(project: Project) -> set[str]:
    """Names of the datasets that ingestion.py opens; DuckDB reads what was opened for it."""
    command = [sys.executable, "-c", WATCHED, str(project.home / "config.json")]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    opened = [Path(place) for place in json.loads(done.stdout)]
    return {place.name for place in opened if place.parent == project.home / "sourcedata"}


def test_only_the_new_dataset_is_read(project: Project) -> None:
    for name in ("a.csv", "b.csv"):
        project.dataset(name, [A, BAD, *(f"{name}{i},1,2,3,0" for i in range(10))])
    assert opened_by_a_run(project) == {"a.csv", "b.csv"}
    assert opened_by_a_run(project) == set()
    project.dataset("c.csv", [A, C])
    assert opened_by_a_run(project) == {"c.csv"}
    project.dataset("aa.csv", [D])
    assert opened_by_a_run(project) == {"aa.csv"}
    project.dataset("b.csv", [B])
    assert opened_by_a_run(project) == {"b.csv"}


def test_what_was_set_aside_is_not_read_again_until_it_changes(project: Project) -> None:
    project.dataset("a.csv", [A, B])
    project.dataset("many-bad.csv", [C, BAD, BAD])
    project.dataset("same.csv", [A, B])
    project.write("sourcedata/unfit.csv", b"\0")
    ingest(project)
    before = results(project)["rejectedrows.csv"]
    project.dataset("b.csv", [D])
    assert opened_by_a_run(project) == {"b.csv"}
    assert results(project)["rejectedrows.csv"] == before
    project.dataset("unfit.csv", [C])
    assert opened_by_a_run(project) == {"unfit.csv"}


# --- damage


def corrupt(project: Project) -> None:
    """Another row in the current table, and not another size."""
    place = (project.home / "ingesteddata/finaldata.csv").resolve()
    data = place.read_bytes()
    place.write_bytes(data.replace(b"birch,20,", b"birch,99,"))
    assert place.stat().st_size == len(data) and place.read_bytes() != data


def test_a_damaged_table_of_the_same_size_is_found_and_made_again_when_something_is_added(
    project: Project,
) -> None:
    project.dataset("a.csv", [A, B])
    ingest(project)
    corrupt(project)
    project.dataset("b.csv", [C])
    done = project.run("ingestion.py", "-q")
    assert done.returncode == 0
    assert "made again" in done.stderr and "finaldata.csv" in done.stderr
    assert table(project) == [f"{A},a.csv", f"{B},a.csv", f"{C},b.csv"]
    assert results(project) == rebuilt(project)
    assert project.run("ingestion.py", "-q").stderr == ""


@pytest.mark.parametrize("flags", [(), ("--force",)], ids=["plain", "--force"])
def test_rows_of_a_removed_dataset_are_not_taken_from_a_damaged_table(
    project: Project, flags: tuple[str, ...]
) -> None:
    project.dataset("a.csv", [A])
    path = project.dataset("b.csv", [B])
    ingest(project)
    path.unlink()
    ingest(project)
    corrupt(project)
    forget_parts(project)
    project.dataset("c.csv", [C])
    assert project.run("ingestion.py", *flags).returncode == 0
    assert table(project) == [f"{A},a.csv", f"{B},b.csv", f"{C},c.csv"]


# --- killed anywhere

NEVER = 0

# Each run is a process of its own, forked from one that has imported everything; it is killed before its
# N-th change to the disk.
KILLED = """
import json, os, signal, sys
import duckdb, ingestion

home, kill_at = sys.argv[1], int(sys.argv[2])
CHANGES = ("os.rename", "os.symlink", "os.remove", "os.mkdir", "os.rmdir")

def count(event, args):
    global seen
    writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
    if (event in CHANGES or writes) and f"{home}/ingesteddata" in str(args[0]):
        seen += 1
        if seen == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

for line in sys.stdin:
    kill_at = int(line)
    child = os.fork()
    if child == 0:
        seen = 0
        sys.addaudithook(count)
        sys.argv = ["ingestion.py", "-q", "--config", f"{home}/config.json"]
        os._exit(ingestion.main())
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture
def run_killed_at(project: Project) -> Iterator[Callable[[int], int]]:
    """Runs ingestion.py, which is killed before its N-th change to the disk; gives its exit status."""
    command = [sys.executable, "-c", KILLED, str(project.home), "0"]
    with subprocess.Popen(
        command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin and process.stdout

        def run(change: int) -> int:
            assert process.stdin and process.stdout
            process.stdin.write(f"{change}\n")
            process.stdin.flush()
            return int(process.stdout.readline())

        yield run
        process.stdin.close()


def test_a_run_killed_before_any_change_to_the_disk_is_done_again_with_the_same_bytes(
    project: Project, tmp_path_factory: pytest.TempPathFactory, run_killed_at: Callable[[int], int]
) -> None:
    change, status, killed_after_the_commit = 0, -signal.SIGKILL, 0
    datasets: dict[str, list[str]] = {}
    before: list[str] = []
    while status == -signal.SIGKILL:
        change += 1
        # every third is in the middle of the names, and every one repeats rows
        name = f"{'b' if change % 3 else 'a'}{change:02d}.csv"
        datasets[name] = [f"{change},1,2,3,0", A, f"{change},1,2,3,1", *[B] * 9]
        project.dataset(name, [*datasets[name], BAD])
        status = run_killed_at(change)
        if current := generations.current(project.config()):
            publisher.verify(generations.shelf(project.config()), current)
            lines = current.path("finaldata.csv").read_text().splitlines()[1:]
            assert lines in (before, merged(datasets))
            killed_after_the_commit += status == -signal.SIGKILL and lines != before
        assert run_killed_at(NEVER) == 0
        before = table(project)
        assert before == merged(datasets)
    assert status == 0
    assert change > 20
    assert killed_after_the_commit > 0
    assert [n for n in project.snapshot() if re.search(r"/\.(draft|work|.*\.tmp)", n)] == []
    assert results(project) == from_nothing(project, tmp_path_factory.mktemp("undisturbed"))


# --- larger than memory


@dataclass(frozen=True)
class Large:
    status: int
    stdout: str
    stderr: str
    peak_megabytes: float
    rows: int


MEASURED = """
import re, sys, ingestion
status = ingestion.main()
peak = re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())
sys.stderr.write(f"{peak[1]}\\n")
sys.exit(status)
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Large:
    """A dataset of two million rows, ingested within 200 MB; asked for JSON, as cron and scripts do."""
    project = Project(tmp_path_factory.mktemp("large"))
    project.configure(ingestion={"settle_seconds": 0, "memory_limit": "200MB"})
    piece = "".join(f"client-@-{i:06d},{i % 97},{i % 89},{i % 1000},{i % 2}\n" for i in range(100_000))
    with (project.home / "sourcedata/large.csv").open("w") as stream:
        stream.write(f"{HEADER}\n")
        for number in range(20):
            stream.write(piece.replace("@", str(number)))
    # a file, as every script is: DuckDB takes `python -c` for a person, and would draw a progress bar
    script = project.write("measured.py", MEASURED)
    command = [sys.executable, str(script), "--json", "--config", str(project.home / "config.json")]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    *told, peak = done.stderr.splitlines()
    with (project.home / "ingesteddata/finaldata.csv").open() as table:
        rows = sum(1 for _ in table) - 1
    shutil.rmtree(project.home)
    return Large(done.returncode, done.stdout, "\n".join(told), int(peak) / 1024, rows)


def test_two_million_rows_need_little_more_memory_than_allowed(large: Large) -> None:
    assert (large.status, large.rows) == (0, 2_000_000)
    assert large.peak_megabytes < 600


def test_a_long_run_prints_its_answer_and_nothing_else(large: Large) -> None:
    assert large.stderr == ""
    assert json.loads(large.stdout)["rows_added"] == 2_000_000


def test_a_first_generation_that_a_killed_run_did_not_make_current_is_made_again(project: Project) -> None:
    project.dataset("a.csv", [A])
    ingest(project)
    (project.home / "ingesteddata/current").unlink()
    assert project.run("ingestion.py", "-q").returncode == 0
    assert table(project) == [f"{A},a.csv"]


def test_a_fixed_name_that_a_killed_run_did_not_make_is_made_by_the_next(project: Project) -> None:
    project.dataset("a.csv", [A])
    ingest(project)
    for name in ("finaldata.csv", "ingestedfiles.txt"):
        (project.home / "ingesteddata" / name).unlink()
    assert project.run("ingestion.py", "--dry-run").returncode == 0
    assert not (project.home / "ingesteddata/finaldata.csv").exists()
    assert project.run("ingestion.py", "-q").returncode == 0
    assert table(project) == [f"{A},a.csv"]
    assert (project.home / "ingesteddata/ingestedfiles.txt").exists()
