"""Drift monitors on two real streams: false alarms, delay, models fitted, and what their users would lose.

Prequential: each batch is scored by a logistic model before anything is learnt from it, and the monitor
sees the outcomes. On an alarm a new model is fitted on the newest TRAINED rows, at once or when so many have
come since, and the monitor starts anew. SEA changes at known rows; of electricity prices (elec2) nobody
knows. ADWIN, DDM, EDDM and Page-Hinkley are river's with their defaults; each sees the errors row by row.
"""

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from attrition import drift, folds, scores
from attrition.drift import Deployed, Limits, Risk
from benchmarks import models
from benchmarks.promotion import share

Floats = NDArray[np.float64]

DRIFT = models.CHURN.parent / "drift"
SEA, ELEC2 = DRIFT / "sea_4concepts.csv", DRIFT / "elec2_full.csv"
CHANGES = (12_500, 25_000, 37_500)
# an alarm so many rows after a change has found it; any other is false
NEAR = 2_500
TRAINED, BATCH, FOLDS = 2_000, 100, 5
THRESHOLD = 0.5
ORDERS, FULL_ORDERS = 5, 20
SEED = 50_261
PER = 50_000


@dataclass(frozen=True)
class Stream:
    """Rows in order of time; `changes` are the rows at which the concept changes."""

    features: Floats
    outcome: Floats
    changes: tuple[int, ...] = ()

    def ordered(self, order: NDArray[np.intp], changes: tuple[int, ...] = ()) -> "Stream":
        return Stream(self.features[order], self.outcome[order], changes)


@dataclass(frozen=True)
class Followed:
    """Alarms are told by the rows that had come; `log_loss` is a sum over the `rows` after the first fit."""

    alarms: tuple[int, ...]
    models: int
    log_loss: float
    rows: int
    changes: tuple[int, ...]

    @property
    def delays(self) -> tuple[int | None, ...]:
        """Rows from each change to the first alarm near it; None where it was missed."""
        near = ([at - change for at in self.alarms if 0 < at - change <= NEAR] for change in self.changes)
        return tuple(min(each, default=None) for each in near)

    @property
    def false(self) -> int:
        return sum(not any(0 < at - change <= NEAR for change in self.changes) for at in self.alarms)


# outcome and log-odds of a batch, shape (rows,) each: does it alarm?
Monitor = Callable[[Floats, Floats], bool]
Watch = Callable[[Deployed], Monitor]


# --- monitors ---------------------------------------------------------------------------------------------


class Bets:
    """This pipeline's watch over one model."""

    def __init__(self, before: Deployed, limits: Limits) -> None:
        self.before, self.limits, self.risk = before, limits, Risk()

    def __call__(self, outcome: Floats, log_odds: Floats) -> bool:
        self.risk = drift.learn(self.risk, self.before, self.limits, "now", outcome, log_odds)
        return drift.alarm(self.risk, self.before, self.limits) is not None


class Rowwise:
    """A detector of river, which is fed one error at a time."""

    def __init__(self, detector: Any) -> None:
        self.detector = detector

    def __call__(self, outcome: Floats, log_odds: Floats) -> bool:
        for wrong in drift.losses(outcome, expit(log_odds), THRESHOLD)["error"]:
            self.detector.update(wrong)
            if self.detector.drift_detected:
                return True
        return False


class Calendar:
    """Alarms each TRAINED rows, whatever they say."""

    def __init__(self) -> None:
        self.rows = 0

    def __call__(self, outcome: Floats, log_odds: Floats) -> bool:
        self.rows += len(outcome)
        return self.rows >= TRAINED


OURS: dict[str, Watch] = {
    "this pipeline (alpha 0.01, tolerance 0.02)": lambda before: Bets(before, Limits(0.01, 0.02)),
    "this pipeline, tolerance 0": lambda before: Bets(before, Limits(0.01, 0.0)),
}
WITHOUT: dict[str, Watch] = {
    "never again": lambda before: lambda outcome, log_odds: False,
    f"each {TRAINED:,} rows": lambda before: Calendar(),
}


