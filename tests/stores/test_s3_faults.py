"""What a network and a server can do to the store: nothing is lost, nothing is invented, all is named."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

import pytest

from chatcli.config import load_settings
from chatcli.errors import (
    ChatcliError,
    ConfigError,
    InvalidRequest,
    StoreCorrupt,
    StoreDenied,
    StoreUnavailable,
    ThreadBusy,
    ThreadNotFound,
)
from chatcli.models import LOCAL_OWNER, TurnState, utc_now
from chatcli.stores import open_store
from chatcli.stores.base import Expiry, ThreadStore
from chatcli.stores.s3 import S3Store, location_of
from chatcli.stores.s3.clock import ServerClock
from chatcli.stores.s3.errors import LostRace
from chatcli.stores.s3.store import PATIENCE
from chatcli.text import new_id
from tests.stores.endpoint import KEY_ID, SECRET
from tests.stores.s3 import Fault, Server, Traffic, let_leases_end
from tests.stores.talk import answer, held, new_turn, say, texts

TEA = "chat_histories/tea.json"


LONG = 120.0
"""Seconds of patience where a call is not to fail, however busy the machine is."""


@pytest.fixture
def url(s3_server: Server) -> str:
    """An empty bucket."""
    return s3_server.url()


@pytest.fixture
def traffic(s3_server: Server, url: str) -> Traffic:
    """What goes on between the stores and the bucket."""
    return s3_server.traffic(url)


@pytest.fixture
async def open_one(url: str) -> AsyncIterator[Callable[[], ThreadStore]]:
    """Opens store objects on the bucket."""
    opened: list[ThreadStore] = []

    def open_another() -> ThreadStore:
        opened.append(open_store(url))
        return opened[-1]

    yield open_another
    for store in opened:
        await store.aclose()


@pytest.fixture
def store(open_one: Callable[[], ThreadStore]) -> ThreadStore:
    """A store in the bucket."""
    return open_one()


@pytest.fixture
async def hasty(url: str) -> AsyncIterator[ThreadStore]:
    """A store in the bucket that loses its patience soon: for calls that are to fail."""
    store = S3Store(location_of(url), patience=0.5)
    yield store
    await store.aclose()


# What it costs ------------------------------------------------------------------------------------


async def test_warm_turn_is_two_writes(store: ThreadStore, traffic: Traffic) -> None:
    """A turn on a thread that is held takes two PUT requests and no other, however long the thread.

    None asks first whether it may send what it has to say: that would be a round trip more.
    """
    await say(store)
    traffic.counts()
    for _ in range(3):
        await say(store)
    assert not any("expect" in request.headers for request in traffic.requests)
    assert traffic.counts() == {"PUT": 6}


async def test_new_thread_is_two_writes(store: ThreadStore, traffic: Traffic) -> None:
    """So does the first turn of a thread with a generated id, once the server is proven."""
    await say(store)
    traffic.counts()
    await say(store, new_id())
    assert traffic.counts() == {"PUT": 2}


async def test_every_write_is_conditional(store: ThreadStore, traffic: Traffic) -> None:
    """No PUT says neither what must be there nor that nothing must."""
    await say(store)
    await store.archive(LOCAL_OWNER, "tea", archived=True)
    await store.archive(LOCAL_OWNER, "tea", archived=False)
    await store.fork(LOCAL_OWNER, "tea", fork_id=new_id(), title="Fork", turns=1)
    await store.delete(LOCAL_OWNER, "tea")
    written = [request.headers for request in traffic.requests if request.method == "PUT"]
    removals = [request.headers for request in traffic.requests if request.method == "POST"]
    assert written
    assert all("content-md5" in headers for headers in removals)
    assert all("if-match" in headers or headers.get("if-none-match") == "*" for headers in written)


async def test_lists_cost_no_get(store: ThreadStore, traffic: Traffic, url: str) -> None:
    """The newest threads take a HEAD each, archived ones none at all, and known ones nothing.

    The first list also looks whether somebody has written places down.
    """
    for number in range(3):
        await say(store, str(number))
    await store.archive(LOCAL_OWNER, "1", archived=True)
    traffic.counts()
    other = open_store(url)
    for _ in range(2):
        assert len((await other.threads(LOCAL_OWNER, limit=20)).threads) == 2
    await other.aclose()
    assert traffic.counts() == {"GET": 5, "HEAD": 2}


async def test_thousands_of_objects(store: ThreadStore, s3_server: Server, url: str) -> None:
    """2,500 threads are all counted, page by page, and the newest found without reading the others."""
    body = b'{"state": {"messages": []}, "metadata": {}, "new_versions": {}}'

    def put(numbers: range) -> None:
        for number in numbers:
            s3_server.write(url, f"chat_histories/t{number:04}.json", body)

    await asyncio.gather(*(asyncio.to_thread(put, range(part, 2500, 4)) for part in range(4)))
    s3_server.traffic(url).counts()
    assert isinstance(store, S3Store)
    listed = [one.id async for one in store._listing.candidates(LOCAL_OWNER, archived=None)]
    assert listed == [f"t{number:04}" for number in range(2500)]
    assert s3_server.traffic(url).counts() == {"GET": 3}


# Answers that are lost ----------------------------------------------------------------------------


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("status", [0, 500, 503])
async def test_lost_answers(store: ThreadStore, traffic: Traffic, status: int, *, after: bool) -> None:
    """A write without an answer, carried out or not, is there once, and is reported as done."""
    await say(store, prompt="first")
    traffic.add(Fault("PUT", TEA, status=status, code="InternalError", after=after))
    begun = await store.begin(new_turn(prompt="second"))
    traffic.add(Fault("PUT", TEA, status=status, code="InternalError", after=after))
    turn = await store.commit(held(begun), answer("80", turn_id=begun.turn.id))

    assert (begun.turn.index, begun.created, turn.state) == (2, False, TurnState.COMPLETE)
    assert texts(await store.turns(LOCAL_OWNER, "tea")) == [["first", "80 degrees."], ["second", "80"]]
    assert all(fault.times == 0 for fault in traffic.faults)


async def test_lost_answer_and_a_rival(
    store: ThreadStore, open_one: Callable[[], ThreadStore], traffic: Traffic
) -> None:
    """An answer lost while another store changed the object: the turn is recognised by its id."""
    begun = await store.begin(new_turn())
    fault = traffic.add(Fault("PUT", TEA, wait=True, status=0, after=True))
    commit = asyncio.create_task(store.commit(held(begun), answer("80", turn_id=begun.turn.id)))
    await asyncio.to_thread(fault.reached.wait)
    rename = asyncio.create_task(open_one().rename(LOCAL_OWNER, "tea", "Renamed"))
    await rename
    fault.released.set()
    assert (await commit).state is TurnState.COMPLETE
    assert texts(await store.turns(LOCAL_OWNER, "tea")) == [["How hot?", "80"]]
    assert (await store.thread(LOCAL_OWNER, "tea")).title == "Renamed"


async def test_lost_answer_to_the_first_turn(store: ThreadStore, traffic: Traffic) -> None:
    """A thread that was made without an answer is made once, and known to be new."""
    thread_id = new_id()
    traffic.add(Fault("PUT", thread_id, status=0, after=True))
    begun = await store.begin(new_turn(thread_id))
    assert (begun.created, begun.turn.index) == (True, 1)
    traffic.add(Fault("PUT", "chat_histories/", status=0, after=True))
    fork = await store.fork(LOCAL_OWNER, thread_id, fork_id=new_id(), title="Fork", turns=0)
    assert fork.turn_count == 0


@pytest.mark.parametrize(("status", "code"), [(404, "NoSuchKey"), (409, "ConditionalRequestConflict")])
async def test_lost_races(store: ThreadStore, traffic: Traffic, status: int, code: str) -> None:
    """Whatever way a server says that somebody was faster, the change is made again to what is there."""
    await say(store)
    traffic.add(Fault("PUT", TEA, status=status, code=code, times=2))
    await say(store)
    assert len(await store.turns(LOCAL_OWNER, "tea")) == 2


async def test_quoted_etags(store: ThreadStore, traffic: Traffic, s3_server: Server, url: str) -> None:
    """A server that wants ETags in quotes gets them once it has shown that."""
    if not s3_server.takes(url, "if-match", '"{etag}"'):
        pytest.skip("S3: this server wants ETags without quotes")
    await say(store)
    traffic.add(
        Fault(
            "PUT",
            TEA,
            status=412,
            code="PreconditionFailed",
            times=99,
            when=lambda request: not request.headers.get("if-match", '"').startswith('"'),
        )
    )
    await say(store)
    traffic.counts()
    await say(store)
    assert traffic.counts() == {"PUT": 2}


async def test_ten_writers(url: str, store: ThreadStore) -> None:
    """Ten store objects that write to one object at once: ten of ten turns are kept."""

    async def write(number: int) -> None:
        async with aclosing(S3Store(location_of(url), patience=LONG)) as mine:
            while True:
                try:
                    await say(mine, prompt=str(number))
                except ThreadBusy:
                    await asyncio.sleep(0.02)  # as anybody would who tries again
                else:
                    return

    await say(store, prompt="10")
    await asyncio.gather(*(write(number) for number in range(10)))
    said = [turn[0] for turn in texts(await store.turns(LOCAL_OWNER, "tea"))]
    assert sorted(said, key=int) == [str(number) for number in range(11)]


# A server that does not answer, or refuses --------------------------------------------------------


async def test_slow_down(store: ThreadStore, hasty: ThreadStore, traffic: Traffic) -> None:
    """503 is tried again, but not for ever: then the store is unavailable, for reads and for writes."""
    traffic.add(Fault(status=503, code="SlowDown", times=2))
    await say(store)
    traffic.add(Fault(status=503, code="SlowDown", times=9999))
    for call in (
        lambda: say(hasty),
        lambda: hasty.turns(LOCAL_OWNER, "tea"),
        lambda: hasty.threads(LOCAL_OWNER, limit=1),
        lambda: hasty.delete(LOCAL_OWNER, "tea"),
    ):
        with pytest.raises(StoreUnavailable) as caught:
            await call()
        assert caught.value.exit_code == 69
    traffic.faults.clear()
    assert PATIENCE == 10


async def test_hang(store: ThreadStore, traffic: Traffic, url: str) -> None:
    """A server that never answers is given up; what it does in the end is done once, and blocks nobody."""
    await say(store)
    other = S3Store(location_of(url))
    await other.check()
    fault = traffic.add(Fault("PUT", TEA, wait=True, times=99))
    other._bucket.patience = 0.5
    beginning = asyncio.create_task(other.begin(new_turn(prompt="late")))
    await asyncio.to_thread(fault.reached.wait)
    with pytest.raises(StoreUnavailable):
        await beginning
    fault.released.set()
    await other.aclose()
    let_leases_end(url)
    await say(store, prompt="next")
    said = [(turn.messages[0].text, turn.state.value) for turn in await store.turns(LOCAL_OWNER, "tea")]
    assert [one for one in said if one != ("late", "interrupted")] == [
        ("How hot?", "complete"),
        ("next", "complete"),
    ]
    assert len(said) <= 3


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        ((403, "AccessDenied"), StoreDenied, "refused our credentials"),
        ((403, "InvalidAccessKeyId"), StoreDenied, "refused our credentials"),
        ((403, "RequestTimeTooSkewed"), StoreDenied, "clock"),
        ((400, "ExpiredToken"), StoreDenied, "refused our credentials"),
        ((404, "NotFound"), StoreUnavailable, "(NotFound)"),
        ((404, "NoSuchBucket"), ConfigError, "there is no bucket bucket-"),
        ((400, "AuthorizationHeaderMalformed"), ConfigError, "another region"),
        ((400, "Canary\x1b"), StoreUnavailable, "(400)"),
    ],
)
async def test_refusals(
    store: ThreadStore, traffic: Traffic, answer: tuple[int, str], error: type[ChatcliError], said: str
) -> None:
    """A refusal is named, and never looks like an empty thread; no key and no word of the server is in it."""
    traffic.add(Fault(status=answer[0], code=answer[1], times=9999))
    for call in (
        lambda: store.thread(LOCAL_OWNER, "tea"),
        lambda: store.turns(LOCAL_OWNER, "tea"),
        lambda: store.context(LOCAL_OWNER, "tea", limit=1),
        lambda: store.threads(LOCAL_OWNER, limit=1),
        lambda: store.begin(new_turn()),
        lambda: store.begin(new_turn(new_id())),
        lambda: store.delete(LOCAL_OWNER, "tea"),
        store.owners,
    ):
        with pytest.raises(error) as caught:
            await call()
        shown = f"{caught.value.message} {caught.value.hint} {caught.value!r} {caught.value.__cause__}"
        assert said in caught.value.message
        assert isinstance(caught.value.__context__, LostRace | None)
        assert not {KEY_ID, SECRET, "canary", "\x1b"} & set(shown.replace("(", " ").split())
    traffic.faults.clear()


async def test_no_server() -> None:
    """Nobody listens: the store is unavailable, without a key in what is said."""
    store = S3Store(location_of("s3://bucket-x?endpoint_url=http://127.0.0.1:1"), patience=0.3)
    with pytest.raises(StoreUnavailable) as caught:
        await store.thread(LOCAL_OWNER, "tea")
    await store.aclose()
    assert SECRET not in f"{caught.value!r} {store!r}"


async def test_missing_bucket(s3_server: Server, url: str) -> None:
    """A bucket that is not there is a setting to correct, for every call."""
    missing = url.replace("s3://bucket-", "s3://missing-")
    store = open_store(missing)
    for call in (
        lambda: store.threads(LOCAL_OWNER, limit=1),
        lambda: store.turns(LOCAL_OWNER, "tea"),
        lambda: say(store),
    ):
        with pytest.raises(ConfigError, match="there is no bucket missing-"):
            await call()
    await store.aclose()
    assert s3_server.traffic(missing).counts()


async def test_error_in_a_successful_answer(store: ThreadStore, traffic: Traffic) -> None:
    """200 with an error instead of the object is damage, and nothing is written over it."""
    await say(store, "coffee")
    error = b"<?xml version='1.0'?><Error><Code>InternalError</Code></Error>"

    def replace(stored: bytes) -> bytes:
        head = stored.partition(b"\r\n\r\n")[0].split(b"\r\n")
        kept = [line for line in head if not line.lower().startswith(b"content-length")]
        return b"\r\n".join([*kept, b"Content-Length: %d" % len(error), b"", error])

    traffic.add(Fault("GET", "coffee.json", times=99, replace=replace))
    assert isinstance(store, S3Store)
    store._objects.forget(store._objects.thread(LOCAL_OWNER, "coffee"))
    traffic.counts()
    with pytest.raises(StoreCorrupt):
        await say(store, "coffee")
    assert "PUT" not in traffic.counts()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<!DOCTYPE html><p>Log in</p>",
        b"<?xml version='1.0'?><Error><Code>InternalError</Code></Error>",
        b"<?xml version='1.0'?><Feed/>",
    ],
    ids=["nothing", "html", "error", "foreign"],
)
async def test_error_in_a_successful_list(
    store: ThreadStore, hasty: ThreadStore, traffic: Traffic, body: bytes
) -> None:
    """200 with anything but a list is never taken for a store without threads."""
    await say(store)
    traffic.add(Fault("GET", status=200, body=body, times=9999, when=lambda one: "list-type" in one.query))
    for call in (
        lambda: hasty.threads(LOCAL_OWNER, limit=1),
        lambda: hasty.search(LOCAL_OWNER, "hot", limit=1),
        lambda: hasty.newest_use(LOCAL_OWNER),
        hasty.owners,
    ):
        with pytest.raises((StoreCorrupt, StoreUnavailable)):
            await call()


@pytest.mark.parametrize(("code", "error"), [("AccessDenied", StoreDenied), ("SlowDown", StoreUnavailable)])
async def test_error_in_a_successful_deletion(
    store: ThreadStore, traffic: Traffic, code: str, error: type[ChatcliError]
) -> None:
    """200 with the names of what could not be removed is a failure, and the thread is gone all the same."""
    await say(store)
    body = f"<DeleteResult><Error><Key>k</Key><Code>{code}</Code></Error></DeleteResult>"
    traffic.add(Fault("POST", status=200, body=body.encode()))
    with pytest.raises(error):
        await store.delete(LOCAL_OWNER, "tea")
    with pytest.raises(ThreadNotFound):
        await store.thread(LOCAL_OWNER, "tea")


async def test_broken_off_answers(store: ThreadStore, traffic: Traffic) -> None:
    """An object that arrives in part is read again."""
    await say(store)
    assert isinstance(store, S3Store)
    store._objects.forget(store._objects.thread(LOCAL_OWNER, "tea"))
    traffic.add(Fault("GET", TEA, replace=lambda stored: stored[:-40], status=None))
    traffic.add(Fault("GET", TEA, replace=lambda _: b"garbage\r\n\r\n"))
    assert len(await store.turns(LOCAL_OWNER, "tea")) == 1


@pytest.mark.parametrize("ignored", ["if-match", "if-none-match"])
async def test_server_that_ignores_conditions(
    store: ThreadStore, traffic: Traffic, s3_server: Server, url: str, ignored: str
) -> None:
    """On a server that would let two writers lose each other's turns nothing is written at all."""
    fine = b'HTTP/1.1 200 OK\r\nETag: "1"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n'
    traffic.add(Fault("PUT", times=99, replace=lambda _: fine, when=lambda one: ignored in one.headers))
    for call in (lambda: say(store), lambda: say(store, new_id()), store.check):
        with pytest.raises(ConfigError, match="ignores conditional writes"):
            await call()
    assert s3_server.keys(url) == []


