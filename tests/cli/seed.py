"""Threads for tests to look at, stored as a running program stores them."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

from chatcli.models import LOCAL_OWNER, Message, Role, Thread, Turn, TurnError, TurnState, Usage, utc_now
from chatcli.stores import open_store
from chatcli.stores.base import NewTurn, Outcome, ThreadStore, message_id
from chatcli.text import new_id
from tests.program import Chatcli

Talk = Sequence[tuple[str, str, TurnState]]
"""Prompts, answers and how the turns ended."""


def keep(
    chatcli: Chatcli,
    thread_id: str,
    talk: Talk = (("hello", "hi", TurnState.COMPLETE),),
    *,
    title: str = "A talk",
) -> None:
    """Add turns to a thread of the default store."""
    asyncio.run(_keep(_open(chatcli), thread_id, talk, title))


def archive(chatcli: Chatcli, thread_id: str) -> None:
    """Archive a thread of the default store."""
    asyncio.run(_archive(_open(chatcli), thread_id))


def insert(chatcli: Chatcli, *threads: tuple[str, datetime], owner: str = LOCAL_OWNER) -> None:
    """Put threads with one turn each into the default store, last used at these times, in this order."""
    asyncio.run(_insert(_open(chatcli), threads, owner))


@contextmanager
def running(chatcli: Chatcli, thread_id: str) -> Iterator[None]:
    """Keep a turn of this process running on a thread of the default store."""
    store = _open(chatcli)
    turn_id = new_id()
    human = Message(message_id(turn_id, 0), Role.HUMAN, "still running", utc_now())
    begun = asyncio.run(store.begin(NewTurn(LOCAL_OWNER, thread_id, turn_id, "offline", (human,), "A talk")))
    assert begun.lease is not None
    try:
        yield
    finally:
        asyncio.run(store.commit(begun.lease, Outcome(TurnState.INTERRUPTED)))
        asyncio.run(store.aclose())


async def _insert(store: ThreadStore, threads: Sequence[tuple[str, datetime]], owner: str) -> None:
    for thread_id, moment in threads:
        said = tuple(
            Message(f"{thread_id}-turn.{index}", role, f"{role.value} of {thread_id}", moment)
            for index, role in enumerate((Role.HUMAN, Role.AI))
        )
        turn = Turn(f"{thread_id}-turn", 1, TurnState.COMPLETE, moment, "offline", said, moment)
        thread = Thread(thread_id, owner, f"About {thread_id}", "English", 1, moment, moment, model="offline")
        assert await store.import_thread(thread, (turn,))
    await store.aclose()


def thread_ids(chatcli: Chatcli) -> set[str]:
    """Return the ids of all threads of the default store."""
    return asyncio.run(_thread_ids(_open(chatcli)))


async def _thread_ids(store: ThreadStore) -> set[str]:
    page = await store.threads(LOCAL_OWNER, limit=1_000_000, archived=None)
    await store.aclose()
    return {thread.id for thread in page.threads}


def _open(chatcli: Chatcli) -> ThreadStore:
    chatcli.database.parent.mkdir(parents=True, exist_ok=True)
    return open_store(f"sqlite:///{chatcli.database}", threaded=False)


async def _keep(store: ThreadStore, thread_id: str, talk: Talk, title: str) -> None:
    for prompt, answer, state in talk:
        turn_id = new_id()
        human = Message(message_id(turn_id, 0), Role.HUMAN, prompt, utc_now())
        begun = await store.begin(
            NewTurn(LOCAL_OWNER, thread_id, turn_id, "offline", (human,), title, rename=True)
        )
        assert begun.lease is not None
        said = (Message(message_id(turn_id, 1), Role.AI, answer, utc_now()),) if answer else ()
        error = TurnError("provider-auth", "the key was refused") if state is TurnState.FAILED else None
        await store.commit(begun.lease, Outcome(state, said, "stop", Usage(3, 4), error))
    await store.aclose()


async def _archive(store: ThreadStore, thread_id: str) -> None:
    await store.archive(LOCAL_OWNER, thread_id, archived=True)
    await store.aclose()
