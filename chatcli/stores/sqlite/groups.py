"""Writes that wait at the same time share a transaction: one flush to the disk serves them all."""

import os
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from chatcli.errors import ChatcliError
from chatcli.stores.sqlite.connection import Database
from chatcli.stores.sqlite.runners import Runner

T = TypeVar("T")

_LARGEST = 64
"""Writes in one transaction: the first of them waits for the last."""


class _Write(Generic[T]):
    """One write, and what came of it."""

    def __init__(self, work: Callable[[sqlite3.Connection], T]) -> None:
        self.work = work
        self.given_up = False
        """Nobody waits for it any more."""
        self.pid = os.getpid()
        """A process that is forked has copies of what waits; it is not for it to do them."""
        self.taken = False
        """It was tried in a group."""
        self._result: list[T] = []
        self._refusal: ChatcliError | None = None

    @property
    def done(self) -> bool:
        """Whether it is on disk, or was refused."""
        return bool(self._result) or self._refusal is not None

    def do(self, connection: sqlite3.Connection) -> None:
        """Do it beside others: where it is refused, nothing of it is left, and all of the others."""
        self.forget()
        connection.execute("SAVEPOINT one")
        try:
            self._result.append(self.work(connection))
        except ChatcliError as refusal:
            connection.execute("ROLLBACK TO one")
            self._refusal = refusal
        connection.execute("RELEASE one")

    def forget(self) -> None:
        """Take back what came of it: it did not reach the disk."""
        self._result.clear()
        self._refusal = None

    def outcome(self) -> T:
        """Return its result, or raise why it was refused."""
        if self._refusal is not None:
            raise self._refusal
        return self._result[0]


class WriteGroups:
    """Runs writes where the runner says, in the order of their arrival.

    A write is on disk when it returns, whole or not at all, whatever becomes of those beside it.
    """

    def __init__(self, database: Database, runner: Runner) -> None:
        self._database = database
        self._runner = runner
        self._waiting: deque[_Write[Any]] = deque()

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Return what `work` returns. Raises `sqlite3.Error` as it comes."""
        write = _Write(work)
        self._waiting.append(write)
        try:
            return await self._runner.run(lambda: self._finish(write))
        finally:
            write.given_up = True

    def _finish(self, write: _Write[T]) -> T:
        """Do `write`, with all that wait beside it, unless an earlier one has done it already."""
        if not write.taken:
            group = self._take()
            if len(group) > 1:
                self._do_together(group)
        return write.outcome() if write.done else self._database.write(write.work)

    def _take(self) -> list[_Write[Any]]:
        group: list[_Write[Any]] = []
        while self._waiting and len(group) < _LARGEST:
            write = self._waiting.popleft()
            if not write.given_up and write.pid == os.getpid():
                write.taken = True
                group.append(write)
        return group

    def _do_together(self, group: Sequence[_Write[Any]]) -> None:
        """Commit a group; if that fails none of it is done, and each is tried alone, for its own error."""

        def work(connection: sqlite3.Connection) -> None:
            for write in group:
                write.do(connection)

        try:
            self._database.write(work)
        except Exception:  # noqa: BLE001 - it comes again, to the one whose it is
            for write in group:
                write.forget()
