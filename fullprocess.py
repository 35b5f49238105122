"""The whole pipeline, as cron starts it: anything new? has the model drifted? then the stages that follow.

Reads   the stamp of the last finished run, then whatever its stages read
Writes  the stamp (what this run saw), and whatever its stages write

Example: python fullprocess.py -q        (the line in cronjob.txt: silent on success)
         python fullprocess.py --force   (train a challenger even without drift)
"""

import sys

from attrition import stamp

# an idle tick ends here, before anything else is imported
if __name__ == "__main__" and stamp.nothing_new(sys.argv[1:]):
    raise SystemExit(0)

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ingestion
from attrition import (
    alerts,
    challengers,
    files,
    generations,
    monitor,
    news,
    plays,
    publisher,
    releases,
    stage,
)
from attrition import config as configuration
from attrition import contract as contracts
from attrition.config import Config
from attrition.contract import Contract
from attrition.errors import ApiError
from attrition.monitor import Record
from attrition.news import News

log = logging.getLogger("attrition")


@dataclass(frozen=True)
class Processed:
    new_datasets: Sequence[str]
    reason: str
    release: str | None
    live_score: Mapping[str, Any] | None = None
    drift: Mapping[str, Any] | None = None
    retrained: bool = False
    promoted: bool = False
    ingested: str | None = None
    actions: str | None = None
    unsettled: Sequence[str] = ()
    api: str = "not asked"
    status: str = "done"

    def __str__(self) -> str:
        names = ", ".join(self.new_datasets[:5])
        more = f" and {len(self.new_datasets) - 5} more" if len(self.new_datasets) > 5 else ""
        news = f"New or changed datasets: {names}{more}. " if names else ""
        live = f"Live: release {self.release}." if self.release else "No release is live."
        return f"{news}{self.reason} {live}"


def run(config: Config) -> Processed:
    try:
        return process(config)
    except generations.DamagedTable as fault:
        log.error("the table is made again. %s", fault)
        stage.step(config, "ingestion", ingestion.again)
        return process(config)


def process(config: Config) -> Processed:
    # a table of actions with a fault is refused before any work
    actions = plays.fingerprint(config.plays)
    ingested = stage.step(config, "ingestion", ingestion.run)
    if config.dry_run:
        return rehearsed(config, ingested)
    contract, what = contracts.compiled(config.clients), news.look(config)
    if what.live:
        # whatever a killed deployment did not get to
        publisher.point_fixed_links(what.live.shelf, what.live.edition)
    record = judge_live(config, contract, what)
    reason = reason_to_retrain(config, contract, what, record)
    against = challengers.reason_against(config, contract, what) if reason else None
    found = Processed(what.datasets, "Nothing new.", what.live.id if what.live else None)
    found = replace(
        found, ingested=what.generation.id, actions=actions, unsettled=ingested.datasets_unsettled
    )
    edited = what.live is not None and what.actions not in (actions, None)
    if not (what.unfinished or edited) and (against or not reason):
        return replace(found, status="nothing to do")
    if record:
        found = replace(found, live_score=record.live_score if what.unfinished else None, drift=record.drift)
    if reason and not against:
        return tell(config, retrain(config, contract, what, record, replace(found, reason=reason)))
    stays = challengers.stays(config, record) if not reason else f"{reason} {against}"
    return tell(config, replace(found, reason=stays))


def judge_live(config: Config, contract: Contract, what: News) -> Record | None:
    """Score the live release on exactly the new rows, before any training on them, and remember it."""
    if what.live is None or what.live.facts["contract"] != contract.fingerprint:
        return None
    memory = monitor.read(config.monitor)
    record = memory.of(what.live.id, what.live.facts["ingested"])
    if record.counted == what.generation.id:
        return record
    from attrition import evidence

    record = evidence.meet(config, contract, what, what.live, record, memory.outdated)
    # first of all: what is counted now is not counted again by a tick after one that was killed
    monitor.write(config.monitor, memory.kept(what.live.id, record).of_releases(releases.kept(config)))
    return record


def reason_to_retrain(config: Config, contract: Contract, what: News, record: Record | None) -> str | None:
    """Why a challenger must be trained, as a sentence; None where nothing asks for one."""
    if what.damage:
        return f"The live release is damaged ({what.damage})."
    if what.live is None:
        return "No release was live."
    if record is None:
        return f"The clients section of config.json has changed since release {what.live.id}."
    if record.drift:
        return f"Drift: {record.drift['reason']}."
    return challengers.reason_to_train(config, what.live, record)


