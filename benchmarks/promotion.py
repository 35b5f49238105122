"""How often a challenger is promoted: this pipeline's rule beside those in use, on scores with a known truth.

Scores are bivariate normal in each class, with a given correlation, and turned into calibrated probabilities
of leaving. Shares stand with their 95 % interval (Wilson 1927).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, expit, ndtri
from scipy.stats import norm

from attrition import promotion
from attrition.promotion import Compared

Floats = NDArray[np.float64]

SEED = 20_261
CONFIDENCE = 0.95
RATE = 0.25
CHAMPION = 0.80
FALLEN = 0.72
TRIALS = 1_000
SHORT_TRIALS, SHORT_ROWS, SHORT_CORRELATION = 100, 500, 0.95
LOOKS = (1, 10, 40)
SEQUENCES = 200


@dataclass(frozen=True)
class World:
    """AUC of both models, correlation of their scores within a class, and rows."""

    rows: int
    correlation: float
    challenger: float
    champion: float = CHAMPION


@dataclass(frozen=True)
class Trial:
    outcome: Floats
    champion: Floats
    challenger: Floats
    compared: Compared | None

    def flagged(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        return self.champion >= RATE, self.challenger >= RATE


Rule = Callable[[Trial], bool]

WORLDS = {
    "worse by 0.02, 500 rows, .80": World(500, 0.80, CHAMPION - 0.02),
    "worse by 0.02, 500 rows, .95": World(500, 0.95, CHAMPION - 0.02),
    "equal, 500 rows, .80": World(500, 0.80, CHAMPION),
    "equal, 500 rows, .95": World(500, 0.95, CHAMPION),
    "equal, 100 rows, .95": World(100, 0.95, CHAMPION),
    "better by 0.02, 500 rows, .95": World(500, 0.95, CHAMPION + 0.02),
    "better by 0.02, 2,000 rows, .95": World(2_000, 0.95, CHAMPION + 0.02),
}


def drawn(world: World, random: np.random.Generator) -> tuple[Floats, Floats, Floats]:
    """Outcome, and probabilities of champion and challenger; shape (rows,) each."""
    outcome = (random.random(world.rows) < RATE).astype(np.float64)
    first, other = random.standard_normal((2, world.rows))
    second = world.correlation * first + np.sqrt(1 - world.correlation**2) * other
    champion = _probability(outcome, first, world.champion)
    return outcome, champion, _probability(outcome, second, world.challenger)


def _probability(outcome: Floats, noise: Floats, auc: float) -> Floats:
    """Scores of standard deviation 1, leavers apart by what gives `auc`, as what they say of leaving."""
    apart = np.sqrt(2) * ndtri(auc)
    probability: Floats = expit(np.log(RATE / (1 - RATE)) + apart * (noise + apart * (outcome - 0.5)))
    return probability


def trial(world: World, random: np.random.Generator, seed: int) -> Trial:
    outcome, champion, challenger = drawn(world, random)
    compared = promotion.compare(
        outcome, np.arange(world.rows), champion, challenger, seed, CONFIDENCE, (RATE, RATE)
    )
    return Trial(outcome, champion, challenger, compared)


def this_rule(looks: int) -> Rule:
    return lambda each: (
        promotion.decide(
            None, each.compared, alarmed=False, looks=looks, margin=0.0, confidence=CONFIDENCE
        ).promote
    )


def higher_auc(each: Trial, by: float = 0.0) -> bool:
    return each.compared is not None and each.compared.roc_auc.value > by


def higher_f1(each: Trial) -> bool:
    return each.compared is not None and each.compared.challenger["f1"] > each.compared.champion["f1"]


def delong(each: Trial) -> bool:
    """Two-sided at 0.05, normal approximation, and the challenger ahead."""
    rows = np.arange(len(each.outcome))
    error = promotion.auc_error(each.outcome, rows, each.champion, each.challenger)
    return each.compared is not None and each.compared.roc_auc.value > -ndtri(0.025) * error


def mcnemar(each: Trial) -> bool:
    """Exact, two-sided at 0.05, on right and wrong predictions from the rate of leaving on, and ahead."""
    champion, challenger = (flags == (each.outcome == 1) for flags in each.flagged())
    gained, lost = int(np.sum(challenger & ~champion)), int(np.sum(champion & ~challenger))
    return gained > lost and 2 * float(bdtr(lost, gained + lost, 0.5)) <= 0.05


RULES: dict[str, Rule] = {
    "this pipeline, first look": this_rule(0),
    "this pipeline, 10th look": this_rule(9),
    "this pipeline, 20th look": this_rule(19),
    "higher AUC": higher_auc,
    "higher F1": higher_f1,
    "AUC higher by 0.01": lambda each: higher_auc(each, 0.01),
    "plain DeLong at 0.05": delong,
    "McNemar at 0.05": mcnemar,
}


def run() -> None:
    print(f"{TRIALS:,} trials a line; correlation of the scores last.\n")
    judged = {name: shares(world, SEED + at) for at, (name, world) in enumerate(WORLDS.items())}
    print(table("challenger", judged))
    print(f"\nPromoted ever: an equal challenger a look, the same 500 test rows, {SEQUENCES} sequences:\n")
    print(table("looks", ever(SEED + 100)))
    print(f"\nThe champion's AUC fell to {FALLEN} and it alarmed; newest rows alone, correlation .80:\n")
    print(table("challenger", after_alarm(SEED + 200)))


def run_short() -> None:
    print(f"{SHORT_TRIALS:,} trials a line; correlation of the scores last.\n")
    judged = {
        name: shares(world, SEED + at, SHORT_TRIALS)
        for at, (name, world) in enumerate(WORLDS.items())
        if world.rows == SHORT_ROWS and world.correlation == SHORT_CORRELATION
    }
    print(table("challenger", judged))


def shares(world: World, seed: int, count: int = TRIALS) -> dict[str, str]:
    random = np.random.default_rng(seed)
    trials = [trial(world, random, seed + at) for at in range(count)]
    return {name: share([rule(each) for each in trials]) for name, rule in RULES.items()}


def ever(seed: int) -> dict[str, dict[str, str]]:
    """Shares of sequences in which an equal challenger was promoted at some look; the test rows stay."""
    random, rows, mixed = np.random.default_rng(seed), np.arange(500), 0.80
    promoted: dict[str, list[list[bool]]] = {"this pipeline": [], "plain DeLong at 0.05": []}
    for _ in range(SEQUENCES):
        outcome = (random.random(len(rows)) < RATE).astype(np.float64)
        first = random.standard_normal(len(rows))
        champion = _probability(outcome, first, CHAMPION)
        looks = []
        for _ in range(max(LOOKS)):
            second = mixed * first + np.sqrt(1 - mixed**2) * random.standard_normal(len(rows))
            challenger = _probability(outcome, second, CHAMPION)
            compared = promotion.compare(outcome, rows, champion, challenger, seed, CONFIDENCE)
            looks.append(Trial(outcome, champion, challenger, compared))
        promoted["this pipeline"].append([this_rule(at)(each) for at, each in enumerate(looks)])
        promoted["plain DeLong at 0.05"].append([delong(each) for each in looks])
    return {
        f"{looks}": {rule: share([any(each[:looks]) for each in ones]) for rule, ones in promoted.items()}
        for looks in LOOKS
    }


def after_alarm(seed: int) -> dict[str, dict[str, str]]:
    found = {}
    for name, gained in {"better by 0.06": 0.06, "equal": 0.0, "worse by 0.04": -0.04}.items():
        for rows in (100, 300, 1_000):
            random = np.random.default_rng(seed + rows)
            world = World(rows, 0.80, FALLEN + gained, FALLEN)
            trials = [trial(world, random, at) for at in range(TRIALS)]
            found[f"{name}, {rows:,} rows"] = {
                rule: share([promoted(each) for each in trials]) for rule, promoted in ALARM_RULES.items()
            }
    return found


def not_worse(each: Trial) -> bool:
    found = promotion.decide(each.compared, None, alarmed=True, looks=0, margin=0.0, confidence=CONFIDENCE)
    return found.promote


def proven(each: Trial) -> bool:
    found = promotion.decide(each.compared, None, alarmed=False, looks=0, margin=0.0, confidence=CONFIDENCE)
    return found.promote


ALARM_RULES: dict[str, Rule] = {
    "this pipeline, alarmed": not_worse,
    "this pipeline, without the alarm": proven,
    "higher F1": higher_f1,
}


def share(promoted: list[bool]) -> str:
    count, hits = len(promoted), sum(promoted)
    z = norm.ppf(0.975)
    middle = (hits + z * z / 2) / (count + z * z)
    reach = z * np.sqrt(hits * (count - hits) / count + z * z / 4) / (count + z * z)
    low, high = max(0.0, middle - reach), min(1.0, middle + reach)
    return f"{hits / count:.3f} ({low:.3f} to {high:.3f})"


def table(what: str, lines: Mapping[str, Mapping[str, str]]) -> str:
    """A Markdown table: a column for each rule."""
    rules = list(next(iter(lines.values())))
    head = f"| {what} | {' | '.join(rules)} |\n|---|{'--:|' * len(rules)}"
    return "\n".join([head, *(f"| {name} | {' | '.join(each.values())} |" for name, each in lines.items())])
