"""What must hold whatever happened: right after a crash, and again once the work was done anew."""

import csv
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from attrition import files, generations, ledger, monitor, publisher, releases, scorecard
from attrition.config import Config
from attrition.errors import AttritionError
from attrition.publisher import Shelf

# what tells of a run, and not of its result
OF_A_RUN = {
    *("run", "release", "ingested", "newer_than", "scored_at", "trained_at", "at", "created"),
    *("seconds", "fit_seconds", "stamp", "seal"),
}
FOLDERS = ("ingesteddata", "models", "production_deployment")


def whole(config: Config) -> dict[str, str | None]:
    """The ids of what is live; AssertionError where anything that a reader meets is torn, mixed or lost.

    For use at any moment, while a writer stands still or after it died.
    """
    live = {}
    for shelf in (generations.shelf(config), releases.shelf(config)):
        edition = publisher.current(shelf)
        live[shelf.kind] = edition.id if edition else None
        if edition:
            publisher.verify(shelf, edition)
            _fixed_names(shelf, edition.folder)
    release = releases.live(config)
    if release:
        scorecard.load(release.read("scorecard.json"))
    ledger.past(config.history)
    assert config.monitor.exists() == bool(_json(config.monitor)), "monitor.json is torn"
    for place in (
        config.diagnostics,
        config.report_facts,
        config.alerts,
        config.scores,
        config.model_description,
    ):
        _json(place)
    return live


def result(config: Config) -> dict[str, Any]:
    """What a run is for, without what tells of the run itself: equal after equal work, however it went."""
    generation, release = generations.current(config), releases.live(config)
    return {
        "table": _text(config.final_data),
        "rejected": _text(config.rejected_rows),
        "ingested": _text(config.ingested_files),
        "datasets": _plain(generations.known(generation)) if generation else None,
        "metrics": _rows(config.ingestion_metrics, "time"),
        "release": _released(release) if release else None,
        "trained": {place.name: _plain(_json(place)) for place in (config.model_description, config.scores)},
        # the list of a run that was killed behind it was seen: to the next one it is the list before
        "risk list": _rows(config.risk_list, "previous_probability", "change_points", "status"),
        "watched": _watched(config, release.id if release else None),
        "refusals": [each.reason for each in monitor.read(config.monitor).refusals],
        "left behind": left_behind(config),
        "fixed names": [
            str(shelf.root / name)
            for shelf in (generations.shelf(config), releases.shelf(config))
            for name in shelf.links
            if (shelf.root / name).exists()
        ],
    }


def left_behind(config: Config) -> list[str]:
    """Drafts and work folders that lie about although nobody is at work."""
    tops = [config.home / folder for folder in FOLDERS]
    found = [path for top in tops for path in top.rglob(".*")]
    beside = [path for path in config.home.iterdir() if path.name.endswith(".tmp")]
    return sorted(str(path.relative_to(config.home)) for path in (*found, *beside))


def faults(where: str, look: Callable[[], object]) -> list[str]:
    """What is wrong with what is looked at, as a sentence with the place; nothing where all is well."""
    try:
        look()
    except (AssertionError, AttritionError, OSError, ValueError, KeyError) as fault:
        return [f"{where}: {fault!r}"[:600]]
    return []


def difference(wanted: Any, found: Any, place: str = "") -> str:
    """The first few places in which two results differ."""
    if isinstance(wanted, Mapping) and isinstance(found, Mapping):
        keys = {**wanted, **found}
        told = [difference(wanted.get(key), found.get(key), f"{place}/{key}") for key in keys]
    elif isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        pairs = zip(wanted, found, strict=True)
        told = [difference(one, other, f"{place}/{at}") for at, (one, other) in enumerate(pairs)]
    else:
        told = [] if wanted == found else [f"{place}: {str(found)[:80]} and not {str(wanted)[:80]}"]
    return "; ".join([each for each in told if each][:3])


def _fixed_names(shelf: Shelf, current: Path) -> None:
    for name in shelf.links:
        place = shelf.root / name
        # a first run that was killed has not made them all; none leads elsewhere
        if place.is_symlink():
            assert place.resolve() == (current / name).resolve(), f"{place} is not of the current edition"
            assert place.exists(), f"{place} leads nowhere"


def _released(release: releases.Release) -> dict[str, Any]:
    exact = ("trainedmodel.pkl", "scorecard.json", "latestscore.txt", "ingestedfiles.txt")
    told = ("model.json", "scores.json", "reference.json")
    return {
        **{name: release.facts["files"][name]["sha256"] for name in exact},
        **{name: _plain(json.loads(release.read(name))) for name in told},
    }


def _watched(config: Config, live: str | None) -> dict[str, Any]:
    """How many rows and labels of the live release were counted."""
    memory = monitor.read(config.monitor)
    counted = {"rows": 0, "labels": 0, "tried": 0}
    record = memory.records.get(live or "")
    return counted if record is None else {name: getattr(record, name) for name in counted}


def _plain(facts: Any) -> Any:
    if isinstance(facts, Mapping):
        return {key: _plain(inner) for key, inner in facts.items() if key not in OF_A_RUN}
    return [_plain(inner) for inner in facts] if isinstance(facts, list) else facts


def _rows(place: Path, *besides: str) -> list[dict[str, str]]:
    aside = OF_A_RUN | {*besides}
    rows = csv.DictReader(io.StringIO(_text(place) or ""))
    return [{name: cell for name, cell in row.items() if name not in aside} for row in rows]


def _text(place: Path) -> str | None:
    return place.read_text() if place.exists() else None


def _json(place: Path) -> Any:
    return files.read_json(place) if place.exists() else None
