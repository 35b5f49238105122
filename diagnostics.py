"""What is known about the data, the live release and the pipeline: written once, served many times.

Reads   the current generation of ingesteddata/, the live release, monitor.json, the run history,
        requirements.txt and .in
Writes  diagnostics.json, packages.json

Example: python diagnostics.py --json
"""

import logging
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from statistics import median
from typing import TYPE_CHECKING, Any

from attrition import chronicle, files, generations, ledger, monitor, packages, parallel, releases, stage
from attrition import contract as contracts
from attrition.chronicle import Chronicle, Tally
from attrition.columns import Columns
from attrition.config import Config
from attrition.errors import DataError, ReleaseError
from attrition.parallel import Crew
from attrition.publisher import Edition
from attrition.releases import Release
from attrition.settings import Clients

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from attrition.scorecard import Scorecard

log = logging.getLogger("attrition")

TREND_RUNS = 5
SLOWEST_SHARE = 0.95
NOTHING = Chronicle()


@dataclass(frozen=True)
class Diagnosed:
    rows: int
    predictions: Mapping[str, Any]
    missing: Mapping[str, Any]
    summary: Mapping[str, Mapping[str, Any]] = field(metadata={"ledger": False})
    missing_percent: Mapping[str, float | None] = field(metadata={"ledger": False})
    timings: Mapping[str, Mapping[str, Any]] = field(metadata={"ledger": False})
    drift: Mapping[str, Any] | None = field(metadata={"ledger": False})
    packages: Mapping[str, Any] = field(metadata={"ledger": False})
    status: str = "done"

    def __str__(self) -> str:
        incomplete = sum(bool(percent) for percent in self.missing_percent.values())
        listed = self.packages["packages"]
        outdated = sum(bool(package["outdated"]) for package in listed)
        vulnerable = sum(bool(package["vulnerabilities"]) for package in listed)
        return (
            f"Rows: {self.rows:,}; {_told(self.predictions)}; "
            f"columns with missing values: {incomplete} of {len(self.missing_percent)}; "
            f"packages known to be outdated: {outdated}, vulnerable: {vulnerable}, of {len(listed)}."
        )


def run(config: Config) -> Diagnosed:
    generation = generations.require_current(config)
    contract = contracts.compiled(config.clients)
    table, release = generations.pieces(contract, generation), releases.live(config)
    past, now = runs(config), stage.now()
    with Columns(config.model_folder) as columns:
        counted = Counted(contract.clients, columns)
        with parallel.crew_for(table.rows, config.settings.parallel) as crew:
            predicted = predictions(release, map(counted.with_this, table), crew)
        figures_of_columns = summary(contract.clients, columns)
    missing = counted.missing_percent()
    diagnosed = Diagnosed(
        rows=predicted["rows"],
        predictions=predicted,
        missing=missing_in_short(contract.clients, missing),
        summary=figures_of_columns,
        missing_percent=missing,
        timings=timings(past.entries, past.earlier),
        drift=known_drift(config, release),
        packages=packages.check(config, now),
    )
    if not config.dry_run:
        files.write_json(config.packages, diagnosed.packages)
        files.write_json(config.diagnostics, _facts(config, now, generation, diagnosed))
    return diagnosed


def model_predictions(config: Config, table: "pd.DataFrame") -> "np.ndarray[Any, Any]":
    """Each row's probability of leaving by the live release; shape (rows,).

    `table` has the columns of the contract, derived ones included. ReleaseError where no release is live, or
    where the live one needs a column that the table lacks.
    """
    release = releases.require_live(config)
    card = _card(release)
    if reason := _unfit(card, table):
        raise ReleaseError(f"{release.id}: {reason}. Run: python fullprocess.py --force")
    with parallel.crew_for(len(table), config.settings.parallel) as crew:
        return card.probability(table, crew)


class Counted:
    """Rows and missing cells of a table that comes piece by piece; its numbers are kept by column."""

    def __init__(self, clients: Clients, columns: Columns) -> None:
        self.clients, self.columns = clients, columns
        self.rows = 0
        self.missing = dict.fromkeys(clients.columns, 0)

    def with_this(self, piece: "pd.DataFrame") -> "pd.DataFrame":
        clients = self.clients
        self.rows += len(piece)
        for column in clients.columns:
            self.missing[column] += _missing(piece[column], column in clients.numbers)
        for column in dict.fromkeys([*clients.numbers, *clients.derived]):
            self.columns.add(column, piece[column].to_numpy(dtype=float))
        return piece

    def missing_percent(self) -> dict[str, float | None]:
        """Percent (0 to 100) of the rows in which each contract column is missing; None without a row."""
        return {
            column: 100 * missing / self.rows if self.rows else None
            for column, missing in self.missing.items()
        }


