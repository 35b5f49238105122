"""Which candidate wins: cross-validated on the same rows, the simpler where they cannot be told apart.

Rows of one client, and near-identical rows, stay together. Cheap candidates come first; a dear one is dropped
once it cannot win. An opaque winner must be worth it.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits

from attrition import candidates, folds, parallel, scores, twins
from attrition.candidates import BLEND, CANDIDATES, ITERATIONS, Model
from attrition.parallel import Crew
from attrition.settings import Clients, Training

Floats = NDArray[np.float64]

REPEATS = 2
# dear candidates are not repeated above this many rows: one round tells enough there
ROWS_TO_REPEAT = 4_000
# a candidate that trails the best by this many standard errors after two folds or more has lost
HOPELESS = 3.0
# an opaque winner must be better by this many standard errors of the paired difference, besides opaque_gain
SURE = 2.0
# hardly any shrinkage: two numbers are fitted, and they are kept only where they help out of fold
CALIBRATION_C = 100.0
# a member of a blend below this share of all weights is left out
LEAST_WEIGHT = 0.1
GLASS_BLEND = "blend_of_glass"


@dataclass(frozen=True)
class Contestant:
    """A candidate's figures over all out-of-fold predictions; None where no cross-validation was possible.

    `note` says why a candidate was not tried to the end.
    """

    name: str
    log_loss: float | None
    log_loss_se: float | None
    roc_auc: float | None
    brier: float | None
    seconds: float
    glass: bool = True
    note: str = ""


@dataclass(frozen=True)
class Contest:
    """The winner, fitted on all rows and calibrated where that helped, and the contest it won.

    `log_odds` are the winner's calibrated out-of-fold ones, shape (rows,); without folds (0) there are none.
    `transparency` says what a model of the other kind, glass box or opaque, would have scored.
    """

    model: Model
    contestants: Sequence[Contestant]
    folds: int
    log_odds: Floats | None
    calibrated: bool = False
    families: int = 0
    transparency: Mapping[str, Any] = field(default_factory=dict)
    models_of_folds: Sequence[Model] = ()


@dataclass
class Entry:
    """A candidate under way: log-odds of each repeat, NaN where not predicted yet, and the folds' models."""

    name: str
    log_odds: Floats
    seconds: float = 0.0
    note: str = ""
    models: list[Model] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        return not self.note


@dataclass(frozen=True)
class Fit:
    """The unit of work: a candidate on all rows but those of a fold, which it then predicts."""

    name: str
    repeat: int
    held_out: int


@dataclass(frozen=True)
class Fitted:
    """A fit's log-odds of the rows held out, the CPU seconds it took, and in the first repeat its model."""

    log_odds: Floats
    seconds: float
    model: Model | None


@dataclass(frozen=True)
class Arena:
    """What all candidates are judged on; `fold` has a row for each repeat, `family` keeps twins together."""

    clients: Clients
    table: pd.DataFrame
    outcome: Floats
    family: NDArray[np.intp]
    fold: NDArray[np.intp]
    seed: int

    def fitted(self, weights: Mapping[str, float], name: str, rows: Any = slice(None)) -> Model:
        return candidates.fitted(
            weights, self.clients, self.table[rows], self.outcome[rows], self.family[rows], self.seed, name
        )

    def fits(self, name: str) -> Iterator[Fit]:
        repeats = 1 if CANDIDATES[name].dear and len(self.outcome) > ROWS_TO_REPEAT else len(self.fold)
        for repeat, fold in enumerate(self.fold[:repeats]):
            for held_out in np.unique(fold).tolist():
                yield Fit(name, repeat, held_out)

    def losses(self, log_odds: Floats) -> Floats:
        """Log loss of each row, mean of the repeats in which it was predicted; NaN where it never was."""
        known = ~np.isnan(log_odds)
        each = np.where(known, scores.log_losses(self.outcome, np.where(known, log_odds, 0.0)), 0.0)
        count = known.sum(axis=0)
        losses: Floats = np.where(count > 0, each.sum(axis=0) / np.maximum(count, 1), np.nan)
        return losses

    def gap(self, one: Floats, other: Floats) -> tuple[float, float]:
        """How much larger the first losses are on the rows that both have, and the error of that."""
        both = ~np.isnan(one) & ~np.isnan(other)
        return scores.mean_and_error((one - other)[both], self.family[both])


