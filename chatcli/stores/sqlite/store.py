"""The store: each call is one transaction, run where the runner runs it."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

from chatcli.errors import (
    InvalidRequest,
    NotSaved,
    StoreUnavailable,
    ThreadArchived,
    ThreadBusy,
    ThreadNotFound,
)
from chatcli.models import Message, Page, Thread, Turn, parse_time, utc_now
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
from chatcli.stores.matching import words_of
from chatcli.stores.records import AuditEntry
from chatcli.stores.rewriting import Rewriter
from chatcli.stores.sqlite import (
    chains,
    checkpoints,
    finding,
    health,
    imports,
    removal,
    rewriting,
    search,
    threads,
    turns,
)
from chatcli.stores.sqlite.auditing import insert, recorded, select
from chatcli.stores.sqlite.connection import Database
from chatcli.stores.sqlite.leases import Holder
from chatcli.stores.sqlite.rows import thread_of
from chatcli.stores.sqlite.runners import Inline, Runner
from chatcli.stores.sqlite.schema import MIGRATIONS, Migration
from chatcli.stores.sqlite.transactions import PATIENCE, Transactions

_SEARCH_PATIENCE = 0.5
"""Seconds for which a search waits to write its index before it does without."""


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
        patience: float = PATIENCE,
        migrations: Sequence[Migration] = MIGRATIONS,
    ) -> None:
        database = Database(path, migrations)
        self._transactions = Transactions(database, Inline() if runner is None else runner, patience)
        self._read, self._write = self._transactions.read, self._transactions.write
        self._holder = Holder(f"{database.path}.lock", clock)

    def __repr__(self) -> str:
        return f"SqliteStore({self._transactions.database.path!r})"

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
            self._transactions.runner.submit(partial(self._holder.let_go, lease))
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

    async def clear(self, owner: str, thread_id: str, *, audit: AuditEntry | None = None) -> Thread:
        work = partial(removal.clear, owner=owner, thread_id=thread_id, holder=self._holder)
        thread = await self._write(recorded(work, lambda _: audit))
        await self._transactions.purge()
        return thread

    async def delete(self, owner: str, thread_id: str, *, audit: AuditEntry | None = None) -> None:
        work = partial(removal.delete, owner=owner, thread_id=thread_id, holder=self._holder)
        await self._write(recorded(work, lambda _: audit))
        await self._transactions.purge()

    async def archive(
        self, owner: str, thread_id: str, *, archived: bool, audit: AuditEntry | None = None
    ) -> Thread:
        work = partial(threads.archive, owner=owner, thread_id=thread_id, holder=self._holder)
        return await self._write(recorded(partial(work, archived=archived), lambda _: audit))

    # Threads' life -----------------------------------------------------------------------------

    async def search(
        self, owner: str, text: str, *, limit: int, archived: bool | None = False
    ) -> tuple[Hit, ...]:
        words = words_of(text)
        if not words:
            return ()
        if await self._read(search.is_behind):
            try:
                while await self._write(search.advance, patience=_SEARCH_PATIENCE):
                    pass
            except (NotSaved, StoreUnavailable):
                pass  # read-only, full, or held by another: the newest turns are searched without the index
        return await self._read(
            partial(finding.find, owner=owner, words=words, limit=limit, archived=archived)
        )

    async def sweep(
        self, owner: str, expiry: Expiry, *, limit: int, cursor: str | None = None, dry_run: bool = False
    ) -> Sweep:
        run = self._read if dry_run else self._write
        work = partial(
            removal.sweep,
            owner=owner,
            expiry=expiry,
            holder=self._holder,
            limit=limit,
            cursor=cursor,
            dry_run=dry_run,
        )
        step = await run(work if dry_run else recorded(work, expiry.entry_of))
        if step.cursor is None and not dry_run:  # also after a pass that was broken off
            await self._transactions.purge(shrink=True)
        return step

    async def newest_use(self, owner: str) -> datetime | None:
        latest = await self._read(partial(threads.newest_use, owner=owner))
        return None if latest is None else parse_time(latest)

    async def fork(self, owner: str, thread_id: str, *, fork_id: str, title: str, turns: int) -> Thread:
        work = partial(chains.fork, owner=owner, thread_id=thread_id, holder=self._holder)
        return await self._write(partial(work, fork_id=fork_id, title=title, turns=turns))

    async def undo(self, owner: str, thread_id: str, *, fork_id: str, title: str, turns: int) -> Thread:
        work = partial(chains.undo, owner=owner, thread_id=thread_id, holder=self._holder)
        return await self._write(partial(work, fork_id=fork_id, title=title, turns=turns))

    async def import_thread(self, thread: Thread, turns: Sequence[Turn]) -> bool:
        return await self._write(
            partial(imports.import_thread, thread=thread, turns=turns, holder=self._holder)
        )

    # Everything --------------------------------------------------------------------------------

    async def owners(self) -> tuple[str, ...]:
        return await self._read(rewriting.owners)

    async def rewrite(self, owner: str, thread_id: str, rewriter: Rewriter) -> bool:
        self._transactions.scrub_all = True  # even if nothing is left to do: this one may be the second try
        return await self._write(
            partial(rewriting.rewrite, owner=owner, thread_id=thread_id, rewriter=rewriter)
        )

    async def record(self, entry: AuditEntry) -> None:
        await self._write(partial(insert, entry=entry))

    async def audit(
        self, owner: str | None, *, limit: int, before: int | None = None
    ) -> tuple[AuditEntry, ...]:
        return await self._read(partial(select, owner=owner, limit=limit, before=before))

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
        return trouble + health.find_trouble(self._transactions.database.path)

    async def aclose(self) -> None:
        """Close the file; turns that are still running here are orphans from now on."""
        runner = self._transactions.runner
        try:
            await runner.run(self._close)
        finally:
            runner.close()

    def _close(self) -> None:
        self._holder.let_all_go()
        self._transactions.close()
