"""Fork and undo: turns that several threads show, and that stay as long as one of them does."""

import pytest

from chatcli.errors import InvalidRequest, ThreadArchived, ThreadBusy, ThreadNotFound
from chatcli.models import LOCAL_OWNER, Thread
from chatcli.stores.base import Blob, CheckpointKey, CheckpointRow, ThreadStore
from tests.stores.talk import answer, held, new_turn, say
from tests.stores.test_threads import ids


async def talk(store: ThreadStore, thread_id: str, *prompts: str) -> None:
    """Run a turn for each prompt."""
    for prompt in prompts:
        await say(store, thread_id, prompt, f"re {prompt}")


async def prompts(store: ThreadStore, thread_id: str) -> list[str]:
    """Return the prompts of a thread, after checking that its turns are whole and in order."""
    turns = await store.turns(LOCAL_OWNER, thread_id)
    assert [turn.index for turn in turns] == list(range(1, len(turns) + 1))
    assert (await store.thread(LOCAL_OWNER, thread_id)).turn_count == len(turns)
    said = [turn.messages[0].text for turn in turns]
    assert [turn.messages[1].text for turn in turns] == [f"re {prompt}" for prompt in said]
    context = await store.context(LOCAL_OWNER, thread_id, limit=2 * len(turns))
    assert [message.text for message in context[::2]] == said
    return said


async def fork(store: ThreadStore, thread_id: str, fork_id: str, turns: int) -> Thread:
    """Fork, with the id as the title."""
    return await store.fork(LOCAL_OWNER, thread_id, fork_id=fork_id, title=fork_id, turns=turns)


async def undo(store: ThreadStore, thread_id: str, fork_id: str, turns: int = 1) -> Thread:
    """Undo, with the fork's id as its title."""
    return await store.undo(LOCAL_OWNER, thread_id, fork_id=fork_id, title=fork_id, turns=turns)


async def test_fork(store: ThreadStore) -> None:
    """A fork has the first turns with their ids, the thread's settings, and goes its own way."""
    begun = await store.begin(new_turn("a", "1", language="Danish", system="Be brief"))
    await store.commit(held(begun), answer("re 1", turn_id=begun.turn.id, index=2))
    await talk(store, "a", "2", "3")
    made = await fork(store, "a", "f", 2)
    assert (made.id, made.title, made.turn_count, made.language, made.system, made.model) == (
        "f",
        "f",
        2,
        "Danish",
        "Be brief",
        "offline:echo",
    )
    assert made == await store.thread(LOCAL_OWNER, "f")
    assert await ids(store) == ["f", "a"]
    assert await store.turns(LOCAL_OWNER, "f") == (await store.turns(LOCAL_OWNER, "a"))[:2]
    await talk(store, "f", "other")
    await talk(store, "a", "4")
    assert [turn.messages[0].text for turn in await store.turns(LOCAL_OWNER, "f", after=1)] == ["2", "other"]
    assert [turn.messages[0].text for turn in await store.turns(LOCAL_OWNER, "a", after=1)] == ["2", "3", "4"]


@pytest.mark.parametrize("turns", [0, 3])
async def test_fork_none_or_all(store: ThreadStore, turns: int) -> None:
    """A fork may have no turns, or all of them."""
    await talk(store, "a", "1", "2", "3")
    await fork(store, "a", "f", turns)
    await talk(store, "f", "new")
    assert await prompts(store, "f") == [*"123"[:turns], "new"]
    assert await prompts(store, "a") == ["1", "2", "3"]


async def test_context_across_forks(store: ThreadStore) -> None:
    """The window of the last messages reaches down into shared turns, and ends where it is told."""
    await talk(store, "a", *"123456")
    await fork(store, "a", "f", 4)
    await talk(store, "f", "x")
    await fork(store, "f", "g", 5)
    await talk(store, "g", "y")
    context = await store.context(LOCAL_OWNER, "g", limit=6)
    assert [message.text for message in context] == ["4", "re 4", "x", "re x", "y", "re y"]
    context = await store.context(LOCAL_OWNER, "g", limit=5, before=5)
    assert [message.text for message in context] == ["3", "re 3", "4", "re 4"]
    turns = await store.turns(LOCAL_OWNER, "g", after=2, limit=3)
    assert [turn.index for turn in turns] == [3, 4, 5]
    begun = await store.begin(new_turn("g", "z"))
    await store.commit(held(begun), answer("re z", turn_id=begun.turn.id))
    assert await prompts(store, "g") == [*"1234", "x", "y", "z"]


