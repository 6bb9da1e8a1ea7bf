"""Leases of the store in memory run out by its clock."""

import pytest

from chatcli.errors import ThreadBusy
from chatcli.models import LOCAL_OWNER, Message, Role, TurnState, utc_now
from chatcli.stores.base import LEASE_SECONDS, Begun, Lease, NewTurn, Outcome, message_id
from chatcli.stores.memory import MemoryStore


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now


async def begin(store: MemoryStore, turn_id: str) -> Begun:
    prompt = Message(message_id(turn_id, 0), Role.HUMAN, "hello", utc_now())
    return await store.begin(NewTurn(LOCAL_OWNER, "tea", turn_id, "fake:m", (prompt,), title="tea"))


def lease_of(begun: Begun) -> Lease:
    assert begun.lease is not None
    return begun.lease


async def test_a_lease_that_is_renewed_holds() -> None:
    """A thread stays busy for as long as its turn is renewed in time."""
    clock = Clock()
    store = MemoryStore(clock=clock)
    lease = lease_of(await begin(store, "t1"))
    for _ in range(3):
        clock.now += LEASE_SECONDS * 0.9
        await store.renew(lease)

    with pytest.raises(ThreadBusy):
        await begin(store, "t2")
    with pytest.raises(ThreadBusy):
        await store.delete(LOCAL_OWNER, "tea")


async def test_a_lease_that_ran_out_blocks_nobody() -> None:
    """The orphan is shown as interrupted, and the next turn begins."""
    clock = Clock()
    store = MemoryStore(clock=clock)
    await begin(store, "t1")
    clock.now += LEASE_SECONDS

    (shown,) = await store.turns(LOCAL_OWNER, "tea")
    assert shown.state is TurnState.INTERRUPTED
    assert (await begin(store, "t2")).turn.index == 2


async def test_an_orphan_that_comes_back_is_ended_in_its_place() -> None:
    """A late commit fills the turn in, and takes the lease from nobody."""
    clock = Clock()
    store = MemoryStore(clock=clock)
    lease = lease_of(await begin(store, "t1"))
    clock.now += LEASE_SECONDS
    await begin(store, "t2")

    answer = Message(message_id("t1", 1), Role.AI, "late", utc_now())
    await store.renew(lease)
    await store.commit(lease, Outcome(TurnState.COMPLETE, (answer,)))

    turns = await store.turns(LOCAL_OWNER, "tea")
    assert [(turn.state, turn.answer) for turn in turns] == [
        (TurnState.COMPLETE, "late"),
        (TurnState.RUNNING, ""),
    ]
    with pytest.raises(ThreadBusy):
        await begin(store, "t3")


async def test_nobody_changes_a_stored_message_from_outside() -> None:
    """The parts of a message are the store's own once they are stored."""
    store = MemoryStore()
    part: dict[str, object] = {"type": "text", "text": "hello"}
    prompt = Message("t1.0", Role.HUMAN, (part,), utc_now())
    await store.begin(NewTurn(LOCAL_OWNER, "tea", "t1", "fake:m", (prompt,), title="tea"))

    part["text"] = "changed"

    (turn,) = await store.turns(LOCAL_OWNER, "tea")
    assert turn.messages[0].text == "hello"
