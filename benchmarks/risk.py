"""How often the watch over the live release's error alarms in vain, and how soon when the error has risen.

A model with calibrated log-odds errs on BASE of the rows; a change turns as many outcomes round as make the
error rate another. A year is TICKS ticks of BATCH labelled rows. Beside: the usual rules on the same rows,
with the error rate at deployment as it was estimated. Shares stand with their 95 % interval (Wilson 1927).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import norm

from attrition import drift
from attrition.drift import Deployed, Limits, Risk
from benchmarks.promotion import share

Floats = NDArray[np.float64]
Labelled = tuple[Floats, Floats]

SEED = 40_261
BASE, RISEN = 0.15, (0.20, 0.25)
BATCH, TICKS = 20, 150
KNOWN = (1_000, 12_000)
RUNS, SHORT_RUNS, FULL_RUNS = 200, 20, 1_000
SOON = 300
THRESHOLD = 0.5
# each is stricter than the one before it
LIMITS = {
    "alpha 0.05, tolerance 0": Limits(0.05, 0.0),
    "alpha 0.01, tolerance 0": Limits(0.01, 0.0),
    "alpha 0.01, tolerance 0.02 (default)": Limits(0.01, 0.02),
}


@dataclass(frozen=True)
class Watch:
    """One release, followed under all LIMITS: the tick of each alarm so far, and what is remembered."""

    before: Deployed
    risk: Risk = Risk()
    ticks: int = 0
    alarms: tuple[int, ...] = ()


# --- this pipeline ----------------------------------------------------------------------------------------


def after(watch: Watch, labelled: Sequence[Labelled]) -> Watch:
    """With these batches, as far as they are needed: what alarms under strict limits did under lax ones."""
    limits, risk, alarms, ticks = list(LIMITS.values()), watch.risk, list(watch.alarms), watch.ticks
    for outcome, log_odds in labelled:
        ticks += 1
        learnt = risk
        while len(alarms) < len(limits):
            learnt = drift.learn(risk, watch.before, limits[len(alarms)], "", outcome, log_odds)
            if learnt.since is None:
                break
            alarms.append(ticks)
        if len(alarms) == len(limits):
            break
        risk = learnt
    return Watch(watch.before, risk, watch.ticks + len(labelled), tuple(alarms))


@cache
def spread() -> float:
    """The standard deviation of log-odds around 0 at which calibrated predictions err on BASE of rows."""

    def error(deviation: float) -> float:
        return float(quad(lambda z: 2 * norm.pdf(z) * expit(-deviation * z), 0, 12)[0])

    return float(brentq(lambda deviation: error(deviation) - BASE, 0.1, 20))


def rows(random: np.random.Generator, count: int, rate: float) -> Labelled:
    """Outcome and log-odds of rows on which the model errs at this rate, shape (count,) each."""
    log_odds = spread() * random.standard_normal(count)
    outcome = random.random(count) < expit(log_odds)
    turned = random.random(count) < (rate - BASE) / (1 - 2 * BASE)
    return (outcome != turned).astype(np.float64), log_odds


# --- the usual rules --------------------------------------------------------------------------------------


def _z(wrong: Floats, labels: Floats, base: float) -> Floats:
    return (wrong - labels * base) / np.sqrt(labels * base * (1 - base))


def _of_batch(wrong: Floats, base: float) -> Floats:
    return _z(wrong, np.full(len(wrong), BATCH), base)


def _of_all(wrong: Floats, base: float) -> Floats:
    return _z(wrong.cumsum(), BATCH * np.arange(1.0, len(wrong) + 1), base)


def _spent(wrong: Floats) -> Floats:
    return norm.isf(0.05 * 6 / (np.pi * np.arange(1, len(wrong) + 1)) ** 2)


# wrong rows of each tick, shape (ticks,), and the error rate at deployment: at which ticks it alarms
RULES: dict[str, Callable[[Floats, float], NDArray[np.bool_]]] = {
    "z-test of each batch at 0.05": lambda wrong, base: _of_batch(wrong, base) > norm.isf(0.05),
    "z-test of all rows at 0.05": lambda wrong, base: _of_all(wrong, base) > norm.isf(0.05),
    "of each batch, Bonferroni": lambda wrong, base: _of_batch(wrong, base) > norm.isf(0.05 / len(wrong)),
    "of all rows, spending 0.05": lambda wrong, base: _of_all(wrong, base) > _spent(wrong),
}


def wrong_of(labelled: Sequence[Labelled]) -> Floats:
    each = [drift.losses(outcome, expit(log_odds), THRESHOLD)["error"] for outcome, log_odds in labelled]
    return np.array([losses.sum() for losses in each])


# --- years ------------------------------------------------------------------------------------------------

# first alarms by rule, as the tick counted from the change on; 0 or less: before it; None: never
Alarms = dict[str, int | None]


def years(known: int, number: int) -> Iterator[tuple[str, Alarms]]:
    """One release with so many labelled rows at deployment, in each of the worlds, by name."""
    random = np.random.default_rng([SEED, known, number])
    outcome, log_odds = rows(random, known, BASE)
    counted = drift.counted(outcome, expit(log_odds), THRESHOLD)
    watch = Watch(drift.deployed([counted], THRESHOLD))
    base = float(drift.losses(outcome, expit(log_odds), THRESHOLD)["error"].mean())
    stable = [rows(random, BATCH, BASE) for _ in range(TICKS)]
    watched = after(watch, stable)
    yield "stays", _alarms(watched, stable, base, 0)
    for rate in RISEN:
        changed = [rows(random, BATCH, rate) for _ in range(TICKS)]
        yield f"{rate:.2f} from the start", _alarms(after(watch, changed), changed, base, 0)
        later = _alarms(after(watched, changed), [*stable, *changed], base, TICKS)
        yield f"{rate:.2f} after {TICKS * BATCH:,} stable labels", later


def _alarms(watch: Watch, labelled: Sequence[Labelled], base: float, changed: int) -> Alarms:
    ours = dict.fromkeys(LIMITS) | dict(zip(LIMITS, watch.alarms, strict=False))
    wrong = wrong_of(labelled)
    usual = {name: _first(rule(wrong, base)) for name, rule in RULES.items()}
    return {name: None if tick is None else tick - changed for name, tick in (ours | usual).items()}


def _first(alarms: NDArray[np.bool_]) -> int | None:
    return int(alarms.argmax()) + 1 if alarms.any() else None


def run(runs: int = RUNS) -> None:
    for known in KNOWN:
        told = _told(runs, known)
        _print_worlds(known, told)
        print(f"Aims, {known:,} labelled rows at deployment:\n\n{aims(told)}\n", flush=True)


def run_short() -> None:
    """Where nothing changed, and where it changed most; too few releases to say whether an aim is reached."""
    told = _told(SHORT_RUNS, KNOWN[0])
    _print_worlds(KNOWN[0], {world: told[world] for world in ("stays", f"{RISEN[-1]:.2f} from the start")})


def run_full() -> None:
    run(FULL_RUNS)


def _told(runs: int, known: int) -> dict[str, list[Alarms]]:
    """First alarms of so many releases in each world."""
    told: dict[str, list[Alarms]] = {}
    for number in range(runs):
        for world, alarms in years(known, number):
            told.setdefault(world, []).append(alarms)
    return told


def _print_worlds(known: int, told: Mapping[str, Sequence[Alarms]]) -> None:
    for world, each in told.items():
        title = f"{known:,} labelled rows at deployment; {world}"
        print(
            f"{title}; {len(each):,} releases, {BATCH} labels a tick, {TICKS} ticks a year, "
            f"error {BASE} when deployed:\n\n{table(each)}\n",
            flush=True,
        )


def table(years_of: Sequence[Alarms]) -> str:
    """Of releases that had not alarmed before the change; a median over those that never alarm too."""
    lines = [
        f"| rule | releases | alarmed in {TICKS * BATCH:,} labels | median labels to it | in {SOON} |",
        "|---|--:|--:|--:|--:|",
    ]
    for name in years_of[0]:
        labels = labels_to(years_of, name)
        if not len(labels):
            lines.append(f"| {name} | 0 | | | |")
            continue
        ever, soon = share(np.isfinite(labels).tolist()), share((labels <= SOON).tolist())
        median = float(np.median(labels))
        told = f"{median:,.0f}" if np.isfinite(median) else "never"
        lines.append(f"| {name} | {len(labels)} | {ever} | {told} | {soon} |")
    return "\n".join(lines)


def labels_to(years_of: Sequence[Alarms], name: str) -> Floats:
    """Labels from the change to the alarm, infinite where there is none; without alarms before the change."""
    ticks = [alarms[name] for alarms in years_of]
    return np.array([np.inf if tick is None else BATCH * tick for tick in ticks if tick is None or tick > 0])


def aims(told: dict[str, list[Alarms]]) -> str:
    """What was asked for, and by which limits it is reached."""
    lower, higher = (told[f"{rate:.2f} from the start"] for rate in RISEN)
    lines = [
        f"| limits | false alarms in at most 5 % of years | to {RISEN[1]} within {SOON} labels at the median "
        f"| to {RISEN[0]:.2f} within {TICKS * BATCH:,} in 90 % |",
        "|---|---|---|---|",
    ]
    for name in LIMITS:
        false = float(np.mean(np.isfinite(labels_to(told["stays"], name))))
        median = float(np.median(labels_to(higher, name)))
        found = float(np.mean(np.isfinite(labels_to(lower, name))))
        judged = (
            reached(false <= 0.05, f"{false:.1%}"),
            reached(median <= SOON, f"{median:,.0f}"),
            reached(found >= 0.9, f"{found:.1%}"),
        )
        lines.append(f"| {name} | {' | '.join(judged)} |")
    return "\n".join(lines)


def reached(is_reached: bool, figure: str) -> str:
    return f"{'reached' if is_reached else 'not reached'}: {figure}"
