"""What rows with a known outcome say about the live release and its challenger, in figures and sentences."""

import hashlib
import json
import logging
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from attrition import contract as contracts
from attrition import (
    drift,
    files,
    news,
    profile,
    promotion,
    scorecard,
    scores,
    shift,
    stage,
)
from attrition.config import Config
from attrition.contract import Contract
from attrition.drift import Deployed, Limits, Risk
from attrition.errors import DataError
from attrition.generations import Pieces
from attrition.monitor import Look, Record
from attrition.news import Known, News
from attrition.promotion import Compared, Decision
from attrition.releases import Release
from attrition.sampling import Sample
from attrition.scorecard import Scorecard
from attrition.settings import Clients

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

log = logging.getLogger("attrition")

Kind = TypeVar("Kind")

# one client in so many is held out of a challenger's newest rows
ONE_IN = 3
# fewer held-out rows than this tell nothing: then none are held out
FEWEST_HELD_OUT = 60
# after an alarm the newest of them are judged on, and no more than it takes: older ones tell of the old world
JUDGED_ROWS = 200
JUDGED_OF_EACH = 20


def reference(
    clients: Clients,
    table: "pd.DataFrame",
    outcome: "Floats",
    client: "NDArray[Any]",
    log_odds: "Floats | None",
    threshold: float,
    seed: int,
) -> dict[str, Any]:
    """What later rows are compared with: out-of-fold losses of the rows trained on, and their profile."""
    known = profile.of(*_columns(clients, table, log_odds), seed)
    if log_odds is None:
        return {"losses": None, "design_effect": 1.0, "profile": known}
    probability = 1 / (1 + np.exp(-log_odds))
    each = drift.losses(outcome, probability, threshold)
    return {
        "losses": drift.counted(outcome, probability, threshold),
        "design_effect": max(_design_effect(values, client) for values in each.values()),
        "profile": known,
    }


def meet(
    config: Config,
    contract: Contract,
    what: News,
    live: Release,
    record: Record,
    outdated: Collection[str],
) -> Record:
    """The record with all rows counted that are new to it, each once, and the verdicts on them.

    `outdated` are fingerprints of test rows that drift has left behind.
    """
    known = news.known_rows(config, contract, {record.counted, live.facts["ingested"]})
    if known is None:
        log.warning(
            "%s: which rows are new to it is not known any more; it meets those that come from now on",
            live.id,
        )
        return replace(record, counted=what.generation.id)
    facts, card = _reference(live), scorecard.load(live.read("scorecard.json"))
    settings, at = config.settings.drift, stage.now()
    # a record that cannot be read is told of before the rows are
    risk = _remembered(record.risk, drift.from_json, Risk())
    met = _met(config, news.table(contract, what), known, card, _Inputs(config.clients, facts, record))
    outcome, log_odds = np.concatenate(met.outcome), np.concatenate(met.log_odds)
    labelled = outcome == outcome
    before = deployed(facts, live, card.threshold, outdated)
    limits = Limits(settings.alpha, settings.tolerance)
    risk = drift.learn(risk, before, limits, at, outcome[labelled], log_odds[labelled])
    alarm = drift.alarm(risk, before, limits)
    hoped = drift.expected(log_odds, card.threshold, 1 - settings.alpha)
    losses = drift.live_losses(risk, before, settings.alpha)
    return replace(
        record,
        counted=what.generation.id,
        rows=record.rows + len(outcome),
        labels=record.labels + int(labelled.sum()),
        looked_at=at,
        risk=drift.as_json(risk),
        drift=asdict(alarm) if alarm else None,
        losses={name: asdict(loss) for name, loss in losses.items()},
        **met.inputs.judged(),
        expected=asdict(hoped) if hoped else record.expected,
        live_score=_live_score(config, live, card, met.labelled, at),
    )


@dataclass(frozen=True)
class _Met:
    """What is kept of the new rows: outcomes and log-odds of all, a sample of those with an outcome."""

    inputs: "_Inputs"
    labelled: Sample
    outcome: list["Floats"] = field(default_factory=list)
    log_odds: list["Floats"] = field(default_factory=list)


def _met(config: Config, pieces: Pieces, known: Known, card: Scorecard, inputs: "_Inputs") -> _Met:
    clients, training = config.clients, config.settings.training
    met = _Met(inputs, Sample(training.max_rows, training.seed))
    for table in pieces:
        fresh = known.unseen(table)
        rows = table[fresh.rows]
        outcome, log_odds = contracts.outcomes(clients, rows), card.log_odds(rows)
        # an outcome that comes later is a new label, but brings no new inputs
        news_of_inputs = fresh.inputs[fresh.rows]
        inputs.add(rows[news_of_inputs], log_odds[news_of_inputs])
        labelled = rows[outcome == outcome]
        met.labelled.add(labelled, labelled[clients.id])
        met.outcome.append(outcome)
        met.log_odds.append(log_odds)
    return met