# Deletion, and ids --------------------------------------------------------------------------------


async def test_delete_during_a_turn(store: ThreadStore, s3_server: Server, url: str) -> None:
    """A thread that was deleted while a turn that nobody renewed still ran stays deleted."""
    begun = await store.begin(new_turn())
    let_leases_end(url)
    other = open_store(url)
    await other.delete(LOCAL_OWNER, "tea")
    with pytest.raises(ThreadNotFound) as caught:
        await store.commit(held(begun), answer("80", turn_id=begun.turn.id))
    await other.aclose()
    assert caught.value.saved is False
    assert s3_server.keys(url) == ["chat_names/tea"]


async def test_broken_off_deletion(store: ThreadStore, traffic: Traffic, s3_server: Server, url: str) -> None:
    """A thread that was only buried is gone, and nobody takes its place until its grave is forgotten."""
    await say(store)
    traffic.add(Fault("POST", status=403, code="AccessDenied"))
    with pytest.raises(StoreDenied):
        await store.delete(LOCAL_OWNER, "tea")

    assert b"How hot?" not in (s3_server.read(url, TEA) or b"")
    with pytest.raises(ThreadNotFound):
        await store.thread(LOCAL_OWNER, "tea")
    assert (await store.threads(LOCAL_OWNER, limit=9)).threads == ()
    with pytest.raises(ThreadNotFound):
        await store.begin(new_turn(create=False))
    with pytest.raises(ThreadBusy):
        await store.begin(new_turn())
    let_leases_end(url)
    assert (await say(store)).index == 1


