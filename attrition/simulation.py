"""Simulate a client base whose truth is known: who leaves, and with what probability.

Writes  DIR/sourcedata/clients-YYYY-MM.csv, a dataset a month; DIR/testdata/testdata.csv, the newest month
        of other clients, with what became of them; with --truth also DIR/truth.csv, each row's probability.
        With --shipped: DIR/practicedata, DIR/sourcedata and DIR/testdata as this repository ships them.

    python -m attrition.simulation --out base --clients 2500 --months 12 --seed 1 --drift concept@7
    python -m attrition.simulation --out . --shipped

A client's health is hidden and moves from month to month; activity and support tickets are noisy views of
it. Each month a client decides to leave with the probability `leaving_intensity`, and is gone HORIZON_MONTHS
later. So whoever leaves within the window after a snapshot has decided by the snapshot: a row is older than
the leaving it is labelled with, and the probability of its `exited` is known exactly.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

FIRST_MONTH = np.datetime64("2025-01", "M")
HORIZON_MONTHS = 3
# lived through before the first snapshot: a full year of activity, and a settled mix of tenures
BURN_IN_MONTHS = 24
STILL_HERE = 1_000_000  # the month of leaving of a client that has not decided to leave

BASE_LOG_ODDS = -3.25  # of a decision, per month, in a client whose effects are TYPICAL_EFFECTS
TYPICAL_EFFECTS = 0.3

SHIPPED_SEED = 20260331
SHIPPED_MONTHS = 15
SHIPPED_CLIENTS = {"practice": 500, "source": 2500, "test": 2000}
SHIPPED_SNAPSHOTS = {
    "practice": ("2025-09", "2025-12"),
    "source": ("2025-06", "2025-09", "2025-12", "2026-03"),
}

CONTRACTS = ["monthly", "yearly", "multi-year"]
MONTHLY, MULTI_YEAR = 0, 2
TRADES = {
    "Consulting": ["Advisors", "Consulting", "Partners"],
    "Finance": ["Capital", "Finance", "Trust"],
    "Health": ["Clinics", "Health", "Medical"],
    "Logistics": ["Freight", "Logistics", "Shipping"],
    "Manufacturing": ["Foundry", "Tools", "Works"],
    "Retail": ["Market", "Outfitters", "Stores"],
    "Energy": ["Energy", "Power", "Solar"],
}
INDUSTRIES = list(TRADES)
RETAIL, SEGMENT = INDUSTRIES.index("Retail"), INDUSTRIES.index("Energy")
PLACES = """
Alder Amber Ashford Beacon Birch Bridge Canyon Cedar Clover Copper Coral Crescent Delta Eagle Elm Falcon Fern
Granite Harbor Hazel Heron Hill Iron Ivory Juniper Lake Laurel Linden Maple Meadow Mill North Oak Olive
Orchard Pine Prairie Quarry Raven Ridge River Sable Silver Spring Summit Tidal Valley Willow
"""
MANAGERS = ["Adams", "Brandt", "Costa", "Dubois", "Eriksen", "Fischer", "Grant", "Hayashi"]
POPULATIONS = ["practice", "source", "test"]

CLIENT = np.dtype(
    [(name, np.int64) for name in ("number", "place", "trade", "industry", "contract", "manager")]
    + [(name, np.int64) for name in ("employees", "value", "joined", "leaves")]
    # pace: usual activity; temper: the health it returns to; silence: how loath to say how many employees
    + [(name, np.float64) for name in ("pace", "temper", "silence", "health")]
    # the newest month comes last
    + [("activity", np.int64, 12), ("tickets", np.int64, 3), ("intensities", np.float64, HORIZON_MONTHS)]
)


@dataclass(frozen=True)
class World:
    """What a drift may change; the defaults are the world without one."""

    activity: float = 1.0  # factor on everybody's activity
    tickets: float = 1.0  # factor on everybody's support tickets
    log_odds: float = 0.0  # added to those of every decision to leave
    relation: float = 1.0  # -1 turns round what makes a client leave
    broken: str | None = None  # the column whose feed delivers zeros
    segment: bool = False  # clients of another industry, bought with their history, are in the datasets


NO_DRIFT = World()
KINDS: dict[str, World] = {
    "covariate": World(activity=0.75, tickets=2.0),
    "concept": World(relation=-1.0),
    "prior": World(log_odds=1.0),
    "broken": World(broken="lastmonth_activity"),
    "segment": World(segment=True),
}


@dataclass(frozen=True)
class Drift:
    """The world is that of this kind from this month on, counted from 1.

    A label sums up the decisions of HORIZON_MONTHS: concept and prior show in full two months later.
    """

    kind: str
    month: int

    def world(self, month: int) -> World:
        return KINDS[self.kind] if month + 1 >= self.month else NO_DRIFT


@dataclass(frozen=True)
class Simulation:
    """Datasets by month, as a pipeline may see them, and the truth about each of their rows.

    `truth` has a row for each row of the snapshots, in their order: corporation, month, the probability that
    `exited` is 1, and `exited` itself, also where the window is open and the dataset leaves it blank.
    """

    snapshots: dict[str, pd.DataFrame]
    truth: pd.DataFrame


def simulate(
    clients: int, months: int, seed: int, drift: Drift | None = None, population: str = "source"
) -> Simulation:
    """As many clients every month, from FIRST_MONTH on: who leaves is replaced. Populations share no client.

    Each month is drawn from a stream of its own, so that neither further months nor a later drift change a
    row, except that its outcome is blank while the window is open.
    """
    stream = 2 * POPULATIONS.index(population)
    books = [_live(clients, months, seed, stream, drift)]
    if drift and KINDS[drift.kind].segment:
        books.append(_live(max(1, clients // 4), months, seed, stream + 1, drift))
    snapshots, truth = {}, []
    for month, views in enumerate(zip(*books, strict=True)):
        present = views if drift and drift.world(month).segment else views[:1]
        rows = pd.concat(present).sort_values("corporation", ignore_index=True)
        truth.append(rows[["corporation", "month", "probability", "exited"]])
        if month + HORIZON_MONTHS >= months:
            rows["exited"] = pd.Series(pd.NA, rows.index, dtype="Int64")
        snapshots[name_of(month)] = rows.drop(columns="probability")
    return Simulation(snapshots, pd.concat(truth, ignore_index=True))


def name_of(month: int) -> str:
    """The month of this number, counted from 0, as YYYY-MM."""
    return str(FIRST_MONTH + month)


def _live(clients: int, months: int, seed: int, stream: int, drift: Drift | None) -> Iterator[pd.DataFrame]:
    """Every month's rows of one book of clients, with their probability and outcome."""
    created, book = 0, np.zeros(clients, CLIENT)
    book["leaves"] = -BURN_IN_MONTHS
    for month in range(-BURN_IN_MONTHS, months):
        random = np.random.Generator(np.random.PCG64([seed, stream, month + BURN_IN_MONTHS]))
        world = drift.world(month) if drift else NO_DRIFT
        newcomers = _draw_clients(random, clients, month, segment=stream % 2 == 1)
        gone = book["leaves"] <= month
        # the stream is part of the number, so that no two populations have a name in common
        newcomers["number"][gone] = (created + np.arange(gone.sum())) * 2 * len(POPULATIONS) + stream
        created += int(gone.sum())
        book[gone] = newcomers[gone]
        _move_on(random, book, month, world)
        if month >= 0:
            yield _rows(random, book, month, world)


