"""Columns that know the outcome too well to have been known before it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from attrition.settings import Clients

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# a column that ranks leavers this well all alone was most likely written down after they left
LEAK_AUC = 0.98
# blanks in one class only are no chance below this: 11 blanks of 7,043 rows may well all be stayers
LEAK_CHANCE = 0.001
# a category with more values than this share of the clients names the client
ID_LIKE_SHARE = 0.5


def alarms(
    clients: Clients, table: "pd.DataFrame", outcome: "Floats", client: "NDArray[Any]"
) -> Iterator[str]:
    """Columns that know the outcome too well to have been known before it, a sentence each."""
    for column in clients.features:
        is_category = column in clients.categorical
        values = table[column]
        blank = ((values == "") if is_category else values.isna()).to_numpy()
        numbers = rates_of_others(table[column], outcome, client) if is_category else values.to_numpy()
        alarm = (
            blank_alarm(column, blank, outcome)
            or (id_alarm(column, values[~blank].nunique(), len(set(client))) if is_category else None)
            or auc_alarm(column, numbers[~blank], outcome[~blank])
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


def rates_of_others(values: "pd.Series", outcome: "Floats", client: "NDArray[Any]") -> "Floats":
    """For each row its category's rate of leaving among the other half of the clients, shape (rows,)."""
    import numpy as np
    import pandas as pd

    half = np.unique(client, return_inverse=True)[1] % 2
    rates = np.empty(len(half))
    for here in (0, 1):
        mine = half == here
        others = pd.Series(outcome[~mine]).groupby(values.to_numpy()[~mine]).mean()
        rates[mine] = values[mine].map(others).astype(float).fillna(outcome.mean())
    return rates
