"""Years through fullprocess.py itself, in this process, on the simulator's client base, month by month.

A month's dataset comes without outcomes; HORIZON_MONTHS later it is delivered again with them. Besides,
one dataset comes under two names, one is corrected, and in the year called so one has a broken column. Cron's
idle ticks between are left out; some are run to show that they write nothing.
"""

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, log_expit

import scoring
from attrition import candidates, generations, monitor, releases, scorecard, scores, simulation
from attrition import contract as contracts
from attrition.simulation import HORIZON_MONTHS, Drift, name_of
from tests.projects import CHECKOUT, Project

Floats = NDArray[np.float64]
LogOdds = Callable[[pd.DataFrame], Floats]

SEED = 70_261
CLIENTS, TEST_CLIENTS = 250, 600
HISTORY, MONTHS = 8, 12
# months of the year, counted from 0
CHANGE, COPIED, CORRECTED, BROKEN = 4, 2, 3, 5
IDLE_TICKS = (0, 6)
KINDS = ("stable", "concept", "broken feed", "prior", "covariate")
OURS, NEVER, EACH, RAW, ORACLE = "this pipeline", "never again", "each dataset", "F1 below the last", "oracle"


@dataclass(frozen=True)
class Base:
    """The simulated clients by month, with outcomes and the true probability of each."""

    kind: str
    seed: int
    months: Sequence[pd.DataFrame]
    test: pd.DataFrame

    @property
    def change(self) -> int:
        """The first month whose rows tell something else than those before."""
        return HISTORY + CHANGE if self.kind in ("concept", "prior") else len(self.months)

    def dataset(self, month: int, is_known: bool) -> pd.DataFrame:
        rows = self.months[month].drop(columns="probability")
        if self.kind == "broken feed" and month == HISTORY + BROKEN:
            rows = rows.assign(lastmonth_activity=0)
        return rows if is_known else rows.assign(exited=pd.Series(pd.NA, rows.index, dtype="Int64"))

    def truth(self, month: int, clients: Sequence[str]) -> Floats:
        found = self.months[month].set_index("corporation")["probability"].reindex(clients)
        return found.to_numpy(float)


def base(kind: str, seed: int, months: int = MONTHS) -> Base:
    drift = Drift(kind, HISTORY + CHANGE + 1) if kind in simulation.KINDS else None
    made = simulation.simulate(CLIENTS, HISTORY + months, seed, drift)
    truth = dict(iter(made.truth.groupby("month")))
    known_months = []
    for name, rows in made.snapshots.items():
        known = truth[name].reset_index(drop=True)
        known_months.append(rows.assign(exited=known["exited"], probability=known["probability"]))
    tested = simulation.simulate(TEST_CLIENTS, HISTORY, seed, None, "test")
    newest = name_of(HISTORY - 1)
    outcome = tested.truth.loc[tested.truth["month"] == newest, "exited"].reset_index(drop=True)
    return Base(kind, seed, known_months, tested.snapshots[newest].assign(exited=outcome))


def delivered(base: Base, month: int) -> Iterator[tuple[str, pd.DataFrame]]:
    """Names and rows of the datasets that come, or come again, in this month of all, counted from 0."""
    first = 0 if month == HISTORY - 1 else month
    for new in range(first, month + 1):
        yield _name(new), base.dataset(new, new <= month - HORIZON_MONTHS)
    if first:
        yield _name(month - HORIZON_MONTHS), base.dataset(month - HORIZON_MONTHS, True)
    if month == HISTORY + COPIED:
        yield f"copy-of-{_name(month - 1)}", base.dataset(month - 1, False)
    if month == HISTORY + CORRECTED:
        rows = base.dataset(1, True)
        rows.loc[:19, "number_of_employees"] += 1
        yield _name(1), rows


def _name(month: int) -> str:
    return f"clients-{name_of(month)}.csv"


# --- one year ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Told:
    """What one policy did, by month of the year; `wrong` deployments made the loss larger."""

    loss: float = 0.0
    alarms: tuple[int, ...] = ()
    acts: tuple[int, ...] = ()
    trained: tuple[int, ...] = ()
    deployed: tuple[int, ...] = ()
    wrong: int = 0
    labels: int | None = None


def live_year(base: Base, home: Path) -> dict[str, Told]:
    """Raises RuntimeError where a tick fails, or an idle one writes anything."""
    clients = json.loads((CHECKOUT / "config.json").read_text())["clients"]
    # a year passes in minutes here
    project = Project(home, {"clients": clients, "retraining": {"most_per_day": 1000}})
    project.here = True
    config = project.config()
    contract = contracts.compiled(config.clients)
    simulation.write({"testdata/testdata.csv": base.test}, home)
    policies, told = {}, {}
    for month in range(HISTORY - 1, len(base.months)):
        for name, rows in delivered(base, month):
            simulation.write({f"sourcedata/{name}": rows}, home)
        answer = tick(project)
        table = generations.table(contract, generations.require_current(config))
        live = scorecard.load(releases.require_live(config).read("scorecard.json")).log_odds
        if month == HISTORY - 1:
            test = scoring.read_test_rows(config, contract)
            policies = {name: Policy(base, contract, live, test) for name in (NEVER, EACH, RAW, ORACLE)}
            told, before = dict.fromkeys((OURS, *policies), Told()), live
            continue
        rows = table[table["dataset"] == _name(month)]
        loss = _loss(base, month, rows)
        now = month - HISTORY
        ours = replace(_heard(told[OURS], config, answer, now), loss=told[OURS].loss + loss(live))
        told[OURS] = replace(ours, wrong=ours.wrong + (answer["promoted"] and loss(live) > loss(before)))
        before = live
        for name, policy in policies.items():
            trained, wrong = policy.learn(name, month, table, loss)
            told[name] = _added(told[name], loss(policy.model), now, trained, wrong)
        if now in IDLE_TICKS:
            idle(project)
    return told


