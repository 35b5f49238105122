"""Bring the tables for BI tools up to date with what the other stages wrote; see `publish` in config.json.

Reads   reports/, diagnostics.json, monitor.json, the releases, the run history
Writes  tables in a database: nothing of the pipeline's own

Whatever is not there yet is published, so a run that was killed, or met a database in trouble, is made up for
by the next one. What is there already stays as it is.

Example: python publishing.py
         python publishing.py --force   (although another pipeline has published under this prefix)
"""

import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from attrition import files, keptlists, ledger, listfiles, monitor, releases, stage, tables, warehouse
from attrition.config import Config
from attrition.errors import AttritionError, ConfigError, DataError, ReleaseError, UsageError
from attrition.keptlists import KeptList
from attrition.settings import Clients, Publish
from attrition.warehouse import Row, Warehouse

log = logging.getLogger("attrition")

STAGE = "publishing"
# older lists are made up for as long as this; the newest one is published in any case
CATCH_UP_SECONDS = 30.0
TEST_ROWS, NEW_ROWS, SINCE_DEPLOYMENT = "test rows", "newest labelled rows", "all since deployment"


@dataclass(frozen=True)
class Published:
    """What was added; `lists` are the runs whose risk lists are new there, `left_out` those of no time."""

    lists: Sequence[str]
    left_out: Sequence[str]
    rows: int
    database: str
    status: str = "done"

    def __str__(self) -> str:
        if not self.rows:
            return f"{self.database}: everything is published already."
        late = f"; for lack of time older ones were left out: {len(self.left_out)}" if self.left_out else ""
        return f"{self.database}: risk lists: {len(self.lists)} new{late}; rows: {self.rows:,} written."


def after_a_tick(config: Config) -> None:
    """Publish where config.json asks for it. Trouble is told, and tried again; it never fails the tick."""
    if config.settings.publish is None or config.practice:
        return
    try:
        # --force asks for a challenger there, not for another's tables
        stage.step(replace(config, force=False), STAGE, run)
    except AttritionError as fault:
        # an error reaches cron's mail: once, when the trouble begins
        log.log(logging.WARNING if fault.told_before else logging.ERROR, "not published: %s", fault)
    except Exception:
        log.exception("not published")


def run(config: Config) -> Published:
    publish = required(config)
    kept = keptlists.kept(config.reports).lists
    history = ledger.entries(config.history)
    with warehouse.opened(publish, os.environ, config.dry_run) as store:
        with store.transaction():
            refuse_foreign(config, store, history)
            waiting = missing(kept, store.known("lists", "run"))[-publish.keep_runs :]
        done = publish_older(config, store, waiting[:-1])
        with store.transaction():
            for newest in waiting[-1:]:
                if add_list(config, store, newest):
                    add_newest(config, store, newest)
            add_scores(config, store)
            store.insert("stage_runs", stage_runs(history, store.known("stage_runs", "run", "place")))
            add_diagnoses(config, store)
            for table in ("risk_history", "columns", "drift", "timings"):
                store.prune(table, publish.keep_runs)
        runs = [each.run for each in waiting]
        return Published(
            lists=[*runs[:done], *runs[-1:]],
            left_out=runs[done:-1],
            rows=store.written,
            database=store.place.shown,
            status="done" if store.written else "nothing to do",
        )


def required(config: Config) -> Publish:
    if config.practice:
        raise UsageError("--practice: practice runs publish nothing. Leave the flag out.")
    if config.settings.publish is None:
        raise ConfigError(
            f"{config.path}: publish is null, so that nothing is published. Set it to "
            '{"url_env": "ATTRITION_PUBLISH_URL"}; see README, BI tools.'
        )
    return config.settings.publish


def refuse_foreign(config: Config, store: Warehouse, history: Sequence[Mapping[str, Any]]) -> None:
    """DataError where the newest list there is none of this pipeline's: two would undo each other's."""
    newest = store.newest_run()
    runs = {warehouse.as_name(entry["run"]) for entry in history}
    if newest is None or config.force or newest in runs | _folders(config.reports):
        return
    raise DataError(
        f"{store.place.shown}: the tables {store.publish.prefix}... hold the list of the run {newest}, "
        "which is not in this pipeline's history. Set a publish.prefix of its own in config.json; or, where "
        "its history was lost, run: python publishing.py --force"
    )


def missing(kept: Sequence[KeptList], known: set[tuple[Any, ...]]) -> Sequence[KeptList]:
    """The lists after the last one that is known, oldest first: what was pruned there does not come back."""
    last = max((at for at, each in enumerate(kept) if (warehouse.as_name(each.run),) in known), default=-1)
    return kept[last + 1 :]


