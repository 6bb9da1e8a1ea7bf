"""One running turn a thread, across tasks, store objects and processes; dead holders block nobody."""

import asyncio

import pytest

from chatcli.errors import ThreadBusy, ThreadNotFound
from chatcli.models import LOCAL_OWNER, TurnState
from chatcli.stores.base import Blob, CheckpointKey, CheckpointRow, Lease, ThreadStore
from tests.stores.conftest import OpenRival, OpenStore
from tests.stores.talk import answer, held, new_turn, say, texts


async def states(store: ThreadStore) -> list[str]:
    return [turn.state.value for turn in await store.turns(LOCAL_OWNER, "tea")]


async def test_tasks_take_turns(store: ThreadStore) -> None:
    """Of many tasks that begin at once on one thread one gets it, and the rest are told it is busy."""
    results = await asyncio.gather(
        *(store.begin(new_turn(prompt=str(number))) for number in range(16)), return_exceptions=True
    )
    assert sum(isinstance(result, ThreadBusy) for result in results) == 15
    assert await states(store) == ["running"]


async def test_threads_do_not_wait_for_each_other(store: ThreadStore) -> None:
    """Turns of different threads run side by side, and all are kept."""
    begun = await asyncio.gather(*(store.begin(new_turn(f"t{number}")) for number in range(16)))
    await asyncio.gather(*(store.commit(held(each), answer("80", turn_id=each.turn.id)) for each in begun))
    page = await store.threads(LOCAL_OWNER, limit=32)
    assert len(page.threads) == 16


async def test_store_objects_see_each_others_turns(store: ThreadStore, open_again: OpenStore) -> None:
    """A turn of one store object is live to another one in the same process."""
    begun = await store.begin(new_turn())
    other = open_again()

    with pytest.raises(ThreadBusy):
        await other.begin(new_turn())
    assert (await other.turns(LOCAL_OWNER, "tea"))[0].state is TurnState.RUNNING
    await other.aclose()
    assert await states(store) == ["running"]
    await store.commit(held(begun), answer("80", turn_id=begun.turn.id))
    await say(other)


async def test_closed_store_leaves_an_orphan(store: ThreadStore, open_again: OpenStore) -> None:
    """A turn whose store object was closed is interrupted for all others, and blocks nobody."""
    other = open_again()
    begun = await other.begin(new_turn())
    await other.aclose()

    assert await states(store) == ["interrupted"]
    assert (await store.begin(new_turn())).turn.index == 2
    late = await other.commit(held(begun), answer("80", turn_id=begun.turn.id))
    assert (late.index, late.state) == (1, TurnState.COMPLETE)


async def test_renewing_takes_the_turn_over(store: ThreadStore, open_again: OpenStore) -> None:
    """The store object that renews a lease holds the turn, whoever began it."""
    other = open_again()
    begun = await other.begin(new_turn())
    await store.renew(held(begun))
    await other.aclose()
    assert await states(store) == ["running"]


async def test_processes_see_each_others_turns(store: ThreadStore, open_rival: OpenRival) -> None:
    """A turn of a living process holds the thread for all others, until it is committed."""
    rival = open_rival()
    assert rival.ask("begin", turn="r") == {"ok": 1}

    with pytest.raises(ThreadBusy):
        await store.begin(new_turn())
    with pytest.raises(ThreadBusy):
        await store.delete(LOCAL_OWNER, "tea")
    assert await states(store) == ["running"]
    assert rival.ask("commit", turn="r", reply="80") == {"ok": 1}
    await store.begin(new_turn())
    assert rival.ask("begin", turn="r2") == {"error": "thread-busy"}
    assert rival.ask("turns") == {"ok": ["complete", "running"]}


async def test_dead_process_is_known_at_once(store: ThreadStore, open_rival: OpenRival) -> None:
    """The turn of a killed process is interrupted at once: the next one begins, and marks it."""
    rival = open_rival()
    rival.ask("begin", turn="r")
    assert await states(store) == ["running"]
    rival.kill()

    (orphan,) = await store.turns(LOCAL_OWNER, "tea")
    assert (orphan.state, orphan.finished_at) == (TurnState.INTERRUPTED, None)
    await say(store)
    orphan, complete = await store.turns(LOCAL_OWNER, "tea")
    assert (orphan.state, orphan.finished_at is not None) == (TurnState.INTERRUPTED, True)
    assert complete.state is TurnState.COMPLETE


async def test_orphan_blocks_nothing_else(store: ThreadStore, open_rival: OpenRival) -> None:
    """The thread of a killed process can be archived, cleared and deleted at once."""
    rival = open_rival()
    for name in ("a", "b", "c"):
        rival.ask("begin", thread=name, turn=name)
    rival.kill()
    await store.archive(LOCAL_OWNER, "a", archived=True)
    await store.clear(LOCAL_OWNER, "b")
    await store.delete(LOCAL_OWNER, "c")


