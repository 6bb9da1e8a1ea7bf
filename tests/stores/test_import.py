"""Import: a whole thread as it was elsewhere, once."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from chatcli.errors import InvalidRequest
from chatcli.frozen import replace
from chatcli.models import LOCAL_OWNER, Message, Part, Role, Thread, Turn, TurnError, TurnState, Usage
from chatcli.stores.base import ThreadStore
from tests.stores.talk import new_turn, say, texts
from tests.stores.test_threads import ids

OLD = datetime(2019, 3, 31, 1, 30, 0, 123456, tzinfo=UTC)
PICTURE: Part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


def turn(index: int, *messages: Message, state: TurnState = TurnState.COMPLETE) -> Turn:
    """Return a turn with everything that one may have."""
    return Turn(
        id=f"turn-{index}",
        index=index,
        state=state,
        started_at=OLD + timedelta(hours=index),
        model=f"offline:{index}",
        messages=messages,
        finished_at=OLD + timedelta(hours=index, seconds=1),
        finish_reason="stop",
        usage=Usage(index, 2),
        error=TurnError("provider-timeout", "too late") if state is TurnState.FAILED else None,
    )


TURNS = (
    turn(
        1,
        Message("own-id", Role.SYSTEM, "Be brief", OLD),
        Message("turn-1.1", Role.HUMAN, ({"type": "text", "text": "What is this?"}, PICTURE), OLD),
        Message("other-id", Role.AI, "A tea\u2028pot \U0001fad6\r\n\u0301", OLD + timedelta(microseconds=1)),
    ),
    turn(2, Message("turn-2.0", Role.HUMAN, "And?", OLD), state=TurnState.FAILED),
    turn(
        3,
        Message("turn-3.0", Role.HUMAN, "", OLD),
        Message("x", Role.TOOL, "{}", OLD),
        state=TurnState.INTERRUPTED,
    ),
    replace(turn(4), finished_at=None, finish_reason=None, usage=None),
)
THREAD = Thread(
    "Old.thread",
    LOCAL_OWNER,
    "Old \u202e title",
    "Danish",
    4,
    OLD,
    OLD + timedelta(days=1),
    OLD + timedelta(days=2),
    "Be brief",
    "offline:4",
)


async def test_whole_thread(store: ThreadStore) -> None:
    """Ids, times, states, marks and texts come in as they were; the thread is the last used one."""
    await say(store, "new")
    assert await store.import_thread(THREAD, TURNS)
    assert await store.thread(LOCAL_OWNER, THREAD.id) == THREAD
    assert await store.turns(LOCAL_OWNER, THREAD.id) == TURNS
    assert await ids(store, archived=None) == [THREAD.id, "new"]
    assert [hit.thread.id for hit in await store.search(LOCAL_OWNER, "teapot", limit=1, archived=True)] == []
    hits = await store.search(LOCAL_OWNER, "this pot", limit=1, archived=True)
    assert [hit.thread.id for hit in hits] == [THREAD.id]


async def test_twice(store: ThreadStore) -> None:
    """The very same thread comes in once; one that was used meanwhile, or has other turns, is refused."""
    assert await store.import_thread(THREAD, TURNS)
    assert not await store.import_thread(THREAD, TURNS)
    assert not await store.import_thread(replace(THREAD, title="Other"), list(TURNS))
    assert (await store.thread(LOCAL_OWNER, THREAD.id)).title == THREAD.title
    for other in (TURNS[:3], (*TURNS[:3], replace(TURNS[3], state=TurnState.TRUNCATED))):
        with pytest.raises(InvalidRequest):
            await store.import_thread(THREAD, other)
    with pytest.raises(InvalidRequest):
        await store.import_thread(replace(THREAD, id="old.THREAD"), TURNS)
    assert await store.import_thread(replace(THREAD, owner="eve"), TURNS)
    await store.archive(LOCAL_OWNER, THREAD.id, archived=False)
    await say(store, THREAD.id)
    with pytest.raises(InvalidRequest):
        await store.import_thread(THREAD, TURNS)
    assert len(await store.turns(LOCAL_OWNER, THREAD.id)) == 5


async def test_goes_on(store: ThreadStore) -> None:
    """An imported thread takes turns, is forked, and leaves like any other."""
    await store.import_thread(replace(THREAD, archived_at=None), TURNS)
    begun = await store.begin(new_turn(THREAD.id, "Next"))
    assert (begun.turn.index, begun.created) == (5, False)
    fork = await store.fork(LOCAL_OWNER, THREAD.id, fork_id="f", title="f", turns=2)
    assert fork.language == "Danish"
    assert await store.turns(LOCAL_OWNER, "f") == TURNS[:2]


async def test_empty_thread(store: ThreadStore) -> None:
    """A thread without turns is one too; its count is that of its turns."""
    assert await store.import_thread(replace(THREAD, turn_count=9), ())
    assert (await store.thread(LOCAL_OWNER, THREAD.id)).turn_count == 0
    assert not await store.import_thread(THREAD, ())


async def test_nothing_runs_where_it_arrives(store: ThreadStore) -> None:
    """A turn that was running is interrupted, and the same import again changes nothing."""
    running = replace(turn(1, Message("turn-1.0", Role.HUMAN, "Still?", OLD)), state=TurnState.RUNNING)
    thread = replace(THREAD, archived_at=None, turn_count=1)
    assert await store.import_thread(thread, [running])
    assert [turn.state for turn in await store.turns(LOCAL_OWNER, THREAD.id)] == [TurnState.INTERRUPTED]
    assert not await store.import_thread(thread, [running])
    await say(store, THREAD.id)
    assert len(texts(await store.turns(LOCAL_OWNER, THREAD.id))) == 2


@pytest.mark.parametrize(
    "turns",
    [TURNS[1:], TURNS[::-1], (TURNS[0], TURNS[0]), (TURNS[0], replace(TURNS[0], index=2))],
    ids=["without the first", "backwards", "one twice", "one id twice"],
)
async def test_broken_order(store: ThreadStore, turns: tuple[Turn, ...]) -> None:
    """Turns that are not numbered from 1 on, or share an id, are refused, and nothing is written."""
    with pytest.raises(InvalidRequest):
        await store.import_thread(THREAD, turns)
    assert await ids(store, archived=None) == []


async def test_other_time_zones(store: ThreadStore) -> None:
    """Times are moments: the zone in which they are written makes no difference."""
    zone = timezone(timedelta(hours=5, minutes=30))
    moved = tuple(replace(turn, started_at=turn.started_at.astimezone(zone)) for turn in TURNS)
    assert await store.import_thread(THREAD, moved)
    assert not await store.import_thread(THREAD, TURNS)
