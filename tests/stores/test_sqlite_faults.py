"""SQLite under faults: locked, full, failing disks, files that are no store of ours."""

import asyncio
import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from chatcli.errors import StoreCorrupt, StoreFull, StoreNewerSchema, StoreUnavailable
from chatcli.models import LOCAL_OWNER, TurnState
from chatcli.stores.sqlite import SqliteStore
from chatcli.stores.sqlite.runners import Threaded
from tests.stores.talk import answer, held, new_turn, say, texts

ROOT = Path(__file__).parents[2]
STRACE = shutil.which("strace")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "chatcli.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(str(path), runner=Threaded(), patience=0.05)
    yield store
    await store.aclose()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the writer lock as another program would."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


async def test_locked_by_another_program(store: SqliteStore, path: Path) -> None:
    """A writer lock is waited for a bounded time; reading goes on, and so does writing afterwards."""
    await say(store)
    with locked(path):
        with pytest.raises(StoreUnavailable):
            await store.begin(new_turn())
        assert len(await store.turns(LOCAL_OWNER, "tea")) == 1
        assert len(await store.context(LOCAL_OWNER, "tea", limit=20)) == 2
    await say(store)
    assert [turn.index for turn in await store.turns(LOCAL_OWNER, "tea")] == [1, 2]


async def test_waiting_blocks_no_other_call(path: Path) -> None:
    """While one call waits for the lock, others of the same store are served, and then it succeeds."""
    store = SqliteStore(str(path), runner=Threaded())
    assert store._patience == 5
    await say(store)
    with locked(path):
        task = asyncio.create_task(store.begin(new_turn()))
        for _ in range(20):
            await store.turns(LOCAL_OWNER, "tea")
        assert not task.done()
    assert (await task).turn.index == 2
    await store.aclose()


async def test_no_room_left(store: SqliteStore) -> None:
    """A full database says so; what was there stays, and the next turn works when there is room."""
    begun = await store.begin(new_turn())
    connection = store._database._connection
    assert connection is not None
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}").fetchall()
    outcome = answer("8" * 100_000, turn_id=begun.turn.id)
    with pytest.raises(StoreFull):
        await store.commit(held(begun), outcome)

    turn = await store.commit(held(begun), outcome)  # on a fresh connection, without the limit
    assert turn.state is TurnState.COMPLETE
    assert await store.turns(LOCAL_OWNER, "tea") == (turn,)


WRITER = """
import json, resource, sys
from chatcli.errors import ChatcliError
from chatcli.models import LOCAL_OWNER
from chatcli.stores import open_store
from tests.stores.talk import answer, new_turn

def drive(coroutine):
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value

url, limit = sys.argv[1], int(sys.argv[2])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
store = open_store(url, threaded=False)
told = []
for number in range(12):
    try:
        begun = drive(store.begin(new_turn(prompt=f"q{number}" + "q" * 3000)))
        drive(store.commit(begun.lease, answer(f"a{number}", turn_id=begun.turn.id)))
        told.append("saved")
    except ChatcliError as error:
        told.append(error.name)
        if limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(json.dumps(told), flush=True)
"""


