"""The limit on calls of providers, kept by all chatcli processes of the user on this machine.

One-shots are processes of their own, so a limit in memory (such as LangChain's
``InMemoryRateLimiter``) would never be reached. The times of recent calls are kept in a small file
under a lock, on the monotonic clock, which all processes of a machine share and nobody sets back.
"""

import os
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from chatcli.errors import RateLimited

if TYPE_CHECKING:
    from chatcli.config import Settings
    from chatcli.providers.shared import SharedCalls

FILE_NAME = "calls"
_LOCK_SECONDS = 1.0
"""How long the lock is waited for; whoever has it needs microseconds, unless it was stopped."""
_LOCK_PAUSE = 0.01
_RECORD = 24
"""Bytes of a time in the file: of one size, so that the file need not be read to find one."""
_LONG_SIZE = 64 * 1024
"""Bytes from which on the file is made shorter when that is possible."""


class Limiter:
    """At most RATE_LIMIT_CALLS calls in any RATE_LIMIT_PERIOD seconds.

    With CHATCLI_REDIS_URL it holds for all who use that Redis together. Without an answer from there
    it holds for this machine, and where the data directory can't be written, for this process alone.
    """

    def __init__(self, settings: "Settings") -> None:
        self._path = settings.data_dir / FILE_NAME
        self._calls = settings.rate_limit_calls
        self._period = settings.rate_limit_period
        self._redis_url = settings.redis_url
        self._shared: SharedCalls | None = None
        self._times: deque[float] = deque()

    async def wait(self, *, at_most: float) -> None:
        """Return as soon as a call is allowed, and count it.

        Raises:
            RateLimited: that would take longer than `at_most` seconds; nothing was counted.
        """
        import asyncio

        start = time.monotonic()
        while (pause := await self._claim_anywhere(patient=time.monotonic() < start + _LOCK_SECONDS)) > 0:
            if time.monotonic() + pause > start + at_most:
                raise RateLimited(
                    f"more than {self._calls} calls of models in {self._period:g} seconds",
                    hint="try again later, or raise RATE_LIMIT_CALLS",
                    retry_after=pause,
                )
            await asyncio.sleep(pause)

    async def aclose(self) -> None:
        """Close the connections to Redis."""
        if self._shared is not None:
            await self._shared.aclose()

    async def _claim_anywhere(self, *, patient: bool) -> float:
        """Count a call and return 0, or return the seconds after which to try again."""
        if self._redis_url is not None:
            if self._shared is None:
                from chatcli.providers.shared import SharedCalls

                self._shared = SharedCalls(self._redis_url, calls=self._calls, period=self._period)
            if (pause := await self._shared.claim()) is not None:
                return pause
        return self._claim(patient=patient)

    def _claim(self, *, patient: bool) -> float:
        """Do the same for this machine."""
        try:
            return self._claim_in_file(self._path)
        except BlockingIOError:
            if patient:
                return _LOCK_PAUSE
        except OSError:
            pass
        return self._claim_here()

    def _claim_here(self) -> float:
        """Do the same for this process alone."""
        now, times = time.monotonic(), self._times
        while times and times[0] <= now - self._period:
            times.popleft()
        if len(times) >= self._calls:
            return max(times[-self._calls] + self._period - now, _LOCK_PAUSE)
        times.append(now)
        return 0.0

    def _claim_in_file(self, path: Path) -> float:
        import fcntl

        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return self._add(number)
        finally:
            os.close(number)

    def _add(self, number: int) -> float:
        """Add a call to an open file, or return how long until there is room for one.

        Two or three records tell, however many calls are allowed.
        """
        now = time.monotonic()
        size = os.fstat(number).st_size
        newest = _read(number, size - _RECORD) if size % _RECORD == 0 else None
        # Times to come are of the time before the machine was started anew.
        if newest is None or not now - self._period < newest <= now:
            os.truncate(number, 0)
            size = 0
        oldest = _read(number, size - self._calls * _RECORD)
        if oldest is not None and oldest > now - self._period:
            return max(oldest + self._period - now, _LOCK_PAUSE)
        if size >= _LONG_SIZE:
            size = self._shorten(number, size, now)
        os.pwrite(number, f"{now:0{_RECORD - 1}.6f}\n".encode(), size)
        return 0.0

    def _shorten(self, number: int, size: int, now: float) -> int:
        """Drop the older half of a file if it is of no use any more, and return the size."""
        middle = size // _RECORD // 2 * _RECORD
        moment = _read(number, middle)
        if moment is not None and moment > now - self._period:
            return size
        newer = os.pread(number, size - middle, middle)
        os.truncate(number, 0)
        os.pwrite(number, newer, 0)
        return len(newer)


def _read(number: int, offset: int) -> float | None:
    """Return the time at a place in an open file; None where there is none, or it is damaged."""
    try:
        return float(os.pread(number, _RECORD, offset)) if offset >= 0 else None
    except ValueError:
        return None
