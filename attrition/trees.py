"""Trees of a scorecard as arrays: score and explain them with numpy alone.

Each tree has at most MOST_SPLITS splits. What a row answers to them, a bit each, is its pattern: the tree's
value and the share of each column are looked up by it. A large tree stands as several: each a path from the
root with nothing beside it, and a part of the tree at its end. Their values and shares add up to the tree's.

The tables of shares are made when reasons are first asked for: of 400 trees of 7 splits in some 20 ms, 3 MB;
of 2,750 of 8 splits in 300 ms, 45 MB.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import factorial, isnan, nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attrition.terms import Coded, Floats, number, numbers, text

Bits = NDArray[np.bool_]
Places = NDArray[np.intp]

# a pattern is a byte
MOST_SPLITS = 8
# up to so many rows it is cheaper to go row by row than tree by tree
FEW_ROWS = 200
# trees whose tables of shares are worked out together
TREES_AT_ONCE = 128


@dataclass(frozen=True)
class Conditions:
    """Yes-or-no questions about one column; `yes` are the categories (last: unseen), or None for numbers."""

    column: str
    below: Floats
    missing: Bits
    yes: Bits | None

    def of_table(self, coded: Coded) -> Bits:
        """Answers, shape (conditions, rows)."""
        if self.yes is not None:
            return self.yes[:, coded.categories[self.column]]
        values = coded.numbers[self.column]
        answers = values[None, :] <= self.below[:, None]
        blank = np.isnan(values)
        if blank.any():
            answers[:, blank] = self.missing[:, None]
        return answers


@dataclass(frozen=True)
class Forest:
    """Sum of trees, shape (trees, splits) or (trees, leaves) each. A child below 0 is the leaf ~child."""

    conditions: tuple[Conditions, ...]
    splits: Places
    left: Places
    right: Places
    values: Floats
    typical: Mapping[str, Any]
    known: Mapping[str, tuple[str, ...]]

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(each.column for each in self.conditions)

    def of_row(self, row: Mapping[str, Any]) -> float:
        """Effect against the typical client who stayed; to the last bit what `of_table` says of the row."""
        return self._value(self._pattern(row)) - self.usual

    def of_table(self, coded: Coded) -> Floats:
        """The same for every row, shape (rows,)."""
        total = np.zeros(coded.rows)
        for table, pattern in zip(self._table, self._by_tree(self._answers(coded)), strict=True):
            total += table[pattern]
        return total - self.usual

    def shares(self, coded: Coded) -> dict[str, Floats]:
        """Each column's share of it, shape (rows,): its Shapley value against the one typical client."""
        answers = self._answers(coded)
        effects = np.zeros((len(self.conditions), coded.rows))
        if coded.rows <= FEW_ROWS:
            for row, pattern in enumerate(self._packed(answers).T):
                effects[:, row] = self._shares_under(pattern)
        else:
            for tree, pattern in enumerate(self._by_tree(answers)):
                for at, column in self._leads[tree]:
                    effects[column] += self._tables[tree, at][pattern]
        return dict(zip(self.columns, effects, strict=True))

    def shares_of_row(self, row: Mapping[str, Any]) -> list[float]:
        """The same of one row, in the order of the columns."""
        shares: list[float] = self._shares_under(self._pattern(row)).tolist()
        return shares

    def _answers(self, coded: Coded) -> Bits:
        """Answers of every row to all conditions, shape (conditions + 1, rows); the last are all no."""
        nobody = np.zeros((1, coded.rows), dtype=bool)
        return np.concatenate([*(each.of_table(coded) for each in self.conditions), nobody])

    def _by_tree(self, answers: Bits) -> Iterator[Any]:
        """Pattern of each row, tree by tree."""
        bits = answers.view(np.uint8)
        for row in self.splits.tolist():
            pattern = bits[row[0]].copy()
            for at, split in enumerate(row[1:], start=1):
                pattern |= bits[split] << at
            yield pattern

    def _packed(self, answers: Bits) -> Any:
        """Pattern under each tree, of one row or of several: (conditions + 1, ...) to (trees, ...)."""
        return np.packbits(answers.take(self._bits, axis=0), axis=0, bitorder="little")

    def _pattern(self, row: Mapping[str, Any]) -> Any:
        """Pattern of one row under each tree, shape (trees,)."""
        plan = self._plan
        values = [row[column] for column in plan.numbers]
        padded = np.array([nan, *values])
        answers = padded.take(plan.number) <= plan.below
        # nan where one of them is, or where infinite ones meet: then it costs a look, and changes nothing
        if isnan(sum(values)):
            answers |= np.isnan(padded).take(plan.number) & plan.missing
        for column, place_of, at, yes in plan.kinds:
            answers[at] = yes[place_of.get(row[column], -1)]
        return self._packed(answers)

    def _value(self, pattern: Any) -> float:
        # one after the other, as a table's are added: np.sum goes in pairs and rounds otherwise
        return float(np.add.accumulate(self._flat.take(self._at + pattern))[-1])

    def _shares_under(self, pattern: Any) -> Floats:
        """Share of each column under a pattern of each tree, shape (columns,)."""
        tree, at, column = self._flat_leads
        shares = self._tables.ravel().take(at + pattern.take(tree))
        found = np.zeros(len(self.conditions))
        np.add.at(found, column, shares)
        return found

    @cached_property
    def _plan(self) -> "Plan":
        return _planned(self.conditions, self._place_of)

    @cached_property
    def _bits(self) -> Places:
        """Which condition each bit of each tree's pattern answers, shape (trees * MOST_SPLITS,)."""
        nobody = sum(len(each.missing) for each in self.conditions)
        padded = np.full((len(self.splits), MOST_SPLITS), nobody)
        padded[:, : self.splits.shape[1]] = self.splits
        return padded.ravel()

    @cached_property
    def _place_of(self) -> dict[str, dict[str, int]]:
        return {
            column: {value: place for place, value in enumerate(values)}
            for column, values in self.known.items()
        }

    @cached_property
    def _powers(self) -> Places:
        return 2 ** np.arange(self.splits.shape[1])

    @cached_property
    def _at(self) -> Places:
        return np.arange(len(self.splits)) * self._table.shape[1]

    @cached_property
    def _flat(self) -> Floats:
        return self._table.ravel()

    @cached_property
    def usual(self) -> float:
        """What the trees say of the typical client who stayed."""
        return self._value(self._usual_pattern)

    @cached_property
    def _table(self) -> Floats:
        """Value of each tree under each pattern, shape (trees, patterns)."""
        trees, splits = self.splits.shape
        pattern = np.arange(2**splits)[None, :]
        tree = np.arange(trees)[:, None]
        node = np.zeros((trees, 2**splits), dtype=np.intp)
        for _ in range(splits):
            inside = np.maximum(node, 0)
            answer = (pattern >> inside) & 1
            child = np.where(answer == 1, self.left[tree, inside], self.right[tree, inside])
            node = np.where(node >= 0, child, node)
        return self.values[tree, ~node]

    @cached_property
    def _column(self) -> Places:
        """Which column each split asks about, shape (trees, splits)."""
        owner = np.concatenate([np.full(len(each.missing), at) for at, each in enumerate(self.conditions)])
        return owner[self.splits]

    @cached_property
    def _leads(self) -> list[list[tuple[int, int]]]:
        """Of each tree the columns on the way to a leaf, each with the first split that asks about it."""
        used = (self._needed >= 0).any(axis=1)
        found: list[list[tuple[int, int]]] = []
        needs: list[list[bool]] = np.asarray(used).tolist()
        for columns, needed in zip(self._column.tolist(), needs, strict=True):
            first: dict[int, int] = {}
            wanted = {column for column, need in zip(columns, needed, strict=True) if need}
            for at, column in enumerate(columns):
                if column in wanted:
                    first.setdefault(column, at)
            found.append([(at, column) for column, at in first.items()])
        return found

    @cached_property
    def _flat_leads(self) -> tuple[Places, Places, Places]:
        """All of them: the tree, where its row of `_tables` begins, and the column; shape (leads,) each."""
        splits, patterns = self._tables.shape[1:]
        leads = [(tree, at, column) for tree, found in enumerate(self._leads) for at, column in found]
        tree, at, column = np.array(leads, dtype=np.intp).reshape(-1, 3).T.copy()
        return tree, (tree * splits + at) * patterns, column

    @cached_property
    def _needed(self) -> NDArray[np.int8]:
        """What a leaf needs of each split: 1 yes, 0 no, -1 nothing; shape (trees, leaves, splits)."""
        trees, splits = self.splits.shape
        of_node = np.full((trees, splits, splits), -1, dtype=np.int8)
        of_leaf = np.full((trees, self.values.shape[1], splits), -1, dtype=np.int8)
        reached = np.zeros((trees, splits), dtype=bool)
        reached[:, 0] = True
        for at in range(splits):
            for child, answer in ((self.left[:, at], 1), (self.right[:, at], 0)):
                needs = of_node[:, at].copy()
                needs[:, at] = answer
                inner = np.flatnonzero(reached[:, at] & (child >= 0))
                of_node[inner, child[inner]] = needs[inner]
                reached[inner, child[inner]] = True
                outer = np.flatnonzero(reached[:, at] & (child < 0))
                of_leaf[outer, ~child[outer]] = needs[outer]
        return of_leaf

    @cached_property
    def _tables(self) -> Floats:
        """Share of each split's column under each pattern, shape (trees, splits, patterns)."""
        starts = range(0, len(self.splits), TREES_AT_ONCE)
        return np.concatenate([self._shapley(slice(at, at + TREES_AT_ONCE)) for at in starts])

    def _shapley(self, some: slice) -> Floats:
        """Exact Shapley values of some trees, leaf by leaf, at the first split of each column; others are 0.

        The result has shape (trees, splits, patterns). A leaf is reached when some columns are the client's
        and others the typical one's. Each of the first earns its value, each of the second loses it, weighed
        as Shapley 1953 has it (interventional: Lundberg et al. 2020).
        """
        splits = self.splits.shape[1]
        pattern = np.arange(2**splits, dtype=np.uint8)[None]
        masks = self._masks[some]
        found = np.zeros((len(masks), splits, pattern.shape[1]))
        for leaf in range(self.values.shape[1]):
            value = self.values[some, leaf]
            if not value.any():
                continue
            asked, wanted = self._asked[some, leaf], self._wanted[some, leaf]
            # splits that the typical client, and those that this one, answers otherwise than the leaf needs
            theirs = (self._usual_pattern[some] ^ wanted) & asked
            mine = (pattern ^ wanted[:, None]) & asked[:, None]
            earns = (masks & theirs[:, None]) != 0
            live = (mine & np.bitwise_or.reduce(masks * earns, axis=1)[:, None]) == 0
            loses = [(mine & masks[:, at, None]) != 0 for at in range(splits)]
            losing = np.sum(loses, axis=0, dtype=np.uint8)
            earning = earns.sum(axis=1)[:, None]
            each = live * value[:, None]
            earned, lost = each * EARNS[earning, losing], each * LOSES[earning, losing]
            for at in range(splits):
                found[:, at] += np.where(earns[:, at, None], earned, -(lost * loses[at]))
        return found

    @cached_property
    def _masks(self) -> Any:
        """Which splits ask about each column, as bits, at the column's first split; shape (trees, splits)."""
        same = self._column[:, :, None] == self._column[:, None, :]
        first = np.argmax(same, axis=2) == np.arange(same.shape[1])
        return np.where(first, same @ self._powers, 0).astype(np.uint8)

    @cached_property
    def _asked(self) -> Any:
        """The splits on the way to each leaf, as bits; shape (trees, leaves)."""
        return ((self._needed >= 0) @ self._powers).astype(np.uint8)

    @cached_property
    def _wanted(self) -> Any:
        """The answers on the way to each leaf, as bits; shape (trees, leaves)."""
        return ((self._needed == 1) @ self._powers).astype(np.uint8)

    @cached_property
    def _usual_pattern(self) -> Any:
        return self._pattern(self.typical)


