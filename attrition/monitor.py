"""What is remembered of each release from tick to tick: one file, one writer, plain numbers.

monitor.json holds, for each release, what it met since it went live and up to which generation of the data
its rows are counted; the challengers that were refused, by the data they were trained on; who was compared
on which test rows; and when challengers were trained.
"""

import json
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from attrition import files

log = logging.getLogger("attrition")

FORMAT = 1
KEPT_REFUSALS = 100


@dataclass(frozen=True)
class Record:
    """What a release met since it went live.

    `counted` is the generation up to which rows are counted, none of them twice. `risk` and `inputs` are
    the memories of attrition.drift and attrition.shift; `drift`, `losses`, `shift`, `expected` and
    `live_score` the verdicts of the last look at new rows, which `looked_at` dates. `tried` are the labels
    that the last challenger knew which was refused.
    """

    counted: str
    rows: int = 0
    labels: int = 0
    looked_at: str | None = None
    risk: Mapping[str, Any] | None = None
    inputs: Mapping[str, Any] | None = None
    drift: Mapping[str, Any] | None = None
    losses: Mapping[str, Any] | None = None
    shift: Mapping[str, Any] | None = None
    expected: Mapping[str, Any] | None = None
    live_score: Mapping[str, Any] | None = None
    tried: int = 0


@dataclass(frozen=True)
class Refusal:
    """A challenger that was not deployed: `trained_on` and `judged_on` name the data and settings."""

    at: str
    run: str
    generation: str
    trained_on: str
    judged_on: str
    reason: str


@dataclass(frozen=True)
class Look:
    """At test rows: how many models were compared on them before, and whether drift left them behind."""

    earlier: int
    outdated: bool


@dataclass(frozen=True)
class Memory:
    """`looks` holds the models compared on test rows, `outdated` the test rows that drift left behind."""

    records: Mapping[str, Record] = field(default_factory=dict)
    refusals: Sequence[Refusal] = ()
    looks: Mapping[str, Sequence[str]] = field(default_factory=dict)
    outdated: Sequence[str] = ()
    trainings: Sequence[str] = ()

    def of(self, release: str, ingested: str) -> Record:
        """The record of a release; a new one begins after the rows it was trained on."""
        return self.records.get(release) or Record(ingested)

    def kept(self, release: str, record: Record) -> "Memory":
        return replace(self, records={**self.records, release: record})

    def of_releases(self, releases: Collection[str]) -> "Memory":
        """Without the records of releases that are forgotten."""
        return replace(self, records={name: each for name, each in self.records.items() if name in releases})

    def refused(self, refusal: Refusal) -> "Memory":
        return replace(self, refusals=[*self.refusals, refusal][-KEPT_REFUSALS:])

    def looked(self, test_rows: str, challenger: str) -> tuple["Memory", int]:
        """With this look at the test rows, and how many other challengers had looked at them before."""
        earlier = [each for each in self.looks.get(test_rows, ()) if each != challenger]
        return replace(self, looks={**self.looks, test_rows: [*earlier, challenger]}), len(earlier)

    def left_behind(self, test_rows: str) -> "Memory":
        return replace(self, outdated=[*(each for each in self.outdated if each != test_rows), test_rows])

    def trained(self, at: str) -> "Memory":
        return replace(self, trainings=[*_of_the_last_day(self.trainings, at), at])

    def trainings_today(self, at: str) -> int:
        return len(_of_the_last_day(self.trainings, at))

    def allowed_from(self, at: str, most: int) -> float | None:
        """When the next training may be, in seconds since 1970, where `most` a day are used up."""
        today = _of_the_last_day(self.trainings, at)
        return (_time(today[-most]) + timedelta(days=1)).timestamp() if len(today) >= most else None


def read(place: Path) -> Memory:
    """The memory; an absent file is an empty one, and a damaged one is begun anew, which is told."""
    try:
        facts = files.read_json(place)
        if facts["format"] != FORMAT:
            raise ValueError(f"its format is {facts['format']}, not {FORMAT}")
        return Memory(
            {name: Record(**each) for name, each in facts["records"].items()},
            [Refusal(**each) for each in facts["refusals"]],
            facts["looks"],
            facts.get("outdated", ()),
            facts["trainings"],
        )
    except FileNotFoundError:
        return Memory()
    except (ValueError, TypeError, KeyError, AttributeError) as fault:
        log.error(
            "%s: this is damaged (%s). What the live release met is counted again from its deployment on.",
            place,
            fault,
        )
        return Memory()


def write(place: Path, memory: Memory) -> None:
    files.write_text(place, json.dumps({"format": FORMAT, **asdict(memory)}, allow_nan=False) + "\n")


def _of_the_last_day(times: Sequence[str], now: str) -> list[str]:
    day_ago = _time(now) - timedelta(days=1)
    # a clock that was set back must not forbid training for long
    return [each for each in times if day_ago < _time(each) <= _time(now)]


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
