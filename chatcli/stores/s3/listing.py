"""The threads of an owner in the order of their use, without an index that could be wrong.

A list of the bucket's keys tells when each object was written last: no thread in it was used later.
The summary that goes with each object tells when it was used, and all else that is shown. So the
newest threads are found by reading summaries from the object written last downwards, until no
object that is left can hold a later use than those already found: the 20 newest of any number of
threads take 20 HEAD requests besides the listing, and one for each other thread that was written
within the same seconds as those, unless its place is known (`recent`). Summaries that were read are
held by ETag.

An archived thread says so in its object. Beside it lies an empty object (`marks`), so that lists need
no summary of what they leave out. It counts only for one version of the thread's object: so whatever
a crash or a race left there, each thread is in the one list or in the other.

Uses on different machines within the same moment are ordered as the server's clock could be told.
"""

import asyncio
import heapq
import itertools
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from chatcli.errors import StoreCorrupt
from chatcli.models import LOCAL_OWNER, Thread
from chatcli.stores.s3.bucket import Bucket, Stored
from chatcli.stores.s3.document import document_of
from chatcli.stores.s3.location import id_of, is_name
from chatcli.stores.s3.marks import IDLE, LastUse, Marks, last_use, microseconds, moment_at
from chatcli.stores.s3.recent import Recent
from chatcli.stores.s3.summary import Summary, summarize, summary_of

T = TypeVar("T")

READERS = 16
"""Objects that are read at the same time."""

_FEWEST = 4
"""Objects that are at least read at the same time, if as many are left."""

WINDOW = 1000
"""Threads that are looked at in one pass over the keys."""

HELD = 2048
"""Summaries that are held."""

_SLACK = 3_000_000
"""Microseconds by which the time of an object may be behind that of its summary."""

_IDLE = int(IDLE.total_seconds() * 1_000_000) + _SLACK

