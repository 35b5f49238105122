"""Fit the candidates on the ingested data, keep the best, and describe what it was fitted on.

Reads   the current generation of ingesteddata/: finaldata.csv, ingestedfiles.txt
Writes  trainedmodel.pkl, scorecard.json, reference.json (what the rows and the losses looked like), and last
        model.json, which names the sha256 of the other three and is signed

With too little to learn from, or with a column that gives the outcome away where training.on_leak is "stop",
it refuses and the older model stays.

Example: python training.py --json
         python training.py --reproduce RELEASE
"""

import hashlib
import io
import json
import pickle
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from attrition import contract as contracts
from attrition import (
    files,
    generations,
    leaks,
    parallel,
    publisher,
    releases,
    signing,
    stage,
    thresholds,
    unpickling,
)
from attrition.config import Config
from attrition.contract import Contract
from attrition.errors import DataError
from attrition.generations import Pieces
from attrition.parallel import Crew
from attrition.publisher import Edition
from attrition.settings import Clients, Risk, Training

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from attrition.candidates import Model
    from attrition.contest import Contest, Contestant
    from attrition.sampling import Sample
    from attrition.suggestions import Suggestion

    Floats = NDArray[np.float64]

FEWEST_ROWS = 10


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
class Reproduced:
    """Whether a release's predictions came out equal to the last bit, or what differs."""

    release: str
    equal: bool
    rows: int
    differences: Sequence[str]
    status: str = "done"

    def __str__(self) -> str:
        if self.equal:
            return f"{self.release} is reproduced: {self.rows:,} predictions are equal to the last bit."
        return f"{self.release} is not reproduced: {'; '.join(self.differences)}."


@dataclass(frozen=True)
class Suggested:
    """Columns that would pay if they were derived, as lines to paste into config.json."""

    suggestions: "Sequence[Suggestion]"
    status: str = "done"

    def __str__(self) -> str:
        if not self.suggestions:
            return "No sum, difference or ratio of columns of like units pays out of fold."
        lines = [
            f"  {json.dumps(each.column)}: {json.dumps(each.formula)}   log loss falls by {each.gain:.4f} "
            f"({each.low:.4f} to {each.high:.4f})"
            for each in self.suggestions
        ]
        return "\n".join(["For clients.derived in config.json, the best first:", *lines])


@dataclass(frozen=True)
class Chosen:
    """The rows to train on; `known` is how many have an outcome and are neither held out nor too old."""

    rows: "Labelled"
    known: int
    labelled: int
    held_out: int
    window: str
    window_reason: str


@dataclass(frozen=True)
class Labelled:
    """Rows with a known outcome: table, outcome (1.0 left, 0.0 stayed) and client ids, row by row."""

    table: "pd.DataFrame"
    outcome: "Floats"
    client: "NDArray[Any]"

    def newest(self, rows: int) -> "Labelled":
        """The last `rows` rows: datasets stand in the order of their names, which is to be that of time."""
        first = max(0, len(self.outcome) - rows)
        return Labelled(self.table[first:].reset_index(drop=True), self.outcome[first:], self.client[first:])


def run(config: Config, newer_than: str | None = None) -> Trained:
    """`newer_than`: of the rows that came after this generation, some are held out for the comparison."""
    # a cluster that cannot be used is told before any work
    with parallel.crew(config.settings.parallel) as crew:
        return train(config, newer_than, crew)