def deployed(
    facts: Mapping[str, Any], live: Release, threshold: float, outdated: Collection[str]
) -> Deployed:
    """What was known of the release's losses when it was deployed: out of fold, and on sound test rows."""
    out_of_fold, tested = facts.get("losses"), live.scores.get("losses")
    if out_of_fold and live.scores.get("test_rows") in outdated:
        tested = None
    counted = [each for each in (out_of_fold, tested) if each]
    return drift.deployed(counted, threshold, 1 / facts.get("design_effect", 1.0))


def data(clients: Clients, pieces: "Iterable[pd.DataFrame]") -> str:
    """A fingerprint of the labelled rows, in their order."""
    import pandas as pd

    digest = hashlib.sha256()
    for labelled in labelled_rows(clients, pieces):
        rows = pd.util.hash_pandas_object(labelled[news.identity(clients)], index=False).to_numpy()
        digest.update(rows.tobytes())
    return digest.hexdigest()


def labelled_rows(clients: Clients, pieces: "Iterable[pd.DataFrame]") -> "Iterator[pd.DataFrame]":
    """The rows of each piece with a known outcome."""
    for piece in pieces:
        yield piece[~np.isnan(contracts.outcomes(clients, piece))]


def held_out(
    config: Config, contract: Contract, pieces: "Iterable[pd.DataFrame]", newer_than: str | None
) -> "NDArray[np.bool_]":
    """Which labelled rows no challenger is trained on, shape (rows,): of every third client among the new.

    New are rows that the generation `newer_than` had not; where they are too few to tell anything, none.
    """
    known = news.known_rows(config, contract, {newer_than}) if newer_than else None
    seed = config.settings.training.seed
    aside, left = [np.zeros(0, dtype=bool)], 0
    for labelled in labelled_rows(config.clients, pieces):
        mine = np.zeros(len(labelled), dtype=bool)
        if known:
            ids = labelled[config.clients.id]
            drawn = [zlib.crc32(f"{seed}:{client}".encode()) % ONE_IN == 0 for client in ids]
            mine = known.unseen(labelled).rows & np.array(drawn, dtype=bool)
            left += int(contracts.outcomes(config.clients, labelled[mine]).sum())
        aside.append(mine)
    found = np.concatenate(aside)
    enough = found.sum() >= FEWEST_HELD_OUT and 0 < left < found.sum()
    return found if enough else np.zeros(len(found), dtype=bool)


def held_out_rows(
    config: Config, contract: Contract, pieces: "Iterable[pd.DataFrame]", newer_than: str
) -> Sample:
    """These rows; of more than training.max_rows a sample of whole clients."""
    aside, training = held_out(config, contract, pieces, newer_than), config.settings.training
    drawn, first = Sample(training.max_rows, training.seed), 0
    for labelled in labelled_rows(config.clients, pieces):
        mine = labelled[aside[first : first + len(labelled)]]
        drawn.add(mine, mine[config.clients.id])
        first += len(labelled)
    return drawn


def decide(
    config: Config,
    contract: Contract,
    what: News,
    record: Record | None,
    test_rows: "pd.DataFrame",
    look: Look,
) -> Decision:
    """Whether the challenger is deployed: both models on the same rows, which neither was trained on.

    Test rows that drift has left behind count only where the newest rows are too few to tell anything.
    """
    settings, seed = config.settings.promotion, config.settings.training.seed
    challenger = scorecard.load(config.scorecard.read_bytes())
    if what.live is None or record is None:
        return _first(config, challenger, test_rows)
    champion = scorecard.load(what.live.read("scorecard.json"))

    def compared(rows: "pd.DataFrame") -> Compared | None:
        outcome, clients = contracts.outcomes(config.clients, rows), rows[config.clients.id].to_numpy()
        both = champion.probability(rows), challenger.probability(rows)
        thresholds = champion.threshold, challenger.threshold
        return promotion.compare(outcome, clients, *both, seed, settings.confidence, thresholds)

    newest = held_out_rows(config, contract, news.table(contract, what), what.live.facts["ingested"]).table
    # both sets of rows count as independent
    newest = newest[~newest[config.clients.id].isin(test_rows[config.clients.id])]
    if record.drift:
        newest = newest[since_the_drift(contracts.outcomes(config.clients, newest))]
    lately = compared(newest)
    enough = look.outdated and lately is not None and lately.tells
    return promotion.decide(
        lately,
        None if enough else compared(test_rows),
        alarmed=record.drift is not None,
        looks=look.earlier,
        margin=settings.margin,
        confidence=settings.confidence,
    )


def since_the_drift(outcome: "Floats") -> slice:
    """The newest held-out rows that are enough to tell two models apart; `outcome` has shape (rows,).

    A release that lived long before the world changed has more held-out rows of the old world than of the
    new one: on all of them no challenger that learnt the new one would be found better for a long time.
    """
    backwards = outcome[::-1]
    rarer = np.minimum(np.cumsum(backwards), np.cumsum(1 - backwards))
    enough = (rarer >= JUDGED_OF_EACH) & (np.arange(len(outcome)) + 1 >= JUDGED_ROWS)
    rows = int(enough.argmax()) + 1 if enough.any() else len(outcome)
    return slice(len(outcome) - rows, None)


