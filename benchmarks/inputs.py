"""How often incoming rows raise an alarm, stable and shifted, beside the usual rules.

Six number columns (normal, skewed, counts, mostly zero, bounded, with missing values) and two categories. A
shift moves the normal column by so many standard deviations. Seeds are others than those of the calibration,
which `python -m benchmarks inputs --full` repeats before it measures; it prints attrition.shift.CALIBRATION.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from attrition import arrivals, findings, profile, shift

Numbers = dict[str, Any]
Rows = tuple[Numbers, dict[str, Any]]
CALIBRATING, MEASURING = 1, 2

REFERENCE, BATCH, STREAM = 1000, 500, 144
KINDS = np.array(["monthly", "yearly", "two years", "none"], dtype=object)
PLACES = np.array([f"place {i}" for i in range(12)], dtype=object)

# calibration
SIZES = (26, 150, 1000)
COLUMNS, CATEGORIES = 128, 64
LIVES, LOOKS = 8, 200
QUANTILES = np.array([0.004, 0.006, 0.01, 0.02, 0.05])
LOOK_QUANTILES = np.array([0.0007, 0.001, 0.002])


def run() -> None:
    _print_rates()
    _print_others()
    _print_broken()
    _print_costs()


def run_short() -> None:
    _print_rates(((REFERENCE, [BATCH] * STREAM, 10),), ((0, 20),))
    _print_costs()


def run_full() -> None:
    calibrate()
    run()


def rows(random: np.random.Generator, count: int, moved: float = 0.0) -> Rows:
    gaps = np.where(random.random(count) < 0.05, np.nan, 1.0)
    numbers = {
        "normal": random.normal(moved, 1, count),
        "skewed": random.lognormal(4, 1.3, count),
        "count": random.poisson(3.0, count).astype(float),
        "mostly zero": np.maximum(0, random.normal(-0.5, 1, count)).round(1),
        "bounded": random.beta(2, 5, count),
        "gaps": random.normal(50, 10, count).round() * gaps,
    }
    return numbers, {
        "contract": random.choice(KINDS, count, p=(0.5, 0.3, 0.15, 0.05)),
        "place": random.choice(PLACES, count),
    }


def sizes_around(random: np.random.Generator, middle: float) -> Iterator[int]:
    """Sizes of batches, their geometric mean `middle`."""
    while True:
        yield max(1, round(middle * np.exp(random.normal())))


# --- what is measured -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Life:
    """Levels of a stream's batches, 0 none, 1 look, 2 act."""

    levels: tuple[int, ...]

    def first(self, level: int, start: int = 0) -> int | None:
        """Batches until the level is reached, counted from `start`, the first being 1."""
        return next((t + 1 for t, seen in enumerate(self.levels[start:]) if seen >= level), None)


def lives(
    name: int, count: int, reference: int, sizes: list[int] | None, moved: float = 0.0, start: int = 0
) -> list[Life]:
    """Streams of these sizes (None: drawn around 100, STREAM of them), moved from batch `start` on.

    Those that moved end where they are found.
    """
    return [_life([MEASURING, name, number], reference, sizes, moved, start) for number in range(count)]


def _life(seed: list[int], reference: int, sizes: list[int] | None, moved: float, start: int) -> Life:
    random = np.random.default_rng(seed)
    around = sizes_around(random, 100)
    known, memory, levels = profile.of(*rows(random, reference), seed=seed[-1]), shift.Memory(), []
    for batch, size in enumerate(sizes or [next(around) for _ in range(STREAM)]):
        new = rows(random, size, moved if batch >= start else 0.0)
        memory = shift.take(known, memory, *new, str(batch))
        levels.append(shift.LEVELS.index(shift.judge(known, memory).level))
        if moved and batch >= start and levels[-1] == 2:
            break
    return Life(tuple(levels))


def interval(hits: int, trials: int) -> str:
    """A rate and its 95 % interval (Wilson 1927)."""
    low, high = stats.binomtest(hits, trials).proportion_ci(method="wilson")
    return f"{hits / trials:.3f} ({low:.3f} to {high:.3f})"