@dataclass(frozen=True)
class Plan:
    """The conditions laid out for one row, so that it is compared with all of them at once.

    `number` is which of the row's numbers each condition is about, shape (conditions + 1,), 0 for none.
    """

    numbers: tuple[str, ...]
    number: Places
    below: Floats
    missing: Bits
    kinds: tuple[tuple[str, Mapping[str, int], slice, Sequence[Bits]], ...]


def _planned(conditions: Sequence[Conditions], places: Mapping[str, Mapping[str, int]]) -> Plan:
    count = sum(len(each.missing) for each in conditions)
    number, below = np.zeros(count + 1, dtype=np.intp), np.full(count + 1, nan)
    missing = np.zeros(count + 1, dtype=bool)
    numbers: list[str] = []
    kinds: list[tuple[str, Mapping[str, int], slice, Sequence[Bits]]] = []
    start = 0
    for each in conditions:
        at = slice(start, start := start + len(each.missing))
        if each.yes is None:
            numbers.append(each.column)
            number[at], below[at], missing[at] = len(numbers), each.below, each.missing
        else:
            kinds.append((each.column, places[each.column], at, list(each.yes.T.copy())))
    return Plan(tuple(numbers), number, below, missing, tuple(kinds))


def _weights(mine: int, others: int) -> float:
    return factorial(mine - 1) * factorial(others) / factorial(mine + others) if mine else 0.0


