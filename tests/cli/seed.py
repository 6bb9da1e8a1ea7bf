"""Threads for tests to look at, stored as a running program stores them."""

import asyncio
from collections.abc import Sequence

from chatcli.models import LOCAL_OWNER, Message, Role, TurnError, TurnState, Usage, utc_now
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
