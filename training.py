"""Fit the candidates on the ingested data, keep the best, and describe what it was fitted on.

Reads   the current generation of ingesteddata/: finaldata.csv, ingestedfiles.txt
Writes  trainedmodel.pkl, scorecard.json, and last model.json, which names the sha256 of the other two

With too little to learn from, or with a column that gives the outcome away where training.on_leak is "stop",
it refuses and the older model stays.

Example: python training.py --json
"""

import hashlib
import pickle
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from attrition import contract as contracts
from attrition import files, generations, publisher, stage
from attrition.config import Config
from attrition.contract import Contract
from attrition.errors import DataError
from attrition.publisher import Edition
from attrition.settings import Clients, FromCost, FromFixed, Risk

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from attrition.candidates import Contest, Contestant

    Floats = NDArray[np.float64]

FEWEST_ROWS = 10
THRESHOLD_WITHOUT_FOLDS = 0.5

# a column that ranks leavers this well all alone was most likely written down after they left
LEAK_AUC = 0.98
# blanks in one class only are no chance below this: 11 blanks of 7,043 rows may well all be stayers
LEAK_CHANCE = 0.001
# a category with more values than this share of the clients names the client
ID_LIKE_SHARE = 0.5


@dataclass(frozen=True)
class Trained:
    """What came of one training. Refused: there is no model, and the first warning says why."""

    model: str | None
    rows: int
    left: int
    candidates: "Sequence[Contestant]"
    warnings: Sequence[str]
    status: str = "done"

    def __str__(self) -> str:
        if self.status == "refused":
            return f"No model was trained, what was there stays: {self.warnings[0]}."
        won = next(contestant for contestant in self.candidates if contestant.name == self.model)
        by = "the first candidate"
        if won.log_loss is not None:
            by = f"log loss {won.log_loss:.4f} ± {won.log_loss_se:.4f} out of fold"
        noted = f" Mind: {'; '.join(self.warnings)}." if self.warnings else ""
        return f"{self.model} won ({by}), fitted on {self.rows:,} rows of which {self.left:,} left.{noted}"


@dataclass(frozen=True)
class Labelled:
    """Rows with a known outcome: table, outcome (1.0 left, 0.0 stayed) and client ids, row by row."""

    table: "pd.DataFrame"
    outcome: "Floats"
    client: "NDArray[Any]"

    def only(self, kept: "NDArray[np.bool_]") -> "Labelled":
        return Labelled(self.table[kept].reset_index(drop=True), self.outcome[kept], self.client[kept])


def run(config: Config) -> Trained:
    clock = time.monotonic()
    training, risk = config.settings.training, config.settings.risk
    contract = contracts.compiled(config.clients)
    generation = generations.require_current(config)
    ingested_files = publisher.read_verified(generations.shelf(config), generation, "ingestedfiles.txt")
    table = read_table(contract, generation)

    known = labelled(config.clients, table)
    rows = sample(known, training.max_rows, training.seed)
    if reason := reason_not_to_train(rows):
        return refused(rows, [reason])
    leaks = list(leak_alarms(config.clients, rows))
    if leaks and training.on_leak == "stop":
        return refused(rows, leaks)
    contest = compete(config, rows)
    threshold = choose_threshold(risk, contest, rows, active_clients(config.clients, table))
    warnings = [
        *leaks,
        *sample_warnings(rows, known, training.max_rows),
        *fold_warnings(contest, training.folds),
    ]
    facts = {
        **describe(rows, known, contest, warnings),
        "threshold": {"value": threshold, "from": risk.threshold.from_},
        "seed": training.seed,
        "ingested": generation.id,
        "ingested_files": ingested_files.decode("utf-8", "surrogateescape"),
        "contract": contract.fingerprint,
        "seconds": round(time.monotonic() - clock, 3),
    }
    write(config, contest, scorecard_text(contract, rows, contest, threshold, risk), facts)
    left = int(rows.outcome.sum())
    return Trained(contest.model.name, len(rows.outcome), left, contest.contestants, warnings)


def read_table(contract: Contract, generation: Edition) -> "pd.DataFrame":
    if generation.manifest.get("contract", contract.fingerprint) != contract.fingerprint:
        raise DataError(
            f"{generation.folder}: clients in config.json changed after this was ingested. "
            "Run: python ingestion.py"
        )
    return generations.table(contract, generation)


def labelled(clients: Clients, table: "pd.DataFrame") -> Labelled:
    import numpy as np

    outcome = contracts.outcomes(clients, table)
    ids = table[clients.id].to_numpy(dtype=object)
    return Labelled(table, outcome, ids).only(~np.isnan(outcome))


