"""What came since the release went live, counted into the bins of its training profile.

Batches become blocks. The newest stands alone; older ones are merged as they age, so that trailing windows
double in length and their number grows with the logarithm of the rows, whatever the size of the batches.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attrition import profile as profiles
from attrition.errors import DataError

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Codes = NDArray[np.int32]
Names = tuple[str, ...]
Profile = Mapping[str, Any]

# rows enough for a look, and for a block: the twentieth part of the reference, within these bounds
PART = 20
FEWEST_ROWS, MOST_ROWS = 20, 200
# the longest window is of so many of them, 16 references: beyond that only the reference's own error is left
LONGEST = 16 * PART
EXAMPLES = 3
ANEW = "Begin anew: only evidence since the release is lost."
FORMAT = 1


@dataclass(frozen=True)
class Block:
    """Rows that came one after the other, as counts.

    `numbers` has shape (number columns, bins and one for missing); `medians`, `low` and `high` one
    value a number column, NaN for none; `categories` one array a category column: counts of the
    profile's names, of all others, of missing; `strangers` are examples of the others; `orders` has
    shape (orders, 2): rows that break the profile's order, and rows that could.
    """

    rows: int
    batches: int
    first: str
    last: str
    numbers: Counts
    medians: Floats
    low: Floats
    high: Floats
    categories: tuple[Counts, ...]
    strangers: tuple[Names, ...]
    orders: Counts


@dataclass(frozen=True)
class Memory:
    """Blocks, the newest first, and a sample of the newest rows as codes. `Memory()` is the beginning.

    `looks` counts evidence: a batch is a look, a small one the part of a look that its rows are of a
    block.
    """

    profile: str = ""
    rows: int = 0
    batches: int = 0
    looks: float = 0.0
    blocks: tuple[Block, ...] = ()
    sample: tuple[tuple[int, ...], ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The same as what JSON can hold."""
        blocks = [{name: _plain(value) for name, value in vars(block).items()} for block in self.blocks]
        return vars(self) | {"format": FORMAT, "blocks": blocks, "sample": _plain(self.sample)}


def from_json(facts: Mapping[str, Any]) -> Memory:
    """The memory that `as_json` wrote. Raises DataError where it is none."""
    try:
        if facts["format"] != FORMAT:
            raise ValueError
        return Memory(
            str(facts["profile"]),
            int(facts["rows"]),
            int(facts["batches"]),
            float(facts["looks"]),
            tuple(_block_of(block) for block in facts["blocks"]),
            tuple(tuple(map(int, row)) for row in facts["sample"]),
        )
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"the memory of incoming rows cannot be read. {ANEW}") from error


def take(
    profile: Profile,
    memory: Memory,
    numbers: Mapping[str, Floats],
    categories: Mapping[str, NDArray[Any]],
    source: str,
) -> Memory:
    """The memory with one batch more, in whatever order of its rows; an empty batch changes nothing.

    `numbers` and `categories` map the profile's columns to values, shape (rows,) each, as in
    `profile.of`; further columns are left alone. `source` is the dataset's name. Raises DataError
    where columns are missing, or the memory is of another profile.
    """
    given = {"numbers": numbers, "categories": categories}
    if missing := [column for kind in given for column in profile[kind] if column not in given[kind]]:
        raise DataError(
            f"dataset {source}: {', '.join(missing)} of the live release's training profile is not there. "
            "Give these columns, or train a release without them."
        )
    check(profile, memory)
    codes = _codes(profile, numbers, categories)
    if len(codes) == 0:
        return memory
    newest = _block(profile, codes, numbers, categories, source)
    sample = _sampled(codes, [profile["seed"], memory.batches])
    return Memory(
        profile["id"],
        memory.rows + len(codes),
        memory.batches + 1,
        memory.looks + look_of(profile, len(codes)),
        _aged((newest, *memory.blocks), _enough(profile)),
        (*map(tuple, sample.tolist()), *memory.sample[: profiles.SAMPLE - len(sample)]),
    )


