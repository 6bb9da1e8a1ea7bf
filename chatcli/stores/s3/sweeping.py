"""Cleanup: threads that were not used for long, in the order of their last use.

A list of keys tells of most threads that they were used since; nothing is read of those, they are only
counted. The others are read (HEAD) and put in order, some hundred at a time. Each that is expired is
buried on the condition that it is still as it was seen, then removed.
"""

import asyncio
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from chatcli.errors import InvalidRequest
from chatcli.models import Thread
from chatcli.stores.base import LEASE_SECONDS, Expiry, Sweep
from chatcli.stores.s3.document import Document
from chatcli.stores.s3.errors import LostRace, Unanswered
from chatcli.stores.s3.listing import READERS, Candidate, Listing, batches
from chatcli.stores.s3.marks import microseconds
from chatcli.stores.s3.objects import Objects
from chatcli.stores.s3.summary import Summary, metadata_of
from chatcli.stores.s3.threads import bury

PLANNED = 1000
"""Threads whose order a cleanup knows in advance."""

_SMALLEST = 128
"""Bytes; a smaller object is no thread, but what is left of one."""

_HASTE = LEASE_SECONDS / 3
"""Seconds after which what was buried is removed: long before somebody else may write there."""

_START = 0, ""


@dataclass(frozen=True, slots=True)
class _Place:
    """After `done` in the plan that begins after `begun`; or there are only `rest` threads to be counted."""

    begun: tuple[int, str] = _START
    done: tuple[int, str] = _START
    rest: int | None = None

    def __str__(self) -> str:
        if self.rest is not None:
            return f"rest.{self.rest}"
        return f"{self.begun[0]}.{self.done[0]}.{self.done[1]}~{self.begun[1]}"


@dataclass(frozen=True, slots=True)
class _Plan:
    """The next threads that may be expired, in the order of their use."""

    threads: list[tuple[int, str, Candidate]]
    end: tuple[int, str] | None
    """Where the next plan begins; None if there is nothing left for one."""
    others: int
    """Threads that were used since, whatever the plan."""

    def after(self, place: tuple[int, str]) -> list[tuple[int, str, Candidate]]:
        return self.threads[bisect_right(self.threads, place, key=lambda one: one[:2]) :]