def of_river() -> dict[str, Watch]:
    """Empty where river is not installed."""
    if importlib.util.find_spec("river") is None:
        return {}
    from river.drift import ADWIN, PageHinkley
    from river.drift.binary import DDM, EDDM

    kinds = {"ADWIN": ADWIN, "DDM": DDM, "EDDM": EDDM, "Page-Hinkley": PageHinkley}
    return {name: lambda before, kind=kind: Rowwise(kind()) for name, kind in kinds.items()}  # type: ignore[misc]


# --- streams ----------------------------------------------------------------------------------------------


def sea() -> Stream:
    rows = pd.read_csv(SEA)
    return Stream(rows.drop(columns="target").to_numpy(float), rows["target"].to_numpy(float), CHANGES)


def elec2() -> Stream:
    """Without the date: a line through it says nothing of the days to come."""
    rows = pd.read_csv(ELEC2)
    return Stream(rows.drop(columns=["date", "up"]).to_numpy(float), rows["up"].to_numpy(float))


def concepts(stream: Stream) -> list[NDArray[np.intp]]:
    """The rows of each concept."""
    return np.split(np.arange(len(stream.outcome)), stream.changes)


@dataclass(frozen=True)
class Fitted:
    pipeline: Any
    before: Deployed

    def log_odds(self, features: Floats) -> Floats:
        found: Floats = self.pipeline.decision_function(features)
        return found


