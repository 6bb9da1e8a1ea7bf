"""The store: each call is one conditional write of one object, or a read of it."""

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from chatcli.errors import (
    ChatcliError,
    ConfigError,
    InvalidRequest,
    StoreDenied,
    ThreadArchived,
    ThreadBusy,
    ThreadNotFound,
)
from chatcli.models import Message, Page, Thread, Turn
from chatcli.stores.base import Begun, CheckpointRow, Expiry, Hit, Lease, NewTurn, Outcome, Sweep
from chatcli.stores.matching import words_of
from chatcli.stores.records import AuditEntry, arrival
from chatcli.stores.rewriting import Rewriter
from chatcli.stores.s3 import forking, threads, turns
from chatcli.stores.s3.bucket import Bucket
from chatcli.stores.s3.checkpoints import S3Checkpoints
from chatcli.stores.s3.client import Access, Client
from chatcli.stores.s3.copies import Copies
from chatcli.stores.s3.cursors import place_of, query_mark
from chatcli.stores.s3.document import Document
from chatcli.stores.s3.listing import Listing
from chatcli.stores.s3.location import Location, Place
from chatcli.stores.s3.objects import Objects
from chatcli.stores.s3.recent import Recent
from chatcli.stores.s3.rewriting import rewrite
from chatcli.stores.s3.sampling import sample
from chatcli.stores.s3.searching import Searcher
from chatcli.stores.s3.sweeping import Sweeper
from chatcli.stores.s3.writes import Write
from chatcli.text import THREAD_ID, is_generated_id

if TYPE_CHECKING:
    from chatcli.config import Settings

T = TypeVar("T")

PATIENCE = 10.0
_FAREWELL = 2.0
"""Seconds in which a store that is closed lets go of its turns, and in which it writes down what it knows."""


