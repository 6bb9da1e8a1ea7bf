"""Lost replies, stalls and crashes with others at work meanwhile: each change is made once, and told."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import pytest

from chatcli.errors import (
    InvalidRequest,
    StoreDenied,
    StoreFull,
    StoreUnavailable,
    ThreadBusy,
    ThreadNotFound,
)
from chatcli.models import LOCAL_OWNER, Thread, utc_now
from chatcli.service.transfer.copying import Roll, copy_threads
from chatcli.stores import open_store
from chatcli.stores.base import Expiry, ThreadStore
from chatcli.stores.memory import MemoryStore
from chatcli.stores.records import AuditEntry
from chatcli.stores.s3 import S3Store, location_of
from tests.stores.s3 import Fault, Server, Traffic, let_leases_end
from tests.stores.talk import say, texts
from tests.stores.test_audit import entry, told
from tests.stores.test_sweep import names, sweep
from tests.stores.test_threads import ids

TEA = "chat_histories/tea.json"


@pytest.fixture
def url(s3_server: Server) -> str:
    """An empty bucket."""
    return s3_server.url()


@pytest.fixture
def traffic(s3_server: Server, url: str) -> Traffic:
    """What goes on between the stores and the bucket."""
    return s3_server.traffic(url)


@pytest.fixture
async def open_one(url: str) -> AsyncIterator[Callable[..., ThreadStore]]:
    """Opens store objects on the bucket; with `patience` such as lose it soon."""
    opened: list[ThreadStore] = []

    def open_another(patience: float | None = None) -> ThreadStore:
        opened.append(open_store(url) if patience is None else S3Store(location_of(url), patience=patience))
        return opened[-1]

    yield open_another
    for store in opened:
        await store.aclose()


@pytest.fixture
def store(open_one: Callable[..., ThreadStore]) -> ThreadStore:
    """A store in the bucket."""
    return open_one()


@pytest.fixture
def rival(open_one: Callable[..., ThreadStore]) -> ThreadStore:
    """The store of another machine."""
    return open_one()


async def prompts(store: ThreadStore, thread_id: str = "tea") -> list[str]:
    """Return what was said on a thread."""
    return [said[0] for said in texts(await store.turns(LOCAL_OWNER, thread_id))]


async def fill(store: ThreadStore, count: int = 3) -> None:
    """Say 1, 2, … on a thread."""
    for number in range(count):
        await say(store, prompt=str(number + 1))


def tomorrow(audit: AuditEntry | None = None) -> Expiry:
    """Return an expiry with which every thread is expired."""
    return Expiry(utc_now() + timedelta(days=1), audit=audit)


LONG_AGO = Expiry(datetime(2000, 1, 1, tzinfo=UTC))


class Lost:
    """A write of an object that is carried out, and the look at what became of it, held back."""

    def __init__(self, traffic: Traffic, key: str) -> None:
        write = traffic.add(Fault("PUT", key, status=0, after=True))
        self._look = traffic.add(Fault("GET", key, wait=True, when=lambda _: write.times == 0))

    async def wait(self) -> None:
        """Return when the write was carried out."""
        assert await asyncio.to_thread(self._look.reached.wait, 60)

    def go_on(self) -> None:
        """Let the look go on."""
        self._look.released.set()


# Undo ---------------------------------------------------------------------------------------------


async def undo(store: ThreadStore, turns: int = 2) -> Thread:
    """Take turns off the thread."""
    return await store.undo(LOCAL_OWNER, "tea", fork_id="kept", title="Kept", turns=turns)


async def test_undo_without_an_answer_and_a_rival(
    store: ThreadStore, rival: ThreadStore, traffic: Traffic
) -> None:
    """A cut whose reply was lost is recognised, though somebody went on with the thread since."""
    await fill(store)
    lost = Lost(traffic, TEA)
    undoing = asyncio.create_task(undo(store))
    await lost.wait()
    await say(rival, prompt="next")
    lost.go_on()
    assert (await undoing).turn_count == 3
    assert await prompts(rival) == ["1", "next"]
    assert await prompts(rival, "kept") == ["1", "2", "3"]


async def test_undo_in_doubt(
    store: ThreadStore, open_one: Callable[..., ThreadStore], traffic: Traffic
) -> None:
    """If nobody can tell whether the turns were cut, the fork that has them stays, and the error names it."""
    await fill(store)
    write = traffic.add(Fault("PUT", TEA, status=0, after=True))
    for method in ("GET", "PUT"):
        silent = Fault(method, TEA, status=503, code="SlowDown", times=9999, when=lambda _: write.times == 0)
        traffic.add(silent)
    with pytest.raises(StoreUnavailable) as caught:
        await undo(open_one(patience=2))
    traffic.faults.clear()
    assert "kept has all of them" in str(caught.value.hint)
    assert await prompts(store) == ["1"]
    assert await prompts(store, "kept") == ["1", "2", "3"]


async def test_undo_that_was_refused(store: ThreadStore, rival: ThreadStore, traffic: Traffic) -> None:
    """If it is certain that nothing was cut the fork goes, unless somebody went on with it."""
    await fill(store)
    traffic.add(Fault("PUT", TEA, status=507, code="QuotaExceeded"))
    with pytest.raises(StoreFull):
        await undo(store)
    fault = traffic.add(Fault("PUT", TEA, wait=True))
    undoing = asyncio.create_task(
        store.undo(LOCAL_OWNER, "tea", fork_id="other", title="Other", turns=1),
    )
    assert await asyncio.to_thread(fault.reached.wait, 60)
    await say(rival, prompt="4")
    fault.released.set()
    with pytest.raises(ThreadBusy):
        await undoing
    assert await ids(rival) == ["tea"]

    fault = traffic.add(Fault("PUT", TEA, wait=True))
    undoing = asyncio.create_task(
        store.undo(LOCAL_OWNER, "tea", fork_id="used", title="Used", turns=1),
    )
    assert await asyncio.to_thread(fault.reached.wait, 60)
    await say(rival, prompt="5")
    await say(rival, "used", prompt="on the fork")
    fault.released.set()
    with pytest.raises(ThreadBusy):
        await undoing
    assert await prompts(rival) == ["1", "2", "3", "4", "5"]
    assert await prompts(rival, "used") == ["1", "2", "3", "4", "on the fork"]


# Changes that must not be made twice --------------------------------------------------------------


async def test_clear_without_an_answer_and_a_rival(
    store: ThreadStore, rival: ThreadStore, traffic: Traffic
) -> None:
    """A turn that somebody ran on the cleared thread stays; the audit tells of one clearing."""
    await fill(store)
    lost = Lost(traffic, TEA)
    clearing = asyncio.create_task(store.clear(LOCAL_OWNER, "tea", audit=entry("clear")))
    await lost.wait()
    await say(rival, prompt="next")
    lost.go_on()
    assert (await clearing).turn_count == 0
    assert await prompts(rival) == ["next"]
    assert await told(rival) == [("clear", "tea", None)]


async def test_archive_without_an_answer_and_a_rival(
    store: ThreadStore, rival: ThreadStore, traffic: Traffic
) -> None:
    """A thread that somebody restored is not archived again."""
    await fill(store)
    lost = Lost(traffic, TEA)
    archiving = asyncio.create_task(store.archive(LOCAL_OWNER, "tea", archived=True))
    await lost.wait()
    await rival.archive(LOCAL_OWNER, "tea", archived=False)
    lost.go_on()
    assert (await archiving).archived_at is not None
    assert (await rival.thread(LOCAL_OWNER, "tea")).archived_at is None


async def test_fork_and_import_without_an_answer_and_a_rival(
    store: ThreadStore, rival: ThreadStore, traffic: Traffic
) -> None:
    """A thread that was made is not taken for somebody else's, though it has been used since."""
    await fill(store)
    lost = Lost(traffic, "chat_histories/fork.json")
    forking = asyncio.create_task(store.fork(LOCAL_OWNER, "tea", fork_id="fork", title="Fork", turns=2))
    await lost.wait()
    await say(rival, "fork", prompt="next")
    lost.go_on()
    assert (await forking).turn_count == 2
    assert await prompts(rival, "fork") == ["1", "2", "next"]

    lost = Lost(traffic, "chat_histories/new.json")
    thread = Thread("new", LOCAL_OWNER, "New", "English", 0, utc_now(), utc_now())
    importing = asyncio.create_task(store.import_thread(thread, ()))
    await lost.wait()
    await say(rival, "new", prompt="next")
    lost.go_on()
    assert await importing is True
    assert await prompts(rival, "new") == ["next"]