async def test_forks_outlive_their_origin(store: ThreadStore) -> None:
    """When a thread goes, what others show of it stays with them, and only that."""
    await talk(store, "a", *"12345")
    await fork(store, "a", "f", 2)
    await fork(store, "a", "g", 4)
    await fork(store, "f", "h", 1)
    await talk(store, "f", "f")
    await store.delete(LOCAL_OWNER, "a")
    assert await prompts(store, "f") == ["1", "2", "f"]
    assert await prompts(store, "g") == ["1", "2", "3", "4"]
    assert await prompts(store, "h") == ["1"]
    assert {hit.thread.id for hit in await store.search(LOCAL_OWNER, "re 4", limit=9)} == {"g"}
    assert await store.search(LOCAL_OWNER, "re 5", limit=9) == ()
    await store.clear(LOCAL_OWNER, "g")
    assert await prompts(store, "f") == ["1", "2", "f"]
    await store.delete(LOCAL_OWNER, "f")
    assert await prompts(store, "h") == ["1"]
    assert await prompts(store, "g") == []
    assert await store.search(LOCAL_OWNER, "re 2", limit=9) == ()


async def test_clear_of_a_fork(store: ThreadStore) -> None:
    """A cleared fork has no turns, keeps its settings, and its origin is whole."""
    await talk(store, "a", "1", "2")
    await fork(store, "a", "f", 2)
    cleared = await store.clear(LOCAL_OWNER, "f")
    assert (cleared.turn_count, cleared.model) == (0, "offline:echo")
    await talk(store, "f", "new")
    assert await prompts(store, "f") == ["new"]
    assert await prompts(store, "a") == ["1", "2"]


async def test_shared_turns_are_found_in_each_thread(store: ThreadStore) -> None:
    """A search shows every thread that has the turn, by its own archived mark."""
    await talk(store, "a", "sencha", "assam")
    await fork(store, "a", "f", 1)
    await fork(store, "f", "g", 1)
    assert {hit.thread.id for hit in await store.search(LOCAL_OWNER, "sencha", limit=9)} == {"a", "f", "g"}
    assert {hit.thread.id for hit in await store.search(LOCAL_OWNER, "assam", limit=9)} == {"a"}
    await store.archive(LOCAL_OWNER, "a", archived=True)
    assert {hit.thread.id for hit in await store.search(LOCAL_OWNER, "sencha", limit=9)} == {"f", "g"}
    hits = await store.search(LOCAL_OWNER, "sencha", limit=9, archived=True)
    assert {hit.thread.id for hit in hits} == {"a"}


async def test_undo(store: ThreadStore) -> None:
    """The last turns go off the thread and stay in the fork; the thread is the last used one."""
    await talk(store, "a", *"1234")
    before = await store.turns(LOCAL_OWNER, "a")
    key = CheckpointKey(LOCAL_OWNER, "a", "", "1")
    await store.put_checkpoint(CheckpointRow(key, None, Blob("m", b"h"), "{}", {}))
    made = await undo(store, "a", "u", 2)
    assert (made.id, made.title, made.turn_count) == ("u", "u", 4)
    assert await store.turns(LOCAL_OWNER, "u") == before
    assert await prompts(store, "a") == ["1", "2"]
    assert await ids(store) == ["a", "u"]
    assert await store.get_checkpoint(key) is None
    await talk(store, "a", "5")
    await talk(store, "u", "6")
    assert await prompts(store, "a") == ["1", "2", "5"]
    assert await prompts(store, "u") == [*"1234", "6"]


async def test_undo_everything(store: ThreadStore) -> None:
    """All turns may be taken off; the thread begins anew with its model."""
    await talk(store, "a", "1", "2")
    await undo(store, "a", "u", 2)
    assert await prompts(store, "a") == []
    assert (await store.thread(LOCAL_OWNER, "a")).model == "offline:echo"
    await store.delete(LOCAL_OWNER, "a")
    assert await prompts(store, "u") == ["1", "2"]