async def test_cleanup_finishes_deletions(
    store: ThreadStore, traffic: Traffic, s3_server: Server, url: str
) -> None:
    """What a deletion left that was broken off goes with the next cleanup."""
    thread_id = new_id()
    await say(store, thread_id)
    traffic.add(Fault("POST", status=403, code="AccessDenied"))
    with pytest.raises(StoreDenied):
        await store.delete(LOCAL_OWNER, thread_id)
    let_leases_end(url)
    sweep = await store.sweep(LOCAL_OWNER, Expiry(datetime(2000, 1, 1, tzinfo=UTC)), limit=5)
    assert sweep.removed == ()
    assert s3_server.keys(url) == []


async def test_thread_used_during_a_cleanup(
    store: ThreadStore, open_one: Callable[[], ThreadStore], traffic: Traffic
) -> None:
    """A thread that is used between the look at it and its removal is not removed."""
    await say(store)
    fault = traffic.add(Fault("PUT", TEA, wait=True))
    expiry = Expiry(utc_now() + timedelta(seconds=2))
    other = open_one()
    sweeping = asyncio.create_task(store.sweep(LOCAL_OWNER, expiry, limit=5))
    await asyncio.to_thread(fault.reached.wait)
    begun = await other.begin(new_turn())
    fault.released.set()
    sweep = await sweeping
    assert (sweep.removed, sweep.busy) == ((), ("tea",))
    await other.commit(held(begun), answer("80", turn_id=begun.turn.id))


