"""Simulated years: what the decisions about drift, training and promotion cost and gain over a year.

Each week brings ROWS clients; their outcome is known LATE weeks later. The decisions are those of
attrition.drift, shift, windows, promotion and challengers, each model is one logistic regression, the truth
is known: losses are expected ones, so that a difference is none of luck with outcomes. All policies meet the
same years. `benchmarks.months` then runs a few years through fullprocess.py itself.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, log_expit

from attrition import (
    challengers,
    drift,
    evidence,
    folds,
    profile,
    promotion,
    scores,
    shift,
    thresholds,
    windows,
)
from attrition.drift import Deployed, Limits, Risk
from attrition.monitor import Record
from attrition.settings import Drift, Promotion, Retraining
from attrition.settings import Risk as RiskSettings
from benchmarks import months
from benchmarks.promotion import share

Floats = NDArray[np.float64]

SEED = 60_261
ROWS, LATE, HISTORY, WEEKS = 200, 4, 10, 52
TEST_ROWS, JUDGES = 500, 2_000
FOLDS, STRENGTH = 5, 1.0
# one client in so many is held out of a challenger's newest rows
HELD_OUT = 3
# the oracle trains on rows of a world that is nearer to the present one than this
ALIKE = 0.25
ENOUGH = 2 * ROWS
NUMBERS = ("activity", "tickets", "size")
PLANS = np.array(["monthly", "yearly", "longer"], dtype=object)
SHORT_YEARS = {"stable": 2, "concept": 2}
YEARS, FULL_YEARS = {"stable": 60, "other": 10}, {"stable": 300, "other": 60}


# --- the world --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kind:
    """What changes in a random week, or over some; `turned` 2 turns the strongest slope round."""

    turned: float = 0.0
    raised: float = 0.0
    moved: float = 0.0
    broken: bool = False
    weeks: int = 1

    @property
    def misleads(self) -> bool:
        """Whether older rows say something else of the outcome."""
        return bool(self.turned or self.raised)


KINDS = {
    "stable": Kind(),
    "concept": Kind(turned=2.0),
    "gradual": Kind(turned=2.0, weeks=16),
    "prior": Kind(raised=1.0),
    "covariate": Kind(moved=1.0),
    "broken feed": Kind(broken=True),
}


@dataclass(frozen=True)
class Rows:
    """Clients as a pipeline sees them, the outcome, and the true probability of it; shape (rows,) each."""

    table: pd.DataFrame
    outcome: Floats
    truth: Floats
    client: NDArray[Any]

    def only(self, kept: NDArray[np.bool_]) -> "Rows":
        return Rows(self.table[kept], self.outcome[kept], self.truth[kept], self.client[kept])

    @cached_property
    def features(self) -> Floats:
        plans = (self.table["plan"].to_numpy()[:, None] == PLANS[1:]).astype(float)
        return np.column_stack([self.table[list(NUMBERS)].to_numpy(float), plans])

    @property
    def columns(self) -> tuple[dict[str, Floats], dict[str, NDArray[Any]]]:
        numbers = {name: self.table[name].to_numpy(float) for name in NUMBERS}
        return numbers, {"plan": self.table["plan"].to_numpy(object)}


def joined(parts: Sequence[Rows]) -> Rows:
    return Rows(
        pd.concat([each.table for each in parts], ignore_index=True),
        *(np.concatenate([getattr(each, name) for each in parts]) for name in ("outcome", "truth", "client")),
    )


@dataclass(frozen=True)
class Year:
    """Weeks from -(HISTORY + LATE) to WEEKS - 1; `change` is the first that is not as those before."""

    name: str
    change: int
    weeks: Mapping[int, Rows]
    test: Rows
    seed: int

    @property
    def kind(self) -> Kind:
        return KINDS[self.name]

    def share(self, week: int) -> float:
        """How much of the change there is in this week."""
        return float(np.clip((week - self.change + 1) / self.kind.weeks, 0, 1))

    def labelled(self, week: int) -> Rows:
        """All rows whose outcome is known in this week, in order of time."""
        return joined([rows for at, rows in self.weeks.items() if at <= week - LATE])

    def judges(self, week: int) -> Rows:
        """Many rows of the present world, for the truth about a model."""
        random = np.random.default_rng([self.seed, 1, week + HISTORY + LATE])
        return drawn(random, JUDGES, self.kind, self.share(week))


def year(name: str, seed: int) -> Year:
    random = np.random.default_rng([SEED, seed])
    change = int(random.integers(8, 33)) if name != "stable" else WEEKS
    made = Year(name, change, {}, drawn(random, TEST_ROWS, KINDS[name], 0.0), seed)
    weeks = {}
    for week in range(-HISTORY - LATE, WEEKS):
        rows = drawn(random, ROWS, KINDS[name], made.share(week))
        if made.kind.broken and week == change:
            rows = replace(rows, table=rows.table.assign(activity=0.0))
        weeks[week] = rows
    return replace(made, weeks=weeks)


def drawn(random: np.random.Generator, count: int, kind: Kind, share: float) -> Rows:
    activity = random.normal(10 - 2 * kind.moved * share, 2, count)
    tickets = random.poisson(1.5, count).astype(float)
    size = random.lognormal(3, 1, count).round() + 1
    plan = random.choice(len(PLANS), count, p=(0.5, 0.3, 0.2))
    log_odds = (
        -1.4
        + kind.raised * share
        - 0.6 * (1 - kind.turned * share) * (activity - 10)
        + 0.4 * (tickets - 1.5)
        - 0.3 * (np.log(size) - 3)
        - 0.7 * plan
    )
    truth: Floats = expit(log_odds)
    outcome = (random.random(count) < truth).astype(float)
    columns = {"activity": activity.round(1), "tickets": tickets, "size": size, "plan": PLANS[plan]}
    return Rows(pd.DataFrame(columns), outcome, truth, random.integers(2**62, size=count))


# --- models -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Model:
    centre: Floats
    scale: Floats
    fitted: Any

    def log_odds(self, rows: Rows) -> Floats:
        found: Floats = self.fitted.decision_function((rows.features - self.centre) / self.scale)
        return found

    def loss(self, rows: Rows) -> float:
        """Log loss to expect, summed over rows: the truth is known."""
        log_odds = self.log_odds(rows)
        return float(-np.sum(rows.truth * log_expit(log_odds) + (1 - rows.truth) * log_expit(-log_odds)))


def fit(rows: Rows) -> Model:
    from sklearn.linear_model import LogisticRegression

    centre, scale = rows.features.mean(axis=0), rows.features.std(axis=0) + 1e-9
    model = LogisticRegression(C=STRENGTH, solver="newton-cholesky")
    return Model(centre, scale, model.fit((rows.features - centre) / scale, rows.outcome))


def out_of_fold(rows: Rows, seed: int) -> Floats:
    fold = folds.by_client(rows.client, rows.outcome, FOLDS, seed)
    assert fold is not None
    log_odds = np.empty(len(rows.outcome))
    for held_out in np.unique(fold):
        log_odds[fold == held_out] = fit(rows.only(fold != held_out)).log_odds(rows.only(fold == held_out))
    return log_odds


# --- this pipeline ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Settings:
    """The defaults of config.json, but for what a variant changes.

    `on_all`: after an alarm, too, a challenger is judged on all rows held out since the live release.
    """

    on_all: bool = False
    alpha: float = Drift().alpha
    tolerance: float = Drift().tolerance
    retraining: Retraining = Retraining()

    @property
    def limits(self) -> Limits:
        return Limits(self.alpha, self.tolerance)


@dataclass(frozen=True)
class Release:
    """A model that went live in a week, with what its rows looked like and lost; what it met since."""

    model: Model
    week: int
    trained_on: int
    before: Deployed
    profile: Mapping[str, Any]
    risk: Risk = Risk()
    inputs: shift.Memory = field(default_factory=shift.Memory)
    labels: int = 0
    tried: int = 0


@dataclass(frozen=True)
class Account:
    """What came of one year under one policy. Alarms and trainings by week."""

    loss: float = 0.0
    alarms: tuple[int, ...] = ()
    acts: tuple[int, ...] = ()
    trained: tuple[int, ...] = ()
    promoted: tuple[int, ...] = ()
    wrong: int = 0


def released(year: Year, week: int, rows: Rows) -> Release:
    """Trained on these rows, as training.py does: window, out-of-fold losses, threshold, profile."""
    window = windows.choose(rows.table, rows.outcome, rows.client, NUMBERS, ("plan",), year.seed)
    rows = rows.only(np.arange(len(rows.outcome)) >= len(rows.outcome) - window.rows)
    log_odds, model = out_of_fold(rows, year.seed), fit(rows)
    threshold = thresholds.choose(RiskSettings(), log_odds, rows.outcome, len(rows.outcome))
    outside = drift.counted(rows.outcome, expit(log_odds), threshold)
    tested = drift.counted(year.test.outcome, expit(model.log_odds(year.test)), threshold)
    numbers, categories = rows.columns
    known = profile.of({**numbers, "score": log_odds}, categories, year.seed)
    return Release(model, week, len(rows.outcome), drift.deployed([outside, tested], threshold), known)


def met(release: Release, settings: Settings, week: int, new: Rows, labelled: Rows) -> Release:
    """With the week's new clients, and those whose outcome came to be known."""
    memory = release.inputs
    for name, rows in (("labelled", labelled), ("new", new)):
        numbers, categories = rows.columns
        scored = {**numbers, "score": release.model.log_odds(rows)}
        memory = shift.take(release.profile, memory, scored, categories, f"{name} {week}")
    log_odds = release.model.log_odds(labelled)
    at = f"{week:03d}"
    risk = drift.learn(release.risk, release.before, settings.limits, at, labelled.outcome, log_odds)
    return replace(release, risk=risk, inputs=memory, labels=release.labels + len(labelled.outcome))


