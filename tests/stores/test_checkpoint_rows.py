"""LangGraph's checkpoints: opaque values that come back whole, and go with what named them."""

from chatcli.models import LOCAL_OWNER
from chatcli.stores.base import Blob, CheckpointKey, CheckpointRow, PendingWrite, ThreadStore
from tests.stores.talk import answer, held, new_turn


def key(checkpoint_id: str = "", *, thread_id: str = "tea", namespace: str = "") -> CheckpointKey:
    return CheckpointKey(LOCAL_OWNER, thread_id, namespace, checkpoint_id)


def row(
    where: CheckpointKey,
    versions: dict[str, str] | None = None,
    *,
    new: tuple[str, ...] = (),
    parent: str | None = None,
) -> CheckpointRow:
    """Return a checkpoint that names `versions` and brings the values of the `new` channels."""
    versions = versions or {}
    channels = {(name, versions[name]): Blob("msgpack", f"{name}@{versions[name]}".encode()) for name in new}
    return CheckpointRow(
        where, parent, Blob("json", b"\x00head\xff"), '{"step": 1, "ø": "å"}', versions, channels
    )


def write(task: str, index: int, *, path: str = "", value: bytes = b"w") -> PendingWrite:
    return PendingWrite(task, path, index, "messages", Blob("msgpack", value))


async def found(store: ThreadStore, thread_id: str | None = "tea", namespace: str | None = None) -> list[str]:
    rows = await store.list_checkpoints(LOCAL_OWNER, thread_id, namespace)
    return [row.key.checkpoint_id for row in rows]


async def test_checkpoint_comes_back_whole(store: ThreadStore) -> None:
    """Everything of a checkpoint comes back, with the unchanged channels of its forebears."""
    await store.put_checkpoint(row(key("1"), {"a": "1", "b": "1"}, new=("a", "b")))
    second = row(key("2"), {"a": "1", "b": "2", "gone": "9"}, new=("b",), parent="1")
    await store.put_checkpoint(second)

    read = await store.get_checkpoint(key("2"))

    assert read is not None
    assert (read.key, read.parent_id, read.head, read.metadata) == (
        second.key,
        "1",
        second.head,
        second.metadata,
    )
    assert read.versions == second.versions
    assert read.channels == {("a", "1"): Blob("msgpack", b"a@1"), ("b", "2"): Blob("msgpack", b"b@2")}
    assert read.writes == ()
    assert await store.get_checkpoint(key()) == read


async def test_no_checkpoint(store: ThreadStore) -> None:
    """What is not there is None, not an error."""
    assert await store.get_checkpoint(key()) is None
    await store.put_checkpoint(row(key("1")))
    assert await store.get_checkpoint(key("2")) is None
    assert await store.get_checkpoint(key("1", namespace="sub")) is None


async def test_written_again(store: ThreadStore) -> None:
    """A checkpoint written again under its id takes the place of the first."""
    await store.put_checkpoint(row(key("1")))
    again = row(key("1"), {"a": "1"}, new=("a",), parent="0")
    await store.put_checkpoint(again)
    assert await store.get_checkpoint(key("1")) == again


async def test_keep_latest(store: ThreadStore) -> None:
    """With `latest` the older checkpoints of the namespace go, and what only they named; others stay."""
    await store.put_checkpoint(row(key("1"), {"a": "1", "b": "1"}, new=("a", "b")))
    await store.put_writes(key("1"), [write("t", 0)], replace=False)
    await store.put_checkpoint(row(key("1", namespace="sub")))
    await store.put_checkpoint(row(key("2"), {"a": "1", "b": "2"}, new=("b",)), keep="latest")

    assert await found(store, namespace="") == ["2"]
    assert await found(store, namespace="sub") == ["1"]
    read = await store.get_checkpoint(key())
    assert read is not None
    assert set(read.channels) == {("a", "1"), ("b", "2")}
    await store.put_checkpoint(row(key("3"), {"b": "1"}))
    named = await store.get_checkpoint(key("3"))
    assert named is not None
    assert named.channels == {}
    await store.put_checkpoint(row(key("1")))
    written_again = await store.get_checkpoint(key("1"))
    assert written_again is not None
    assert written_again.writes == ()


async def test_keep_latest_with_a_clock_set_back(store: ThreadStore) -> None:
    """What was written last stays, though its id was made by a clock that had been set back."""
    for number in ("5", "3"):
        begun = await store.begin(new_turn())
        checkpoint = row(key(number), {"a": number}, new=("a",))
        await store.commit(held(begun), answer("80", turn_id=begun.turn.id), checkpoint)
        assert await found(store) == [number]
    newest = await store.get_checkpoint(key())
    assert newest is not None
    assert newest.key.checkpoint_id == "3"
    assert set(newest.channels) == {("a", "3")}