async def test_race_of_two_spellings(
    open_one: Callable[[], ThreadStore], traffic: Traffic, s3_server: Server, url: str
) -> None:
    """Of two threads that are made at once and differ only in case, at most one stays."""
    slow, fast = open_one(), open_one()
    await slow.check()
    fault = traffic.add(Fault("PUT", "chat_histories/Tea.json", wait=True))
    making = asyncio.create_task(slow.begin(new_turn("Tea")))
    await asyncio.to_thread(fault.reached.wait)
    await say(fast, "tea")
    fault.released.set()
    with pytest.raises(InvalidRequest, match="case"):
        await making
    assert [key for key in s3_server.keys(url) if "histories" in key] == [TEA]
    with pytest.raises(InvalidRequest, match="the thread tea exists"):
        await slow.begin(new_turn("TEA"))


@pytest.mark.parametrize("thread_id", ["../../etc/passwd", "a/b", "..", "a..b", "", "x" * 200, "a\n"])
async def test_ids_in_keys(store: ThreadStore, traffic: Traffic, thread_id: str) -> None:
    """What is no id never becomes part of a key."""
    for call in (
        lambda: store.begin(new_turn(thread_id)),
        lambda: store.turns(LOCAL_OWNER, thread_id),
        lambda: store.delete(LOCAL_OWNER, thread_id),
        lambda: say(store, owner=thread_id),
    ):
        with pytest.raises(InvalidRequest):
            await call()
    assert traffic.counts() == {}