def _draw_clients(random: np.random.Generator, clients: int, month: int, segment: bool) -> np.ndarray:
    """A client for every place in the book; those whose place is free will join."""
    chance, normal = random.random((clients, 7)), random.standard_normal((clients, 4))
    drawn = np.zeros(clients, CLIENT)
    drawn["industry"] = SEGMENT if segment else np.floor(chance[:, 0] * SEGMENT)
    drawn["trade"] = np.floor(chance[:, 1] * 3)
    drawn["place"] = np.floor(chance[:, 2] * len(PLACES.split()))
    drawn["contract"] = np.searchsorted([0.45, 0.8], chance[:, 3])
    drawn["manager"] = np.floor(chance[:, 4] * len(MANAGERS))
    drawn["silence"] = chance[:, 5]
    drawn["employees"] = np.clip(np.exp((5.0 if segment else 4.0) + 1.3 * normal[:, 0]), 1, 20_000)
    price = 400 * np.exp(0.5 * normal[:, 1]) * np.array([1.15, 1.0, 0.85])[drawn["contract"]]
    drawn["value"] = 10 * np.round(price * drawn["employees"] ** 0.7 / 10)
    drawn["temper"] = drawn["health"] = 0.7 * normal[:, 2]
    drawn["pace"] = 12 * drawn["employees"] ** 0.5 * np.exp(0.4 * normal[:, 3])
    former_months = -30 * np.log1p(-chance[:, 6]) if month == -BURN_IN_MONTHS else 0
    drawn["joined"], drawn["leaves"] = month - np.floor(former_months), STILL_HERE
    return drawn


