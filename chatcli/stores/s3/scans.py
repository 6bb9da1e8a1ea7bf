"""What is done with many threads: searched, cleaned up."""

import asyncio
import heapq
import itertools
from bisect import bisect_right
from dataclasses import dataclass
from datetime import datetime

from chatcli.errors import InvalidRequest, StoreCorrupt
from chatcli.models import Thread
from chatcli.stores.base import LEASE_SECONDS, Expiry, Hit, Sweep
from chatcli.stores.matching import best_line, score, searched_text
from chatcli.stores.s3.bucket import Stored
from chatcli.stores.s3.document import Document, document_of
from chatcli.stores.s3.errors import LostRace, Unanswered
from chatcli.stores.s3.listing import READERS, Candidate, Listing, batches
from chatcli.stores.s3.objects import Objects
from chatcli.stores.s3.summary import Summary, metadata_of
from chatcli.stores.s3.threads import bury

PLANNED = 5000
"""Threads whose order a cleanup knows in advance."""

_HASTE = LEASE_SECONDS / 3
"""Seconds after which what was buried is removed: long before somebody else may write there."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """The next threads in the order of their use, and whether they are all that are left."""

    threads: list[tuple[int, str, Candidate]]
    is_whole: bool

    def after(self, place: tuple[int, str]) -> list[tuple[int, str, Candidate]]:
        return self.threads[bisect_right(self.threads, place, key=lambda one: one[:2]) :]


class Searcher:
    """Searches by reading every thread, some at the same time."""

    def __init__(self, objects: Objects, listing: Listing) -> None:
        self._objects = objects
        self._listing = listing

    async def search(
        self, owner: str, words: tuple[str, ...], *, limit: int, archived: bool | None
    ) -> tuple[Hit, ...]:
        """Return the threads with the best turns."""
        best: list[tuple[float, int, int, Hit]] = []
        number = itertools.count()
        waiting: list[Candidate] = []

        async def read_waiting() -> None:
            for found in await asyncio.gather(*(self._match(owner, one, words, archived) for one in waiting)):
                if found is not None:
                    heapq.heappush(best, (*found[:2], next(number), found[2]))
                    if len(best) > limit:
                        heapq.heappop(best)
            waiting.clear()

        async for candidate in self._listing.candidates(owner, archived=archived):
            waiting.append(candidate)
            if len(waiting) == READERS:
                await read_waiting()
        await read_waiting()
        return tuple(hit for *_, hit in sorted(best, key=lambda one: one[:3], reverse=True))

    async def _match(
        self,
        owner: str,
        candidate: Candidate,
        words: tuple[str, ...],
        archived: bool | None,  # noqa: FBT001
    ) -> tuple[float, int, Hit] | None:
        """Return how well a thread matches, its last use, and what is shown of it."""
        stored = await self._objects.bucket.get(candidate.key)
        if not isinstance(stored, Stored):
            return None
        try:
            document = document_of(stored, candidate.key, owner, candidate.id)
        except StoreCorrupt:  # the list shows it as what it is
            return None
        thread = document.thread
        if thread is None or (archived is not None and archived != (thread.archived_at is not None)):
            return None
        texts = [searched_text(entry.said()) for entry in document.entries]
        scores = ((score(words, text), place) for place, text in enumerate(texts))
        best, place = max(scores, default=(0.0, 0))
        if not best:
            return None
        return best, document.used, Hit(thread, place + 1, *best_line(words, texts[place]))


class Sweeper:
    """Removes threads: each is buried on the condition that it is still as it was seen, then removed."""

    def __init__(self, objects: Objects, listing: Listing) -> None:
        self._objects = objects
        self._listing = listing
        self._plans: dict[tuple[str, bool], _Plan] = {}

    async def sweep(
        self, owner: str, expiry: Expiry, *, limit: int, cursor: str | None, dry_run: bool
    ) -> Sweep:
        """Look at the next threads and remove those that are expired."""
        place = (0, "") if cursor is None else _place_of(cursor)
        mode = owner, expiry.archived_only
        plan = self._plans.get(mode)
        left = [] if plan is None or cursor is None else plan.after(place)
        if cursor is None or plan is None or not (left or plan.is_whole):
            plan = await self._plan(owner, place, archived_only=expiry.archived_only, dry_run=dry_run)
            self._plans = {mode: plan}
            left = plan.threads
        step = left[:limit]
        newest = await self._listing.newest(owner, limit=expiry.keep, archived=None) if expiry.keep else []
        kept = {summary.thread.id for summary in newest if summary.thread is not None}
        removal = _Removal(self._objects, self._listing, owner, expiry, kept, dry_run=dry_run)
        for batch in batches(step, READERS):
            await asyncio.gather(*(removal.consider(candidate) for _, _, candidate in batch))
            await removal.flush(at_once=False)
        await removal.flush(at_once=True)
        more = len(left) > len(step) > 0 or not plan.is_whole
        return Sweep(
            scanned=len(step),
            removed=tuple(removal.removed[id_] for _, id_, _ in step if id_ in removal.removed),
            busy=tuple(id_ for _, id_, _ in step if id_ in removal.busy),
            cursor=f"{step[-1][0]}-{step[-1][1]}" if more and step else None,
            freed=removal.freed,
        )

    async def _plan(self, owner: str, place: tuple[int, str], *, archived_only: bool, dry_run: bool) -> _Plan:
        """Find the threads that were used next after `place`; what deletions left is removed on the way."""
        now = self._objects.bucket.clock.now
        chosen: list[tuple[int, str, Candidate]] = []
        is_whole = True
        async for candidate, summary in self._listing.everything(
            owner, archived=True if archived_only else None
        ):
            if summary.deleted_until is not None and not dry_run and summary.deleted_until <= now():
                await self._finish(owner, candidate, summary)
            thread = summary.thread
            if thread is None or summary.damaged or (summary.used, candidate.id) <= place:
                continue
            if archived_only and thread.archived_at is None:
                continue
            chosen.append((summary.used, candidate.id, candidate))
            if len(chosen) >= 2 * PLANNED:
                chosen, is_whole = sorted(chosen, key=lambda one: one[:2])[:PLANNED], False
        chosen.sort(key=lambda one: one[:2])
        if len(chosen) > PLANNED:
            chosen, is_whole = chosen[:PLANNED], False
        return _Plan(chosen, is_whole)

    async def _finish(self, owner: str, candidate: Candidate, summary: Summary) -> None:
        """Remove what is left of a deletion that was broken off, unless somebody makes use of it."""
        if await bury_object(self._objects, owner, candidate, summary.etag) is not None:
            await self._objects.bucket.remove(keys_of(self._objects, owner, candidate.id))


class _Removal:
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
        self._buried: list[tuple[datetime, str]] = []
        self.removed: dict[str, Thread] = {}
        self.busy: set[str] = set()
        self.freed = 0

    async def consider(self, candidate: Candidate) -> None:
        """Remove the thread if it is expired and nobody runs a turn on it, at this very moment."""
        while True:
            summary = await self._listing.summary(self._owner, candidate)
            thread = None if summary is None else summary.thread
            if summary is None or thread is None or not self._is_expired(thread):
                return
            if summary.is_live(self._objects.bucket.clock.now()):
                self.busy.add(candidate.id)
                return
            if not self._dry_run:
                until = await bury_object(self._objects, self._owner, candidate, summary.etag)
                if until is None:  # it was used or changed: look again
                    candidate = Candidate(candidate.id, candidate.key, "", candidate.modified)
                    continue
                self._buried.append((until, candidate.id))
            self.removed[candidate.id] = thread
            self.freed += summary.text_bytes
            return

    async def flush(self, *, at_once: bool) -> None:
        """Remove what was buried, before somebody else may write there.

        What it is too late for stays buried, and goes with the next cleanup.
        """
        if not self._buried:
            return
        now = self._objects.bucket.clock.now()
        left = (min(until for until, _ in self._buried) - now).total_seconds()
        if not at_once and left > LEASE_SECONDS - _HASTE:
            return
        in_time = [id_ for until, id_ in self._buried if (until - now).total_seconds() > _HASTE]
        keys = [key for id_ in in_time for key in keys_of(self._objects, self._owner, id_)]
        self._buried.clear()
        await self._objects.bucket.remove(keys)

    def _is_expired(self, thread: Thread) -> bool:
        return (
            thread.updated_at < self._expiry.before
            and thread.id not in self._kept
            and (thread.archived_at is not None or not self._expiry.archived_only)
        )


async def bury_object(objects: Objects, owner: str, candidate: Candidate, etag: str) -> datetime | None:
    """Leave nothing in an object if it is still the one with `etag`; return until when it is ours."""
    document = Document(owner, candidate.id, etag=etag)
    bury(document, objects.moment())
    objects.forget(objects.thread(owner, candidate.id))
    try:
        await objects.bucket.put(candidate.key, document.encode(), etag=etag, summary=metadata_of(document))
    except LostRace:
        return None
    except Unanswered:
        found = await objects.bucket.head(candidate.key)
        if found is None or found.summary != metadata_of(document):
            return None
    return document.deleted_until


def keys_of(objects: Objects, owner: str, thread_id: str) -> list[str]:
    """Return the keys of everything that a thread has."""
    location = objects.bucket.location
    return [
        location.thread(owner, thread_id),
        location.mark(owner, thread_id),
        location.checkpoints(owner, thread_id),
    ]


def _place_of(cursor: str) -> tuple[int, str]:
    use, dash, thread_id = cursor.partition("-")
    if not dash or not (use.isascii() and use.isdecimal() and len(use) < 19):  # noqa: PLR2004
        raise InvalidRequest("that is not a cursor of a sweep", hint="begin again without a cursor")
    return int(use), thread_id
