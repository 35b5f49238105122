"""What of the benchmarks is not a measurement: selection, failures, tables, and how costs grow."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import environments, measure, session
from benchmarks.__main__ import main
from benchmarks.measure import Cost
from tests.projects import CHECKOUT


def test_the_exponent_is_that_of_the_law_the_seconds_follow() -> None:
    sizes = [10_000, 100_000, 1_000_000]
    for power in (0.5, 1.0, 2.0):
        assert measure.exponent(sizes, [3e-6 * n**power for n in sizes]) == pytest.approx(power)
    # least squares on logarithms: residuals of 1, -2, 1 around the line have no slope of their own
    assert measure.exponent([1, 10, 100], [10.0, 0.1, 1000.0]) == pytest.approx(1.0)


def test_a_start_flattens_the_exponent_and_less_so_in_the_last_step() -> None:
    sizes = (10, 1_000, 100_000)
    found = {size: {"squares": Cost(1 + 1e-6 * size**2, 1, 1)} for size in sizes}
    *_, line = measure.growth("rows", found).splitlines()
    name, *seconds, overall, last = (cell.strip() for cell in line.strip("|").split("|"))
    assert (name, seconds) == ("squares", ["1.00", "2.00", "10,001"])
    assert float(overall) == pytest.approx(1.0, abs=0.01)
    assert float(last) == pytest.approx(1.85, abs=0.01)


def test_what_was_not_measured_at_every_size_has_no_line() -> None:
    both, one = Cost(1, 1, 1), Cost(2, 2, 2)
    table = measure.growth("rows", {10: {"both": both, "one": one}, 20: {"both": both}})
    assert "both" in table
    assert "one" not in table


def test_a_table_has_peaks_only_where_they_were_taken() -> None:
    commands = {"quick": Cost(0.5, 0.4, 0.6, 20), "slow": Cost(2.0, 1.9, 2.5, 100)}
    assert measure.table(commands, "quick").splitlines() == [
        "| what | CPU s, median | least to most | peak MB | times quick |",
        "| --- | --: | --: | --: | --: |",
        "| quick | 0.500 | 0.400 to 0.600 | 20 | 1.00 |",
        "| slow | 2.00 | 1.90 to 2.50 | 100 | 4.00 |",
    ]
    pieces = {"piece": Cost(0.00123, 0.001, 0.002)}
    assert measure.table(pieces, "piece").splitlines()[0] == (
        "| what | CPU s, median | least to most | times piece |"
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"),
        (0.000123456, "0.000123"),
        (0.5, "0.500"),
        (9.876, "9.88"),
        (123.4, "123"),
        (12345.6, "12,346"),
    ],
)
def test_figures_have_three_digits_that_count(value: float, shown: str) -> None:
    assert measure.figure(value) == shown


def test_commands_are_run_in_turn_and_the_first_turn_is_not_counted(tmp_path: Path) -> None:
    order: list[str] = []
    busy = "sum(i * i for i in range({}))"
    commands = {
        "little": [sys.executable, "-c", busy.format(10)],
        "much": [sys.executable, "-c", busy.format(3_000_000)],
    }
    costs = measure.side_by_side(commands, 2, order.append)
    assert order == ["little", "much"] * 3
    for cost in costs.values():
        assert 0 < cost.least <= cost.cpu <= cost.most
        assert cost.peak_mb > 1
    assert costs["much"].cpu > costs["little"].cpu


def test_a_command_that_fails_is_told_with_what_it_said() -> None:
    with pytest.raises(RuntimeError, match="no such table"):
        measure.side_by_side({"bad": [sys.executable, "-c", "raise SystemExit('no such table')"]}, 1)


def test_pieces_of_this_process_cost_what_they_compute_and_not_what_they_wait() -> None:
    import time

    calls: list[str] = []

    def busy() -> None:
        calls.append("busy")
        sum(i * i for i in range(1_000_000))

    def idle() -> None:
        calls.append("idle")
        time.sleep(0.05)

    costs = measure.within({"busy": busy, "idle": idle}, 2)
    assert calls == ["busy", "idle"] * 3
    assert costs["idle"].most < costs["busy"].least


def test_the_short_run_leaves_out_what_takes_minutes_unless_it_is_named() -> None:
    everything = list(session.BENCHMARKS)
    assert session.selected([], "full") == session.selected([], "usual") == everything
    short = session.selected([], "short")
    assert {*everything} - {*short} == session.NOT_SHORT <= {*everything}
    named = sorted(session.NOT_SHORT)
    assert session.selected(named, "short") == named


def test_every_benchmark_that_is_listed_can_be_run() -> None:
    for name in session.BENCHMARKS:
        source = (CHECKOUT / "benchmarks" / f"{name}.py").read_text()
        assert "\ndef run(" in source, name


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Benchmarks of which one ends well, one fails, and one is killed."""
    folder = tmp_path / "measured"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "good.py").write_text(
        "def run():\n    print('usual')\n\n\ndef run_short():\n    print('short')\n"
    )
    (folder / "bad.py").write_text("def run():\n    raise ValueError('the disk is full')\n")
    (folder / "killed.py").write_text(
        "import os\nimport signal\n\n\ndef run():\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    return "measured"


def test_one_that_fails_is_told_and_the_others_run(package: str, capfd: pytest.CaptureFixture[str]) -> None:
    ends = [session.measured(name, "short", package) for name in ("bad", "killed", "good")]
    assert [end.status for end in ends] == [1, -9, 0]
    told = capfd.readouterr()
    assert "ValueError: the disk is full" in told.err
    assert "bad failed with status 1" in told.out
    assert told.out.rstrip().endswith("short")
    ended = [line.rsplit("|", 2)[1].strip() for line in session.told(ends).splitlines()[2:]]
    assert ended == ["failed, status 1", "failed, status -9", "well", ""]


def test_a_size_that_a_benchmark_has_not_is_its_usual_one(
    package: str, capfd: pytest.CaptureFixture[str]
) -> None:
    for size, expected in (("short", "short"), ("full", "usual"), ("usual", "usual")):
        session.measured("good", size, package)
        assert capfd.readouterr().out.split()[-1] == expected


def test_an_unknown_benchmark_is_named_beside_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["tock"])
    assert ended.value.code == 2
    assert "there is no benchmark tock; there are: tick, " in capsys.readouterr().err


