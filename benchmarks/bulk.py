"""Scores and reasons of whole tables: the scorecard beside the pipeline it was made from.

Beside: the pipeline's own predict_proba; for reasons the usual loop, which sets one column after the other to
what is typical and looks how far predict_proba moves, and shap, which knows trees. Both give numbers alone.
All within one process that has its libraries loaded, one thread.
"""

import importlib.util
import io
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from attrition import candidates, contract, scorecard, translation
from attrition.candidates import Model
from attrition.scorecard import Scorecard
from attrition.settings import Clients, Risk
from benchmarks import measure
from benchmarks.api import KINDS, NUMBERS
from benchmarks.api import rows as rows_of

CLIENTS = Clients(numeric=tuple(NUMBERS))
MODELS = {"a glass box": "ebm_pairs", "trees": "boosting"}
TRAINED, RUNS = 4_000, 3
SCORED, SCORED_IN_FULL = (10_000, 100_000, 500_000), (10_000, 100_000, 1_000_000)
EXPLAINED, EXPLAINED_IN_FULL = (250, 1_000, 4_000), (1_000, 10_000, 100_000)
PIPELINE, LOOP, SHAP = "predict_proba", "the loop over columns", "shap, TreeExplainer"
AGREE = 1e-9


@dataclass(frozen=True)
class Fitted:
    model: Model
    card: Scorecard
    table: pd.DataFrame

    def rows(self, count: int) -> pd.DataFrame:
        """So many rows like those it was fitted on."""
        return pd.concat([self.table] * -(-count // len(self.table)), ignore_index=True)[:count]


def run(scored: Sequence[int] = SCORED, explained: Sequence[int] = EXPLAINED) -> None:
    warnings.simplefilter("ignore")
    if importlib.util.find_spec("shap") is None:
        print("shap is not installed and left out. Run: make .venv/.bench\n")
    with threadpool_limits(limits=1):
        for name, candidate in MODELS.items():
            fitted = _fitted(candidate)
            for what, sizes, pieces, yardstick in (
                ("scored", scored, _scoring, PIPELINE),
                ("explained", explained, _explaining, LOOP),
            ):
                found = {size: measure.within(pieces(fitted, fitted.rows(size)), RUNS) for size in sizes}
                print(f"{max(sizes):,} rows {what} by {name} ({candidate}), {len(NUMBERS)} columns:\n")
                print(f"{measure.table(found[max(sizes)], yardstick)}\n")
                print(f"{measure.growth('rows', found)}\n", flush=True)


def run_full() -> None:
    run(SCORED_IN_FULL, EXPLAINED_IN_FULL)


def _fitted(candidate: str) -> Fitted:
    header = ",".join(["corporation", *NUMBERS, *KINDS, "exited"])
    table = pd.read_csv(io.StringIO("\n".join([header, *rows_of(TRAINED, 1)])))
    outcome, family = table["exited"].to_numpy(float), np.arange(TRAINED)
    table = table[NUMBERS]
    model = candidates.fitted({candidate: 1.0}, CLIENTS, table, outcome, family, 0, candidate)
    facts = translation.from_model(model, contract.compiled(CLIENTS), table, outcome, 0.3, Risk())
    card = scorecard.load(json.dumps(facts).encode())
    gap = np.max(np.abs(card.log_odds(table) - model.log_odds(table)))
    assert gap < AGREE, f"the scorecard of {candidate} is {gap} away from its pipeline"
    return Fitted(model, card, table)


def _scoring(fitted: Fitted, rows: pd.DataFrame) -> dict[str, Callable[[], Any]]:
    return {
        PIPELINE: lambda: fitted.model.predict_proba(rows)[:, 1],
        "the scorecard": lambda: fitted.card.probability(rows),
    }


def _explaining(fitted: Fitted, rows: pd.DataFrame) -> dict[str, Callable[[], Any]]:
    ours = {
        "the scorecard, effects of all columns": lambda: fitted.card.effects(rows),
        "the scorecard, three reasons in words": lambda: list(fitted.card.explain(rows)),
        LOOP: lambda: moved(fitted, rows),
    }
    bag = next(iter(fitted.model.pipelines.values()))[-1]
    has_shap = importlib.util.find_spec("shap") and hasattr(bag, "models_") and not fitted.model.glass
    return ours | ({SHAP: lambda: of_shap(fitted, rows)} if has_shap else {})


def moved(fitted: Fitted, rows: pd.DataFrame) -> Any:
    """How far the typical value of each column would move the probability, shape (rows, columns)."""
    probability = fitted.model.predict_proba(rows)[:, 1]
    typical = {column.column: column.usual for column in fitted.card.columns}
    without = [
        fitted.model.predict_proba(rows.assign(**{name: value}))[:, 1] for name, value in typical.items()
    ]
    return probability[:, None] - np.column_stack(without)


def of_shap(fitted: Fitted, rows: pd.DataFrame) -> Any:
    """Shapley values against the typical client, the mean over the bag, shape (rows, columns)."""
    import shap

    bag = next(iter(fitted.model.pipelines.values()))[-1]
    typical = np.array([[column.usual for column in fitted.card.columns]], dtype=float)
    explainers = [
        shap.TreeExplainer(each, typical, feature_perturbation="interventional") for each in bag.models_
    ]
    values = rows.to_numpy()
    return np.mean([each.shap_values(values, check_additivity=False) for each in explainers], axis=0)