def write_turns(path: Path, *, limit: int = 0, tracer: tuple[str, ...] = ()) -> list[str]:
    """Write twelve turns in another process that goes on after errors; return what was said of each."""
    done = subprocess.run(
        [*tracer, sys.executable, "-c", WRITER, f"sqlite:///{path}", str(limit)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    told: list[str] = json.loads(done.stdout)
    return told


async def check_whole(store: SqliteStore, told: list[str]) -> None:
    """Nothing acknowledged is missing, no turn is half there, and the next one works."""
    turns = await store.turns(LOCAL_OWNER, "tea")
    complete = {turn.messages[0].text.rstrip("q") for turn in turns if turn.state is TurnState.COMPLETE}
    assert {f"q{number}" for number, name in enumerate(told) if name == "saved"} <= complete
    assert all(len(turn.messages) == (2 if turn.state is TurnState.COMPLETE else 1) for turn in turns)
    assert await store.check() is not None
    await say(store)


@pytest.mark.parametrize("limit", [60_000, 90_000, 131_072])
async def test_file_that_may_not_grow(store: SqliteStore, path: Path, limit: int) -> None:
    """Where a file may not grow the turn is not saved; when it may again, the next one works."""
    await say(store)
    await store.aclose()
    told = write_turns(path, limit=limit)
    assert set(told) == {"saved", "not-saved"}
    await check_whole(store, told)


@pytest.mark.skipif(STRACE is None, reason="needs strace to inject failures")
@pytest.mark.parametrize("call", ["pwrite64", "fdatasync", "ftruncate"])
@pytest.mark.parametrize(
    ("errno", "names"), [("ENOSPC", {"store-full", "not-saved"}), ("EIO", {"not-saved"})]
)
async def test_failing_disk(store: SqliteStore, path: Path, call: str, errno: str, names: set[str]) -> None:
    """ENOSPC or EIO at a write, an fsync or a truncation: told as such, nothing lost, nothing half."""
    await say(store)
    await store.aclose()
    assert STRACE is not None
    tracer = (STRACE, "-qq", "-o", "/dev/null", "-e", f"trace={call}")
    told = write_turns(path, tracer=(*tracer, "-e", f"inject={call}:error={errno}:when=4..9"))
    assert set(told) - {"saved"} <= names
    assert told[-1] == "saved"
    assert {"not-saved", "store-full"} & set(told) or call == "ftruncate"
    await check_whole(store, told)


@pytest.mark.skipif(STRACE is None, reason="needs strace to see system calls")
def test_acknowledged_is_on_disk(path: Path, tmp_path: Path) -> None:
    """Whatever is acknowledged was flushed after it was written: the last write is behind an fsync."""
    log = tmp_path / "log"
    assert STRACE is not None
    script = WRITER.replace('told.append("saved")', 'print("ACK!", flush=True)')
    subprocess.run(
        [
            *(STRACE, "-qq", "-y", "-o", str(log), "-e", "trace=pwrite64,write,fdatasync,fsync"),
            *(sys.executable, "-c", script, f"sqlite:///{path}", "0"),
        ],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    calls = [
        (line.split("(")[0], "ACK!" in line)
        for line in log.read_text(errors="replace").splitlines()
        if f"{path}-wal>" in line or "ACK!" in line
    ]
    acknowledged = [place for place, call in enumerate(calls) if call[1]]
    assert len(acknowledged) == 12
    for place in acknowledged:
        assert calls[place - 1][0] in {"fdatasync", "fsync"}


async def test_every_connection_is_careful(store: SqliteStore) -> None:
    """The settings that the promises rest on are in force."""
    await store.check()
    connection = store._database._connection
    assert connection is not None
    for name, value in {
        "synchronous": 2,
        "journal_mode": "wal",
        "secure_delete": 1,
        "foreign_keys": 1,
        "trusted_schema": 0,
        "busy_timeout": 0,
    }.items():
        assert connection.execute(f"PRAGMA {name}").fetchone()[0] == value


def garbage(path: Path) -> None:
    path.write_bytes(b"Dear diary, " * 1000)


def garbled_header(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE notes (text)")
    path.write_bytes(path.read_bytes()[:64] + b"\xff" * 4032)


def truncated(path: Path) -> None:
    source = path.with_name("source.db")
    write_turns(source)
    path.write_bytes(source.read_bytes()[:40_960])
    source.unlink()


def foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE notes (text)")


def foreign_marked(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA application_id = 252006673")
        other.execute("PRAGMA user_version = 1")


def listing(path: Path) -> dict[str, bytes | None]:
    """Return the files beside `path` and what they hold, the lock file left out."""
    return {
        entry.name: entry.read_bytes() if entry.is_file() else None
        for entry in path.parent.iterdir()
        if entry.suffix != ".lock"
    }


def spoil(path: Path) -> None:
    """Put noise in the place of the last two pages."""
    data = bytearray(path.read_bytes())
    data[-8192:] = b"\xa5" * 8192
    path.write_bytes(data)


def remove(path: Path) -> None:
    for name in ("", "-wal", "-shm"):
        path.with_name(path.name + name).unlink()


def folder(path: Path) -> None:
    path.mkdir()


def newer(path: Path) -> None:
    write_turns(path)
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA journal_mode = DELETE").fetchall()
        other.execute("PRAGMA user_version = 99")


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (garbage, StoreCorrupt),
        (garbled_header, StoreCorrupt),
        (truncated, StoreCorrupt),
        (foreign, StoreCorrupt),
        (foreign_marked, StoreCorrupt),
        (folder, StoreCorrupt),
        (newer, StoreNewerSchema),
    ],
)
async def test_not_our_file(
    store: SqliteStore, path: Path, make: Callable[[Path], None], error: type[Exception]
) -> None:
    """What is no store that this program knows is refused for reading and writing, and not touched."""
    make(path)
    before = listing(path)
    for call in (
        store.threads(LOCAL_OWNER, limit=1),
        store.begin(new_turn()),
        store.delete(LOCAL_OWNER, "tea"),
        store.check(),
    ):
        with pytest.raises(error):
            await call
    await store.aclose()
    assert listing(path) == before


async def test_upgraded_while_open(store: SqliteStore, path: Path) -> None:
    """A newer program may change the tables under an open store: it stops, and does not write to them."""
    await say(store)
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version = 2")
    for call in (store.turns(LOCAL_OWNER, "tea"), store.begin(new_turn())):
        with pytest.raises(StoreNewerSchema):
            await call


async def test_damaged_rows(store: SqliteStore, path: Path) -> None:
    """A row that makes no sense is an error that names the trouble, never a guess."""
    await say(store, prompt=({"type": "text", "text": "hi"},))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("UPDATE messages SET content = '{' WHERE format IS NOT NULL")
        with pytest.raises(StoreCorrupt):
            await store.turns(LOCAL_OWNER, "tea")
        other.execute("UPDATE messages SET content = CAST(x'ff' AS TEXT), format = NULL")
        with pytest.raises(StoreCorrupt):
            await store.context(LOCAL_OWNER, "tea", limit=20)
        other.execute("UPDATE threads SET created_at = 'yesterday'")
        with pytest.raises(StoreCorrupt):
            await store.thread(LOCAL_OWNER, "tea")


async def test_check_finds_damage(store: SqliteStore, path: Path) -> None:
    """A page of noise in the midst of the file is found by check."""
    write_turns(path)
    spoil(path)
    with pytest.raises(StoreCorrupt):
        await store.check()


async def test_file_removed_while_open(store: SqliteStore, path: Path) -> None:
    """When somebody removes the file, later turns go to a new one that can be found, not into the void."""
    await say(store)
    remove(path)
    await say(store, prompt="still here?")
    other = SqliteStore(str(path))
    assert texts(await other.turns(LOCAL_OWNER, "tea"))[0][0] == "still here?"
    await other.aclose()


async def test_place_that_can_not_be(path: Path) -> None:
    """A path below a file can't be opened: the store is unavailable, for reading and writing."""
    garbage(path)
    store = SqliteStore(str(path / "chatcli.db"))
    for call in (store.threads(LOCAL_OWNER, limit=1), store.begin(new_turn())):
        with pytest.raises(StoreUnavailable):
            await call