def fitted(stream: Stream, end: int) -> Fitted:
    """A logistic model of the TRAINED rows before `end`, and what it loses on them out of fold."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows = slice(end - TRAINED, end)
    features, outcome = stream.features[rows], stream.outcome[rows]
    pipeline = make_pipeline(StandardScaler(), LogisticRegression())
    fold = folds.by_client(np.arange(TRAINED), outcome, FOLDS, SEED)
    if fold is None:
        raise ValueError(f"the {TRAINED:,} rows before row {end:,} are of one outcome: fit on more rows")
    log_odds = np.empty(TRAINED)
    for held_out in np.unique(fold):
        pipeline.fit(features[fold != held_out], outcome[fold != held_out])
        log_odds[fold == held_out] = pipeline.decision_function(features[fold == held_out])
    counted = drift.counted(outcome, expit(log_odds), THRESHOLD)
    return Fitted(pipeline.fit(features, outcome), drift.deployed([counted], THRESHOLD))


def follow(stream: Stream, watch: Watch, wait: int) -> Followed:
    """A new model `wait` rows after each alarm; meanwhile the old one goes on, unwatched."""
    model = fitted(stream, TRAINED)
    monitor, alarms, fits, loss, due = watch(model.before), [], 1, 0.0, None
    for start in range(TRAINED, len(stream.outcome), BATCH):
        end = min(start + BATCH, len(stream.outcome))
        outcome, log_odds = stream.outcome[start:end], model.log_odds(stream.features[start:end])
        loss += float(scores.log_losses(outcome, log_odds).sum())
        if due is None and monitor(outcome, log_odds):
            alarms.append(end)
            due = end + wait
        if due is not None and end >= due:
            model, due, fits = fitted(stream, end), None, fits + 1
            monitor = watch(model.before)
    return Followed(tuple(alarms), fits, loss, len(stream.outcome) - TRAINED, stream.changes)


# --- tables -----------------------------------------------------------------------------------------------


def run(orders: int = ORDERS) -> None:
    river = of_river()
    if not river:
        print(
            "river is not installed: ADWIN, DDM, EDDM and Page-Hinkley are left out. Run: make .venv/.bench\n"
        )
    monitors = OURS | river
    _print_sea(monitors)
    _print_ordered(monitors, orders)
    _print_stationary(monitors, orders)
    _print_elec2(monitors)


def run_short() -> None:
    _print_sea(OURS, list(WAITS)[1:])


def run_full() -> None:
    run(FULL_ORDERS)


WAITS = {"at once": 0, f"once {TRAINED:,} rows have come since": TRAINED}


def waited(name: str, wait: int) -> int:
    return 0 if name in WITHOUT else wait


def _print_sea(monitors: dict[str, Watch], waits: Sequence[str] = tuple(WAITS)) -> None:
    stream = sea()
    for told, wait in ((each, WAITS[each]) for each in waits):
        print(f"SEA as it stands; a new model {told}:\n")
        print("| monitor | false alarms | rows to each change | missed | models | log loss | a row |")
        print("|---|--:|---|--:|--:|--:|--:|")
        for name, watch in (monitors | WITHOUT).items():
            found = follow(stream, watch, waited(name, wait))
            delays = ", ".join("missed" if each is None else f"{each:,}" for each in found.delays)
            seen = f"{found.false} | {delays} | {sum(each is None for each in found.delays)}"
            print(f"| {name} | {'| | ' if name in WITHOUT else seen} | {_lost(found)} |", flush=True)
        print()


def _print_ordered(monitors: dict[str, Watch], orders: int) -> None:
    stream, wait = sea(), TRAINED
    print(
        f"SEA, {orders} random orders within concepts; a new model once {TRAINED:,} rows have come since:\n"
    )
    heads = ("monitor", f"false alarms in {PER:,} rows", "changes found", "median rows to one", "models")
    print(f"| {' | '.join(heads)} | log loss a row |")
    print("|---|--:|--:|--:|--:|--:|")
    for name, watch in (monitors | WITHOUT).items():
        found = [follow(each, watch, waited(name, wait)) for each in _orders(stream, orders)]
        delays = [delay for each in found for delay in each.delays]
        seen = "| |"
        if name not in WITHOUT:
            late = np.median([np.inf if delay is None else delay for delay in delays])
            seen = f"{_rate(found)} | {share([delay is not None for delay in delays])} | {_rows(late)}"
        loss = np.mean([each.log_loss / each.rows for each in found])
        print(
            f"| {name} | {seen} | {np.mean([each.models for each in found]):.1f} | {loss:.4f} |", flush=True
        )
    print()


def _orders(stream: Stream, orders: int) -> list[Stream]:
    drawn = (np.random.default_rng([SEED, at]) for at in range(orders))
    return [
        stream.ordered(
            np.concatenate([random.permutation(rows) for rows in concepts(stream)]), stream.changes
        )
        for random in drawn
    ]


def _print_stationary(monitors: dict[str, Watch], orders: int) -> None:
    stream = sea()
    print(f"SEA, each concept alone, {orders} random orders of each: every alarm is false.\n")
    print(f"| monitor | false alarms in {PER:,} rows | streams with one | models |\n|---|--:|--:|--:|")
    alone = [
        stream.ordered(np.random.default_rng([SEED, at, number]).permutation(rows))
        for at in range(orders)
        for number, rows in enumerate(concepts(stream))
    ]
    for name, watch in monitors.items():
        found = [follow(each, watch, TRAINED) for each in alone]
        fits = np.mean([each.models for each in found])
        print(
            f"| {name} | {_rate(found)} | {share([each.false > 0 for each in found])} | {fits:.1f} |",
            flush=True,
        )
    print()


def _print_elec2(monitors: dict[str, Watch]) -> None:
    stream = elec2()
    for told, wait in WAITS.items():
        print(f"elec2; a new model {told}:\n")
        print("| monitor | alarms | models | log loss | a row |\n|---|--:|--:|--:|--:|")
        for name, watch in (monitors | WITHOUT).items():
            found = follow(stream, watch, waited(name, wait))
            alarms = "" if name in WITHOUT else len(found.alarms)
            print(f"| {name} | {alarms} | {_lost(found)} |", flush=True)
        print()


def _lost(found: Followed) -> str:
    return f"{found.models} | {found.log_loss:,.0f} | {found.log_loss / found.rows:.4f}"


def _rows(count: float) -> str:
    return f"{count:,.0f}" if np.isfinite(count) else "missed"


def _rate(found: Sequence[Followed]) -> str:
    """False alarms in PER rows, and the exact 95 % interval of a Poisson count (Garwood 1936)."""
    from scipy.stats import chi2

    count, rows = sum(each.false for each in found), sum(each.rows for each in found)
    low = chi2.ppf(0.025, 2 * count) / 2 if count else 0.0
    high = chi2.ppf(0.975, 2 * count + 2) / 2
    each, least, most = (PER / rows * value for value in (count, low, high))
    return f"{each:.2f} ({least:.2f} to {most:.2f})"
