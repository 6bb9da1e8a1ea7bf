"""Threads: listed by use, found by prefix, archived, cleared, deleted for good."""

import pytest

from chatcli.errors import InvalidRequest, ThreadBusy, ThreadNotFound
from chatcli.models import LOCAL_OWNER
from chatcli.stores.base import Blob, CheckpointKey, CheckpointRow, ThreadStore
from tests.stores.talk import answer, held, new_turn, say, texts


async def ids(
    store: ThreadStore, *, limit: int = 50, archived: bool | None = False, prefix: str = ""
) -> list[str]:
    """Return the ids of all threads of a query, read page by page."""
    found: list[str] = []
    cursor = None
    while True:
        page = await store.threads(LOCAL_OWNER, limit=limit, cursor=cursor, archived=archived, prefix=prefix)
        assert len(page.threads) <= limit
        found += [thread.id for thread in page.threads]
        cursor = page.next_cursor
        if cursor is None:
            return found


async def test_empty_store(store: ThreadStore) -> None:
    """A store that was never written to has no threads, and that is no error."""
    assert await ids(store) == []


async def test_last_used_first(store: ThreadStore) -> None:
    """The order is that of use: both a turn's beginning and its end count."""
    for name in "abc":
        await say(store, name)
    assert await ids(store) == ["c", "b", "a"]
    begun = await store.begin(new_turn("a"))
    assert await ids(store) == ["a", "c", "b"]
    await say(store, "b")
    await store.commit(held(begun), answer("80", turn_id=begun.turn.id))
    assert await ids(store) == ["a", "b", "c"]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8])
@pytest.mark.parametrize("archived", [True, False, None])
async def test_pages_are_whole(store: ThreadStore, limit: int, *, archived: bool | None) -> None:
    """Pages of any length hold each thread once, archived ones in their place among the others."""
    for number in range(7):
        await say(store, str(number))
        if number % 3 == 0:
            await store.archive(LOCAL_OWNER, str(number), archived=True)
    expected = [str(n) for n in range(6, -1, -1) if archived is None or archived == (n % 3 == 0)]
    assert await ids(store, limit=limit, archived=archived) == expected


async def test_use_between_pages_repeats_nothing(store: ThreadStore) -> None:
    """A thread used after the first page was read does not show twice."""
    for name in "abcd":
        await say(store, name)
    first = await store.threads(LOCAL_OWNER, limit=2)
    await say(store, "d")
    second = await store.threads(LOCAL_OWNER, limit=2, cursor=first.next_cursor)
    assert [thread.id for page in (first, second) for thread in page.threads] == ["d", "c", "b", "a"]


async def test_prefix(store: ThreadStore) -> None:
    """A prefix is taken literally, and by case."""
    for name in ("ab1", "ab2", "AC", "a_b", "b"):
        await say(store, name)
    assert await ids(store, prefix="ab", limit=1) == ["ab2", "ab1"]
    assert await ids(store, prefix="a", archived=None) == ["a_b", "ab2", "ab1"]
    assert await ids(store, prefix="a_") == ["a_b"]
    assert await ids(store, prefix="%") == []
    assert await ids(store, prefix="ab1x") == []


@pytest.mark.parametrize("cursor", ["", "x", "1", "1-", "²-x", "9" * 40, "1-00000000"])
async def test_foreign_cursor(store: ThreadStore, cursor: str) -> None:
    """What is no cursor of this list is refused."""
    with pytest.raises(InvalidRequest):
        await store.threads(LOCAL_OWNER, limit=1, cursor=cursor)


async def test_cursor_of_another_query(store: ThreadStore) -> None:
    """A cursor serves its own query alone."""
    for name in "abc":
        await say(store, name)
    cursor = (await store.threads(LOCAL_OWNER, limit=1)).next_cursor
    for owner, archived, prefix in (("eve", False, ""), (LOCAL_OWNER, None, ""), (LOCAL_OWNER, False, "a")):
        with pytest.raises(InvalidRequest):
            await store.threads(owner, limit=1, cursor=cursor, archived=archived, prefix=prefix)


async def test_rename(store: ThreadStore) -> None:
    """A new title is kept, and naming a thread is no use of it."""
    await say(store, "a")
    await say(store, "b")
    assert (await store.rename(LOCAL_OWNER, "a", "Tea & cake")).title == "Tea & cake"
    assert (await store.thread(LOCAL_OWNER, "a")).title == "Tea & cake"
    assert await ids(store) == ["b", "a"]