async def test_delete_that_is_carried_out_late(
    store: ThreadStore, traffic: Traffic, s3_server: Server, url: str
) -> None:
    """A first attempt that arrives after all is recognised by the second one: the thread is deleted once."""
    await fill(store)
    late = traffic.add(Fault("PUT", TEA, status=0, after=True))
    traffic.add(Fault("GET", TEA, status=304, body=b"", when=lambda _: late.times == 0))
    await store.delete(LOCAL_OWNER, "tea", audit=entry("delete"))
    assert await told(store) == [("delete", "tea", None)]
    assert [key for key in s3_server.keys(url) if "audit" not in key] == ["chat_names/tea"]


@pytest.mark.parametrize("stalled", ["bury", "look", "list"])
async def test_delete_by_a_machine_that_slept(
    store: ThreadStore, rival: ThreadStore, traffic: Traffic, stalled: str
) -> None:
    """Wherever a deletion stalls until others may use the id again, what they write there stays."""
    await fill(store)
    if stalled == "list":
        fault = traffic.add(Fault("GET", wait=True, when=lambda one: "chat_idle" in one.query))
    elif stalled == "look":
        write = traffic.add(Fault("PUT", TEA, status=0, after=True))
        fault = traffic.add(Fault("GET", TEA, wait=True, when=lambda _: write.times == 0))
    else:
        fault = traffic.add(Fault("PUT", "chat_audit/", wait=True))
    deleting = asyncio.create_task(store.delete(LOCAL_OWNER, "tea", audit=entry("delete")))
    assert await asyncio.to_thread(fault.reached.wait, 60)
    traffic.ahead += 60
    await rival.threads(LOCAL_OWNER, limit=1)
    await say(rival, prompt="new life")
    fault.released.set()
    if stalled == "look":  # all that can be said is that it is another thread
        await asyncio.gather(deleting, return_exceptions=True)
    else:
        await deleting
    assert await prompts(rival) == ["new life"]
    assert ("delete", "tea", None) in await told(rival)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_thread_that_is_taken_back_without_an_answer(
    store: ThreadStore, rival: ThreadStore, traffic: Traffic, *, after: bool
) -> None:
    """The loser of a race for two spellings is told so, whatever answer is lost on the way."""
    await store.check()
    fault = traffic.add(Fault("PUT", "chat_histories/Tea.json", wait=True))
    making = asyncio.create_task(say(store, "Tea"))
    assert await asyncio.to_thread(fault.reached.wait, 60)
    await fill(rival)
    traffic.add(Fault("PUT", "chat_histories/Tea.json", status=0, after=after))
    fault.released.set()
    with pytest.raises(InvalidRequest, match="case"):
        await making
    assert await ids(rival) == ["tea"]


