"""Rows that are as rows should be, in microseconds: whatever is remarkable goes the full way instead.

`Rows` knows the contract's limits, `Usual` what a scorecard saw in training. Each says yes only where the
full way would have nothing to say; tests hold both to it.
"""

import math
from collections.abc import Mapping
from typing import Any

from attrition.contract import WHITE, Contract
from attrition.scorecard import NumberColumn, Scorecard


class Rows:
    """JSON objects that plainly keep the contract, judged as `Contract.judge_instance` does."""

    def __init__(self, contract: Contract) -> None:
        clients = contract.clients
        self._numbers = [(c, *contract.limits(c)) for c in clients.numeric]
        self._optional = [(c, *contract.limits(c)) for c in clients.numbers if c not in clients.numeric]
        self._kinds = [
            (c, self._allowed(contract, c), c not in clients.required) for c in clients.categorical
        ]
        self._texts = [c for c in (clients.id, *clients.texts) if c not in clients.categorical]
        self._derived = list(contract.derived.items())
        self._rules = [rule for rule, severity in contract.rules if severity == "reject"]

    @staticmethod
    def _allowed(contract: Contract, column: str) -> frozenset[str] | None:
        allowed = contract.clients.categories.get(column)
        return None if allowed is None else frozenset(allowed)

    def values(self, instance: Mapping[str, Any]) -> dict[str, Any] | None:
        """The row's values by column, or None where the contract has to be asked."""
        values: dict[str, Any] = {}
        get = instance.get
        for column, low, high in self._numbers:
            value = get(column)
            if (type(value) is not float and type(value) is not int) or not low <= value <= high:
                return None
            values[column] = float(value)
        for column, allowed, may_be_blank in self._kinds:
            value = get(column)
            if type(value) is not str:
                return None
            values[column] = value = value.strip(WHITE)
            if value:
                if allowed is not None and value not in allowed:
                    return None
            elif not may_be_blank:
                return None
        for column in self._texts:
            value = get(column, "")
            if type(value) is not str:
                if type(value) is not int:
                    return None
                value = str(value)
            values[column] = value.strip(WHITE)
        for column, low, high in self._optional:
            value = get(column, math.nan)
            if type(value) is not float and type(value) is not int:
                return None
            if not low <= value <= high and (column in instance or value == value):
                return None
            values[column] = float(value)
        for column, formula in self._derived:
            values[column] = formula(values)
        if any(rule.broken_by(values) for rule in self._rules):
            return None
        return values


class Usual:
    """Rows about which a scorecard has no warning: nothing missing, nothing it never saw."""

    def __init__(self, card: Scorecard) -> None:
        numbers = [column for column in card.columns if isinstance(column, NumberColumn)]
        # a number that was always missing in training has no range
        self._numbers = [
            (n.column, n.low, n.high) for n in numbers if n.low is not None and n.high is not None
        ]
        self._missing = [n.column for n in numbers if n.low is None or n.high is None]
        self._kinds = [
            (column.column, frozenset(value for value in column.known if value))
            for column in card.columns
            if not isinstance(column, NumberColumn)
        ]

    def is_usual(self, row: Mapping[str, Any]) -> bool:
        for column, low, high in self._numbers:
            if not low <= row[column] <= high:
                return False
        for column, known in self._kinds:
            if row[column] not in known:
                return False
        return all(row[column] != row[column] for column in self._missing)
