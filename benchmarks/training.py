"""What training.py costs beside what one would write with scikit-learn, as whole commands.

The rows are of the simulated client base, in the columns of the shipped data. The other program
cross-validates logistic regression of three strengths, a random forest and boosted trees of two sizes,
calibrates the best, and pickles it: no choice of a window, no evidence, no scorecard. Both have one thread.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import measure
from benchmarks.measure import Cost
from benchmarks.tick import CHECKOUT, FOLDERS

SIZES, FULL_SIZES = (1_000, 3_000, 10_000), (1_000, 10_000, 100_000)
OURS, SEARCH = "training.py", "a search with scikit-learn"
PROGRAM = """
import pickle, sys
import pandas as pd
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
table = pd.read_csv(sys.argv[1])
outcome = table.pop("exited")
table = table.drop(columns=["corporation", "month", "account_manager"])
columns = make_column_transformer(
    (make_pipeline(SimpleImputer(), StandardScaler()), make_column_selector(dtype_include="number")),
    (OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["industry", "contract"]),
)
models = [LogisticRegression(C=strength, max_iter=5000) for strength in (0.1, 1, 10)]
models += [RandomForestClassifier(random_state=0)]
models += [HistGradientBoostingClassifier(max_leaf_nodes=leaves, random_state=0) for leaves in (8, 31)]
pipelines = [make_pipeline(columns, model) for model in models]
losses = [cross_val_score(each, table, outcome, cv=5, scoring="neg_log_loss").mean() for each in pipelines]
best = pipelines[losses.index(max(losses))]
with open(sys.argv[2], "wb") as out:
    pickle.dump(CalibratedClassifierCV(best, cv=5).fit(table, outcome), out)
"""


def run(sizes: Sequence[int] = SIZES, runs: int = 3) -> None:
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            found[size] = _costs(Path(folder) / f"{size}", size, runs)
    print(f"{max(sizes):,} rows, {runs} {'run' if runs == 1 else 'runs'} each:\n")
    print(f"{measure.table(found[max(sizes)], SEARCH)}\n\n{measure.growth('rows', found)}")


def run_short() -> None:
    """Once at each size: a training costs half a minute, however few the rows."""
    run(runs=1)


def run_full() -> None:
    run(FULL_SIZES)


def _costs(home: Path, rows: int, runs: int) -> Mapping[str, Cost]:
    data = home / "sourcedata" / "clients.csv"
    for place in (data.parent, home / "testdata"):
        place.mkdir(parents=True)
    _write(data, rows)
    shipped = json.loads((CHECKOUT / "config.json").read_text())
    settings = {**FOLDERS, "ingestion": {"settle_seconds": 0}, "clients": shipped["clients"]}
    (home / "config.json").write_text(json.dumps(settings))
    config = ["-q", "--config", str(home / "config.json")]
    subprocess.run([sys.executable, str(CHECKOUT / "ingestion.py"), *config], check=True)
    pickled = home / "peer.pkl"
    one_thread = ["env", "OMP_NUM_THREADS=1", "OPENBLAS_NUM_THREADS=1", sys.executable]
    commands = {
        OURS: [*one_thread, str(CHECKOUT / "training.py"), *config],
        SEARCH: [*one_thread, "-c", PROGRAM, str(data), str(pickled)],
    }
    costs = measure.side_by_side(commands, runs, uncounted=0)
    assert (home / "models" / "trainedmodel.pkl").stat().st_size and pickled.stat().st_size
    return costs


def _write(place: Path, rows: int) -> None:
    """So many rows of one month, the outcome of each known, without importing pandas here."""
    program = (
        "import sys; from attrition import simulation as s; "
        "s.simulate(int(sys.argv[1]), s.HORIZON_MONTHS + 1, 1).snapshots[s.name_of(0)]"
        ".to_csv(sys.argv[2], index=False)"
    )
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    subprocess.run([sys.executable, "-c", program, str(rows), str(place)], check=True, env=environment)
