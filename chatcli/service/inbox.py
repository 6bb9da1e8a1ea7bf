"""What a turn emits, on its way to whoever reads it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from chatcli.events import Event, Failed, Finished

Sink: TypeAlias = Callable[[Sequence[Event]], Awaitable[None]]
"""Takes events that came together, and may hold the answer up."""

BEHIND_EVENTS = 256
"""Events a reader may be behind before the reading from the provider stops."""


class Inbox:
    """Events on their way to a reader, who takes all that are there at once."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._news = asyncio.Event()
        self._room = asyncio.Event()

    async def put(self, events: Sequence[Event]) -> None:
        """Take events in, and wait while there are too many."""
        self._events.extend(events)
        self._news.set()
        while len(self._events) >= BEHIND_EVENTS:
            self._room.clear()
            await self._room.wait()

    def close(self, last: Finished | Failed) -> None:
        """Take the last event in."""
        self._events.append(last)
        self._news.set()

    async def take(self) -> list[Event]:
        """Wait for events, and return all there are."""
        while not self._events:
            self._news.clear()
            await self._news.wait()
        taken, self._events = self._events, []
        self._room.set()
        return taken
