"""Documents in a bucket: held as long as their ETag stands, changed by writes on that condition.

A change is applied to the held document and written if the object is still that one. A lost race
means that the object is read again and the change applied to what it says now, refusals included: a
held document is never the reason for one. A write that was not answered is read again too; it was
carried out if the object is, byte for byte, what was sent, or if it holds the turn or the id of the
change (`writes`), whoever wrote since.

Where there are copies in Redis (`copies`), what is not held, or was changed elsewhere since, is taken
from there instead of the bucket, and is believed no more than what is held.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar
from uuid import uuid4
from weakref import WeakValueDictionary

from chatcli.errors import ChatcliError, InvalidRequest, ThreadBusy
from chatcli.stores.records import AuditEntry
from chatcli.stores.s3.bucket import UNCHANGED, Bucket, Stored
from chatcli.stores.s3.burial import Buried, remove
from chatcli.stores.s3.copies import Copies
from chatcli.stores.s3.document import Document, document_of
from chatcli.stores.s3.errors import LostRace, Unanswered
from chatcli.stores.s3.held import Held
from chatcli.stores.s3.location import Place
from chatcli.stores.s3.marks import all_keys, correct_marks, keys_of
from chatcli.stores.s3.names import Names
from chatcli.stores.s3.outbox import deliver, deliver_rest, record
from chatcli.stores.s3.recent import Recent
from chatcli.stores.s3.requests import rest, within
from chatcli.stores.s3.summary import metadata_of
from chatcli.stores.s3.threads import bury
from chatcli.stores.s3.turns import Moment
from chatcli.stores.s3.writes import Write
from chatcli.text import is_generated_id

T = TypeVar("T")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 0.5


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A document to change, with the bytes it was read from."""

    document: Document
    body: bytes | None = None
    fresh: bool = True
    """Whether the server has just said that the document is what the object holds."""


