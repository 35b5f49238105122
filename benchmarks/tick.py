"""What a tick costs: idle with 1,000 files in the input folder, beside a bare start of the same Python."""

import json
import sys
import tempfile
from pathlib import Path

from benchmarks import measure

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


def run() -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        _fill(home)
        tick = [sys.executable, str(CHECKOUT / "fullprocess.py"), "-q", "--config", str(home / "config.json")]
        costs = measure.side_by_side(
            {"python -c pass": [sys.executable, "-c", "pass"], "idle tick": tick}, RUNS
        )
    print(measure.table(costs, "python -c pass"))


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
