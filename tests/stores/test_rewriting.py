"""Rewriting: what a thread says is changed where it stands, and nothing else of it is."""

import pytest

from chatcli.errors import InvalidText, ThreadBusy, ThreadNotFound
from chatcli.frozen import replace
from chatcli.models import LOCAL_OWNER, Message, Part, Thread, Turn, TurnError, TurnState
from chatcli.stores.base import (
    Blob,
    CheckpointKey,
    CheckpointRow,
    Outcome,
    PendingWrite,
    ThreadStore,
)
from chatcli.stores.rewriting import Rewriter
from tests.stores.talk import answer, held, new_turn, say, texts

KEY = CheckpointKey(LOCAL_OWNER, "tea", "ns", "2")
PARTS: tuple[Part, ...] = (
    {"type": "text", "text": "look"},
    {"type": "image_url", "image_url": {"url": "data:,"}},
)


class Shouting(Rewriter):
    """Makes all text upper case, and marks all values."""

    def thread(self, thread: Thread) -> Thread:
        """Shout the title and the system prompt."""
        return replace(thread, title=thread.title.upper(), system=(thread.system or "").upper() or None)

    def turn(self, turn: Turn) -> Turn:
        """Shout the messages and the error."""
        error = turn.error and TurnError(turn.error.name, turn.error.message.upper())
        return replace(turn, messages=tuple(map(shouted, turn.messages)), error=error)

    def head(self, key: CheckpointKey, head: Blob) -> Blob:
        """Mark the head with its checkpoint."""
        return Blob(head.type, head.data + key.checkpoint_id.encode())

    def metadata(self, key: CheckpointKey, metadata: str) -> str:
        """Shout the metadata of the one checkpoint."""
        return metadata.upper() if key == KEY else ""

    def channel(self, key: CheckpointKey, name: str, version: str, value: Blob) -> Blob:
        """Mark the value with its place."""
        return Blob(value.type, f"{key.namespace} {name} {version}".encode())

    def write(self, key: CheckpointKey, write: PendingWrite) -> PendingWrite:
        """Mark the value with its checkpoint."""
        return replace(write, value=Blob("shout", key.checkpoint_id.encode()))


def shouted(message: Message) -> Message:
    """Return the message in upper case, or with one more part."""
    if isinstance(message.content, str):
        return replace(message, content=message.content.upper())
    return replace(message, content=(*message.content, {"type": "text", "text": "!"}))


async def fill(store: ThreadStore) -> None:
    """Store one of everything that may hold text."""
    begun = await store.begin(new_turn(prompt="plain", system="be brief", title="tea time"))
    failed = Outcome(TurnState.FAILED, error=TurnError("provider-timeout", "too late"))
    await store.commit(held(begun), failed)
    await say(store, prompt=PARTS, reply="fine")
    row = CheckpointRow(KEY, "1", Blob("m", b"head"), '{"a":"b"}', {"c": "1"}, {("c", "1"): Blob("m", b"v")})
    await store.put_checkpoint(row)
    await store.put_writes(KEY, [PendingWrite("t", "", 0, "c", Blob("m", b"w"))], replace=False)


async def test_everything_that_is_said_changes(store: ThreadStore) -> None:
    """Titles, system prompts, messages, errors and all values of checkpoints change, and nothing else."""
    await fill(store)
    before, turns = await store.thread(LOCAL_OWNER, "tea"), await store.turns(LOCAL_OWNER, "tea")
    await say(store, "later")

    assert await store.rewrite(LOCAL_OWNER, "tea", Shouting())

    assert await store.thread(LOCAL_OWNER, "tea") == replace(before, title="TEA TIME", system="BE BRIEF")
    assert await store.turns(LOCAL_OWNER, "tea") == tuple(map(Shouting().turn, turns))
    row = await store.get_checkpoint(KEY)
    assert row is not None
    assert (row.head, row.metadata) == (Blob("m", b"head2"), '{"A":"B"}')
    assert row.channels == {("c", "1"): Blob("m", b"ns c 1")}
    assert row.writes == (PendingWrite("t", "", 0, "c", Blob("shout", b"2")),)
    assert [thread.id for thread in (await store.threads(LOCAL_OWNER, limit=9)).threads] == ["later", "tea"]


