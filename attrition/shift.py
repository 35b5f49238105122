"""Whether the rows that come in still look like those the live release was trained on.

A release keeps a profile of its training rows. Every batch is judged against it, alone and with what came
before it, in trailing windows. Two kinds of error are kept: *look* is said of one stable batch in a hundred
at most; *act* in the life of one release in twenty, however long it is, as each batch may spend a part of
that error, and ever less. What chance shows in such a life was simulated, with the training rows that all
its batches share and the windows that overlap; `python -m benchmarks inputs --full` does it again.

    memory = shift.take(profile, memory, numbers, categories, "clients-2026-07.csv")
    verdict = shift.judge(profile, memory, words)

Touches no disk. Stable: Memory, its as_json and from_json; take; judge; Verdict, Column, Together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from attrition import arrivals, findings, phrases
from attrition.arrivals import Memory, Windows, from_json, take
from attrition.findings import Finding
from attrition.twosample import Told

__all__ = ["Column", "Memory", "Together", "Verdict", "from_json", "judge", "spent", "take"]

Profile = Mapping[str, Any]

LOOK_ERROR = 0.01
LIFE_ERROR = 0.05
# a verdict needs a size too: these shares of the rows, or of the ranks
LOOK_EFFECT = 0.05
ACT_EFFECT = 0.08
# looks after which a life's error is spent to 1 - 1 / sqrt(2); half after three times as many
SPENDING = 48.0
LEVELS = ("none", "look", "act")
# Chance that one stable column shows a nominal p-value below x: at one look look * x * (1 + log2(windows)),
# ever (life * x / price) ** power. By rows of the reference, between them along their logarithm.
CALIBRATION = (
    # rows, look, life, power
    (26, 2.64, 2.93, 0.916),
    (150, 3.57, 6.2, 0.899),
    (1000, 5.62, 4.89, 1.0),
)


@dataclass(frozen=True)
class Column:
    """What is found of one column, `kind` "number" or "category", or of "order": "ONE > OTHER".

    `p_value` is the chance that any column shows as much at one look at stable rows, `life_p_value`
    that one ever does in the life of a release. `effect` reads as a share of rows (with a sign for
    Cliff's delta); `effect_name` says which. The finding is about the `rows` newest rows, of the
    datasets in `source`. Shares are of these rows.
    """

    column: str
    kind: str
    level: str
    sentence: str
    test: str
    statistic: float
    p_value: float
    life_p_value: float
    effect: float
    effect_name: str
    rows: int
    source: str
    missing_then: float
    missing_now: float
    never_seen: float
    never_seen_examples: tuple[str, ...]
    out_of_range: float


@dataclass(frozen=True)
class Together:
    """How well columns taken together tell the newest `rows` rows from training rows, by which most."""

    level: str
    sentence: str
    z: float
    p_value: float
    life_p_value: float
    auc: float
    rows: int
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """`level` "none", "look" or "act", and the sentences of all that reach a level, the gravest first.

    `spent` is the share of the error of a release's life that is used up: from 0, never quite 1.
    """

    level: str
    sentences: tuple[str, ...]
    columns: tuple[Column, ...]
    together: Together | None
    spent: float
    rows: int
    batches: int


def judge(profile: Profile, memory: Memory, words: Mapping[str, str] | None = None) -> Verdict:
    """What the memory says of the newest batch and of what came before it; `words` name columns to people.

    `profile` is the live release's, from `profile.of`. Raises DataError where the memory is another's.
    """
    arrivals.check(profile, memory)
    if not memory.blocks:
        return Verdict("none", (), (), None, 0.0, 0, 0)
    words = words or {}
    windows = arrivals.windows(memory.blocks)
    error = _error(profile, memory, len(windows.rows))
    columns = tuple(
        _column(profile, windows, finding, error, words) for finding in findings.of_columns(profile, windows)
    )
    together = _together(profile, memory, error, words)
    grave = _grave(profile, columns, together)
    return Verdict(
        grave[0].level if grave else "none",
        tuple(part.sentence for part in grave),
        columns,
        together,
        spent(memory.looks),
        memory.rows,
        memory.batches,
    )


def spent(looks: float) -> float:
    """The share of a life's error that these many looks have used up: half after 144, all of it never."""
    return float(1 - (1 + looks / SPENDING) ** -0.5)


def price(looks: float) -> float:
    """The share of a life's error that the look of this number may use up: the slope of `spent`."""
    return float(0.5 / SPENDING * (1 + looks / SPENDING) ** -1.5)


@dataclass(frozen=True)
class Error:
    """Makes nominal p-values of one column chances of error: of this look, and of the whole life."""

    columns: int
    windows: int
    price: float
    look: float
    life: float
    power: float

    def of_look(self, p_value: Any) -> Any:
        return self._any(p_value * self.look * (1 + np.log2(self.windows)))

    def of_life(self, p_value: Any) -> Any:
        return self._any((p_value * self.life / self.price) ** self.power)

    def _any(self, chance: Any) -> Any:
        """The chance of any column, all being independent: dependent ones err less often."""
        return -np.expm1(self.columns * np.log1p(-np.minimum(chance, 1 - 1e-12)))


def _error(profile: Profile, memory: Memory, windows: int) -> Error:
    # columns taken together, and the orders of pairs, count as a column each
    columns = len(profile["numbers"]) + len(profile["categories"])
    columns += (columns > 1) + (len(profile["orders"]) > 0)
    sizes, *calibrated = np.log(np.array(CALIBRATION)).T
    rows = np.log(max(1, profile["rows"]))
    look, life, power = (float(np.exp(np.interp(rows, sizes, part))) for part in calibrated)
    # a batch that is part of a look may use up that part of its price: so all sizes add up to one life
    part = arrivals.look_of(profile, memory.blocks[0].rows)
    return Error(columns, windows, price(memory.looks) * part, look, life, power)


def _grave(profile: Profile, columns: Sequence[Column], together: Together | None) -> list[Column | Together]:
    """What reaches a level, the gravest first, and of orders only what their columns do not tell alone."""
    levels = {part.column: LEVELS.index(part.level) for part in columns}
    implied = {
        f"{order['above']} > {order['below']}": max(levels[order["above"]], levels[order["below"]])
        for order in profile["orders"]
    }
    told: list[Column | Together] = [
        part for part in columns if LEVELS.index(part.level) > implied.get(part.column, 0)
    ]
    if together and together.level != "none":
        told.append(together)
    return sorted(told, key=lambda part: (-LEVELS.index(part.level), part.life_p_value, part.p_value))


def _column(
    profile: Profile, windows: Windows, finding: Finding, error: Error, words: Mapping[str, str]
) -> Column:
    level, test, window = _gravest(finding.tests, error)
    told = finding.tests[test]
    return Column(
        finding.column,
        finding.kind,
        level,
        phrases.of(profile, windows, finding, test, window, words),
        test,
        float(told.statistic[window]),
        float(error.of_look(told.p_value[window])),
        float(error.of_life(told.p_value[window])),
        float(told.effect[window]),
        findings.EFFECTS[test],
        int(windows.rows[window]),
        windows.sources[window],
        **_shares(profile, windows, finding, window),
    )


def _shares(profile: Profile, windows: Windows, finding: Finding, window: int) -> dict[str, Any]:
    """What is missing, never seen and out of range, whichever test tells most."""
    shares = {"missing_then": 0.0, "missing_now": 0.0, "never_seen": 0.0, "out_of_range": 0.0}
    if finding.kind == "order":
        return shares | {"never_seen_examples": ()}
    is_number, place = finding.kind == "number", finding.place
    known = profile["numbers" if is_number else "categories"][finding.column]
    counts = windows.numbers[window, place] if is_number else windows.categories[place][window]
    there = max(1, int(counts[:-1].sum()))
    shares["missing_then"] = known["missing"] / max(1, known["missing"] + known["rows"])
    shares["missing_now"] = float(counts[-1] / windows.rows[window])
    if is_number and known["points"]:
        shares["out_of_range"] = float(counts[0] + counts[len(known["bins"]) - 1]) / there
    if not is_number:
        shares["never_seen"] = float(counts[-2] / there)
    return shares | {"never_seen_examples": () if is_number else windows.strangers[window][place]}


def _gravest(tests: Mapping[str, Told], error: Error) -> tuple[str, str, int]:
    """Level, test and window of what reaches the highest level.

    Of several tests the one with the largest effect, the first of those that are near; of windows the
    one with the smallest p-value. Where nothing reaches a level, the smallest p-value of all.
    """
    best = []
    for name, told in tests.items():
        level = _levels(told.p_value, told.effect, error)
        window = int(np.lexsort((told.p_value, -level))[0])
        size = round(abs(told.effect[window]), 1) if level[window] else -told.p_value[window]
        best.append((int(level[window]), float(size), name, window))
    level, _, name, window = max(best, key=lambda entry: entry[:2])
    return LEVELS[level], name, window


def _levels(p_value: Any, effect: Any, error: Error) -> Any:
    """0, 1 or 2: a level is reached where both the p-value and the effect say so."""
    look = (error.of_look(p_value) <= LOOK_ERROR) & (np.abs(effect) >= LOOK_EFFECT)
    act = (error.of_life(p_value) <= LIFE_ERROR) & (np.abs(effect) >= ACT_EFFECT)
    return np.where(act, 2, np.where(look, 1, 0))


def _together(profile: Profile, memory: Memory, error: Error, words: Mapping[str, str]) -> Together | None:
    found = findings.together(profile, memory.sample)
    if found is None:
        return None
    apart, columns = found
    rows = len(memory.sample)
    by = " with ".join(words.get(column, column) for column in columns)
    # Cliff's delta of the held-out scores; to rank worse than chance is no finding
    level = LEVELS[int(_levels(np.float64(apart.p_value), max(0.0, 2 * apart.auc - 1), error))]
    return Together(
        level,
        f"the newest {rows:,} rows differ from training rows in columns taken together "
        f"(told apart with a ROC AUC of {apart.auc:.2f}), most in {by}",
        apart.z,
        float(error.of_look(apart.p_value)),
        float(error.of_life(apart.p_value)),
        apart.auc,
        rows,
        columns,
    )