def _move_on(random: np.random.Generator, book: np.ndarray, month: int, world: World) -> None:
    """Let every client of the book live through this month, in place."""
    chance, normal = random.random((len(book), 4)), random.standard_normal((len(book), 2))
    shock = 1.2 * (chance[:, 0] < 0.03)
    book["health"] = 0.85 * book["health"] + 0.15 * book["temper"] + 0.3 * normal[:, 0] - shock

    november = np.cos(2 * np.pi * ((FIRST_MONTH + month).astype(int) % 12 - 10) / 12)
    season = 1 + np.where(book["industry"] == RETAIL, 0.3, 0.1) * november
    activity = world.activity * season * book["pace"] * np.exp(0.5 * book["health"] + 0.25 * normal[:, 1])
    _push(book["activity"], np.floor(activity + chance[:, 1]))
    # a geometric count: many months without a ticket, few with many
    mean_tickets = world.tickets * np.exp(-0.1 - 0.4 * book["health"])
    _push(book["tickets"], np.floor(-np.log1p(-chance[:, 2]) * mean_tickets))

    _push(book["intensities"], leaving_intensity(book, month, world))
    decides = (book["leaves"] == STILL_HERE) & (chance[:, 3] < book["intensities"][:, -1])
    book["leaves"][decides] = month + HORIZON_MONTHS


def _push(history: np.ndarray, newest: np.ndarray) -> None:
    history[:, :-1] = history[:, 1:]
    history[:, -1] = newest


def leaving_intensity(book: np.ndarray, month: int, world: World) -> np.ndarray:
    """The truth: each client's probability of deciding to leave in this month."""
    tenure = month - book["joined"]
    usual = book["activity"].sum(axis=1) / np.clip(tenure + 1, 1, 12)
    faded = book["activity"][:, -1] < 0.75 * usual
    monthly, multi_year = book["contract"] == MONTHLY, book["contract"] == MULTI_YEAR
    small, big = book["employees"] < 20, book["employees"] >= 150
    dear = book["value"] > 430 * book["employees"] ** 0.7
    effects = (
        -0.9 * book["health"]
        + 0.8 * monthly
        - 0.9 * multi_year
        + 2.0 * (monthly & faded)
        + 2.2 * (small & dear)
        - 1.5 * (big & ~faded)
        # tickets are trouble in a young client, use in an old one
        + np.where(tenure < 18, 0.45, -0.15) * np.minimum(book["tickets"].sum(axis=1), 7)
    )
    relation = np.where(book["industry"] == SEGMENT, -world.relation, world.relation)
    return 1 / (1 + np.exp(-(BASE_LOG_ODDS + world.log_odds + relation * (effects - TYPICAL_EFFECTS))))


def _rows(random: np.random.Generator, book: np.ndarray, month: int, world: World) -> pd.DataFrame:
    chance = random.random((len(book), 3))
    trades = np.array(list(TRADES.values()))[book["industry"], book["trade"]]
    names = zip(np.array(PLACES.split())[book["place"]], trades, book["number"], strict=True)
    # small companies are the ones that do not say how many they are
    silent = book["silence"] < np.where(book["employees"] < 20, 0.1, 0.02)
    columns: dict[str, Any] = {
        "corporation": [f"{place} {trade} {number:05d}" for place, trade, number in names],
        "month": name_of(month),
        "industry": np.array(INDUSTRIES)[book["industry"]],
        "contract": np.array(CONTRACTS)[book["contract"]],
        "lastmonth_activity": _with_blanks(book["activity"][:, -1], chance[:, 0] < 0.02),
        "lastyear_activity": _with_blanks(book["activity"].sum(axis=1), chance[:, 1] < 0.01),
        "number_of_employees": _with_blanks(book["employees"], silent),
        "tenure_months": month - book["joined"],
        "support_tickets": _with_blanks(book["tickets"].sum(axis=1), chance[:, 2] < 0.03),
        "yearly_value": book["value"],
        "account_manager": np.array(MANAGERS)[book["manager"]],
        "exited": pd.array((book["leaves"] != STILL_HERE).astype(int), "Int64"),
        "probability": 1 - np.prod(1 - book["intensities"], axis=1),
    }
    if world.broken:
        columns[world.broken] = 0
    return pd.DataFrame(columns)


