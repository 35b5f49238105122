"""Tell a person once, when things turn bad and when they turn good.

with alerts.pinged(config):          # the dead-man's switch: start, then success or the exit status
    with alerts.telling(config):     # at the end: what flipped, by webhook and by mail
        ...

What flipped is written to alerts.json before it is sent, and taken out when it has been delivered. So nothing
is lost; and what was delivered just before a process was killed is sent once more by the next tick.
Only fullprocess.py tells: who starts a stage by hand is watching it. No fault in here fails a run.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from attrition import files, flips, ledger, posting, stage, standing
from attrition.channels import KINDS, Message, kinds
from attrition.config import Config
from attrition.errors import AttritionError
from attrition.flips import Alert, State
from attrition.posting import Undelivered
from attrition.settings import Alerts

log = logging.getLogger("attrition")

LONGEST_SECONDS = 8.0
MOST_AT_ONCE = 10
# a day of ticks
MOST_TRIES = 144
# sent whole and never answered: as often as this a message may arrive twice before it is taken for told
MOST_UNCLEAR = 6
LONGEST_SUBJECT = 120


@dataclass(frozen=True)
class Waiting:
    """An alert that is not delivered yet: tries, and tries without an answer, by the kinds it waits for."""

    alert: Alert
    tries: Mapping[str, int]
    unclear: Mapping[str, int]


@dataclass(frozen=True)
class Kept:
    """alerts.json: what was told, what waits, when to look again, and which risk list was looked at."""

    state: State = flips.NOTHING_TOLD
    waiting: Sequence[Waiting] = field(default_factory=list)
    look_again: str | None = None
    risk_list: Sequence[int] = field(default_factory=list)


@contextmanager
def pinged(config: Config) -> Iterator[None]:
    """Tell the dead-man's switch when a tick starts, and how it ends."""
    variable = ping_variable(config)
    if variable is None or config.dry_run:
        yield
        return
    beginning = threading.Thread(target=_ping, args=(variable, "start"), daemon=True)
    beginning.start()
    status = 1
    try:
        yield
        status = 0
    except AttritionError as error:
        status = error.status
        raise
    finally:
        beginning.join(posting.PING_SECONDS)
        _ping(variable, str(status) if status else "")


@contextmanager
def telling(config: Config) -> Iterator[None]:
    """Tell what flipped by the end of a tick, whether it ends well or not."""
    if not kinds(config.settings.alerts) or config.dry_run:
        yield
        return
    alive = _silent_since(config)
    try:
        yield
    except Exception:
        _tell_or_log(config, alive)
        raise
    _tell_or_log(config, alive)


def ping_variable(config: Config) -> str | None:
    """The variable with the switch's URL. Practice has none: its pings would hide that production is dead."""
    return None if config.practice else config.settings.alerts.ping_env


def look_again(config: Config) -> float | None:
    """When a tick must not be idle, in seconds since 1970: at once while alerts wait; None is never."""
    if not kinds(config.settings.alerts):
        return None
    kept = _read(config)
    if kept.waiting:
        return 0.0
    return datetime.fromisoformat(kept.look_again).timestamp() if kept.look_again else None


def tell(config: Config, alive: str | None) -> None:
    """Look for flips, write them down, deliver them; what is not delivered waits for the next tick."""
    before, using = _read(config), kinds(config.settings.alerts)
    now = standing.look(config, before.risk_list, alive)
    found = flips.flips(before.state, now)
    due = flips.digest_due(before.state, now)
    kept = Kept(
        flips.told(before.state, now),
        [*_still_waiting(before, using), *(_waiting(config, alert, using) for alert in found)],
        _utc(due.timestamp()) if due else None,
        before.risk_list if due or now.at_risk is None else standing.stamp_of_list(config),
    )
    if kept != before:
        _write(config, kept)
    deliver(config, kept)


def deliver(config: Config, kept: Kept) -> None:
    """Send what waits, at most `MOST_AT_ONCE` alerts a kind, and keep what each kind said as it says it."""
    settings = config.settings.alerts
    batches = {
        kind: batch
        for kind in kinds(settings)
        if (batch := [one for one in kept.waiting if kind in one.tries][:MOST_AT_ONCE])
    }
    if not batches:
        return
    started, clock = stage.now(), time.monotonic()
    jobs = {
        kind: KINDS[kind].job(settings, message(config, [one.alert for one in batch]))
        for kind, batch in batches.items()
    }
    faults = {}
    for kind, fault in posting.outcomes(jobs, LONGEST_SECONDS):
        kept = replace(kept, waiting=after(kept.waiting, kind, batches[kind], fault))
        _write(config, kept)
        faults[kind] = _sentence(settings, kind, fault)
        _log(batches[kind], kind, faults[kind])
    told = {kind: [one.alert.title for one in batches[kind]] for kind in faults}
    facts = {kind: {"alerts": told[kind], "fault": faults[kind]} for kind in faults}
    ran: dict[str, Any] = {"run": config.run, "stage": standing.TELLING, "started": started}
    failed = " ".join(sentence for sentence in faults.values() if sentence)
    sentence = failed or f"Told: {'; '.join(dict.fromkeys(t for titles in told.values() for t in titles))}."
    ran |= {"seconds": round(time.monotonic() - clock, 3), "status": "failed" if failed else "done"}
    ledger.append(config.history, {**ran, "sentence": sentence, "facts": facts})


