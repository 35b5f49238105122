"""The key of a pipeline and what is signed with it: releases, generations, model.json.

The key is made at first use. What was published before there were keys is then signed, once,
where each file has its sha256; from then on whatever bears no seal counts as damaged. A key that
is lost is never replaced without being asked: a stranger who can remove it must not get his files
signed.

A change of keys is whole or absent. The new one is written beside the old one first
(signing.key.new), then everything is signed with it, then it takes the old one's place: a killed
run is taken up by the next.
"""

import json
import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from attrition import files, generations, publisher, releases, seals
from attrition.config import Config
from attrition.errors import DataError, KeyFault, UsageError
from attrition.publisher import Shelf

log = logging.getLogger("attrition")

MODEL = "model"
Trust = Callable[[str, Mapping[str, Any]], bool]


@dataclass(frozen=True)
class Renewed:
    """What bears a seal of the new key, and what was left without since it is not sound."""

    signed: int
    unsound: tuple[str, ...]
    status: str = "done"

    def __str__(self) -> str:
        left = (
            f" Not signed, since not what was published: {', '.join(self.unsound)}." if self.unsound else ""
        )
        return f"A new key signs releases; {self.signed:,} editions were signed with it.{left}"


def ready(config: Config) -> None:
    """Have a key before something is signed, for who holds the lock; KeyFault where it was lost."""
    if config.dry_run:
        return
    place = config.signing_key
    key, unfinished = seals.key(place), _next(place).exists()
    if key and not unfinished:
        seals.warn_of_readers(place)
        return
    if not key and not unfinished and _any_sealed(config):
        raise KeyFault(
            f"{place}: the key that signs releases is gone, and releases were signed with it. {seals.CHOOSE} "
            "(it signs what its sha256 says is sound: make sure first that nobody changed the files)."
        )
    done = _change(config, _signed_by(key, _next(place)))
    log.info("%s", done)


def renew(config: Config) -> Renewed:
    """Sign with a new key what the old one signed; where that is lost, what has its sha256."""
    if config.dry_run:
        raise UsageError("--new-key cannot be rehearsed. Leave out one of --new-key and --dry-run.")
    try:
        key = seals.key(config.signing_key)
    except KeyFault as fault:
        log.error("a new key is made although %s", fault)
        key = None
    trusted = _signed_by(key, _next(config.signing_key)) if key else _whoever_signed
    return _change(config, trusted)


def description(config: Config, written: bytes) -> dict[str, Any]:
    """What model.json says, which may be trusted; DataError unless training wrote it."""
    try:
        facts: dict[str, Any] = json.loads(written)
        known = {"contract", "sha256"} <= facts.keys()
    except (ValueError, AttributeError, RecursionError):
        known = False
    if not known:
        raise DataError(f"{config.model_description}: this is damaged. Run: python training.py")
    if not seals.fits(MODEL, facts, seals.key(config.signing_key)):
        raise DataError(
            f"{config.model_description}: this is not signed with {config.signing_key.name}, so not what "
            "training wrote. Run: python training.py"
        )
    return facts


def write_description(config: Config, facts: Mapping[str, Any]) -> None:
    """Write model.json, signed."""
    files.write_json(config.model_description, seals.sealed(MODEL, facts, seals.required(config.signing_key)))


def make_key(place: Path) -> bytes:
    """A new key, on disk and readable by its owner alone. For who holds the lock."""
    new = secrets.token_bytes(seals.KEY_BYTES)
    files.write_bytes(place, f"{new.hex()}\n".encode(), mode=0o600)
    return new


def _change(config: Config, trusted: Trust) -> Renewed:
    """Make or take up the next key, sign with it what is trusted and sound, put it in place."""
    place = config.signing_key
    draft = _next(place)
    new = seals.key(draft) or make_key(draft)
    signed, unsound = 0, []
    for shelf in _shelves(config):
        for edition_id in publisher.names(shelf):
            fault = publisher.sign(shelf, edition_id, partial(trusted, shelf.kind), new)
            signed += fault is None
            unsound += [edition_id] if fault else []
            if fault:
                log.error("not signed: %s", fault)
    _sign_description(config, trusted, new)
    draft.rename(place)
    files.sync_folder(place.parent)
    return Renewed(signed, tuple(unsound))


def _sign_description(config: Config, trusted: Trust, new: bytes) -> None:
    """Sign model.json; where it is damaged or not to be trusted, training makes another."""
    try:
        facts = files.read_json(config.model_description)
        if trusted(MODEL, facts):
            files.write_json(config.model_description, seals.sealed(MODEL, facts, new))
    except (FileNotFoundError, ValueError, TypeError, AttributeError, RecursionError):
        log.info("%s: there is nothing to sign", config.model_description)


def _signed_by(key: bytes | None, draft: Path) -> Trust:
    """Trust seals of the key (none before the first one), and of a change that was killed."""

    def trusted(kind: str, facts: Mapping[str, Any]) -> bool:
        return seals.fits(kind, facts, key) or seals.fits(kind, facts, seals.key(draft))

    return trusted


def _whoever_signed(kind: str, facts: Mapping[str, Any]) -> bool:
    return True


def _any_sealed(config: Config) -> bool:
    places = [
        shelf.folder / name / publisher.MANIFEST
        for shelf in _shelves(config)
        for name in publisher.names(shelf)
    ]
    return any(_bears_seal(place) for place in (*places, config.model_description))


def _bears_seal(place: Path) -> bool:
    try:
        return seals.SEAL in json.loads(files.read_plain(place))
    except (OSError, ValueError, TypeError, RecursionError):
        return False


def _shelves(config: Config) -> tuple[Shelf, Shelf]:
    return releases.shelf(config), generations.shelf(config)


def _next(place: Path) -> Path:
    return place.with_name(f"{place.name}.new")