# The marks of archived threads --------------------------------------------------------------------


async def lists(store: ThreadStore) -> tuple[list[str], list[str]]:
    """Return the ids of the threads that are in use, and of those that are archived."""
    return await ids(store), await ids(store, archived=True)


@pytest.mark.parametrize(
    ("archived", "method", "key"),
    [(True, "PUT", "chat_archived/"), (True, "PUT", TEA), (False, "PUT", TEA), (False, "POST", "")],
)
async def test_archive_and_restore_at_once(
    store: ThreadStore, rival: ThreadStore, traffic: Traffic, method: str, key: str, *, archived: bool
) -> None:
    """Whoever is last, each thread is in one list and not in the other."""
    await fill(store, 1)
    await store.archive(LOCAL_OWNER, "tea", archived=not archived)
    fault = traffic.add(Fault(method, key, wait=True))
    changing = asyncio.create_task(store.archive(LOCAL_OWNER, "tea", archived=archived))
    assert await asyncio.to_thread(fault.reached.wait, 60)
    await rival.archive(LOCAL_OWNER, "tea", archived=not archived)
    await rival.rename(LOCAL_OWNER, "tea", "Renamed")
    fault.released.set()
    await changing
    is_archived = (await rival.thread(LOCAL_OWNER, "tea")).archived_at is not None
    assert await lists(rival) == (([], ["tea"]) if is_archived else (["tea"], []))


