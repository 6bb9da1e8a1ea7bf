"""SQLite under faults: locked, full, failing disks, files that are no store of ours."""

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from chatcli.errors import StoreCorrupt, StoreFull, StoreNewerSchema, StoreUnavailable
from chatcli.models import LOCAL_OWNER, TurnState
from chatcli.stores.sqlite import SqliteStore
from chatcli.stores.sqlite.runners import Threaded
from chatcli.stores.sqlite.schema import MIGRATIONS
from tests.stores.talk import answer, held, new_turn, say, texts
from tests.stores.test_sqlite_disk import write_turns

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


async def test_killed_while_the_log_was_written_back(store: SqliteStore, path: Path, tmp_path: Path) -> None:
    """The first page tells of pages that did not reach the file any more: the log still has them all."""
    await say(store)
    write_back(path)
    for _ in range(9):
        await say(store, prompt="x" * 9_000)
    again = SqliteStore(str(half_written_back(path, tmp_path)), runner=Threaded())
    assert len(await again.turns(LOCAL_OWNER, "tea")) == 10
    await say(again)
    assert len(await again.turns(LOCAL_OWNER, "tea")) == 11
    await again.aclose()


def write_back(path: Path) -> None:
    """Write the log into the file, and empty it."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def half_written_back(path: Path, folder: Path) -> Path:
    """Return a copy of a store as a kill leaves it after the first page of its log reached the file."""
    whole, left = folder / "whole.db", folder / "left.db"
    for copy in (whole, left):
        shutil.copy(path, copy)
        shutil.copy(f"{path}-wal", f"{copy}-wal")
    write_back(whole)
    left.write_bytes(whole.read_bytes()[:4096] + left.read_bytes()[4096:])
    return left


async def test_waiting_blocks_no_other_call(path: Path) -> None:
    """While one call waits for the lock, others of the same store are served, and then it succeeds."""
    store = SqliteStore(str(path), runner=Threaded())
    assert store._transactions._patience == 5
    await say(store)
    with locked(path):
        task = asyncio.create_task(store.begin(new_turn()))
        for _ in range(20):
            await store.turns(LOCAL_OWNER, "tea")
        assert not task.done()
    assert (await task).turn.index == 2
    await store.aclose()


async def test_no_room_left(store: SqliteStore) -> None:
    """A full database says so; what could not be ended blocks nobody, and may be ended later."""
    begun = await store.begin(new_turn())
    connection = store._transactions.database._connection
    assert connection is not None
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}").fetchall()
    outcome = answer("8" * 100_000, turn_id=begun.turn.id)
    with pytest.raises(StoreFull):
        await store.commit(held(begun), outcome)

    second = await say(store)  # on a fresh connection, without the limit
    first = await store.commit(held(begun), outcome)
    assert first.state is TurnState.COMPLETE
    assert await store.turns(LOCAL_OWNER, "tea") == (first, second)


async def test_every_connection_is_careful(store: SqliteStore) -> None:
    """The settings that the promises rest on are in force."""
    await store.check()
    connection = store._transactions.database._connection
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


def foreign_with_log(path: Path) -> None:
    """Make a foreign database whose program died: merely opening it would write its log back."""
    source = path.with_name("source.db")
    with closing(sqlite3.connect(source)) as other:
        other.execute("PRAGMA journal_mode = WAL").fetchall()
        other.execute("CREATE TABLE notes (text)")
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        other.execute("INSERT INTO notes VALUES ('mine')")
        other.commit()
        for end in ("", "-wal"):
            shutil.copyfile(f"{source}{end}", f"{path}{end}")
    source.unlink()


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
        (foreign_with_log, StoreCorrupt),
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
        other.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
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