async def test_commit_writes_a_checkpoint(store: ThreadStore) -> None:
    """The checkpoint of a commit is there with the turn, and the one before it is gone."""
    for number in ("1", "2"):
        begun = await store.begin(new_turn())
        checkpoint = row(key(number), {"a": number}, new=("a",))
        await store.commit(held(begun), answer("80", turn_id=begun.turn.id), checkpoint)
    assert await found(store) == ["2"]


async def test_listing(store: ThreadStore) -> None:
    """Newest id first, over one or all threads and namespaces, below an id, some at a time."""
    for where in (key("1"), key("3"), key("2", namespace="sub"), key("4", thread_id="coffee")):
        await store.put_checkpoint(row(where, {"a": "1"}, new=("a",)))
    await store.put_writes(key("3"), [write("t", 0)], replace=False)

    assert await found(store, None, None) == ["4", "3", "2", "1"]
    assert await found(store, "tea", None) == ["3", "2", "1"]
    assert await found(store, None, "") == ["4", "3", "1"]
    assert await found(store, "tea", "sub") == ["2"]
    rows = await store.list_checkpoints(LOCAL_OWNER, "tea", None, before="3", limit=1)
    assert [row.key for row in rows] == [key("2", namespace="sub")]
    (newest,) = await store.list_checkpoints(LOCAL_OWNER, "tea", "", limit=1)
    assert newest == await store.get_checkpoint(key("3"))
    assert newest.writes == (write("t", 0),)


async def test_writes_are_ordered(store: ThreadStore) -> None:
    """Pending writes come back by task path, task and index; they may come before their checkpoint."""
    early = [
        write("b", 1, path="2"),
        write("b", 0, path="2"),
        write("z", 0, path="1"),
        write("a", -1, path="2"),
    ]
    await store.put_writes(key("1"), early, replace=False)
    await store.put_checkpoint(row(key("1")))

    read = await store.get_checkpoint(key("1"))
    assert read is not None
    assert [(each.task_id, each.index) for each in read.writes] == [("z", 0), ("a", -1), ("b", 0), ("b", 1)]


async def test_first_write_stays_unless_replaced(store: ThreadStore) -> None:
    """A write with the same task and index stays as it was, unless replacing is asked for."""
    await store.put_checkpoint(row(key("1")))
    for value, replace in ((b"first", False), (b"second", False)):
        await store.put_writes(key("1"), [write("t", 0, value=value)], replace=replace)
    read = await store.get_checkpoint(key("1"))
    assert read is not None
    assert [each.value.data for each in read.writes] == [b"first"]

    await store.put_writes(key("1"), [write("t", 0, value=b"third")], replace=True)
    read = await store.get_checkpoint(key("1"))
    assert read is not None
    assert [each.value.data for each in read.writes] == [b"third"]


async def test_copy(store: ThreadStore) -> None:
    """A copy has all checkpoints with channels and writes, and lives on when the original is deleted."""
    await store.put_checkpoint(row(key("1"), {"a": "1"}, new=("a",)))
    await store.put_checkpoint(row(key("2", namespace="sub"), {"a": "1"}, new=("a",)))
    await store.put_writes(key("1"), [write("t", 0)], replace=False)
    await store.copy_checkpoints(LOCAL_OWNER, "tea", "coffee")
    await store.delete_checkpoints(LOCAL_OWNER, "tea")

    assert await found(store, "tea") == []
    assert await found(store, "coffee") == ["2", "1"]
    copy = await store.get_checkpoint(key("1", thread_id="coffee"))
    assert copy is not None
    assert copy.channels == {("a", "1"): Blob("msgpack", b"a@1")}
    assert copy.writes == (write("t", 0),)


async def test_delete_some(store: ThreadStore) -> None:
    """Named checkpoints go with what only they named; what others name stays."""
    await store.put_checkpoint(row(key("1"), {"a": "1", "b": "1"}, new=("a", "b")))
    await store.put_checkpoint(row(key("2"), {"a": "1", "b": "2"}, new=("b",)))
    await store.put_checkpoint(row(key("1", namespace="sub")))
    await store.delete_checkpoints(LOCAL_OWNER, "tea", [("", "1"), ("", "none"), ("nowhere", "2")])

    assert await found(store, namespace="") == ["2"]
    assert await found(store, namespace="sub") == ["1"]
    read = await store.get_checkpoint(key("2"))
    assert read is not None
    assert set(read.channels) == {("a", "1"), ("b", "2")}