def pipeline(settings: Settings, year: Year) -> Account:
    live, done, looks = released(year, 0, year.labelled(0)), Account(), 0
    for week in range(WEEKS):
        if week:
            live = met(live, settings, week, year.weeks[week], year.weeks[week - LATE])
            alarmed = drift.alarm(live.risk, live.before, settings.limits) is not None
            acts = shift.judge(live.profile, live.inputs).level == "act"
            done = _told(done, week, live, alarmed, acts)
            if alarmed or asks(settings, live, acts):
                challenger, newest = challenged(year, week, live)
                if alarmed and not settings.on_all:
                    judged = evidence.since_the_drift(newest.outcome)
                    newest = newest.only(np.arange(len(newest.outcome)) >= judged.start)
                decision = compared(year, live, challenger, newest, alarmed, looks)
                looks += 1
                done = replace(done, trained=(*done.trained, week))
                if decision.promote:
                    judges = year.judges(week)
                    wrong = challenger.model.loss(judges) > live.model.loss(judges)
                    done = replace(done, promoted=(*done.promoted, week), wrong=done.wrong + wrong)
                    live = challenger
                else:
                    live = replace(live, tried=live.labels)
        done = replace(done, loss=done.loss + live.model.loss(year.weeks[week]))
    return done


def _told(done: Account, week: int, live: Release, alarmed: bool, acts: bool) -> Account:
    """An alarm, and moved inputs, count once a release."""
    if alarmed and not any(each >= live.week for each in done.alarms):
        done = replace(done, alarms=(*done.alarms, week))
    if acts and not any(each >= live.week for each in done.acts):
        done = replace(done, acts=(*done.acts, week))
    return done


