"""A scorecard says what the model says, explains it to the last digit, and needs only numpy for it."""

import json
import math
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from attrition import candidates, files, proof, scorecard, translation
from attrition import contract as contracts
from attrition.candidates import Model
from attrition.contract import Contract
from attrition.errors import ReleaseError
from attrition.scorecard import Scorecard
from attrition.settings import Clients, Risk
from attrition.terms import Floats, Line
from tests.projects import CHECKOUT

CONTRACT = contracts.compiled(
    Clients(
        numeric=("visits", "balance", "always", "never"),
        categorical=("plan", "region"),
        words={"visits": "visits last month"},
    )
)
PLANS = ["basic", "plus", "pro", ""]
REGIONS = ["Żory", "north", "south"]


def training_rows(rows: int = 400, seed: int = 0) -> tuple[pd.DataFrame, Floats]:
    """Skewed, negative, constant, missing and never seen numbers; blank and other categories."""
    random = np.random.default_rng(seed)
    visits = np.floor(random.lognormal(3, 1.5, rows))
    balance = random.normal(0, 1e6, rows).round(2)
    plan, region = random.choice(PLANS, rows), random.choice(REGIONS, rows)
    odds = 1.0 - 0.6 * np.log1p(visits) + balance / 1e6 + (plan == "basic")
    outcome = (random.random(rows) < 1 / (1 + np.exp(-odds))).astype(float)
    visits[random.random(rows) < 0.1] = np.nan
    columns = {
        "visits": visits,
        "balance": balance,
        "always": np.full(rows, 0.1),
        "never": np.full(rows, np.nan),
    }
    return pd.DataFrame({**columns, "plan": plan.astype(object), "region": region.astype(object)}), outcome


def adversarial_rows(rows: int, seed: int = 1) -> pd.DataFrame:
    return proof.adversarial(carded(fitted()), rows, seed)


def fitted(name: str = "logistic_log", slope: float = 1.0, intercept: float = 0.0) -> Model:
    """A candidate, or several with "+" between them as a blend."""
    weights = {member: 1.0 / (1 + place) for place, member in enumerate(name.split("+"))}
    table, outcome = training_rows()
    family = np.arange(len(table))
    model = candidates.fitted(weights, CONTRACT.clients, table, outcome, family, seed=0, name=name)
    return replace(model, slope=slope, intercept=intercept)


def carded(model: Model, contract: Contract = CONTRACT) -> Scorecard:
    table, outcome = training_rows()
    facts = translation.from_model(model, contract, table, outcome, 0.4, Risk())
    return scorecard.load(files.as_json(facts).encode())


@pytest.fixture(scope="module")
def card() -> Scorecard:
    return carded(fitted())


def facts_of(card_of: Model) -> dict[str, Any]:
    table, outcome = training_rows()
    return translation.from_model(card_of, CONTRACT, table, outcome, 0.4, Risk())


def rows_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = table.to_dict("records")
    return rows


BOOSTED = fitted("boosting")
KINDS = [*candidates.CANDIDATES, "logistic_log+ebm_pairs", "spline+ebm+boosting"]


@pytest.fixture(scope="module")
def models() -> dict[str, tuple[Model, Scorecard]]:
    """Every kind of model, fitted once, and its scorecard."""
    made = {name: fitted(name, slope=1.25, intercept=-0.7) for name in KINDS}
    return {name: (model, carded(model)) for name, model in made.items()}


@pytest.mark.parametrize("name", KINDS)
def test_it_agrees_with_the_model_on_every_row_however_strange(
    models: Mapping[str, tuple[Model, Scorecard]], name: str
) -> None:
    model, card = models[name]
    for table in (training_rows()[0], training_rows(2000, seed=5)[0], proof.adversarial(card, 10_000, 1)):
        expected = model.log_odds(table)
        assert np.isfinite(expected).all()
        assert np.max(np.abs(card.log_odds(table) - expected)) < 1e-9
        assert np.max(np.abs(card.probability(table) - model.predict_proba(table)[:, 1])) < 1e-9
        one_by_one = [card.score_row(row) for row in rows_of(table[:500])]
        assert np.max(np.abs(np.array(one_by_one) - expected[:500])) < 1e-9


@pytest.mark.parametrize("name", ["boosting", "boosting_large"])
def test_trees_say_of_a_row_alone_to_the_last_bit_what_they_say_among_others(
    models: Mapping[str, tuple[Model, Scorecard]], name: str
) -> None:
    card = models[name][1]
    rows = pd.concat([proof.adversarial(card, 500, 4), training_rows(100, seed=6)[0]], ignore_index=True)
    rows.loc[0, ["visits", "balance"]] = [math.inf, -math.inf]
    assert rows["visits"].isna().any()
    assert [card.score_row(row) for row in rows_of(rows)] == card.log_odds(rows).tolist()
    alone = [card._shares_of_row([[row[column]] for column in card.features]) for row in rows_of(rows)]
    assert np.array_equal(np.concatenate(alone), card._shares(card.coded(rows)))