async def test_archive_twice_is_harmless(store: ThreadStore) -> None:
    """The mark is set once and keeps its time; taking it off twice is harmless as well."""
    await say(store)
    first = await store.archive(LOCAL_OWNER, "tea", archived=True)
    assert first.archived_at is not None
    assert await store.archive(LOCAL_OWNER, "tea", archived=True) == first
    for _ in range(2):
        assert (await store.archive(LOCAL_OWNER, "tea", archived=False)).archived_at is None
    assert texts(await store.turns(LOCAL_OWNER, "tea")) == [["How hot?", "80 degrees."]]


async def test_clear_keeps_the_thread(store: ThreadStore) -> None:
    """Clearing removes turns and checkpoints; the settings stay, and new turns count from 1."""
    begun = await store.begin(new_turn(title="Tea time", language="Danish"))
    key = CheckpointKey(LOCAL_OWNER, "tea", "", "1")
    row = CheckpointRow(key, None, Blob("m", b"h"), "{}", {})
    await store.commit(held(begun), answer("80", turn_id=begun.turn.id), row)
    assert await store.get_checkpoint(key) is not None

    thread = await store.clear(LOCAL_OWNER, "tea")

    assert (thread.title, thread.language, thread.turn_count) == ("Tea time", "Danish", 0)
    assert (thread.model, (await store.thread(LOCAL_OWNER, "tea")).model) == ("offline:echo", "offline:echo")
    assert await store.turns(LOCAL_OWNER, "tea") == ()
    assert await store.get_checkpoint(key) is None
    assert (await say(store)).index == 1


async def test_delete_is_final(store: ThreadStore) -> None:
    """A deleted thread is nowhere; a new one with its id knows nothing of it."""
    begun = await store.begin(new_turn(title="Old"))
    row = CheckpointRow(CheckpointKey(LOCAL_OWNER, "tea", "", "1"), None, Blob("m", b"h"), "{}", {})
    await store.commit(held(begun), answer("80", turn_id=begun.turn.id), row)
    await store.delete(LOCAL_OWNER, "tea")

    assert await ids(store, archived=None) == []
    assert await store.list_checkpoints(LOCAL_OWNER, None, None) == ()
    with pytest.raises(ThreadNotFound):
        await store.commit(held(begun), answer("80", turn_id=begun.turn.id))
    with pytest.raises(ThreadNotFound):
        await store.thread(LOCAL_OWNER, "tea")
    fresh = await store.begin(new_turn(title="New"))
    assert (fresh.created, fresh.turn.index, fresh.thread.title) == (True, 1, "New")


async def test_busy_thread_is_not_touched(store: ThreadStore) -> None:
    """While a turn runs, the thread can't be cleared, deleted or archived; it can be renamed."""
    begun = await store.begin(new_turn())
    with pytest.raises(ThreadBusy):
        await store.clear(LOCAL_OWNER, "tea")
    with pytest.raises(ThreadBusy):
        await store.delete(LOCAL_OWNER, "tea")
    with pytest.raises(ThreadBusy):
        await store.archive(LOCAL_OWNER, "tea", archived=True)
    await store.rename(LOCAL_OWNER, "tea", "Tea time")
    await store.commit(held(begun), answer("80", turn_id=begun.turn.id))
    await store.delete(LOCAL_OWNER, "tea")


@pytest.mark.parametrize("thread_id", ["tea", "Coffee"])
async def test_missing_thread(store: ThreadStore, thread_id: str) -> None:
    """Everything that is done to a thread that is not there, by its exact id, says so."""
    await say(store, "coffee")
    for call in (
        store.thread(LOCAL_OWNER, thread_id),
        store.turns(LOCAL_OWNER, thread_id),
        store.rename(LOCAL_OWNER, thread_id, "x"),
        store.clear(LOCAL_OWNER, thread_id),
        store.delete(LOCAL_OWNER, thread_id),
        store.archive(LOCAL_OWNER, thread_id, archived=True),
    ):
        with pytest.raises(ThreadNotFound):
            await call


async def test_check_finds_no_damage(store: ThreadStore) -> None:
    """Checking a sound store returns sentences, at most."""
    await say(store)
    assert all(sentence.strip() for sentence in await store.check())
