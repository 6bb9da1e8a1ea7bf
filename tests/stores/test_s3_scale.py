"""Many threads in a bucket: lists and cleanup ask for few of them, and for the right ones."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import orjson
import pytest

from chatcli.errors import StoreUnavailable
from chatcli.models import LOCAL_OWNER, utc_now
from chatcli.stores import open_store
from chatcli.stores.base import Expiry, ThreadStore
from chatcli.stores.s3 import S3Store, location_of, recent, sweeping
from chatcli.text import new_id
from tests.stores.s3 import Fault, Server, Traffic
from tests.stores.talk import say
from tests.stores.test_sweep import day, names, put, sweep
from tests.stores.test_threads import ids

INDEX = "chat_recent/index.json"


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


def idle(server: Server, url: str) -> list[str]:
    """Return the ids of threads of which a key tells that they were not used when they were written."""
    keys = (key.removeprefix("chat_idle/") for key in server.keys(url) if key.startswith("chat_idle/"))
    return [key.split("~")[0] for key in keys]


def looked_at(traffic: Traffic) -> list[str]:
    """Return the ids of the threads that were read since the last look at requests, sorted."""
    folder = "chats/chat_histories/"
    keys = {request.key for request in traffic.requests if request.method in ("GET", "HEAD")}
    traffic.counts()
    return sorted(
        key[len(folder) : -len(".json")] for key in keys if key.startswith(folder) and key != folder
    )


async def newest(store: ThreadStore, limit: int) -> list[str]:
    """Return the ids of the threads that were used last."""
    return [thread.id for thread in (await store.threads(LOCAL_OWNER, limit=limit)).threads]


# Lists --------------------------------------------------------------------------------------------


async def test_list_after_a_burst(
    open_one: Callable[[], ThreadStore], traffic: Traffic, s3_server: Server, url: str
) -> None:
    """Of many threads written in the same seconds only those are read that are shown."""
    writer = open_one()
    await asyncio.gather(*(say(writer, new_id()) for _ in range(recent.MANY)))
    last = [new_id() for _ in range(3)]
    for thread_id in last:
        await say(writer, thread_id)
    await writer.aclose()
    assert len(orjson.loads(s3_server.read(url, INDEX) or b"")) == recent.MANY + len(last)
    traffic.counts()
    assert await newest(open_one(), 3) == last[::-1]
    assert traffic.counts() == {"GET": 3, "HEAD": 4}


@pytest.mark.parametrize("index", [b"garbage", b'[["x"]]', b'[["a", "b", 9999999999999999]]', b"{}"])
async def test_a_wrong_index_only_costs(
    open_one: Callable[[], ThreadStore], s3_server: Server, url: str, index: bytes
) -> None:
    """Whatever stands in the index, the list is right: a place counts for one version of an object."""
    store = open_one()
    for name in "abc":
        await say(store, name)
    s3_server.write(url, INDEX, index)
    assert await ids(open_one()) == ["c", "b", "a"]


async def test_the_first_list_writes_places_down(
    open_one: Callable[[], ThreadStore], traffic: Traffic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who had to read many threads spares the next one that; who may not write just lists."""
    monkeypatch.setattr(recent, "MANY", 99)
    writer = open_one()
    for name in "abcdefgh":
        await say(writer, name)
    await writer.aclose()
    monkeypatch.setattr(recent, "MANY", 3)
    traffic.add(Fault("PUT", status=403, code="AccessDenied", times=99))
    assert await newest(open_one(), 2) == ["h", "g"]
    traffic.faults.clear()
    assert await newest(open_one(), 2) == ["h", "g"]
    traffic.counts()
    assert await newest(open_one(), 2) == ["h", "g"]
    assert traffic.counts() == {"GET": 3, "HEAD": 4}


# Cleanup ------------------------------------------------------------------------------------------


async def test_cleanup_reads_what_goes(open_one: Callable[[], ThreadStore], traffic: Traffic) -> None:
    """Threads that were used since are counted, not read: keys tell when, also of imported ones."""
    store = open_one()
    for number in range(6):
        await put(store, f"t{number}", day(number))
    await say(store, "today")
    await store.rename(LOCAL_OWNER, "t5", "Renamed")
    for dry_run in (True, False):
        traffic.counts()
        swept = await sweep(open_one(), Expiry(day(2)), dry_run=dry_run)
        assert (names(swept.removed), swept.scanned) == (["t0", "t1"], 7)
        assert looked_at(traffic) == ["t0", "t1"]
    assert await ids(store) == ["today", "t5", "t4", "t3", "t2"]


