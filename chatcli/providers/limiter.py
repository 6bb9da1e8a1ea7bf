"""The limit on calls of providers, kept by all chatcli processes of the user on this machine.

One-shots are processes of their own, so a limit in memory (such as LangChain's
``InMemoryRateLimiter``) would never be reached. The times of recent calls are kept in a small file
under a lock, on the monotonic clock, which all processes of a machine share and nobody sets back.
"""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from chatcli.errors import RateLimited

if TYPE_CHECKING:
    from chatcli.config import Settings

FILE_NAME = "calls"
_LOCK_SECONDS = 1.0
"""How long the lock is waited for; whoever has it needs microseconds, unless it was stopped."""
_LOCK_PAUSE = 0.01


class Limiter:
    """At most RATE_LIMIT_CALLS calls in any RATE_LIMIT_PERIOD seconds.

    Where the data directory can't be written, the limit holds for this process alone.
    """

    def __init__(self, settings: "Settings") -> None:
        self._path = settings.data_dir / FILE_NAME
        self._calls = settings.rate_limit_calls
        self._period = settings.rate_limit_period
        self._times: list[float] = []

    async def wait(self, *, at_most: float) -> None:
        """Return as soon as a call is allowed, and count it.

        Raises:
            RateLimited: that would take longer than `at_most` seconds; nothing was counted.
        """
        import asyncio

        start = time.monotonic()
        while (pause := self._claim(patient=time.monotonic() < start + _LOCK_SECONDS)) > 0:
            if time.monotonic() + pause > start + at_most:
                raise RateLimited(
                    f"more than {self._calls} calls of models in {self._period:g} seconds",
                    hint="try again later, or raise RATE_LIMIT_CALLS",
                    retry_after=pause,
                )
            await asyncio.sleep(pause)

    def _claim(self, *, patient: bool) -> float:
        """Count a call and return 0, or return the seconds after which to try again."""
        try:
            return self._claim_in_file(self._path)
        except BlockingIOError:
            if patient:
                return _LOCK_PAUSE
        except OSError:
            pass
        return self._add(self._times)

    def _claim_in_file(self, path: Path) -> float:
        import fcntl

        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(number, "r+", encoding="ascii", errors="replace") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            times = _parse(file.read())
            pause = self._add(times)
            if not pause:
                file.seek(0)
                file.truncate()
                file.writelines(f"{moment!r}\n" for moment in times)
                # Written before the lock goes with the file.
                file.flush()
            return pause

    def _add(self, times: list[float]) -> float:
        """Add a call to `times`, or return how long until there is room for one."""
        now = time.monotonic()
        # Times to come are of the time before the machine was started anew.
        times[:] = [moment for moment in times if now - self._period < moment <= now]
        if len(times) >= self._calls:
            return max(times[-self._calls] + self._period - now, _LOCK_PAUSE)
        times.append(now)
        return 0.0


def _parse(text: str) -> list[float]:
    """Return the times in the file; one that is damaged counts as empty."""
    try:
        return sorted(map(float, text.split()))
    except ValueError:
        return []
