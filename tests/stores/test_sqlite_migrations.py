"""Migrations: old or new and never between, with the database as it was kept beside."""

import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from chatcli.errors import StoreNewerSchema
from chatcli.models import LOCAL_OWNER
from chatcli.stores.sqlite import SqliteStore
from chatcli.stores.sqlite.schema import MIGRATIONS, apply
from tests.stores.talk import say, texts

ROOT = Path(__file__).parents[2]
NEXT = (
    *MIGRATIONS,
    ("ALTER TABLE threads ADD COLUMN mood TEXT", "UPDATE threads SET mood = 'calm'"),
    ("CREATE TABLE pins (thread INTEGER PRIMARY KEY) STRICT", "INSERT INTO pins SELECT key FROM threads"),
)
"""The tables of two versions to come."""
NOW = len(MIGRATIONS)


def files_in(folder: Path) -> dict[str, int]:
    """Return the modes of the files in a folder."""
    return {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in folder.iterdir()}


def look(path: Path) -> tuple[int, bool, bool]:
    """Return the version of a database, and whether it has what each later version brings."""
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        (version,) = other.execute("PRAGMA user_version").fetchone()
        columns = [row[1] for row in other.execute("PRAGMA table_info(threads)")]
        tables = [row[0] for row in other.execute("SELECT name FROM sqlite_schema")]
        if "mood" in columns:
            assert {mood for (mood,) in other.execute("SELECT mood FROM threads")} <= {"calm"}
        if "pins" in tables:
            assert other.execute("SELECT (SELECT count(*) FROM pins) = count(*) FROM threads").fetchone()[0]
        return version, "mood" in columns, "pins" in tables


async def test_migrating_keeps_everything_and_a_backup(tmp_path: Path) -> None:
    """A newer program brings the tables up to date, keeps all turns, and the old database beside it."""
    path = tmp_path / "chatcli.db"
    old = SqliteStore(str(path))
    await say(old)
    new = SqliteStore(str(path), migrations=NEXT)
    await say(new)
    assert texts(await new.turns(LOCAL_OWNER, "tea")) == [["How hot?", "80 degrees."]] * 2
    with pytest.raises(StoreNewerSchema):
        await old.turns(LOCAL_OWNER, "tea")
    await new.aclose()
    await old.aclose()

    assert look(path) == (len(NEXT), True, True)
    backup = tmp_path / f"chatcli.db.backup-v{NOW}"
    assert look(backup) == (NOW, False, False)
    assert files_in(tmp_path)[backup.name] == 0o600
    old = SqliteStore(str(backup))
    assert texts(await old.turns(LOCAL_OWNER, "tea")) == [["How hot?", "80 degrees."]]
    await old.aclose()


async def test_new_database_needs_no_backup(tmp_path: Path) -> None:
    """A database that is made new goes through all versions and leaves nothing beside it."""
    store = SqliteStore(str(tmp_path / "chatcli.db"), migrations=NEXT)
    await store.check()
    await store.aclose()
    assert list(files_in(tmp_path)) == ["chatcli.db"]
    assert look(tmp_path / "chatcli.db")[0] == len(NEXT)


async def test_failing_migration_changes_nothing(tmp_path: Path) -> None:
    """A step that fails is rolled back whole: the earlier program goes on as if nothing had been."""
    path = tmp_path / "chatcli.db"
    old = SqliteStore(str(path))
    await say(old)
    broken = (*MIGRATIONS, ("ALTER TABLE threads ADD COLUMN mood TEXT", "SELECT nonsense"))
    new = SqliteStore(str(path), migrations=broken)
    with pytest.raises(Exception, match="failed"):
        await say(new)
    await say(old)
    await new.aclose()
    await old.aclose()
    assert look(path) == (NOW, False, False)