async def test_marks_where_etags_are_no_digests(
    store: ThreadStore, traffic: Traffic, s3_server: Server, url: str
) -> None:
    """The mark names the version as the server calls it, and there is no other."""
    await fill(store, 1)

    def rename_version(answer: bytes) -> bytes:
        head, mark, body = answer.partition(b"\r\n\r\n")
        return re.sub(rb"(?i)\r\netag: [^\r]*", b'\r\nETag: "of-its-own"', head) + mark + body

    traffic.add(Fault("PUT", TEA, replace=rename_version))
    await store.archive(LOCAL_OWNER, "tea", archived=True)
    marks = [key for key in s3_server.keys(url) if key.startswith("chat_archived/")]
    assert marks == ["chat_archived/tea~of-its-own"]
    assert await lists(store) == ([], ["tea"])
    await store.archive(LOCAL_OWNER, "tea", archived=False)
    assert await lists(store) == (["tea"], [])


@pytest.mark.parametrize("archived", [True, False])
async def test_archive_that_is_broken_off(
    store: ThreadStore, traffic: Traffic, s3_server: Server, url: str, *, archived: bool
) -> None:
    """Whichever request is the last one, each thread is in one list and not in the other."""
    for allowed in range(4):
        await fill(store, 1)
        await store.archive(LOCAL_OWNER, "tea", archived=not archived)
        seen: list[object] = []

        def is_too_late(request: object, seen: list[object] = seen, allowed: int = allowed) -> bool:
            seen.append(request)
            return len(seen) > allowed

        for method in ("PUT", "POST", "DELETE"):
            refuse = Fault(method, status=403, code="AccessDenied", times=9999, when=is_too_late)
            traffic.add(refuse)
        await asyncio.gather(store.archive(LOCAL_OWNER, "tea", archived=archived), return_exceptions=True)
        traffic.faults.clear()
        is_archived = (await store.thread(LOCAL_OWNER, "tea")).archived_at is not None
        assert await lists(store) == (([], ["tea"]) if is_archived else (["tea"], []))
        await store.archive(LOCAL_OWNER, "tea", archived=False)
        await store.delete(LOCAL_OWNER, "tea")
        assert s3_server.keys(url) == ["chat_names/tea"]
        let_leases_end(url)


async def test_marks_of_earlier_versions(
    store: ThreadStore, traffic: Traffic, s3_server: Server, url: str
) -> None:
    """A mark without a version counts where it is not older than the object, and goes with a restoration."""
    await fill(store, 1)
    await store.archive(LOCAL_OWNER, "tea", archived=True)
    (mark,) = (key for key in s3_server.keys(url) if key.startswith("chat_archived/"))
    s3_server.ask("DELETE", s3_server._path(url, mark))
    s3_server.write(url, "chat_archived/tea", b"")
    traffic.counts()
    assert await lists(store) == ([], ["tea"])
    await store.archive(LOCAL_OWNER, "tea", archived=False)
    assert await lists(store) == (["tea"], [])
    assert not [key for key in s3_server.keys(url) if key.startswith("chat_archived/")]


# The audit ----------------------------------------------------------------------------------------


def refuse_entries(traffic: Traffic) -> None:
    """Let nobody write into the audit."""
    traffic.add(Fault("PUT", "chat_audit/", status=403, code="AccessDenied", times=9999))


async def test_deletion_that_could_not_be_told(
    store: ThreadStore, rival: ThreadStore, traffic: Traffic
) -> None:
    """A thread that went without an entry in the audit gets it when somebody tries again."""
    await fill(store)
    refuse_entries(traffic)
    with pytest.raises(StoreDenied):
        await store.delete(LOCAL_OWNER, "tea", audit=entry("delete"))
    traffic.faults.clear()
    assert await told(store) == []
    with pytest.raises(ThreadNotFound):
        await rival.delete(LOCAL_OWNER, "tea", audit=entry("again"))
    assert await told(store) == [("delete", "tea", None)]


@pytest.mark.parametrize("then", ["cleanup", "new thread"])
async def test_deletion_that_nobody_tries_again(
    store: ThreadStore, rival: ThreadStore, traffic: Traffic, url: str, then: str
) -> None:
    """Before what is left of a thread goes, the audit tells of all that was done to it."""
    await fill(store)
    refuse_entries(traffic)
    with pytest.raises(StoreDenied):
        await store.clear(LOCAL_OWNER, "tea", audit=entry("clear"))
    with pytest.raises(StoreDenied):
        await store.delete(LOCAL_OWNER, "tea", audit=entry("delete"))
    traffic.faults.clear()
    let_leases_end(url)
    if then == "cleanup":
        assert (await sweep(rival, LONG_AGO)).removed == ()
    else:
        await say(rival)
    assert await told(store) == [("clear", "tea", None), ("delete", "tea", None)]


