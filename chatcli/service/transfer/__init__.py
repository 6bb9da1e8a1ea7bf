"""Threads on their way into a store or out of it: chatcli's own export, and what other programs keep."""

from collections.abc import AsyncIterator, Sequence

from chatcli.errors import ThreadNotFound
from chatcli.frozen import replace
from chatcli.models import Thread, Turn
from chatcli.service.transfer.rules import check_thread
from chatcli.stores.base import ThreadStore

__all__ = ["check_thread", "export_threads", "import_thread"]

_PAGE = 1000


async def export_threads(
    store: ThreadStore, owner: str, thread_ids: Sequence[str] | None
) -> AsyncIterator[tuple[Thread, tuple[Turn, ...]]]:
    """Yield the threads named, or all, one at a time with their turns.

    All come least recently used first, so that importing them in this order keeps the order of use.
    """
    named = thread_ids is not None
    if thread_ids is None:
        thread_ids = [thread_id async for thread_id in _all_ids(store, owner)][::-1]
    for thread_id in thread_ids:
        try:
            thread, turns = await store.thread(owner, thread_id), await store.turns(owner, thread_id)
        except ThreadNotFound:
            if named:
                raise
            continue  # deleted since the list was read
        # A turn may have begun between the two.
        yield replace(thread, turn_count=len(turns)), turns


async def _all_ids(store: ThreadStore, owner: str) -> AsyncIterator[str]:
    cursor = None
    while True:
        page = await store.threads(owner, limit=_PAGE, cursor=cursor, archived=None)
        for thread in page.threads:
            yield thread.id
        cursor = page.next_cursor
        if cursor is None:
            return


async def import_thread(store: ThreadStore, owner: str, thread: Thread, turns: Sequence[Turn]) -> bool:
    """Check a thread of unknown origin and write it; False if it is there already."""
    check_thread(thread, turns)
    return await store.import_thread(replace(thread, owner=owner), turns)