def contest(
    clients: Clients,
    table: pd.DataFrame,
    outcome: Floats,
    client: NDArray[Any],
    training: Training,
    progress: Callable[[str], None] = lambda candidate: None,
    crew: Crew = parallel.HERE,
) -> Contest:
    """Let the candidates predict rows they have not seen, and fit the best on all rows.

    `outcome` is 1.0 left or 0.0 stayed, `client` the ids, shape (rows,) each; both outcomes occur. The
    result is the same to the last bit, whichever crew does the fits.
    """
    seed, family = training.seed, twins.groups(table, clients.features, outcome, client)
    dealt = [folds.by_client(family, outcome, training.folds, seed + repeat) for repeat in range(REPEATS)]
    fewest = min(len(np.unique(family[outcome == label])) for label in (0, 1))
    names = candidates.entered(training.candidates, fewest)
    if dealt[0] is None:
        return _uncontested(
            Arena(clients, table, outcome, family, np.zeros((0, 0), dtype=np.intp), seed), names
        )
    made = [fold for fold in dealt if fold is not None]
    arena = Arena(clients, table, outcome, family, np.stack(made), seed)
    entries = compete(arena, names, progress, crew)
    if BLEND in training.candidates:
        entries |= blends(arena, entries)
    losses = {name: arena.losses(entry.log_odds) for name, entry in entries.items() if entry.finished}
    winner, transparency = chosen(arena, losses, training)
    if transparency["opaque"] is None:
        transparency["sentence"] = _without_opaque(arena, entries, winner)
    progress(f"{winner} on all rows")
    return _crowned(arena, entries, winner, transparency)


def _uncontested(arena: Arena, names: Sequence[str]) -> Contest:
    clock = time.process_time()
    # a constant tells no two clients apart: where nothing can be compared the simplest that does is taken
    name = next((name for name in names if name != "constant"), names[0])
    model = arena.fitted({name: 1.0}, name)
    seconds = round(time.process_time() - clock, 3)
    return Contest(model, [Contestant(name, None, None, None, None, seconds)], 0, None)


def _crowned(
    arena: Arena, entries: Mapping[str, Entry], winner: str, transparency: Mapping[str, Any]
) -> Contest:
    """The winner on all rows, calibrated on its out-of-fold predictions of the first repeat."""
    entry, clock = entries[winner], time.process_time()
    log_odds, fold = entry.log_odds[0], arena.fold[0]
    slope, intercept = calibration(log_odds, arena.outcome, arena.family, fold)
    # in this process, whoever fitted the folds: what comes out of another one is pickled to other bytes
    model = arena.fitted(entry.models[0].weights, winner)
    entry.seconds += time.process_time() - clock
    return Contest(
        replace(model, slope=slope, intercept=intercept),
        [judged(arena, each) for each in entries.values()],
        int(fold.max()) + 1,
        slope * log_odds + intercept,
        (slope, intercept) != (1.0, 0.0),
        len(np.unique(arena.family)),
        transparency,
        [replace(each, slope=slope, intercept=intercept) for each in entry.models],
    )


def compete(
    arena: Arena, names: Sequence[str], progress: Callable[[str], None], crew: Crew
) -> dict[str, Entry]:
    """Out-of-fold log-odds of each candidate; a dear one is given up once it cannot win.

    That is judged in the order of the fits: what a crew fitted beyond it is not looked at.
    """
    entries: dict[str, Entry] = {}

    def wanted() -> Iterator[Fit]:
        for name in names:
            progress(name)
            for fit in arena.fits(name):
                if name not in entries or entries[name].finished:
                    yield fit

    best = None
    for fit, done in crew.results(fitted, arena, wanted()):
        if fit.name not in entries:
            best = _best(arena, entries)
            entries[fit.name] = Entry(fit.name, np.full(arena.fold.shape, np.nan))
        entry = entries[fit.name]
        if not entry.finished:
            continue
        entry.log_odds[fit.repeat, arena.fold[fit.repeat] == fit.held_out] = done.log_odds
        entry.seconds += done.seconds
        if done.model is not None:
            entry.models.append(done.model)
        if _is_hopeless(arena, entry, best):
            entry.note = f"given up after {len(entry.models)} folds: it could not win"
    return entries


