"""One step of a cleanup: expired threads are buried, told to the audit, and removed."""

import asyncio
from dataclasses import replace
from datetime import datetime

from chatcli import frozen
from chatcli.models import Thread, utc_now
from chatcli.stores.base import LEASE_SECONDS, Expiry
from chatcli.stores.records import AuditEntry
from chatcli.stores.s3.burial import HASTE, Buried, remove
from chatcli.stores.s3.document import Document
from chatcli.stores.s3.errors import LostRace, Unanswered
from chatcli.stores.s3.listing import READERS, Candidate, Listing, batches
from chatcli.stores.s3.objects import Objects
from chatcli.stores.s3.outbox import deliver, record, share_of
from chatcli.stores.s3.requests import rest, within
from chatcli.stores.s3.summary import Summary, metadata_of
from chatcli.stores.s3.threads import bury
from chatcli.stores.s3.writes import Write
from chatcli.text import new_id

_PAUSE = 0.05


class Removal:
    """One step of a cleanup."""

    def __init__(
        self, objects: Objects, listing: Listing, owner: str, expiry: Expiry, kept: set[str], *, dry_run: bool
    ) -> None:
        self._objects = objects
        self._listing = listing
        self._owner = owner
        self._expiry = expiry
        self._kept = kept
        self._dry_run = dry_run
        self._audit = expiry.audit
        self._buried: list[Buried] = []
        self._in_doubt = False
        """Whether more threads may have been buried than those."""
        self.removed: dict[str, Thread] = {}
        self.busy: set[str] = set()
        self.freed = 0

    async def consider(self, candidate: Candidate) -> None:
        """Remove the thread if it is expired and nobody runs a turn on it, at this very moment."""
        write = Write()
        try:
            async with within(self._objects.bucket):
                await self._consider(candidate, write)
        finally:
            self._in_doubt = self._in_doubt or write.doubtful

    async def _consider(self, candidate: Candidate, write: Write) -> None:
        before = Summary(None)
        while True:
            summary = await self._listing.summary(self._owner, candidate)
            if summary is None:
                return
            if summary.deleted_until is not None and write.id in summary.writes:  # there was no answer
                write.doubtful = False
                self._count(before)
                self._buried.append(
                    _left(self._objects, self._owner, candidate, before, summary.deleted_until)
                )
                return
            write.settle(before.thread, before.etag, summary.thread, summary.etag)
            if summary.thread is None or not self._is_expired(summary.thread):
                return
            if summary.is_live(self._objects.bucket.clock.now()):
                self.busy.add(candidate.id)
                return
            if self._dry_run:
                self._count(summary)
                return
            self._listing.forget(candidate.key)
            buried = await bury_object(
                self._objects, self._owner, candidate, summary, write, audit=self._audit
            )
            if buried is not None:
                self._count(summary)
                self._buried.append(buried)
                return
            before, candidate = summary, replace(candidate, etag="")  # look again
            await rest(_PAUSE)

    def _count(self, summary: Summary) -> None:
        if summary.thread is not None:
            self.removed[summary.thread.id] = summary.thread
            self.freed += summary.text_bytes

    async def flush(self, *, at_once: bool) -> None:
        """Tell the audit what was buried, and remove it, before somebody else may write there."""
        if not self._buried:
            return
        now = self._objects.bucket.clock.now()
        left = (min(one.until for one in self._buried) - now).total_seconds()
        if not at_once and left > LEASE_SECONDS - HASTE:
            return
        buried, self._buried = self._buried, []
        await self._record(buried)
        await remove(self._objects.bucket, self._objects.copies, self._owner, buried)

    async def _record(self, buried: list[Buried]) -> None:
        """Write one entry for all, if it is certain that they are all; else one for each."""
        bucket = self._objects.bucket
        for one in buried:
            await deliver(bucket, one.id, one.outbox)
        if self._audit is None:
            return
        now = bucket.clock.now()
        if self._in_doubt or not all(one.is_ours(now) for one in buried):
            for batch in batches(buried, READERS):
                await asyncio.gather(*(record(bucket, share_of(self._audit, one.id)) for one in batch))
        else:
            await record(bucket, frozen.replace(self._audit, count=len(buried)))
        self._audit = frozen.replace(self._audit, id=new_id(), at=utc_now())
        self._in_doubt = False

    def _is_expired(self, thread: Thread) -> bool:
        return (
            thread.updated_at < self._expiry.before
            and thread.id not in self._kept
            and (thread.archived_at is not None or not self._expiry.archived_only)
        )


async def bury_object(
    objects: Objects,
    owner: str,
    candidate: Candidate,
    summary: Summary,
    write: Write,
    *,
    audit: AuditEntry | None = None,
) -> Buried | None:
    """Leave nothing in an object if it is still the one of `summary`; None if that can't be said."""
    document = Document(owner, candidate.id, etag=summary.etag, outbox=summary.outbox)
    document.outbox += () if audit is None else (audit,)
    until = bury(document, objects.moment())
    document.sign(write.id)
    objects.forget(objects.thread(owner, candidate.id))
    try:
        with write.sent():
            await objects.bucket.put(
                candidate.key, document.encode(), etag=summary.etag, summary=metadata_of(document)
            )
    except (LostRace, Unanswered):
        return None
    return _left(objects, owner, candidate, summary, until)


def _left(objects: Objects, owner: str, candidate: Candidate, summary: Summary, until: datetime) -> Buried:
    """Return what there is to be removed of a thread that was buried as it was in `summary`."""
    location = objects.bucket.location
    keys = [use.key(location, owner, candidate.id) for use in candidate.idle]
    keys.append(location.mark(owner, candidate.id, summary.etag))
    return Buried(candidate.id, until, keys, summary.outbox)