async def test_idempotency_key_of_an_orphan(store: ThreadStore, open_again: OpenStore) -> None:
    """A request whose process died may be tried again under its key."""
    other = open_again()
    await other.begin(new_turn(key="k", fingerprint="f"))
    await other.aclose()
    again = await store.begin(new_turn(key="k", fingerprint="f"))
    turn = await store.commit(held(again), answer("80", turn_id=again.turn.id))
    assert (await store.begin(new_turn(key="k", fingerprint="f"))).turn == turn


async def test_late_commit_keeps_its_place(store: ThreadStore, open_rival: OpenRival) -> None:
    """A turn taken for an orphan is ended all the same: in its place, and without freeing the thread."""
    rival = open_rival()
    rival.ask("begin", turn="r", prompt="early")
    rival.kill()
    await store.begin(new_turn(prompt="late"))
    lease = Lease(LOCAL_OWNER, "tea", "r")
    first = await store.commit(lease, answer("at last", turn_id="r"))

    assert (first.index, first.state) == (1, TurnState.COMPLETE)
    assert texts(await store.turns(LOCAL_OWNER, "tea")) == [["early", "at last"], ["late"]]
    assert await store.commit(lease, answer("twice", turn_id="r")) == first
    assert rival.process.returncode != 0
    assert open_rival().ask("begin", turn="x") == {"error": "thread-busy"}


async def test_late_checkpoint_is_not_the_newest(store: ThreadStore, open_rival: OpenRival) -> None:
    """The checkpoint of a late commit does not join, let alone displace, that of a later turn."""
    rival = open_rival()
    rival.ask("begin", turn="r")
    rival.kill()
    begun = await store.begin(new_turn())
    rows = [
        CheckpointRow(CheckpointKey(LOCAL_OWNER, "tea", "", number), None, Blob("m", b"h"), "{}", {})
        for number in ("1", "2")
    ]
    await store.commit(held(begun), answer("80", turn_id=begun.turn.id), rows[1])
    await store.commit(Lease(LOCAL_OWNER, "tea", "r"), answer("late", turn_id="r"), rows[0])
    assert await store.list_checkpoints(LOCAL_OWNER, "tea", None) == (rows[1],)


async def test_late_commit_to_a_deleted_thread(store: ThreadStore, open_rival: OpenRival) -> None:
    """What was deleted or cleared stays so, whatever comes late."""
    rival = open_rival()
    for name in ("tea", "coffee"):
        rival.ask("begin", thread=name, turn=name)
    rival.kill()
    await store.clear(LOCAL_OWNER, "tea")
    await store.delete(LOCAL_OWNER, "coffee")
    for name in ("tea", "coffee"):
        with pytest.raises(ThreadNotFound):
            await store.commit(Lease(LOCAL_OWNER, name, name), answer("80", turn_id=name))
    assert await store.turns(LOCAL_OWNER, "tea") == ()
    assert [thread.id for thread in (await store.threads(LOCAL_OWNER, limit=9)).threads] == ["tea"]


async def test_processes_lose_nothing(store: ThreadStore, open_rival: OpenRival) -> None:
    """Processes that write to one thread and to many at once keep every turn, in whole pairs."""
    rivals = [open_rival() for _ in range(4)]
    for number, rival in enumerate(rivals):
        rival.tell("say", name=f"r{number}", times=6)
        rival.tell("say", name="own", times=3, thread=f"own-{number}")
    for rival in rivals:
        assert [rival.hear(), rival.hear()] == [{"ok": 6}, {"ok": 3}]

    turns = await store.turns(LOCAL_OWNER, "tea")
    assert [turn.index for turn in turns] == list(range(1, 25))
    assert {turn.state for turn in turns} == {TurnState.COMPLETE}
    said = [turn.messages[0].text for turn in turns]
    for number in range(4):
        mine = [text for text in said if text.startswith(f"r{number} ")]
        assert mine == [f"r{number} {count}" for count in range(6)]


async def test_kill_in_the_midst_of_writing(store: ThreadStore, open_rival: OpenRival) -> None:
    """A process killed while it writes leaves whole turns, and nothing to repair."""
    for seen in (1, 6, 13):
        rival = open_rival()
        rival.tell("say", name="r", times=1000)
        while len(await _said(store)) < seen:
            assert rival.process.poll() is None
            await asyncio.sleep(0.001)
        rival.kill()
        *whole, last = await store.turns(LOCAL_OWNER, "tea")
        assert all(len(turn.messages) == (2 if turn.state is TurnState.COMPLETE else 1) for turn in whole)
        assert last.state in {TurnState.COMPLETE, TurnState.INTERRUPTED}
        await say(store, prompt="next")


async def _said(store: ThreadStore) -> tuple[object, ...]:
    try:
        return await store.turns(LOCAL_OWNER, "tea")
    except ThreadNotFound:
        return ()
