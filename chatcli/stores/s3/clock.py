"""The server's clock, as far as its `Date` headers tell it: leases and the order of threads follow it."""

import math
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_RESOLUTION = 1.0
"""Seconds that a `Date` header may be behind the moment at which it was written."""


class ServerClock:
    """Tells the server's time between its answers.

    Each answer bounds how far the server is ahead of a clock that nobody can set. Within these
    bounds, a second apart at first and closer with each answer, this machine's own clock is
    believed; outside of them it is not.
    """

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._low, self._high = -math.inf, math.inf

    def observe(self, date: str | None, *, sent: float, received: float) -> None:
        """Take in the `Date` of an answer; `sent` and `received` are of `time.monotonic`."""
        try:
            stamp = parsedate_to_datetime(date or "").timestamp()
        except ValueError:
            return
        low, high = stamp - received, stamp + _RESOLUTION - sent
        self._low, self._high = max(self._low, low), min(self._high, high)
        if self._low > self._high:  # one of the clocks was set, or ran away
            self._low, self._high = low, high

    def now(self) -> datetime:
        """Return the server's time in UTC; before its first answer, this machine's."""
        steady = time.monotonic()
        return datetime.fromtimestamp(min(max(self._wall(), steady + self._low), steady + self._high), UTC)
