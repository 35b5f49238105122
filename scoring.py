"""Score the trained model on the test data: rows of other clients that it was not fitted on.

Reads   trainedmodel.pkl, scorecard.json, model.json, every *.csv of the test data folder, the ingested data
        of the training
Writes  testpredictions.csv, scores.json, modelcard.md and .json, and last latestscore.txt: the F1 score alone

Example: python scoring.py --json
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from attrition import contract as contracts
from attrition import files, generations, modelcard, publisher, signing, sources, stage, tables, unpickling
from attrition.config import Config
from attrition.contract import Contract, Rejected
from attrition.errors import DataError
from attrition.generations import Pieces
from attrition.sources import Found, StillWritten, Unreadable

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from attrition.candidates import Model
    from attrition.scores import Figure

    Floats = NDArray[np.float64]

FAULTS_SHOWN = 5
# below about this many leavers an interval is wide, and a person should hear of it
FEW_LEAVERS = 100
HOLD_OUT = "have some held out of a file of yours: python ingestion.py --hold-out FILE"


@dataclass(frozen=True)
class Scored:
    """The figures of a model on the test data; None where one kind of client only makes it undefined."""

    rows: int
    f1: float
    precision: float | None
    recall: float | None
    roc_auc: float | None
    pr_auc: float | None
    log_loss: float
    brier: float
    threshold: float
    f1_low: float | None = None
    f1_high: float | None = None
    status: str = "done"

    def __str__(self) -> str:
        auc = "" if self.roc_auc is None else f", ROC AUC {self.roc_auc:.3f}"
        return f"F1 {self.f1:.3f} at threshold {self.threshold:.3f}{auc} on {self.rows:,} test rows."


def run(config: Config) -> Scored:
    from attrition import drift, news, proof, scorecard, scores

    contract = contracts.compiled(config.clients)
    facts = read_description(config, contract)
    model = read_model(config, facts)
    table = read_test_rows(config, contract)
    training_rows = training_rows_of(config, contract, facts)

    outcome = contracts.outcomes(config.clients, table)
    probability = model.predict_proba(table)[:, 1]
    ids = table[config.clients.id].to_numpy(dtype=object)
    threshold, seed = facts["threshold"]["value"], config.settings.training.seed
    figures = scores.figures(outcome, probability, threshold, ids, seed)
    warnings = [*few_warnings(outcome), *shared_warnings(contract, table, training_rows)]
    scored = as_scored(config, len(outcome), threshold, figures)
    facts_of_score = {
        "model_sha256": facts["sha256"][config.trained_model.name],
        "scored_at": stage.now(),
        "rows": len(outcome),
        "left": int(outcome.sum()),
        "threshold": threshold,
        "threshold_from": facts["threshold"]["from"],
        "scorecard_apart": proof.apart(scorecard.load(read_card(config, facts)), model, table),
        "figures": {name: asdict(figure) if figure else None for name, figure in figures.items()},
        "confusion": scores.confusion(outcome, probability, threshold),
        "calibration": scores.calibration(outcome, probability),
        "test_rows": news.test_rows(config),
        "losses": drift.counted(outcome, probability, threshold),
        "deciles": scores.deciles(outcome, probability, ids, seed),
        "precision_recall": scores.precision_recall(outcome, probability),
        "distribution": scores.distribution(outcome, probability),
        "warnings": warnings,
    }
    card = modelcard.facts(config.settings.model_card, facts, facts_of_score)
    predictions = prediction_text(ids, outcome, probability, threshold)
    if not config.dry_run:
        files.write_text(config.test_predictions, predictions)
        files.write_json(config.scores, facts_of_score)
        files.write_json(config.model_card_facts, card)
        files.write_text(config.model_card, modelcard.markdown(card))
        files.write_text(config.latest_score, f"{scored.f1}\n")
    return scored


def read_description(config: Config, contract: Contract) -> dict[str, Any]:
    """model.json, or a DataError where it is missing, damaged, not signed, or made under another contract."""
    try:
        facts = signing.description(config, config.model_description.read_bytes())
    except FileNotFoundError:
        raise DataError(
            f"{config.model_description}: no model was trained yet. Run: python training.py"
        ) from None
    if facts["contract"] != contract.fingerprint:
        raise DataError(
            f"{config.model_description}: clients in config.json changed after this training. "
            "Run: python ingestion.py, then python training.py"
        )
    return facts


def read_model(config: Config, facts: Mapping[str, Any]) -> "Model":
    """The pickled model; it is unpickled only where it is what training wrote with this scikit-learn."""
    from attrition import candidates

    try:
        pickled = config.trained_model.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{config.trained_model}: there is no such file. Run: python training.py") from None
    if hashlib.sha256(pickled).hexdigest() != facts["sha256"][config.trained_model.name]:
        raise DataError(
            f"{config.trained_model}: this is not the model that {config.model_description.name} describes. "
            "Run: python training.py"
        )
    made_by, here = facts["libraries"]["scikit-learn"], candidates.libraries()["scikit-learn"]
    if made_by != here:
        raise DataError(
            f"{config.trained_model}: it was made by scikit-learn {made_by}, and {here} is installed. "
            "Run: python training.py"
        )
    model: Model = unpickling.loads(pickled, config.trained_model)
    return model


def read_card(config: Config, facts: Mapping[str, Any]) -> bytes:
    """The scorecard that training wrote beside the model."""
    try:
        card = config.scorecard.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{config.scorecard}: there is no such file. Run: python training.py") from None
    if hashlib.sha256(card).hexdigest() != facts["sha256"][config.scorecard.name]:
        raise DataError(f"{config.scorecard}: this is not what training wrote. Run: python training.py")
    return card


def read_test_rows(config: Config, contract: Contract) -> "pd.DataFrame":
    """The labelled rows of the test data folder, or a DataError that names file, line and fault."""
    import numpy as np
    import pandas as pd

    folder = config.test_folder
    try:
        found = sources.find(folder)
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(
            f"{folder}: there is no such folder. Correct test_data_path in config.json, or {HOLD_OUT}."
        ) from None
    if not found:
        raise DataError(
            f"{folder}: there is no test data (*.csv) in it. Put labelled rows of other clients there, "
            f"or {HOLD_OUT}."
        )
    table = pd.concat([read_judged(contract, file) for file in found], ignore_index=True)
    labelled = ~np.isnan(contracts.outcomes(contract.clients, table))
    if not labelled.any():
        raise DataError(
            f"{folder}: none of its {len(table):,} rows says in {contract.clients.target} whether the client "
            "left. Put labelled rows there."
        )
    return table[labelled].reset_index(drop=True)


def read_judged(contract: Contract, file: Found) -> "pd.DataFrame":
    try:
        judged = contracts.judge_dataset(contract, sources.read(file))
    except Unreadable as fault:
        raise DataError(f"{file.path}: {fault.sentence}. Correct the file, or move it away.") from None
    except StillWritten:
        raise DataError(f"{file.path}: it is still being written. Run again when it is complete.") from None
    if judged.rejected:
        raise DataError(rejection(file, judged.rejected))
    return contracts.frame(contract, judged.rows)


def rejection(file: Found, rejected: Sequence[Rejected]) -> str:
    first = rejected[0]
    if first.line is None:
        return f"{file.path}: {first.problem.message}. Correct the file, or move it away."
    shown = "; ".join(f"line {fault.line}: {fault.problem.message}" for fault in rejected[:FAULTS_SHOWN])
    rest = len(rejected) - FAULTS_SHOWN
    more = f"; and {rest:,} more" if rest > 0 else ""
    return f"{file.path}: {len(rejected):,} fault(s). Correct the file, or move it away. {shown}{more}."


def training_rows_of(config: Config, contract: Contract, facts: Mapping[str, Any]) -> Pieces | None:
    """The rows that were ingested when the model was trained; None where that generation is forgotten."""
    try:
        generation = publisher.read(generations.shelf(config), facts["ingested"])
    except DataError:
        return None
    return generations.pieces(contract, generation)


def few_warnings(outcome: "Floats") -> list[str]:
    left, rows = int(outcome.sum()), len(outcome)
    if left == rows:
        return [f"all {rows:,} test rows left: without clients who stayed ROC AUC and PR AUC are undefined"]
    if left < FEW_LEAVERS:
        return [f"only {left:,} of {rows:,} test rows left: every figure is uncertain, mind its interval"]
    return []


def shared_warnings(contract: Contract, table: "pd.DataFrame", training_rows: Pieces | None) -> list[str]:
    """Test rows that are in the training data too, or have a twin with the same outcome there."""
    import numpy as np
    from pandas.util import hash_pandas_object

    from attrition import twins

    if training_rows is None:
        return ["the data of this training is forgotten: rows shared with the test data cannot be found"]
    clients = contract.clients
    columns = [clients.id, *clients.numeric, *clients.categorical, clients.target]
    here = hash_pandas_object(table[columns], index=False)
    shared = np.zeros(len(table), dtype=bool)
    for piece in training_rows:
        shared |= np.isin(here, hash_pandas_object(piece[columns], index=False))
    warnings = []
    if shared.any():
        warnings.append(
            f"{int(shared.sum()):,} of {len(table):,} test rows are in the training data too: "
            "the figures flatter"
        )
    if twin := twins.with_one_outcome(table[~shared], training_rows, clients.features, clients.target):
        warnings.append(
            f"{twin:,} of {len(table):,} test rows are near-identical to a training row with their outcome: "
            "the figures flatter"
        )
    return warnings


def as_scored(config: Config, rows: int, threshold: float, figures: Mapping[str, "Figure | None"]) -> Scored:
    precision, recall, roc_auc, pr_auc, f1, log_loss, brier = (
        figure.value if (figure := figures[name]) else None
        for name in ("precision", "recall", "roc_auc", "pr_auc", "f1", "log_loss", "brier")
    )
    if f1 is None or log_loss is None or brier is None:
        raise DataError(
            f"{config.test_folder}: none of its {rows:,} labelled rows left, so there is no F1 score. "
            "Add rows of clients who left."
        )
    interval = figures["f1"]
    ends = (interval.low, interval.high) if interval else (None, None)
    return Scored(rows, f1, precision, recall, roc_auc, pr_auc, log_loss, brier, threshold, *ends)


def prediction_text(ids: "NDArray[Any]", outcome: "Floats", probability: "Floats", threshold: float) -> str:
    """testpredictions.csv: what came true, the probability of leaving, and what was predicted, 1 or 0."""
    predicted = (probability >= threshold).astype(int)
    rows = zip(ids, outcome.astype(int), probability.tolist(), predicted, strict=True)
    return tables.csv_text(["id", "outcome", "probability", "prediction"], rows)


def main() -> int:
    return stage.enter("scoring", __doc__, run)


if __name__ == "__main__":
    raise SystemExit(main())
