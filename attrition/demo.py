"""A practice area that goes through a year in minutes: months arrive, the world changes, a release answers.

Every month brings its clients, and the outcomes of those three months ago. In the fifth month of the year
what the columns say about leaving turns round. Each month is one tick of `fullprocess.py --practice`.

Example: python -m attrition.demo --out demo
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrition import simulation
from attrition.config import PROJECT
from attrition.simulation import HORIZON_MONTHS, Drift, name_of

if TYPE_CHECKING:
    import pandas as pd

HISTORY, YEAR, CHANGE = 8, 12, 5
SEED = 2026
FOLDERS = {
    "input_folder_path": "sourcedata",
    "output_folder_path": "ingesteddata",
    "test_data_path": "testdata",
    "output_model_path": "models",
    "prod_deployment_path": "production_deployment",
}


def prepare(home: Path, clients: int, seed: int) -> "dict[str, pd.DataFrame]":
    """Config, test data and empty folders below `home`; returns the rows of each month, outcomes known."""
    shipped = json.loads((PROJECT / "config.json").read_text(encoding="utf-8"))
    settings = {
        **FOLDERS,
        "clients": shipped["clients"],
        "ingestion": {"settle_seconds": 0},
        "training": {"candidates": ["logistic", "spline"]},
        # a year passes in minutes here
        "retraining": {"most_per_day": 1000},
        "risk": {"plays": "plays.csv"},
    }
    for folder in ("sourcedata", "testdata", "practicedata"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    (home / "config.json").write_text(json.dumps(settings, indent=1), encoding="utf-8")
    (home / "plays.csv").write_bytes((PROJECT / "plays.csv").read_bytes())
    made = simulation.simulate(clients, HISTORY + YEAR, seed, Drift("concept", HISTORY + CHANGE))
    truth = dict(iter(made.truth.groupby("month")))
    tested = simulation.simulate(clients, HISTORY, seed, None, "test")
    newest = name_of(HISTORY - 1)
    outcome = tested.truth.loc[tested.truth["month"] == newest, "exited"].reset_index(drop=True)
    simulation.write({"testdata/testdata.csv": tested.snapshots[newest].assign(exited=outcome)}, home)
    return {
        month: rows.assign(exited=truth[month]["exited"].reset_index(drop=True))
        for month, rows in made.snapshots.items()
    }


def arrivals(months: "Mapping[str, pd.DataFrame]", now: int) -> "Iterator[tuple[str, pd.DataFrame]]":
    """Names and rows of the datasets that come in this month, counted from 0; the first has all before it."""
    import pandas as pd

    for month in range(0 if now == HISTORY - 1 else now, now + 1):
        rows = months[name_of(month)]
        known = month <= now - HORIZON_MONTHS
        unknown = pd.Series(pd.NA, rows.index, dtype="Int64")
        yield f"clients-{name_of(month)}.csv", rows if known else rows.assign(exited=unknown)
    if now >= HISTORY:
        late = name_of(now - HORIZON_MONTHS)
        yield f"clients-{late}.csv", months[late]


def tick(home: Path) -> dict[str, Any]:
    """One run of the whole pipeline; RuntimeError with what it said where it fails."""
    command = [sys.executable, str(PROJECT / "fullprocess.py"), "--practice", "--json"]
    environment = {**os.environ, "ATTRITION_PACKAGE_CHECK": "off"}
    command += ["--config", str(home / "config.json")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(f"{home}: a tick ended with status {done.returncode}. {done.stderr.strip()}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        "python -m attrition.demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder")
    parser.add_argument("--clients", type=int, default=500, metavar="N", help="in every month (%(default)s)")
    parser.add_argument("--seed", type=int, default=SEED, metavar="S", help="default %(default)s")
    options = parser.parse_args(arguments)
    home = options.out.absolute()
    if home.exists() and any(home.iterdir()):
        parser.error(f"--out {options.out}: this is there already. Remove it, or name another folder.")
    months = prepare(home, options.clients, options.seed)
    for now in range(HISTORY - 1, HISTORY + YEAR):
        simulation.write({f"practicedata/{name}": rows for name, rows in arrivals(months, now)}, home)
        answer = tick(home)
        mark = "*" if answer["promoted"] else " "
        sys.stdout.write(f"{mark} {name_of(now)}  {answer['release']}  {answer['reason']}\n")
        sys.stdout.flush()
    models = home / "practicemodels"
    sys.stdout.write(f"\nThe report:    {models / 'report.html'}\nThe risk list: {models / 'risklist.csv'}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
