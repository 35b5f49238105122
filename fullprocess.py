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
from dataclasses import asdict, dataclass, replace
from typing import Any

import ingestion
from attrition import alerts, files, news, stage
from attrition import config as configuration
from attrition import contract as contracts
from attrition.config import Config
from attrition.contract import Contract
from attrition.drift import Drift
from attrition.errors import ApiError
from attrition.news import News

log = logging.getLogger("attrition")


@dataclass(frozen=True)
class Processed:
    new_datasets: Sequence[str]
    reason: str
    release: str | None
    live_score: Mapping[str, Any] | None = None
    drift: Drift | None = None
    retrained: bool = False
    promoted: bool = False
    ingested: str | None = None
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
    ingested = stage.step(config, "ingestion", ingestion.run)
    if config.dry_run:
        return rehearsed(config, ingested)
    contract, what = contracts.compiled(config.clients), news.look(config)
    if not (what.unfinished or reason_to_retrain(config, contract, what, None)):
        live = what.live.id if what.live else None
        done = Processed([], "Nothing new.", live, status="nothing to do")
        return replace(done, ingested=what.generation.id, unsettled=ingested.datasets_unsettled)
    done = judge_live(config, contract, what)
    done = replace(done, ingested=what.generation.id, unsettled=ingested.datasets_unsettled)
    if reason := reason_to_retrain(config, contract, what, done.drift):
        done = retrain(config, contract, what, replace(done, reason=reason))
    return tell(config, done)


def judge_live(config: Config, contract: Contract, what: News) -> Processed:
    """Score the live release on exactly the new labelled rows, before any training on them."""
    from attrition import evidence

    if what.live is None or what.live.facts["contract"] != contract.fingerprint:
        return Processed(what.datasets, "", None)
    live_score = evidence.score_live(config, what.live, news.fresh_rows(config, contract, what))
    drift = evidence.drifted(config, what.live, live_score)
    return Processed(what.datasets, evidence.stays(live_score), what.live.id, live_score, drift)


def reason_to_retrain(config: Config, contract: Contract, what: News, drift: Drift | None) -> str | None:
    """Why a challenger must be trained, as a sentence; None where nothing asks for one."""
    if what.damage:
        return f"The live release is damaged ({what.damage})."
    if what.live is None:
        return "No release was live."
    if what.live.facts["contract"] != contract.fingerprint:
        return f"The clients section of config.json has changed since release {what.live.id}."
    if drift:
        return f"Drift: {drift.reason}."
    return "Asked for with --force." if config.force else None


def retrain(config: Config, contract: Contract, what: News, done: Processed) -> Processed:
    """Train a challenger, score it, and deploy it where it is not worse than the live release."""
    import deployment
    import scoring
    import training
    from attrition import evidence

    if what.damage:
        log.error("a new release is made. %s", done.reason)
    # read first: without test data nothing could be deployed, and training would be in vain
    test_rows = scoring.read_test_rows(config, contract)
    trained = stage.step(config, "training", training.run)
    if trained.status != "done":
        return replace(done, reason=f"{done.reason} {trained}", status="refused")
    stage.step(config, "scoring", scoring.run)
    decision = evidence.decide(config, what.live, contract.fingerprint, test_rows)
    reason = f"{done.reason} {decision.reason}"
    if decision.promote:
        stage.step(config, "deployment", lambda config: deployment.deploy(config, reason))
    return replace(done, retrained=True, promoted=decision.promote, reason=reason)


def tell(config: Config, done: Processed) -> Processed:
    """Diagnostics, report and the API's answers, about whatever is live now."""
    import apicalls
    import diagnostics
    import reporting

    live, _ = news.live_release(config)
    found = {"drift": asdict(done.drift) if done.drift else None, "live_score": done.live_score}
    stage.step(config, "diagnostics", lambda config: diagnostics.run(config, found))
    if live:
        stage.step(config, "reporting", reporting.run)
    try:
        absent = apicalls.no_server(config)
        api = f"skipped: {absent}" if absent else str(stage.step(config, "apicalls", apicalls.run))
    except ApiError as fault:
        # the work is done: a server in trouble must not have it all done again
        log.error("the API check failed: %s", fault)
        api = f"failed: {fault}"
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
    people = [config.path, config.input_folder, config.test_folder]
    seen = stamp.text([str(place) for place in people], sorted(configuration.overriding(os.environ)))
    with alerts.telling(config):
        processed = stage.step(config, name, run)
    if not config.dry_run and not processed.unsettled:
        results = [str(place) for place in (config.ingested_current, config.current, config.alerts)]
        left = stamp.extended(seen, results, alerts.look_again(config), alerts.ping_variable(config))
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
