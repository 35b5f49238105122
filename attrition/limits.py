"""How many requests a minute a key may send, or an address that has none: counted over all workers."""

import time

from attrition.problems import Refused
from attrition.tallies import Tallies

MINUTE = 60.0
ADDRESSES = 1024
# a count and the minute it belongs to share a cell: minute x STEP + count, exact in a double
STEP = 2.0**21


class Limits:
    """Requests in the minute of the clock, for each of `keys` keys and for addresses."""

    def __init__(self, most: int, keys: int) -> None:
        self.most, self._keys = most, keys
        self._tallies = Tallies(keys + ADDRESSES)

    def spend_key(self, place: int) -> None:
        """Count a request of a key, or Refused where it had its share."""
        self._spend(place)

    def spend_address(self, address: str) -> None:
        """The same for an address; a thousand places are shared by all, so few may share one."""
        self._spend(self._keys + hash(address) % ADDRESSES)

    def _spend(self, place: int) -> None:
        now = time.time()
        minute = now // MINUTE * STEP
        # a clock that was set back leaves counts of minutes to come: they are no count of this one
        spent = sum(share - minute for share in self._tallies.shares(place) if minute < share < minute + STEP)
        if spent >= self.most:
            wait = int(MINUTE - now % MINUTE) + 1
            raise Refused(
                429,
                f"More than {self.most} requests in this minute. Wait {wait} seconds.",
                headers={"Retry-After": str(wait)},
            )
        own = self._tallies.own(place)
        self._tallies.replace(place, (own if minute < own < minute + STEP else minute) + 1)