KILLER = """
import os, shutil, sqlite3, sys
from pathlib import Path
from tests.stores.talk import say
from chatcli.stores.sqlite import SqliteStore
from tests.stores.test_sqlite_migrations import NEXT, MIGRATIONS

def drive(coroutine):
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value

folder = Path(sys.argv[1])
if sys.argv[2] == "old":
    store = SqliteStore(str(folder / "source.db"))
    drive(say(store))
    drive(store.aclose())

steps = 0
while True:
    steps += 1
    path = folder / str(steps) / "chatcli.db"
    path.parent.mkdir()
    if sys.argv[2] == "old":
        shutil.copyfile(folder / "source.db", path)
    child = os.fork()
    if child == 0:
        left = steps
        def count(frame, event, function):
            global left
            if event == "c_call" and isinstance(getattr(function, "__self__", None), sqlite3.Connection):
                left -= 1
                if left == 0:
                    os._exit(9)
        sys.setprofile(count)
        drive(SqliteStore(str(path), migrations=NEXT).check())
        sys.setprofile(None)
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        break
print(steps)
"""


def kill_at_each_step(folder: Path, source: str) -> int:
    """Open a database and be killed, in a folder for each step; return how many there were."""
    command = [sys.executable, "-c", KILLER, str(folder), source]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    return int(done.stdout)


@pytest.mark.parametrize("source", ["old", "new"])
async def test_killed_at_any_step(tmp_path: Path, source: str) -> None:
    """Killed before any statement of opening and migrating: old or new, and the next program goes on."""
    steps = kill_at_each_step(tmp_path, source)
    assert steps > 20
    versions = set()
    for step in range(1, steps + 1):
        path = tmp_path / str(step) / "chatcli.db"
        if "chatcli.db" in files_in(path.parent):
            version, mood, pins = look(path)
            assert (mood, pins) == (version > NOW, version > NOW + 1)
            backup = Path(f"{path}.backup-v{NOW}")
            assert source == "new" or version == NOW or look(backup) == (NOW, False, False)
            versions.add(version)
        store = SqliteStore(str(path), migrations=NEXT)
        await say(store)
        assert len(await store.turns(LOCAL_OWNER, "tea")) == (2 if source == "old" else 1)
        await store.aclose()
    assert versions >= {NOW, NOW + 1, NOW + 2}


async def test_first_version(tmp_path: Path) -> None:
    """A store of the first version is brought up to date with every turn, and its threads' models."""
    path = tmp_path / "chatcli.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = WAL").fetchall()
        apply(other, 1, MIGRATIONS[0])
        now = "2026-01-31T12:00:00.000000Z"
        for key, (name, count) in enumerate({"tea": 2, "empty": 0}.items(), 1):
            other.execute(
                "INSERT INTO threads (key, owner, id, title, language, created_at, updated_at, used,"
                " turn_count) VALUES (?, 'local', ?, 'Tea', 'Danish', ?, ?, ?, ?)",
                (key, name, now, now, key, count),
            )
        for index in (1, 2):
            other.execute(
                "INSERT INTO turns (thread, idx, id, state, started_at, model)"
                " VALUES (1, ?, ?, 'complete', ?, ?)",
                (index, f"t{index}", now, f"offline:{index}"),
            )
            for position, (role, text) in enumerate(
                {"human": "How hot?", "ai": f"{index}0 degrees."}.items()
            ):
                other.execute(
                    "INSERT INTO messages (thread, turn, position, role, content, timestamp)"
                    " VALUES (1, ?, ?, ?, ?, ?)",
                    (index, position, role, text, now),
                )
        other.execute("UPDATE counters SET value = 2")

    store = SqliteStore(str(path))
    assert texts(await store.turns(LOCAL_OWNER, "tea")) == [
        ["How hot?", "10 degrees."],
        ["How hot?", "20 degrees."],
    ]
    assert (await store.thread(LOCAL_OWNER, "tea")).model == "offline:2"
    assert (await store.thread(LOCAL_OWNER, "empty")).model is None
    assert [hit.turn_index for hit in await store.search(LOCAL_OWNER, "20", limit=1)] == [2]
    assert (await say(store)).index == 3
    await store.aclose()
    assert look(path) == (NOW, False, False)
    assert look(tmp_path / "chatcli.db.backup-v1") == (1, False, False)
