"""What ingestion costs: beside other engines, with rejected rows, for one dataset more, on the shipped data.

The rows are those of eight months of one client base, with a few repeated rows; every engine has to come to
the same number of rows. Three sizes show how the cost grows. `run_full` takes ten times as many rows as `run`
and says which aims are reached: they are meant for ten million rows. Nothing large is imported here: what is
started from this process would count its memory as its own.
"""

import itertools
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import measure
from benchmarks.measure import Cost
from benchmarks.tick import CHECKOUT, FOLDERS

COLUMNS = "corporation,lastmonth_activity,lastyear_activity,number_of_employees,exited"
CONFIG = {
    **FOLDERS,
    "ingestion": {"settle_seconds": 0},
    "clients": {
        "ranges": {
            "lastmonth_activity": [0, None],
            "lastyear_activity": [0, None],
            "number_of_employees": [1, None],
        },
        "rules": [{"rule": "lastmonth_activity <= lastyear_activity", "severity": "reject"}],
    },
}
PLACES = [
    "Alder",
    "Beacon",
    "Canyon",
    "Delta",
    "Eagle",
    "Falcon",
    "Granite",
    "Harbor",
    "Iron",
    "Juniper",
    "Lake",
]
TRADES = ["Advisors", "Capital", "Clinics", "Freight", "Outfitters", "Solar", "Tools"]

SIZES, FULL_SIZES = (10_000, 100_000, 1_000_000), (100_000, 1_000_000, 10_000_000)
FILES = 8
ONE_MORE = 10_000
RUNS = 3

WHOLE, JUDGED, BAD = "ingestion.py", "ingestion.py --dry-run", "ingestion.py, 1 % rejected"
ADDED, REBUILT, MERGED = "one dataset more", "full rebuild", "rebuild from kept parts"
SHIPPED = "ingestion.py, shipped data"
READ = (JUDGED, "pandas", "Polars", "DuckDB")
WRITTEN = (WHOLE, BAD, "pandas, to CSV", "Polars, to CSV", "DuckDB, to CSV")

# each ends with the rows in memory or in argv[1], and fails where these are not argv[2] rows
PEERS = {
    "pandas": """
import pandas as pd
table = pd.concat([pd.read_csv(path) for path in paths], ignore_index=True).drop_duplicates()
assert len(table) == rows
""",
    "pandas, to CSV": """
import pandas as pd
table = pd.concat([pd.read_csv(path) for path in paths], ignore_index=True).drop_duplicates()
assert len(table) == rows
table.to_csv(out, index=False)
""",
    "Polars": """
import polars as pl
table = pl.scan_csv(paths).unique().collect()
assert len(table) == rows
""",
    "Polars, to CSV": """
import polars as pl
pl.scan_csv(paths).unique().sink_csv(out)
""",
    "DuckDB": """
import duckdb
duckdb.execute("CREATE TABLE clients AS SELECT DISTINCT * FROM read_csv(?)", [paths])
assert duckdb.execute("SELECT count(*) FROM clients").fetchone() == (rows,)
""",
    "DuckDB, to CSV": """
import duckdb
copied = duckdb.execute(f"COPY (SELECT DISTINCT * FROM read_csv(?)) TO '{out}' (HEADER)", [paths])
assert copied.fetchone() == (rows,)
""",
}
# argv[3] is the table as it was, argv[4] the new dataset
MORE_PEERS = {
    "pandas, table and new dataset": """
import pandas as pd
table = pd.concat([pd.read_csv(path) for path in paths], ignore_index=True).drop_duplicates()
table.to_csv(out, index=False)
""",
    "DuckDB, table and new dataset": PEERS["DuckDB, to CSV"].partition("assert")[0],
}
BEGIN = "import sys; out, rows, paths = sys.argv[1], int(sys.argv[2]), sys.argv[3:]"


@dataclass(frozen=True)
class Home:
    """A folder with a config.json, and what ingestion writes there."""

    folder: Path

    @property
    def sources(self) -> Path:
        return self.folder / "sourcedata"

    @property
    def ingested(self) -> Path:
        return self.folder / "ingesteddata"

    def command(self, *flags: str) -> list[str]:
        config = str(self.folder / "config.json")
        return [sys.executable, str(CHECKOUT / "ingestion.py"), "-q", "--config", config, *flags]

    def rows(self) -> int:
        """Rows of the table as it was published."""
        facts: dict[str, int] = json.loads((self.ingested / "current" / "manifest.json").read_text())
        return facts["rows"]