def tick(project: Project) -> dict[str, Any]:
    done = project.run("fullprocess.py", "--json")
    if done.returncode:
        raise RuntimeError(f"{project.home}: a tick ended with status {done.returncode}: {done.stderr}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def idle(project: Project) -> None:
    before = project.snapshot()
    done, after = project.run("fullprocess.py", "-q"), project.snapshot()
    changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    if done.returncode or done.stdout or changed - {".config.json.stamp"}:
        raise RuntimeError(f"{project.home}: an idle tick changed {sorted(changed)}: {done.stderr}")


def _heard(told: Told, config: Any, answer: dict[str, Any], now: int) -> Told:
    """An alarm is noted once, in the month in which it began."""
    drift = answer["drift"]
    record = monitor.read(config.monitor).records.get(releases.require_live(config).id)
    if drift and not told.alarms:
        told = replace(told, alarms=(now,), labels=drift["labels"])
    if record and record.shift and record.shift["level"] == "act":
        told = replace(told, acts=(*told.acts, now))
    trained, deployed = ((now,) if answer[name] else () for name in ("retrained", "promoted"))
    return replace(told, trained=told.trained + trained, deployed=told.deployed + deployed)


def _added(told: Told, loss: float, now: int, trained: bool, wrong: bool) -> Told:
    months = (now,) if trained else ()
    return replace(
        told,
        loss=told.loss + loss,
        trained=told.trained + months,
        deployed=told.deployed + months,
        wrong=told.wrong + wrong,
    )


def _loss(base: Base, month: int, rows: pd.DataFrame) -> Callable[[LogOdds], float]:
    """Log loss to expect of a model on the month's rows, by the simulator's own probabilities."""
    truth = base.truth(month, rows["corporation"].tolist())

    def loss(model: LogOdds) -> float:
        log_odds = model(rows)
        return float(-np.sum(truth * log_expit(log_odds) + (1 - truth) * log_expit(-log_odds)))

    return loss


class Policy:
    """A model in use, and when another way of doing replaces it by a logistic model of all rows, or some."""

    def __init__(self, base: Base, contract: contracts.Contract, model: LogOdds, test: pd.DataFrame) -> None:
        self.base, self.contract, self.model, self.test = base, contract, model, test
        self.last = self._f1(model, test)

    def learn(
        self, name: str, month: int, table: pd.DataFrame, loss: Callable[[LogOdds], float]
    ) -> tuple[bool, bool]:
        """Whether a model was trained, and whether it is worse than the one before."""
        newest = _name(month - HORIZON_MONTHS)
        if name == NEVER:
            return False, False
        if name == RAW and self._f1(self.model, table[table["dataset"] == newest]) >= self.last:
            return False, False
        rows = self._labelled(table)
        if name == ORACLE:
            rows = rows[self._alike(rows, month)]
        if len(rows) < CLIENTS or rows["dataset"].max() < newest:
            return False, False
        before, self.model = self.model, self._fit(rows)
        self.last = self._f1(self.model, self.test)
        return True, loss(self.model) > loss(before)

    def _alike(self, rows: pd.DataFrame, month: int) -> "pd.Series[bool]":
        if self.base.kind == "broken feed":
            return rows["dataset"] != _name(HISTORY + BROKEN)
        has_changed = month >= self.base.change
        return rows["dataset"] >= _name(self.base.change) if has_changed else rows["dataset"] >= ""

    def _labelled(self, table: pd.DataFrame) -> pd.DataFrame:
        return table[~np.isnan(contracts.outcomes(self.contract.clients, table))]

    def _fit(self, rows: pd.DataFrame) -> LogOdds:
        clients = self.contract.clients
        outcome, family = (
            contracts.outcomes(clients, rows),
            np.unique(rows[clients.id], return_inverse=True)[1],
        )
        return candidates.fitted({"logistic": 1.0}, clients, rows, outcome, family, 0, "logistic").log_odds

    def _f1(self, model: LogOdds, table: pd.DataFrame) -> float:
        rows = self._labelled(table)
        outcome = contracts.outcomes(self.contract.clients, rows)
        cells = scores.confusion(outcome, expit(model(rows)), 0.5)
        hit, missed, needless = (cells[f] for f in ("true_positive", "false_negative", "false_positive"))
        return 2 * hit / max(1, 2 * hit + missed + needless)


# --- tables -----------------------------------------------------------------------------------------------


def run(kinds: Sequence[str] = KINDS) -> None:
    os.environ["ATTRITION_PACKAGE_CHECK"] = "off"
    print(f"{CLIENTS} clients, {MONTHS} months; the world changes in month {CHANGE + 1}:\n")
    heads = ("year", "policy", "log loss a row", "to the oracle", "alarm", "inputs ask", "trained")
    print(f"| {' | '.join(heads)} | deployed | wrongly |")
    print("|---|---|--:|--:|---|---|--:|--:|--:|")
    for at, kind in enumerate(kinds):
        with tempfile.TemporaryDirectory() as home:
            told = live_year(base(kind, SEED + at), Path(home))
        for name, each in told.items():
            print(f"| {kind} | {name} | {_cells(each, told[ORACLE])} |", flush=True)


def _cells(told: Told, best: Told) -> str:
    alarm = f"month {told.alarms[0] + 1}, after {told.labels:,} labels" if told.alarms else ""
    acts = ", ".join(str(month + 1) for month in told.acts)
    done = f"{len(told.trained)} | {len(told.deployed)} | {told.wrong}"
    return f"{told.loss / MONTHS / CLIENTS:.4f} | {told.loss / best.loss:.3f} | {alarm} | {acts} | {done}"