@pytest.mark.parametrize("name", KINDS)
def test_reasons_add_up_for_every_kind_of_model(
    models: Mapping[str, tuple[Model, Scorecard]], name: str
) -> None:
    model, card = models[name]
    table = proof.adversarial(card, 1000, 2)
    effects = card.effects(table)
    assert np.max(np.abs(card.base + effects.sum(axis=1) - model.log_odds(table))) < 1e-9
    few = card.effects(table[:50])
    assert np.max(np.abs(few - effects[:50])) < 1e-9


@pytest.mark.parametrize("name", [name for name in KINDS if name != "constant"])
def test_an_effect_is_the_exact_shapley_value_over_all_subsets_of_the_columns(
    models: Mapping[str, tuple[Model, Scorecard]], name: str
) -> None:
    model, card = models[name]
    typical = {column.column: column.usual for column in card.columns}
    count = len(card.features)
    for row in rows_of(proof.adversarial(card, 4, 3)):
        subsets = [[at for at in range(count) if place >> at & 1] for place in range(2**count)]
        mixed = [
            {**typical, **{card.features[at]: row[card.features[at]] for at in mine}} for mine in subsets
        ]
        worth = model.log_odds(pd.DataFrame(mixed))
        table = {column: [value] for column, value in row.items()}
        found = card._shares(card.coded(table))[0]
        for at in range(count):
            without = [place for place in range(2**count) if not place >> at & 1]
            expected = sum(
                math.factorial(len(subsets[place])) * math.factorial(count - 1 - len(subsets[place]))
                / math.factorial(count) * (worth[place | 1 << at] - worth[place])
                for place in without
            )  # fmt: skip
            assert found[at] == pytest.approx(expected, abs=1e-9)


def test_base_and_effects_add_up_to_the_log_odds(card: Scorecard) -> None:
    table = adversarial_rows(2000)
    effects = card.effects(table)
    assert effects.shape == (2000, len(card.features))
    assert np.max(np.abs(card.base + effects.sum(axis=1) - fitted().log_odds(table))) < 1e-9


def test_the_typical_client_who_stayed_has_no_effects_and_the_base_as_risk(card: Scorecard) -> None:
    table, outcome = training_rows()
    stayed = table[outcome == 0]
    typical = {column.column: column.usual for column in card.columns}
    assert typical["visits"] == stayed["visits"].median()
    assert typical["plan"] == stayed["plan"].mode()[0]
    effects = card.effects({column: [value] for column, value in typical.items()})
    assert effects == pytest.approx(np.zeros((1, 6)), abs=1e-12)
    assert card.score_row(typical) == pytest.approx(card.base, abs=1e-12)


def test_reasons_are_those_that_raise_the_risk_strongest_first(card: Scorecard) -> None:
    table = adversarial_rows(500)
    effects = card.effects(table)
    for row, reasons in enumerate(card.explain(table)):
        raising = effects[row][effects[row] > 0]
        assert [reason.effect for reason in reasons] == sorted(raising, reverse=True)[:3]


def test_all_reasons_together_are_the_whole_difference_to_the_typical_client(card: Scorecard) -> None:
    table = adversarial_rows(500)
    for reasons, log_odds in zip(card.explain(table, top=None), card.log_odds(table), strict=True):
        assert {reason.feature for reason in reasons} == set(card.features)
        assert card.base + sum(reason.effect for reason in reasons) == pytest.approx(log_odds, abs=1e-9)


def test_a_reason_is_a_sentence_with_the_clients_value_and_the_typical_one(card: Scorecard) -> None:
    numbers = {"visits": [3.0], "balance": [-12345.6], "always": [0.1], "never": [np.nan]}
    row: dict[str, Any] = {**numbers, "plan": [""], "region": ["mars"]}
    (reasons,) = card.explain(row, top=None)
    told = {reason.feature: reason for reason in reasons}
    visits = card.columns[0].typical
    assert told["visits"].sentence == (
        f"3 visits last month; typical {visits:.0f}; associated with higher risk"
    )
    assert (told["visits"].value, told["visits"].typical) == (3.0, visits)
    assert told["balance"].sentence.startswith("-12,346 balance; typical ")
    assert told["never"].sentence == (
        "never is missing; typical missing; associated with no difference in risk"
    )
    assert (told["plan"].value, told["plan"].sentence[:16]) == (None, "plan is missing;")
    assert told["region"].sentence.startswith("region mars; typical ")
    for reason in reasons:
        assert "because" not in reason.sentence