async def test_clearing_that_could_not_be_told(
    store: ThreadStore, rival: ThreadStore, traffic: Traffic
) -> None:
    """The next turn writes the entry, once, and is no less a turn where that fails."""
    await fill(store)
    refuse_entries(traffic)
    with pytest.raises(StoreDenied):
        await store.clear(LOCAL_OWNER, "tea", audit=entry("clear"))
    await fill(rival, 1)
    traffic.faults.clear()
    await say(store, prompt="2")
    await say(rival, prompt="3")
    assert await told(store) == [("clear", "tea", None)]
    assert await prompts(store) == ["1", "2", "3"]
    traffic.counts()
    await say(rival, prompt="4")
    assert traffic.counts() == {"PUT": 2}


async def test_cleanup_that_fails_midway(store: ThreadStore, rival: ThreadStore, traffic: Traffic) -> None:
    """A step tells what it removed, and so does the audit; the next one fails with what stands against it."""
    for number in range(6):
        await say(store, f"t{number}")
    traffic.add(Fault("PUT", "chat_histories/t2.json", status=403, code="AccessDenied", times=9999))
    expiry = tomorrow(entry("cleanup", None))
    step = await store.sweep(LOCAL_OWNER, expiry, limit=500)
    assert names(step.removed) == ["t0", "t1", "t3", "t4", "t5"]
    assert step.cursor is not None
    with pytest.raises(StoreDenied):
        await store.sweep(LOCAL_OWNER, tomorrow(entry("cleanup", None)), limit=500, cursor=step.cursor)
    assert await ids(rival) == ["t2"]
    assert await told(rival) == [("cleanup", None, 5)]
    traffic.faults.clear()
    expiry = Expiry(expiry.before, audit=entry("cleanup", None))
    step = await store.sweep(LOCAL_OWNER, expiry, limit=500, cursor=step.cursor)
    assert (names(step.removed), step.cursor) == (["t2"], None)
    assert await told(rival) == [("cleanup", None, 5), ("cleanup", None, 1)]


async def test_cleanup_that_could_not_be_told(
    store: ThreadStore, rival: ThreadStore, traffic: Traffic, s3_server: Server, url: str
) -> None:
    """The next cleanup tells of each thread that one has buried and not told of, once, and removes it."""
    for name in "abc":
        await say(store, name)
    refuse_entries(traffic)
    with pytest.raises(StoreDenied):
        await store.sweep(LOCAL_OWNER, tomorrow(entry("cleanup", None)), limit=9)
    assert await ids(rival) == []
    let_leases_end(url)
    traffic.faults.clear()
    first = traffic.add(Fault("PUT", "chat_audit/", after=True))
    traffic.add(
        Fault("PUT", "chat_audit/", status=403, code="AccessDenied", when=lambda _: first.times == 0),
    )
    with pytest.raises(StoreDenied):
        await sweep(rival, LONG_AGO)
    assert len(await told(rival)) == 1
    let_leases_end(url)
    await sweep(rival, LONG_AGO)
    assert sorted(await told(rival)) == [("cleanup", name, 1) for name in "abc"]
    assert [key for key in s3_server.keys(url) if "histories" in key] == []


async def test_cleanup_that_could_not_be_ended(
    store: ThreadStore, rival: ThreadStore, traffic: Traffic, url: str
) -> None:
    """What a cleanup has told of and not removed is removed by the next one, and not told again."""
    for name in "ab":
        await say(store, name)
    traffic.add(Fault("POST", status=403, code="AccessDenied"))
    with pytest.raises(StoreDenied):
        await store.sweep(LOCAL_OWNER, tomorrow(entry("cleanup", None)), limit=9)
    let_leases_end(url)
    await sweep(rival, LONG_AGO)
    assert await told(rival) == [("cleanup", None, 2)]


