"""The store: each call is one statement, and so one transaction and one round trip."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from chatcli.models import Message, Page, Thread, Turn
from chatcli.stores.base import (
    Begun,
    CheckpointKey,
    CheckpointRow,
    Expiry,
    Hit,
    Keep,
    Lease,
    NewTurn,
    Outcome,
    PendingWrite,
    Sweep,
    ThreadStore,
)
from chatcli.stores.postgres import auditing, checkpoints, health, life, rewriting, threads, turns
from chatcli.stores.postgres.address import Address
from chatcli.stores.postgres.connection import PATIENCE, Database
from chatcli.stores.postgres.schema import read_migrations
from chatcli.stores.postgres.watch import Watch
from chatcli.stores.postgres.windows import Windows
from chatcli.stores.records import AuditEntry
from chatcli.stores.rewriting import Rewriter

if TYPE_CHECKING:
    from chatcli.config import Settings


class PostgresStore(ThreadStore):
    """Threads in a schema of a PostgreSQL database.

    A running turn is known to live by an advisory lock that one of the store's connections holds: a
    store that is closed, or whose process dies, leaves its turns orphaned, and whoever comes next knows
    it after a moment's doubt. `patience` is how many seconds a server, or another program's lock, is
    waited for. `settings` may name a Redis for copies.
    """

    def __init__(
        self,
        address: Address,
        *,
        migrations: Sequence[str] | None = None,
        patience: float = PATIENCE,
        settings: "Settings | None" = None,
    ) -> None:
        migrations = read_migrations() if migrations is None else migrations
        self._database = Database(address, migrations, patience)
        self._windows = Windows.of(settings)
        self._watch = Watch(self._database)
        self._orphans: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"PostgresStore({str(self._database.address)!r})"

    # Turns -------------------------------------------------------------------------------------

    async def begin(self, new: NewTurn) -> Begun:
        beginning = asyncio.get_running_loop().create_task(turns.begin(self._database, new, self._windows))
        try:
            begun = await asyncio.shield(beginning)
        except asyncio.CancelledError:
            lease = Lease(new.owner, new.thread_id, new.turn_id)
            task = asyncio.create_task(turns.abandon(self._database, lease, after=beginning))
            self._orphans.add(task)
            task.add_done_callback(self._orphans.discard)
            raise
        if begun.lease is not None:
            self._watch.begin(begun.lease)
        return begun

    async def renew(self, lease: Lease) -> None:
        await turns.renew(self._database, lease)

    async def commit(self, lease: Lease, outcome: Outcome, checkpoint: CheckpointRow | None = None) -> Turn:
        try:
            return await turns.commit(self._database, lease, outcome, checkpoint, self._windows)
        finally:
            self._watch.end(lease)

    async def context(
        self, owner: str, thread_id: str, *, limit: int, before: int | None = None
    ) -> tuple[Message, ...]:
        return await turns.context(self._database, owner, thread_id, limit=limit, before=before)

    # Threads -----------------------------------------------------------------------------------

    async def thread(self, owner: str, thread_id: str) -> Thread:
        return await threads.get(self._database, owner, thread_id)

    async def turns(
        self, owner: str, thread_id: str, *, after: int = 0, limit: int | None = None
    ) -> tuple[Turn, ...]:
        return await turns.read(self._database, owner, thread_id, after=after, limit=limit)

    async def threads(
        self,
        owner: str,
        *,
        limit: int,
        cursor: str | None = None,
        archived: bool | None = False,
        prefix: str = "",
    ) -> Page:
        return await threads.page(
            self._database, owner, limit=limit, cursor=cursor, archived=archived, prefix=prefix
        )

    async def rename(self, owner: str, thread_id: str, title: str) -> Thread:
        return await threads.rename(self._database, owner, thread_id, title)

    async def clear(self, owner: str, thread_id: str, *, audit: AuditEntry | None = None) -> Thread:
        try:
            return await threads.clear(self._database, owner, thread_id, audit=audit)
        finally:  # it may be done although nothing was heard of it
            await self._forget(owner, thread_id)

    async def delete(self, owner: str, thread_id: str, *, audit: AuditEntry | None = None) -> None:
        try:
            await threads.delete(self._database, owner, thread_id, audit=audit)
        finally:
            await self._forget(owner, thread_id)

    async def archive(
        self, owner: str, thread_id: str, *, archived: bool, audit: AuditEntry | None = None
    ) -> Thread:
        return await threads.archive(self._database, owner, thread_id, archived=archived, audit=audit)

    # Threads' life -----------------------------------------------------------------------------

    async def search(
        self, owner: str, text: str, *, limit: int, archived: bool | None = False
    ) -> tuple[Hit, ...]:
        return await life.search(self._database, owner, text, limit=limit, archived=archived)

    async def sweep(
        self, owner: str, expiry: Expiry, *, limit: int, cursor: str | None = None, dry_run: bool = False
    ) -> Sweep:
        step = await life.sweep(self._database, owner, expiry, limit=limit, cursor=cursor, dry_run=dry_run)
        if not dry_run:
            await self._forget(owner, *(thread.id for thread in step.removed))
        return step

    async def newest_use(self, owner: str) -> datetime | None:
        return await life.newest_use(self._database, owner)

    async def fork(self, owner: str, thread_id: str, *, fork_id: str, title: str, turns: int) -> Thread:
        return await life.fork(self._database, owner, thread_id, fork_id=fork_id, title=title, turns=turns)

    async def undo(self, owner: str, thread_id: str, *, fork_id: str, title: str, turns: int) -> Thread:
        fork = await life.undo(self._database, owner, thread_id, fork_id=fork_id, title=title, turns=turns)
        await self._forget(owner, thread_id)
        return fork

    async def import_thread(self, thread: Thread, turns: Sequence[Turn]) -> bool:
        return await life.import_thread(self._database, thread, turns)

    # Everything --------------------------------------------------------------------------------

    async def owners(self) -> tuple[str, ...]:
        return await rewriting.owners(self._database)

    async def rewrite(self, owner: str, thread_id: str, rewriter: Rewriter) -> bool:
        changed = await rewriting.rewrite(self._database, owner, thread_id, rewriter)
        if changed:
            await self._forget(owner, thread_id)
        return changed

    async def record(self, entry: AuditEntry) -> None:
        await auditing.record(self._database, entry)

    async def audit(
        self, owner: str | None, *, limit: int, before: int | None = None
    ) -> tuple[AuditEntry, ...]:
        return await auditing.select(self._database, owner, limit=limit, before=before)

    # LangGraph's checkpoints -------------------------------------------------------------------

    async def put_checkpoint(self, row: CheckpointRow, *, keep: Keep = "all") -> None:
        await checkpoints.put(self._database, row, keep=keep)

    async def get_checkpoint(self, key: CheckpointKey) -> CheckpointRow | None:
        return await checkpoints.get(self._database, key)

    async def list_checkpoints(
        self,
        owner: str,
        thread_id: str | None,
        namespace: str | None,
        *,
        before: str | None = None,
        limit: int | None = None,
    ) -> tuple[CheckpointRow, ...]:
        return await checkpoints.select(
            self._database, owner, thread_id, namespace, before=before, limit=limit
        )

    async def put_writes(self, key: CheckpointKey, writes: Sequence[PendingWrite], *, replace: bool) -> None:
        await checkpoints.put_writes(self._database, key, writes, replace=replace)

    async def copy_checkpoints(self, owner: str, source_id: str, target_id: str) -> None:
        await checkpoints.copy(self._database, owner, source_id, target_id)

    async def delete_checkpoints(
        self, owner: str, thread_id: str, checkpoint_ids: Sequence[tuple[str, str]] | None = None
    ) -> None:
        await checkpoints.delete(self._database, owner, thread_id, checkpoint_ids)

    # Life --------------------------------------------------------------------------------------

    async def check(self) -> tuple[str, ...]:
        """Open the store, make it if need be, and look for known trouble."""
        return await health.find_trouble(self._database)

    async def aclose(self) -> None:
        """Close the connections; turns that are still running here are orphans from now on."""
        if self._orphans:
            await asyncio.wait(self._orphans)
        await self._watch.aclose()
        if self._windows is not None:
            await self._windows.aclose()
        await self._database.close()

    async def _forget(self, owner: str, *thread_ids: str) -> None:
        if self._windows is not None:
            await self._windows.forget(self._database, owner, thread_ids)
