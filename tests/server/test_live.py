"""One turn and its readers: numbers, bounds, and who waits for whom."""

import asyncio

import pytest

from chatcli.errors import ChatcliError, ThreadBusy
from chatcli.events import Finished, Reasoning, Started, Token
from chatcli.models import TurnState
from chatcli.server.live import AHEAD_EVENTS, KEPT_EVENTS, LiveTurn
from chatcli.server.problems import NotKept

STARTED = Started("t", "u", "offline", True, "title")
LAST = Finished("t", "u", TurnState.COMPLETE, True)


async def fill(live: LiveTurn, count: int) -> None:
    """Publish a start and so many tokens."""
    await live.publish([STARTED])
    for number in range(count):
        await live.publish([Token("t", f"{number} ")])


async def test_every_reader_gets_every_event_once() -> None:
    """Whenever they come, and however the events fall into pieces."""
    live = LiveTurn(keep_running=True)
    early = live.attach()
    await fill(live, 3)
    late = live.attach()
    first = await early.take()
    await live.publish([Token("t", "more")])
    live.end(LAST)
    assert first + await early.take() == await late.take()
    assert await early.take() == await late.take() == []
    assert [number for number, _ in live.read(0)] == [1, 2, 3, 4, 5, 6]


async def test_what_comes_together_is_numbered_one_by_one() -> None:
    """In any pieces, and read from any place."""
    live = LiveTurn(keep_running=True)
    tokens = [Token("t", str(number)) for number in range(9)]
    live.take_in([STARTED, tokens[0]])
    await live.publish(tokens[1:4])
    await live.publish(tokens[4:])
    events = [*enumerate([STARTED, *tokens], 1)]
    for after in range(live.last + 1):
        assert live.read(after) == events[after:]


async def test_a_long_turn_is_kept_in_bounds() -> None:
    """Old events become one text: a late reader still gets all of it, in a few events."""
    live = LiveTurn(keep_running=True)
    await live.publish([STARTED])
    await live.publish([Reasoning("t", "hm")])
    count = KEPT_EVENTS + 1000
    for number in range(count):
        await live.publish([Token("t", f"{number} ")])
    found = await live.attach().take()
    assert len(found) == KEPT_EVENTS + 3
    text = "".join(event.content for _, event in found if isinstance(event, Token))
    assert text == "".join(f"{number} " for number in range(count)) == live.answer
    merged = found[1][0]
    assert found[1][1] == Reasoning("t", "hm")
    assert found[2][0] == merged + 1
    with pytest.raises(NotKept):  # cut behind the one, it has not had the other
        live.attach(after=merged)
    assert found[-1][0] == live.last == count + 2
    with pytest.raises(NotKept):
        live.attach(after=100)
    assert len(await live.attach(after=live.last - 7).take()) == 7


async def test_a_turn_waits_for_its_fastest_reader() -> None:
    """It is never far ahead of all of them, and goes on when one has taken something or left."""
    live = LiveTurn(keep_running=True)
    reader, slow = live.attach(), live.attach()
    filling = asyncio.create_task(fill(live, 10 * AHEAD_EVENTS))
    for _ in range(3):
        await asyncio.sleep(0)  # it runs until it has to wait
        await asyncio.sleep(0)
        assert live.last - reader.after == AHEAD_EVENTS
        assert not filling.done()
        await reader.take()
    reader.close()
    slow.close()
    await filling
    assert live.last == 10 * AHEAD_EVENTS + 1


async def test_a_reader_that_falls_out_of_the_buffer_is_let_go() -> None:
    """It does not get a stream with a hole in it."""
    live = LiveTurn(keep_running=True)
    slow = live.attach()
    await live.publish([STARTED])
    await live.publish([Token("t", "a")])
    await slow.take()
    fast = live.attach()
    for number in range(KEPT_EVENTS + 10):
        await live.publish([Token("t", str(number))])
        if number % 100 == 0:
            await fast.take()
    with pytest.raises(NotKept):
        await slow.take()


async def test_a_turn_that_never_began_raises_its_reason() -> None:
    """Every reader learns it."""
    live = LiveTurn(keep_running=False)
    readers = [live.attach(), live.attach()]
    live.end(None, ThreadBusy("busy"))
    for reader in readers:
        with pytest.raises(ChatcliError, match="busy"):
            await reader.take()
