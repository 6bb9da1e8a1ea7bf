"""How the store's transactions are run: where its runner says, patiently, and with deleted text purged."""

import os
import sqlite3
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from chatcli.errors import ChatcliError, StoreUnavailable
from chatcli.stores.sqlite import errors, search
from chatcli.stores.sqlite.connection import Database
from chatcli.stores.sqlite.groups import WriteGroups
from chatcli.stores.sqlite.runners import Runner

T = TypeVar("T")

PATIENCE = 5.0
_PURGE_PATIENCE = 1.0
_LONGEST_WAIT = 0.05


class Transactions:
    """Reads and writes of one database; each is one transaction.

    `patience` is how many seconds another program's lock is waited for.
    """

    def __init__(self, database: Database, runner: Runner, patience: float) -> None:
        self.database = database
        self.runner = runner
        self._groups = WriteGroups(database, runner)
        self._patience = patience
        self._deleted = False
        self.scrub_all = False
        """Whether `close` has to leave nothing of what was changed, however large the file is."""

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Return what `work` reads."""
        call = partial(self.database.read, work)
        return await self._run(lambda: self.runner.run(call), self._patience, writing=False)

    async def write(self, work: Callable[[sqlite3.Connection], T], *, patience: float | None = None) -> T:
        """Return what `work` returns once all that it wrote is on disk."""
        limit = self._patience if patience is None else min(patience, self._patience)
        return await self._run(lambda: self._groups.write(work), limit, writing=True)

    async def _run(self, attempt: Callable[[], Awaitable[T]], patience: float, *, writing: bool) -> T:
        """Make an `attempt` until no other program is in its way, but not for longer than `patience`."""
        deadline = time.monotonic() + patience
        wait = 0.001
        while True:
            try:
                return await attempt()
            except sqlite3.Error as error:
                if errors.code_of(error) not in errors.LOCKED or time.monotonic() >= deadline:
                    raise errors.translate(error, self.database.path, writing=writing) from error
            await self.runner.wait(_jitter(wait))
            wait = min(2 * wait, _LONGEST_WAIT)

    async def purge(self, *, shrink: bool = False) -> None:
        """Take deleted text out of the index and the log; a reader in the way is waited for a moment.

        What is left then goes when the log is next written back, at the latest when the last
        program closes the file. `close` scrubs the file once, however much was deleted. With
        `shrink` all room that was freed goes back to the file system, not only some.
        """
        self._deleted = True
        try:
            while await self.write(search.tidy):
                pass
        except ChatcliError:  # the deletion stands; what is stale is marked, and goes with the next one
            return
        if shrink:
            await self._shrink()
        deadline = time.monotonic() + min(_PURGE_PATIENCE, self._patience)
        while not await self.runner.run(self.database.purge) and time.monotonic() < deadline:
            await self.runner.wait(_jitter(_LONGEST_WAIT))

    async def _shrink(self) -> None:
        """Give back all free pages, some at a time, for as long as that goes on."""
        free = await self.runner.run(self.database.count_free_pages)
        while free and await self.runner.run(self.database.purge):
            before, free = free, await self.runner.run(self.database.count_free_pages)
            if free >= before:
                return

    def close(self) -> None:
        """Scrub the file if something was deleted, and close it.

        Raises `StoreUnavailable` if `scrub_all` is set, and somebody else was in the way all the time.
        """
        done = not self.scrub_all or self._scrub_all()
        if self._deleted:
            self.database.scrub()
            self._deleted = False
        self.scrub_all = False
        self.database.close()
        if not done:
            raise StoreUnavailable(
                "the store is in use: what was changed may still be found in its file as it was",
                hint="run the same command again when nothing else uses the store",
            )

    def _scrub_all(self) -> bool:
        deadline = time.monotonic() + self._patience
        while not self.database.scrub(whole=True):
            if time.monotonic() >= deadline:
                return False
            time.sleep(_LONGEST_WAIT)
        return True


def _jitter(seconds: float) -> float:
    """Return between half of `seconds` and all of it, so that those who wait do not march in step."""
    return seconds * (0.5 + os.urandom(1)[0] / 512)
