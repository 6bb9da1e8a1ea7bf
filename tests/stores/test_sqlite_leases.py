"""Leases in SQLite: time, stopped processes, forks and cancelled callers."""

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from chatcli.errors import ThreadBusy, ThreadNotFound
from chatcli.models import LOCAL_OWNER, TurnState, utc_now
from chatcli.stores.base import LEASE_SECONDS
from chatcli.stores.sqlite import SqliteStore
from chatcli.stores.sqlite.runners import Threaded
from tests.stores.rival import Rival, rival_of
from tests.stores.talk import answer, held, new_turn, say, texts

ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "chatcli.db"


@pytest.fixture
def rival(path: Path) -> Iterator[Rival]:
    with rival_of(f"sqlite:///{path}") as rival:
        yield rival


def later(path: Path, seconds: float) -> SqliteStore:
    """Return a store whose clock is off by some seconds."""
    return SqliteStore(str(path), clock=lambda: utc_now() + timedelta(seconds=seconds))


async def test_stopped_process_loses_its_lease(path: Path, rival: Rival) -> None:
    """A process that stands still holds its thread until the lease runs out; its late commit is kept."""
    rival.ask("begin", turn="r", prompt="early")
    rival.process.send_signal(signal.SIGSTOP)
    before, after = later(path, LEASE_SECONDS - 5), later(path, LEASE_SECONDS + 1)
    with pytest.raises(ThreadBusy):
        await before.begin(new_turn())
    await before.aclose()
    await say(after, prompt="late")
    rival.process.send_signal(signal.SIGCONT)

    assert rival.ask("commit", turn="r", reply="at last") == {"ok": 1}
    assert texts(await after.turns(LOCAL_OWNER, "tea")) == [["early", "at last"], ["late", "80 degrees."]]
    await after.aclose()


async def test_renewed_lease_holds_on(path: Path) -> None:
    """A lease that is renewed holds from then on for as long again."""
    store, after = later(path, 20), later(path, LEASE_SECONDS + 1)
    first = SqliteStore(str(path))
    begun = await first.begin(new_turn())
    await store.renew(held(begun))
    with pytest.raises(ThreadBusy):
        await after.begin(new_turn())
    for each in (first, store, after):
        await each.aclose()


async def test_clock_set_back_blocks_nobody(path: Path) -> None:
    """A lease from the future, written before the clock was set back, does not hold for an hour."""
    store, future = SqliteStore(str(path)), later(path, 3600)
    await future.begin(new_turn())
    await say(store)
    await store.aclose()
    await future.aclose()


async def test_without_file_locks_time_decides(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where files can't be locked, a closed store's lease holds until it runs out."""
    monkeypatch.setattr("chatcli.stores.sqlite.leases._POSIX", False)
    store = SqliteStore(str(path))
    await store.begin(new_turn())
    await store.aclose()
    with pytest.raises(ThreadBusy):
        await store.begin(new_turn())
    after = later(path, LEASE_SECONDS + 1)
    await say(after)
    await store.aclose()
    await after.aclose()


FORK = """
import os, sys, time
from chatcli.errors import ThreadBusy
from chatcli.models import LOCAL_OWNER
from chatcli.stores import open_store
from tests.stores.talk import answer, new_turn

def drive(coroutine):
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value

store = open_store(sys.argv[1], threaded=False)
parent = drive(store.begin(new_turn("parent")))
child = os.fork()
if child == 0:
    assert drive(store.turns(LOCAL_OWNER, "parent"))[0].state == "running"
    try:
        drive(store.begin(new_turn("parent")))
        os._exit(1)
    except ThreadBusy:
        pass
    drive(store.begin(new_turn("child")))
    assert drive(store.turns(LOCAL_OWNER, "child"))[0].state == "running"
    os._exit(0)
_, status = os.waitpid(child, 0)
assert status == 0, status
assert drive(store.turns(LOCAL_OWNER, "child"))[0].state == "interrupted"
assert drive(store.turns(LOCAL_OWNER, "parent"))[0].state == "running"
drive(store.commit(parent.lease, answer("80", turn_id=parent.turn.id)))

read, write = os.pipe()
if os.fork() == 0:
    middle = os.getpid()
    drive(store.begin(new_turn("middle")))
    if os.fork() == 0:
        while os.getppid() == middle:
            time.sleep(0.001)
        os.write(write, drive(store.turns(LOCAL_OWNER, "middle"))[0].state.encode())
    os._exit(0)
os.close(write)
assert os.read(read, 99) == b"interrupted"
drive(store.aclose())
print("fine")
"""


def test_child_of_a_fork_holds_nothing(path: Path) -> None:
    """A forked child has turns of its own, and sees its parent's live and die like any other's."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORK, f"sqlite:///{path}"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert done.stdout == "fine\n"


async def test_cancelled_begin_leaves_the_thread_free(path: Path) -> None:
    """A caller that is cancelled while its turn begins leaves a whole transaction and no lease."""
    store = SqliteStore(str(path), runner=Threaded())
    await say(store)
    within, go_on = threading.Event(), threading.Event()

    def stop_at_commit(statement: str) -> None:
        if statement == "COMMIT":
            within.set()
            go_on.wait(5)

    connection = store._transactions.database._connection
    assert connection is not None
    connection.set_trace_callback(stop_at_commit)
    task = asyncio.create_task(store.begin(new_turn(prompt="cancelled")))
    await asyncio.to_thread(within.wait, 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()

    await say(store)
    states = [turn.state for turn in await store.turns(LOCAL_OWNER, "tea")]
    assert states == [TurnState.COMPLETE, TurnState.INTERRUPTED, TurnState.COMPLETE]
    await store.aclose()


async def test_cancelled_before_its_turn_came(path: Path) -> None:
    """A call that is cancelled while it waits for the thread never happens."""
    store = SqliteStore(str(path), runner=Threaded())
    go_on = threading.Event()
    store._transactions.runner.submit(lambda: go_on.wait(5))
    tasks = [
        asyncio.create_task(store.begin(new_turn())),
        asyncio.create_task(store.rename(LOCAL_OWNER, "tea", "x")),
    ]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    go_on.set()

    with pytest.raises(ThreadNotFound):
        await store.turns(LOCAL_OWNER, "tea")
    await say(store)
    await store.aclose()


async def test_cancelled_commit_is_whole(path: Path) -> None:
    """A commit whose caller is cancelled happens wholly or not at all, and can be said again."""
    store = SqliteStore(str(path), runner=Threaded())
    begun = await store.begin(new_turn())
    outcome = answer("80", turn_id=begun.turn.id)
    task = asyncio.create_task(store.commit(held(begun), outcome))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    turn = await store.commit(held(begun), outcome)
    assert (turn.state, len(turn.messages)) == (TurnState.COMPLETE, 2)
    await store.aclose()
