"""Searching what no index can know: every turn is opened and read, in bounded memory."""

import heapq
from collections.abc import AsyncIterator, Sequence

from chatcli.errors import ThreadNotFound
from chatcli.models import Thread
from chatcli.stores.base import Hit, ThreadStore
from chatcli.stores.matching import CANDIDATES, best_line, score, searched_text, words_of

_THREADS = 100
_TURNS = 50
"""Threads and turns that are held at a time."""


async def scan(
    store: ThreadStore, owner: str, text: str, *, limit: int, archived: bool | None
) -> tuple[Hit, ...]:
    """Return what `ThreadStore.search` promises, from an opened `store`."""
    words = words_of(text)
    best: list[tuple[float, int, Hit]] = []
    seen = order = 0
    if not words or limit <= 0:
        return ()
    async for thread in _threads(store, owner, archived=archived):
        order -= 1
        found, count = await _best_turn(store, thread, words, most=CANDIDATES - seen)
        seen += count
        if found is not None:
            heapq.heappush(best, (found[0], order, found[1]))
            if len(best) > limit:
                heapq.heappop(best)
        if seen >= CANDIDATES:
            break
    return tuple(hit for _, _, hit in sorted(best, reverse=True))


async def _threads(store: ThreadStore, owner: str, *, archived: bool | None) -> AsyncIterator[Thread]:
    cursor = None
    while True:
        page = await store.threads(owner, limit=_THREADS, cursor=cursor, archived=archived)
        for thread in page.threads:
            yield thread
        cursor = page.next_cursor
        if cursor is None:
            return


async def _best_turn(
    store: ThreadStore, thread: Thread, words: Sequence[str], *, most: int
) -> tuple[tuple[float, Hit] | None, int]:
    """Return the best turn of a thread, the newest of equal ones, and how many of up to `most` matched."""
    found: tuple[float, Hit] | None = None
    count, end = 0, thread.turn_count
    while end > 0 and count < most:
        after = max(0, end - _TURNS)
        try:
            turns = await store.turns(thread.owner, thread.id, after=after, limit=end - after)
        except ThreadNotFound:  # deleted meanwhile
            return None, 0
        for turn in reversed(turns):
            said = searched_text(turn.messages)
            how_well = score(words, said)
            if not how_well:
                continue
            count += 1
            if found is None or how_well > found[0]:
                found = how_well, Hit(thread, turn.index, *best_line(words, said))
            if count == most:
                break
        end = after
    return found, count
