"""Keys of the API: several at once, so that one can follow another; compared as digests, in constant time."""

import hashlib
import hmac
import os
from collections.abc import Sequence

from attrition.problems import Refused

SCHEME = "Bearer "


def listed(text: str) -> list[str]:
    return [key.strip() for key in text.split(",") if key.strip()]


def digests(text: str) -> list[bytes]:
    """The sha256 of each key of a comma-separated list: a server keeps no key itself."""
    return [_digest(os.fsencode(key)) for key in listed(text)]


def check(known: Sequence[bytes], authorization: str) -> None:
    """Refused unless the header names a known key."""
    # WSGI hands headers over as latin-1: this gives back the bytes that were sent
    given = _digest(authorization.removeprefix(SCHEME).encode("latin-1", "replace"))
    # every key is compared, so that the time taken tells nothing
    found = [hmac.compare_digest(given, key) for key in known]
    if not (authorization.startswith(SCHEME) and any(found)):
        raise Refused(
            401, "Send a key: Authorization: Bearer KEY.", headers={"WWW-Authenticate": SCHEME.strip()}
        )


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
