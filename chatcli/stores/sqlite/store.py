"""The store: each call is one transaction, run where the runner runs it."""

import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import TypeVar

from chatcli.errors import InvalidRequest, NotSaved, ThreadArchived, ThreadBusy, ThreadNotFound
from chatcli.models import Message, Page, Thread, Turn, utc_now
from chatcli.stores.base import (
    Begun,
    CheckpointKey,
    CheckpointRow,
    Keep,
    Lease,
    NewTurn,
    Outcome,
    PendingWrite,
    ThreadStore,
)
from chatcli.stores.sqlite import checkpoints, errors, health, threads, turns
from chatcli.stores.sqlite.connection import Database
from chatcli.stores.sqlite.leases import Holder
from chatcli.stores.sqlite.rows import thread_of
from chatcli.stores.sqlite.runners import Inline, Runner
from chatcli.stores.sqlite.schema import MIGRATIONS, Migration

T = TypeVar("T")

_PATIENCE = 5.0
_PURGE_PATIENCE = 1.0
_LONGEST_WAIT = 0.05


class SqliteStore(ThreadStore):
    """Threads in one SQLite file.

    With the `Inline` runner no method ever suspends. `clock` tells when leases run out; `patience`
    is how many seconds another program's lock is waited for. A store that is closed, like one
    whose process dies, leaves its running turns orphaned; it opens again when it is used again.
    """

    def __init__(
        self,
        path: str,
        *,
        runner: Runner | None = None,
        clock: Callable[[], datetime] = utc_now,
        patience: float = _PATIENCE,
        migrations: Sequence[Migration] = MIGRATIONS,
    ) -> None:
        self._database = Database(path, migrations)
        self._holder = Holder(f"{self._database.path}.lock", clock)
        self._runner = Inline() if runner is None else runner
        self._patience = patience
        self._deleted = False

    def __repr__(self) -> str:
        return f"SqliteStore({self._database.path!r})"

    # Turns -------------------------------------------------------------------------------------

    async def begin(self, new: NewTurn) -> Begun:
        try:
            return await self._write(partial(turns.begin, new=new, holder=self._holder))
        except (InvalidRequest, ThreadArchived, ThreadBusy, ThreadNotFound):
            raise
        except BaseException:
            # Cancelled, the turn may begin all the same; after a failed fsync it may come back from
            # the log. Nobody will end it, so nobody must wait for it.
            lease = Lease(new.owner, new.thread_id, new.turn_id)
            self._runner.submit(partial(self._holder.let_go, lease))
            raise

    async def renew(self, lease: Lease) -> None:
        await self._write(partial(turns.renew, lease=lease, holder=self._holder))

    async def commit(self, lease: Lease, outcome: Outcome, checkpoint: CheckpointRow | None = None) -> Turn:
        try:
            return await self._write(
                partial(turns.commit, lease=lease, outcome=outcome, checkpoint=checkpoint)
            )
        finally:  # a turn that could not be ended must not hold its thread
            self._holder.let_go(lease)

    async def context(
        self, owner: str, thread_id: str, *, limit: int, before: int | None = None
    ) -> tuple[Message, ...]:
        return await self._read(
            partial(turns.context, owner=owner, thread_id=thread_id, limit=limit, before=before)
        )

    # Threads -----------------------------------------------------------------------------------

    async def thread(self, owner: str, thread_id: str) -> Thread:
        return await self._read(lambda connection: thread_of(threads.get(connection, owner, thread_id)))

    async def turns(
        self, owner: str, thread_id: str, *, after: int = 0, limit: int | None = None
    ) -> tuple[Turn, ...]:
        return await self._read(
            partial(
                turns.read_turns,
                owner=owner,
                thread_id=thread_id,
                holder=self._holder,
                after=after,
                limit=limit,
            )
        )

    async def threads(
        self,
        owner: str,
        *,
        limit: int,
        cursor: str | None = None,
        archived: bool | None = False,
        prefix: str = "",
    ) -> Page:
        return await self._read(
            partial(threads.page, owner=owner, limit=limit, cursor=cursor, archived=archived, prefix=prefix)
        )

    async def rename(self, owner: str, thread_id: str, title: str) -> Thread:
        return await self._write(partial(threads.rename, owner=owner, thread_id=thread_id, title=title))

    async def clear(self, owner: str, thread_id: str) -> Thread:
        thread = await self._write(
            partial(threads.clear, owner=owner, thread_id=thread_id, holder=self._holder)
        )
        await self._purge()
        return thread

    async def delete(self, owner: str, thread_id: str) -> None:
        await self._write(partial(threads.delete, owner=owner, thread_id=thread_id, holder=self._holder))
        await self._purge()

    async def archive(self, owner: str, thread_id: str, *, archived: bool) -> Thread:
        return await self._write(
            partial(threads.archive, owner=owner, thread_id=thread_id, holder=self._holder, archived=archived)
        )

    # LangGraph's checkpoints -------------------------------------------------------------------

    async def put_checkpoint(self, row: CheckpointRow, *, keep: Keep = "all") -> None:
        await self._write(partial(checkpoints.put, row=row, keep=keep))

    async def get_checkpoint(self, key: CheckpointKey) -> CheckpointRow | None:
        return await self._read(partial(checkpoints.get, key=key))

    async def list_checkpoints(
        self,
        owner: str,
        thread_id: str | None,
        namespace: str | None,
        *,
        before: str | None = None,
        limit: int | None = None,
    ) -> tuple[CheckpointRow, ...]:
        return await self._read(
            partial(
                checkpoints.select,
                owner=owner,
                thread_id=thread_id,
                namespace=namespace,
                before=before,
                limit=limit,
            )
        )

    async def put_writes(self, key: CheckpointKey, writes: Sequence[PendingWrite], *, replace: bool) -> None:
        await self._write(partial(checkpoints.put_writes, key=key, writes=writes, replace=replace))

    async def copy_checkpoints(self, owner: str, source_id: str, target_id: str) -> None:
        await self._write(partial(checkpoints.copy, owner=owner, source_id=source_id, target_id=target_id))

    async def delete_checkpoints(
        self, owner: str, thread_id: str, checkpoint_ids: Sequence[tuple[str, str]] | None = None
    ) -> None:
        await self._write(partial(checkpoints.delete, owner=owner, thread_id=thread_id, ids=checkpoint_ids))

    # Life --------------------------------------------------------------------------------------

    async def check(self) -> tuple[str, ...]:
        """Open the store, make it if need be, and look for damage and known trouble."""
        trouble: tuple[str, ...] = ()
        try:
            await self._write(health.write_nothing)
        except NotSaved as error:
            trouble = (f"No turn can begin: {error.message}.",)
        await self._read(health.check_pages)
        return trouble + health.find_trouble(self._database.path)

    async def aclose(self) -> None:
        """Close the file; turns that are still running here are orphans from now on."""
        try:
            await self._runner.run(self._close)
        finally:
            self._runner.close()

    def _close(self) -> None:
        if self._deleted:
            self._database.scrub()
            self._deleted = False
        self._holder.let_all_go()
        self._database.close()

    async def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await self._patiently(partial(self._database.read, work), writing=False)

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await self._patiently(partial(self._database.write, work), writing=True)

    async def _patiently(self, call: Callable[[], T], *, writing: bool) -> T:
        """Run `call` until no other program is in its way, but not for longer than `patience`."""
        deadline = time.monotonic() + self._patience
        wait = 0.001
        while True:
            try:
                return await self._runner.run(call)
            except sqlite3.Error as error:
                if errors.code_of(error) not in errors.LOCKED or time.monotonic() >= deadline:
                    raise errors.translate(error, self._database.path, writing=writing) from error
            await self._runner.wait(_jitter(wait))
            wait = min(2 * wait, _LONGEST_WAIT)

    async def _purge(self) -> None:
        """Take deleted text out of the log; a reader in the way is waited for, but not for long.

        What is left then goes when the log is next written back, at the latest when the last
        program closes the file. `aclose` scrubs the file once, however much was deleted.
        """
        self._deleted = True
        deadline = time.monotonic() + min(_PURGE_PATIENCE, self._patience)
        while not await self._runner.run(self._database.purge) and time.monotonic() < deadline:
            await self._runner.wait(_jitter(_LONGEST_WAIT))


def _jitter(seconds: float) -> float:
    """Return between half of `seconds` and all of it, so that those who wait do not march in step."""
    return seconds * (0.5 + os.urandom(1)[0] / 512)
