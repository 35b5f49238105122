"""Every test of every column in every window, and of the columns taken together."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attrition import arrivals, twosample
from attrition import profile as profiles
from attrition.arrivals import Windows
from attrition.twosample import Apart, Told

Floats = NDArray[np.float64]
Profile = Mapping[str, Any]

# what an effect is, by test; each test has a sentence in attrition.phrases
EFFECTS = {
    "Kolmogorov-Smirnov": "distance of the distributions",
    "rank sum": "Cliff's delta",
    "heap": "share gained by one value",
    "missing": "share missing more",
    "above the range": "share above",
    "below the range": "share below",
    "chi-squared": "share of rows changed",
    "never seen": "share never seen more",
    "order": "share that breaks it more",
}
# the rate of names never seen is estimated from few: worth a third of its rows
NEVER_SEEN_PART = 3.0
# a category is told by its commonest names where columns are taken together
COMMONEST = 5
FEWEST_TOGETHER = 8


@dataclass(frozen=True)
class Finding:
    """Tests by name, each with an entry a window, of a column: its kind, and its place among its kind.

    Kinds are "number", "category" and "order": that one number column is above another.
    """

    column: str
    kind: str
    place: int
    tests: Mapping[str, Told]

    def least(self) -> float:
        """The smallest nominal p-value of all tests and windows: what calibration is about."""
        return float(min(told.p_value.min() for told in self.tests.values()))


def of_columns(profile: Profile, windows: Windows) -> Iterator[Finding]:
    """The findings of number columns, of category columns, then of orders, as the profile has them."""
    tests = _number_tests(profile, windows) if profile["numbers"] else {}
    for place, column in enumerate(profile["numbers"]):
        mine = {
            name: Told(told.statistic[:, place], told.p_value[:, place], told.effect[:, place])
            for name, told in tests.items()
        }
        yield Finding(column, "number", place, mine)
    for place, (column, known) in enumerate(profile["categories"].items()):
        counts = windows.categories[place].astype(float)
        yield Finding(column, "category", place, _category_tests(known, counts))
    for place, order in enumerate(profile["orders"]):
        told = _order_test(profile, order, windows.orders[:, place].astype(float))
        yield Finding(f"{order['above']} > {order['below']}", "order", place, {"order": told})


def together(profile: Profile, sample: Sequence[Sequence[int]]) -> tuple[Apart, tuple[str, ...]] | None:
    """What a classifier tells of new rows, shape (rows, columns) as codes, and the columns it does so by.

    None where there is but one column, or few rows.
    """
    old, new = np.array(profile["sample"]).T, np.array(sample)
    if old.ndim < 2 or old.shape[1] < 2 or min(len(old), len(new)) < FEWEST_TOGETHER:
        return None
    names, tables = zip(*_positions(profile), strict=True)
    placed = [
        np.hstack([table[column] for table, column in zip(tables, codes.T, strict=True)])
        for codes in (old, new)
    ]
    apart = twosample.classifier(*placed)
    owners = [name for name, table in zip(names, tables, strict=True) for _ in range(table.shape[1])]
    return apart, tuple(dict.fromkeys(owners[feature] for feature in apart.features))


def _number_tests(profile: Profile, windows: Windows) -> dict[str, Told]:
    """Tests of all number columns at once, each with arrays of shape (windows, number columns)."""
    known = profile["numbers"].values()
    reference = np.zeros((len(known), arrivals.width(profile)))
    for place, number in enumerate(known):
        reference[place, : len(number["bins"])] = number["bins"]
    missing = np.array([number["missing"] for number in known], dtype=float)
    new, new_missing = windows.numbers[..., :-1].astype(float), windows.numbers[..., -1].astype(float)
    rows, new_rows, none = reference.sum(-1), new.sum(-1), np.zeros(len(known))
    top = [profiles.bins(number) - 1 for number in known]
    above = new[:, np.arange(len(top)), top]
    return {
        "Kolmogorov-Smirnov": twosample.kolmogorov_smirnov(reference, new),
        "rank sum": twosample.rank_sum(reference, new),
        "heap": twosample.heap(reference, new),
        "missing": twosample.share(missing, rows + missing, new_missing, new_rows + new_missing),
        "above the range": twosample.gained(none, rows, above, new_rows),
        "below the range": twosample.gained(none, rows, new[..., 0], new_rows),
    }


def _category_tests(known: Mapping[str, Any], counts: Floats) -> dict[str, Told]:
    """`counts` of the profile's names, of others, of missing; shape (windows, names + 2)."""
    here, others, missing = counts[:, :-1], counts[:, -2], counts[:, -1]
    rows, rare = float(known["rows"]), known["rare"]
    reference = np.array([*known["counts"].values(), rare["rows"]], dtype=float)
    never = min(float(known["unnamed"]), rows) / NEVER_SEEN_PART
    return {
        "never seen": twosample.gained(never, rows / NEVER_SEEN_PART, others, here.sum(-1)),
        "chi-squared": twosample.likelihood_ratio(reference, here, rare["below"]),
        "heap": twosample.heap(reference, here, len(known["counts"]) or 1),
        "missing": twosample.share(float(known["missing"]), rows + known["missing"], missing, counts.sum(-1)),
    }


def _order_test(profile: Profile, order: Mapping[str, Any], counts: Floats) -> Told:
    """`counts` of rows that break the order and that could; all orders together err like one column."""
    told = twosample.gained(order["broken"], order["rows"], counts[:, 0], counts[:, 1])
    return replace(told, p_value=np.minimum(1.0, told.p_value * len(profile["orders"])))


def _positions(profile: Profile) -> Iterator[tuple[str, Floats]]:
    """Each column, and what each of its codes stands for, shape (codes, features).

    A number stands at its rank among training rows, from -1 to 1, a missing one in the middle. Code -1 is
    the last row.
    """
    for column, known in profile["numbers"].items():
        counts = np.array(known["bins"], dtype=float)
        rank = 2 * (np.cumsum(counts) - counts / 2) / max(1.0, counts.sum()) - 1
        yield column, np.append(rank, 0.0)[:, None]
    for column, known in profile["categories"].items():
        yield column, np.eye(len(known["counts"]) + 2)[:, : min(COMMONEST, len(known["counts"]))]