class Sweeper:
    """Removes threads."""

    def __init__(self, objects: Objects, listing: Listing) -> None:
        self._objects = objects
        self._listing = listing
        self._plans: dict[tuple[str, bool, datetime, tuple[int, str]], _Plan] = {}

    async def sweep(
        self, owner: str, expiry: Expiry, *, limit: int, cursor: str | None, dry_run: bool
    ) -> Sweep:
        """Look at the next threads and remove those that are expired."""
        place = _Place() if cursor is None else _place_of(cursor)
        if place.rest is not None:
            return _counted(0, place.rest, limit)
        mode = owner, expiry.archived_only, expiry.before, place.begun
        plan = None if cursor is None else self._plans.get(mode)
        if plan is None:
            plan = await self._plan(owner, expiry, place.begun, dry_run=dry_run)
            self._plans = {mode: plan}
        left = plan.after(place.done)
        step = left[:limit]
        newest = await self._listing.newest(owner, limit=expiry.keep, archived=None) if expiry.keep else []
        kept = {summary.thread.id for summary in newest if summary.thread is not None}
        removal = Removal(self._objects, self._listing, owner, expiry, kept, dry_run=dry_run)
        for batch in batches(step, READERS):
            await asyncio.gather(*(removal.consider(candidate) for _, _, candidate in batch))
            await removal.flush(at_once=False)
        await removal.flush(at_once=True)
        if len(left) > len(step):
            ended = Sweep(len(step), (), (), str(_Place(place.begun, step[-1][:2])) if step else cursor)
        elif plan.end is not None:
            ended = Sweep(len(step), (), (), str(_Place(plan.end)))
        else:
            ended = _counted(len(step), plan.others, limit)
        return Sweep(
            scanned=ended.scanned,
            removed=tuple(removal.removed[id_] for _, id_, _ in step if id_ in removal.removed),
            busy=tuple(id_ for _, id_, _ in step if id_ in removal.busy),
            cursor=ended.cursor,
            freed=removal.freed,
        )

    async def _plan(self, owner: str, expiry: Expiry, begun: tuple[int, str], *, dry_run: bool) -> _Plan:
        """Choose the next threads after `begun` by what is known of their last use, and order them."""
        before, others = microseconds(expiry.before), 0
        chosen: list[tuple[int, str, Candidate]] = []
        end: tuple[int, str] | None = None
        async for candidate in self._listing.candidates(
            owner, archived=True if expiry.archived_only else None, idle=True
        ):
            if candidate.used_from >= before and candidate.size >= _SMALLEST:
                others += 1
                continue
            use = candidate.last_use
            rank = candidate.modified if use is None else use.used, candidate.id
            if rank > begun and (end is None or rank <= end):
                chosen.append((*rank, candidate))
            if len(chosen) == 2 * PLANNED:
                chosen.sort(key=lambda one: one[:2])
                del chosen[PLANNED:]
                end = chosen[-1][:2]
        if len(chosen) > PLANNED:
            chosen.sort(key=lambda one: one[:2])
            del chosen[PLANNED:]
            end = chosen[-1][:2]
        threads = await self._order(owner, expiry, [one for *_, one in chosen], dry_run=dry_run)
        return _Plan(threads, end, others)

    async def _order(
        self, owner: str, expiry: Expiry, chosen: Sequence[Candidate], *, dry_run: bool
    ) -> list[tuple[int, str, Candidate]]:
        """Read threads and put them in the order of their use; what there is no use for goes on the way."""
        threads: list[tuple[int, str, Candidate]] = []
        outdated: list[str] = []
        for batch in batches(chosen, READERS):
            for candidate, summary in zip(batch, await self._listing.summaries(owner, batch), strict=True):
                if summary is None or await self._is_left_over(owner, candidate, summary, dry_run=dry_run):
                    continue
                thread = summary.thread
                if thread is None or summary.damaged or (expiry.archived_only and thread.archived_at is None):
                    continue
                threads.append((summary.used, candidate.id, candidate))
                uses = candidate.outdated(thread.updated_at) if summary.etag == candidate.etag else ()
                outdated += (use.key(self._objects.bucket.location, owner, candidate.id) for use in uses)
        if not dry_run:
            await self._objects.bucket.remove(outdated)
        return sorted(threads, key=lambda one: one[:2])

    async def _is_left_over(
        self, owner: str, candidate: Candidate, summary: Summary, *, dry_run: bool
    ) -> bool:
        """Tell whether a deletion was broken off; remove what is left of it, unless somebody uses it."""
        until = summary.deleted_until
        if until is None:
            return False
        is_due = not dry_run and until <= self._objects.bucket.clock.now()
        if is_due and await bury_object(self._objects, owner, candidate, summary.etag) is not None:
            await _remove(self._objects, owner, [candidate])
        return True


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
        self._buried: list[tuple[datetime, Candidate]] = []
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
                self._listing.forget(candidate.key)
                until = await bury_object(self._objects, self._owner, candidate, summary.etag)
                if until is None:  # it was used or changed: look again
                    candidate = replace(candidate, etag="")
                    continue
                self._buried.append((until, candidate))
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
        in_time = [one for until, one in self._buried if (until - now).total_seconds() > _HASTE]
        self._buried.clear()
        await _remove(self._objects, self._owner, in_time)

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


async def _remove(objects: Objects, owner: str, candidates: Sequence[Candidate]) -> None:
    location = objects.bucket.location
    idle = [use.key(location, owner, one.id) for one in candidates for use in one.idle]
    await objects.remove(owner, [one.id for one in candidates], more=idle)


def _counted(scanned: int, rest: int, limit: int) -> Sweep:
    """Return a step that counts as many of the threads that were used since as it may."""
    counted = min(rest, max(limit - scanned, 0))
    cursor = str(_Place(rest=rest - counted)) if rest > counted else None
    return Sweep(scanned + counted, (), (), cursor)


def _place_of(cursor: str) -> _Place:
    place, tilde, begun_id = cursor.partition("~")
    begun, *done = place.split(".", 2)
    if begun == "rest" and len(done) == 1 and not tilde and _is_number(done[0]):
        return _Place(rest=int(done[0]))
    if len(done) == 2 and tilde and _is_number(begun) and _is_number(done[0]):  # noqa: PLR2004 - its parts
        return _Place((int(begun), begun_id), (int(done[0]), done[1]))
    raise InvalidRequest("that is not a cursor of a sweep", hint="begin again without a cursor")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 19  # noqa: PLR2004 - so many fit
