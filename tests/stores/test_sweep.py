"""Cleanup: the expired threads and no other, whoever else is at it, and after any crash."""

from datetime import UTC, datetime, timedelta

import pytest

from chatcli.errors import InvalidRequest, ThreadNotFound
from chatcli.models import LOCAL_OWNER, Message, Role, Thread, Turn, TurnState
from chatcli.stores.base import Blob, CheckpointKey, CheckpointRow, Expiry, Lease, Sweep, ThreadStore
from tests.stores.conftest import Kind, OpenRival, OpenStore
from tests.stores.talk import answer, held, new_turn, say
from tests.stores.test_threads import ids

START = datetime(2026, 1, 1, tzinfo=UTC)


def day(number: int) -> datetime:
    """Return noon of a day."""
    return START + timedelta(days=number, hours=12)


async def put(
    store: ThreadStore, name: str, last_used: datetime, *, archived: bool = False, owner: str = LOCAL_OWNER
) -> None:
    """Write a thread with one turn, last used at a time of our choice."""
    said = tuple(
        Message(f"{name}-1.{index}", role, f"{role.value} {name}", last_used)
        for index, role in enumerate((Role.HUMAN, Role.AI))
    )
    turn = Turn(f"{name}-1", 1, TurnState.COMPLETE, last_used, "offline:echo", said, last_used)
    mark = last_used if archived else None
    await store.import_thread(Thread(name, owner, name, "English", 1, START, last_used, mark), [turn])


async def sweep(
    store: ThreadStore, expiry: Expiry, *, limit: int = 3, dry_run: bool = False, owner: str = LOCAL_OWNER
) -> Sweep:
    """Sweep step by step to the end, and return the sum of the steps."""
    total, cursor = Sweep(0, (), (), None), None
    while True:
        step = await store.sweep(owner, expiry, limit=limit, cursor=cursor, dry_run=dry_run)
        assert len(step.removed) + len(step.busy) <= step.scanned <= limit
        total = Sweep(
            total.scanned + step.scanned,
            total.removed + step.removed,
            total.busy + step.busy,
            None,
            total.freed + step.freed,
        )
        cursor = step.cursor
        if cursor is None:
            return total


def is_size(kind: Kind, freed: int, text: int) -> bool:
    """Tell whether `freed` is the size of so much text as this kind of store keeps it."""
    return freed > text if kind.keys else freed == text


def names(threads: tuple[Thread, ...]) -> list[str]:
    """Return the ids."""
    return [thread.id for thread in threads]


@pytest.mark.parametrize("limit", [1, 3, 99])
async def test_expired_threads_go(store: ThreadStore, kind: Kind, limit: int) -> None:
    """What was not used since goes, least recently used first; the rest stays, to the microsecond."""
    for number in range(8):
        await put(store, f"t{number}", day(number))
    expiry = Expiry(day(4))
    dry = await sweep(store, expiry, limit=limit, dry_run=True)
    assert names(dry.removed) == ["t0", "t1", "t2", "t3"]
    assert dry.removed[0] == await store.thread(LOCAL_OWNER, "t0")
    assert len(await ids(store)) == 8
    real = await sweep(store, expiry, limit=limit)
    assert real == dry
    assert real.scanned == 8
    assert is_size(kind, real.freed, 4 * (len("human t0") + len("ai t0")))
    assert await ids(store) == ["t7", "t6", "t5", "t4"]
    assert (await sweep(store, expiry, limit=limit)).removed == ()
    with pytest.raises(ThreadNotFound):
        await store.turns(LOCAL_OWNER, "t0")


async def test_nothing_to_do(store: ThreadStore) -> None:
    """An empty store, and one where nothing is expired, are swept in peace."""
    assert await sweep(store, Expiry(day(0))) == Sweep(0, (), (), None, 0)
    await put(store, "a", day(1))
    assert await sweep(store, Expiry(day(0))) == Sweep(1, (), (), None, 0)


@pytest.mark.parametrize("keep", [0, 1, 4, 5, 6])
async def test_keep(store: ThreadStore, keep: int) -> None:
    """The last used ones stay, archived or not, by use and not by the clock."""
    for number in (4, 1, 3, 0, 2):
        await put(store, f"t{number}", day(number), archived=number % 2 == 0)
    removed = names((await sweep(store, Expiry(day(9), keep=keep))).removed)
    assert removed == ["t4", "t1", "t3", "t0", "t2"][: max(0, 5 - keep)]
    assert len(await ids(store, archived=None)) == min(5, keep)


async def test_archived_only(store: ThreadStore) -> None:
    """With this scope threads that are not archived stay, however old."""
    for number in range(4):
        await put(store, f"t{number}", day(number), archived=number % 2 == 0)
    swept = await sweep(store, Expiry(day(9), archived_only=True, keep=1), limit=1)
    assert (names(swept.removed), swept.scanned) == (["t0", "t2"], 2)
    assert await ids(store, archived=None) == ["t3", "t1"]


async def test_owners(store: ThreadStore) -> None:
    """Only one owner's threads are looked at."""
    await put(store, "a", day(0), owner="eve")
    await put(store, "b", day(0))
    assert names((await sweep(store, Expiry(day(1)))).removed) == ["b"]
    assert names((await store.threads("eve", limit=9)).threads) == ["a"]


async def test_running_threads_stay(store: ThreadStore) -> None:
    """A thread whose turn runs is named as busy and stays, however old the clock makes it."""
    later = datetime.now(UTC) + timedelta(days=1)
    begun = await store.begin(new_turn("busy"))
    await say(store, "idle")
    swept = await sweep(store, Expiry(later))
    assert (names(swept.removed), swept.busy) == (["idle"], ("busy",))
    await store.commit(held(begun), answer("80", turn_id=begun.turn.id))
    assert names((await sweep(store, Expiry(later))).removed) == ["busy"]