def predictions(
    release: Release | None, pieces: "Iterable[pd.DataFrame]", crew: Crew = parallel.HERE
) -> dict[str, Any]:
    """How many rows the live release takes for leaving, at its threshold; or why that is not known.

    All pieces are gone through, whatever is known; there is one at least.
    """
    rest = iter(pieces)
    first = next(rest)
    card = _card(release) if release else None
    told = {
        "release": release.id if release else None,
        "rows": 0,
        "leaving": None,
        "threshold": card.threshold if card else None,
        "reason": _unfit(card, first) if card else "no release is live",
    }
    if card is None or told["reason"]:
        return {**told, "rows": len(first) + sum(map(len, rest))}
    rows = leaving = 0
    for probability in card.probability_of(chain([first], rest), crew):
        rows += len(probability)
        leaving += int((probability >= card.threshold).sum())
    return {**told, "rows": rows, "leaving": leaving}


def summary(clients: Clients, columns: Columns) -> dict[str, dict[str, float | int | None]]:
    """Figures of every number column, read or derived, over the values that are present."""
    names = dict.fromkeys([*clients.numbers, *clients.derived])
    return {column: figures(columns.values(column)) for column in names}


def figures(values: "np.ndarray[Any, Any]") -> dict[str, float | int | None]:
    """Figures of one column; NaN is missing. The standard deviation is the sample's (n - 1)."""
    import numpy as np

    present = values[np.isfinite(values)]
    if not len(present):
        names = ("mean", "median", "mode", "standard_deviation", "minimum", "maximum")
        return {**dict.fromkeys(names), "count": 0}
    distinct, counts = np.unique(present, return_counts=True)
    # a derived column can be so large that a sum or a square is none
    with np.errstate(over="ignore", invalid="ignore"):
        mean, middle = present.mean(), np.median(present)
        deviation = present.std(ddof=1) if len(present) > 1 else math.nan
    return {
        "mean": _finite(mean),
        "median": _finite(middle),
        # argmax takes the first, which is the smallest of the most frequent
        "mode": _finite(distinct[counts.argmax()]),
        "standard_deviation": _finite(deviation),
        "minimum": _finite(distinct[0]),
        "maximum": _finite(distinct[-1]),
        "count": len(present),
    }


def missing_in_short(clients: Clients, percents: Mapping[str, float | None]) -> dict[str, Any]:
    """Percent of all cells that a model could read, and the column that lacks most; None where no row is."""
    asked = ((column, percents.get(column)) for column in clients.features)
    known = {column: percent for column, percent in asked if percent is not None}
    if not known:
        return {"percent": None, "worst": None, "worst_percent": None}
    worst = max(known, key=known.__getitem__)
    return {"percent": sum(known.values()) / len(known), "worst": worst, "worst_percent": known[worst]}


def runs(config: Config) -> ledger.Past:
    """All runs; where the sums of the older ones are damaged, those that stand as lines."""
    try:
        return ledger.past(config.history)
    except DataError as fault:
        log.error("timings are those of the newest runs alone: %s", fault)
        return ledger.Past(ledger.entries(config.history), NOTHING)


def timings(history: Sequence[Mapping[str, Any]], earlier: Chronicle = NOTHING) -> dict[str, dict[str, Any]]:
    """Seconds of each stage's finished runs, and their trend; a run with nothing to do tells no speed.

    `earlier` has the sums of runs whose lines are gone, or stand in the history marked as counted: then the
    median and the 95th percentile are within chronicle.PRECISION of the exact ones.
    """
    before = earlier.stages
    return {
        name: _timing([entry for entry in history if entry["stage"] == name], before.get(name, Tally()))
        for name in dict.fromkeys(entry["stage"] for entry in history)
    }


