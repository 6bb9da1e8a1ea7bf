"""Copies of threads in Redis: they save reading, and whatever is in there changes nothing that is stored."""

import socket
import tempfile
from collections.abc import Callable
from hashlib import md5

import pytest

from chatcli.errors import ConfigError, ThreadBusy, ThreadNotFound
from chatcli.models import LOCAL_OWNER
from chatcli.stores import open_store
from chatcli.stores.base import Expiry
from chatcli.stores.entries import LARGEST
from chatcli.text import new_id
from tests.redis import RedisServer
from tests.stores.conftest import FAULTS, OpenMachine
from tests.stores.keys import KEY
from tests.stores.s3 import Server, Traffic, let_leases_end
from tests.stores.talk import answer, held, new_turn, say, texts
from tests.stores.test_sweep import day, put

pytestmark = pytest.mark.usefixtures("patient")

TURN = [["How hot?", "80 degrees."]]


@pytest.fixture
def url(s3_server: Server) -> str:
    """An empty bucket."""
    return s3_server.url()


@pytest.fixture
def traffic(s3_server: Server, url: str) -> Traffic:
    """What goes on between the machines and the bucket."""
    return s3_server.traffic(url)


# What it is good for ------------------------------------------------------------------------------


async def test_a_turn_on_another_machine_reads_nothing(machine: OpenMachine, traffic: Traffic) -> None:
    """Two writes and no other request, wherever the turn before was; what a machine asks once is extra."""
    one, two = machine(), machine()
    await say(two, "coffee")
    await say(one)
    traffic.counts()
    await say(two)
    assert [request.method for request in traffic.requests if "tea" in request.key] == ["PUT", "PUT"]
    assert traffic.counts() == {"PUT": 2}
    for store in (one, two, one):
        await say(store)
    assert traffic.counts() == {"PUT": 6}
    assert texts(await one.turns(LOCAL_OWNER, "tea")) == 5 * TURN


async def test_copies_of_other_stores_are_not_seen(
    machine: OpenMachine, s3_server: Server, redis_server: RedisServer, url: str
) -> None:
    """Owners, buckets and prefixes have copies of their own."""
    await say(machine())
    await say(machine(), owner="eve")
    await say(machine(url.replace("/chats?", "/other?")))
    await say(machine(s3_server.url()))
    assert len(redis_server.names()) == 4
    for store, owner in ((machine(), "eve"), (machine(url.replace("/chats?", "/other?")), LOCAL_OWNER)):
        assert (await say(store, owner=owner)).index == 2


async def test_a_copy_does_not_last(machine: OpenMachine, redis_server: RedisServer) -> None:
    """It is kept for an hour at the longest, and none is made of a large object or while a turn runs."""
    store = machine()
    begun = await store.begin(new_turn())
    assert redis_server.names() == []
    await store.commit(held(begun), answer("80", turn_id=begun.turn.id))
    (name,) = redis_server.names()
    assert 3000 < int(str(redis_server.call("TTL", name))) <= 3600
    redis_server.call("FLUSHALL")
    await say(store, prompt="x" * LARGEST)
    assert redis_server.names() == []


async def test_what_is_gone_leaves_no_copy(machine: OpenMachine, redis_server: RedisServer) -> None:
    """Deleting, clearing and cleaning up take the words out of Redis, and a late copy does not come back."""
    store = machine()
    for thread_id in ("deleted", "cleared"):
        await say(store, thread_id)
    for thread_id in ("swept", "kept"):
        await put(store, thread_id, day(0 if thread_id == "swept" else 9))
        await say(store, thread_id) if thread_id == "kept" else None
    assert len(redis_server.names()) == 4
    await store.delete(LOCAL_OWNER, "deleted")
    await store.clear(LOCAL_OWNER, "cleared")
    assert len((await store.sweep(LOCAL_OWNER, Expiry(day(1)), limit=9)).removed) == 1
    words = [value for value in redis_server.entries().values() if value]
    assert len(words) == 1
    assert b"kept" in words[0]
    assert (await say(machine(), "deleted")).index == 1
    assert [value for name, value in redis_server.entries().items() if "deleted" in name] == [b""]


async def test_only_sealed_text_is_copied(machine: OpenMachine, redis_server: RedisServer, url: str) -> None:
    """With a key no word gets into Redis in the clear, not even of a thread that was begun without one."""
    plain = open_store(url)
    await say(plain, "mixed", "canary")
    await plain.aclose()
    store = machine(key=KEY)
    await say(store, "mixed", "canary")
    await say(store, "sealed", "canary")
    assert (await say(machine(key=KEY), "sealed", "canary")).index == 2
    ((name, value),) = redis_server.entries().items()
    assert name.endswith("sealed.json")
    assert b"enc:1:" in value
    assert b"canary" not in value


# What must not harm -------------------------------------------------------------------------------


def forged(body: bytes) -> bytes:
    """Return an entry that looks right in itself."""
    return f"1 {md5(body, usedforsecurity=False).hexdigest()} ".encode() + body