def test_a_value_missing_in_training_has_an_effect_of_its_own(card: Scorecard) -> None:
    visits = card.terms[0]
    assert isinstance(visits, Line)
    assert visits.missing not in (0.0, visits.of_row({"visits": card.columns[0].typical}))


def test_columns_that_move_together_do_not_contradict_each_other() -> None:
    table, outcome = training_rows()
    table["twice"] = 2 * table["balance"] + np.random.default_rng(0).normal(0, 1e5, len(table))
    clients = Clients(numeric=("visits", "balance", "twice"))
    family = np.arange(len(table))
    model = candidates.fitted({"logistic": 1.0}, clients, table, outcome, family, 0, "logistic")
    contract = contracts.compiled(clients)
    facts = translation.from_model(model, contract, table, outcome, 0.4, Risk())
    assert facts["groups"] == [["balance", "twice"]]
    card = scorecard.load(files.as_json(facts).encode())
    raw, effects = card._shares(card.coded(table)), card.effects(table)
    torn = raw[:, 1] * raw[:, 2] < 0
    assert torn.any()
    assert (effects[:, 1] * effects[:, 2] >= 0).all()
    assert np.max(np.abs(card.base + effects.sum(axis=1) - model.log_odds(table))) < 1e-9
    (reasons,) = card.explain(table[torn][:1], top=None)
    told = [reason for reason in reasons if reason.feature != "visits" and reason.effect]
    assert len(told) == 1 and "weighed together with" in told[0].sentence


def test_a_strong_pair_names_the_partner() -> None:
    random = np.random.default_rng(0)
    table = pd.DataFrame({"a": random.choice([0.0, 1.0], 2000), "b": random.choice(["x", "y"], 2000)})
    table["b"] = table["b"].astype(object)
    odds = np.where((table["a"] == 1) == (table["b"] == "y"), 2.0, -2.0)
    outcome = (random.random(2000) < 1 / (1 + np.exp(-odds))).astype(float)
    clients = Clients(numeric=("a",), categorical=("b",))
    model = candidates.fitted({"ebm_pairs": 1.0}, clients, table, outcome, np.arange(2000), 0, "ebm_pairs")
    facts = translation.from_model(model, contracts.compiled(clients), table, outcome, 0.5, Risk())
    card = scorecard.load(files.as_json(facts).encode())
    typical: dict[str, Any] = {column.column: column.usual for column in card.columns}
    other: dict[str, list[Any]] = {"a": [1.0 - typical["a"]], "b": ["x" if typical["b"] == "y" else "y"]}
    told = [reason.sentence for reason in card.explain(other, top=None)[0]]
    assert any(f" with b {other['b'][0]}" in sentence or " with " in sentence for sentence in told)


@pytest.mark.parametrize(
    ("changed", "warnings"),
    [
        ({}, []),
        ({"visits": math.nan}, ["visits last month is missing"]),
        ({"balance": 1e9}, ["balance is 1,000,000,000, outside the training range "]),
        ({"never": 3.0}, ["never was always missing in training"]),
        ({"plan": "gold"}, ["plan 'gold' was not seen in training"]),
        ({"plan": ""}, ["plan is missing"]),
    ],
)
def test_what_makes_a_risk_less_sure_is_told(
    card: Scorecard, changed: Mapping[str, Any], warnings: list[str]
) -> None:
    row = {"visits": 20.0, "balance": 0.0, "always": 0.1, "never": math.nan, "plan": "pro", "region": "north"}
    found = card.warnings({**row, **changed})
    assert len(found) == len(warnings)
    assert all(told.startswith(warning) for told, warning in zip(found, warnings, strict=True))


def test_bands_begin_at_their_edges(card: Scorecard) -> None:
    edges = {1.0: "high", 0.6: "high", 0.5999: "medium", 0.3: "medium", 0.2999: "low", 0.0: "low"}
    assert {probability: card.band(probability) for probability in edges} == edges


def test_extreme_log_odds_give_probabilities_without_overflow() -> None:
    card = carded(fitted(slope=1e6))
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        probability = card.probability(
            {name: [value] for name, value in rows_of(adversarial_rows(1))[0].items()}
        )
    assert 0.0 <= probability[0] <= 1.0


def test_a_scorecard_that_would_say_something_else_is_not_made() -> None:
    class Tangled(Model):
        def log_odds(self, table: pd.DataFrame) -> Floats:
            product: Floats = (table["visits"] * table["balance"]).fillna(0).to_numpy(dtype=float)
            return product

    model = fitted()
    with pytest.raises(ValueError, match="differs from the model"):
        facts_of(Tangled(model.name, model.features, model.pipelines, model.weights))


def _without(*path: str | int) -> Any:
    def damage(facts: Any) -> None:
        for key in path[:-1]:
            facts = facts[key]
        del facts[path[-1]]

    return damage