EARNS = np.array([[_weights(p, q) for q in range(MOST_SPLITS + 1)] for p in range(MOST_SPLITS + 1)])
LOSES = EARNS.T


def load(facts: Mapping[str, Any], known: Mapping[str, Sequence[str]], typical: Mapping[str, Any]) -> Forest:
    """The trees as they stand in scorecard.json; ValueError, TypeError or KeyError where they are damaged."""
    conditions = tuple(_conditions(each, known, typical) for each in facts["conditions"])
    splits, left, right = (_places(facts[name]) for name in ("splits", "left", "right"))
    values = np.array([numbers(row) for row in facts["values"]], dtype=float)
    asked = sum(len(each.missing) for each in conditions)
    if not splits.shape == left.shape == right.shape or not 0 < splits.shape[1] <= MOST_SPLITS:
        raise ValueError("the trees' splits do not fit each other")
    if values.ndim != 2 or len(values) != len(splits) or splits.min() < 0 or splits.max() >= asked:
        raise ValueError("the trees' leaves or conditions do not fit their splits")
    later = np.arange(splits.shape[1])
    for child in (left, right):
        if ((child >= 0) & (child <= later)).any() or child.max() >= splits.shape[1]:
            raise ValueError("a tree does not lead away from its root")
        if (~child >= values.shape[1]).any():
            raise ValueError("a tree leads to a leaf that it does not have")
    kinds = {column: tuple(values) for column, values in known.items()}
    return Forest(conditions, splits, left, right, values, typical, kinds)


