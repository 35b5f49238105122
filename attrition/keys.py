"""Who may ask the API: keys with roles, compared in constant time; without keys this machine alone.

    ATTRITION_API_KEYS="read:KEY, predict:KEY, KEY"

A key may be followed by another before the first one goes. `read:` may ask for what the stages wrote,
`predict:` for predictions, a key without a role for everything.
"""

import hashlib
import hmac
import ipaddress
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from attrition.problems import Refused

SCHEME = "Bearer "
READ, PREDICT, ANY = "read", "predict", "any key"
# asked without a key: by whoever watches over the server; to get in
OPEN, LOGIN = "open", "login"
ROLES = (READ, PREDICT)
EVERYTHING = "all"


@dataclass(frozen=True)
class Key:
    """A key as the server knows it: its digest, what it may do, and a name that gives nothing away."""

    digest: bytes
    role: str
    place: int

    @property
    def name(self) -> str:
        return f"{self.place + 1}:{self.role}"

    def may(self, role: str) -> bool:
        return role in (self.role, ANY) or self.role == EVERYTHING


def listed(text: str) -> list[tuple[str, str]]:
    """Role and key of each entry of the comma-separated list."""
    entries = [entry.strip() for entry in text.split(",")]
    return [_parted(entry) for entry in entries if entry.removesuffix(":") not in ("", *ROLES)]


def known(text: str) -> list[Key]:
    """The sha256 of each key of the list: a server keeps no key itself."""
    return [Key(_digest(os.fsencode(key)), role, place) for place, (role, key) in enumerate(listed(text))]


def named(keys: Sequence[Key], authorization: str) -> Key:
    """The key that the header names, or Refused."""
    # WSGI hands headers over as latin-1: this gives back the bytes that were sent
    key = find(keys, authorization.removeprefix(SCHEME).encode("latin-1", "replace"))
    if key is None or not authorization.startswith(SCHEME):
        raise Refused(
            401, "Send a key: Authorization: Bearer KEY.", headers={"WWW-Authenticate": SCHEME.strip()}
        )
    return key


def find(keys: Sequence[Key], given: bytes) -> Key | None:
    """The key that these bytes are. Every one is compared, so that the time taken tells nothing."""
    digest = _digest(given)
    found = [key for key in keys if hmac.compare_digest(digest, key.digest)]
    return found[0] if found else None


def check_role(key: Key, role: str) -> None:
    if not key.may(role):
        raise Refused(403, f"This key may {key.role} only. Send one that may {role}.")


def check_host(host: str | None) -> None:
    """Refused where a browser was led here by a name of somebody else's (DNS rebinding)."""
    if host is not None and not is_here(host):
        raise Refused(
            421,
            "Without keys only a loopback name or address is answered as Host. Ask 127.0.0.1, or set keys.",
        )


@lru_cache(maxsize=128)
def is_here(host: str) -> bool:
    """Whether a Host header names this machine: localhost, 127.0.0.1, [::1], with or without a port."""
    matched = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9.-]{1,253}))(?::[0-9]{1,5})?", host)
    if matched is None:
        return False
    name = (matched[1] or matched[2]).lower().removesuffix(".")
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def _parted(entry: str) -> tuple[str, str]:
    role, colon, key = entry.partition(":")
    # a key of older configs may hold a colon of its own
    return (role, key.strip()) if colon and role in ROLES else (EVERYTHING, entry)


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
