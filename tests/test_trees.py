"""The shares of trees are the exact Shapley values that the shap package finds, and found faster."""

import warnings

import numpy as np
import pandas as pd
import pytest

from attrition import candidates, contract, files, scorecard, translation
from attrition.candidates import Model
from attrition.scorecard import Scorecard
from attrition.settings import Clients, Risk

CLIENTS = Clients(numeric=tuple("abcdef"))


@pytest.fixture(scope="module", params=["boosting", "boosting_large"])
def grown(request: pytest.FixtureRequest) -> tuple[Model, Scorecard, pd.DataFrame]:
    random = np.random.default_rng(0)
    # shap rounds to 32 bits: these values and all halves between two of them stay what they are
    table = pd.DataFrame({column: np.round(random.normal(size=1000) * 64) / 64 for column in "abcdef"})
    odds = 2 * table["a"] * (table["b"] > 0) + np.abs(table["c"]) - 1 + table["d"] * table["e"]
    outcome = (random.random(1000) < 1 / (1 + np.exp(-odds))).astype(float)
    family = np.arange(1000)
    model = candidates.fitted({request.param: 1.0}, CLIENTS, table, outcome, family, 0, request.param)
    facts = translation.from_model(model, contract.compiled(CLIENTS), table, outcome, 0.5, Risk())
    return model, scorecard.load(files.as_json(facts).encode()), table


def test_shares_are_those_of_the_shap_package(
    grown: tuple[Model, Scorecard, pd.DataFrame],
) -> None:
    model, card, table = grown
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shap = pytest.importorskip("shap")
        typical = np.array([[column.usual for column in card.columns]], dtype=float)
        bag = next(iter(model.pipelines.values()))[-1]
        many = pd.concat([table] * 10, ignore_index=True)[:10_000]
        explainers = [
            shap.TreeExplainer(each, typical, feature_perturbation="interventional") for each in bag.models_
        ]
        theirs = np.mean(
            [each.shap_values(many.to_numpy(), check_additivity=False) for each in explainers], 0
        )
    mine = card._shares(card.coded(many))
    assert np.max(np.abs(mine - theirs)) < 1e-6