def sample(known: Labelled, most: int, seed: int) -> Labelled:
    """All rows; above `most` those of clients drawn at random, in their order."""
    import numpy as np

    if len(known.outcome) <= most:
        return known
    client = np.unique(known.client, return_inverse=True)[1]
    rows_of = np.bincount(client)
    drawn = np.random.default_rng(seed).permutation(len(rows_of))
    chosen = np.zeros(len(rows_of), dtype=bool)
    chosen[drawn[np.cumsum(rows_of[drawn]) <= most]] = True
    return known.only(chosen[client])


def reason_not_to_train(rows: Labelled) -> str | None:
    count, left = len(rows.outcome), int(rows.outcome.sum())
    if count < FEWEST_ROWS:
        return f"only {count} rows have a known outcome, and at least {FEWEST_ROWS} are needed"
    if left in (0, count):
        told = "left" if left else "stayed"
        return f"all {count:,} rows with a known outcome {told}, and it takes both kinds to tell them apart"
    return None


def refused(rows: Labelled, warnings: Sequence[str]) -> Trained:
    return Trained(None, len(rows.outcome), int(rows.outcome.sum()), [], warnings, status="refused")


def leak_alarms(clients: Clients, rows: Labelled) -> Iterator[str]:
    """Columns that know the outcome too well to have been known before it, a sentence each."""
    for column in clients.features:
        is_category = column in clients.categorical
        values = rows.table[column]
        blank = ((values == "") if is_category else values.isna()).to_numpy()
        numbers = rates_of_others(rows, column) if is_category else values.to_numpy()
        alarm = (
            blank_alarm(column, blank, rows.outcome)
            or (id_alarm(column, values[~blank].nunique(), len(set(rows.client))) if is_category else None)
            or auc_alarm(column, numbers[~blank], rows.outcome[~blank])
        )
        if alarm:
            yield alarm


def blank_alarm(column: str, blank: "NDArray[np.bool_]", outcome: "Floats") -> str | None:
    count = int(blank.sum())
    for told, mine in (("left", outcome == 1), ("stayed", outcome == 0)):
        if count and not blank[~mine].any() and mine.mean() ** count <= LEAK_CHANCE:
            return (
                f"{column} is blank only in rows that {told} ({count:,} of them): was it filled in afterwards"
            )
    return None


def id_alarm(column: str, different: int, clients: int) -> str | None:
    if different <= ID_LIKE_SHARE * clients:
        return None
    return (
        f"{column} has {different:,} values among {clients:,} clients: it names them, it does not group them"
    )


def auc_alarm(column: str, values: "Floats", outcome: "Floats") -> str | None:
    from sklearn.metrics import roc_auc_score

    if len(set(outcome)) < 2:
        return None
    auc = roc_auc_score(outcome, values)
    if max(auc, 1 - auc) <= LEAK_AUC:
        return None
    return f"{column} alone tells who left (ROC AUC {max(auc, 1 - auc):.3f}): is it known before they leave"


def rates_of_others(rows: Labelled, column: str) -> "Floats":
    """For each row its category's rate of leaving among the other half of the clients, shape (rows,)."""
    import numpy as np
    import pandas as pd

    half = np.unique(rows.client, return_inverse=True)[1] % 2
    rates = np.empty(len(half))
    for here in (0, 1):
        mine = half == here
        others = pd.Series(rows.outcome[~mine]).groupby(rows.table[column].to_numpy()[~mine]).mean()
        rates[mine] = rows.table[column][mine].map(others).astype(float).fillna(rows.outcome.mean())
    return rates


def compete(config: Config, rows: Labelled) -> "Contest":
    from attrition import candidates

    training = config.settings.training
    return candidates.contest(
        config.clients, rows.table, rows.outcome, rows.client, training.folds, training.seed
    )


def active_clients(clients: Clients, table: "pd.DataFrame") -> int:
    """Clients whose latest row does not say that they left."""
    newest = table.drop_duplicates(clients.id, keep="last")
    return int((contracts.outcomes(clients, newest) != 1).sum())


def choose_threshold(risk: Risk, contest: "Contest", rows: Labelled, active: int) -> float:
    """Probability from which on a client is predicted to leave; learnt from out-of-fold ones only."""
    if isinstance(risk.threshold, FromFixed):
        return risk.threshold.value
    if contest.log_odds is None:
        return THRESHOLD_WITHOUT_FOLDS
    choose = THRESHOLDS[risk.threshold.from_]
    return choose(cuts(contest.log_odds, rows.outcome), risk, active)


