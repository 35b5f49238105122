"""Which training window is chosen where nothing changed, and what choosing gains after a change.

Nothing changed: the rows of each CSV of ../shared/data/churn in random orders, so that any shorter window is
a false choice. A change: the first two SEA concepts, each in random orders, the second from row 12,500 on.
The gain is that of the spline candidate on the next 1,000 rows of the second concept.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from attrition import candidates, scores, windows
from attrition.settings import Clients
from benchmarks import models
from benchmarks.promotion import share

Floats = NDArray[np.float64]

SEA = models.CHURN.parent / "drift" / "sea_4concepts.csv"
COLUMNS = ("x1", "x2", "x3_noise")
CHANGE = 12_500
ASKED = 1_000
SINCE = (500, 1_000, 2_000, 5_000, 10_000)
ORDERS, SHORT_ORDERS, REPLICAS = 100, 20, 20
HEAD = "| data | rows | a shorter window, by mistake | CPU s |\n|---|--:|--:|--:|"
SEED = 30_261


def run() -> None:
    print(f"Nothing changed, {ORDERS} random orders each:\n")
    print(HEAD)
    for path in sorted(models.CHURN.glob("*.csv")):
        print(stable(path))
    print(f"\nSEA, {REPLICAS} random orders each; log loss on the next {ASKED:,} rows, ± over orders:\n")
    print(
        "| rows since the change | a shorter window | all rows | chosen rows | gain | gain of the new alone |"
    )
    print("|--:|--:|--:|--:|--:|--:|")
    for since in SINCE:
        print(changed(since))


def run_short() -> None:
    print(f"Nothing changed, {SHORT_ORDERS} random orders:\n\n{HEAD}")
    print(stable(models.CHURN / "ibm_hr_attrition.csv", SHORT_ORDERS))


def stable(path: Path, orders: int = ORDERS) -> str:
    data, clock = models.read(path), time.process_time()
    shorter = []
    for at in range(orders):
        order = np.random.default_rng(SEED + at).permutation(len(data.outcome))
        table = data.table.iloc[order].reset_index(drop=True)
        clients = data.clients
        found = windows.choose(
            table, data.outcome[order], data.family[order], clients.numeric, clients.categorical, at
        )
        shorter.append(found.name != windows.ALL)
    seconds = (time.process_time() - clock) / orders
    return f"| {data.name} | {len(data.outcome):,} | {share(shorter)} | {seconds:.2f} |"


def changed(since: int) -> str:
    sea = pd.read_csv(SEA)
    shorter, losses = [], []
    for at in range(REPLICAS):
        random = np.random.default_rng(SEED + at)
        order = np.r_[random.permutation(CHANGE), CHANGE + random.permutation(CHANGE)]
        rows = sea.iloc[order[: CHANGE + since + ASKED]].reset_index(drop=True)
        table, outcome = rows[list(COLUMNS)], rows["target"].to_numpy(dtype=np.float64)
        end = CHANGE + since
        found = windows.choose(table[:end], outcome[:end], np.arange(end), COLUMNS, (), at)
        shorter.append(found.name != windows.ALL)
        losses.append([_loss(table, outcome, slice(end - used, end)) for used in (end, found.rows, since)])
    every, chosen, new = np.array(losses).T
    told = f"{every.mean():.4f} | {chosen.mean():.4f} | {_gain(every - chosen)} | {_gain(every - new)}"
    return f"| {since:,} | {share(shorter)} | {told} |"


def _loss(table: pd.DataFrame, outcome: Floats, seen: slice) -> float:
    """Log loss of the spline candidate trained on the `seen` rows, on the rows that follow them."""
    clients, asked = Clients(id="id", target="target", numeric=COLUMNS), slice(seen.stop, None)
    family: NDArray[Any] = np.arange(seen.stop - seen.start)
    model = candidates.fitted({"spline": 1.0}, clients, table[seen], outcome[seen], family, 0, "spline")
    return float(scores.log_losses(outcome[asked], model.log_odds(table[asked])).mean())


def _gain(gains: Floats) -> str:
    return f"{gains.mean():+.4f} ± {gains.std(ddof=1) / np.sqrt(len(gains)):.4f}"
