"""What the pipeline wrote last, for a process that stays: one readlink for the release, one stat for a file.

Nothing that has not changed is read twice. A release is verified before it is served; while `current` names a
damaged one, the last good one goes on being served, and `fault` says so.
"""

import json
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any, Generic, TypeVar

from attrition import ledger, publisher, releases, scorecard
from attrition.config import Config
from attrition.errors import AttritionError, KeyFault
from attrition.quick import Usual
from attrition.scorecard import Scorecard
from attrition.settings import Clients

log = logging.getLogger("attrition.app")

T = TypeVar("T")
# a release found damaged is looked at again after this time: somebody may have put it right
RETRY_SECONDS = 5.0
NO_RELEASE = "No release is live yet. Run: python fullprocess.py"
REPAIR = "Run: python deployment.py --rollback, or python fullprocess.py --force (a new release is made)."


@dataclass(frozen=True)
class Served:
    """A release that was verified when it was read: all of an answer comes from one of these."""

    id: str
    card: Scorecard
    scores: Mapping[str, Any]
    f1: float | None
    scored_at: str
    created: str
    usual: Usual

    @property
    def named(self) -> dict[str, Any]:
        """What every answer about risk names, beside the time."""
        threshold_from = self.card.threshold_from
        return {"release": self.id, "threshold": self.card.threshold, "threshold_from": threshold_from}


@dataclass(frozen=True)
class Sight:
    """What a look at `current` found: where it led, what is served, and what is wrong, in a sentence."""

    link: str | None
    served: Served | None
    fault: str | None
    until: float


class Live:
    """The live release, and the last good one while the live one is damaged."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._current = str(config.current)
        self._lock = Lock()
        self._sight = Sight("never looked", None, None, 0.0)

    def look(self) -> Sight:
        """One readlink; a release is read only where the link has changed."""
        link = _target(self._current)
        if self._is_known(link):
            return self._sight
        with self._lock:
            if not self._is_known(link):
                self._sight = self._next(link)
            return self._sight

    def _is_known(self, link: str | None) -> bool:
        sight = self._sight
        return link == sight.link and (sight.fault is None or link is None or time.monotonic() < sight.until)

    def _next(self, link: str | None) -> Sight:
        before, until = self._sight, time.monotonic() + RETRY_SECONDS
        if link is None:
            return Sight(link, before.served, NO_RELEASE, until)
        served, fault = self._read(link)
        if fault is None:
            return Sight(link, served, None, until)
        last_good = before.served or self._read(_target(str(self._config.previous)))[0]
        still = f" {last_good.id} goes on being served." if last_good else ""
        sentence = f"{fault}{still} {REPAIR}"
        if sentence != before.fault:
            log.error("%s", sentence)
        return Sight(link, last_good, sentence, until)

    def _read(self, link: str | None) -> tuple[Served | None, str | None]:
        """The verified release that a link names, or what is wrong with it."""
        if link is None:
            return None, None
        name = Path(link).name
        try:
            release = releases.by_id(self._config, name)
            publisher.verify(release.shelf, release.edition)
            card = scorecard.load(release.read("scorecard.json"))
            f1 = release.scores["figures"]["f1"]
            scored_at = release.scores["scored_at"]
            created = release.facts.get("created", scored_at)
            f1 = f1 and f1["value"]
            served = Served(release.id, card, release.scores, f1, scored_at, created, Usual(card))
        except KeyFault as fault:
            if link != self._sight.link:
                log.error("release %r cannot be verified: %s", name, fault)
            return (
                None,
                f"The release {name} cannot be verified: the key that signs releases is out of reach, "
                "or not private. The log says what to do.",
            )
        except (AttritionError, OSError, ValueError, KeyError, TypeError) as error:
            if link != self._sight.link:
                log.error("release %r cannot be served: %s", name, error)
            return None, f"The release {name} is damaged: it is not what was deployed."
        if misfits := _misfits(self._config.clients, card):
            columns = ", ".join(misfits)
            return (
                None,
                f"The release {name} reads columns that clients in config.json does not name: {columns}.",
            )
        return served, None


def _misfits(clients: Clients, card: Scorecard) -> list[str]:
    """Columns that the release reads and the config does not have, or has as another kind."""
    numbers = set(card.numbers)
    texts = set(card.features) - numbers
    return sorted((numbers - set(clients.model_numbers)) | (texts - set(clients.categorical)))


class KeptFile(Generic[T]):
    """What a kept file says, read again when its time, size or inode changes; None where there is none."""

    def __init__(self, path: Path, read: Callable[[Path], T]) -> None:
        self.path, self._read = path, read
        self._seen: tuple[str, T | None] | None = None

    def look(self) -> T | None:
        return self.tagged()[1]

    def tagged(self) -> tuple[str, T | None]:
        """The content, and before it a tag that changes with the file: the same in every process."""
        try:
            at = self.path.stat()
            tag = f"{at.st_mtime_ns:x}.{at.st_size:x}.{at.st_ino:x}"
            seen = self._seen
            if seen is None or seen[0] != tag:
                # a file replaced while it is read has another tag at the next look, and is read again
                self._seen = seen = (tag, self._content())
        except OSError:
            return "", None
        return seen

    def _content(self) -> T | None:
        try:
            return self._read(self.path)
        except ValueError as error:
            log.error("%s cannot be read: %s", self.path.name, error)
            return None


def json_object(path: Path) -> dict[str, Any]:
    """ValueError where the file holds anything else."""
    facts = json.loads(path.read_bytes())
    if not isinstance(facts, dict):
        raise ValueError("this is no JSON object")
    return facts


def last_good_run(config: Config, history: Sequence[Mapping[str, Any]]) -> float | None:
    """When the last good tick ended, in seconds since 1970: one with work to do, or an idle one."""
    ended = [_ended(e) for e in history if e["stage"] == "fullprocess" and e["status"] in ledger.FINISHED]
    with suppress(OSError):
        # each idle tick touches the stamp
        ended.append(config.stamp.stat().st_mtime)
    return max(ended, default=None)


def why_late(run: float | None, most_minutes: int) -> str | None:
    if run is None:
        return "No run has finished yet. Run: python fullprocess.py"
    minutes = (time.time() - run) / 60
    if minutes < -1:
        return f"The last good run ended at {utc(run)}, which is still to come. Check the clock."
    if minutes > most_minutes:
        return f"The last good run ended at {utc(run)}, more than {most_minutes} minutes ago. Is cron alive?"
    return None


def age(moment: str) -> float:
    """Seconds since a time as the pipeline writes it."""
    return seconds_since(datetime.fromisoformat(moment).timestamp())


def seconds_since(moment: float) -> float:
    """Seconds since a time in seconds since 1970; never below 0, whatever the clock did."""
    return max(0.0, time.time() - moment)


def now() -> str:
    return utc(time.time())


def utc(seconds: float) -> str:
    """UTC to the second, with a Z."""
    return _utc(int(seconds))


@lru_cache(maxsize=8)
def _utc(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _ended(entry: Mapping[str, Any]) -> float:
    return datetime.fromisoformat(entry["started"]).timestamp() + float(entry["seconds"])


def _target(link: str) -> str | None:
    try:
        return os.readlink(link)  # noqa: PTH115 - on the path of every request, and Path costs more
    except OSError:
        return None