def publish_older(config: Config, store: Warehouse, older: Sequence[KeptList]) -> int:
    """Make up for lists that were never published, one transaction each; returns for how many."""
    clock = time.monotonic()
    for done, each in enumerate(older):
        if time.monotonic() - clock > CATCH_UP_SECONDS:
            return done
        try:
            with store.transaction():
                add_list(config, store, each)
        except DataError as fault:
            # else one damaged file would be in the way of all later lists
            log.warning("passed over: %s", fault)
    return len(older)


def add_list(config: Config, store: Warehouse, kept: KeptList) -> bool:
    """Add one list's line, and its clients to the history; False where another writer just has."""
    if (warehouse.as_name(kept.run),) in store.known("lists", "run"):
        return False
    number = store.newest_number("lists") + 1
    rows = history_rows(kept)
    scored = [row["probability"] for row in rows if row["rank"]]
    facts = {
        "run": kept.run,
        "number": number,
        "scored_at": kept.scored_at,
        "release": kept.release,
        "threshold": kept.threshold,
        "clients": len(rows),
        "scored": len(scored),
        "at_risk": sum(row["at_risk"] for row in rows),
        "on_short_list": sum(row["on_short_list"] for row in rows),
        "expected_leavers": sum(scored),
    }
    store.insert("lists", [{**facts, **at_stake(config.reports / kept.run / config.risk_facts.name)}])
    store.insert("risk_history", ({**row, "number": number} for row in rows))
    return True


def history_rows(kept: KeptList) -> list[dict[str, Any]]:
    """The clients of a kept list; DataError where it is damaged."""
    try:
        names = kept.names
    except ValueError as fault:
        raise DataError(f"{kept.place}: this is damaged ({fault}). Run: python reporting.py") from None
    figures = [kept.rows[field].tolist() for field in ("rank", "probability", "listed")]
    of_list = {"run": kept.run, "scored_at": kept.scored_at, "release": kept.release}
    return [
        {
            "client": name,
            **of_list,
            "rank": rank or None,
            "probability": round(probability, listfiles.PROBABILITY_DIGITS),
            "at_risk": probability >= kept.threshold,
            "on_short_list": listed,
        }
        for name, rank, probability, listed in zip(names, *figures, strict=True)
    ]


def at_stake(place: Path) -> dict[str, Any]:
    """What all clients of a list are worth, by its risklist.json; empty where that is gone."""
    try:
        total = files.read_json(place)["at_stake"]["total"]
        return {"value_at_stake": total["value"], "expected_loss": total["expected_loss"]}
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return {}


def add_newest(config: Config, store: Warehouse, kept: KeptList) -> None:
    """Put one list in the place of the newest; DataError where its risklist.csv is damaged."""
    place = config.reports / kept.run / config.risk_list.name
    try:
        with place.open(encoding="utf-8", newline="") as stream:
            header, *rows = tables.read_rows(stream)
        store.replace("risk_list", list_rows(config.clients, kept, header, rows))
    except (FileNotFoundError, ValueError, LookupError) as fault:
        raise DataError(f"{place}: this is missing or damaged ({fault}). Run: python reporting.py") from None


def list_rows(
    clients: Clients, kept: KeptList, header: Sequence[str], rows: Sequence[Sequence[str]]
) -> Iterator[dict[str, Any]]:
    """The lines of a risklist.csv as rows, with the clients' very ids and without a spreadsheet's guards."""
    names = _names(kept)
    listed = dict(zip(kept.names, kept.rows["listed"].tolist(), strict=True))
    # a column that the list has itself is passed through under another name
    own = {
        name: next((each for each in (f"input_{column}", column) if each in header), "")
        for name, column in (("owner", clients.owner), ("value", clients.value))
        if column
    }
    for cells in rows:
        row = dict(zip(header, cells, strict=True))
        rank, chance = _number(row["rank"]), _number(row["probability"])
        client = names[int(rank or 0), "" if rank else cells[0]].pop()
        texts = ("risk_band", "status", "reason_1", "reason_2", "reason_3", "suggested_action", "warnings")
        numbers = ("threshold", "previous_probability", "change_points", "expected_loss")
        yield {
            "client": client,
            "run": kept.run,
            "scored_at": kept.scored_at,
            "release": kept.release,
            "rank": int(rank) if rank else None,
            "probability": chance,
            "at_risk": chance is not None and chance >= kept.threshold,
            "on_short_list": listed.get(client, False),
            "act_by": row["act_by"],
            "owner": tables.unguarded(row.get(own.get("owner", ""), "")) or None,
            "value": _number(row.get(own.get("value", ""), "")),
            **{name: tables.unguarded(row[name]) or None for name in texts},
            **{name: _number(row[name]) for name in numbers},
        }


