"""What `ChatService` promises about threads beyond what stores do."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from chatcli.config import load_settings
from chatcli.errors import InvalidRequest, InvalidText, ThreadNotFound
from chatcli.frozen import replace
from chatcli.models import Content, Message, Role, Thread, Turn, TurnState, utc_now
from chatcli.service import ChatService
from chatcli.service.cleanup import STEP
from chatcli.stores.base import Expiry
from chatcli.stores.memory import MemoryStore

NOW = utc_now()
IMAGE: Content = (
    {"type": "text", "text": "what is this?"},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
)


@pytest.fixture
async def service() -> AsyncIterator[ChatService]:
    """The service, over a store in memory."""
    service = ChatService(MemoryStore(), load_settings({}))
    yield service
    await service.aclose()


def talk(thread_id: str, *prompts: Content, days: float = 0) -> tuple[Thread, tuple[Turn, ...]]:
    """Return a thread with these prompts, last used so many days ago."""
    moment = NOW - timedelta(days=days)
    turns = tuple(
        Turn(
            id=f"{thread_id}-{index}",
            index=index,
            state=TurnState.INTERRUPTED,
            started_at=moment,
            model="offline",
            messages=(Message(f"{thread_id}-{index}.0", Role.HUMAN, prompt, moment),),
        )
        for index, prompt in enumerate(prompts, 1)
    )
    return Thread(thread_id, "somebody", "A talk", "English", len(turns), moment, moment), turns


async def test_the_last_prompt_is_whole(service: ChatService) -> None:
    """Pictures are part of it; a thread without turns has none."""
    await service.import_thread(*talk("tea", "one", IMAGE))
    assert await service.last_prompt("tea") == IMAGE
    await service.clear("tea")
    with pytest.raises(InvalidRequest):
        await service.last_prompt("tea")


async def test_forks_have_names(service: ChatService) -> None:
    """A fork is named after its origin unless it gets a title, and so is what an undo keeps."""
    await service.import_thread(*talk("tea", "one", "two"))
    assert (await service.fork("tea")).title == "A talk (fork)"
    assert (await service.fork("tea", turns=1, title="Mine")).title == "Mine"
    kept = await service.undo("tea")
    assert (kept.title, kept.turn_count) == ("A talk (before undo)", 2)
    assert (await service.thread("tea")).turn_count == 1
    assert (await service.last_used()).id == "tea"
    with pytest.raises(InvalidText):
        await service.fork("tea", title="\ud800")
    with pytest.raises(InvalidText):
        await service.rename("tea", "\0")


async def test_who_imports_owns(service: ChatService) -> None:
    """A thread's owner elsewhere means nothing here, and what can't be stored stays out."""
    assert await service.import_thread(*talk("tea", "one"))
    assert not await service.import_thread(*talk("tea", "one"))
    assert (await service.thread("tea")).owner == service.owner
    for thread, turns in (
        talk("../x", "one"),
        talk("x", "\ud800"),
        talk("x", ({"type": "text", "text": "\0"},)),
    ):
        with pytest.raises((InvalidRequest, InvalidText)):
            await service.import_thread(thread, turns)
    thread, turns = talk("x", "one")
    with pytest.raises(InvalidText):
        await service.import_thread(replace(thread, title="\ud800"), turns)
    with pytest.raises(ThreadNotFound):
        await service.thread("x")


async def test_an_export_keeps_the_order_of_use(service: ChatService) -> None:
    """All threads come least recently used first, archived ones in their place; named ones as named."""
    for name in ("one", "two", "three"):
        await service.import_thread(*talk(name, "hello"))
    await service.archive("two")
    assert [thread.id async for thread, _ in service.export()] == ["one", "two", "three"]
    assert [thread.id async for thread, _ in service.export(["three", "one"])] == ["three", "one"]
    with pytest.raises(ThreadNotFound):
        _ = [thread async for thread in service.export(["one", "nosuch"])]


async def test_a_cleanup_goes_in_steps(service: ChatService) -> None:
    """However many threads there are, a step has no more than its number, and all are looked at once."""
    count = 2 * STEP + 1
    for number in range(count):
        await service.import_thread(*talk(f"thread-{number}", days=number % 2 * 100))
    expiry = Expiry(NOW - timedelta(days=90))
    for dry_run in (True, False):
        steps = [step async for step in service.cleanup(expiry, now=NOW, dry_run=dry_run)]
        assert sum(step.scanned for step in steps) == count
        assert sum(len(step.removed) for step in steps) == count // 2
        assert max(len(step.removed) for step in steps) <= STEP
    assert len((await service.threads(limit=count)).threads) == count - count // 2


async def test_a_clock_that_is_wrong_stops_a_cleanup(service: ChatService) -> None:
    """Nothing goes if a thread was used in the future, unless the clock is said to be right."""
    await service.import_thread(*talk("old", days=100))
    await service.import_thread(*talk("future", days=-2))
    expiry = Expiry(NOW - timedelta(days=90))
    with pytest.raises(InvalidRequest):
        _ = [step async for step in service.cleanup(expiry, now=NOW)]
    assert (await service.thread("old")).id == "old"
    removed = [step.removed async for step in service.cleanup(expiry, now=NOW, force_clock=True)]
    assert [thread.id for threads in removed for thread in threads] == ["old"]