async def test_undo_into_shared_turns(store: ThreadStore) -> None:
    """An undo may reach below the place of the fork; all other threads keep what they show."""
    await talk(store, "a", *"12345")
    await fork(store, "a", "f", 4)
    await talk(store, "f", "x", "y")
    await fork(store, "f", "g", 5)
    await fork(store, "f", "h", 6)
    await undo(store, "f", "u", 4)
    assert await prompts(store, "f") == ["1", "2"]
    assert await prompts(store, "u") == [*"1234", "x", "y"]
    assert await prompts(store, "g") == [*"1234", "x"]
    assert await prompts(store, "h") == [*"1234", "x", "y"]
    await undo(store, "a", "v", 3)
    await talk(store, "a", "z")
    await store.delete(LOCAL_OWNER, "v")
    await store.delete(LOCAL_OWNER, "u")
    assert await prompts(store, "a") == ["1", "2", "z"]
    assert await prompts(store, "f") == ["1", "2"]
    assert await prompts(store, "g") == [*"1234", "x"]
    assert await prompts(store, "h") == [*"1234", "x", "y"]


async def test_many_retries(store: ThreadStore) -> None:
    """Asking the last prompt again and again keeps every answer, and the thread as quick as ever."""
    await talk(store, "a", "1", "2")
    for number in range(40):
        await undo(store, "a", f"u{number}")
        await say(store, "a", "2", "re 2")
    assert await prompts(store, "a") == ["1", "2"]
    answers = {(await store.turns(LOCAL_OWNER, f"u{number}"))[1].id for number in range(40)}
    assert len(answers) == 40
    await store.delete(LOCAL_OWNER, "a")
    assert await prompts(store, "u0") == ["1", "2"]
    assert await prompts(store, "u39") == ["1", "2"]


async def test_running_turn(store: ThreadStore) -> None:
    """A running turn is not shared and not taken off; those before it may be shared."""
    await talk(store, "a", "1")
    begun = await store.begin(new_turn("a", "2"))
    with pytest.raises(ThreadBusy):
        await fork(store, "a", "f", 2)
    with pytest.raises(ThreadBusy):
        await undo(store, "a", "u")
    await fork(store, "a", "f", 1)
    await store.commit(held(begun), answer("re 2", turn_id=begun.turn.id))
    assert await prompts(store, "a") == ["1", "2"]
    assert await prompts(store, "f") == ["1"]


async def test_refusals(store: ThreadStore) -> None:
    """What can't be done is refused, and nothing is changed by it."""
    await talk(store, "a", "1", "2")
    await talk(store, "Other", "x")
    for call in (
        fork(store, "a", "f", 3),
        fork(store, "a", "f", -1),
        fork(store, "a", "other", 1),
        fork(store, "a", "a", 1),
        undo(store, "a", "u", 3),
        undo(store, "a", "u", 0),
        undo(store, "a", "Other", 1),
    ):
        with pytest.raises(InvalidRequest):
            await call
    for call in (fork(store, "b", "f", 0), undo(store, "A", "u", 1)):
        with pytest.raises(ThreadNotFound):
            await call
    await store.archive(LOCAL_OWNER, "a", archived=True)
    with pytest.raises(ThreadArchived):
        await undo(store, "a", "u")
    made = await fork(store, "a", "f", 1)
    assert made.archived_at is None
    assert await prompts(store, "a") == ["1", "2"]
    assert await ids(store) == ["f", "Other"]


async def test_idempotency_keys_stay(store: ThreadStore) -> None:
    """A key names a turn of its own thread only: it may be used again on a fork, and after an undo."""

    async def ask(thread_id: str) -> bool:
        begun = await store.begin(new_turn(thread_id, "1", key="k", fingerprint="f"))
        if begun.lease is not None:
            await store.commit(begun.lease, answer("re 1", turn_id=begun.turn.id))
        return begun.lease is not None

    assert await ask("a")
    await fork(store, "a", "f", 1)
    assert not await ask("a")
    assert await ask("f")
    assert not await ask("f")
    await undo(store, "a", "u")
    assert await ask("u")
    assert await ask("a")
    await fork(store, "a", "g", 1)
    assert await ask("g")
    await store.delete(LOCAL_OWNER, "a")
    assert not await ask("g")
    for name in "fug":
        assert await prompts(store, name) == ["1", "1"]
