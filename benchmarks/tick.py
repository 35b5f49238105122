"""What a tick costs: idle beside a bare start of Python; with new data or drift beside the imports alone."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import measure

if TYPE_CHECKING:
    import pandas as pd

CHECKOUT = Path(__file__).resolve().parent.parent
HEADER = "corporation,lastmonth_activity,lastyear_activity,number_of_employees,exited\n"
FOLDERS = {
    "input_folder_path": "sourcedata",
    "output_folder_path": "ingesteddata",
    "test_data_path": "testdata",
    "output_model_path": "models",
    "prod_deployment_path": "production_deployment",
}
DATASETS = 1000
RUNS = 40
# of ticks with work to do, beside these imports; fewer of those that train
WORKING_RUNS, TRAINING_RUNS = 7, 2
IMPORTS = "import pandas, sklearn, matplotlib"
AIM, MOST_MB = 3.0, 350
# one client in so many has a row in a dataset of a month that the shipped data leave out
ONE_IN = 4
MONTHS = ("2025-10", "2025-11", "2025-07", "2025-08")
FIRST, NEW, LATER, DRIFT = "first release", "new data", "new data, the fourth time", "new data with drift"


def run() -> None:
    os.environ["ATTRITION_PACKAGE_CHECK"] = "off"
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        _fill(home)
        costs = measure.side_by_side(
            {"python -c pass": [sys.executable, "-c", "pass"], "idle tick": _tick(home)}, RUNS
        )
    print(measure.table(costs, "python -c pass"))
    with tempfile.TemporaryDirectory() as folder:
        home, ready = Path(folder) / "now", _ready(Path(folder))
        working = _side_by_side(home, ready, [NEW, LATER], WORKING_RUNS)
        training = _side_by_side(home, ready, [FIRST, DRIFT], TRAINING_RUNS)
    for costs in (working, training):
        print(f"\n{measure.table(costs, 'the imports alone')}")
    dearest = max(working[name].cpu for name in (NEW, LATER)) / working["the imports alone"].cpu
    peak = max(working[name].peak_mb for name in (NEW, LATER))
    reached = "yes" if dearest <= AIM and peak <= MOST_MB else "no"
    print(f"\nAsked for: with new data at most {AIM:g} times, and {MOST_MB} MB. Reached: {reached}.")


def _tick(home: Path, *flags: str) -> list[str]:
    flags = flags or ("-q",)
    return [sys.executable, str(CHECKOUT / "fullprocess.py"), *flags, "--config", str(home / "config.json")]


def _fill(home: Path) -> None:
    """Each client's activity tells whether it leaves, but for every seventh."""
    for place in ("sourcedata", "testdata"):
        (home / place).mkdir()
    for i in range(DATASETS):
        (home / "sourcedata" / f"d{i:04}.csv").write_text(HEADER + _row(i))
    (home / "testdata" / "test.csv").write_text(HEADER + "".join(_row(i) for i in range(5000, 5200)))
    settings = {**FOLDERS, "ingestion": {"settle_seconds": 0}}
    (home / "config.json").write_text(json.dumps(settings))


def _row(i: int) -> str:
    left = (i % 3 == 0) != (i % 7 == 6)
    month = i % 20 if left else 50 + i % 90
    return f"client{i},{month},{month * 9},{5 + i % 40},{int(left)}\n"


def _side_by_side(
    home: Path, ready: Mapping[str, Path], names: Sequence[str], runs: int
) -> dict[str, measure.Cost]:
    """The imports alone and ticks, each on its own copy of a project that is ready for it."""

    def before(name: str) -> None:
        shutil.rmtree(home, ignore_errors=True)
        if name in ready:
            shutil.copytree(ready[name], home, symlinks=True)

    imports = {"the imports alone": [sys.executable, "-c", IMPORTS]}
    return measure.side_by_side({**imports, **{name: _tick(home) for name in names}}, runs, before)


def _ready(folder: Path) -> dict[str, Path]:
    """Projects of the shipped data in which the next tick is of that kind; each is tried once."""
    ready = {name: folder / name.replace(" ", "-") for name in (FIRST, NEW, LATER, DRIFT)}
    months, turned = _months()
    _ship(ready[FIRST])
    live = _ticked(ready[FIRST], folder / "live", promoted=True)
    for name, datasets in ((NEW, months[:1]), (DRIFT, [turned])):
        shutil.copytree(live, ready[name], symlinks=True)
        _drop(ready[name], datasets, 0)
        _ticked(ready[name], folder / "tried", promoted=name == DRIFT)
    shutil.copytree(live, ready[LATER], symlinks=True)
    for number, dataset in enumerate(months):
        _drop(ready[LATER], [dataset], number)
        tried = _ticked(ready[LATER], folder / "tried", promoted=False)
        if number < len(months) - 1:
            shutil.rmtree(ready[LATER])
            tried.rename(ready[LATER])
    return ready


def _ship(home: Path) -> None:
    for place in ("sourcedata", "testdata"):
        shutil.copytree(CHECKOUT / place, home / place)
    shutil.copy(CHECKOUT / "plays.csv", home)
    settings = json.loads((CHECKOUT / "config.json").read_text())
    (home / "config.json").write_text(json.dumps({**settings, "ingestion": {"settle_seconds": 0}}))


def _months() -> "tuple[list[pd.DataFrame], pd.DataFrame]":
    """Rows of months that are not shipped; and those of the newest, in a world that has turned round."""
    from attrition import simulation

    clients, seed = simulation.SHIPPED_CLIENTS["source"], simulation.SHIPPED_SEED
    months = simulation.SHIPPED_MONTHS + simulation.HORIZON_MONTHS
    stable = simulation.simulate(clients, months, seed).snapshots
    change = simulation.Drift("concept", simulation.SHIPPED_MONTHS - simulation.HORIZON_MONTHS)
    newest = simulation.name_of(simulation.SHIPPED_MONTHS - 1)
    turned = simulation.simulate(clients, months, seed, change).snapshots[newest]
    return [stable[month].iloc[::ONE_IN] for month in MONTHS], turned


def _drop(home: Path, datasets: "Sequence[pd.DataFrame]", number: int) -> None:
    for rows in datasets:
        rows.to_csv(home / "sourcedata" / f"more-{number}.csv", index=False)


def _ticked(ready: Path, home: Path, promoted: bool) -> Path:
    """A copy after one tick; RuntimeError where that was of another kind than it should be."""
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(ready, home, symlinks=True)
    done = subprocess.run(_tick(home, "--json"), capture_output=True, text=True, check=False)
    if done.returncode or json.loads(done.stdout)["retrained"] != promoted:
        raise RuntimeError(f"{ready.name}: this is no such tick. {done.stderr}{done.stdout}")
    # it watches the folders of this copy, not of the next
    (home / ".config.json.stamp").unlink()
    return home