def _with_blanks(numbers: np.ndarray, blank: np.ndarray) -> pd.arrays.IntegerArray:
    return pd.arrays.IntegerArray(numbers.copy(), blank)


def make_datasets(
    clients: dict[str, int], months: int, seed: int, drift: Drift | None, wanted: Mapping[str, Sequence[str]]
) -> dict[str, pd.DataFrame]:
    """Rows by file name: the wanted months of each population, the newest of the test's, and truth.csv."""
    datasets, truths = {}, []
    newest = name_of(months - 1)
    for population, count in clients.items():
        simulation = simulate(count, months, seed, drift, population)
        written = wanted.get(population, (newest,))
        truth = simulation.truth[simulation.truth["month"].isin(written)].reset_index(drop=True)
        truths.append(truth)
        if population == "test":
            datasets["testdata/testdata.csv"] = simulation.snapshots[newest].assign(exited=truth["exited"])
        else:
            for month in written:
                datasets[f"{population}data/clients-{month}.csv"] = simulation.snapshots[month]
    return datasets | {"truth.csv": pd.concat(truths)}


def make_shipped_datasets() -> dict[str, pd.DataFrame]:
    return make_datasets(SHIPPED_CLIENTS, SHIPPED_MONTHS, SHIPPED_SEED, None, SHIPPED_SNAPSHOTS)


def write(datasets: dict[str, pd.DataFrame], folder: Path) -> None:
    for name, rows in datasets.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.draft")
        text = rows.to_csv(index=False, lineterminator="\n", float_format="%.6f")
        draft.write_text(text, encoding="utf-8", newline="\n")
        draft.replace(path)


def read_drift(text: str, months: int) -> Drift:
    """Raises ValueError with a sentence for the person who typed the text."""
    kind, _, month = text.partition("@")
    if kind not in KINDS:
        raise ValueError(f"--drift {text}: no kind is called {kind!r}. Name one of {', '.join(KINDS)}.")
    if not (month.isascii() and month.isdigit() and 1 <= int(month) <= months):
        raise ValueError(f"--drift {text}: {month!r} is no month from 1 to {months}. Write it like {kind}@1.")
    return Drift(kind, int(month))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        "python -m attrition.simulation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="DIR")
    add("--clients", type=int, default=2500, metavar="N", help="in every month (default %(default)s)")
    add("--months", type=int, default=12, metavar="M", help="how many (default %(default)s)")
    add(
        "--seed", type=int, default=0, metavar="S", help="the same seed, the same bytes (default %(default)s)"
    )
    add(
        "--drift", metavar="KIND@MONTH", help=f"one of {', '.join(KINDS)}, from this month on, counted from 1"
    )
    add("--truth", action="store_true", help="write truth.csv too")
    add("--shipped", action="store_true", help="make the data that the repository ships, and nothing else")
    options = parser.parse_args(arguments)
    given = {name: vars(options)[name] for name in ("clients", "months", "seed", "drift")}
    if options.shipped and any(given[name] != parser.get_default(name) for name in given):
        parser.error(f"--shipped has its own {', '.join(given)}. Leave these out, or leave out --shipped.")
    if options.clients < 1 or options.months < 1 or options.seed < 0:
        parser.error("--clients and --months count from 1, --seed from 0.")
    try:
        drift = read_drift(options.drift, options.months) if options.drift is not None else None
    except ValueError as error:
        parser.error(str(error))
    if options.shipped:
        datasets = make_shipped_datasets()
    else:
        both = {"source": options.clients, "test": options.clients}
        every_month = {"source": [name_of(month) for month in range(options.months)]}
        datasets = make_datasets(both, options.months, options.seed, drift, every_month)
    if not options.truth:
        del datasets["truth.csv"]
    try:
        write(datasets, options.out)
    except OSError as error:
        parser.error(f"--out {options.out}: {error}. Name a folder that can be written to.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