def fitted(arena: Arena, fit: Fit) -> Fitted:
    clock = time.thread_time()
    inside = arena.fold[fit.repeat] == fit.held_out
    model = arena.fitted({fit.name: 1.0}, fit.name, ~inside)
    with threadpool_limits(limits=1):
        log_odds = model.log_odds(arena.table[inside])
    return Fitted(log_odds, time.thread_time() - clock, model if fit.repeat == 0 else None)


def _is_hopeless(arena: Arena, entry: Entry, best: Floats | None) -> bool:
    if not CANDIDATES[entry.name].dear or best is None or len(entry.models) < 2:
        return False
    gap, error = arena.gap(arena.losses(entry.log_odds), best)
    return gap > HOPELESS * error


def _best(arena: Arena, others: Mapping[str, Entry]) -> Floats | None:
    losses = [arena.losses(entry.log_odds) for entry in others.values() if entry.finished]
    return min(losses, key=lambda each: float(each.mean())) if losses else None


def blends(arena: Arena, entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """A blend of the glass boxes, and one of all, where more than one candidate is worth a weight.

    Each fold is predicted with weights that were found on the others.
    """
    finished = {name: entry for name, entry in entries.items() if entry.finished and name != "constant"}
    glass = {name: entry for name, entry in finished.items() if CANDIDATES[name].glass}
    made = {}
    for name, pool in ((GLASS_BLEND, glass), (BLEND, finished)):
        if name == BLEND and len(pool) == len(glass):
            continue
        if (entry := _blend(arena, name, pool)) is not None:
            made[name] = entry
    return made


def _blend(arena: Arena, name: str, pool: Mapping[str, Entry]) -> Entry | None:
    clock, fold = time.process_time(), arena.fold[0]
    if len(pool) < 2:
        return None
    members = np.column_stack([entry.log_odds[0] for entry in pool.values()])
    kept = weights_of(members, arena.outcome) > 0
    if kept.sum() < 2 or (name == BLEND and all(CANDIDATES[each].glass for each in _where(pool, kept))):
        return None
    members = members[:, kept]
    entry = Entry(name, np.full(arena.fold.shape, np.nan))
    for held_out in np.unique(fold):
        inside = fold == held_out
        weights = weights_of(members[~inside], arena.outcome[~inside], least=0.0)
        entry.log_odds[0, inside] = members[inside] @ weights
    final = dict(zip(_where(pool, kept), weights_of(members, arena.outcome, least=0.0).tolist(), strict=True))
    for at in range(int(fold.max()) + 1):
        pipelines = {each: pool[each].models[at].pipelines[each] for each in final}
        entry.models.append(Model(name, arena.clients.features, pipelines, final))
    entry.seconds = time.process_time() - clock
    return entry


def _where(pool: Mapping[str, Entry], kept: NDArray[np.bool_]) -> list[str]:
    return [name for name, taken in zip(pool, kept, strict=True) if taken]


def weights_of(members: Floats, outcome: Floats, least: float = LEAST_WEIGHT) -> Floats:
    """Weights of the members' log-odds, none negative, that lower the log loss most (stacking: Wolpert 1992).

    One below the share `least` is 0, and the others are found again without it.
    """

    def loss(weights: Floats) -> tuple[float, Floats]:
        log_odds = members @ weights
        slope = members.T @ (expit(log_odds) - outcome) / len(outcome)
        return float(scores.log_losses(outcome, log_odds).mean()), slope

    count = members.shape[1]
    with threadpool_limits(limits=1):
        found = minimize(loss, np.full(count, 1 / count), jac=True, bounds=[(0, None)] * count)
    weights: Floats = found.x
    small = weights < least * weights.sum()
    if small.any() and not small.all() and least:
        weights = np.zeros(count)
        weights[~small] = weights_of(members[:, ~small], outcome, least)
    return weights


def chosen(arena: Arena, losses: Mapping[str, Floats], training: Training) -> tuple[str, dict[str, Any]]:
    """The winner, and what a model of the other kind would have scored."""
    glass = {name: each for name, each in losses.items() if is_glass(name)}
    opaque = {name: each for name, each in losses.items() if not is_glass(name)}
    clear = simplest(arena, glass)
    # the gain is measured against the most accurate glass box, not against the simplest
    best = min(glass, key=lambda name: glass[name].mean())
    price: dict[str, Any] = {
        "glass_box": {"name": clear, "log_loss": float(glass[clear].mean())},
        "opaque": None,
        "kept": "glass box",
    }
    if not opaque:
        return clear, price
    dark = simplest(arena, opaque)
    gap, error = arena.gap(opaque[dark], glass[best])
    gain = -gap
    worth = gain > training.opaque_gain * glass[best].mean() and gain > SURE * error
    price["opaque"] = {"name": dark, "log_loss": float(opaque[dark].mean())}
    price |= {"gain": gain, "gain_se": error}
    kept, other = (dark, clear) if worth and training.opaque == "if_worth" else (clear, dark)
    price["kept"] = "opaque" if kept == dark else "glass box"
    told = f"log loss {losses[kept].mean():.4f} ({kept}) against {losses[other].mean():.4f} ({other})"
    price["sentence"] = (
        f"The {price['kept']} was kept: {told}. The best opaque model differs from the best glass box by "
        f"{gap:+.4f} ± {error:.4f} in log loss."
    )
    return kept, price


def _without_opaque(arena: Arena, entries: Mapping[str, Entry], winner: str) -> str:
    """The price of transparency where no opaque candidate came through."""
    opaque = [entry for entry in entries.values() if not is_glass(entry.name)]
    if not opaque:
        return "No opaque model was tried: what transparency costs is not known."
    gap, error = arena.gap(arena.losses(opaque[0].log_odds), arena.losses(entries[winner].log_odds))
    return (
        f"Transparency costs nothing: {opaque[0].name} was {opaque[0].note}, with a log loss {gap:+.4f} ± "
        f"{error:.4f} against {winner} on the same rows."
    )


def is_glass(name: str) -> bool:
    return name == GLASS_BLEND or (name != BLEND and CANDIDATES[name].glass)


def simplest(arena: Arena, losses: Mapping[str, Floats]) -> str:
    """The earliest candidate whose log loss is within one standard error of the lowest.

    The error is that of the difference row by row, so what is hard for all does not hide which is better (the
    one-standard-error rule of Breiman et al. 1984, paired).
    """
    best = min(losses, key=lambda name: losses[name].mean())
    gaps = {name: arena.gap(each, losses[best]) for name, each in losses.items()}
    return next(name for name, (gap, error) in gaps.items() if gap <= error)


def judged(arena: Arena, entry: Entry) -> Contestant:
    losses = arena.losses(entry.log_odds)
    seen = ~np.isnan(losses)
    log_odds, outcome = entry.log_odds[0][seen], arena.outcome[seen]
    log_loss, error = scores.mean_and_error(losses[seen], arena.family[seen])
    return Contestant(
        entry.name,
        log_loss,
        error,
        float(roc_auc_score(outcome, log_odds)),
        float(np.mean((expit(log_odds) - outcome) ** 2)),
        round(entry.seconds, 3),
        is_glass(entry.name),
        entry.note,
    )


def calibration(
    log_odds: Floats, outcome: Floats, client: NDArray[Any], fold: NDArray[np.intp]
) -> tuple[float, float]:
    """Slope and intercept on out-of-fold log-odds (Platt 1999), or 1 and 0 where they do not pay.

    They pay where, fitted on the other folds, they lower the log loss by more than a standard error.
    """
    if np.ptp(log_odds) == 0:
        return 1.0, 0.0
    crossed = np.empty(len(outcome))
    for held_out in np.unique(fold):
        inside = fold == held_out
        slope, intercept = _line(log_odds[~inside], outcome[~inside])
        crossed[inside] = slope * log_odds[inside] + intercept
    gains = scores.log_losses(outcome, log_odds) - scores.log_losses(outcome, crossed)
    gain, error = scores.mean_and_error(gains, client)
    slope, intercept = _line(log_odds, outcome)
    # a slope below zero would turn the ranking round: that is no calibration
    return (slope, intercept) if gain > error and slope > 0 else (1.0, 0.0)


def _line(log_odds: Floats, outcome: Floats) -> tuple[float, float]:
    regression = LogisticRegression(C=CALIBRATION_C, max_iter=ITERATIONS)
    with threadpool_limits(limits=1):
        regression.fit(log_odds.reshape(-1, 1), outcome)
    return float(regression.coef_[0, 0]), float(regression.intercept_[0])