def check(profile: Profile, memory: Memory) -> None:
    """Raises DataError where the memory was begun with another profile, or its counts do not fit this one."""
    if memory.profile not in ("", profile["id"]):
        raise DataError(
            "the memory of incoming rows belongs to another training profile than the live release's. "
            "Begin anew: evidence about another release says nothing of this one."
        )
    kinds = [len(known["counts"]) + 2 for known in profile["categories"].values()]
    numbers = (len(profile["numbers"]), width(profile) + 1)
    shape = (numbers, (len(profile["orders"]), 2), kinds)
    columns = len(profile["numbers"]) + len(kinds)
    for block in memory.blocks:
        if (block.numbers.shape, block.orders.shape, [len(counts) for counts in block.categories]) != shape:
            raise DataError(f"the memory of incoming rows does not fit the live release's profile. {ANEW}")
    if any(len(row) != columns for row in memory.sample):
        raise DataError(f"the memory of incoming rows does not fit the live release's profile. {ANEW}")


@dataclass(frozen=True)
class Windows:
    """Trailing windows, the shortest first: a block's fields summed up, arrays with an entry a window."""

    rows: Counts
    sources: Names
    numbers: Counts
    medians: Floats
    low: Floats
    high: Floats
    categories: tuple[Counts, ...]
    strangers: tuple[tuple[Names, ...], ...]
    orders: Counts


def windows(blocks: Sequence[Block]) -> Windows:
    """The windows that end now: the newest block, the two newest, and so on to all of them."""
    merged = [blocks[0]]
    for older in blocks[1:]:
        merged.append(_merged(older, merged[-1]))
    columns = range(len(blocks[0].categories))
    return Windows(
        np.array([block.rows for block in merged]),
        tuple(_named(block) for block in merged),
        np.array([block.numbers for block in merged]),
        np.array([block.medians for block in merged]),
        np.array([block.low for block in merged]),
        np.array([block.high for block in merged]),
        tuple(np.array([block.categories[column] for block in merged]) for column in columns),
        tuple(block.strangers for block in merged),
        np.array([block.orders for block in merged]),
    )


def look_of(profile: Profile, rows: int) -> float:
    """How much of a look a batch of so many rows is, 1 at most."""
    return min(1.0, rows / _enough(profile))


def width(profile: Profile) -> int:
    """Bins of the number column that has the most: all get as many, the last ones empty."""
    return max((profiles.bins(known) for known in profile["numbers"].values()), default=1)


def _codes(profile: Profile, numbers: Mapping[str, Floats], categories: Mapping[str, NDArray[Any]]) -> Codes:
    """Each row's bins and places, shape (rows, columns), numbers first."""
    codes = [
        *(profiles.number_codes(known, numbers[name]) for name, known in profile["numbers"].items()),
        *(profiles.category_codes(known, categories[name]) for name, known in profile["categories"].items()),
    ]
    return np.column_stack(codes) if codes else np.zeros((0, 0), dtype=np.int32)


def _block(
    profile: Profile,
    codes: Codes,
    numbers: Mapping[str, Floats],
    categories: Mapping[str, NDArray[Any]],
    source: str,
) -> Block:
    columns = len(profile["numbers"])
    counted = [_counted(column, width(profile)) for column in codes.T[:columns]]
    extremes = np.array([_extremes(numbers[name]) for name in profile["numbers"]]).reshape(-1, 3).T
    kinds = [len(known["counts"]) for known in profile["categories"].values()]
    of_kinds = zip(profile["categories"], kinds, codes.T[columns:], strict=True)
    return Block(
        len(codes),
        1,
        source,
        source,
        np.array(counted, dtype=np.int64).reshape(-1, width(profile) + 1),
        extremes[0],
        extremes[1],
        extremes[2],
        tuple(_counted(column, kind + 1) for kind, column in zip(kinds, codes.T[columns:], strict=True)),
        tuple(_strangers(categories[name], column == kind) for name, kind, column in of_kinds),
        _orders(profile, numbers),
    )


def _counted(codes: Codes, places: int) -> Counts:
    """Rows at each of the places, and last those that are missing."""
    at = np.where(codes == profiles.MISSING, places, codes)
    return np.bincount(at, minlength=places + 1).astype(np.int64)