def train(config: Config, newer_than: str | None, crew: Crew) -> Trained:
    from attrition import evidence

    clock = time.monotonic()
    signing.ready(config)
    training, risk = config.settings.training, config.settings.risk
    contract = contracts.compiled(config.clients)
    generation = generations.require_current(config)
    ingested_files = publisher.read_verified(generations.shelf(config), generation, "ingestedfiles.txt")
    table = read_table(contract, generation)

    chosen = choose(config, contract, table, training, newer_than)
    rows = chosen.rows
    if reason := reason_not_to_train(rows):
        return refused(rows, [reason])
    alarms = list(leaks.alarms(config.clients, rows.table, rows.outcome, rows.client))
    if alarms and training.on_leak == "stop":
        return refused(rows, alarms)
    contest = compete(config.clients, training, rows, crew)
    active = active_clients(config.clients, table)
    threshold = thresholds.choose(risk, contest.log_odds, rows.outcome, active)
    warnings = [
        *alarms,
        *sample_warnings(len(rows.outcome), chosen.known, training.max_rows),
        *fold_warnings(contest, training.folds),
    ]
    card = scorecard_text(contract, rows, contest, threshold, risk)
    facts = {
        **describe(rows, contest, warnings),
        **portrayed(card, contest, rows),
        "data": evidence.data(config.clients, table),
        "labelled": chosen.labelled,
        "sample": sampled(len(rows.outcome), chosen.known, training),
        "window": chosen.window,
        "window_reason": chosen.window_reason,
        "held_out": {"newer_than": newer_than, "rows": chosen.held_out},
        "threshold": {"value": threshold, "from": risk.threshold.from_},
        "seed": training.seed,
        "training": training.model_dump(mode="json"),
        "ingested": generation.id,
        "ingested_files": ingested_files.decode("utf-8", "surrogateescape"),
        "contract": contract.fingerprint,
        "seconds": round(time.monotonic() - clock, 3),
    }
    reference = reference_text(config.clients, rows, contest, threshold, training.seed)
    write(config, contest, card, reference, facts)
    left = int(rows.outcome.sum())
    return Trained(contest.model.name, len(rows.outcome), left, contest.contestants, warnings)


def suggest(config: Config) -> Suggested:
    """Derived columns that would pay; nothing is written."""
    from attrition import suggestions

    training = config.settings.training
    table = read_table(contracts.compiled(config.clients), generations.require_current(config))
    rows = labelled(config.clients, sample(config.clients, labelled_rows(config, table), training).table)
    if reason := reason_not_to_train(rows):
        raise DataError(f"{config.ingested_folder}: {reason}. Ingest more: python ingestion.py")
    return Suggested(
        suggestions.suggest(
            config.clients, rows.table, rows.outcome, rows.client, training.folds, training.seed
        )
    )


def reproduce(config: Config, release_id: str) -> Reproduced:
    """Train a release again from its recorded data, settings and seed, and compare every prediction."""
    import numpy as np

    from attrition import candidates

    release = releases.by_id(config, release_id)
    facts, contract = json.loads(release.read("model.json")), contracts.compiled(config.clients)
    if facts["contract"] != contract.fingerprint:
        return differs(release_id, ["clients in config.json are not those it was trained under"])
    try:
        generation = publisher.read(generations.shelf(config), facts["ingested"])
    except DataError:
        return differs(release_id, [f"its data, {facts['ingested']}, is not kept any more"])
    here = candidates.libraries()
    versions = [
        f"{name} was {then}, and is {here.get(name)}"
        for name, then in facts["libraries"].items()
        if here.get(name) != then
    ]
    settings = Training.model_validate_json(json.dumps(facts["training"]))
    table = read_table(contract, generation)
    chosen = choose(config, contract, table, settings, facts["held_out"]["newer_than"])
    if chosen.held_out != facts["held_out"]["rows"]:
        return differs(release_id, ["the data that its held-out rows are newer than is not kept any more"])
    with parallel.crew(config.settings.parallel) as crew:
        again = compete(config.clients, settings, chosen.rows, crew).model
    if "scikit-learn" in " ".join(versions):
        return differs(release_id, [*versions, "its pickle needs the scikit-learn that wrote it"])
    # its manifest is signed, and has their sha256: these are the bytes that training wrote
    before = unpickling.loads(release.read("trainedmodel.pkl"), release.edition.path("trainedmodel.pkl"))
    rows, changed, most = 0, 0, 0.0
    for piece in table:
        apart = np.abs(before.predict_proba(piece)[:, 1] - again.predict_proba(piece)[:, 1])
        rows, changed = rows + len(apart), changed + int(np.sum(apart != 0))
        most = max(most, float(apart.max(initial=0.0)))
    if not changed:
        return Reproduced(release_id, True, rows, [])
    told = f"{changed:,} of {rows:,} predictions, by {most:.3g} at most"
    return differs(release_id, [told, *versions], rows)


