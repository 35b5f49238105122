"""The whole training procedure beside its peers with their defaults, on every CSV of ../shared/data/churn.

Five stratified folds, seed 0; near-identical rows stay in one fold. Choice, calibration and threshold happen
inside each training fold. Peers get the same columns, categories as each likes them. F1 is cross-fitted: each
fold with a threshold found on out-of-fold predictions of its training rows (ours) or on other folds (peers).
"""

import csv
import resource
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, brier_score_loss, f1_score, log_loss, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits

from attrition import candidates, contest, folds, scores, thresholds, twins
from attrition.settings import Clients, Risk, Training

CHURN = Path(__file__).resolve().parents[2] / "shared" / "data" / "churn"
TARGETS = {"Churn", "Attrition", "churn"}
LEFT = {"Yes", "yes", "1"}
IDS = {"customerID", "EmployeeNumber", "CustomerID"}
Floats = Any
Predict = Callable[[pd.DataFrame], Floats]


@dataclass(frozen=True)
class Data:
    name: str
    clients: Clients
    table: pd.DataFrame
    outcome: Floats
    family: Any


def read(path: Path) -> Data:
    with path.open(newline="", encoding="utf-8-sig") as stream:
        raw = pd.DataFrame(list(csv.DictReader(stream)))
    target = next(column for column in raw.columns if column in TARGETS)
    outcome = raw.pop(target).isin(LEFT).to_numpy(dtype=float)
    raw = raw.drop(columns=[column for column in raw.columns if column in IDS])
    numbers, categories = {}, {}
    for column in raw.columns:
        text = raw[column].str.strip()
        values = pd.to_numeric(text.where(text != ""), errors="coerce")
        if values.notna().sum() == (text != "").sum():
            numbers[column] = values.astype(float)
        else:
            categories[column] = text.astype(object)
    clients = Clients(id="id ", target="target ", numeric=tuple(numbers), categorical=tuple(categories))
    table = pd.DataFrame({**numbers, **categories})
    family = twins.groups(table, clients.features, outcome, np.arange(len(table)))
    return Data(path.stem, clients, table, outcome, family)


def ours(data: Data, rows: Any) -> tuple[Predict, float, str]:
    table, outcome, client = data.table[rows].reset_index(drop=True), data.outcome[rows], data.family[rows]
    won = contest.contest(data.clients, table, outcome, client, Training())
    threshold = thresholds.choose(Risk(), won.log_odds, outcome, len(outcome))
    return (lambda table: won.model.predict_proba(table)[:, 1]), threshold, won.model.name


def _one_hot(data: Data) -> ColumnTransformer:
    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    return ColumnTransformer(
        [
            ("numbers", numbers, list(data.clients.numeric)),
            ("categories", OneHotEncoder(handle_unknown="ignore"), list(data.clients.categorical)),
        ]
    )


def _piped(make: Callable[[], Any]) -> Callable[[Data, Any], Predict]:
    def fit(data: Data, rows: Any) -> Predict:
        model = make_pipeline(_one_hot(data), make()).fit(data.table[rows], data.outcome[rows])
        return lambda table: model.predict_proba(table)[:, 1]

    return fit


def _native(make: Callable[[list[str]], Any]) -> Callable[[Data, Any], Predict]:
    """Categories as pandas has them, the values of the training rows only."""

    def fit(data: Data, rows: Any) -> Predict:
        kinds = {
            column: pd.CategoricalDtype(sorted(data.table[column][rows].unique()))
            for column in data.clients.categorical
        }
        model = make(list(kinds)).fit(data.table[rows].astype(kinds), data.outcome[rows].astype(int))
        return lambda table: model.predict_proba(table.astype(kinds))[:, 1]

    return fit


def _lightgbm(categories: list[str]) -> Any:
    from lightgbm import LGBMClassifier

    return LGBMClassifier(random_state=0, n_jobs=1, verbose=-1)


def _xgboost(categories: list[str]) -> Any:
    from xgboost import XGBClassifier

    return XGBClassifier(random_state=0, n_jobs=1, enable_categorical=True)


