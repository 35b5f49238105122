"""Whether a scorecard says what the pickled model says, on rows of the data and on rows meant to trip it."""

from typing import TYPE_CHECKING, Any

import numpy as np

from attrition.scorecard import NumberColumn, Scorecard
from attrition.terms import Cuts, Line, Pair, Steps

if TYPE_CHECKING:
    import pandas as pd

    from attrition.candidates import Model

LARGEST = 1e9
EXTREMES = (np.nan, 0.0, -0.0, -1.0, 1e9, -1e9, 1e-300, 5e-324)
STRANGE = ("", "nan", "None", "=1+1", "a,b", "never seen", "\U0001f600", "x" * 10_000)


def adversarial(card: Scorecard, rows: int, seed: int) -> "pd.DataFrame":
    """Rows of values missing, unseen, out of range, extreme, or on and beside an edge of the card."""
    import pandas as pd

    random = np.random.default_rng(seed)
    columns: dict[str, Any] = {}
    for column in card.columns:
        if isinstance(column, NumberColumn):
            # the contract lets no number through that is larger
            edges = np.clip(_edges(card, column.column) or [0.0], -LARGEST, LARGEST)
            ends = [end for end in (column.low, column.high, column.typical) if end is not None]
            beyond = [*(end + 1 for end in ends), *(end - 1 for end in ends)]
            beside = np.concatenate([edges, np.nextafter(edges, np.inf), np.nextafter(edges, -np.inf)])
            pool = np.clip(np.concatenate([EXTREMES, ends, beyond, beside]), -LARGEST, LARGEST)
            columns[column.column] = random.choice(pool, rows)
        else:
            # by place: numpy's own text would be cut to one length
            kinds = np.array([*column.known, *STRANGE], dtype=object)
            columns[column.column] = kinds[random.integers(len(kinds), size=rows)]
    return pd.DataFrame(columns)


def apart(card: Scorecard, model: "Model", table: "pd.DataFrame") -> float:
    """How far the two are apart at most, in log-odds; NaN where one of them gives no number."""
    return float(np.max(np.abs(card.log_odds(table) - model.log_odds(table)), initial=0.0))


def _edges(card: Scorecard, column: str) -> list[float]:
    found: list[float] = []
    for term in card.terms:
        if isinstance(term, Line) and term.column == column:
            found += term.points
        axes = (
            (term.axis,)
            if isinstance(term, Steps)
            else (term.one, term.other)
            if isinstance(term, Pair)
            else ()
        )
        for axis in axes:
            if isinstance(axis, Cuts) and axis.column == column:
                found += axis.cuts
    if card.forest is not None:
        for conditions in card.forest.conditions:
            if conditions.column == column:
                found += conditions.below.tolist()
    return found