async def test_what_is_said_anew_is_found(store: ThreadStore) -> None:
    """A search finds the words that stand there now, and not those that stood there."""

    class Other(Rewriter):
        def turn(self, turn: Turn) -> Turn:
            return replace(turn, messages=tuple(replace(m, content="coffee") for m in turn.messages))

    await say(store, prompt="green tea")
    assert await store.search(LOCAL_OWNER, "green", limit=9)
    await store.rewrite(LOCAL_OWNER, "tea", Other())
    assert [hit.line for hit in await store.search(LOCAL_OWNER, "coffee", limit=9)] == ["coffee"]
    assert await store.search(LOCAL_OWNER, "green", limit=9) == ()


async def test_nothing_changes(store: ThreadStore) -> None:
    """A rewriter that leaves everything as it is changes nothing, and the store says so."""
    await fill(store)
    before = await store.thread(LOCAL_OWNER, "tea"), await store.turns(LOCAL_OWNER, "tea")
    row = await store.get_checkpoint(KEY)
    assert not await store.rewrite(LOCAL_OWNER, "tea", Rewriter())
    assert (await store.thread(LOCAL_OWNER, "tea"), await store.turns(LOCAL_OWNER, "tea")) == before
    assert await store.get_checkpoint(KEY) == row


async def test_all_or_nothing(store: ThreadStore) -> None:
    """A rewriter that raises in the middle leaves everything as it was."""

    class Failing(Shouting):
        def turn(self, turn: Turn) -> Turn:
            if turn.index == 2:
                raise InvalidText("enough")
            return super().turn(turn)

    await fill(store)
    before = await store.thread(LOCAL_OWNER, "tea"), await store.turns(LOCAL_OWNER, "tea")
    with pytest.raises(InvalidText):
        await store.rewrite(LOCAL_OWNER, "tea", Failing())
    assert (await store.thread(LOCAL_OWNER, "tea"), await store.turns(LOCAL_OWNER, "tea")) == before


async def test_a_running_turn_goes_on(store: ThreadStore) -> None:
    """The prompt of a running turn changes too; it keeps the thread, and is committed as any other."""
    begun = await store.begin(new_turn(prompt="wait"))
    assert await store.rewrite(LOCAL_OWNER, "tea", Shouting())
    (turn,) = await store.turns(LOCAL_OWNER, "tea")
    assert turn.state is TurnState.RUNNING
    with pytest.raises(ThreadBusy):
        await store.begin(new_turn())
    await store.commit(held(begun), answer("done", turn_id=begun.turn.id))
    assert texts(await store.turns(LOCAL_OWNER, "tea")) == [["WAIT", "done"]]


async def test_forks_change_as_well(store: ThreadStore) -> None:
    """All turns that a fork shows are changed, wherever they are kept."""
    for number in range(4):
        await say(store, prompt=f"p{number}", reply="r")
    await store.fork(LOCAL_OWNER, "tea", fork_id="fork", title="fork", turns=2)
    await say(store, "fork", "own", "r")
    await store.rewrite(LOCAL_OWNER, "fork", Shouting())
    assert texts(await store.turns(LOCAL_OWNER, "fork")) == [["P0", "R"], ["P1", "R"], ["OWN", "R"]]
    assert texts(await store.turns(LOCAL_OWNER, "tea"))[2:] == [["p2", "r"], ["p3", "r"]]


async def test_no_thread(store: ThreadStore) -> None:
    """What is not there, or another owner's, is not rewritten."""
    await say(store, owner="eve")
    for thread_id in ("tea", "none"):
        with pytest.raises(ThreadNotFound):
            await store.rewrite(LOCAL_OWNER, thread_id, Shouting())


async def test_owners(store: ThreadStore) -> None:
    """Everybody who has threads is told, once."""
    assert await store.owners() == ()
    for owner in ("eve", LOCAL_OWNER, "eve", "ann"):
        await say(store, owner=owner)
    assert sorted(await store.owners()) == ["ann", "eve", LOCAL_OWNER]
    await store.delete("eve", "tea")
    assert sorted(await store.owners()) == ["ann", LOCAL_OWNER]