def asks(settings: Settings, live: Release, acts: bool) -> bool:
    moved = {"level": "act" if acts else "none", "sentences": ()}
    record = Record("", labels=live.labels, shift=moved, tried=live.tried)
    return challengers.asks(settings.retraining, record, live.trained_on) is not None


def challenged(year: Year, week: int, live: Release) -> tuple[Release, Rows]:
    """A challenger, and the held-out clients among the labelled rows that are new since the live release."""
    rows = year.labelled(week)
    fresh = np.arange(len(rows.outcome)) >= ROWS * (live.week + HISTORY + 1)
    aside = fresh & (rows.client % HELD_OUT == 0)
    return released(year, week, rows.only(~aside)), rows.only(aside)


def compared(
    year: Year, live: Release, challenger: Release, newest: Rows, alarmed: bool, looks: int
) -> promotion.Decision:
    settings = Promotion()
    found = [
        promotion.compare(
            rows.outcome,
            rows.client,
            expit(live.model.log_odds(rows)),
            expit(challenger.model.log_odds(rows)),
            year.seed,
            settings.confidence,
        )
        for rows in (newest, year.test)
    ]
    return promotion.decide(
        *found, alarmed=alarmed, looks=looks, margin=settings.margin, confidence=settings.confidence
    )


# --- other policies ---------------------------------------------------------------------------------------