def retrain(
    config: Config, contract: Contract, what: News, record: Record | None, done: Processed
) -> Processed:
    """Train a challenger, score it, and deploy it where the evidence is for it; else keep it aside."""
    import deployment
    import scoring
    import training
    from attrition import evidence, parallel

    if what.damage:
        log.error("a new release is made. %s", done.reason)
    # first of all: without test data, or without the cluster it waits for, training would be in vain
    test_rows = scoring.read_test_rows(config, contract)
    parallel.require(config.settings.parallel)
    challengers.begin(config)
    newer_than = what.live.facts["ingested"] if what.live and record else None
    trained = stage.step(config, "training", lambda config: training.run(config, newer_than))
    if trained.status != "done":
        challengers.refuse(config, contract, what, str(trained), trained=False)
        return replace(done, reason=f"{done.reason} {trained}", status="refused")
    stage.step(config, "scoring", scoring.run)
    look = challengers.look_at_test_rows(config, what, record)
    decision = evidence.decide(config, contract, what, record, test_rows, look)
    reason = f"{done.reason} {decision.reason}"
    if decision.promote:
        stage.step(config, "deployment", lambda config: deployment.deploy(config, reason))
    else:
        challengers.refuse(config, contract, what, decision.reason)
    return replace(done, retrained=True, promoted=decision.promote, reason=reason)


def tell(config: Config, done: Processed) -> Processed:
    """Diagnostics, report, the API's answers and the tables for BI tools, about whatever is live now."""
    import apicalls
    import diagnostics
    import publishing
    import reporting

    live, _ = news.live_release(config)
    stage.step(config, "diagnostics", diagnostics.run)
    if live:
        stage.step(config, "reporting", reporting.run)
    try:
        absent = apicalls.no_server(config)
        api = f"skipped: {absent}" if absent else str(stage.step(config, "apicalls", apicalls.run))
    except ApiError as fault:
        # the work is done: a server in trouble must not have it all done again
        log.error("the API check failed: %s", fault)
        api = f"failed: {fault}"
    publishing.after_a_tick(config)
    return replace(done, release=live.id if live else None, api=api)


def rehearsed(config: Config, ingested: ingestion.Ingested) -> Processed:
    """What a dry run can tell: which datasets wait, and what would follow."""
    live, _ = news.live_release(config)
    waiting = [*ingested.datasets_new, *ingested.datasets_changed]
    if live is None:
        return Processed(waiting, "Dry run: a first release would be trained and deployed.", None)
    if waiting or config.force:
        follows = "the live release would be scored on the new rows; a challenger trained on drift or --force"
        return Processed(waiting, f"Dry run: {follows}.", live.id)
    return Processed([], "Nothing new.", live.id, status="nothing to do")


def stamped(config: Config, name: str, run: Callable[[Config], Processed]) -> Processed:
    """The step of a tick: once it has finished, its stamp lets the next tick end at once."""
    # looked at before the work: what people change meanwhile is news to the next tick
    people = [config.path, config.input_folder, config.test_folder, *([config.plays] if config.plays else [])]
    seen = stamp.text([str(place) for place in people], sorted(configuration.overriding(os.environ)))
    with alerts.telling(config):
        processed = stage.step(config, name, run)
    if not config.dry_run and not processed.unsettled:
        results = [str(place) for place in (config.ingested_current, config.current, config.alerts)]
        times = [
            time for time in (alerts.look_again(config), challengers.look_again(config)) if time is not None
        ]
        left = stamp.extended(seen, results, min(times, default=None), alerts.ping_variable(config))
        # a database must be asked each time: then the stamp tells by its age alone that cron is alive
        files.write_bytes(config.stamp, b"" if config.settings.database and not config.practice else left)
    return processed


def watched(config: Config, name: str, run: Callable[[Config], Processed]) -> Processed:
    """The whole tick between its pings."""
    with alerts.pinged(config):
        return stamped(config, name, run)


def main() -> int:
    return stage.enter("fullprocess", __doc__, run, around=watched, silent_when_idle=True)


if __name__ == "__main__":
    raise SystemExit(main())
