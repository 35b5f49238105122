"""Who is logged in: a signed cookie that holds no key, only which key it was begun with.

Each key signs its own sessions, with a secret derived from its digest. So every worker knows every session,
also after a restart; and with the key its sessions end, and no others. The derivation is slow on purpose:
whoever takes a cookie cannot try short keys out on it.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from itsdangerous import BadData, URLSafeTimedSerializer

COOKIE = "attrition_session"
SECONDS = 12 * 60 * 60
PURPOSE = b"attrition session"
SECRET_BYTES, NAME_BYTES = 32, 8
# a path of this server: after a second slash, or a backslash, a browser would read the name of another
OWN_PLACE = re.compile(r"/(?![/\\])[\x21-\x7e]*")


class Sessions:
    """Sessions of the keys with these digests (see attrition.keys)."""

    def __init__(self, known: Sequence[bytes]) -> None:
        self._signers = {digest: _signer(digest) for digest in known}

    def begin(self, digest: bytes) -> str:
        """The cookie of a new session of the key with this digest."""
        return self._signers[digest].begin()

    def knows(self, cookie: str) -> bool:
        """Whether it was signed here, by a key that is still one, within the last SECONDS."""
        return any([signer.knows(cookie) for signer in self._signers.values()])


def own_place(wanted: str) -> str:
    """Where to go on after the login: a place of this server, / for any other."""
    return wanted if OWN_PLACE.fullmatch(wanted) else "/"


def is_own_form(headers: Mapping[str, str], host: str) -> bool:
    """Whether a form was sent from a page of this very server, as browsers say it of every POST."""
    if (site := headers.get("Sec-Fetch-Site")) is not None:
        return site == "same-origin"
    return headers.get("Origin") in (f"http://{host}", f"https://{host}")


@dataclass(frozen=True)
class Signer:
    """Signs the name of one key."""

    name: str
    serializer: URLSafeTimedSerializer

    def begin(self) -> str:
        return str(self.serializer.dumps(self.name))

    def knows(self, cookie: str) -> bool:
        try:
            return bool(self.serializer.loads(cookie, max_age=SECONDS) == self.name)
        except BadData:
            return False


def _signer(digest: bytes) -> Signer:
    # RFC 7914; 16 MB and some 50 ms for each key, once
    derived = hashlib.scrypt(digest, salt=PURPOSE, n=1 << 14, r=8, p=1, dklen=SECRET_BYTES + NAME_BYTES)
    return Signer(derived[SECRET_BYTES:].hex(), URLSafeTimedSerializer(derived[:SECRET_BYTES], salt=PURPOSE))