def _conditions(
    facts: Mapping[str, Any], known: Mapping[str, Sequence[str]], typical: Mapping[str, Any]
) -> Conditions:
    column = text(facts["column"])
    if column in known:
        order = [*known[column]]
        yes = np.zeros((len(facts["yes"]), len(order) + 1), dtype=bool)
        place_of = {value: place for place, value in enumerate(order)}
        for at, values in enumerate(facts["yes"]):
            yes[at, [place_of[text(value)] for value in values]] = True
        yes[:, -1] = _flags(facts["missing"], len(yes))
        return Conditions(column, np.zeros(0), yes[:, -1], yes)
    if column not in typical:
        raise ValueError(f"{column!r} is no column of this scorecard")
    below = np.array([number(value) for value in facts["below"]])
    return Conditions(column, below, _flags(facts["missing"], len(below)), None)


def _flags(values: Any, count: int) -> Bits:
    if len(values) != count or not all(value in (0, 1) for value in values):
        raise ValueError("what a missing value answers must be 0 or 1, once for each condition")
    return np.array(values, dtype=bool)


def _places(rows: Any) -> Places:
    places = np.array(rows)
    if places.ndim != 2 or places.dtype.kind != "i":
        raise ValueError("the splits of trees must be rows of whole numbers, equally many each")
    return places.astype(np.intp)
