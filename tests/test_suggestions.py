"""Which derived columns pay: those that the truth is made of, and no others."""

import numpy as np
import pandas as pd

from attrition import suggestions
from attrition.settings import Clients
from training import Suggested

CLIENTS = Clients(numeric=("day_charge", "night_charge", "eve_charge", "tickets"))


def rows(truth: str) -> tuple[pd.DataFrame, suggestions.Floats]:
    random = np.random.default_rng(0)
    table = pd.DataFrame({column: random.lognormal(2, 0.7, 1200) for column in CLIENTS.numeric})
    total = table["day_charge"] + table["night_charge"] + table["eve_charge"]
    values = {"sum": total, "none": table["tickets"]}[truth]
    odds = 4 * (values > values.median()) - 2
    return table, (random.random(1200) < 1 / (1 + np.exp(-odds))).astype(float)


def test_the_sum_that_the_truth_is_made_of_is_found_first() -> None:
    table, outcome = rows("sum")
    found = suggestions.suggest(CLIENTS, table, outcome, np.arange(1200), 3, 0)
    assert found[0].column == "charge_sum"
    assert found[0].formula == "day_charge + night_charge + eve_charge"
    assert 0 < found[0].low < found[0].gain < found[0].high
    lines = str(Suggested(found)).splitlines()
    assert lines[1].startswith(
        '  "charge_sum": "day_charge + night_charge + eve_charge"   log loss falls by 0.'
    )


def test_where_no_derived_column_pays_none_is_suggested() -> None:
    table, outcome = rows("none")
    assert suggestions.suggest(CLIENTS, table, outcome, np.arange(1200), 3, 0) == []
    assert str(Suggested([])).startswith("No sum")


def test_columns_are_of_like_units_where_their_names_share_a_word() -> None:
    clients = Clients(numeric=("MonthlyCharges", "TotalCharges", "tenure", "visits", "the visits"))
    assert list(suggestions.like_units(clients)) == [("charge", ["MonthlyCharges", "TotalCharges"])]
    assert suggestions.formulas(clients) == {
        "charge_sum": "MonthlyCharges + TotalCharges",
        "MonthlyCharges_less_TotalCharges": "MonthlyCharges - TotalCharges",
        "MonthlyCharges_per_TotalCharges": "MonthlyCharges / TotalCharges",
        "TotalCharges_per_MonthlyCharges": "TotalCharges / MonthlyCharges",
    }