def add_scores(config: Config, store: Warehouse) -> None:
    keys = ("release", "measured_on", "measured_at", "figure")
    known = store.known("scores", *keys)
    found = {
        (row["release"], row["measured_on"], warehouse.as_time(row["measured_at"]), row["figure"]): row
        for row in scores(config)
    }
    store.insert("scores", (row for key, row in found.items() if key not in known))


def scores(config: Config) -> Iterator[Row]:
    """Every figure of every release that is kept: on the test rows, on new ones, and since deployment."""
    for release in releases.kept(config):
        try:
            yield from _figures(release, TEST_ROWS, releases.by_id(config, release).scores)
        except ReleaseError as fault:
            log.warning("its scores are not published: %s", fault)
    for release, record in monitor.read(config.monitor).records.items():
        if record.live_score:
            yield from _figures(release, NEW_ROWS, record.live_score)
        if record.losses:
            facts = {"scored_at": record.looked_at, "rows": record.labels, "figures": record.losses}
            yield from _figures(release, SINCE_DEPLOYMENT, facts)


def _figures(release: str, measured_on: str, facts: Mapping[str, Any]) -> Iterator[Row]:
    measured = {
        "release": release,
        "measured_on": measured_on,
        "measured_at": facts["scored_at"],
        "rows": facts["rows"],
    }
    for name, figure in facts["figures"].items():
        if figure:
            yield {**figure, **measured, "figure": name}


def stage_runs(history: Sequence[Mapping[str, Any]], known: set[tuple[Any, ...]]) -> Iterator[Row]:
    """The lines of the history that are not known, by run and place in it; those of publishing aside."""
    places: dict[str, int] = {}
    for entry in history:
        run = str(entry["run"])
        places[run] = place = places.get(run, 0) + 1
        # else each publishing would find news: its own last one
        if entry["stage"] != STAGE and (warehouse.as_name(run), place) not in known:
            yield {**entry, "place": place, "started_at": entry["started"]}


def add_diagnoses(config: Config, store: Warehouse) -> None:
    """What diagnostics.json says, where it is new."""
    try:
        facts = files.read_json(config.diagnostics)
        of_all = {name: facts[name] for name in ("run", "diagnosed_at", "release")}
    except FileNotFoundError:
        return
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{config.diagnostics}: this is damaged. Run: python diagnostics.py") from None
    key = (warehouse.as_name(facts["run"]), warehouse.as_time(facts["diagnosed_at"]))
    for table, rows in (("columns", columns(facts)), ("drift", drift(facts)), ("timings", timings(facts))):
        if key not in store.known(table, "run", "diagnosed_at"):
            number = store.newest_number(table) + 1
            store.insert(table, ({**row, **of_all, "number": number} for row in rows))


def columns(facts: Mapping[str, Any]) -> Iterator[Row]:
    """How much of each column is missing, and the figures of those that are numbers."""
    for name in dict.fromkeys([*facts["missing_percent"], *facts["summary"]]):
        missing = facts["missing_percent"].get(name)
        yield {**facts["summary"].get(name, {}), "column_name": name, "missing_percent": missing}


def drift(facts: Mapping[str, Any]) -> Iterator[Row]:
    """How far each column of the newest rows is from the rows trained on; none before the first look."""
    met = facts["drift"] or {}
    for told in (met.get("inputs") or {"columns": []})["columns"]:
        yield {**told, "column_name": told["column"], "looked_at": met["looked_at"]}


def timings(facts: Mapping[str, Any]) -> Iterator[Row]:
    for name, told in facts["timings"].items():
        yield {**told, "stage": name}


def _names(kept: KeptList) -> dict[tuple[int, str], list[str]]:
    """The ids of a list's clients by rank; those without one by their cell in risklist.csv."""
    names: dict[tuple[int, str], list[str]] = {}
    for rank, name in zip(kept.rows["rank"].tolist(), kept.names, strict=True):
        cell = "" if rank else tables.guarded(name).encode("utf-8", "replace").decode()
        names.setdefault((rank, cell), []).append(name)
    return names


def _folders(reports: Path) -> set[str]:
    try:
        return {warehouse.as_name(folder.name) for folder in reports.iterdir()}
    except FileNotFoundError:
        return set()


def _number(cell: str) -> float | None:
    return float(cell) if cell else None


def main() -> int:
    return stage.enter(STAGE, __doc__, run)


if __name__ == "__main__":
    raise SystemExit(main())
