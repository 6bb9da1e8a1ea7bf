"""The threads of an owner in the order of their use, without an index that could be wrong.

A list of the bucket's keys tells when each object was written last: no thread in it was used later.
The summary that goes with each object tells when it was used, and all else that is shown. So the
newest threads are found by reading summaries from the object written last downwards, until no
object that is left can hold a later use than those already found: the 20 newest of any number of
threads take 20 HEAD requests besides the listing, and one for each other thread that was written
within the same seconds as those. Summaries that were read are held by ETag.

An archived thread says so in its object. Beside it lies an empty object ``chat_archived/{id}``,
written after it and removed after it was taken back, so that lists need no summary of what they
leave out. It counts only while it is not older than the thread's object; what a crash left between
the two requests shows in a list of the wrong kind at worst, and is mended by the next attempt.

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
from chatcli.stores.s3.bucket import Bucket, Listed, Stored
from chatcli.stores.s3.document import document_of
from chatcli.stores.s3.location import id_of, is_name
from chatcli.stores.s3.summary import Summary, summarize, summary_of

T = TypeVar("T")

READERS = 16
"""Objects that are read at the same time."""

WINDOW = 1000
"""Threads that are looked at in one pass over the keys."""

HELD = 16_384
"""Summaries that are held."""

_SLACK = 3_000_000
"""Microseconds by which the time of an object may be behind that of its summary."""

_DAMAGED = "(damaged object)"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A thread of a list of keys."""

    id: str
    key: str
    etag: str
    modified: int
    """Microseconds."""


class Listing:
    """Reads lists of threads."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
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
        self, owner: str, *, archived: bool | None, prefix: str = ""
    ) -> AsyncIterator[Candidate]:
        """Yield the threads whose keys are listed, in the order of the keys."""
        location = self._bucket.location
        folder = location.folder("chat_histories", owner)
        marks = None if archived is None else Marks(self._bucket, owner)
        async for page in self._bucket.pages(folder, prefix=prefix):
            found = {id_: item for item in page if (id_ := id_of(item.key, folder)) is not None}
            marked = {} if marks is None else await marks.among(sorted(found))
            for thread_id, item in found.items():
                mark = marked.get(thread_id)
                is_marked = mark is not None and mark >= item.modified
                if archived is None or (mark is not None if archived else not is_marked):
                    modified = int(item.modified.timestamp() * 1_000_000)
                    yield Candidate(thread_id, item.key, item.etag, modified)

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
        best: dict[str, Summary] = {}
        ceiling: tuple[int, str] | None = None
        while True:
            ranks = self._ranks(owner, archived=archived, prefix=prefix, below=below, ceiling=ceiling)
            window = await _largest(ranks, WINDOW)
            for batch in batches(window, READERS):
                found = [_order(summary) for summary in _cut(best, limit)]
                if len(found) >= limit and found[limit - 1] > batch[0][0]:
                    return _cut(best, limit)
                summaries = await self.summaries(owner, [candidate for _, candidate in batch])
                for summary in summaries:
                    if summary is None or not _belongs(summary, archived):
                        continue
                    if below is None or _order(summary) < below:
                        best[_order(summary)[1]] = summary
                best = {_order(summary)[1]: summary for summary in _cut(best, limit)}
            if len(window) < WINDOW:
                return _cut(best, limit)
            ceiling = window[-1][0]

    async def everything(
        self, owner: str, *, archived: bool | None
    ) -> AsyncIterator[tuple[Candidate, Summary]]:
        """Yield all threads with their summaries, in the order of the keys, in constant memory."""
        waiting: list[Candidate] = []
        async for candidate in self.candidates(owner, archived=archived):
            waiting.append(candidate)
            if len(waiting) == READERS:
                for pair in await self._pairs(owner, waiting):
                    yield pair
                waiting = []
        for pair in await self._pairs(owner, waiting):
            yield pair

    async def _pairs(self, owner: str, candidates: list[Candidate]) -> list[tuple[Candidate, Summary]]:
        summaries = await self.summaries(owner, candidates)
        return [
            (one, summary) for one, summary in zip(candidates, summaries, strict=True) if summary is not None
        ]

    async def summaries(self, owner: str, candidates: Sequence[Candidate]) -> list[Summary | None]:
        """Return what the objects say of threads, all read at the same time."""
        return await asyncio.gather(*(self.summary(owner, candidate) for candidate in candidates))

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
            held = self._held.get(candidate.key)
            if held is not None and held[0] == candidate.etag:
                rank = held[2], candidate.id
                if below is not None and rank >= below:
                    continue
            else:
                rank = candidate.modified + _SLACK, candidate.id
            if ceiling is None or rank < ceiling:
                yield rank, candidate


class Marks:
    """The marks of archived threads, read along with the keys of the threads."""

    def __init__(self, bucket: Bucket, owner: str) -> None:
        self._bucket = bucket
        self._folder = bucket.location.folder("chat_archived", owner)
        self._all: dict[str, datetime] | None = None
        self._many = False

    async def among(self, ids: list[str]) -> dict[str, datetime]:
        """Return when each of these threads was marked, those that were not left out; `ids` is sorted."""
        if not ids:
            return {}
        if self._all is None and not self._many:
            first: list[Listed] = []
            async for page in self._bucket.pages(self._folder):
                if first:
                    self._many = True
                    break
                first = page
            if not self._many:
                self._all = {item.key.removeprefix(self._folder): item.modified for item in first}
        if self._all is not None:
            return self._all
        return await self._between(ids)

    async def _between(self, ids: list[str]) -> dict[str, datetime]:
        """Read the marks from the first of the ids to the last: there are too many to read them all."""
        wanted, found = set(ids), dict[str, datetime]()
        before = self._folder + ids[0][:-1]  # sorts before the first id, and not long before
        async for page in self._bucket.pages(self._folder, after=before):
            for item in page:
                thread_id = item.key.removeprefix(self._folder)
                if thread_id > ids[-1]:
                    return found
                if thread_id in wanted:
                    found[thread_id] = item.modified
        return found


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
