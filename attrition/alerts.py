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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime

from pydantic import TypeAdapter

from attrition import files, flips, ledger, outbox, posting, stage, standing
from attrition.channels import KINDS, Message, kinds
from attrition.config import Config
from attrition.errors import AttritionError
from attrition.flips import Alert, State
from attrition.outbox import Waiting
from attrition.posting import Undelivered
from attrition.settings import Alerts

log = logging.getLogger("attrition")

LONGEST_SECONDS = 8.0
LONGEST_SUBJECT = 120
LONGEST_COMMAND = 1000


@dataclass(frozen=True)
class Memory:
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
    try:
        memory = _read(config)
    except OSError:
        return 0.0
    if memory.waiting:
        return 0.0
    return datetime.fromisoformat(memory.look_again).timestamp() if memory.look_again else None


def tell(config: Config, alive: str | None) -> None:
    """Look for flips, write them down, deliver them; what is not delivered waits for the next tick."""
    before, using = _read(config), kinds(config.settings.alerts)
    now = standing.look(config, before.risk_list, alive)
    found = flips.flips(before.state, now)
    due = flips.digest_due(before.state, now)
    memory = Memory(
        flips.told(before.state, now),
        [*outbox.still(before.waiting, using), *(_waiting(config, alert, using) for alert in found)],
        _utc(due.timestamp()) if due else None,
        before.risk_list if due or now.at_risk is None else standing.stamp_of_list(config),
    )
    if memory != before:
        _write(config, memory)
    deliver(config, memory)


def deliver(config: Config, memory: Memory) -> None:
    """Send what waits, and keep what each kind said as it says it."""
    settings = config.settings.alerts
    batches = {kind: batch for kind in kinds(settings) if (batch := outbox.batch(memory.waiting, kind))}
    if not batches:
        return
    started, clock = stage.now(), time.monotonic()
    jobs = {kind: KINDS[kind].job(settings, message(config, batch)) for kind, batch in batches.items()}
    # the try is written down first: what cannot be remembered must not be sent, or it would be at each tick
    memory = replace(memory, waiting=outbox.tried(memory.waiting, batches))
    _write(config, memory)
    faults = {}
    for kind, fault in posting.outcomes(jobs, LONGEST_SECONDS):
        faults[kind] = _sentence(settings, kind, fault)
        _log(memory.waiting, kind, batches[kind], faults[kind])
        memory = replace(memory, waiting=outbox.after(memory.waiting, kind, batches[kind], fault))
        _write(config, memory)
    failed = " ".join(filter(None, faults.values()))
    titles = {kind: [alert.title for alert in batch] for kind, batch in batches.items()}
    told = f"Told: {'; '.join(dict.fromkeys(title for batch in titles.values() for title in batch))}."
    entry = {
        "run": config.run,
        "stage": standing.TELLING,
        "started": started,
        "seconds": round(time.monotonic() - clock, 3),
        "status": "failed" if failed else "done",
        "sentence": failed or told,
        "facts": {kind: {"alerts": titles[kind], "fault": faults[kind]} for kind in faults},
    }
    ledger.append(config.history, entry)


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
    command = flips.short(config.command(alert.command), LONGEST_COMMAND)
    return Waiting(replace(alert, command=command), dict.fromkeys(using, 0), {})


def _sentence(settings: Alerts, kind: str, fault: Undelivered | None) -> str:
    return f"Alerts by {kind}: the URL in {KINDS[kind].variable(settings)} {fault}." if fault else ""


def _log(waiting: Sequence[Waiting], kind: str, batch: Sequence[Alert], sentence: str) -> None:
    if not sentence:
        log.info("alerts told by %s: %d", kind, len(batch))
        return
    # an error reaches cron's mail: once, when the trouble begins
    begins = all(one.tries[kind] == 1 for one in waiting if one.alert in batch)
    level = logging.ERROR if begins else logging.WARNING
    log.log(level, "%s What waits is sent again by each tick.", sentence)


def _read(config: Config) -> Memory:
    try:
        return TypeAdapter(Memory).validate_json(config.alerts.read_bytes())
    except FileNotFoundError:
        return Memory()
    except ValueError:
        log.warning("%s cannot be read: what is wrong now is told once more", config.alerts)
        return Memory()


def _write(config: Config, memory: Memory) -> None:
    files.write_json(config.alerts, asdict(memory))
