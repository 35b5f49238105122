"""When a challenger is trained, and what becomes of one that is refused.

A refused one is kept aside in models/refused/<run>/ with its reason, and none is trained again on the
same data.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from attrition import files, monitor, news, publisher, releases, stage
from attrition.config import Config
from attrition.contract import Contract
from attrition.monitor import Look, Record, Refusal
from attrition.news import News
from attrition.releases import Release
from attrition.settings import Retraining

KEPT = 3
REASON = "reason.txt"


def reason_to_train(config: Config, live: Release, record: Record) -> str | None:
    """Why a sound live release is challenged without an alarm, as a sentence; None where nothing asks."""
    if config.force:
        return "Asked for with --force."
    if not record.labels:
        return None
    return asks(config.settings.retraining, record, json.loads(live.read("model.json"))["rows"])


def asks(settings: Retraining, record: Record, rows: int) -> str | None:
    """Why moved inputs or new labels ask for a challenger of a model fitted on `rows` rows, as a sentence.

    A refused challenger sets the mark anew, and inputs that moved ask once: else each dataset would have
    one more trained, and every look at the test rows makes it harder for a good one to be proven better.
    """
    new = record.labels - record.tried
    acts = record.shift and record.shift["level"] == "act" and not record.tried
    if record.shift and acts and new >= settings.enough_labels:
        told = "; ".join(record.shift["sentences"])
        return f"Inputs: {told}. There are {new:,} new labelled rows to learn from."
    if new >= (settings.growth - 1) * (rows + record.tried):
        refused = f"; a challenger that knew {record.tried:,} of them was refused" if record.tried else ""
        return (
            f"There are {record.labels:,} new labelled rows, and the model was fitted on {rows:,}{refused}."
        )
    return None


def reason_against(config: Config, contract: Contract, what: News) -> str | None:
    """Why no challenger is trained although something asks for one; None where nothing is against it."""
    if config.force or what.damage:
        return None
    memory, now = monitor.read(config.monitor), Now(config, contract, what)
    for refusal in memory.refusals:
        if now.is_judged_like(refusal):
            return f"A challenger trained on the same data was refused ({refusal.at}): {refusal.reason}"
    if what.live is None:
        return None
    # what is newer than both was never live: a killed run left it
    rolled_back = range(what.live.edition.sequence + 1, releases.rolled_back(config) + 1)
    for edition in publisher.editions(releases.shelf(config)):
        if edition.sequence in rolled_back and now.is_trained_like(edition.manifest):
            return f"Release {edition.id}, trained on the same data, was rolled back: it is not made again."
    most = config.settings.retraining.most_per_day
    if memory.trainings_today(stage.now()) >= most:
        return f"{most} challengers were trained in the last 24 hours: the next one waits."
    return None


def look_again(config: Config) -> float | None:
    """When a challenger that waits may be trained, in seconds since 1970; None where none has to wait."""
    return monitor.read(config.monitor).allowed_from(stage.now(), config.settings.retraining.most_per_day)


def stays(config: Config, record: Record | None) -> str:
    """Why the model stays, where nothing asks for a challenger, and what became of the inputs."""
    moved = record.shift["sentences"] if record and record.shift else []
    inputs = f" Inputs ({record.shift['level']}): {moved[0]}." if record and record.shift and moved else ""
    return f"{_no_drift(config, record)}{inputs}"


def _no_drift(config: Config, record: Record | None) -> str:
    if record is None or record.losses is None or not record.labels:
        return "No new outcomes: the model stays."
    error = record.losses["error"]
    interval = f"{1 - config.settings.drift.alpha:.0%} interval {error['low']:.1%} to {error['high']:.1%}"
    return (
        f"No drift: since its deployment the live release erred on {error['value']:.1%} of {record.labels:,} "
        f"new labelled rows ({interval}); the model stays."
    )


def begin(config: Config) -> None:
    """Count this training; before it, so that one that dies again and again does not go on all day."""
    memory = monitor.read(config.monitor)
    monitor.write(config.monitor, memory.trained(stage.now()))


def look_at_test_rows(config: Config, what: News, record: Record | None) -> Look:
    """Count this look; what the live release was proven on and has drifted from is outdated from now on."""
    trained_on = files.read_json(config.model_description)["sha256"][config.trained_model.name]
    memory, rows = monitor.read(config.monitor), news.test_rows(config)
    if what.live and record and record.drift:
        proven_on = memory.looks.get(rows, ())
        if what.live.facts["files"]["trainedmodel.pkl"]["sha256"] in proven_on:
            memory = memory.left_behind(rows)
    memory, earlier = memory.looked(rows, trained_on)
    monitor.write(config.monitor, memory)
    return Look(earlier, rows in memory.outdated)


def refuse(config: Config, contract: Contract, what: News, reason: str, trained: bool = True) -> None:
    """Remember the refusal, and keep the challenger's files aside with it, where one was `trained`."""
    now = Now(config, contract, what)
    refusal = Refusal(stage.now(), config.run, what.generation.id, now.labelled, now.judged_on, reason)
    memory = monitor.read(config.monitor)
    if what.live and (record := memory.records.get(what.live.id)):
        memory = memory.kept(what.live.id, replace(record, tried=record.labels))
    if trained:
        # without a challenger the files there are those of an earlier model
        folder = config.refused / config.run
        for path in (config.model_description, config.scorecard, config.trained_model, config.scores):
            files.write_bytes(folder / path.name, path.read_bytes())
        files.write_text(folder / REASON, f"{reason}\n")
        forget(config)
    monitor.write(config.monitor, memory.refused(refusal))


def forget(config: Config) -> None:
    """Remove the oldest, and those that a killed run did not finish: their reason comes last."""
    folders = sorted(config.refused.iterdir(), key=lambda folder: (folder.stat().st_mtime_ns, folder.name))
    whole = [folder for folder in folders if (folder / REASON).exists()]
    for folder in folders:
        if folder not in whole[-KEPT:]:
            shutil.rmtree(folder)


@dataclass(frozen=True)
class Now:
    """What a challenger would be trained on and judged by now, as fingerprints."""

    config: Config
    contract: Contract
    what: News

    @cached_property
    def labelled(self) -> str:
        from attrition import evidence

        return evidence.data(self.config.clients, news.table(self.contract, self.what))

    @cached_property
    def judged_on(self) -> str:
        settings = self.config.settings
        kinds = (settings.training, settings.promotion, settings.clients)
        judged = [*(each.model_dump_json() for each in kinds), news.test_rows(self.config)]
        return hashlib.sha256("\n".join(judged).encode()).hexdigest()

    def is_judged_like(self, refusal: Refusal) -> bool:
        if refusal.judged_on != self.judged_on:
            return False
        # the generation tells without reading the table
        return refusal.generation == self.what.generation.id or refusal.trained_on == self.labelled

    def is_trained_like(self, release: Mapping[str, Any]) -> bool:
        if release["contract"] != self.contract.fingerprint:
            return False
        return release["ingested"] == self.what.generation.id or release.get("data") == self.labelled
