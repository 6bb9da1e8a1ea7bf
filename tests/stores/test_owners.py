"""Owners never see, and never touch, each other's threads."""

import pytest

from chatcli.errors import ThreadNotFound
from chatcli.models import LOCAL_OWNER
from chatcli.stores.base import Blob, CheckpointKey, CheckpointRow, Lease, PendingWrite, ThreadStore
from tests.stores.talk import answer, new_turn, say, texts


async def test_same_id_is_another_thread(store: ThreadStore) -> None:
    """Two owners may use one id, even in other case, and get two threads."""
    await say(store, "tea", "mine")
    await say(store, "Tea", "theirs", owner="eve")

    assert texts(await store.turns(LOCAL_OWNER, "tea"))[0][0] == "mine"
    assert texts(await store.turns("eve", "Tea"))[0][0] == "theirs"
    await store.delete("eve", "Tea")
    assert [thread.owner for thread in (await store.threads(LOCAL_OWNER, limit=9)).threads] == [LOCAL_OWNER]


async def test_another_owners_thread_is_unknown(store: ThreadStore) -> None:
    """Whatever one does to another owner's thread, it is not there."""
    begun = await store.begin(new_turn())
    for call in (
        store.thread("eve", "tea"),
        store.turns("eve", "tea"),
        store.rename("eve", "tea", "x"),
        store.clear("eve", "tea"),
        store.delete("eve", "tea"),
        store.archive("eve", "tea", archived=True),
        store.begin(new_turn(owner="eve", create=False)),
        store.commit(Lease("eve", "tea", begun.turn.id), answer("no", turn_id=begun.turn.id)),
    ):
        with pytest.raises(ThreadNotFound):
            await call
    assert (await store.threads("eve", limit=9, archived=None)).threads == ()
    assert await store.context("eve", "tea", limit=9) == ()
    assert await store.turns(LOCAL_OWNER, "tea") == (begun.turn,)


async def test_checkpoints_have_owners(store: ThreadStore) -> None:
    """Checkpoints of one owner are not found, listed, copied or removed by another."""
    key = CheckpointKey(LOCAL_OWNER, "tea", "", "1")
    await store.put_checkpoint(CheckpointRow(key, None, Blob("m", b"h"), "{}", {}))
    await store.put_writes(key, [PendingWrite("t", "", 0, "c", Blob("m", b"w"))], replace=False)
    kept = await store.get_checkpoint(key)

    assert await store.get_checkpoint(CheckpointKey("eve", "tea")) is None
    assert await store.list_checkpoints("eve", None, None) == ()
    await store.copy_checkpoints("eve", "tea", "loot")
    assert await store.list_checkpoints("eve", None, None) == ()
    await store.delete_checkpoints("eve", "tea")
    assert await store.get_checkpoint(key) == kept