def trend(seconds: Sequence[float]) -> dict[str, Any]:
    """Median of the last TREND_RUNS runs against that of as many before; None while there are too few."""
    if len(seconds) < 2 * TREND_RUNS:
        return {"trend": None, "trend_percent": None}
    now, before = median(seconds[-TREND_RUNS:]), median(seconds[-2 * TREND_RUNS : -TREND_RUNS])
    percent = round(100 * (now - before) / before, 1) if before else None
    change = f", {abs(percent):g}% {'slower' if percent > 0 else 'faster'}" if percent else ""
    sentence = f"{now:.2f} s in the last {TREND_RUNS} runs, {before:.2f} s in the {TREND_RUNS} before{change}"
    return {"trend": sentence, "trend_percent": percent}


def known_drift(config: Config, release: Release | None) -> dict[str, Any] | None:
    """What the live release met since it went live; None where it met nothing yet.

    `drift` is the alarm or None, `losses` its error and Brier loss, `inputs` what became of the columns,
    `expected` what its probabilities promise on the newest rows.
    """
    record = monitor.read(config.monitor).records.get(release.id) if release else None
    if release is None or record is None or record.looked_at is None:
        return None
    return {
        "release": release.id,
        "looked_at": record.looked_at,
        "rows": record.rows,
        "labels": record.labels,
        "drift": record.drift,
        "losses": record.losses,
        "inputs": record.shift,
        "expected": record.expected,
        "live_score": record.live_score,
    }


def datasets(generation: Edition) -> dict[str, Any]:
    """What became of the datasets: counts by status, rows in and out, and why some were not ingested."""
    listed = generations.datasets(generation)
    rows = ("rows_read", "rows_added", "duplicates", "rejected")
    return {
        "by_status": dict(Counter(dataset["status"] for dataset in listed)),
        **{count: sum(dataset[count] for dataset in listed) for count in rows},
        "removed": [dataset["name"] for dataset in listed if dataset["status"] == "removed"],
        "set_aside": [
            {key: dataset[key] for key in ("name", "status", "reason")}
            for dataset in listed
            if dataset["reason"]
        ],
    }


def _facts(config: Config, now: str, generation: Edition, diagnosed: Diagnosed) -> dict[str, Any]:
    return {
        "diagnosed_at": now,
        "run": config.run,
        "generation": generation.id,
        "release": diagnosed.predictions["release"],
        "rows": diagnosed.rows,
        "predictions": diagnosed.predictions,
        "summary": diagnosed.summary,
        "missing_percent": diagnosed.missing_percent,
        "timings": diagnosed.timings,
        "drift": diagnosed.drift,
        "datasets": datasets(generation),
        "packages": diagnosed.packages,
    }


def _told(counted: Mapping[str, Any]) -> str:
    if counted["leaving"] is None:
        return f"nothing predicted: {counted['reason']}"
    return f"predicted to leave by {counted['release']}: {counted['leaving']:,}"


def _card(release: Release) -> "Scorecard":
    from attrition import scorecard

    return scorecard.load(release.read("scorecard.json"))


def _unfit(card: "Scorecard", table: "pd.DataFrame") -> str:
    """Why a model cannot score the table, or "": it was trained under another contract and kept."""
    lacking = [feature for feature in card.features if feature not in table.columns]
    return (
        f"the live release needs the column {', '.join(lacking)}, which the contract lacks" if lacking else ""
    )


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _missing(column: "pd.Series[Any]", is_number: bool) -> int:
    return int((column.isna() if is_number else column.str.strip() == "").sum())


def _timing(runs: Sequence[Mapping[str, Any]], earlier: Tally) -> dict[str, Any]:
    """Of one stage."""
    worked = [run for run in runs if run["status"] in ledger.FINISHED and run["status"] != "nothing to do"]
    seconds = [run["seconds"] for run in worked]
    whole = earlier + chronicle.tally(run for run in runs if ledger.COUNTED not in run)
    exact = not earlier.runs and bool(seconds)
    return {
        "runs": whole.runs,
        "idle": whole.idle,
        "failures": whole.failures,
        "last_seconds": seconds[-1] if seconds else None,
        "median_seconds": median(seconds) if exact else whole.quantile(0.5),
        "p95_seconds": _slow(seconds) if exact else whole.quantile(SLOWEST_SHARE),
        "longest_seconds": whole.milliseconds.most / 1000 if whole.milliseconds else None,
        **trend(seconds),
    }


def _slow(seconds: Sequence[float]) -> float:
    """The nearest-rank 95th percentile."""
    return sorted(seconds)[math.ceil(SLOWEST_SHARE * len(seconds)) - 1]


def main() -> int:
    return stage.enter("diagnostics", __doc__, run)


if __name__ == "__main__":
    raise SystemExit(main())
