"""The files: private, readable where nothing can be written, whole after a crash, free of deleted text."""

import os
import random
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from chatcli.models import LOCAL_OWNER, TurnState
from chatcli.stores.base import Blob, CheckpointKey, CheckpointRow
from chatcli.stores.sqlite import SqliteStore, health
from tests.stores.talk import answer, held, new_turn, say, texts

ROOT = Path(__file__).parents[2]
NOBODY = 65534


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "er" / "chatcli.db"


@pytest.fixture
def any_umask(request: pytest.FixtureRequest) -> Iterator[None]:
    old = os.umask(request.param)
    yield
    os.umask(old)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def size(path: Path) -> int:
    return path.stat().st_size


def modes(folder: Path) -> dict[str, int]:
    return {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in folder.iterdir()}


@pytest.mark.parametrize("any_umask", [0o000, 0o022, 0o377], indirect=True)
@pytest.mark.usefixtures("any_umask")
async def test_modes(path: Path) -> None:
    """Folders are 0700 and every file is 0600, whatever the umask."""
    store = SqliteStore(str(path))
    await store.begin(new_turn())
    assert modes(path.parent) == {f"chatcli.db{end}": 0o600 for end in ("", "-wal", "-shm", ".lock")}
    assert modes(path.parents[1]) == {"er": 0o700}
    assert modes(path.parents[2]) == {"deep": 0o700}
    assert not [sentence for sentence in await store.check() if "Other users" in sentence]
    await store.aclose()


async def test_existing_folder_is_left_alone(tmp_path: Path) -> None:
    """A folder that was there keeps its mode; check warns of what others can see."""
    os.chmod(tmp_path, 0o755)  # noqa: PTH101, S103
    store = SqliteStore(str(tmp_path / "chatcli.db"))
    assert any(str(tmp_path) in sentence for sentence in await store.check())
    await store.aclose()
    assert mode(tmp_path) == 0o755


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ((3, 40, 1), True),
        ((3, 44, 6), False),
        ((3, 45, 0), True),
        ((3, 50, 7), False),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
        ((3, 53, 0), False),
    ],
)
def test_known_bug(version: tuple[int, int, int], *, expected: bool) -> None:
    """The WAL-reset bug is in all versions before 3.51.3 but the mended branches 3.44.6 and 3.50.7."""
    assert health.has_wal_reset_bug(version) is expected


def whole_files(folder: Path) -> bytes:
    return b"".join(entry.read_bytes() for entry in folder.iterdir())


@pytest.mark.parametrize("how", ["delete", "clear"])
async def test_deleted_text_is_gone(path: Path, how: str) -> None:
    """After delete or clear no file holds the text, while the store is open and others' text stays."""
    store = SqliteStore(str(path))
    for number in range(30):
        await say(store, f"keep-{number}", "kept" * 300, "kept as well")
    begun = await store.begin(new_turn(prompt="CANARY " * 3000, system="CANARY", title="CANARY"))
    await store.commit(held(begun), answer("CANARY", turn_id=begun.turn.id, index=2))
    assert b"CANARY" in whole_files(path.parent)
    await store.rename(LOCAL_OWNER, "tea", "Tea")
    await (store.delete if how == "delete" else store.clear)(LOCAL_OWNER, "tea")

    found = whole_files(path.parent).count(b"CANARY")
    assert found == (0 if how == "delete" else 1), "the system prompt stays with a cleared thread"
    assert len((await store.threads(LOCAL_OWNER, limit=99)).threads) >= 30
    await store.aclose()


@pytest.mark.parametrize("seed", [3, 7])
async def test_no_stale_copy_is_left(path: Path, seed: int) -> None:
    """Rows that SQLite moved between pages leave copies behind: these are gone when the store is closed."""
    chance = random.Random(seed)
    store = SqliteStore(str(path))
    await store.check()
    connection = store._transactions.database._connection
    assert connection is not None
    connection.execute("PRAGMA synchronous = OFF").fetchall()  # many turns, and no crash to survive
    count = 0
    for number in range(120):
        for _ in range(chance.randint(1, 3)):
            count += 1
            new = new_turn(f"t{number}", f"CANARY{number:03}", turn_id=f"{count:036}")
            begun = await store.begin(new)
            channel = {("c", begun.turn.id): Blob("m", f"CANARY{number:03}".encode() * chance.randint(1, 60))}
            key = CheckpointKey(LOCAL_OWNER, f"t{number}", "", begun.turn.id)
            row = CheckpointRow(key, None, Blob("m", b"h"), "{}", {"c": begun.turn.id}, channel)
            await store.commit(held(begun), answer("80", turn_id=begun.turn.id), row)
    gone = chance.sample(range(120), 60)
    for number in gone:
        await store.delete(LOCAL_OWNER, f"t{number}")
    await store.aclose()

    data = whole_files(path.parent)
    assert not [number for number in gone if f"CANARY{number:03}".encode() in data]
    assert all(f"CANARY{number:03}".encode() in data for number in range(120) if number not in gone)