class Objects:
    """The documents of a bucket, as this store object reads and changes them."""

    def __init__(self, bucket: Bucket, recent: Recent, copies: Copies | None) -> None:
        self.bucket = bucket
        self.copies = copies
        self._recent = recent
        self.holder = uuid4().hex
        self._names = Names(bucket)
        self._held = Held()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._last_use = 0

    def thread(self, owner: str, thread_id: str) -> Place:
        """Return the place of a thread."""
        key = self.bucket.location.thread(owner, thread_id)
        return Place(key, owner, thread_id, named=not is_generated_id(thread_id))

    def checkpoints(self, owner: str, thread_id: str) -> Place:
        """Return the place of the checkpoints of a thread that is no conversation."""
        return Place(self.bucket.location.checkpoints(owner, thread_id), owner, thread_id)

    def moment(self) -> Moment:
        """Return the server's time, and the next use."""
        now = self.bucket.clock.now()
        self._last_use = max(int(now.timestamp() * 1_000_000), self._last_use + 1)
        return Moment(now, self._last_use, self.holder)

    async def read(self, place: Place) -> Document:
        """Return what the object at `place` holds now; not to be changed."""
        return (await self._load(place)).document

    async def change(
        self,
        place: Place,
        work: Callable[[Document, Moment], T],
        *,
        is_new: bool = False,
        write: Write | None = None,
        audit: AuditEntry | None = None,
    ) -> T:
        """Apply `work` to the document at `place`, write it, and return what `work` returned.

        `work` may be called several times, each time with a copy of a newer document; it sets
        `Document.changed` where there is something to write. `is_new` expects nothing to be there.
        A change that must not be made twice is given as `write`, the entry that tells of it as `audit`.
        """
        lock = self._locks.get(place.key)
        if lock is None:
            lock = self._locks[place.key] = asyncio.Lock()
        async with within(self.bucket), lock:
            return await self._change(place, work, is_new=is_new, write=write, audit=audit)

    async def _change(
        self,
        place: Place,
        work: Callable[[Document, Moment], T],
        *,
        is_new: bool = False,
        write: Write | None = None,
        audit: AuditEntry | None = None,
    ) -> T:
        attempt = await self._begin(place, is_new=is_new)
        pause = _FIRST_PAUSE
        while True:
            document = attempt.document.copy()
            document.deleted_until = None
            try:
                result = work(document, self.moment())
                self._refuse_deleting(attempt.document, document)
            except ChatcliError:
                if attempt.fresh:
                    await deliver_rest(
                        self.bucket, place.id, attempt.document.outbox, attempt.document.deleted_until
                    )
                    raise
                attempt = await self._load(place)
                continue
            if not document.changed:
                if attempt.fresh:
                    return result
                attempt = await self._load(place)
                continue
            if write is not None:
                document.sign(write.id)
            document.outbox += () if audit is None else (audit,)
            body, before, claim = document.encode(), attempt.document, None
            try:
                claim = await self._claim(place, before, document)
                with (write or Write()).sent():
                    document.etag = await self._put(place, document, body)
            except (LostRace, Unanswered) as trouble:
                await rest(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
                attempt = await self._load(place)
                if attempt.body != body and not (write and write.is_made(before, attempt.document)):
                    etag = attempt.document.etag
                    if isinstance(trouble, LostRace) and etag is not None and etag == document.etag:
                        self.bucket.change_quotes()
                    continue
                document, body = attempt.document, attempt.body or body
            self._held.put(place.key, document, len(body))
            await self._finish(place, before, document, body, claim=claim, audit=audit)
            return result

    async def _finish(
        self,
        place: Place,
        before: Document,
        document: Document,
        body: bytes,
        *,
        claim: str | None,
        audit: AuditEntry | None,
    ) -> None:
        """Do what is to be done after a document was written."""
        await self._note(place, document, body)
        with contextlib.suppress(ChatcliError):  # what is left counts for nothing
            await correct_marks(self.bucket, before, document, body)
        try:
            for entry in document.outbox:
                if entry == audit:
                    await record(self.bucket, entry)
                else:
                    await deliver(self.bucket, place.id, [entry])
            document.outbox = ()  # the next version of the object need not tell it
        except ChatcliError:
            if audit is not None:
                raise
        await self._confirm(place, document, claim)

    async def _begin(self, place: Place, *, is_new: bool) -> _Attempt:
        held = self._held.get(place.key)
        known = held
        if is_new:
            known = held or Document(place.owner, place.id)
        elif self.copies is not None and (held is None or held.lease is None):
            known = await self.copies.newer(place.key, held or Document(place.owner, place.id)) or held
        if known is None:
            return await self._load(place)
        if known is not held:  # the server may not have answered anything yet, and so told no time
            await self.bucket.prove()
        return _Attempt(known, fresh=False)

    async def _note(self, place: Place, document: Document, body: bytes) -> None:
        """Note what was written; keep a copy, but none of a thread that has no turns or is about to go."""
        if document.thread is not None and document.etag is not None:
            self._recent.note(place.owner, place.id, document.etag, document.used)
        if self.copies is not None and document.entries:
            await self.copies.put(place.key, document, body)
        elif self.copies is not None:
            await self.copies.forget([place.key])

    async def _put(self, place: Place, document: Document, body: bytes) -> str:
        """Write the document if its object is still what it was made from; return its new ETag."""
        is_archived = document.thread is not None and document.thread.archived_at is not None
        storage_class = self.bucket.location.archive_storage_class if is_archived else None
        summary = metadata_of(document)
        for key in keys_of(self.bucket.location, document, body, self.bucket.clock.now()):
            with contextlib.suppress(LostRace):  # it is there
                await self.bucket.put(key, b"", etag=None)
        return await self.bucket.put(
            place.key, body, etag=document.etag, summary=summary, storage_class=storage_class
        )

    async def _claim(self, place: Place, before: Document, after: Document) -> str | None:
        """Take the spelling of the id of a thread that is about to be made, or was made elsewhere."""
        if not place.named:
            return None
        if before.thread is None and after.thread is not None:
            return await self._names.claim(place.owner, place.id)
        if after.foreign:
            with contextlib.suppress(InvalidRequest):  # both were there before anybody looked
                await self._names.claim(place.owner, place.id)
        after.foreign = False
        return None

    async def _confirm(self, place: Place, document: Document, claim: str | None) -> None:
        """Take a thread back that was made while somebody made one whose id differs only in case."""
        if claim is None or await self._names.is_held(place.owner, place.id, claim):
            return

        def take_back(newer: Document, moment: Moment) -> datetime | None:
            if newer.etag != document.etag:  # somebody goes on with it: that must not be lost
                return None
            return bury(newer, moment)

        if await self._change(place, take_back, write=Write()) is None:
            return
        await self._remove(place)
        raise InvalidRequest(
            "a thread was made whose id differs only in case: the two can't both exist",
            hint="use that one, or another id",
        )

    def _refuse_deleting(self, before: Document, after: Document) -> None:
        """Make no thread where the deletion of another one may still be going on."""
        until = before.deleted_until
        if until is not None and after.thread is not None and self.bucket.clock.now() < until:
            raise ThreadBusy(f"the thread {after.id} is being deleted", hint="try again", retry_after=1.0)

    # What is held ------------------------------------------------------------------------------

    async def _load(self, place: Place) -> _Attempt:
        held = self._held.get(place.key)
        etag = None if held is None else held.etag
        stored = await self.bucket.get(place.key, held=etag)
        if stored == UNCHANGED and held is not None:
            self._held.use(place.key)
            return _Attempt(held)
        self._held.forget(place.key)
        if not isinstance(stored, Stored):
            return _Attempt(Document(place.owner, place.id))
        document = document_of(stored, place.key, place.owner, place.id)
        self._held.put(place.key, document, len(stored.body))
        return _Attempt(document, stored.body)

    def forget(self, place: Place) -> None:
        """Stop holding what is not there any more, or is to be read again."""
        self._held.forget(place.key)

    # What goes ---------------------------------------------------------------------------------

    async def delete(
        self, place: Place, work: Callable[[Document, Moment], object], *, audit: AuditEntry | None = None
    ) -> None:
        """Bury the thread at `place` by `work`, which may refuse to, and remove what is left."""
        await self.change(place, work, write=Write(), audit=audit)
        await self._remove(place)

    async def _remove(self, place: Place) -> None:
        """Remove what was just buried."""
        left = self._held.get(place.key)
        self.forget(place)
        keys = await all_keys(self.bucket, place.owner, place.id)
        if left is not None and left.deleted_until is not None and not left.outbox:
            buried = Buried(place.id, left.deleted_until, keys)
            await remove(self.bucket, self.copies, place.owner, [buried])