def _first(config: Config, challenger: Scorecard, test_rows: "pd.DataFrame") -> Decision:
    """A model that no live release can be compared with: it must not be refuted by a constant."""
    facts = files.read_json(config.model_description)
    found = promotion.beats_constant(
        contracts.outcomes(config.clients, test_rows),
        test_rows[config.clients.id].to_numpy(),
        challenger.probability(test_rows),
        facts["left"] / facts["rows"],
        config.settings.training.seed,
        config.settings.promotion.confidence,
    )
    return Decision(found.release, found.reason, 0.0)


def _reference(live: Release) -> dict[str, Any]:
    """reference.json of the release; a release made before there was one has none."""
    return json.loads(live.read("reference.json")) if "reference.json" in live.facts["files"] else {}


def _remembered(
    facts: Mapping[str, Any] | None, read: Callable[[Mapping[str, Any]], Kind], new: Kind
) -> Kind:
    """What the record holds, or a new beginning where there is nothing, or nothing that can be read."""
    try:
        return read(facts) if facts else new
    except (DataError, LookupError, TypeError, ValueError) as fault:
        log.error("what the live release met cannot be read (%s): it is begun anew", fault)
        return new


class _Inputs:
    """What becomes of the columns: the memory, with the new rows of each dataset as one batch.

    The rows of a dataset come one after the other; its columns wait, as arrays, until the next one begins.
    """

    def __init__(self, clients: Clients, facts: Mapping[str, Any], record: Record) -> None:
        self.clients = clients
        self.known = facts.get("profile")
        self.memory = _remembered(record.inputs, shift.from_json, shift.Memory()) if self.known else None
        self._dataset: str | None = None
        self._waiting: list[tuple[dict[str, Floats], dict[str, NDArray[Any]]]] = []

    def add(self, rows: "pd.DataFrame", log_odds: "Floats") -> None:
        if not self.known:
            return
        scored = log_odds if "score" in self.known["numbers"] else None
        for dataset in dict.fromkeys(rows["dataset"]):
            if dataset != self._dataset:
                self._take()
                self._dataset = dataset
            mine = (rows["dataset"] == dataset).to_numpy()
            batch = _columns(self.clients, rows[mine], None if scored is None else scored[mine])
            self._waiting.append(batch)

    def judged(self) -> dict[str, Any]:
        """Memory and verdict; nothing where no profile tells how the rows trained on were."""
        if not self.known or self.memory is None:
            return {}
        self._take()
        features = self.clients.features
        words = {column: self.clients.word(column) for column in features} | {"score": "the risk of leaving"}
        verdict = shift.judge(self.known, self.memory, words)
        return {"inputs": self.memory.as_json(), "shift": asdict(verdict)}

    def _take(self) -> None:
        if self._waiting and self.known and self.memory is not None:
            numbers, categories = (_joined(kind) for kind in zip(*self._waiting, strict=True))
            self._waiting = []
            self.memory = shift.take(self.known, self.memory, numbers, categories, str(self._dataset))


def _joined(batches: "Sequence[Mapping[str, NDArray[Any]]]") -> "dict[str, NDArray[Any]]":
    return {column: np.concatenate([batch[column] for batch in batches]) for column in batches[0]}


def _columns(
    clients: Clients, table: "pd.DataFrame", log_odds: "Floats | None"
) -> tuple[dict[str, "Floats"], dict[str, "NDArray[Any]"]]:
    """Number and category columns as arrays; the model's own score is one more number."""
    numbers = {column: table[column].to_numpy(dtype=float) for column in clients.model_numbers}
    categories = {column: table[column].to_numpy(dtype=object) for column in clients.categorical}
    if log_odds is not None:
        numbers["score"] = 1 / (1 + np.exp(-log_odds))
    return numbers, categories


def _live_score(
    config: Config, live: Release, card: Scorecard, drawn: Sample, at: str
) -> Mapping[str, Any] | None:
    """Figures of the live release on new rows it was not trained on; None where no outcome is known."""
    labelled = drawn.table
    if not len(labelled):
        return None
    confidence = 1 - config.settings.drift.alpha
    outcome = contracts.outcomes(config.clients, labelled)
    clients, seed = labelled[config.clients.id].to_numpy(), config.settings.training.seed
    figures = scores.figures(outcome, card.probability(labelled), card.threshold, clients, seed, confidence)
    return {
        "release": live.id,
        "scored_at": at,
        "rows": len(labelled),
        **({"sample_of": drawn.of} if len(labelled) < drawn.of else {}),
        "left": int(outcome.sum()),
        "threshold": card.threshold,
        "confidence": confidence,
        "figures": {name: asdict(figure) if figure else None for name, figure in figures.items()},
    }


def _design_effect(losses: "Floats", client: "NDArray[Any]") -> float:
    """How many times larger the variance of the mean is, since rows of one client are alike; at least 1."""
    _, error = scores.mean_and_error(losses, client)
    independent = losses.std() / np.sqrt(len(losses))
    return float(np.clip((error / independent) ** 2, 1.0, len(losses))) if independent > 0 else 1.0