# Archive, clock, settings -------------------------------------------------------------------------


async def test_archive(s3_server: Server) -> None:
    """An archived thread has an empty mark beside it, and the storage class that was asked for."""
    url = s3_server.url("&archive_storage_class=STANDARD_IA")
    if not s3_server.takes(url, "x-amz-storage-class", "STANDARD_IA"):
        pytest.skip("S3: this server has no such storage class")
    async with aclosing(open_store(url)) as store:
        await say(store)
        await store.archive(LOCAL_OWNER, "tea", archived=True)
        (mark,) = (key for key in s3_server.keys(url) if key.startswith("chat_archived/tea~"))
        assert s3_server.read(url, mark) == b""
        classes = [one.headers.get("x-amz-storage-class") for one in s3_server.traffic(url).requests]
        assert classes.count("STANDARD_IA") == 1
        await store.archive(LOCAL_OWNER, "tea", archived=False)
        assert s3_server.read(url, mark) is None


@pytest.mark.parametrize("code", ["InvalidArgument", "InvalidStorageClass"])
async def test_storage_class_that_the_server_has_not(s3_server: Server, code: str) -> None:
    """The error names the class and the setting; the thread is not archived, and is used on."""
    url = s3_server.url("&archive_storage_class=GLACIER_IR")
    in_class = Fault(
        "PUT", times=9, status=400, code=code, when=lambda one: "x-amz-storage-class" in one.headers
    )
    s3_server.traffic(url).add(in_class)
    async with aclosing(open_store(url)) as store:
        await say(store)
        with pytest.raises(ConfigError, match="no storage class GLACIER_IR") as caught:
            await store.archive(LOCAL_OWNER, "tea", archived=True)
        assert "archive_storage_class" in str(caught.value.hint)
        await say(store)
        assert (await store.thread(LOCAL_OWNER, "tea")).archived_at is None