def never(year: Year) -> Account:
    model = fit(year.labelled(0))
    return Account(loss=sum(model.loss(year.weeks[week]) for week in range(WEEKS)))


def each_dataset(year: Year) -> Account:
    return _each_week(year, lambda week: year.labelled(week))


def oracle(year: Year) -> Account:
    """Knows when what changes, and trains each week on all rows of the present world, of no broken feed."""

    def rows(week: int) -> Rows | None:
        alike = [
            rows
            for at, rows in year.weeks.items()
            if at <= week - LATE
            and not (year.kind.broken and at == year.change)
            and (not year.kind.misleads or abs(year.share(at) - year.share(week)) <= ALIKE)
        ]
        return joined(alike) if len(alike) * ROWS >= ENOUGH else None

    return _each_week(year, rows)


def _each_week(year: Year, rows_of: Callable[[int], Rows | None]) -> Account:
    done, model = Account(), fit(year.labelled(0))
    for week in range(WEEKS):
        rows = rows_of(week) if week else None
        if rows is not None:
            model, done = fit(rows), replace(done, trained=(*done.trained, week))
        done = replace(done, loss=done.loss + model.loss(year.weeks[week]))
    return replace(done, promoted=done.trained)


def raw_f1(year: Year) -> Account:
    """Trains where F1 on the newest labelled rows is below the score on the test data; deploys what comes."""
    done, model = Account(), fit(year.labelled(0))
    last = _f1(model, year.test)
    for week in range(WEEKS):
        if week and _f1(model, year.weeks[week - LATE]) < last:
            challenger, judges = fit(year.labelled(week)), year.judges(week)
            wrong = challenger.loss(judges) > model.loss(judges)
            model, last = challenger, _f1(challenger, year.test)
            done = replace(done, trained=(*done.trained, week), wrong=done.wrong + wrong)
        done = replace(done, loss=done.loss + model.loss(year.weeks[week]))
    return replace(done, alarms=done.trained, promoted=done.trained)


def _f1(model: Model, rows: Rows) -> float:
    cells = scores.confusion(rows.outcome, expit(model.log_odds(rows)), 0.5)
    hit, missed, needless = (cells[name] for name in ("true_positive", "false_negative", "false_positive"))
    return 2 * hit / max(1, 2 * hit + missed + needless)


OURS, EAGER, ORACLE = "this pipeline", "alpha 0.05, tolerance 0", "oracle"
VARIANTS = {
    OURS: Settings(),
    EAGER: Settings(alpha=0.05, tolerance=0.0),
    "judged on all held-out rows": Settings(on_all=True),
}
OTHERS: dict[str, Callable[[Year], Account]] = {
    "never again": never,
    "each dataset": each_dataset,
    "F1 below the last": raw_f1,
    ORACLE: oracle,
}


# who has alarms, and of whose deployments the wrong ones are counted
WATCH = (*VARIANTS, "F1 below the last")


def accounts(year: Year) -> dict[str, Account]:
    """Of every policy. Where even the eager one raises no alarm, the variants differ in nothing."""
    eager = pipeline(VARIANTS[EAGER], year)
    ours = {
        name: pipeline(settings, year) if eager.alarms and name != EAGER else eager
        for name, settings in VARIANTS.items()
    }
    return ours | {name: act(year) for name, act in OTHERS.items()}


# --- tables -----------------------------------------------------------------------------------------------

Accounts = Mapping[str, Sequence[Account]]


def run(counts: Mapping[str, int] = YEARS) -> None:
    told = _followed({name: counts.get(name, counts["other"]) for name in KINDS})
    print(f"Aims:\n\n{aims(told)}\n")
    months.run()


def run_short() -> None:
    """Too few years to say whether an aim is reached."""
    _followed(SHORT_YEARS)


def run_full() -> None:
    run(FULL_YEARS)


def _followed(counts: Mapping[str, int]) -> dict[str, Accounts]:
    """So many years of each kind, and what every policy made of them, printed as they come."""
    told: dict[str, Accounts] = {}
    for at, name in enumerate(KINDS):
        if not (count := counts.get(name)):
            continue
        years = [year(name, 1_000 * at + number) for number in range(count)]
        found = [accounts(each) for each in years]
        told[name] = {policy: [each[policy] for each in found] for policy in found[0]}
        print(f"{name}, {count} years:\n\n{table(years, told[name])}\n", flush=True)
    return told


