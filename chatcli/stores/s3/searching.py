"""Search: every thread is read, some at the same time."""

import asyncio
import heapq
import itertools

from chatcli.errors import StoreCorrupt
from chatcli.stores.base import Hit
from chatcli.stores.matching import best_line, score, searched_text
from chatcli.stores.s3.bucket import Stored
from chatcli.stores.s3.document import document_of
from chatcli.stores.s3.listing import READERS, Candidate, Listing
from chatcli.stores.s3.objects import Objects


class Searcher:
    """Searches the threads of a bucket."""

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
