"""The context: the newest answered messages, whatever else lies in the thread."""

import pytest

from chatcli.frozen import replace
from chatcli.models import LOCAL_OWNER, Message, Role, TurnState, utc_now
from chatcli.stores.base import Outcome, ThreadStore, message_id
from tests.stores.talk import answer, held, new_turn, say


async def context(store: ThreadStore, limit: int = 20, before: int | None = None) -> list[str]:
    found = await store.context(LOCAL_OWNER, "tea", limit=limit, before=before)
    return [message.text for message in found]


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (20, ["q0", "a0", "q1", "a1", "q2", "a2"]),
        (4, ["q1", "a1", "q2", "a2"]),
        (3, ["q2", "a2"]),
        (1, []),
    ],
)
async def test_newest_messages_from_a_human_one(store: ThreadStore, limit: int, expected: list[str]) -> None:
    """At most `limit` messages, oldest first, beginning with a human one."""
    for number in range(3):
        await say(store, prompt=f"q{number}", reply=f"a{number}")
    assert await context(store, limit) == expected


async def test_turns_without_an_answer_stay_out(store: ThreadStore) -> None:
    """Failed and running turns, and interrupted ones with no text, are left out; partial answers are in."""
    await say(store, prompt="q0", reply="a0")
    for state in (TurnState.FAILED, TurnState.INTERRUPTED):
        begun = await store.begin(new_turn(prompt="unanswered"))
        await store.commit(held(begun), Outcome(state))
    begun = await store.begin(new_turn(prompt="q1"))
    partial = answer("a1 but", turn_id=begun.turn.id, state=TurnState.INTERRUPTED)
    await store.commit(held(begun), partial)
    await store.begin(new_turn(prompt="running"))

    assert await context(store) == ["q0", "a0", "q1", "a1 but"]


async def test_before(store: ThreadStore) -> None:
    """Only turns below an index count, where one is given."""
    for number in range(3):
        await say(store, prompt=f"q{number}", reply=f"a{number}")
    assert await context(store, before=3) == ["q0", "a0", "q1", "a1"]
    assert await context(store, limit=2, before=2) == ["q0", "a0"]


async def test_system_messages_stay_out_and_tools_stay_in(store: ThreadStore) -> None:
    """System messages of turns are no part of the context; calls of tools are, in their order."""
    begun = await store.begin(new_turn(prompt="q", system="Be brief."))
    roles = (Role.AI, Role.TOOL, Role.AI)
    said = tuple(
        Message(message_id(begun.turn.id, place), role, f"{role} {place}", utc_now())
        for place, role in enumerate(roles, 2)
    )
    await store.commit(held(begun), Outcome(TurnState.COMPLETE, said))

    assert await context(store) == ["q", "ai 2", "tool 3", "ai 4"]
    found = await store.context(LOCAL_OWNER, "tea", limit=20)
    assert found[1:] == said


async def test_context_of_nothing(store: ThreadStore) -> None:
    """A missing thread has no context, nor has a cleared one."""
    assert await context(store) == []
    await say(store)
    await store.clear(LOCAL_OWNER, "tea")
    assert await context(store) == []


async def test_begin_brings_the_context_along(store: ThreadStore) -> None:
    """`Begun.context` is what `context` returns for the turns before, in the same transaction."""
    for number in range(3):
        await say(store, prompt=f"q{number}", reply=f"a{number}")
    begun = await store.begin(replace(new_turn(prompt="q3"), context_limit=4))
    assert begun.context == await store.context(LOCAL_OWNER, "tea", limit=4, before=4)
    assert [message.text for message in begun.context] == ["q1", "a1", "q2", "a2"]