def _with(value: Any, *path: str | int) -> Any:
    def damage(facts: Any) -> None:
        for key in path[:-1]:
            facts = facts[key]
        facts[path[-1]] = value

    return damage


DAMAGE: dict[str, Any] = {
    "another format": _with("shopping list", "format"),
    "another version": _with(1, "version"),
    "no base": _without("base"),
    "no terms": _without("terms"),
    "no columns": _without("columns"),
    "a column twice": lambda facts: facts["columns"].append(facts["columns"][0]),
    "terms that are none": _with([1], "terms"),
    "an unknown kind": _with("tree", "terms", 0, "kind"),
    "an unknown scale": _with("cubic", "terms", 0, "scale"),
    "a line without points": _without("terms", 0, "points"),
    "points that fall": _with([3.0, 1.0], "terms", 0, "points"),
    "an effect that is text": _with("1", "terms", 0, "effects", 0),
    "an effect that is null": _with(None, "terms", 4, "effects", 0),
    "an effect too few": lambda facts: facts["terms"][4]["effects"].pop(),
    "a place that is none": _with(-1, "terms", 4, "places", "pro"),
    "a term of no column": _with("nowhere", "terms", 0, "column"),
    "a base that is true": _with(True, "base"),
    "a group of no column": _with([["nowhere"]], "groups"),
    "no band": _without("bands", "high"),
    "a threshold that is a list": _with([], "threshold"),
}
TREE_DAMAGE: dict[str, Any] = {
    "a split that leads back": _with(0, "trees", "left", 0, 0),
    "a leaf that is not there": _with(-99, "trees", "left", 0, 0),
    "a question that nobody asks": _with(10**6, "trees", "splits", 0, 0),
    "rows of different length": lambda facts: facts["trees"]["splits"][0].pop(),
    "an answer of a missing value too few": lambda facts: facts["trees"]["conditions"][0]["missing"].pop(),
    "a value that is null": _with(None, "trees", "values", 0, 0),
    "a column that is none": _with("nowhere", "trees", "conditions", 0, "column"),
    "no leaves": _without("trees", "values"),
}


@pytest.mark.parametrize("damage", TREE_DAMAGE)
def test_damaged_trees_are_refused_with_a_sentence(damage: str) -> None:
    facts = json.loads(json.dumps(facts_of(BOOSTED)))
    TREE_DAMAGE[damage](facts)
    with pytest.raises(ReleaseError, match="this is no scorecard that can be read"):
        scorecard.load(json.dumps(facts).encode())


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_scorecard_is_refused_with_a_sentence(damage: str) -> None:
    facts = json.loads(json.dumps(facts_of(fitted())))
    DAMAGE[damage](facts)
    with pytest.raises(ReleaseError, match="this is no scorecard that can be read"):
        scorecard.load(json.dumps(facts).encode())


@pytest.mark.parametrize(
    "data",
    [b"", b"null", b"[]", b"{", b"\xff\xfe", b"[" * 100_000],
)
def test_what_is_no_json_object_is_refused_with_a_sentence(data: bytes) -> None:
    with pytest.raises(ReleaseError, match="this is no scorecard that can be read"):
        scorecard.load(data)


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"1e999"])
def test_numbers_without_bounds_are_refused(number: bytes) -> None:
    facts = json.dumps(facts_of(fitted()) | {"base": 12345.25}).encode()
    with pytest.raises(ReleaseError, match="no finite number"):
        scorecard.load(facts.replace(b"12345.25", number))


def test_a_truncated_scorecard_is_refused_wherever_it_ends() -> None:
    whole = files.as_json(facts_of(fitted())).encode()
    for length in range(0, len(whole) - 1, 97):
        with pytest.raises(ReleaseError, match="this is no scorecard that can be read"):
            scorecard.load(whole[:length])


def test_loading_and_scoring_import_numpy_and_nothing_heavier(tmp_path: Path) -> None:
    path = tmp_path / "scorecard.json"
    files.write_json(path, facts_of(fitted()))
    row = {"visits": 3.0, "balance": 1.0, "always": 0.1, "never": 0.0, "plan": "pro", "region": "north"}
    code = (
        "import sys; from attrition import scorecard\n"
        f"card = scorecard.load(open({str(path)!r}, 'rb').read())\n"
        f"card.explain({ {name: [value] for name, value in row.items()}!r}); card.score_row({row!r})\n"
        "print({'pandas', 'sklearn', 'scipy', 'pydantic'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


def test_one_row_takes_microseconds(card: Scorecard) -> None:
    row = rows_of(adversarial_rows(1))[0]
    clock = time.process_time()
    for _ in range(2000):
        card.score_row(row)
    assert time.process_time() - clock < 0.2