def test_clock_follows_the_server() -> None:
    """A clock of this machine that is wrong is not believed, one that agrees with the server is."""
    stamp = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    date = "Fri, 02 Jan 2026 03:04:05 GMT"
    now = time.monotonic()
    for off, expected in ((-3600.0, 0.0), (3600.0, 1.0), (0.5, 0.5)):
        clock = ServerClock(partial(float, stamp.timestamp() + off))
        clock.observe(date, sent=now, received=now)
        assert abs(clock.now() - stamp - timedelta(seconds=expected)) < timedelta(seconds=0.5)
    clock = ServerClock()
    clock.observe(date, sent=now, received=now)
    clock.observe("nonsense", sent=now, received=now)
    clock.observe(None, sent=now, received=now)
    clock.observe("Fri, 02 Jan 2026 05:04:05 GMT", sent=now, received=now)
    assert clock.now() >= stamp + timedelta(hours=2)


async def test_credentials_of_the_settings(
    traffic: Traffic, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys that stand in settings serve the store, wherever settings have them from."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    environ = {"AWS_ACCESS_KEY_ID": "AKIAOTHER", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "eu-north-1"}
    store = open_store(url, settings=load_settings(environ={"HOME": "/nonexistent", **environ}))
    await store.threads(LOCAL_OWNER, limit=1)
    await store.aclose()
    (request,) = {one.headers["authorization"].split("/2")[0] for one in traffic.requests}
    assert request.endswith("Credential=AKIAOTHER")
    assert all("/eu-north-1/s3/" in one.headers["authorization"] for one in traffic.requests)


def test_package_that_is_missing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package the error says how to install it, before anything is done."""

    class Hiding(PathFinder):
        @classmethod
        def find_spec(
            cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
        ) -> ModuleSpec | None:
            return None if fullname == "aioboto3" else super().find_spec(fullname, path, target)

    monkeypatch.delitem(sys.modules, "aioboto3", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Hiding])
    with pytest.raises(ConfigError) as caught:
        open_store(url)
    assert "chatcli[s3]" in str(caught.value.hint)


@pytest.mark.parametrize(
    "url",
    [
        "s3://",
        "s3://b",
        "s3://canary bucket/x",
        "s3://bucket/../canary",
        "s3://bucket/%2e%2e/canary",
        "s3://bucket?endpoint_url=ftp://canary",
        "s3://bucket?endpoint_url=http://u:canary@h",
        "s3://bucket?region=a/canary",
        "s3://bucket?archive_storage_class=DEEP_ARCHIVE",
        "s3://bucket?canary=1",
    ],
)
def test_urls(url: str) -> None:
    """A URL that can't be meant is refused, and not repeated."""
    with pytest.raises(ConfigError) as caught:
        location_of(url)
    assert "canary" not in f"{caught.value.message} {caught.value.hint}"