async def test_plans_follow_one_another(
    open_one: Callable[[], ThreadStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However few threads a plan has, each is looked at once; a cursor serves another process, too."""
    monkeypatch.setattr(sweeping, "PLANNED", 2)
    store = open_one()
    for number in (3, 0, 4, 1, 2, 5, 6):
        await put(store, f"t{number}", day(number))
    expiry, cursor, removed, scanned = Expiry(day(5)), None, [], 0
    dry = await sweep(store, expiry, limit=3, dry_run=True)
    while scanned == 0 or cursor is not None:
        step = await open_one().sweep(LOCAL_OWNER, expiry, limit=1, cursor=cursor)
        cursor, scanned = step.cursor, scanned + step.scanned
        removed += names(step.removed)
    assert removed == names(dry.removed) == ["t3", "t0", "t4", "t1", "t2"]
    assert scanned == dry.scanned == 7


async def test_use_after_a_rename(open_one: Callable[[], ThreadStore], s3_server: Server, url: str) -> None:
    """What a key tells of an earlier version of an object counts for nothing: the thread was used since."""
    store = open_one()
    await put(store, "a", day(0))
    await put(store, "b", day(0))
    assert idle(s3_server, url) == ["a", "b"]
    await say(store, "a")
    await put(store, "c", day(0))
    await store.delete(LOCAL_OWNER, "c")
    assert idle(s3_server, url) == ["a", "b"]
    swept = await sweep(open_one(), Expiry(utc_now() - timedelta(days=1)))
    assert names(swept.removed) == ["b"]
    assert idle(s3_server, url) == []
    assert await ids(store) == ["a"]


async def test_crash_between_key_and_object(
    open_one: Callable[[], ThreadStore], traffic: Traffic, s3_server: Server, url: str
) -> None:
    """A key whose object was not written makes nobody take a used thread for an idle one, nor the reverse."""
    await say(open_one(), "used")
    await put(open_one(), "old", day(0))
    traffic.add(Fault("PUT", "chat_histories/", status=503, code="SlowDown", times=999))
    hasty = S3Store(location_of(url), patience=0.5)
    with pytest.raises(StoreUnavailable):
        await hasty.rename(LOCAL_OWNER, "old", "Renamed")
    with pytest.raises(StoreUnavailable):
        await put(hasty, "new", day(0))
    await hasty.aclose()
    traffic.faults.clear()
    fake = f"chat_idle/used~{'0' * 32}~{1}~{1}"
    s3_server.write(url, fake, b"")
    for key in ("used", "used~", "used~x~y~z", f"used~{'0' * 32}~²~1", "~~~", f"gone~{'0' * 32}~1~1"):
        s3_server.write(url, f"chat_idle/{key}", b"")
    swept = await sweep(open_one(), Expiry(utc_now() - timedelta(days=1)))
    assert names(swept.removed) == ["old"]
    assert await ids(open_one()) == ["used"]


async def test_bucket_that_was_copied(
    open_one: Callable[[], ThreadStore], s3_server: Server, url: str
) -> None:
    """Objects brought from elsewhere are newer than their threads' last use: each is looked at."""
    await put(open_one(), "old", day(0))
    await say(open_one(), "used")
    bucket = f"/{urlsplit(url).netloc}/chats"
    for key in s3_server.keys(url):
        if key.startswith("chat_idle/"):
            s3_server.ask("DELETE", f"{bucket}/{key}")

    def modified(key: str) -> datetime:
        return parsedate_to_datetime(s3_server.ask("HEAD", f"{bucket}/{key}")[1]["last-modified"])

    written = modified("chat_histories/used.json")
    deadline = time.monotonic() + 60
    while modified("chat_proof") <= written:
        assert time.monotonic() < deadline
        s3_server.ask("DELETE", f"{bucket}/chat_proof")
        s3_server.write(url, "chat_proof", b"")
    swept = await sweep(open_one(), Expiry(utc_now() - timedelta(days=1)))
    assert (names(swept.removed), swept.scanned) == (["old"], 2)


async def test_many_keys_of_like_ids(
    open_one: Callable[[], ThreadStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys are found page by page, also where ids are beginnings of others, which text orders oddly."""
    monkeypatch.setattr("chatcli.stores.s3.bucket.BATCH", 2)
    store = open_one()
    some = ("ab", "ab-c", "ab-d", "ab.c", "ab0", "a", "b", "ab_c")
    for number, name in enumerate(some):
        await put(store, name, day(number), archived=number % 2 == 0)
    swept = await sweep(open_one(), Expiry(day(6)), limit=99)
    assert names(swept.removed) == list(some[:6])
    assert await ids(open_one(), archived=True) == ["b"]
    assert await ids(open_one(), archived=False) == ["ab_c"]


async def test_newest_use_of_many(open_one: Callable[[], ThreadStore], traffic: Traffic) -> None:
    """The latest use is known without a look at each thread, and a time to come is seen."""
    store = open_one()
    for number in range(20):
        await put(store, f"t{number:02}", day(number))
    traffic.counts()
    assert await open_one().newest_use(LOCAL_OWNER) == day(19)
    assert looked_at(traffic) == []
    await say(store, "now")
    found = await open_one().newest_use(LOCAL_OWNER)
    assert found == (await store.thread(LOCAL_OWNER, "now")).updated_at
    later = datetime(2999, 1, 1, tzinfo=UTC)
    await put(store, "later", later)
    assert await open_one().newest_use(LOCAL_OWNER) == later
