"""Waiting for a thread on which another turn is running."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from chatcli.errors import ThreadBusy

FIRST_PAUSE, LONGEST_PAUSE = 0.02, 0.25
"""Seconds between two looks at a thread that another process is using."""

T = TypeVar("T")


class Waiting:
    """A bounded wait for a thread to be free: first in this process, then in the store."""

    def __init__(self, seconds: float, on_wait: Callable[[], None] | None) -> None:
        self._deadline = asyncio.get_running_loop().time() + seconds
        self._on_wait = on_wait

    @asynccontextmanager
    async def for_lock(self, lock: asyncio.Lock) -> AsyncIterator[None]:
        """Hold `lock` for the block, or raise `ThreadBusy` at the deadline."""
        if lock.locked():
            self._say()
        try:
            async with asyncio.timeout_at(self._deadline):
                await lock.acquire()
        except TimeoutError:
            raise ThreadBusy("another turn is running on this thread", hint="try again later") from None
        try:
            yield
        finally:
            lock.release()

    async def for_thread(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Return what `attempt` does as soon as it finds the thread free; the last `ThreadBusy` is raised."""
        pause = FIRST_PAUSE
        while True:
            try:
                return await attempt()
            except ThreadBusy:
                remaining = self._deadline - asyncio.get_running_loop().time()
                if remaining <= 0:
                    raise
            self._say()
            await asyncio.sleep(min(pause, remaining))
            pause = min(pause * 1.5, LONGEST_PAUSE)

    def _say(self) -> None:
        if self._on_wait is not None:
            self._on_wait()
            self._on_wait = None