def differs(release_id: str, differences: Sequence[str], rows: int = 0) -> Reproduced:
    return Reproduced(release_id, False, rows, differences)


def read_table(contract: Contract, generation: Edition) -> Pieces:
    if generation.manifest.get("contract", contract.fingerprint) != contract.fingerprint:
        raise DataError(
            f"{generation.folder}: clients in config.json changed after this was ingested. "
            "Run: python ingestion.py"
        )
    return generations.pieces(contract, generation)


def choose(
    config: Config, contract: Contract, table: Pieces, training: Training, newer_than: str | None
) -> Chosen:
    """Rows with a known outcome, neither held out nor too old to pay, and at most training.max_rows."""
    from attrition import evidence, windows

    clients = config.clients
    aside = evidence.held_out(config, contract, table, newer_than)

    def drawn_from(first: int) -> "Sample":
        return sample(clients, labelled_rows(config, table, aside, first), training)

    drawn = drawn_from(0)
    rows, available = labelled(clients, drawn.table), drawn.of
    window = windows.choose(
        rows.table, rows.outcome, rows.client, clients.model_numbers, clients.categorical, training.seed
    )
    known = available
    if len(rows.outcome) == available:
        rows = rows.newest(window.rows)
        known = len(rows.outcome)
    elif window.name != windows.ALL:
        # the window was chosen on a sample of all rows; of its own rows more fit
        known = int(available * windows.SHARES[window.name])
        rows = labelled(clients, drawn_from(available - known).table)
    told = "all labelled rows" if window.name == windows.ALL else f"{window.name} of the labelled rows"
    if len(rows.outcome) < known:
        told = f"a sample of {told}"
    return Chosen(rows, known, len(aside), int(aside.sum()), told, window.reason)


def labelled_rows(
    config: Config, table: Pieces, aside: "NDArray[np.bool_] | None" = None, first: int = 0
) -> "Iterator[pd.DataFrame]":
    """The rows with a known outcome that are not aside, piece by piece, from the `first` of them on."""
    from attrition import evidence

    seen = passed = 0
    for piece in evidence.labelled_rows(config.clients, table):
        kept = piece if aside is None else piece[~aside[seen : seen + len(piece)]]
        seen += len(piece)
        yield kept[max(0, first - passed) :]
        passed += len(kept)


def labelled(clients: Clients, table: "pd.DataFrame") -> Labelled:
    """Rows that all have an outcome."""
    return Labelled(table, contracts.outcomes(clients, table), table[clients.id].to_numpy(dtype=object))


def sample(clients: Clients, pieces: "Iterable[pd.DataFrame]", training: Training) -> "Sample":
    """All rows; above training.max_rows those of clients drawn by a hash of their ids, in their order."""
    from attrition import sampling

    drawn = sampling.Sample(training.max_rows, training.seed)
    for piece in pieces:
        drawn.add(piece, piece[clients.id])
    return drawn


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


def compete(clients: Clients, training: Training, rows: Labelled, crew: Crew) -> "Contest":
    from attrition import contest

    won = contest.contest(clients, rows.table, rows.outcome, rows.client, training, show_progress, crew)
    show_progress("")
    return won