@dataclass(frozen=True)
class Cuts:
    """Every way to divide rows by a threshold, the highest first: it flags none; shape (cuts,) each.

    `flagged` rows reach the threshold, `hit` of them left; in all `rows` there are `left` who left.
    """

    threshold: "Floats"
    flagged: "NDArray[np.intp]"
    hit: "Floats"
    rows: int
    left: float


def cuts(log_odds: "Floats", outcome: "Floats") -> Cuts:
    """A threshold half way between each two neighbouring probabilities."""
    import numpy as np
    from scipy.special import expit

    different, at = np.unique(-log_odds, return_inverse=True)
    probability = np.concatenate([[1.0], expit(-different), [0.0]])
    flagged = np.concatenate([[0], np.cumsum(np.bincount(at))])
    hit = np.concatenate([[0.0], np.cumsum(np.bincount(at, weights=outcome))])
    return Cuts((probability[:-1] + probability[1:]) / 2, flagged, hit, len(outcome), float(outcome.sum()))


def best_f1(cuts: Cuts, risk: Risk, active: int) -> float:
    return float(cuts.threshold[(2 * cuts.hit / (cuts.flagged + cuts.left)).argmax()])


def least_cost(cuts: Cuts, risk: Risk, active: int) -> float:
    price = risk.threshold
    assert isinstance(price, FromCost)
    missed, needless = cuts.left - cuts.hit, cuts.flagged - cuts.hit
    return float(cuts.threshold[(price.missed * missed + price.needless * needless).argmin()])


def as_many_as_fit(cuts: Cuts, risk: Risk, active: int) -> float:
    """Flags the share of the rows that the team's capacity is of the active clients."""
    share = min(1.0, risk.capacity / max(1, active))
    return float(cuts.threshold[cuts.flagged <= share * cuts.rows][-1])


THRESHOLDS: dict[str, Callable[[Cuts, Risk, int], float]] = {
    "f1": best_f1,
    "cost": least_cost,
    "capacity": as_many_as_fit,
}


def sample_warnings(rows: Labelled, known: Labelled, most: int) -> list[str]:
    taken, all_rows = len(rows.outcome), len(known.outcome)
    if taken == all_rows:
        return []
    return [
        f"trained on {taken:,} of {all_rows:,} labelled rows, whole clients drawn at random "
        f"(training.max_rows is {most:,})"
    ]


def fold_warnings(contest: "Contest", wanted: int) -> list[str]:
    if contest.folds == 0:
        return [
            "too few clients of one kind to cross-validate: the first candidate was taken as it is, "
            f"uncalibrated, and the threshold is {THRESHOLD_WITHOUT_FOLDS:g} unless it is fixed"
        ]
    if contest.folds < wanted:
        return [f"{contest.folds} folds instead of {wanted}: there are no more clients of one kind"]
    return []


def describe(
    rows: Labelled, known: Labelled, contest: "Contest", warnings: Sequence[str]
) -> dict[str, object]:
    from attrition import candidates

    model, sampled = contest.model, len(rows.outcome) < len(known.outcome)
    return {
        "model": model.name,
        "rows": len(rows.outcome),
        "left": int(rows.outcome.sum()),
        "clients": len(set(rows.client)),
        "window": "a sample of all labelled rows" if sampled else "all labelled rows",
        "trained_at": stage.now(),
        "candidates": [asdict(contestant) for contestant in contest.contestants],
        "calibration": {"slope": model.slope, "intercept": model.intercept, "kept": contest.calibrated},
        "warnings": list(warnings),
        "libraries": candidates.libraries(),
    }


def scorecard_text(
    contract: Contract, rows: Labelled, contest: "Contest", threshold: float, risk: Risk
) -> str:
    from attrition import scorecard

    card = scorecard.from_model(contest.model, contract, rows.table, rows.outcome, threshold, risk)
    return files.as_json(card) + "\n"


def write(config: Config, contest: "Contest", scorecard: str, facts: Mapping[str, object]) -> None:
    pickled, card = pickle.dumps(contest.model), scorecard.encode()
    sha256 = {
        config.trained_model.name: hashlib.sha256(pickled).hexdigest(),
        config.scorecard.name: hashlib.sha256(card).hexdigest(),
    }
    if config.dry_run:
        return
    files.write_bytes(config.trained_model, pickled)
    files.write_bytes(config.scorecard, card)
    files.write_json(config.model_description, {**facts, "sha256": sha256})


def main() -> int:
    return stage.enter("training", __doc__, run)


if __name__ == "__main__":
    raise SystemExit(main())