async def test_torn_log_at_any_prefix(tmp_path: Path) -> None:
    """Whatever is missing from the end of the log, the store opens with a prefix of whole turns."""
    source = tmp_path / "chatcli.db"
    store = SqliteStore(str(source))
    await say(store, prompt="q1", reply="a1")
    with closing(sqlite3.connect(source)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    for number in range(2, 9):
        await say(store, prompt=f"q{number}" + "q" * 5000, reply=f"a{number}")
    log = source.with_name("chatcli.db-wal").read_bytes()
    data = source.read_bytes()
    frames = range(32, len(log) + 1, 4120)
    cuts = {0, 31, len(log), *frames, *(frame + 1000 for frame in frames)}
    counts = set()
    for cut in sorted(cuts):
        torn = tmp_path / f"cut-{cut}" / "chatcli.db"
        write(torn, data, log[:cut])
        again = SqliteStore(str(torn))
        turns = await again.turns(LOCAL_OWNER, "tea")
        expected = [[f"q{n}", f"a{n}"] for n in range(1, len(turns) + 1)]
        if turns[-1].state is not TurnState.COMPLETE:  # begun, and not yet answered
            assert turns[-1].state is TurnState.RUNNING or len(turns[-1].messages) == 1
            expected[-1].pop()
        assert [[text.rstrip("q") for text in turn] for turn in texts(turns)] == expected
        counts.add(len(turns))
        await say(again, "next")
        await again.aclose()
    await store.aclose()
    assert counts == set(range(1, 9))


def write(path: Path, data: bytes, log: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(data)
    path.with_name(path.name + "-wal").write_bytes(log)


async def test_any_tool_reads_it(path: Path) -> None:
    """One view shows what was said, and the tables explain themselves."""
    store = SqliteStore(str(path))
    await say(store)
    await store.aclose()
    with closing(sqlite3.connect(path)) as other:
        said = other.execute("SELECT thread, turn, role, content FROM conversations").fetchall()
        (schema,) = other.execute("SELECT group_concat(sql) FROM sqlite_schema").fetchone()
    assert said == [("tea", 1, "human", "How hot?"), ("tea", 1, "ai", "80 degrees.")]
    assert "-- 1, 2, …: the order of turns" in schema


async def test_size_of_a_turn(path: Path) -> None:
    """A turn of 800 characters in two messages takes at most 1.3 KB of the file, all in."""
    store = SqliteStore(str(path))
    await store.check()
    connection = store._transactions.database._connection
    assert connection is not None
    connection.execute("PRAGMA synchronous = OFF").fetchall()
    for _ in range(400):
        await say(store, prompt="q" * 400, reply="a" * 400)
    await store.aclose()
    assert size(path) / 400 < 1300 + 100_000 / 400  # the empty tables have pages of their own


async def test_cost_does_not_grow_with_the_thread(path: Path) -> None:
    """SQLite takes as many steps for a turn and its context after 600 turns as after 60."""
    store = SqliteStore(str(path))
    await store.check()
    connection = store._transactions.database._connection
    assert connection is not None
    connection.execute("PRAGMA synchronous = OFF").fetchall()

    async def steps() -> int:
        counted = 0

        def count() -> int:
            nonlocal counted
            counted += 1
            return 0

        connection.set_progress_handler(count, 1)
        await say(store)
        await store.context(LOCAL_OWNER, "tea", limit=20)
        connection.set_progress_handler(None, 1)
        return counted

    for _ in range(60):
        await say(store)
    early = await steps()
    for _ in range(540):
        await say(store)
    assert await steps() <= early * 1.05
    await store.aclose()
