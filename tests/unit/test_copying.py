"""Copying: every thread is compared with what was written, and their number costs no memory."""

from collections.abc import Sequence

from chatcli.errors import StoreCorrupt
from chatcli.frozen import replace
from chatcli.models import LOCAL_OWNER, Thread, Turn
from chatcli.service.transfer.copying import Copied, Fate, Roll, call_roll, checksum, copy_threads
from chatcli.stores.base import ThreadStore
from chatcli.stores.memory import MemoryStore
from tests.stores.talk import say


class Forgetful(MemoryStore):
    """Loses the last word of each message."""

    async def import_thread(self, thread: Thread, turns: Sequence[Turn]) -> bool:
        """Write less than was given."""
        less = [
            replace(turn, messages=tuple(replace(m, content=m.text[:-1]) for m in turn.messages))
            for turn in turns
        ]
        return await super().import_thread(thread, less)


async def copied(source: ThreadStore, target: ThreadStore) -> list[Copied]:
    """Copy everything."""
    roll = await call_roll(source, owner=None, archived=None)
    found = [done async for done in copy_threads(source, target, roll, dry_run=False)]
    roll.close()
    return found


async def test_what_reads_back_differently_is_told() -> None:
    """A store that gives back something else than was written is found out, thread by thread."""
    source = MemoryStore()
    for thread_id in ("a", "b"):
        await say(source, thread_id)
    done = await copied(source, Forgetful())
    assert [one.fate for one in done] == [Fate.FAILED, Fate.FAILED]
    assert all(isinstance(one.error, StoreCorrupt) for one in done)


async def test_the_checksum_is_of_everything() -> None:
    """Whatever differs between two threads, their checksums differ."""
    store = MemoryStore()
    await say(store)
    thread, turns = await store.thread(LOCAL_OWNER, "tea"), await store.turns(LOCAL_OWNER, "tea")
    others = [
        (replace(thread, title="x"), turns),
        (replace(thread, system="x"), turns),
        (replace(thread, archived_at=thread.created_at), turns),
        (thread, (replace(turns[0], finish_reason="x"),)),
        (thread, ()),
    ]
    assert len({checksum(*each) for each in [(thread, turns), (thread, list(turns)), *others]}) == 1 + len(
        others
    )


async def test_order_of_use_is_kept() -> None:
    """Threads arrive in the order of their use, of each owner."""
    source, target = MemoryStore(), MemoryStore()
    for number in range(1203):
        await say(source, f"t{number}", owner="eve" if number % 3 else LOCAL_OWNER)
    assert {one.fate for one in await copied(source, target)} == {Fate.COPIED}
    for owner in ("eve", LOCAL_OWNER):
        assert await target.threads(owner, limit=2000) == await source.threads(owner, limit=2000)


def test_roll() -> None:
    """What was added last comes first, of each owner; ids of any length come back."""
    roll = Roll()
    assert (len(roll), list(roll)) == (0, [])
    roll.add("a", ["1", "x" * 128])
    roll.add("a", ["3"])
    roll.add("b", [])
    roll.add("c", ["4"])
    assert list(roll) == [("a", "3"), ("a", "x" * 128), ("a", "1"), ("c", "4")]
    assert len(roll) == 4
    roll.close()
