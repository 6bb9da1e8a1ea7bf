"""Keys and tokens that are refused, on their way into the audit: few entries, however many attempts."""

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import Callable

from chatcli.errors import ChatcliError
from chatcli.models import LOCAL_OWNER
from chatcli.service import ChatService
from chatcli.service.auditing import UNKNOWN, Actor

MOST = 10
PERIOD = 60.0
"""Seconds in which at most `MOST` entries are written."""


class Watch:
    """Writes an entry for what is refused, but not so many that they fill the store.

    What is over the limit is counted in the next entry of its kind, at the latest when the server ends.
    """

    def __init__(self, service: ChatService, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._service = service
        self._clock = clock
        self._written: deque[float] = deque(maxlen=MOST)
        self._waiting: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    def token_refused(self, address: str) -> None:
        """Take note of a token that opens nothing."""
        self._note("token-refused", address, 1)

    def look(self, address: str) -> None:
        """Take note of stored text that the keys given did not open."""
        if refused := self._service.take_refused_keys():
            self._note("key-refused", address, refused)

    async def aclose(self) -> None:
        """Write what is left."""
        for action in [*self._waiting]:
            self._write(action, "several")
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _note(self, action: str, address: str, number: int) -> None:
        self._waiting[action] += number
        now = self._clock()
        if len(self._written) < MOST or now - self._written[0] >= PERIOD:
            self._written.append(now)
            self._write(action, address)

    def _write(self, action: str, origin: str) -> None:
        """Begin to write an entry: nobody who is refused waits for it."""
        actor = Actor(UNKNOWN, "serve", origin)
        count = self._waiting.pop(action)
        entry = actor.entry(LOCAL_OWNER, action, count=count, outcome="refused")

        async def write() -> None:
            with contextlib.suppress(ChatcliError):  # the log has the refusal, too
                await self._service.store.record(entry)

        task = asyncio.create_task(write())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
