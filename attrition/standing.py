"""How things stand as a tick ends, by what the stages wrote: nothing is remembered from one tick to the next.

So a tick that was killed before it told of something loses nothing: the next one sees the same.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from attrition import generations, ledger, monitor, releases, stage, tables
from attrition.config import Config
from attrition.errors import DataError, KeyFault, ReleaseError
from attrition.ledger import FINISHED
from attrition.stage import SURVIVED

History = Sequence[Mapping[str, Any]]
# telling is no work of the pipeline: who is not told cannot be told of it
TELLING = "alerts"
IDLE = "nothing to do"
MOST_SENTENCES = 3


@dataclass(frozen=True)
class Trouble:
    """A state that began at `since` (UTC with a Z), and how it was told then."""

    since: str
    sentence: str


@dataclass(frozen=True)
class Rejected:
    sha256: str
    reason: str


@dataclass(frozen=True)
class Live:
    """The live release; `run` is the run that made it."""

    id: str
    created: str
    reason: str
    f1: float | None
    run: str


@dataclass(frozen=True)
class Client:
    """A client whose risk is at or above the threshold."""

    id: str
    owner: str
    probability: float
    reason: str


@dataclass(frozen=True)
class Facts:
    """How things stand as a tick ends. None where it cannot be told: what was told before then holds on.

    `failing` is by stage, `rejected` by dataset. `moved` says that new rows look so different from those the
    live release was trained on that somebody must act. `verdict` is the reason that the last tick
    with work to do gave. `alive` is the last sign of life before this tick, where that was too long ago.
    """

    at: str
    run: str
    failing: Mapping[str, Trouble]
    drift: Trouble | None = None
    moved: Trouble | None = None
    unfit: Trouble | None = None
    verdict: str = ""
    rejected: Mapping[str, Rejected] | None = None
    ingested: Collection[str] = ()
    live: Live | None = None
    at_risk: Sequence[Client] | None = None
    clients_per_owner: int = 10
    alive: str | None = None


def look(config: Config, seen_list: Sequence[int], alive: str | None) -> Facts:
    """The facts, from what the stages wrote. A risk list with the stamp `seen_list` is not read again."""
    history, at = ledger.entries(config.history), stage.now()
    datasets = _datasets(config)
    rejected = {d["name"]: Rejected(d["sha256"], d["reason"]) for d in datasets if d["status"] == "rejected"}
    live = _live(config)
    return Facts(
        at=at,
        run=config.run,
        failing=failing(history),
        drift=drifting(history),
        moved=_moved(config, live),
        unfit=unfit(history),
        verdict=verdict(history),
        rejected=rejected if datasets else None,
        ingested=frozenset(d["name"] for d in datasets if d["status"] not in ("rejected", "removed")),
        live=live,
        at_risk=None if list(seen_list) == stamp_of_list(config) else _at_risk(config),
        clients_per_owner=config.settings.alerts.clients_per_owner,
        alive=alive,
    )


def failing(history: History) -> dict[str, Trouble]:
    """The stages that failed in a tick and have not been done since, by themselves or by a whole tick.

    What fails by hand is seen by whoever started it. Where a stage failed, its tick is not listed too.
    """
    ticks = {entry["run"] for entry in history if entry["stage"] == "fullprocess"}
    found: dict[str, Trouble] = {}
    told_by_stage: set[str] = set()
    for entry in history:
        stage, run = entry["stage"], entry["run"]
        if stage == TELLING:
            continue
        if entry["status"] in FINISHED:
            found.pop(stage, None)
            if stage == "fullprocess":
                found = {name: trouble for name, trouble in found.items() if name in SURVIVED}
        elif run in ticks and not (stage == "fullprocess" and run in told_by_stage):
            if stage not in SURVIVED:
                told_by_stage.add(run)
            found.setdefault(stage, Trouble(entry["started"], str(entry.get("sentence", ""))))
    return found


def drifting(history: History) -> Trouble | None:
    """Drift that no new release has answered and no newer score has refuted."""
    since: Trouble | None = None
    for started, facts in _ticks(history):
        if facts.get("promoted"):
            since = None
        elif drift := facts.get("drift"):
            since = since or Trouble(started, str(drift.get("reason", "")))
        elif facts.get("live_score"):
            since = None
    return since


def unfit(history: History) -> Trouble | None:
    """Challengers kept aside, or not to be had, since the last tick that could do with the live release."""
    since: Trouble | None = None
    for started, facts in _ticks(history):
        if facts.get("promoted"):
            since = None
        elif facts.get("retrained") or facts["status"] == "refused":
            since = since or Trouble(started, str(facts.get("reason", "")))
        elif facts.get("live_score"):
            since = None
    return since


def verdict(history: History) -> str:
    """The reason of the last tick that had work to do; "" before the first."""
    reasons = [str(facts.get("reason", "")) for _, facts in _ticks(history) if facts["status"] != IDLE]
    return reasons[-1] if reasons else ""


def stamp_of_list(config: Config) -> list[int]:
    """Size and time of risklist.csv; [] where there is none."""
    try:
        at = config.risk_list.stat()
    except OSError:
        return []
    return [at.st_size, at.st_mtime_ns]


def _ticks(history: History) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for entry in history:
        if entry["stage"] == "fullprocess" and entry["status"] in FINISHED:
            yield entry["started"], {**entry.get("facts", {}), "status": entry["status"]}


def _datasets(config: Config) -> list[dict[str, Any]]:
    try:
        generation = generations.current(config)
        return generations.datasets(generation) if generation else []
    except (DataError, KeyFault, OSError, ValueError):
        return []


def _live(config: Config) -> Live | None:
    try:
        release = releases.live(config)
    except (KeyFault, ReleaseError):
        return None
    if release is None:
        return None
    facts = release.facts
    return Live(release.id, facts["created"], facts["reason"], facts.get("f1"), facts.get("run", ""))


def _moved(config: Config, live: Live | None) -> Trouble | None:
    record = monitor.read(config.monitor).records.get(live.id) if live else None
    if record is None or not record.shift or record.shift["level"] != "act":
        return None
    return Trouble(str(record.looked_at), "; ".join(record.shift["sentences"][:MOST_SENTENCES]))


def _at_risk(config: Config) -> list[Client] | None:
    """The clients of risklist.csv at or above the threshold, in its order; None where there is no list."""
    clients = config.clients
    try:
        with config.risk_list.open(encoding="utf-8", newline="") as stream:
            header, *rows = tables.read_rows(stream)
    except (OSError, ValueError):
        return None
    # a column that the list has itself is passed through under another name
    owner = next((name for name in (f"input_{clients.owner}", clients.owner) if name in header), "")
    listed = (dict(zip(header, row, strict=False)) for row in rows)
    return [
        Client(row[clients.id], row.get(owner, ""), float(row["probability"]), row["reason_1"])
        for row in listed
        if row["probability"] and float(row["probability"]) >= float(row["threshold"])
    ]