def show_progress(candidate: str) -> None:
    """One line that is written over, and only on a terminal."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[Ktraining: {candidate}" if candidate else "\r\x1b[K")
        sys.stderr.flush()


def active_clients(clients: Clients, table: "Iterable[pd.DataFrame]") -> int:
    """Clients whose latest row does not say that they left."""
    from attrition import census

    return sum(
        int((contracts.outcomes(clients, piece[here.latest]) != 1).sum())
        for piece, here in census.taken(clients, table).of(table)
    )


def sampled(taken: int, known: int, training: Training) -> dict[str, Any] | None:
    """How the rows were drawn, for model.json; None where all are trained on."""
    if taken == known:
        return None
    drawn_by = "whole clients, by a keyed hash of their ids"
    return {"rows": taken, "of": known, "max_rows": training.max_rows, "drawn_by": drawn_by}


def sample_warnings(taken: int, known: int, most: int) -> list[str]:
    if taken == known:
        return []
    return [
        f"trained on {taken:,} of {known:,} labelled rows, whole clients drawn by a hash of their ids "
        f"(training.max_rows is {most:,})"
    ]


def fold_warnings(contest: "Contest", wanted: int) -> list[str]:
    if contest.folds == 0:
        return [
            "too few clients of one kind to cross-validate: the first candidate was taken as it is, "
            f"uncalibrated, and the threshold is {thresholds.WITHOUT_FOLDS:g} unless it is fixed"
        ]
    if contest.folds < wanted:
        return [f"{contest.folds} folds instead of {wanted}: there are no more clients of one kind"]
    return []


def describe(rows: Labelled, contest: "Contest", warnings: Sequence[str]) -> dict[str, object]:
    from attrition import candidates

    model = contest.model
    return {
        "model": model.name,
        "rows": len(rows.outcome),
        "left": int(rows.outcome.sum()),
        "clients": len(set(rows.client)),
        "trained_at": stage.now(),
        "candidates": [asdict(contestant) for contestant in contest.contestants],
        "transparency": dict(contest.transparency),
        "families": contest.families,
        "weights": dict(model.weights),
        "calibration": {"slope": model.slope, "intercept": model.intercept, "kept": contest.calibrated},
        "warnings": list(warnings),
        "libraries": candidates.libraries(),
    }


def scorecard_text(
    contract: Contract, rows: Labelled, contest: "Contest", threshold: float, risk: Risk
) -> str:
    from attrition import translation

    card = translation.from_model(contest.model, contract, rows.table, rows.outcome, threshold, risk)
    return files.as_json(card) + "\n"


def portrayed(card: str, contest: "Contest", rows: Labelled) -> dict[str, object]:
    """What the model looks at: importance of every column, shapes of the strongest."""
    from attrition import portrait, scorecard

    read = scorecard.load(card.encode())
    return {
        "importance": portrait.importance(read, rows.table),
        "shapes": portrait.shapes(read, contest.model, contest.models_of_folds, rows.table),
    }


def reference_text(clients: Clients, rows: Labelled, contest: "Contest", threshold: float, seed: int) -> str:
    """What drift is told by: the losses of the out-of-fold predictions, and the profile of the rows."""
    from attrition import evidence

    reference = evidence.reference(
        clients, rows.table, rows.outcome, rows.client, contest.log_odds, threshold, seed
    )
    return json.dumps(reference, allow_nan=False) + "\n"


def write(
    config: Config, contest: "Contest", scorecard: str, reference: str, facts: Mapping[str, object]
) -> None:
    pickled = as_pickle(contest.model)
    # a model that no script may read again is refused now, not when it is to be deployed
    unpickling.loads(pickled, config.trained_model)
    contents = {
        config.trained_model: pickled,
        config.scorecard: scorecard.encode(),
        config.reference: reference.encode(),
    }
    sha256 = {path.name: hashlib.sha256(data).hexdigest() for path, data in contents.items()}
    if config.dry_run:
        return
    for path, data in contents.items():
        files.write_bytes(path, data)
    signing.write_description(config, {**facts, "sha256": sha256})


class ByValue(pickle._Pickler):
    """Equal texts are written once, whether they are one object or two.

    Which they are depends on what a process unpickled before, and the bytes must not.
    """

    def __init__(self, into: io.BytesIO) -> None:
        super().__init__(into)
        self.texts: dict[str, str] = {}

    def save_text(self, text: str) -> None:
        known = self.texts.setdefault(text, text)
        if known is text:
            super().save_str(text)  # type: ignore[misc]
        else:
            self.save(known)  # type: ignore[attr-defined]

    dispatch = {**pickle._Pickler.dispatch, str: save_text}  # type: ignore[dict-item]


def as_pickle(model: "Model") -> bytes:
    into = io.BytesIO()
    ByValue(into).dump(model)
    return into.getvalue()


def main() -> int:
    actions = (
        stage.Action(
            "--reproduce",
            reproduce,
            "train a release again from what it recorded, and compare every prediction",
            only_reads=True,
            metavar="RELEASE",
        ),
        stage.Action("--suggest", suggest, "say which derived columns would pay", only_reads=True),
    )
    return stage.enter("training", __doc__, run, actions)


if __name__ == "__main__":
    raise SystemExit(main())
