"""Signatures of what the pipeline wrote and will trust again: HMAC-SHA256 (RFC 2104).

A sha256 beside a file tells damage; who changes the file can change the sha256 too. A seal cannot
be made without the key, so what bears one was written by this pipeline. It signs all other keys
of a JSON object, and of what kind that is, so that a seal of one kind fits no other.
"""

import hmac
import json
import logging
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrition.errors import KeyFault

log = logging.getLogger("attrition")

SEAL = "seal"
KEY_BYTES = 32
LONGEST_KEY_FILE = 4096
CHOOSE = "Restore it, or have a new one made: python deployment.py --new-key"


def key(place: Path) -> bytes | None:
    """The key, or None where none was made yet; KeyFault where it is none, or not private.

    Who may write the key may sign. To let a group read it is the operator's choice.
    """
    try:
        descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise KeyFault(
            f"{place}: the key that signs releases cannot be read ({error.strerror}). "
            "Give the user of this script, or its group, the permission to read it."
        ) from None
    try:
        at = os.fstat(descriptor)
        if at.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise KeyFault(
                f"{place}: the key that signs releases can be written by others. Find out whether somebody "
                f"did; then run: chmod 600 {place}"
            )
        text = os.read(descriptor, LONGEST_KEY_FILE) if stat.S_ISREG(at.st_mode) else b""
    finally:
        os.close(descriptor)
    return _decoded(place, text)


def required(place: Path) -> bytes:
    """The key, to sign with; KeyFault where there is none."""
    found = key(place)
    if found is None:
        raise KeyFault(f"{place}: there is no key to sign with yet. Run: python fullprocess.py")
    return found


def warn_of_readers(place: Path) -> None:
    if place.stat().st_mode & stat.S_IROTH:
        log.warning(
            "%s: everybody on this machine can read the key that signs releases. "
            "Make a new one (python deployment.py --new-key), or run: chmod o-r %s",
            place,
            place,
        )


def sealed(kind: str, facts: Mapping[str, Any], key: bytes) -> dict[str, Any]:
    """The same facts, signed; a seal that they bore is replaced."""
    bare = _bare(facts)
    return {**bare, SEAL: _seal(kind, bare, key)}


def fits(kind: str, facts: Mapping[str, Any], key: bytes | None) -> bool:
    """Whether the facts bear a seal made with the key.

    Before the first key was made nothing was signed: then facts without a seal are taken.
    """
    seal = facts.get(SEAL)
    if key is None:
        return seal is None
    try:
        # compared as bytes, in a time that does not tell how much of it was right
        return isinstance(seal, str) and hmac.compare_digest(
            seal.encode(), _seal(kind, _bare(facts), key).encode()
        )
    except ValueError:
        # no NaN, and no half of a character as a seal, was ever written
        return False


def _seal(kind: str, bare: Mapping[str, Any], key: bytes) -> str:
    return hmac.digest(key, f"{kind}\0{json.dumps(bare, allow_nan=False)}".encode(), "sha256").hex()


def _bare(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if name != SEAL}


def _decoded(place: Path, text: bytes) -> bytes:
    try:
        found = bytes.fromhex(text.decode("ascii"))
    except ValueError:
        found = b""
    if len(found) < KEY_BYTES:
        raise KeyFault(
            f"{place}: this is no key that signs releases ({KEY_BYTES} bytes or more as hexadecimal digits). "
            f"{CHOOSE}"
        )
    return found