def test_the_command_ends_with_status_1_where_a_benchmark_failed(tmp_path: Path) -> None:
    program = (
        "import sys; from benchmarks import __main__ as m, session as s; "
        "s.BENCHMARKS = m.BENCHMARKS = {'missing': 'not there', 'also_missing': 'nor this'}; "
        "sys.exit(m.main([]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=CHECKOUT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "| missing | " in done.stdout
    assert "| also_missing | " in done.stdout
    assert "No module named 'benchmarks.missing'" in done.stderr


def test_an_environment_is_whole_only_when_made_of_todays_requirements(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, peers = tmp_path / "requirements", tmp_path / "peers"
    wanted.mkdir()
    monkeypatch.setattr(environments, "REQUIREMENTS", wanted)
    monkeypatch.setattr(environments, "PEERS", peers)
    # an empty list is installed without asking anybody
    (wanted / "nothing.txt").write_text("# nothing\n")
    assert "python -m benchmarks.environments" in (environments.missing("nothing") or "")
    assert environments.install("nothing") is None
    assert environments.missing("nothing") is None
    assert subprocess.run([environments.python("nothing"), "-c", ""]).returncode == 0
    (wanted / "nothing.txt").write_text("./no-such-package\n")
    assert environments.missing("nothing")
    assert "cannot be installed and is left out" in (environments.install("nothing") or "")
    assert environments.missing("nothing")


def test_every_peer_of_its_own_environment_is_of_one_version() -> None:
    for wanted in sorted((CHECKOUT / "benchmarks" / "requirements").glob("*.txt")):
        lines = [line for line in wanted.read_text().splitlines() if line and not line.startswith("#")]
        assert lines[0].startswith(f"{wanted.stem}==")
        assert all(line.count("==") == 1 for line in lines)