def run() -> None:
    _run(SIZES)


def run_full() -> None:
    print(f"\n{max(FULL_SIZES):,} rows:\n\n{_targets(_run(FULL_SIZES))}")


def _run(sizes: Sequence[int]) -> dict[str, Cost]:
    """Every table; the costs at the largest size."""
    others: dict[int, dict[str, Cost]] = {}
    more: dict[int, dict[str, Cost]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for rows in sizes:
            place = Path(folder) / f"{rows}"
            others[rows] = _beside_others(place, rows)
            more[rows] = _one_more(place)
            if rows != sizes[1]:
                told = f"{rows:,} rows in {FILES} files"
                _print(f"{told}, read and without duplicates", others[rows], READ, "pandas")
                _print(f"{told}, written as one CSV", others[rows], WRITTEN, "pandas, to CSV")
                _print(f"{ONE_MORE:,} rows added to {rows:,}", more[rows], list(more[rows]), REBUILT)
            shutil.rmtree(place)
        shipped = _shipped(Path(folder))
    print(f"\nHow the costs grow:\n\n{measure.growth('rows', others)}")
    print(f"\nThose of {ONE_MORE:,} rows more, by the rows there are:\n\n{measure.growth('rows', more)}")
    _print("Shipped data", shipped, list(shipped), SHIPPED)
    return {**others[max(sizes)], **more[max(sizes)], **shipped}


def _beside_others(place: Path, rows: int) -> dict[str, Cost]:
    """Ours and the others in turn, on the same files."""
    home, bad = _home(place / "clean", rows, rejected=False), _home(place / "bad", rows, rejected=True)
    kept = sum(1 for i in range(rows) if _first(i, rows // FILES) == i)
    out = place / "out.csv"
    paths = [str(path) for path in sorted(home.sources.iterdir())]
    commands = {
        WHOLE: home.command("--force"),
        BAD: bad.command("--force"),
        JUDGED: home.command("--force", "--dry-run"),
        **{
            name: [sys.executable, "-c", BEGIN + code, str(out), str(kept), *paths]
            for name, code in PEERS.items()
        },
    }

    def afresh(name: str) -> None:
        out.unlink(missing_ok=True)
        for one in (home, bad) if name in (WHOLE, BAD, JUDGED) else ():
            shutil.rmtree(one.ingested, ignore_errors=True)

    # libraries are read from disk once, at the smallest size
    costs = measure.side_by_side(commands, RUNS, afresh, uncounted=int(rows == min(SIZES)))
    afresh("")
    subprocess.run(home.command("--force"), check=True)
    assert home.rows() == kept, f"{home.rows()} rows were published, not {kept}"
    shutil.rmtree(bad.folder)
    return costs


def _one_more(place: Path) -> dict[str, Cost]:
    """One small dataset added to the history of `_beside_others`, beside rebuilds and the peers."""
    home, new, numbers = Home(place / "clean"), place / "new.csv", itertools.count(FILES)
    table, first = place / "table.csv", next(iter(MORE_PEERS))
    # what a peer has kept: no more than the columns
    sources = [str(path) for path in sorted(home.sources.iterdir())]
    kept = [sys.executable, "-c", BEGIN + PEERS["DuckDB, to CSV"], str(table), str(home.rows()), *sources]
    subprocess.run(kept, check=True)
    outs = {name: place / f"out-{at}.csv" for at, name in enumerate(MORE_PEERS)}

    def ready(name: str) -> None:
        live = (home.ingested / "current").readlink().name
        for generation in (home.ingested / "generations").iterdir():
            if generation.name != live:
                shutil.rmtree(generation)
        if name == first:
            if outs[first].exists():
                outs[first].replace(table)
            _write_rows(new, next(numbers), ONE_MORE, _rows)
        if name == ADDED:
            shutil.copy(new, home.sources / f"added-{time.time_ns()}.csv")
        if name == REBUILT:
            shutil.rmtree(home.ingested / "parts")

    peers = {
        name: [sys.executable, "-c", BEGIN + code, str(outs[name]), "0", str(table), str(new)]
        for name, code in MORE_PEERS.items()
    }
    ours = {ADDED: home.command(), REBUILT: home.command("--force"), MERGED: home.command("--force")}
    costs = measure.side_by_side(peers | ours, RUNS, ready, uncounted=0)
    for name, out in outs.items():
        with out.open() as stream:
            rows = sum(1 for _ in stream) - 1
        assert rows == home.rows(), f"{name} came to {rows} rows, not {home.rows()}"
    return costs


def _shipped(place: Path) -> dict[str, Cost]:
    home = Home(place / "shipped")
    shutil.copytree(CHECKOUT / "sourcedata", home.sources)
    shutil.copy(CHECKOUT / "config.json", home.folder)

    def afresh(name: str) -> None:
        shutil.rmtree(home.ingested, ignore_errors=True)

    return measure.side_by_side({SHIPPED: home.command("--force")}, 3 * RUNS, afresh)


def _targets(costs: Mapping[str, Cost]) -> str:
    """What is aimed at, and what was measured."""
    whole, judged, pandas = costs[WHOLE], costs[JUDGED], costs["pandas"]
    asked = [
        ("CPU of pandas", 0.7, judged.cpu / pandas.cpu),
        ("peak memory of pandas", 0.5, judged.peak_mb / pandas.peak_mb),
        ("CPU of DuckDB", 1.5, judged.cpu / costs["DuckDB"].cpu),
        ("CPU of pandas, both to CSV", 0.7, whole.cpu / costs["pandas, to CSV"].cpu),
        ("peak memory of pandas, both to CSV", 0.5, whole.peak_mb / costs["pandas, to CSV"].peak_mb),
        ("CPU of DuckDB, both to CSV", 1.5, whole.cpu / costs["DuckDB, to CSV"].cpu),
        ("CPU with 1 % rejected, of a clean run's", 1.3, costs[BAD].cpu / whole.cpu),
        ("CPU of one dataset more, of a full rebuild's", 0.10, costs[ADDED].cpu / costs[REBUILT].cpu),
        ("CPU seconds on the shipped data", 1.5, costs[SHIPPED].cpu),
    ]
    lines = [
        f"| {what} | {most:.2f} | {found:.2f} | {'yes' if found <= most else 'no'} |"
        for what, most, found in asked
    ]
    return "\n".join(["| what | at most | measured | reached |\n|---|---|---|---|", *lines])


def _print(title: str, costs: Mapping[str, Cost], names: Sequence[str], yardstick: str) -> None:
    print(f"\n{title}:\n\n{measure.table({name: costs[name] for name in names}, yardstick)}", flush=True)


def _home(folder: Path, rows: int, rejected: bool) -> Home:
    home = Home(folder)
    home.sources.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    for month in range(FILES):
        made = home.sources / f"clients-{month:04}.csv"
        _write_rows(made, month, rows // FILES, _rows_with_rejects if rejected else _rows)
    return home


def _write_rows(place: Path, month: int, rows: int, make: Callable[[int, int], Iterator[str]]) -> None:
    with place.open("w") as stream:
        stream.write(f"{COLUMNS}\n")
        stream.writelines(make(month, rows))


def _rows(month: int, clients: int) -> Iterator[str]:
    for i in range(month * clients, (month + 1) * clients):
        yield _row(_first(i, clients), clients)


def _rows_with_rejects(month: int, clients: int) -> Iterator[str]:
    """One row in a hundred breaks the contract, in five ways."""
    bad = itertools.cycle(
        [
            "Alder Tools 0000001,many,900,12,0\n",
            "Alder Tools 0000001,5,900,12,2\n",
            ",5,900,12,0\n",
            "Alder Tools 0000001,901,900,12,0\n",
            "Alder Tools 0000001,5,900\n",
        ]
    )
    for number, row in enumerate(_rows(month, clients)):
        yield next(bad) if number % 100 == 7 else row


def _first(i: int, clients: int) -> int:
    """The row that row i repeats: now and then the one before it, or the client's in the first month."""
    if i % clients % 1000 == 999:
        return _first(i - 1, clients)
    return i % clients if i % clients % 1000 == 499 else i


def _row(i: int, clients: int) -> str:
    client, chance = i % clients, i * 2654435761 % 2**32
    month = chance % 211
    year = month * 7 + (chance >> 8) % 907
    name = f"{PLACES[client % len(PLACES)]} {TRADES[client % len(TRADES)]} {client:07}"
    return f"{name},{month},{year},{1 + (chance >> 16) % 499},{int(chance % 9 == 0)}\n"
