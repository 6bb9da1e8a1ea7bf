"""Copying from one kind of store to another: everything arrives, and comes back as it was."""

from chatcli.errors import InvalidRequest, ThreadBusy
from chatcli.models import LOCAL_OWNER, TurnError, TurnState
from chatcli.service.transfer.copying import Copied, Fate, call_roll, checksum, copy_threads
from chatcli.stores.base import Outcome, ThreadStore
from chatcli.stores.memory import MemoryStore
from tests.stores.talk import held, new_turn, say


async def copied(source: ThreadStore, target: ThreadStore, *, dry_run: bool = False) -> dict[str, Copied]:
    """Copy everything, and return what became of each thread by owner and id."""
    roll = await call_roll(source, owner=None, archived=None)
    done = [one async for one in copy_threads(source, target, roll, dry_run=dry_run)]
    roll.close()
    return {f"{one.owner}/{one.thread_id}": one for one in done}


async def sums(store: ThreadStore) -> list[str]:
    """Return the checksums of all threads, in the order of use."""
    found = []
    for owner in sorted(await store.owners()):
        page = await store.threads(owner, limit=99, archived=None)
        found += [checksum(thread, await store.turns(owner, thread.id)) for thread in page.threads]
    return found


async def fill(store: ThreadStore) -> None:
    """Store threads of all kinds."""
    await say(store, "parts", ({"type": "text", "text": "größe \U0001f375\n"},), "x" * 70_000)
    begun = await store.begin(new_turn("failed", system="be brief", language="Danish"))
    await store.commit(held(begun), Outcome(TurnState.FAILED, error=TurnError("internal", "why")))
    for number in range(5):
        await say(store, "long", f"{number}")
    await store.fork(LOCAL_OWNER, "long", fork_id="fork", title="fork", turns=3)
    await store.archive(LOCAL_OWNER, "failed", archived=True)
    await say(store, "long", owner="eve")


async def test_there_and_back(store: ThreadStore) -> None:
    """What is copied into a store of any kind, and out of it again, is what it was."""
    source, back = MemoryStore(), MemoryStore()
    await fill(source)
    assert {one.fate for one in (await copied(source, store, dry_run=True)).values()} == {Fate.COPIED}
    assert await store.owners() == ()
    assert {one.fate for one in (await copied(source, store)).values()} == {Fate.COPIED}
    assert await sums(store) == await sums(source)
    assert {one.fate for one in (await copied(source, store)).values()} == {Fate.THERE}
    assert {one.fate for one in (await copied(store, back)).values()} == {Fate.COPIED}
    assert await sums(back) == await sums(source)


async def test_what_can_not_be_copied(store: ThreadStore) -> None:
    """A thread with other turns there, or in use here, is an error of its own; the rest is copied."""
    source = MemoryStore()
    await fill(source)
    await copied(source, store)
    await say(source, "parts")
    await say(source, "new")
    await source.begin(new_turn("busy"))
    before = await store.turns(LOCAL_OWNER, "parts")
    done = await copied(source, store)
    assert {name: one.fate for name, one in done.items() if one.fate is not Fate.THERE} == {
        "local/parts": Fate.FAILED,
        "local/busy": Fate.FAILED,
        "local/new": Fate.COPIED,
    }
    assert isinstance(done["local/parts"].error, InvalidRequest)
    assert isinstance(done["local/busy"].error, ThreadBusy)
    assert await store.turns(LOCAL_OWNER, "parts") == before