def clustered(rates: list[float]) -> str:
    """A mean over streams and its 95 % interval: batches of one stream share their reference."""
    drawn = np.random.default_rng(0).choice(rates, (4000, len(rates))).mean(1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return f"{np.mean(rates):.4f} ({low:.4f} to {high:.4f})"


STABLE = ((1000, [BATCH] * STREAM, 200), (300, None, 100), (1000, None, 100), (5000, None, 100))
# stable batches before the shift, and streams
SHIFTED = ((0, 300), (30, 60))
SHIFTS = (0.2, 0.3, 0.5)
WITHIN = 8


def _print_rates(
    stable_of: Sequence[tuple[int, list[int] | None, int]] = STABLE,
    shifted: Sequence[tuple[int, int]] = SHIFTED,
) -> None:
    print(f"Stable streams of {STREAM} batches:\n")
    print("| reference | rows a batch | streams | look, share of batches | act, share of streams |")
    print("|--:|---|--:|---|---|")
    for name, (reference, sizes, count) in enumerate(stable_of):
        stable = lives(name, count, reference, sizes)
        looks = clustered([float(np.mean([level >= 1 for level in told.levels])) for told in stable])
        acts = interval(sum(2 in told.levels for told in stable), count)
        each = f"{BATCH}" if sizes else "random, around 100"
        print(f"| {reference:,} | {each} | {count} | {looks} | {acts} |", flush=True)
    for start, count in shifted:
        print(
            f"\nShifted after {start} stable batches; {REFERENCE:,} reference rows, {BATCH} rows a batch:\n"
        )
        print(f"| shift, sd | streams | look at once | act at once | act in {WITHIN} batches, median delay |")
        print("|--:|--:|---|---|---|")
        for by in SHIFTS:
            name, sizes = 10 + start + round(10 * by), [BATCH] * (start + WITHIN)
            found = _found(lives(name, count, REFERENCE, sizes, by, start), start)
            print(f"| {by} | {count} | {found} |", flush=True)


def _found(moved: list[Life], start: int) -> str:
    at_once = [interval(sum(told.first(level, start) == 1 for told in moved), len(moved)) for level in (1, 2)]
    delays = [told.first(2, start) or np.inf for told in moved]
    return f"{at_once[0]} | {at_once[1]} | {np.mean(np.isfinite(delays)):.2f}, {np.median(delays):.0f}"


# --- the usual rules --------------------------------------------------------------------------------------


def smallest_p(old: Rows, new: Rows) -> float:
    """Bonferroni-corrected smallest p-value of KS and chi-squared tests."""
    tests = [
        stats.ks_2samp(values[np.isfinite(values)], new[0][name][np.isfinite(new[0][name])], method="asymp")
        for name, values in old[0].items()
    ]
    tables = [
        np.array([[np.sum(side == kind) for kind in np.unique(values)] for side in (values, new[1][name])])
        for name, values in old[1].items()
    ]
    chances = [test.pvalue for test in tests] + [stats.chi2_contingency(table).pvalue for table in tables]
    return min(1.0, len(chances) * min(chances))


def largest_psi(old: Rows, new: Rows) -> float:
    """Population stability index of ten bins a number column, of its values a category."""
    shares = []
    for name, values in old[0].items():
        edges = np.unique(np.nanquantile(values, np.linspace(0.1, 0.9, 9)))
        sides = (values, new[0][name])
        shares.append([np.bincount(np.searchsorted(edges, v[np.isfinite(v)]), minlength=10) for v in sides])
    for name, values in old[1].items():
        shares.append([np.array([np.sum(v == k) for k in np.unique(values)]) for v in (values, new[1][name])])
    index = 0.0
    for counts in shares:
        one, other = ((side + 0.5) / (side + 0.5).sum() for side in counts)
        index = max(index, float(((other - one) * np.log(other / one)).sum()))
    return index


RULES: dict[str, Callable[[Rows, Rows], bool]] = {
    "KS and chi-squared at 0.05, corrected for columns": lambda old, new: smallest_p(old, new) <= 0.05,
    "PSI above 0.1": lambda old, new: largest_psi(old, new) > 0.1,
    "PSI above 0.2": lambda old, new: largest_psi(old, new) > 0.2,
}


def _print_others() -> None:
    count = 60
    told = {by: _others_lives(by, count) for by in (0.0, *SHIFTS)}
    print(f"\nThe usual rules on the same kind of rows, {count} streams each:\n")
    print("| rule | false, share of batches | of streams | 0.2 sd: at once, median delay | 0.3 sd | 0.5 sd |")
    print("|---|---|---|---|---|---|")
    for rule in RULES:
        stable = told[0.0][rule]
        batches = clustered([float(np.mean([level > 0 for level in one.levels])) for one in stable])
        streams = interval(sum(2 in one.levels for one in stable), count)
        delays = [np.array([one.first(2) or np.inf for one in told[by][rule]]) for by in SHIFTS]
        found = " | ".join(f"{np.mean(delay == 1):.2f}, {np.median(delay):.0f}" for delay in delays)
        print(f"| {rule} | {batches} | {streams} | {found} |", flush=True)


def _others_lives(by: float, count: int) -> dict[str, list[Life]]:
    told: dict[str, list[Life]] = {rule: [] for rule in RULES}
    for number in range(count):
        random = np.random.default_rng([MEASURING, 60 + round(10 * by), number])
        old = rows(random, REFERENCE)
        batches = [rows(random, BATCH, by) for _ in range(32 if by else STREAM)]
        for rule, alarms in RULES.items():
            told[rule].append(Life(tuple(2 * alarms(old, batch) for batch in batches)))
    return told


# --- broken feeds -----------------------------------------------------------------------------------------

BREAKS: dict[str, Callable[[Any], Any]] = {
    "all zero": lambda values: np.zeros_like(values),
    "all missing": lambda values: np.full_like(values, np.nan),
    "a constant, the median": lambda values: np.full_like(values, np.nanmedian(values)),
    "ten times as much": lambda values: 10 * values,
    "a thousandth": lambda values: values / 1000,
}


def _print_broken() -> None:
    size, count = 30, 40
    print(f"\nOne column broken in a batch of {size} rows after 5 of {BATCH}: share that is *act* at once:\n")
    columns = list(rows(np.random.default_rng(0), 1)[0])
    print(f"| break | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    hits = {(name, column): 0 for name in BREAKS for column in columns}
    for number in range(count):
        random = np.random.default_rng([MEASURING, 90, number])
        known, memory = profile.of(*rows(random, REFERENCE), seed=number), shift.Memory()
        for batch in range(5):
            memory = shift.take(known, memory, *rows(random, BATCH), str(batch))
        numbers, categories = rows(random, size)
        for name, column in hits:
            broken = numbers | {column: BREAKS[name](numbers[column])}
            verdict = shift.judge(known, shift.take(known, memory, broken, categories, "broken"))
            hits[name, column] += verdict.level == "act"
    for name in BREAKS:
        print(f"| {name} | {' | '.join(f'{hits[name, column] / count:.2f}' for column in columns)} |")


def _print_costs() -> None:
    random = np.random.default_rng([MEASURING, 99])
    known, memory = profile.of(*rows(random, REFERENCE), seed=0), shift.Memory()
    spans = []
    for batch in range(100):
        new = rows(random, BATCH)
        began = time.process_time()
        memory = shift.take(known, memory, *new, str(batch))
        shift.judge(known, memory)
        spans.append(1000 * (time.process_time() - began))
    print(f"\ntake and judge, {BATCH} rows: {np.median(spans):.1f} ms of CPU, at most {max(spans):.1f}")


# --- calibration ------------------------------------------------------------------------------------------


def calibrate() -> None:
    """Print attrition.shift.CALIBRATION: whole lives of stable columns, none of which knows another."""
    print("CALIBRATION = (\n    # rows, look, life, power")
    for size in SIZES:
        look, life_factor, power = calibrated(size)
        print(f"    ({size}, {look:.2f}, {life_factor:.2f}, {power:.3f}),", flush=True)
    print(")\n")


def calibrated(size: int) -> tuple[float, float, float]:
    """Factors that keep the error in the worse of two worlds: numbers with gaps, and categories."""
    worlds = [
        _lives_of(size, draw, columns) for draw, columns in ((_continuous, COLUMNS), (_kinds, CATEGORIES))
    ]
    lowest = np.min([np.quantile(least, QUANTILES) for _, least, _ in worlds], axis=0)
    # the simulation ends early: what it did not spend is paid for as if it erred as often
    chance = QUANTILES / min(share for _, _, share in worlds)
    power = min(1.0, float(np.polyfit(np.log(lowest), np.log(chance), 1)[0]))
    life_factor = float(np.max(chance ** (1 / power) / lowest))
    looks = [LOOK_QUANTILES / np.quantile(scaled, LOOK_QUANTILES) for scaled, _, _ in worlds]
    return float(np.max(looks)), life_factor, power


def _lives_of(size: int, draw: Callable[..., Rows], columns: int) -> tuple[Any, Any, float]:
    """Nominal p-values times 1 + log2(windows); each column's least one by its price; the share spent."""
    scaled, least, looked = [], [], 0.0
    for number in range(LIVES):
        random = np.random.default_rng([CALIBRATING, size, columns, number])
        known, memory = profile.of(*draw(random, size, columns), seed=number), shift.Memory()
        ever = np.full(columns, np.inf)
        around = sizes_around(random, np.clip(size / 10, 8, 200))
        for _ in range(LOOKS):
            memory = shift.take(known, memory, *draw(random, next(around), columns), "")
            windows = arrivals.windows(memory.blocks)
            now = np.array([found.least() for found in findings.of_columns(known, windows)])
            ever = np.minimum(ever, now / shift.price(memory.looks))
            scaled.append(now * (1 + np.log2(len(windows.rows))))
        least.append(ever)
        looked += memory.looks / LIVES
    return np.array(scaled), np.concatenate(least), shift.spent(looked)


def _continuous(random: np.random.Generator, count: int, columns: int) -> Rows:
    values = random.random((columns, count))
    values[: columns // 2][random.random((columns // 2, count)) < 0.05] = np.nan
    return {f"{column}": values[column] for column in range(columns)}, {}


def _kinds(random: np.random.Generator, count: int, columns: int) -> Rows:
    """Half of the columns with few names, half with many, most of them rare."""
    few, many = 1 / 2.0 ** np.arange(1, 9), 1 / np.arange(2.0, 302)
    drawn = {}
    for column in range(columns):
        weights = few if column % 2 else many
        names = np.arange(len(weights)).astype(str).astype(object)
        drawn[f"{column}"] = random.choice(names, count, p=weights / weights.sum())
    return {}, drawn