class S3Store(S3Checkpoints):
    """Threads in a bucket, one object each.

    `patience` is how many seconds a call may take in all, attempts and waiting included. A store
    that is closed leaves its running turns orphaned; it opens again when it is used again.
    """

    def __init__(
        self, location: Location, *, settings: "Settings | None" = None, patience: float = PATIENCE
    ) -> None:
        self._client = Client(location, Access.of(settings))
        self._bucket = Bucket(location, self._client, patience=patience)
        self._recent = Recent(self._bucket)
        super().__init__(Objects(self._bucket, self._recent, Copies.of(location, settings)))
        self._listing = Listing(self._bucket, self._recent)
        self._searcher = Searcher(self._objects, self._listing)
        self._sweeper = Sweeper(self._objects, self._listing)
        self._leases: set[Lease] = set()
        self._partings: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"S3Store({str(self._bucket.location)!r})"

    # Turns -------------------------------------------------------------------------------------

    async def begin(self, new: NewTurn) -> Begun:
        place = self._objects.thread(new.owner, new.thread_id)
        is_new = new.create and is_generated_id(new.thread_id)
        lease = Lease(new.owner, new.thread_id, new.turn_id)
        try:
            begun = await self._objects.change(
                place, lambda document, moment: turns.begin(document, new, moment), is_new=is_new
            )
        except (ConfigError, InvalidRequest, ThreadArchived, ThreadBusy, ThreadNotFound):
            raise
        except BaseException:  # the turn may have begun all the same, and nobody will end it
            self._part_with(lease)
            raise
        if begun.lease is not None:
            self._leases.add(begun.lease)
        return begun

    async def renew(self, lease: Lease) -> None:
        place = self._objects.thread(lease.owner, lease.thread_id)
        await self._objects.change(place, lambda document, moment: turns.renew(document, lease, moment))
        self._leases.add(lease)

    async def commit(self, lease: Lease, outcome: Outcome, checkpoint: CheckpointRow | None = None) -> Turn:
        place = self._objects.thread(lease.owner, lease.thread_id)
        try:
            turn = await self._objects.change(
                place, lambda document, moment: turns.commit(document, lease, outcome, checkpoint, moment)
            )
        except ThreadNotFound:
            self._leases.discard(lease)
            raise
        except BaseException:  # a turn that could not be ended must not hold its thread
            self._part_with(lease)
            raise
        self._leases.discard(lease)
        return turn

    async def context(
        self, owner: str, thread_id: str, *, limit: int, before: int | None = None
    ) -> tuple[Message, ...]:
        document = await self._read(owner, thread_id)
        return turns.context(document, limit=limit, before=before)

    # Threads -----------------------------------------------------------------------------------

    async def thread(self, owner: str, thread_id: str) -> Thread:
        return (await self._read(owner, thread_id)).found()

    async def turns(
        self, owner: str, thread_id: str, *, after: int = 0, limit: int | None = None
    ) -> tuple[Turn, ...]:
        document = await self._read(owner, thread_id)
        document.found()
        return turns.views(document, self._bucket.clock.now(), after=after, limit=limit)

    async def threads(
        self,
        owner: str,
        *,
        limit: int,
        cursor: str | None = None,
        archived: bool | None = False,
        prefix: str = "",
    ) -> Page:
        query = query_mark(owner, archived, prefix)
        below = None if cursor is None else place_of(cursor, query)
        if prefix and THREAD_ID.fullmatch(f"{prefix}x") is None:  # no id begins like that
            return Page(())
        found = await self._listing.newest(
            owner, limit=limit + 1, below=below, archived=archived, prefix=prefix
        )
        page = found[:limit]
        listed = tuple(summary.thread for summary in page if summary.thread is not None)
        more = len(found) > len(page) > 0
        return Page(listed, f"{query}-{page[-1].used}-{listed[-1].id}" if more else None)

    async def sample(self, owner: str) -> Thread | None:
        """Look while the server is put to the proof: who asks this is about to write."""
        look = sample(self._bucket, self._listing, self._recent, owner)
        return (await asyncio.gather(look, self._bucket.prove()))[0]

    async def rename(self, owner: str, thread_id: str, title: str) -> Thread:
        place = self._objects.thread(owner, thread_id)
        return await self._objects.change(place, lambda document, _: threads.rename(document, title))

    async def clear(self, owner: str, thread_id: str, *, audit: AuditEntry | None = None) -> Thread:
        place = self._objects.thread(owner, thread_id)
        thread = await self._objects.change(place, threads.clear, write=Write(), audit=audit)
        await self._bucket.remove([self._bucket.location.checkpoints(owner, thread_id)])
        return thread

    async def delete(self, owner: str, thread_id: str, *, audit: AuditEntry | None = None) -> None:
        """Bury the thread in its object, which nobody else may write to then, and remove what is left."""
        await self._objects.delete(self._objects.thread(owner, thread_id), threads.condemn, audit=audit)

    async def archive(
        self, owner: str, thread_id: str, *, archived: bool, audit: AuditEntry | None = None
    ) -> Thread:
        place, archive = self._objects.thread(owner, thread_id), partial(threads.archive, archived=archived)
        return await self._objects.change(place, archive, write=Write(), audit=audit)

    # Threads' life -----------------------------------------------------------------------------

    async def search(
        self, owner: str, text: str, *, limit: int, archived: bool | None = False
    ) -> tuple[Hit, ...]:
        words = words_of(text)
        if not words:
            return ()
        return await self._searcher.search(owner, words, limit=limit, archived=archived)

    async def sweep(
        self, owner: str, expiry: Expiry, *, limit: int, cursor: str | None = None, dry_run: bool = False
    ) -> Sweep:
        return await self._sweeper.sweep(owner, expiry, limit=limit, cursor=cursor, dry_run=dry_run)

    async def newest_use(self, owner: str) -> datetime | None:
        return await self._listing.newest_use(owner)

    async def fork(self, owner: str, thread_id: str, *, fork_id: str, title: str, turns: int) -> Thread:
        source = await self._read(owner, thread_id)
        source.found()
        return await forking.fork(self._objects, source, fork_id, title=title, turns=turns)

    async def undo(self, owner: str, thread_id: str, *, fork_id: str, title: str, turns: int) -> Thread:
        place = self._objects.thread(owner, thread_id)
        return await forking.undo(self._objects, place, fork_id, title=title, turns=turns)

    async def import_thread(self, thread: Thread, turns: Sequence[Turn]) -> bool:
        thread, turns = arrival(thread, turns)
        place = self._objects.thread(thread.owner, thread.id)
        is_written = await self._objects.change(
            place, lambda document, moment: threads.bring(document, thread, turns, moment), write=Write()
        )
        self._objects.forget(place)  # who looks at what was written sees what there is in the bucket
        return is_written

    # Everything --------------------------------------------------------------------------------

    async def owners(self) -> tuple[str, ...]:
        return await self._listing.owners()

    async def rewrite(self, owner: str, thread_id: str, rewriter: Rewriter) -> bool:
        place = self._objects.thread(owner, thread_id)
        return await self._objects.change(
            place, lambda document, _: rewrite(document, rewriter), write=Write()
        )

    # Life --------------------------------------------------------------------------------------

    async def check(self) -> tuple[str, ...]:
        """Put the server to the proof, and look for known trouble."""
        await self._bucket.prove()
        with contextlib.suppress(StoreDenied):  # that takes another right, which nothing else needs
            if await self._bucket.keeps_versions():
                return ("the bucket keeps old versions: what is deleted stays in them",)
        return ()

    async def aclose(self) -> None:
        """Let go of the turns that still run here, if the server can be told, and close connections."""
        for lease in self._leases:
            self._part_with(lease)
        self._leases = set()
        if self._partings:
            await asyncio.wait(self._partings, timeout=_FAREWELL)
            for task in self._partings:
                task.cancel()
            await asyncio.gather(*self._partings, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FAREWELL):
                await self._recent.save_all()
        if self._objects.copies is not None:
            await self._objects.copies.aclose()
        await self._client.aclose()

    async def _read(self, owner: str, thread_id: str) -> Document:
        return await self._objects.read(self._objects.thread(owner, thread_id))

    def _part_with(self, lease: Lease) -> None:
        """Make an orphan of the turn, in a task of its own."""
        task = asyncio.create_task(self._let_go(self._objects.thread(lease.owner, lease.thread_id), lease))
        self._partings.add(task)
        task.add_done_callback(self._partings.discard)

    async def _let_go(self, place: Place, lease: Lease) -> None:
        with contextlib.suppress(ChatcliError):
            await self._objects.change(place, lambda document, moment: turns.let_go(document, lease, moment))