_DAMAGED = "(damaged object)"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A thread of a list of keys."""

    id: str
    key: str
    etag: str
    modified: int
    """Microseconds."""
    size: int = 0
    idle: tuple[LastUse, ...] = ()
    """What was said of uses that were earlier than the writing of the object, in any of its versions."""
    copied: bool = False
    """Whether the object is older than the bucket: when it was written says nothing then."""

    @property
    def last_use(self) -> LastUse | None:
        """What is said of the object as it is."""
        return next((use for use in self.idle if use.etag == self.etag), None)

    @property
    def used_from(self) -> int:
        """A moment before which the thread was not used last."""
        if (use := self.last_use) is not None:
            return use.updated
        return 0 if self.idle or self.copied else self.modified - _IDLE

    def outdated(self, updated: datetime) -> tuple[LastUse, ...]:
        """Return what need not be said any longer of a thread that was used last at `updated`."""
        if microseconds(updated) < self.modified - _IDLE:
            return ()
        return tuple(use for use in self.idle if use.etag != self.etag)

    @property
    def used_until(self) -> int:
        """A moment after which it was not used."""
        if (use := self.last_use) is not None:
            return use.updated
        return max([self.modified + _SLACK, *(use.updated for use in self.idle)])


class Listing:
    """Reads lists of threads."""

    def __init__(self, bucket: Bucket, recent: Recent) -> None:
        self._bucket = bucket
        self._recent = recent
        self._held: OrderedDict[str, tuple[str, str, int]] = OrderedDict()
        """By key: ETag, summary as it was read, use."""

    async def owners(self) -> tuple[str, ...]:
        """Return everybody who has threads."""
        folder = self._bucket.location.folder("chat_histories", LOCAL_OWNER)
        found = [name async for name in self._bucket.folders(folder) if is_name(name)]
        async for _ in self.candidates(LOCAL_OWNER, archived=None):
            return (LOCAL_OWNER, *found)
        return tuple(found)

    async def candidates(
        self, owner: str, *, archived: bool | None, prefix: str = "", idle: bool = False
    ) -> AsyncIterator[Candidate]:
        """Yield the threads whose keys are listed, in the order of the keys; with `idle` if asked to."""
        location = self._bucket.location
        folder = location.folder("chat_histories", owner)
        archive = None if archived is None else Marks(self._bucket, location.folder("chat_archived", owner))
        rest = Marks(self._bucket, location.folder("chat_idle", owner)) if idle else None
        first = await self._bucket.head(location.proof) if idle else None
        async for page in self._bucket.pages(folder, prefix=prefix):
            found = {id_: item for item in page if (id_ := id_of(item.key, folder)) is not None}
            marked = {} if archive is None else await archive.among([*found])
            resting = {} if rest is None else await rest.among([*found])
            for thread_id, item in found.items():
                mark = marked.get(thread_id, ())
                is_marked = any(one.is_of(item) for one in mark)
                if archived is None or (mark if archived else not is_marked):
                    modified = microseconds(item.modified)
                    uses = tuple(filter(None, map(last_use, resting.get(thread_id, ()))))
                    copied = first is None or item.modified < first.modified
                    yield Candidate(thread_id, item.key, item.etag, modified, item.size, uses, copied)

    async def newest(
        self,
        owner: str,
        *,
        limit: int,
        below: tuple[int, str] | None = None,
        archived: bool | None = False,
        prefix: str = "",
    ) -> list[Summary]:
        """Return up to `limit` threads, last used first, of those whose (use, id) is below `below`."""
        if not prefix:
            await self._recent.load(owner)
        best: dict[str, Summary] = {}
        ceiling: tuple[int, str] | None = None
        unknown = is_over = False
        while not is_over:
            ranks = self._ranks(owner, archived=archived, prefix=prefix, below=below, ceiling=ceiling)
            window = await _largest(ranks, WINDOW)
            is_over = len(window) < WINDOW
            start = 0
            while start < len(window):
                if len(best) >= limit and _order(min(best.values(), key=_order)) > window[start][0]:
                    is_over = True
                    break
                missing = limit - len(best)
                count = min(READERS, max(missing, _FEWEST)) if missing > 0 else READERS
                batch = [candidate for _, candidate in window[start : start + count]]
                start += count
                unknown = unknown or any(self._place(owner, one) is None for one in batch)
                for candidate, summary in zip(batch, await self.summaries(owner, batch), strict=True):
                    if summary is None or not _belongs(summary, archived):
                        continue
                    self._recent.note(owner, candidate.id, summary.etag, summary.used)
                    if below is None or _order(summary) < below:
                        best[candidate.id] = summary
                best = {_order(summary)[1]: summary for summary in _cut(best, limit)}
            ceiling = window[-1][0] if window else None
        if unknown:
            await self._recent.save(owner)
        return _cut(best, limit)

    async def newest_use(self, owner: str) -> datetime | None:
        """Return when any thread was used last; one used within `_SLACK` of that may stand for it."""

        async def ranks() -> AsyncIterator[tuple[tuple[int, str], Candidate]]:
            async for candidate in self.candidates(owner, archived=None, idle=True):
                yield (candidate.used_until, candidate.id), candidate

        newest: datetime | None = None
        for batch in batches(await _largest(ranks(), WINDOW), READERS):
            if newest is not None and microseconds(newest) + _SLACK >= batch[0][0][0]:
                break
            for (until, _), candidate in batch:
                if candidate.last_use is not None:
                    newest = max(newest or moment_at(until), moment_at(until))
            unsaid = [candidate for _, candidate in batch if candidate.last_use is None]
            for summary in await self.summaries(owner, unsaid):
                if summary is not None and summary.thread is not None:
                    newest = max(newest or summary.thread.updated_at, summary.thread.updated_at)
        return newest

    async def summaries(self, owner: str, candidates: Sequence[Candidate]) -> list[Summary | None]:
        """Return what the objects say of threads, all read at the same time."""
        return await asyncio.gather(*(self.summary(owner, candidate) for candidate in candidates))

    def forget(self, key: str) -> None:
        """Stop holding what was read of an object that is gone."""
        self._held.pop(key, None)

    async def summary(self, owner: str, candidate: Candidate) -> Summary | None:
        """Return what an object says of its thread: as it is held if that is what was listed."""
        held = self._held.get(candidate.key)
        if held is not None and held[0] == candidate.etag:
            self._held.move_to_end(candidate.key)
            return summary_of(held[1], held[0], owner, candidate.id)
        found = await self._bucket.head(candidate.key)
        if found is None:
            return None
        told = found.summary
        summary = None if told is None else summary_of(told, found.etag, owner, candidate.id)
        if told is None or summary is None:
            return await self._whole(owner, candidate)
        self._held[candidate.key] = found.etag, told, summary.used
        self._held.move_to_end(candidate.key)
        if len(self._held) > HELD:
            self._held.popitem(last=False)
        return summary

    async def _whole(self, owner: str, candidate: Candidate) -> Summary | None:
        stored = await self._bucket.get(candidate.key)
        if not isinstance(stored, Stored):
            return None
        try:
            document = document_of(stored, candidate.key, owner, candidate.id)
        except StoreCorrupt:  # it is no reason to show none of the others
            modified = stored.modified
            thread = Thread(candidate.id, owner, _DAMAGED, "", 0, modified, modified)
            return Summary(thread, candidate.modified, stored.etag, damaged=True)
        return summarize(document, stored.etag)

    async def _ranks(
        self,
        owner: str,
        *,
        archived: bool | None,
        prefix: str,
        below: tuple[int, str] | None,
        ceiling: tuple[int, str] | None,
    ) -> AsyncIterator[tuple[tuple[int, str], Candidate]]:
        """Yield candidates with the latest place that they can have in the list."""
        async for candidate in self.candidates(owner, archived=archived, prefix=prefix):
            place = self._place(owner, candidate)
            rank = candidate.modified + _SLACK if place is None else place, candidate.id
            if place is not None and below is not None and rank >= below:
                continue
            if ceiling is None or rank < ceiling:
                yield rank, candidate

    def _place(self, owner: str, candidate: Candidate) -> int | None:
        """Return the place of a thread, if it is known of this version of its object."""
        held = self._held.get(candidate.key)
        if held is not None and held[0] == candidate.etag:
            return held[2]
        return self._recent.place(owner, candidate.id, candidate.etag)


def _cut(best: dict[str, Summary], limit: int) -> list[Summary]:
    return sorted(best.values(), key=_order, reverse=True)[:limit]


def batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Yield items so many at a time."""
    return (items[start : start + size] for start in range(0, len(items), size))


def _order(summary: Summary) -> tuple[int, str]:
    return summary.used, "" if summary.thread is None else summary.thread.id


def _belongs(summary: Summary, archived: bool | None) -> bool:  # noqa: FBT001
    thread = summary.thread
    return thread is not None and (archived is None or archived == (thread.archived_at is not None))


async def _largest(
    ranks: AsyncIterator[tuple[tuple[int, str], Candidate]], count: int
) -> list[tuple[tuple[int, str], Candidate]]:
    """Return the `count` entries of the highest rank, highest first, in memory for as many."""
    heap: list[tuple[tuple[int, str], int, Candidate]] = []
    number = itertools.count()
    async for rank, candidate in ranks:
        entry = rank, next(number), candidate
        if len(heap) < count:
            heapq.heappush(heap, entry)
        elif entry > heap[0]:
            heapq.heapreplace(heap, entry)
    return [(rank, candidate) for rank, _, candidate in sorted(heap, reverse=True)]
