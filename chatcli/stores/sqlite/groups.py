"""Writes that wait at the same time share a transaction: one flush to the disk serves them all."""

import os
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from chatcli.errors import ChatcliError
from chatcli.stores.sqlite.connection import Database
from chatcli.stores.sqlite.runners import Runner

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")

_LARGEST = 64
"""Writes in one transaction: the first of them waits for the last."""


class _Write(Generic[T]):
    """One write, and what came of it."""

    def __init__(self, work: Callable[[sqlite3.Connection], T], done: "asyncio.Future[None] | None") -> None:
        self._work = work
        self.done = done
        """Set when it is on disk, or was refused."""
        self.given_up = False
        """Nobody waits for it any more."""
        self.pid = os.getpid()
        """A process that is forked has copies of what waits; it is not for it to do them."""
        self._result: list[T] = []
        self._failure: Exception | None = None

    def do_beside(self, connection: sqlite3.Connection) -> None:
        """Do it in a transaction with others; one that is refused must have changed nothing.

        Raises its refusal where it has: then none of the group may stay.
        """
        changes = connection.total_changes
        try:
            self._result.append(self._work(connection))
        except ChatcliError as refusal:
            if connection.total_changes != changes:
                raise
            self._failure = refusal

    def do_alone(self, database: Database) -> None:
        """Do it in a transaction of its own."""
        self._result.clear()
        self._failure = None
        try:
            self._result.append(database.write(self._work))
        except Exception as failure:  # noqa: BLE001 - for the one whose it is
            self._failure = failure

    def outcome(self) -> T:
        """Return its result, or raise why there is none."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        return self._result[0]


class WriteGroups:
    """Runs writes where the runner says, in the order of their arrival.

    A write is on disk when it returns, whole or not at all, whatever becomes of those beside it.
    """

    def __init__(self, database: Database, runner: Runner) -> None:
        self._database = database
        self._runner = runner
        self._waiting: deque[_Write[Any]] = deque()
        self._called = 0
        """The process in which somebody is on the way who does what waits."""

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Return what `work` returns. Raises `sqlite3.Error` as it comes."""
        write = _Write(work, self._runner.expect())
        self._waiting.append(write)
        try:
            self._call()
            if write.done is not None:
                await write.done
            return write.outcome()
        finally:
            write.given_up = True

    def _call(self) -> None:
        """See to it that what waits is done; one call serves all that come before it is answered."""
        if self._called != os.getpid():
            self._called = os.getpid()
            try:
                self._runner.submit(self._do_next)
            except BaseException:
                self._called = 0
                raise

    def _do_next(self) -> None:
        """Do one group; what comes meanwhile is done behind what else was submitted meanwhile."""
        self._called = 0  # before the look: whoever comes after it calls again
        group = self._take()
        if not (len(group) > 1 and self._do_together(group)):
            for write in group:
                write.do_alone(self._database)
        self._runner.tell(write.done for write in group)
        if self._waiting:
            self._call()

    def _take(self) -> list[_Write[Any]]:
        group: list[_Write[Any]] = []
        while self._waiting and len(group) < _LARGEST:
            write = self._waiting.popleft()
            if not write.given_up and write.pid == os.getpid():
                group.append(write)
        return group

    def _do_together(self, group: Sequence[_Write[Any]]) -> bool:
        """Commit a group; if that fails, none of it is done."""

        def work(connection: sqlite3.Connection) -> None:
            for write in group:
                write.do_beside(connection)

        try:
            self._database.write(work)
        except Exception:  # noqa: BLE001 - it comes again, to the one whose it is
            return False
        return True
