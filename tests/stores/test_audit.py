"""The audit: who did what, kept with what was done, and after what it was done to is gone."""

import itertools
from datetime import timedelta

import pytest

from chatcli.errors import ThreadBusy, ThreadNotFound
from chatcli.frozen import replace
from chatcli.models import LOCAL_OWNER, utc_now
from chatcli.stores.base import Expiry, ThreadStore
from chatcli.stores.records import AuditEntry
from tests.stores.conftest import OpenStore
from tests.stores.talk import new_turn, say

_NUMBERS = itertools.count()


def entry(action: str, thread_id: str | None = "tea", *, owner: str = LOCAL_OWNER) -> AuditEntry:
    """Return what somebody did."""
    # Of one millisecond, the ids of entries would have no order.
    entry_id = f"0192{next(_NUMBERS):04}-0000-7000-8000-000000000000"
    return AuditEntry(owner, "ann", "serve", "192.0.2.7", action, utc_now(), entry_id, thread_id)


async def told(
    store: ThreadStore, owner: str | None = LOCAL_OWNER
) -> list[tuple[str, str | None, int | None]]:
    """Return what was done, oldest first."""
    found = await store.audit(owner, limit=99)
    return [(one.action, one.thread_id, one.count) for one in reversed(found)]


async def test_what_is_done_is_recorded(store: ThreadStore) -> None:
    """Each change writes its entry; the thread goes, the entries stay, every field as it was given."""
    await say(store)
    given = [entry(action) for action in ("archive", "restore", "clear", "delete")]
    await store.archive(LOCAL_OWNER, "tea", archived=True, audit=given[0])
    await store.archive(LOCAL_OWNER, "tea", archived=False, audit=given[1])
    await store.clear(LOCAL_OWNER, "tea", audit=given[2])
    await store.delete(LOCAL_OWNER, "tea", audit=given[3])
    found = await store.audit(LOCAL_OWNER, limit=9)
    assert [replace(one, number=0) for one in reversed(found)] == given
    numbers = [one.number for one in found]
    assert numbers == sorted(set(numbers), reverse=True)


async def test_what_is_refused_is_not_recorded(store: ThreadStore) -> None:
    """An entry tells of what was done: not of threads that are busy, or not there."""
    await store.begin(new_turn())
    for call in (
        store.clear(LOCAL_OWNER, "tea", audit=entry("clear")),
        store.delete(LOCAL_OWNER, "tea", audit=entry("delete")),
        store.archive(LOCAL_OWNER, "tea", archived=True, audit=entry("archive")),
    ):
        with pytest.raises(ThreadBusy):
            await call
    with pytest.raises(ThreadNotFound):
        await store.delete(LOCAL_OWNER, "none", audit=entry("delete", "none"))
    assert await told(store) == []


async def test_a_cleanup_records_how_many_went(store: ThreadStore) -> None:
    """A step that removes threads writes one entry with their number; a dry run and an idle one, none."""
    expiry = Expiry(utc_now() + timedelta(days=1), audit=entry("cleanup", None))
    await store.sweep(LOCAL_OWNER, expiry, limit=9)
    assert await told(store) == []
    for name in "abc":
        await say(store, name)
    await store.sweep(LOCAL_OWNER, expiry, limit=9, dry_run=True)
    assert await told(store) == []
    await store.sweep(LOCAL_OWNER, expiry, limit=9)
    assert await told(store) == [("cleanup", None, 3)]


async def test_an_entry_is_written_once(store: ThreadStore) -> None:
    """Whoever is not sure that an entry was written writes it again."""
    one = replace(entry("token-refused", None), count=7, outcome="refused")
    await store.record(one)
    await store.record(one)
    (found,) = await store.audit(None, limit=9)
    assert replace(found, number=0) == one


async def test_the_audit_is_read_in_pages(store: ThreadStore) -> None:
    """Newest first, of one owner or of all; the next page begins below the last number."""
    for number in range(5):
        await store.record(entry("delete", f"t{number}"))
    await store.record(entry("delete", "theirs", owner="eve"))
    assert [name for _, name, _ in await told(store)] == [f"t{number}" for number in range(5)]
    assert [name for _, name, _ in await told(store, "eve")] == ["theirs"]
    first = await store.audit(None, limit=2)
    assert [one.thread_id for one in first] == ["theirs", "t4"]
    second = await store.audit(None, limit=3, before=first[-1].number)
    assert [one.thread_id for one in second] == ["t3", "t2", "t1"]
    assert await store.audit("nobody", limit=9) == ()


async def test_others_find_it(url: str, store: ThreadStore, open_again: OpenStore) -> None:
    """What one process recorded the next one reads."""
    del url
    await say(store)
    await store.delete(LOCAL_OWNER, "tea", audit=entry("delete"))
    await store.aclose()
    assert await told(open_again()) == [("delete", "tea", None)]
