"""What a release was trained on, as numbers: small enough to be kept with it, enough to know others by.

A profile holds, for each number column, points of the training rows and exact counts of all rows at and
between them; for each category column its counts; for pairs of number columns the order that rows rarely
break; and one random sample of whole rows. Tests on such counts depend on ranks alone and use every training
row: a sample of values would throw most of a large table away.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Codes = NDArray[np.int32]
Profile = dict[str, Any]

# 128 points lose less than 1/128 of a Kolmogorov-Smirnov distance, and nothing where values are fewer
POINTS = 128
KINDS = 200
SAMPLE = 500
# one number column above another in no more than this share of rows is a rule that rows keep
RARELY = 0.02
MISSING = -1


def of(numbers: Mapping[str, Floats], categories: Mapping[str, NDArray[Any]], seed: int) -> Profile:
    """The profile of training rows: a dict that JSON can hold, the same for the same rows and seed.

    `numbers` and `categories` map a column to its values, shape (rows,) each; NaN (or an infinity) is a
    missing number, "" a missing category. Raises ValueError where columns differ in length.

    Stable keys: rows, numbers.COLUMN.{rows, missing, min, max, median, mean, sd, decimals}, and
    categories.COLUMN.{rows, missing, counts, rare}. `rows` of a column counts what is not missing. The other
    keys are between this room and attrition.shift.
    """
    numbers = {column: np.asarray(values, dtype=float) for column, values in numbers.items()}
    categories = {column: np.asarray(values, dtype=object) for column, values in categories.items()}
    sizes = {len(values) for values in (*numbers.values(), *categories.values())}
    if len(sizes) > 1:
        raise ValueError(f"columns of one table have one length, not {', '.join(map(str, sorted(sizes)))}")
    rows = sizes.pop() if sizes else 0
    known: Profile = {
        "rows": rows,
        "seed": seed,
        "numbers": {column: _number(values) for column, values in numbers.items()},
        "categories": {column: _category(values) for column, values in categories.items()},
    }
    drawn = np.random.default_rng([seed, rows]).permutation(rows)[:SAMPLE]
    known["orders"] = _orders(known["numbers"], numbers, drawn)
    known["sample"] = [
        *(number_codes(known["numbers"][name], values[drawn]).tolist() for name, values in numbers.items()),
        *(
            category_codes(known["categories"][name], values[drawn]).tolist()
            for name, values in categories.items()
        ),
    ]
    known["id"] = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]
    return known


def bins(number: Mapping[str, Any]) -> int:
    """How many bins a number column has: each point, and the gaps before, between and after them."""
    return 2 * len(number["points"]) + 1


def number_codes(number: Mapping[str, Any], values: Floats) -> Codes:
    """The bin of each value, shape (rows,): odd at a point, even in a gap, MISSING where there is none."""
    points, values = np.asarray(number["points"]), np.asarray(values, float)
    code = np.searchsorted(points, values, "left") + np.searchsorted(points, values, "right")
    return np.where(np.isfinite(values), code, MISSING).astype(np.int32)


def category_codes(category: Mapping[str, Any], values: NDArray[Any]) -> Codes:
    """The place of each value in the profile's counts, shape (rows,).

    One place more for what has none there, MISSING for "".
    """
    places = {name: place for place, name in enumerate(category["counts"])} | {"": MISSING}
    other = len(category["counts"])
    return np.fromiter((places.get(value, other) for value in values.tolist()), np.int32, len(values))


def median(ordered: Floats) -> float:
    """The median of sorted values, also where the sum of two is beyond the largest double."""
    one, other = float(ordered[(len(ordered) - 1) // 2]), float(ordered[len(ordered) // 2])
    return one if one == other else one / 2 + other / 2


def orders_broken(one: Floats, other: Floats) -> tuple[int, int]:
    """In how many rows `one` is above `other`, of how many that have both."""
    both = np.isfinite(one) & np.isfinite(other)
    return int(np.count_nonzero(one[both] > other[both])), int(np.count_nonzero(both))


def _orders(
    known: Mapping[str, Any], numbers: Mapping[str, Floats], drawn: NDArray[np.intp]
) -> list[dict[str, Any]]:
    """Pairs of columns of which the first is rarely above the second, though their ranges overlap."""
    sample = {column: values[drawn] for column, values in numbers.items() if known[column]["points"]}
    orders = []
    for one, other in permutations(sample, 2):
        if known[one]["max"] <= known[other]["min"]:
            continue
        # a tenth of the drawn rows says no faster than all rows do
        if np.count_nonzero(sample[one] > sample[other]) > len(drawn) / 10:
            continue
        broken, rows = orders_broken(numbers[one], numbers[other])
        if rows and broken <= RARELY * rows:
            orders.append({"above": one, "below": other, "broken": broken, "rows": rows})
    return orders


def _number(values: Floats) -> dict[str, Any]:
    there = np.sort(values[np.isfinite(values)])
    facts: dict[str, Any] = {"rows": len(there), "missing": len(values) - len(there)}
    if len(there) == 0:
        nothing = dict.fromkeys(("min", "max", "median", "mean", "sd"))
        return facts | nothing | {"decimals": 0, "points": [], "bins": [0]}
    facts |= {"min": float(there[0]), "max": float(there[-1]), "median": median(there)}
    # a mean of values near the largest double is no number, and JSON has no word for that
    with np.errstate(over="ignore", invalid="ignore"):
        moments = {"mean": float(there.mean()), "sd": float(there.std())}
    facts |= {name: moment if np.isfinite(moment) else None for name, moment in moments.items()}
    facts["decimals"] = _decimals(there)
    facts["points"] = _points(there).tolist()
    facts["bins"] = np.bincount(number_codes(facts, there), minlength=bins(facts)).tolist()
    return facts


def _points(ordered: Floats) -> Floats:
    different = np.unique(ordered)
    if len(different) <= POINTS:
        return different
    return np.unique(ordered[np.linspace(0, len(ordered) - 1, POINTS).round().astype(int)])


def _decimals(values: Floats) -> int:
    """Fewest decimals that show every value, 6 at most."""
    with np.errstate(over="ignore", invalid="ignore"):
        return next((d for d in range(6) if np.array_equal(np.round(values, d), values)), 6)


def _category(values: NDArray[Any]) -> dict[str, Any]:
    counted = Counter(values.tolist())
    missing = counted.pop("", 0)
    ordered = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    # kinds of one count are named all or none: which of them are rare is no matter of their names
    least = 1 if len(ordered) <= KINDS else ordered[KINDS][1] + 1
    named = {name: count for name, count in ordered if count >= least}
    rows = len(values) - missing
    rare = {"kinds": len(ordered) - len(named), "rows": rows - sum(named.values()), "below": least}
    return {
        "rows": rows,
        "missing": missing,
        "counts": named,
        "rare": rare,
        # of Good and Turing: kinds not named here are expected as often in as many rows drawn anew
        "unnamed": rare["rows"] + least * sum(count == least for count in counted.values()),
    }