def after(
    waiting: Sequence[Waiting], kind: str, batch: Sequence[Waiting], fault: Undelivered | None
) -> list[Waiting]:
    """What still waits once `kind` has said what became of the batch."""
    left = []
    for one in waiting:
        if one.alert in [sent.alert for sent in batch] and kind in one.tries:
            tries, unclear = one.tries[kind] + 1, one.unclear.get(kind, 0) + bool(fault and fault.unclear)
            over = fault is None or tries >= MOST_TRIES or unclear >= MOST_UNCLEAR
            counted = {} if over else {kind: tries}
            others = {name: count for name, count in one.tries.items() if name != kind}
            one = replace(one, tries={**others, **counted}, unclear={**one.unclear, kind: unclear})
        if one.tries:
            left.append(one)
    return left


def message(config: Config, alerts: Sequence[Alert]) -> Message:
    more = f", and {len(alerts) - 1} more" if len(alerts) > 1 else ""
    name = "attrition, practice" if config.practice else "attrition"
    subject = flips.short(f"[{name}] {alerts[0].title}{more}", LONGEST_SUBJECT)
    parts = [
        f"{'Good' if alert.good else 'Bad'}: {alert.title} ({alert.at})\n{alert.text}\nNext: {alert.command}"
        for alert in alerts
    ]
    place = flips.short(f"{socket.gethostname()}, {config.path}", 300)
    text = "\n\n".join([f"[{name}] {place}", *parts])
    return Message(subject, text, {"alerts": [asdict(alert) for alert in alerts]})


def _ping(variable: str, what: str) -> None:
    if fault := posting.ping(os.environ.get(variable), what):
        log.warning("the ping %s: the URL in %s %s", what or "of success", variable, fault)


def _tell_or_log(config: Config, alive: str | None) -> None:
    try:
        tell(config, alive)
    except OSError as error:
        # not written down, so not sent either: without a memory the next tick would send it again
        log.error("alerts are not told, since %s: %s", error.filename or "alerts.json", error.strerror)
    except Exception:
        log.exception("alerts are not told")


def _silent_since(config: Config) -> str | None:
    """The last sign of life before this tick, where it is older than api.max_age_minutes."""
    seen = []
    for place in (config.stamp, config.history):
        with suppress(OSError):
            seen.append(place.stat().st_mtime)
    minutes = (time.time() - max(seen)) / 60 if seen else 0.0
    if minutes <= config.settings.api.max_age_minutes:
        return None
    return _utc(max(seen))


def _utc(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _waiting(config: Config, alert: Alert, using: Sequence[str]) -> Waiting:
    return Waiting(replace(alert, command=config.command(alert.command)), dict.fromkeys(using, 0), {})


def _still_waiting(kept: Kept, using: Sequence[str]) -> list[Waiting]:
    """What waits for a kind that is still configured."""
    waiting = [
        replace(one, tries={kind: count for kind, count in one.tries.items() if kind in using})
        for one in kept.waiting
    ]
    return [one for one in waiting if one.tries]


def _sentence(settings: Alerts, kind: str, fault: Undelivered | None) -> str:
    return f"Alerts by {kind}: the URL in {KINDS[kind].variable(settings)} {fault}." if fault else ""


def _log(batch: Sequence[Waiting], kind: str, sentence: str) -> None:
    if not sentence:
        log.info("alerts told by %s: %d", kind, len(batch))
        return
    # an error reaches cron's mail: once, when the trouble begins
    begins = all(one.tries[kind] == 0 for one in batch)
    log.log(
        logging.ERROR if begins else logging.WARNING, "%s They are sent again at the next tick.", sentence
    )
    for one in batch:
        if one.tries[kind] + 1 >= MOST_TRIES or one.unclear.get(kind, 0) + 1 >= MOST_UNCLEAR:
            log.error("given up: no word by %s of this alert: %s", kind, one.alert.title)


def _read(config: Config) -> Kept:
    try:
        kept = files.read_json(config.alerts)
        waiting = [Waiting(Alert(**one["alert"]), one["tries"], one["unclear"]) for one in kept["waiting"]]
        return Kept(State(**kept["state"]), waiting, kept["look_again"], kept["risk_list"])
    except FileNotFoundError:
        return Kept()
    except (ValueError, TypeError, KeyError):
        log.warning("%s cannot be read: what is wrong now is told once more", config.alerts)
        return Kept()


def _write(config: Config, kept: Kept) -> None:
    files.write_json(config.alerts, asdict(kept))