def table(years: Sequence[Year], accounts: Accounts) -> str:
    """Means over years, and of the ratio to the oracle its standard error."""
    heads = (
        "policy",
        "log loss a row",
        "to the oracle",
        "years with a false alarm",
        "found",
        "labels to it, days",
        "trained",
        "deployed",
        "wrongly",
    )
    lines = [f"| {' | '.join(heads)} |", f"|---|{'--:|' * (len(heads) - 1)}"]
    for policy, each in accounts.items():
        watched = (*_alarms(years, each), *_trainings(each))
        cells = (
            policy,
            *_losses(each, accounts[ORACLE]),
            *(watched if policy in WATCH else _unwatched(each)),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _losses(accounts: Sequence[Account], best: Sequence[Account]) -> tuple[str, str]:
    ratios = np.array([one.loss / other.loss for one, other in zip(accounts, best, strict=True)])
    error = ratios.std(ddof=1) / np.sqrt(len(ratios)) if len(ratios) > 1 else np.nan
    loss = np.mean([each.loss for each in accounts]) / (WEEKS * ROWS)
    return f"{loss:.4f}", f"{ratios.mean():.4f} ± {error:.4f}"


def _alarms(years: Sequence[Year], accounts: Sequence[Account]) -> tuple[str, str, str]:
    false = share([is_false(one, each) for one, each in zip(years, accounts, strict=True)])
    if years[0].name == "stable":
        return (false, "", "")
    labels = np.array([labels_to_alarm(one, each) for one, each in zip(years, accounts, strict=True)])
    median = float(np.median(labels))
    days = f"{median:,.0f}, {7 * (median / ROWS + LATE):.0f}" if np.isfinite(median) else "never"
    return (false, share(np.isfinite(labels).tolist()), days)


def _trainings(accounts: Sequence[Account]) -> tuple[str, str, str]:
    trained, deployed = (
        np.mean([len(getattr(each, n)) for each in accounts]) for n in ("trained", "promoted")
    )
    return f"{trained:.1f}", f"{deployed:.1f}", f"{np.mean([each.wrong for each in accounts]):.2f}"


def _unwatched(accounts: Sequence[Account]) -> tuple[str, ...]:
    trained, deployed, _ = _trainings(accounts)
    return "", "", "", trained, deployed, ""


def is_false(year: Year, account: Account) -> bool:
    """Whether an alarm came before the outcome of any changed row was known."""
    return any(week < year.change + LATE for week in account.alarms)


def labels_to_alarm(year: Year, account: Account) -> float:
    """Labels of rows from the change on until the first alarm after it, infinite where there was none."""
    weeks = [week for week in account.alarms if week >= year.change + LATE]
    return float(ROWS * (min(weeks) - LATE - year.change + 1)) if weeks else np.inf


def aims(told: Mapping[str, Accounts]) -> str:
    """Cumulative log loss over all kinds of years, each with the same weight."""
    lines = ["| aim | policy | figure | reached |", "|---|---|---|---|"]
    total = {policy: np.mean([_mean(each[policy]) for each in told.values()]) for policy in told["stable"]}
    for policy in VARIANTS:
        false = [bool(each.alarms) for each in told["stable"][policy]]
        reached = "yes" if np.mean(false) <= 0.05 else "no"
        lines.append(
            f"| false alarms in at most 5 % of stable years | {policy} | {share(false)} | {reached} |"
        )
        ratio = total[policy] / total[ORACLE]
        within = "yes" if ratio <= 1.05 else "no"
        lines.append(f"| log loss at most 1.05 of the oracle's | {policy} | {ratio:.3f} | {within} |")
        for other in [name for name in OTHERS if name != ORACLE]:
            ratio = total[policy] / total[other]
            below = "yes" if ratio < 1 else "no"
            lines.append(f"| log loss below that of: {other} | {policy} | {ratio:.3f} | {below} |")
    return "\n".join(lines)


def _mean(accounts: Sequence[Account]) -> float:
    return float(np.mean([each.loss for each in accounts]))