async def test_cleanup_that_somebody_meets(store: ThreadStore, rival: ThreadStore, traffic: Traffic) -> None:
    """Who comes upon a thread that is just being removed does not tell of it in the place of the cleanup."""
    await say(store)
    fault = traffic.add(Fault("PUT", "chat_audit/", wait=True))
    sweeping = asyncio.create_task(store.sweep(LOCAL_OWNER, tomorrow(entry("cleanup", None)), limit=9))
    assert await asyncio.to_thread(fault.reached.wait, 60)
    with pytest.raises(ThreadBusy):
        await say(rival)
    with pytest.raises(ThreadNotFound):
        await rival.delete(LOCAL_OWNER, "tea", audit=entry("delete"))
    fault.released.set()
    assert names((await sweeping).removed) == ["tea"]
    assert await told(rival) == [("cleanup", None, 1)]


async def test_cleanup_by_a_machine_that_slept(
    store: ThreadStore, rival: ThreadStore, traffic: Traffic
) -> None:
    """What it buried is told once by it and by those who came upon that meanwhile, and theirs stays."""
    for name in "ab":
        await say(store, name)
    fault = traffic.add(Fault("PUT", "chat_histories/b.json", wait=True, after=True))
    sweeping = asyncio.create_task(store.sweep(LOCAL_OWNER, tomorrow(entry("cleanup", None)), limit=9))
    assert await asyncio.to_thread(fault.reached.wait, 60)
    traffic.ahead += 60
    await rival.threads(LOCAL_OWNER, limit=1)
    await say(rival, "a", prompt="new life")
    fault.released.set()
    assert names((await sweeping).removed) == ["a", "b"]
    assert await prompts(rival, "a") == ["new life"]
    assert sorted(await told(rival)) == [("cleanup", "a", 1), ("cleanup", "b", 1)]


async def test_cleanup_in_doubt(
    store: ThreadStore, open_one: Callable[..., ThreadStore], traffic: Traffic, url: str
) -> None:
    """Where it can't be said whether a thread was buried, each has an entry of its own, that one too."""
    for name in "abc":
        await say(store, name)
    key = "chat_histories/c.json"
    write = traffic.add(Fault("PUT", key, status=0, after=True))
    for method in ("HEAD", "PUT"):
        silent = Fault(method, key, status=503, code="SlowDown", times=9999, when=lambda _: write.times == 0)
        traffic.add(silent)
    hasty = open_one(patience=2)
    step = await hasty.sweep(LOCAL_OWNER, tomorrow(entry("cleanup", None)), limit=9)
    assert names(step.removed) == ["a", "b"]
    traffic.faults.clear()
    assert sorted(await told(store)) == [("cleanup", "a", 1), ("cleanup", "b", 1)]
    let_leases_end(url)
    await sweep(store, LONG_AGO)
    assert sorted(await told(store)) == [("cleanup", name, 1) for name in "abc"]


async def test_cleanup_without_an_answer(store: ThreadStore, traffic: Traffic) -> None:
    """A thread that was buried by a request without an answer is counted, also if that arrives late."""
    for name in "abc":
        await say(store, name)
    write = traffic.add(Fault("PUT", "chat_histories/b.json", status=0, after=True))
    traffic.add(
        Fault("HEAD", "chat_histories/b.json", status=503, times=2, when=lambda _: write.times == 0),
    )
    step = await store.sweep(LOCAL_OWNER, tomorrow(entry("cleanup", None)), limit=9)
    assert sorted(names(step.removed)) == ["a", "b", "c"]
    assert await told(store) == [("cleanup", None, 3)]


# Copying ------------------------------------------------------------------------------------------


async def test_what_is_copied_is_read_from_the_bucket(
    store: ThreadStore, rival: ThreadStore, traffic: Traffic
) -> None:
    """A copied thread is compared as the bucket has it, not as the store remembers it, whatever it says."""
    source = MemoryStore()
    await source.import_thread(Thread("tea", LOCAL_OWNER, "", "", 0, utc_now(), utc_now()), ())
    roll = Roll()
    roll.add(LOCAL_OWNER, ["tea"])
    (copied,) = [one async for one in copy_threads(source, store, roll, dry_run=False)]
    roll.close()
    assert copied.error is None
    reads = [one for one in traffic.requests if (one.method, TEA in one.key) == ("GET", True)]
    assert "if-none-match" not in reads[1].headers
    assert await rival.thread(LOCAL_OWNER, "tea") == await source.thread(LOCAL_OWNER, "tea")