async def test_used_thread_stays(store: ThreadStore) -> None:
    """A thread that is used between a dry run, or an earlier step, and its removal stays."""
    for number in range(4):
        await put(store, f"t{number}", day(number))
    expiry = Expiry(day(9))
    assert len((await sweep(store, expiry, dry_run=True)).removed) == 4
    step = await store.sweep(LOCAL_OWNER, expiry, limit=1)
    await say(store, "t2")
    await say(store, "new")
    removed = []
    while step.cursor is not None:
        step = await store.sweep(LOCAL_OWNER, expiry, limit=1, cursor=step.cursor)
        removed += names(step.removed)
    assert removed == ["t1", "t3"]
    assert set(await ids(store)) == {"t2", "new"}


async def test_checkpoints_go(store: ThreadStore) -> None:
    """Nothing of a swept thread is left."""
    row = CheckpointRow(CheckpointKey(LOCAL_OWNER, "a", "", "1"), None, Blob("m", b"h"), "{}", {})
    await put(store, "a", day(0))
    await store.put_checkpoint(row)
    await sweep(store, Expiry(day(1)))
    assert await store.list_checkpoints(LOCAL_OWNER, None, None) == ()


@pytest.mark.parametrize("limit", [1, 9])
async def test_forks(store: ThreadStore, limit: int) -> None:
    """What a fork that stays shares with a swept thread stays."""
    await put(store, "a", day(0))
    await say(store, "a", "x" * 100, "y" * 100)
    await store.fork(LOCAL_OWNER, "a", fork_id="f", title="f", turns=1)
    later = datetime.now(UTC) + timedelta(days=1)
    for expiry, gone, freed in ((Expiry(later, keep=1), ["a"], 200), (Expiry(later), ["f"], 11)):
        dry = await sweep(store, expiry, limit=limit, dry_run=True)
        assert names(dry.removed) == gone
        assert dry.freed >= freed
        assert await sweep(store, expiry, limit=limit) == dry
        if gone == ["a"]:
            (turn,) = await store.turns(LOCAL_OWNER, "f")
            assert [message.text for message in turn.messages] == ["human a", "ai a"]


async def test_forks_that_go_together(store: ThreadStore) -> None:
    """What is freed is the same in steps of any length, and in a dry run, also where text was shared."""
    await put(store, "a", day(0))
    await store.fork(LOCAL_OWNER, "a", fork_id="f", title="f", turns=1)
    expiry = Expiry(datetime.now(UTC) + timedelta(days=1))
    sizes = set()
    for limit, dry_run in ((1, True), (9, True), (1, False)):
        swept = await sweep(store, expiry, limit=limit, dry_run=dry_run)
        assert names(swept.removed) == ["a", "f"]
        sizes.add(swept.freed)
    assert len(sizes) == 1


@pytest.mark.parametrize("cursor", ["", "x", "²", "-1", "9" * 40])
async def test_foreign_cursor(store: ThreadStore, cursor: str) -> None:
    """What is no cursor of a sweep is refused."""
    with pytest.raises(InvalidRequest):
        await store.sweep(LOCAL_OWNER, Expiry(day(0)), limit=1, cursor=cursor)


async def test_newest_use(store: ThreadStore) -> None:
    """The latest time at which any thread of the owner was used, archived ones too."""
    assert await store.newest_use(LOCAL_OWNER) is None
    await put(store, "b", day(5), archived=True)
    await put(store, "a", day(1))
    await put(store, "c", day(9), owner="eve")
    assert await store.newest_use(LOCAL_OWNER) == day(5)


async def test_two_at_once(store: ThreadStore, open_again: OpenStore) -> None:
    """Two sweeps in turns remove each expired thread once, and nothing else."""
    other = open_again()
    for number in range(9):
        await put(store, f"t{number}", day(number))
    expiry, removed = Expiry(day(7)), []
    first: Sweep | None = None
    second: Sweep | None = None
    while first is None or second is None or first.cursor or second.cursor:
        if first is None or first.cursor:
            cursor = None if first is None else first.cursor
            first = await store.sweep(LOCAL_OWNER, expiry, limit=2, cursor=cursor)
            removed += names(first.removed)
        if second is None or second.cursor:
            cursor = None if second is None else second.cursor
            second = await other.sweep(LOCAL_OWNER, expiry, limit=3, cursor=cursor)
            removed += names(second.removed)
    assert sorted(removed) == [f"t{number}" for number in range(7)]
    assert await ids(store) == ["t8", "t7"]


async def test_turn_of_another_process(store: ThreadStore, open_rival: OpenRival) -> None:
    """A turn that another process runs keeps its thread; once that process is dead the thread may go."""
    rival = open_rival()
    rival.ask("begin", turn="turn-1", thread="old")
    expiry = Expiry(datetime.now(UTC) + timedelta(days=1))
    assert (await sweep(store, expiry)).busy == ("old",)
    rival.ask("commit", turn="turn-1", reply="80", thread="old")
    assert names((await sweep(store, expiry)).removed) == ["old"]
    with pytest.raises(ThreadNotFound):
        await store.commit(Lease(LOCAL_OWNER, "old", "turn-1"), answer("80", turn_id="turn-1"))


async def test_orphan_goes(store: ThreadStore, open_again: OpenStore) -> None:
    """A turn that nobody runs any more does not keep its thread."""
    other = open_again()
    await other.begin(new_turn("old"))
    await other.aclose()
    expiry = Expiry(datetime.now(UTC) + timedelta(days=1))
    assert names((await sweep(store, expiry)).removed) == ["old"]