def _extremes(values: Floats) -> tuple[float, float, float]:
    """Median, least and largest."""
    there = np.asarray(values, dtype=float)
    there = np.sort(there[np.isfinite(there)])
    if len(there) == 0:
        return np.nan, np.nan, np.nan
    return profiles.median(there), float(there[0]), float(there[-1])


def _strangers(values: NDArray[Any], strange: NDArray[np.bool_]) -> Names:
    counted = Counter(map(str, values[strange].tolist()))
    return tuple(sorted(counted, key=lambda name: (-counted[name], name))[:EXAMPLES])


def _orders(profile: Profile, numbers: Mapping[str, Floats]) -> Counts:
    broken = [
        profiles.orders_broken(numbers[order["above"]], numbers[order["below"]])
        for order in profile["orders"]
    ]
    return np.array(broken, dtype=np.int64).reshape(-1, 2)


def _sampled(codes: Codes, seed: Sequence[int]) -> Codes:
    """Rows drawn at random, in random order, the same whatever the order they came in."""
    random = np.random.default_rng(seed)
    weights = random.integers(1, 2**62, codes.shape[1], dtype=np.int64)
    # a sum that overflows is as good a hash as any: equal rows have equal ones
    ordered = np.argsort((codes * weights).sum(1), kind="stable")
    return codes[ordered[random.permutation(len(codes))[: profiles.SAMPLE]]]


def _enough(profile: Profile) -> int:
    """Rows that are evidence enough for a block."""
    return int(np.clip(profile["rows"] // PART, FEWEST_ROWS, MOST_ROWS))


def _aged(blocks: tuple[Block, ...], enough: int) -> tuple[Block, ...]:
    """The same rows in fewer blocks: none but the newest is less than half of what came after it.

    The exponential histogram of Datar et al. (2002), as ADWIN has it (Bifet & Gavalda 2007). What came
    before the longest window is forgotten.
    """
    aged, newer, waiting = [blocks[0]], blocks[0].rows, list(blocks[1:])
    while waiting and newer < LONGEST * enough:
        block = waiting.pop(0)
        while waiting and block.rows + waiting[0].rows <= max(newer, enough):
            block = _merged(waiting.pop(0), block)
        aged.append(block)
        newer += block.rows
    return tuple(aged)


def _merged(older: Block, newer: Block) -> Block:
    """One block of two. Its medians are means of theirs, weighted by rows: near, and for words only."""
    return Block(
        older.rows + newer.rows,
        older.batches + newer.batches,
        older.first,
        newer.last,
        older.numbers + newer.numbers,
        _typical(older, newer),
        np.fmin(older.low, newer.low),
        np.fmax(older.high, newer.high),
        tuple(one + other for one, other in zip(older.categories, newer.categories, strict=True)),
        tuple(
            tuple(dict.fromkeys((*new, *old)))[:EXAMPLES]
            for old, new in zip(older.strangers, newer.strangers, strict=True)
        ),
        older.orders + newer.orders,
    )


def _typical(older: Block, newer: Block) -> Floats:
    share = older.rows / (older.rows + newer.rows)
    mean = share * older.medians + (1 - share) * newer.medians
    there = np.where(np.isnan(older.medians), newer.medians, older.medians)
    return np.where(np.isnan(mean), there, mean)


def _named(block: Block) -> str:
    if block.batches == 1:
        return f"dataset {block.last}"
    return f"the {block.batches:,} datasets from {block.first} to {block.last}"


def _plain(value: Any) -> Any:
    """Arrays and tuples as lists, NaN as None."""
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, tuple | list):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and np.isnan(value) else value


def _block_of(facts: Mapping[str, Any]) -> Block:
    return Block(
        int(facts["rows"]),
        int(facts["batches"]),
        str(facts["first"]),
        str(facts["last"]),
        np.asarray(facts["numbers"], dtype=np.int64),
        np.asarray(facts["medians"], dtype=float),
        np.asarray(facts["low"], dtype=float),
        np.asarray(facts["high"], dtype=float),
        tuple(np.asarray(counts, dtype=np.int64) for counts in facts["categories"]),
        tuple(tuple(map(str, names)) for names in facts["strangers"]),
        np.asarray(facts["orders"], dtype=np.int64).reshape(-1, 2),
    )
