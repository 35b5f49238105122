"""What the risk list costs beside reading its table: 10,000 clients, 20 columns, and a year of kept lists."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import measure
from benchmarks.measure import Cost
from benchmarks.tick import CHECKOUT, FOLDERS

CLIENTS, KEPT, RUNS, TURNS = 10_000, 100, 5, 5
NUMBERS = [f"figure_{number:02d}" for number in range(12)]
KINDS = [f"kind_{number}" for number in range(3)]
READING = "pandas reads finaldata.csv, twice"
CONTRACT = {
    "numeric": NUMBERS,
    "categorical": KINDS,
    "carry": ["month"],
    "value": "yearly_value",
    "owner": "account_manager",
}


def run() -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        fill(home)
        ready(home)
        final = home / "ingesteddata" / "finaldata.csv"
        read = f"import pandas; pandas.read_csv({str(final)!r})"
        listed = f"from benchmarks import risklist; risklist.list_of({str(home)!r})"
        commands = {
            "finaldata.csv read once": read,
            "finaldata.csv read by two commands": f"{read}; import subprocess, sys; "
            f"subprocess.run([sys.executable, '-c', {read!r}], check=True)",
            "the list: read, ranked, compared, written": listed,
        }
        costs = measure.side_by_side(
            {name: [sys.executable, "-c", command] for name, command in commands.items()}, RUNS
        )
        print("Whole commands:\n")
        print(measure.table(costs, "finaldata.csv read by two commands"))
        print(f"\nWithin one process that has its libraries loaded, {TURNS} runs:\n")
        print(measure.table(_parts(home, final), READING))


def list_of(home: str) -> dict[str, Any]:
    """The list of a project as reporting makes it, from the table to the text of its files."""
    from attrition import (
        config,
        contract,
        generations,
        keptlists,
        listfiles,
        plays,
        releases,
        risklist,
        scorecard,
        tables,
    )

    configured = config.load(Path(home) / "config.json", {})
    release, generation = releases.require_live(configured), generations.require_current(configured)
    card, clients = scorecard.load(release.read("scorecard.json")), configured.clients
    table = generations.table(contract.compiled(clients), generation)
    active = risklist.current_clients(clients, [table])[0].head(CLIENTS)
    before, book = keptlists.kept(configured.reports).last, plays.load(configured.plays)
    at, risk = "2026-03-01T06:00:00Z", configured.settings.risk

    def ranked() -> Any:
        batches = risklist.ranked(clients, risk, card, active, release.id, at, book, before)
        return [entry for entries in batches for entry in entries]

    entries = ranked()
    short = risklist.short_list(entries, risk.capacity)

    def written() -> str:
        tables.export_columns(*listfiles.short_export(clients, short))
        return tables.export_columns(*listfiles.export(clients, entries))

    def kept() -> bytes:
        keeper = listfiles.Keeper()
        keeper.add(entries)
        return keeper.packed(clients, short, [table], 1, release.id, card.threshold, at)

    written(), kept()
    return {"ranked, with reasons and changes": ranked, "both CSV files": written, "its summary": kept}


def _parts(home: Path, final: Path) -> dict[str, Cost]:
    import pandas as pd

    from attrition import config, contract, generations, keptlists, lookback, risklist

    configured = config.load(home / "config.json", {})
    table = generations.table(contract.compiled(configured.clients), generations.require_current(configured))
    active, gone = risklist.current_clients(configured.clients, [table])
    known = (configured.clients, [table], active[configured.clients.id].tolist(), gone)
    parts = list_of(str(home))
    [newest] = keptlists.kept(configured.reports).lists
    for number in range(2, KEPT + 1):
        place = home / "models" / "reports" / f"run{number:03d}" / keptlists.NAME
        place.parent.mkdir()
        facts = {"number": number, "scored_at": newest.scored_at, "release": newest.release, "threshold": 0.5}
        rows = newest.rows.copy()
        # no two are alike: each is looked at
        rows["probability"] *= 1 - number / 1000
        place.write_bytes(keptlists.pack(facts, newest.datasets, newest.actions, rows, newest.names))
    kept = keptlists.kept(configured.reports)
    outcomes = lookback.outcomes(*known)
    return measure.within(
        {
            READING: lambda: (pd.read_csv(final), pd.read_csv(final)),
            **{f"the list: {name}": part for name, part in parts.items()},
            f"{KEPT} kept lists read": lambda: keptlists.kept(configured.reports),
            "outcomes of the table": lambda: lookback.outcomes(*known),
            f"look-back over {KEPT} lists": lambda: lookback.look_back(kept.lists, outcomes),
        },
        TURNS,
    )


def fill(home: Path, clients: int = CLIENTS) -> None:
    """Half of the clients have left or stayed, of the others it is not known yet; 20 columns."""
    for place in ("sourcedata", "testdata"):
        (home / place).mkdir()
    (home / "sourcedata" / "clients.csv").write_text(_rows(0, clients * 3 // 2))
    (home / "testdata" / "test.csv").write_text(_rows(5 * clients, clients // 5, labelled=True))
    settings = {
        **FOLDERS,
        "ingestion": {"settle_seconds": 0},
        "clients": CONTRACT,
        "training": {"candidates": ["logistic"], "folds": 2},
    }
    (home / "config.json").write_text(json.dumps(settings))


def _rows(start: int, count: int, labelled: bool = False) -> str:
    header = ["corporation", "month", *KINDS, *NUMBERS, "yearly_value", "account_manager", "exited"]
    lines = [",".join(header)]
    for i in range(start, start + count):
        figures = [(i * (7 + 2 * place)) % (101 + 13 * place) for place in range(len(NUMBERS))]
        kinds = [f"kind {(i * (3 + place)) % 5}" for place in range(len(KINDS))]
        left = (figures[0] + figures[1] < 70) != (i % 9 == 0)
        # every third client has left: 10,000 of 15,000 are active
        outcome = str(int(left)) if labelled or i % 3 == 0 else ""
        outcome = "1" if not labelled and i % 3 == 1 and left else outcome
        cells = [f"Client {i}", "2026-03", *kinds, *figures, 1000 + i % 977, f"Manager {i % 8}", outcome]
        lines.append(",".join(map(str, cells)))
    return "\n".join(lines) + "\n"


def ready(home: Path) -> None:
    for script in ("ingestion", "training", "scoring", "deployment", "reporting"):
        command = [sys.executable, f"{CHECKOUT}/{script}.py", "-q", "--config", f"{home}/config.json"]
        subprocess.run(command, check=True)