def _catboost(data: Data, rows: Any) -> Predict:
    from catboost import CatBoostClassifier

    model = CatBoostClassifier(
        random_seed=0, thread_count=1, verbose=0, allow_writing_files=False,
        cat_features=list(data.clients.categorical),
    ).fit(data.table[rows], data.outcome[rows].astype(int))  # fmt: skip
    return lambda table: model.predict_proba(table)[:, 1]


def _ebm(data: Data, rows: Any) -> Predict:
    from interpret.glassbox import ExplainableBoostingClassifier

    model = ExplainableBoostingClassifier(n_jobs=1, random_state=0)
    model.fit(data.table[rows], data.outcome[rows].astype(int))
    return lambda table: model.predict_proba(table)[:, 1]


PEERS: dict[str, Callable[[Data, Any], Predict]] = {
    "logistic": _piped(lambda: LogisticRegression(max_iter=5000)),
    "random forest": _piped(lambda: RandomForestClassifier(random_state=0)),
    "HGB": _native(
        lambda kinds: HistGradientBoostingClassifier(random_state=0, categorical_features="from_dtype")
    ),
    "EBM": _ebm,
    "LightGBM": _native(_lightgbm),
    "XGBoost": _native(_xgboost),
    "CatBoost": _catboost,
}


def measured(data: Data) -> Iterator[tuple[str, dict[str, float], str]]:
    fold = folds.by_client(data.family, data.outcome, 5, 0)
    assert fold is not None
    for name in ("this pipeline", *PEERS):
        probability, flagged = np.empty(len(fold)), np.zeros(len(fold), dtype=bool)
        cpu, won = _cpu(), []
        for held_out in range(5):
            inside = fold == held_out
            if name == "this pipeline":
                predict, threshold, winner = ours(data, ~inside)
                won.append(winner)
            else:
                predict, threshold = PEERS[name](data, ~inside), 2.0
            probability[inside] = predict(data.table[inside])
            flagged[inside] = probability[inside] >= threshold
        spent = (_cpu() - cpu) / 5
        if name != "this pipeline":
            for held_out in range(5):
                inside = fold == held_out
                odds = _odds(probability[~inside])
                cut = thresholds.choose(Risk(), odds, data.outcome[~inside], len(odds))
                flagged[inside] = probability[inside] >= cut
        yield name, _figures(data, probability, flagged, spent), " ".join(won)


def _figures(data: Data, probability: Floats, flagged: Any, spent: float) -> dict[str, float]:
    outcome = data.outcome
    losses = scores.log_losses(outcome, _odds(probability))
    bins = scores.calibration(outcome, probability)
    rows = sum(part["count"] for part in bins)
    ece = sum(part["count"] * abs(part["predicted"] - part["observed"]) for part in bins) / rows
    return {
        "log loss": float(log_loss(outcome, np.clip(probability, 1e-15, 1 - 1e-15))),
        "±": scores.mean_and_error(losses, data.family)[1],
        "ROC AUC": float(roc_auc_score(outcome, probability)),
        "PR AUC": float(average_precision_score(outcome, probability)),
        "Brier": float(brier_score_loss(outcome, probability)),
        "calibration error": float(ece),
        "F1": float(f1_score(outcome, flagged)),
        "CPU s": spent,
    }


def _odds(probability: Floats) -> Floats:
    certain = np.clip(probability, 1e-15, 1 - 1e-15)
    return np.log(certain / (1 - certain))


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def run() -> None:
    warnings.simplefilter("ignore")
    threadpool_limits(limits=1)
    print(f"candidates: {', '.join(candidates.CANDIDATES)}, blends; scikit-learn {candidates.libraries()}")
    for path in sorted(CHURN.glob("*.csv")):
        data = read(path)
        print(f"\n### {data.name}: {len(data.outcome):,} rows, {len(set(data.family)):,} clients\n")
        header: list[str] = []
        for name, figures, note in measured(data):
            if not header:
                header = ["model", *figures]
                print("| " + " | ".join(header) + " |\n|" + "---|" * len(header))
            cells = [f"{value:.1f}" if key == "CPU s" else f"{value:.4f}" for key, value in figures.items()]
            print(f"| {name}{f' ({note})' if note else ''} | " + " | ".join(cells) + " |")
            sys.stdout.flush()
