"""What telling and drawing drift costs: whole commands that read two tables and leave a file for a person.

Ours profiles the older table, judges the newer one by it (attrition.shift) and draws the columns that moved
most, as the report does. Evidently has its drift preset with its defaults, and its page; it takes another
pandas than this project, so it has an environment of its own. Both read the same CSVs of 20 columns, of which
one moved.
"""

import html
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import environments, measure
from benchmarks.measure import Cost

NUMBERS, KINDS = 16, 4
SIZES, FULL_SIZES = (1_000, 5_000, 25_000), (1_000, 10_000, 100_000)
RUNS = 3
OURS, PLAIN, EVIDENTLY = "this pipeline", "pandas reads both", "Evidently"

# each reads argv[1] and argv[2] and leaves its page in argv[3]
PROGRAMS = {
    PLAIN: """
import sys, pandas as pd
tables = [pd.read_csv(path) for path in sys.argv[1:3]]
""",
    OURS: """
import sys
from benchmarks import driftreport
driftreport.report(*sys.argv[1:])
""",
    EVIDENTLY: """
import sys, pandas as pd
from evidently import Report
from evidently.presets import DataDriftPreset
old, new = (pd.read_csv(path) for path in sys.argv[1:3])
Report([DataDriftPreset()]).run(new, old).save_html(sys.argv[3])
""",
}


def run(sizes: Sequence[int] = SIZES) -> None:
    why = environments.missing("evidently")
    if why:
        print(f"{why}\n")
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            found[size] = _costs(Path(folder), size, has_peer=why is None)
    print(f"{max(sizes):,} rows, and as many to compare them with:\n")
    print(f"{measure.table(found[max(sizes)], PLAIN)}\n\n{measure.growth('rows', found)}")


def run_full() -> None:
    run(FULL_SIZES)


def report(old: str, new: str, out: str) -> None:
    """Read both tables, judge the newer by the older, and draw the columns: sentences and the picture."""
    import numpy as np
    import pandas as pd

    from attrition import beside, plots, profile, shift

    older, newer = (pd.read_csv(path) for path in (old, new))
    numbers = [name for name in older.columns if older[name].dtype.kind == "f"]

    def split(table: pd.DataFrame) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        kinds = [name for name in table.columns if name not in numbers]
        return {n: table[n].to_numpy() for n in numbers}, {k: table[k].to_numpy(object) for k in kinds}

    known = profile.of(*split(older), seed=0)
    memory = shift.take(known, shift.Memory(), *split(newer), Path(new).name)
    verdict = shift.judge(known, memory)
    assert verdict.level == "act", "the column that moved was not found"
    judged = {column.column: column for column in verdict.columns}
    columns = sorted(beside.columns(known, memory), key=lambda each: judged[each["column"]].p_value)
    named = [
        {**each, "words": each["column"], "level": judged[each["column"]].level}
        for each in columns
        if each["column"] in judged
    ]
    picture = plots.drift_picture(named)
    told = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in verdict.sentences)
    Path(out).write_text(f'{told}<img src="{picture.uri}" alt="{html.escape(picture.alt)}">')


def _costs(folder: Path, size: int, has_peer: bool) -> dict[str, Cost]:
    old, new = folder / "old.csv", folder / "new.csv"
    _write(old, size, 0, moved=0.0)
    _write(new, size, 1, moved=0.3)
    names = [name for name in PROGRAMS if has_peer or name != EVIDENTLY]
    out = {name: folder / f"{name}.html" for name in names}
    for page in out.values():
        page.unlink(missing_ok=True)
    costs = measure.side_by_side(
        {
            name: [
                # nothing of a measurement leaves this machine
                *("env", "DO_NOT_TRACK=1"),
                str(environments.python("evidently")) if name == EVIDENTLY else sys.executable,
                *("-c", PROGRAMS[name], str(old), str(new), str(out[name])),
            ]
            for name in names
        },
        RUNS,
        uncounted=0,
    )
    empty = [name for name in names if name != PLAIN and not out[name].stat().st_size]
    assert not empty, f"nothing was written by {', '.join(empty)}"
    return costs


def _write(place: Path, rows: int, seed: int, moved: float) -> None:
    """Normal columns, the first one moved by so many standard deviations, and categories."""
    program = f"""
import numpy as np, pandas as pd
random = np.random.default_rng({seed})
table = pd.DataFrame(random.normal(50, 15, ({rows}, {NUMBERS})).round(2))
table.columns = [f"figure_{{at:02d}}" for at in range({NUMBERS})]
table["figure_00"] += 15 * {moved}
for at in range({KINDS}):
    table[f"kind_{{at}}"] = random.choice(list("abcde"), {rows})
table.to_csv({str(place)!r}, index=False)
"""
    measure.side_by_side({"write": [sys.executable, "-c", program]}, runs=1, uncounted=0)
