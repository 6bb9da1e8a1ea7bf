"""Looking after the lock by which others know that a store lives, while turns run on it."""

import asyncio
from contextlib import suppress

from chatcli.errors import ChatcliError
from chatcli.stores.base import Lease
from chatcli.stores.postgres import turns
from chatcli.stores.postgres.connection import Database

PERIOD = 0.25
"""Seconds between two looks at the session that holds it: much less than others doubt that it is lost."""


class Watch:
    """Takes the lock again as soon as its session is lost, and renews the leases of the running turns.

    A session may be cut at any time, by an administrator or a failover. Whoever looks for the lock
    meanwhile waits for a moment before the turns count as those of a dead process (``is_live``).
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._leases: set[Lease] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._mending: asyncio.Task[None] | None = None

    def begin(self, lease: Lease) -> None:
        """Look after the lock as long as this turn runs."""
        self._leases.add(lease)
        if self._timer is None:
            self._set_timer()

    def end(self, lease: Lease) -> None:
        """Take note that a turn has ended."""
        self._leases.discard(lease)

    async def aclose(self) -> None:
        """Look no more."""
        self._leases.clear()
        if self._timer is not None:
            self._timer.cancel()
        if self._mending is not None:
            await asyncio.wait({self._mending})

    def _set_timer(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(PERIOD, self._look)

    def _look(self) -> None:
        self._timer = None
        if not self._leases:
            return
        if self._database.has_lost_lock() and (self._mending is None or self._mending.done()):
            self._mending = asyncio.create_task(self._mend())
        self._set_timer()

    async def _mend(self) -> None:
        with suppress(ChatcliError):  # the next look tries again
            await self._database.hold()
            for lease in tuple(self._leases):
                await turns.renew(self._database, lease)