FORGERIES: list[Callable[[bytes, bytes], bytes]] = [
    lambda now, _: now.replace(b"80 degrees.", b"90 degrees."),
    lambda now, _: forged(now[35:].replace(b"80 degrees.", b"90 degrees.")),
    lambda now, _: now[:35] + b"{}",
    lambda now, _: now[:-9],
    lambda now, _: b"2" + now[1:],
    lambda _, before: before,
    lambda *_: forged(b"{}"),
    lambda *_: forged(b'{"chatcli": {"format": 99}}'),
    lambda *_: forged(b'{"chatcli": {"format": 1, "deleted_until": "2999-01-01T00:00:00Z"}}'),
    lambda *_: forged(b'{"state": {"messages": []}, "metadata": {}, "new_versions": {}}'),
    lambda *_: b"\x80\x04\x95garbage",
    lambda *_: b"",
    lambda *_: b"x" * (2 * LARGEST),
]
"""What takes the place of an entry, made of it and of the one before it."""


@pytest.mark.parametrize("has_read", [False, True], ids=["new", "held"])
async def test_no_entry_changes_what_is_stored(
    machine: OpenMachine, redis_server: RedisServer, *, has_read: bool
) -> None:
    """Forged, stale, torn or foreign: the turn is added to what the bucket holds, and to nothing else."""
    store, other = machine(), machine()
    await say(store)
    (name,) = redis_server.names()
    before, count = redis_server.entries()[name], 1
    for number, forge in enumerate(FORGERIES):
        redis_server.call("DEL", name)
        await say(store)
        now = redis_server.entries()[name]
        if has_read:
            await other.turns(LOCAL_OWNER, "tea")
        redis_server.call("SET", name, forge(now, before))
        assert (await say(other if has_read else machine())).index == count + 2, number
        before, count = now, count + 2
        assert texts(await store.turns(LOCAL_OWNER, "tea")) == count * TURN, number


async def test_refusals_are_not_taken_from_a_copy(machine: OpenMachine, redis_server: RedisServer) -> None:
    """That a thread is archived, or is not there any more, is asked of the bucket."""
    store = machine()
    await say(store)
    await store.archive(LOCAL_OWNER, "tea", archived=True)
    (name,) = redis_server.names()
    archived = redis_server.entries()[name]
    await store.archive(LOCAL_OWNER, "tea", archived=False)
    redis_server.call("SET", name, archived)
    assert (await say(machine())).index == 2
    copy = redis_server.entries()[name]
    await store.delete(LOCAL_OWNER, "tea")
    redis_server.call("SET", name, copy)
    with pytest.raises(ThreadNotFound):
        await machine().begin(new_turn(create=False))
    assert (await say(machine())).index == 1


async def test_a_busy_thread_is_busy(machine: OpenMachine, url: str) -> None:
    """A copy from before a running turn does not let another one begin; a dead one's lease ends as ever."""
    store = machine()
    await say(store)
    await store.begin(new_turn())
    with pytest.raises(ThreadBusy):
        await machine().begin(new_turn())
    let_leases_end(url)
    assert (await say(machine())).index == 3


@pytest.mark.parametrize("fault", FAULTS)
async def test_whatever_redis_has_turns_go_on(
    machine: OpenMachine, harm_redis: Callable[[str], None], fault: str
) -> None:
    """A Redis that fails in the middle costs a read, and no turn."""
    store = machine()
    await say(store)
    begun = await store.begin(new_turn())
    harm_redis(fault)
    await store.commit(held(begun), answer("80 degrees.", turn_id=begun.turn.id))
    assert (await say(machine())).index == 3
    assert texts(await store.turns(LOCAL_OWNER, "tea")) == 3 * TURN


async def test_a_redis_that_hangs_is_not_asked_each_time(
    machine: OpenMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After one attempt it is left alone for a while: of several turns, one connects."""
    monkeypatch.setattr("chatcli.stores.entries.SECONDS", 0.1)
    with (
        tempfile.TemporaryDirectory(prefix="redis", dir="/tmp") as folder,
        socket.socket(socket.AF_UNIX) as mute,
    ):
        mute.bind(f"{folder}/s")
        mute.listen()
        store = machine(redis=f"unix://{folder}/s")
        for _ in range(3):
            await say(store)
        mute.settimeout(30)
        mute.accept()[0].close()
        mute.setblocking(False)
        with pytest.raises(BlockingIOError):
            mute.accept()


async def test_it_is_asked_again_later(
    machine: OpenMachine, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Redis that comes back is used again."""
    monkeypatch.setattr("chatcli.stores.entries.PAUSE", 0.0)
    store = machine()
    redis_server.stop()
    await say(store)
    redis_server.start()
    await say(store)
    assert len(redis_server.names()) == 1


async def test_a_url_that_is_none_is_named(machine: OpenMachine) -> None:
    """The setting is named before anything is written, and its value, which may hold a password, is not."""
    store = machine(redis="redis://:canary@host:port/0")
    with pytest.raises(ConfigError, match="CHATCLI_REDIS_URL") as refusal:
        await say(store)
    assert "canary" not in str(refusal.value)
    assert refusal.value.__context__ is None
    thread_id = new_id()
    begun = await store.begin(new_turn(thread_id))
    assert (await store.commit(held(begun), answer("80", turn_id=begun.turn.id))).index == 1
