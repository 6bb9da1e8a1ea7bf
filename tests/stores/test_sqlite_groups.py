"""Writes that share a transaction: each is whole or not at all, whatever becomes of the others."""

import asyncio
import os
import sqlite3
import threading
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from chatcli.errors import InvalidRequest
from chatcli.stores.sqlite.connection import Database
from chatcli.stores.sqlite.groups import WriteGroups
from chatcli.stores.sqlite.runners import Threaded

T = TypeVar("T")


class CountedDatabase(Database):
    """A database that counts its transactions."""

    commits = 0

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Write, and count that."""
        result = super().write(work)
        self.commits += 1
        return result


class Held:
    """Writes to a table of notes, on a thread that does nothing until `go` is called."""

    def __init__(self, database: CountedDatabase, runner: Threaded) -> None:
        self.database = database
        self.groups = WriteGroups(database, runner)
        self._going = threading.Event()
        runner.submit(self._going.wait)

    def go(self) -> None:
        """Let the thread work."""
        self._going.set()

    def write(self, note: str, error: Exception | None = None) -> "asyncio.Task[str]":
        """Begin to write a note, and to raise `error` after that."""

        def work(connection: sqlite3.Connection) -> str:
            connection.execute("INSERT INTO notes VALUES (?)", (note,))
            if error is not None:
                raise error
            return note

        return asyncio.create_task(self.groups.write(work))

    def notes(self) -> list[str]:
        """Return what is stored, as another connection sees it."""
        connection = sqlite3.connect(self.database.path)
        try:
            return [note for (note,) in connection.execute("SELECT * FROM notes ORDER BY rowid")]
        finally:
            connection.close()


@asynccontextmanager
async def held(folder: Path) -> AsyncIterator[Held]:
    """Return a store of notes whose thread is held up."""
    database, runner = CountedDatabase(str(folder / "notes.db")), Threaded()
    database.write(lambda connection: connection.execute("CREATE TABLE notes (note TEXT UNIQUE)"))
    database.commits = 0
    writes = Held(database, runner)
    try:
        yield writes
    finally:
        writes.go()
        runner.close()
        database.close()


def taken_in_a_fork(writes: Held) -> int:
    """Return how many of the writes that wait a forked process takes for its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # there are threads: that is the point
        child = os.fork()
    if not child:
        os._exit(len(writes.groups._take()))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


async def test_one_commit_serves_all_that_wait(tmp_path: Path) -> None:
    """Ten writes that wait are one transaction, in their order, and each gets its own result."""
    async with held(tmp_path) as writes:
        tasks = [writes.write(f"note {number}") for number in range(10)]
        await asyncio.sleep(0)
        writes.go()
        assert await asyncio.gather(*tasks) == [f"note {number}" for number in range(10)]
        assert writes.notes() == [f"note {number}" for number in range(10)]
        assert writes.database.commits == 1


async def test_one_that_is_refused_leaves_the_others(tmp_path: Path) -> None:
    """A refusal goes to the one whose it is; nothing of that write is stored, and all of the others."""
    async with held(tmp_path) as writes:
        tasks = [writes.write("a"), writes.write("b", InvalidRequest("no")), writes.write("c")]
        await asyncio.sleep(0)
        writes.go()
        a, b, c = await asyncio.gather(*tasks, return_exceptions=True)
        assert (a, c) == ("a", "c")
        assert isinstance(b, InvalidRequest)
        assert writes.notes() == ["a", "c"]


async def test_one_that_is_refused_at_once_costs_the_others_nothing(tmp_path: Path) -> None:
    """Where nothing was changed before a refusal, the others still share one commit."""

    def refuse(_: sqlite3.Connection) -> str:
        raise InvalidRequest("no")

    async with held(tmp_path) as writes:
        a, b = writes.write("a"), asyncio.create_task(writes.groups.write(refuse))
        c = writes.write("c")
        await asyncio.sleep(0)
        writes.go()
        assert [await a, await c] == ["a", "c"]
        with pytest.raises(InvalidRequest):
            await b
        assert writes.notes() == ["a", "c"]
        assert writes.database.commits == 1


async def test_those_who_come_while_others_are_done_are_done_next(tmp_path: Path) -> None:
    """More writes than a group holds, and some that come late: none is left behind."""
    async with held(tmp_path) as writes:
        first = [writes.write(f"first {number}") for number in range(150)]
        await asyncio.sleep(0)
        writes.go()
        await first[0]
        late = [writes.write(f"late {number}") for number in range(10)]
        await asyncio.gather(*first, *late)
        assert len(writes.notes()) == 160
        assert writes.database.commits < 20


async def test_a_group_that_fails_is_done_one_by_one(tmp_path: Path) -> None:
    """SQLite's own errors undo a group; then each write is tried alone, and only the bad one fails."""
    async with held(tmp_path) as writes:
        tasks = [writes.write("a"), writes.write("a"), writes.write("c")]
        await asyncio.sleep(0)
        writes.go()
        first, second, third = await asyncio.gather(*tasks, return_exceptions=True)
        assert (first, third) == ("a", "c")
        assert isinstance(second, sqlite3.IntegrityError)
        assert writes.notes() == ["a", "c"]


async def test_one_that_is_given_up_is_not_done(tmp_path: Path) -> None:
    """A write whose task was cancelled before its turn came is not done with the others."""
    async with held(tmp_path) as writes:
        tasks = [writes.write("a"), writes.write("b"), writes.write("c")]
        await asyncio.sleep(0)
        tasks[1].cancel()
        with pytest.raises(asyncio.CancelledError):
            await tasks[1]
        writes.go()
        assert [await tasks[0], await tasks[2]] == ["a", "c"]
        assert writes.notes() == ["a", "c"]


async def test_a_forked_process_leaves_what_waits_to_its_parent(tmp_path: Path) -> None:
    """Writes that were on their way when a process was forked are done once."""
    async with held(tmp_path) as writes:
        tasks = [writes.write("a"), writes.write("b")]
        await asyncio.sleep(0)
        assert taken_in_a_fork(writes) == 0
        writes.go()
        assert await asyncio.gather(*tasks) == ["a", "b"]
