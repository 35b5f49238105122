"""Whether a newly trained model (challenger) replaces the live one (champion): numbers in, a decision out.

Both are judged on the same rows, which neither was trained on. ROC AUC is compared after DeLong, log loss by
a paired bootstrap; both count clients, not rows. Of two p-values or intervals the more cautious one is kept.
Touches no disk.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attrition import scores

Floats = NDArray[np.float64]

# fewer clients of one outcome prove nothing: errors estimated from them are not to be trusted
FEWEST = 10
RESAMPLES = 1000
CELLS_AT_ONCE = 2_000_000
# the k-th look at the same test rows may spend a share k ** -DECAY / ALL_LOOKS of the error: slow enough for
# a better model at the twentieth look, and the shares of all looks sum to 1 (Riemann's zeta at 1.5)
DECAY = 1.5
ALL_LOOKS = 2.6123753486854883
# shares of what the constant loses, and AUC above one half: a first model that cannot gain as much is no gain
USEFUL_GAIN = 0.05
USEFUL_RANKING = 0.02
WORST_LOSS = float(-np.log(scores.CERTAIN))
SMALLEST = 1e-300
TEST, NEWEST = "test rows", "newest rows"
ROC_AUC, LOG_LOSS = "roc_auc", "log_loss"
WORDS = {ROC_AUC: "AUC", LOG_LOSS: "log loss"}
DIGITS = {ROC_AUC: 3, LOG_LOSS: 4}
OUT_OF_FOLD = "The out-of-fold figures of its training decide; add labelled rows to the test data."


@dataclass(frozen=True)
class Difference:
    """Challenger minus champion, the interval around it, and one-sided p-values.

    `better` is the p-value against "the challenger is not better", `worse` that against "it is not worse".
    """

    value: float
    low: float
    high: float
    better: float
    worse: float


@dataclass(frozen=True)
class Compared:
    """Two models on the same rows; log loss in nats, lower is better.

    `tells` is whether there are enough clients of either outcome to prove anything. `champion` and
    `challenger` hold roc_auc, log_loss and f1 of each; F1 is for information.
    """

    rows: int
    clients: int
    confidence: float
    tells: bool
    roc_auc: Difference
    log_loss: Difference
    champion: Mapping[str, float]
    challenger: Mapping[str, float]


Sets = Mapping[str, Compared]


@dataclass(frozen=True)
class Decision:
    """`spent` is what this look took of the error 1 - confidence that all looks at the same test rows share.

    Where it is 0 the test rows were not looked at, and the look does not count.
    """

    promote: bool
    reason: str
    spent: float


@dataclass(frozen=True)
class First:
    """Whether a first model may be released, and whether that is `proven` or only not refuted."""

    release: bool
    proven: bool
    reason: str
    compared: Compared | None


def compare(
    outcome: Floats,
    clients: NDArray[Any],
    champion: Floats,
    challenger: Floats,
    seed: int,
    confidence: float,
    thresholds: tuple[float, float] = (0.5, 0.5),
) -> Compared | None:
    """Both models' probabilities of leaving on rows that neither was trained on; shape (rows,) each.

    `outcome` is 1.0 left or 0.0 stayed, `clients` the ids, `thresholds` those of champion and challenger for
    F1. Where fewer than FEWEST clients left or stayed, both p-values are 1 and the interval is all that is
    possible. None where there are no rows or one outcome only.
    """
    if len(np.unique(outcome)) < 2:
        return None
    client = np.unique(clients, return_inverse=True)[1]
    models = (champion, challenger)
    tells = all(len(np.unique(client[outcome == label])) >= FEWEST for label in (0, 1))
    areas = [roc_auc(outcome, each) for each in models]
    losses = [scores.log_losses(outcome, _log_odds(each)) for each in models]
    f1 = [_f1(outcome, each, threshold) for each, threshold in zip(models, thresholds, strict=True)]
    figures = [
        {"roc_auc": area, "log_loss": float(loss.mean()), "f1": score}
        for area, loss, score in zip(areas, losses, f1, strict=True)
    ]
    gained = areas[1] - areas[0]
    level = (1 - confidence) / 2
    if tells:
        found = _from_t(gained, *_auc_influence(outcome, client, champion, challenger), level)
        ranking = replace(found, low=max(found.low, -1.0), high=min(found.high, 1.0))
        loss = _loss_difference(losses[1] - losses[0], client, seed, level)
    else:
        ranking = Difference(gained, -1.0, 1.0, 1.0, 1.0)
        change = float(np.mean(losses[1] - losses[0]))
        loss = Difference(change, -WORST_LOSS, WORST_LOSS, 1.0, 1.0)
    rows, counted = len(outcome), int(client.max()) + 1
    return Compared(rows, counted, confidence, tells, ranking, loss, *figures)


def roc_auc(outcome: Floats, probability: Floats) -> float:
    """Share of pairs, one who left and one who stayed, in the right order; equal ones count half."""
    return float(_placements(outcome, probability)[outcome == 1].mean())


def auc_error(outcome: Floats, clients: NDArray[Any], champion: Floats, challenger: Floats) -> float:
    """Standard error of the challenger's ROC AUC minus the champion's; shapes (rows,).

    DeLong, DeLong & Clarke-Pearson (1988) by midranks (Sun & Xu 2014), clustered by client (Obuchowski
    1997). Of fewer than two clients of an outcome it is infinite.
    """
    client = np.unique(clients, return_inverse=True)[1]
    if min(len(np.unique(client[outcome == label])) for label in (0, 1)) < 2:
        return float("inf")
    influence, _ = _auc_influence(outcome, client, champion, challenger)
    return float(np.sqrt(np.sum(influence**2)))


def beats_constant(
    outcome: Floats,
    clients: NDArray[Any],
    probability: Floats,
    rate: float,
    seed: int,
    confidence: float,
) -> First:
    """Whether a first model beats giving every client the training `rate` of leaving; shapes (rows,).

    Refused where the rows tell that it is no better: its log loss is not lower and the interval leaves no
    gain of USEFUL_GAIN, or its AUC is not above one half and the interval leaves no more than
    USEFUL_RANKING. Proven where both intervals lie on the better side. Everything between is released as
    not proven: then the out-of-fold figures of training decide.
    """
    found = compare(outcome, clients, np.full(len(outcome), rate), probability, seed, confidence)
    if found is None or not found.tells:
        few = f"The rows cannot tell whether the new model beats a constant: {_too_few(TEST, found)}."
        return First(True, False, f"{few} {OUT_OF_FOLD}", found)
    loss, ranking = found.log_loss, found.roc_auc
    told = " and ".join(_told(name, found) for name in (LOG_LOSS, ROC_AUC))
    told = f"{told} than with {rate:.1%} for everybody, on {_counted(TEST, found)}"
    no_gain = loss.value >= 0 and loss.low >= -USEFUL_GAIN * found.champion[LOG_LOSS]
    no_ranking = ranking.value <= 0 and ranking.high <= USEFUL_RANKING
    if no_gain or no_ranking:
        refused = f"The new model is not released, since it is no better than a constant: {told}."
        return First(False, False, f"{refused} Add columns that tell who leaves, or more clients.", found)
    if loss.high < 0 and ranking.low > 0:
        return First(True, True, f"The new model beats a constant: {told}.", found)
    return First(
        True, False, f"That the new model beats a constant is not proven: {told}. {OUT_OF_FOLD}", found
    )


def decide(
    newest: Compared | None,
    test: Compared | None,
    *,
    alarmed: bool,
    looks: int,
    margin: float,
    confidence: float,
) -> Decision:
    """Whether the challenger replaces the champion.

    `newest` are the newest labelled rows held out of the challenger's training, `test` the test data; None
    where they cannot be compared. `looks` counts earlier comparisons on the same test rows, `margin` is in
    nats of log loss, `alarmed` is whether the champion is known to have drifted.

    Promoted where AUC or log loss is better, each with half of the error (1 - confidence) / 2, and neither
    is proven worse on either set of rows. The p-values of both sets are combined by Stouffer's weighted z
    (weights: root of clients), that of the test rows first divided by the share this look may spend: on test
    rows alone the chance to ever promote a challenger that is not better is below 1 - confidence, while
    newest rows, which are new each time, keep their full strength. Clients of both sets count as independent.

    After an alarm a challenger is promoted whose log loss is not higher by more than `margin` and that is not
    proven worse: on the newest rows alone; on the test rows where the newest are too few to tell; on both
    together where both are.
    """
    sets = {name: each for name, each in ((TEST, test), (NEWEST, newest)) if each is not None}
    telling = {name: each for name, each in sets.items() if each.tells}
    if alarmed:
        judged = {name: telling[name] for name in (NEWEST, TEST) if name in telling}
        judged = dict([next(iter(judged.items()))]) if judged else sets
        promote, reason = _after_alarm(judged, margin, confidence)
    elif telling:
        judged = telling
        promote, reason = _better(judged, looks, confidence)
    else:
        judged = {}
        few = " and ".join(_too_few(name, each) for name, each in ((TEST, test), (NEWEST, newest)))
        promote, reason = False, f"The new model is kept aside, since nothing can be told: {few}."
    spent = (1 - confidence) * share_of_look(looks) if TEST in judged and TEST in telling else 0.0
    return Decision(promote, reason, spent)


def share_of_look(looks: int) -> float:
    """Share of the error 1 - confidence that a look at the test rows after `looks` earlier ones may spend."""
    return float((looks + 1) ** -DECAY / ALL_LOOKS)


def _better(judged: Sets, looks: int, confidence: float) -> tuple[bool, str]:
    level = (1 - confidence) / 2
    if worse := _proven_worse(judged, level):
        return False, f"The new model is kept aside, since it is worse: {worse}."
    for figure in (ROC_AUC, LOG_LOSS):
        proofs = {name: _difference(each, figure).better for name, each in judged.items()}
        if TEST in proofs:
            # a look alone has half of the error 1 - confidence, all looks together have the whole of it
            proofs[TEST] = _spent(proofs[TEST], 2 * share_of_look(looks))
        if _stouffer(proofs, judged) <= level / 2:
            return True, f"The new model is deployed: {_on_each(figure, judged)}."
    figures = "; ".join(_on_each(figure, judged) for figure in (ROC_AUC, LOG_LOSS))
    again = f". Look {looks + 1} at the same test rows asks for more than the first"
    asked = again if looks and TEST in judged else ""
    return False, f"The new model is kept aside, since it is not proven better: {figures}{asked}."


def _after_alarm(judged: Sets, margin: float, confidence: float) -> tuple[bool, str]:
    kept = "The live model has drifted, but the new one is kept aside"
    if not judged:
        nothing = "no labelled rows of both outcomes are there to compare them on. Add some to the test data"
        return False, f"{kept}: {nothing}."
    figures = _on_each(LOG_LOSS, judged)
    if not all(each.tells for each in judged.values()):
        figures += ", too few to prove anything"
    if worse := _proven_worse(judged, (1 - confidence) / 2):
        return False, f"{kept}, since it is worse: {worse}."
    rows = sum(each.rows for each in judged.values())
    change = sum(each.log_loss.value * each.rows for each in judged.values()) / rows
    if change > margin:
        return False, f"{kept}: {figures}."
    if change > 0:
        figures += f", within the margin of {margin:g}"
    return True, f"The live model has drifted and the new one, which is not worse, is deployed: {figures}."


def _proven_worse(judged: Sets, level: float) -> str:
    """The first figure that is proven worse on some set of rows, in words, or nothing."""
    worse = [
        f"{_told(figure, each)} on {_counted(name, each)}"
        for name, each in judged.items()
        for figure in (ROC_AUC, LOG_LOSS)
        if _difference(each, figure).worse <= level
    ]
    return worse[0] if worse else ""


def _spent(p_value: float, share: float) -> float:
    """The p-value paid for; a used-up budget makes rows count for nothing (one half), never against."""
    return max(p_value, min(0.5, p_value / share))


def _stouffer(p_values: Mapping[str, float], judged: Sets) -> float:
    """One p-value of independent sets of rows, weighted by the root of their clients (Stouffer 1949)."""
    from scipy.special import ndtr, ndtri

    weights = np.sqrt([judged[name].clients for name in p_values])
    z = ndtri(np.clip(list(p_values.values()), SMALLEST, 1 - scores.CERTAIN))
    return float(ndtr(weights @ z / np.sqrt(np.sum(weights**2))))


def _difference(found: Compared, figure: str) -> Difference:
    return found.roc_auc if figure == ROC_AUC else found.log_loss


def _on_each(figure: str, judged: Sets) -> str:
    told = (f"{_change(figure, each)} on {_counted(name, each)}" for name, each in judged.items())
    return f"{WORDS[figure]} is {' and '.join(told)}"


def _told(figure: str, found: Compared) -> str:
    return f"{WORDS[figure]} is {_change(figure, found)}"


def _change(figure: str, found: Compared) -> str:
    each = _difference(found, figure)
    digits = DIGITS[figure]
    way = "higher" if each.value > 0 else "lower"
    by = f"{way} by {abs(each.value):.{digits}f}" if each.value else "the same"
    interval = f"{found.confidence:.0%} interval {each.low:+.{digits}f} to {each.high:+.{digits}f}"
    return f"{by} ({interval})" if found.tells else by


def _counted(name: str, found: Compared) -> str:
    return f"{found.rows:,} {name}"


def _too_few(name: str, found: Compared | None) -> str:
    if found is None:
        return f"no {name} of both outcomes"
    return f"{_counted(name, found)} hold fewer than {FEWEST} clients who left or who stayed"


def _auc_influence(
    outcome: Floats, client: NDArray[np.intp], champion: Floats, challenger: Floats
) -> tuple[Floats, Floats]:
    """What each client adds to the error of the difference of AUC, whose square is the sum of their squares.

    Besides: what a client of either outcome would add on whom the models agree, shape (2,).
    """
    left = outcome == 1
    gained = _placements(outcome, challenger) - _placements(outcome, champion)
    mean = gained[left].mean()
    influence = np.zeros(client.max() + 1)
    unseen = []
    for rows in (left, ~left):
        clients = len(np.unique(client[rows]))
        share = np.where(rows, gained - mean, 0.0) / rows.sum()
        influence += np.sqrt(clients / (clients - 1)) * np.bincount(client, weights=share)
        unseen.append(mean / clients)
    return influence, np.array(unseen)


def _placements(outcome: Floats, probability: Floats) -> Floats:
    """For who left the share of stayers below, for who stayed that of leavers above; equal ones half."""
    left = outcome == 1
    of_all = _midranks(probability)
    own = np.empty(len(outcome))
    for rows in (left, ~left):
        own[rows] = _midranks(probability[rows])
    others = np.where(left, (~left).sum(), left.sum())
    below = (of_all - own) / others
    return np.where(left, below, 1 - below)


def _midranks(values: Floats) -> Floats:
    """Ranks from 1 on; equal values share the mean of theirs."""
    _, at, count = np.unique(values, return_inverse=True, return_counts=True)
    return (count.cumsum() - (count - 1) / 2)[at]


def _loss_difference(change: Floats, client: NDArray[np.intp], seed: int, level: float) -> Difference:
    """Mean change of the log loss over rows; `better` is the p-value against a change that is not below 0.

    The more cautious of Student's t and a studentised bootstrap that draws clients (Efron & Tibshirani 1993,
    chapter 12): the bootstrap sees the skewness that few confident mistakes make, t the tails that a
    thousand draws do not reach.
    """
    rows = np.bincount(client)
    sums = np.bincount(client, weights=change)
    mean, clients = float(change.mean()), len(rows)
    influence = (sums - mean * rows) / len(change) * np.sqrt(clients / (clients - 1))
    unseen = np.array([mean / clients])
    found = _turned(_from_t(-mean, -influence, unseen, level))
    error = float(np.sqrt(np.sum(influence**2) + np.sum(unseen**2)))
    if error == 0:
        return found
    drawn = _drawn_t(rows, sums, mean, seed)
    below, above = np.quantile(drawn, [level, 1 - level]).tolist()
    return Difference(
        mean,
        min(found.low, mean - above * error),
        max(found.high, mean - below * error),
        max(found.better, float(np.mean(drawn <= mean / error))),
        max(found.worse, float(np.mean(drawn >= mean / error))),
    )


def _drawn_t(rows: NDArray[Any], sums: NDArray[Any], mean: float, seed: int) -> Floats:
    """Resampled mean minus the mean over its own error, shape (RESAMPLES,)."""
    random = np.random.default_rng(seed)
    clients = len(rows)
    columns = np.column_stack([rows, sums, rows * rows, rows * sums, sums * sums])
    at_once = max(1, CELLS_AT_ONCE // clients)
    drawn = []
    for start in range(0, RESAMPLES, at_once):
        draws = min(at_once, RESAMPLES - start)
        picked = random.integers(clients, size=(draws, clients)) + clients * np.arange(draws)[:, None]
        counts = np.bincount(picked.ravel(), minlength=draws * clients).reshape(draws, clients)
        count, total, rows_2, both, sums_2 = (counts @ columns).T
        means = total / count
        squares = np.maximum(sums_2 - 2 * means * both + means**2 * rows_2, 0.0) / count**2
        drawn.append((means - mean) / np.sqrt(squares * clients / (clients - 1) + (mean / clients) ** 2))
    return np.concatenate(drawn)


def _turned(found: Difference) -> Difference:
    """The same difference where lower is better."""
    return Difference(-found.value, -found.high, -found.low, found.better, found.worse)


def _from_t(value: float, influence: Floats, unseen: Floats, level: float) -> Difference:
    """Student's t; as many degrees of freedom as clients matter: (sum of squares)^2 / sum of fourth powers.

    `unseen` are clients not drawn, on whom the models agree: else ten equal gains would have no error.
    """
    from scipy.special import stdtr, stdtrit

    squares = np.concatenate([influence, unseen]) ** 2
    error = float(np.sqrt(squares.sum()))
    if error == 0:
        return Difference(value, value, value, 0.5, 0.5)
    shares = squares / squares.sum()
    freedom = 1 / np.sum(shares**2)
    reach = float(stdtrit(freedom, 1 - level)) * error
    t = value / error
    better, worse = float(stdtr(freedom, -t)), float(stdtr(freedom, t))
    return Difference(value, value - reach, value + reach, better, worse)


def _log_odds(probability: Floats) -> Floats:
    certain = np.clip(probability, scores.CERTAIN, 1 - scores.CERTAIN)
    return np.clip(np.log(certain / (1 - certain)), -WORST_LOSS, WORST_LOSS)


def _f1(outcome: Floats, probability: Floats, threshold: float) -> float:
    cells = scores.confusion(outcome, probability, threshold)
    hit, missed, needless = (cells[name] for name in ("true_positive", "false_negative", "false_positive"))
    return 2 * hit / (2 * hit + missed + needless)
