"""SQLite's full-text index: made by searching, forgetful of what is deleted, and never in the way."""

import os
import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from chatcli.models import LOCAL_OWNER, Message, Role, Thread, Turn, TurnState
from chatcli.stores.base import Expiry
from chatcli.stores.sqlite import SqliteStore, connection, finding, search, threads
from chatcli.stores.sqlite.schema import MIGRATIONS, apply
from tests.stores.talk import answer, held, new_turn, say
from tests.stores.test_sweep import day, put, sweep


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the store is."""
    return tmp_path / "data" / "chatcli.db"


async def found(store: SqliteStore, text: str) -> set[str]:
    """Return the ids of the threads that a search finds."""
    return {hit.thread.id for hit in await store.search(LOCAL_OWNER, text, limit=999)}


def whole_files(folder: Path) -> bytes:
    """Return the bytes of all files."""
    return b"".join(entry.read_bytes() for entry in folder.iterdir())


def tables(path: Path) -> list[str]:
    """Return the tables of the index, after a check of the whole file."""
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        assert other.execute("PRAGMA foreign_key_check").fetchall() == []
        names = [f"search_{part}" for (part,) in other.execute("SELECT part FROM search_parts ORDER BY part")]
        for name in names:
            other.execute(f"INSERT INTO {name} ({name}) VALUES ('integrity-check')")  # noqa: S608
        return names


async def test_turns_do_not_pay(path: Path) -> None:
    """There is no index before the first search, and a search of a store that is not there makes none."""
    store = SqliteStore(str(path))
    assert await found(store, "tea") == set()
    assert not os.path.exists(path)  # noqa: ASYNC240, PTH110
    await say(store)
    assert tables(path) == []
    assert await found(store, "hot") == {"tea"}
    assert tables(path) == ["search_0"]
    await store.aclose()


@pytest.mark.parametrize("how", ["delete", "clear", "sweep"])
async def test_deleted_words_are_gone(path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """No word that was only in deleted turns is left in any file, in no case and no part of it."""
    monkeypatch.setattr(search, "_SPAN", 64)
    store = SqliteStore(str(path))
    chance = random.Random(5)
    for number in range(60):
        words = " ".join(f"w{chance.randrange(400)}" for _ in range(30))
        await put(store, f"keep-{number}", day(9))
        await say(store, f"keep-{number}", words, words)
        if number % 20 == 7:
            await put(store, f"zapped-{number}", day(1))
            if how != "sweep":
                await say(store, f"zapped-{number}", "Canaryword zxq", "xyzzycanary")
            await store.rename(LOCAL_OWNER, f"zapped-{number}", "-")
    expected = {f"zapped-{n}" for n in (7, 27, 47)}
    assert await found(store, "zapped") == expected
    assert len(tables(path)) > 2
    if how == "sweep":
        await sweep(store, Expiry(day(2)))
    else:
        for name in expected:
            await (store.delete if how == "delete" else store.clear)(LOCAL_OWNER, name)
    kept = whole_files(path.parent)
    assert how == "clear" or b"zapped" not in kept, "it is in the ids, and these stay with cleared threads"
    assert b"canary" not in kept.lower()
    assert b"zxq" not in kept
    assert await found(store, "zapped") == set()
    assert len(await found(store, "keep")) == 60
    await store.aclose()
    assert tables(path)


async def test_room_goes_back(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a cleanup the file is small again, also before it is closed, and where it takes many steps."""
    monkeypatch.setattr(connection, "_FREED_AT_ONCE", 20)
    store = SqliteStore(str(path))
    await put(store, "last", day(9))
    long = "long " * 30000
    for number in range(10):
        await store.import_thread(
            Thread(f"t{number}", LOCAL_OWNER, "-", "English", 1, day(0), day(0)),
            [Turn("1", 1, TurnState.COMPLETE, day(0), "m", (Message("1.0", Role.HUMAN, long, day(0)),))],
        )
    await store.aclose()
    assert os.path.getsize(path) > 1_000_000  # noqa: ASYNC240, PTH202
    await sweep(store, Expiry(day(5)))
    assert os.path.getsize(path) < 200_000  # noqa: ASYNC240, PTH202
    await store.aclose()


async def test_file_that_can_not_shrink(path: Path) -> None:
    """A database that was made without room being given back is cleaned up all the same."""
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA auto_vacuum = NONE")
        other.execute("PRAGMA journal_mode = WAL").fetchall()
        for version, migration in enumerate(MIGRATIONS, 1):
            apply(other, version, migration)
        other.commit()
    store = SqliteStore(str(path))
    for number in range(20):
        await put(store, f"t{number}", day(number))
    assert len((await sweep(store, Expiry(day(15)))).removed) == 15
    await store.aclose()


async def test_empty_tables_go(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table all of whose turns were deleted goes with them, and comes again when it is needed."""
    monkeypatch.setattr(search, "_SPAN", 8)
    store = SqliteStore(str(path))
    for number in range(20):
        await put(store, f"t{number}", day(number))
    assert await found(store, "human") == {f"t{number}" for number in range(20)}
    assert tables(path) == [f"search_{part}" for part in range(5)]
    await sweep(store, Expiry(day(9)))
    assert await found(store, "human") == {f"t{number}" for number in range(9, 20)}
    assert tables(path) == [f"search_{part}" for part in range(2, 5)]
    await sweep(store, Expiry(day(99)))
    assert tables(path) == []
    await put(store, "new", day(0))
    assert await found(store, "human") == {"new"}
    assert tables(path) == ["search_0"]
    await store.aclose()


async def test_indexed_in_steps(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps may part a turn's prompt from its answer: it is found by both together, once."""
    monkeypatch.setattr(search, "_STEP", 3)
    store = SqliteStore(str(path))
    for number in range(10):
        await say(store, f"t{number}", f"prompt{number}", f"answer{number}")
    for number in range(10):
        assert await found(store, f"prompt{number} answer{number}") == {f"t{number}"}
    await store.delete(LOCAL_OWNER, "t4")
    await store.aclose()
    assert b"prompt4" not in whole_files(path.parent)
    assert tables(path) == ["search_0"]


async def test_index_of_another_python(path: Path) -> None:
    """An index whose words were folded by other rules is made anew, and gone before a deletion."""
    store = SqliteStore(str(path))
    await say(store)
    await say(store, "other", "zapped", "zapped")
    assert await found(store, "hot") == {"tea"}
    with closing(sqlite3.connect(path)) as other:
        other.execute("UPDATE counters SET value = 7 WHERE name = 'folding'")
        other.commit()
    await store.delete(LOCAL_OWNER, "other")
    assert tables(path) == []
    assert b"zapped" not in whole_files(path.parent)
    assert await found(store, "hot") == {"tea"}
    await store.aclose()


async def test_locked_store_is_searched(path: Path) -> None:
    """While another program writes, a search finds what is indexed and the newest turns beside."""
    store = SqliteStore(str(path), patience=0.05)
    await say(store, "indexed")
    assert await found(store, "hot") == {"indexed"}
    await say(store, "fresh")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert await found(store, "hot") == {"indexed", "fresh"}
    await store.aclose()


async def test_crash_between_deletion_and_merge(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a dying process left to be taken out of the index goes with the next deletion."""
    store = SqliteStore(str(path))
    for name in ("kept", "dead", "last"):
        await say(store, name, f"word{name}", "same")
    assert await found(store, "same") == {"kept", "dead", "last"}

    class Killed(BaseException):
        pass

    def die(_: sqlite3.Connection) -> bool:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(search, "tidy", die)
        with pytest.raises(Killed):
            await store.delete(LOCAL_OWNER, "dead")
    await store.aclose()
    again = SqliteStore(str(path))
    await again.delete(LOCAL_OWNER, "last")
    assert b"worddead" not in whole_files(path.parent)
    await again.aclose()


async def test_common_words_cost_no_more(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many turns match, no more than the newest so many are read."""
    monkeypatch.setattr(search, "CANDIDATES", 10)
    store = SqliteStore(str(path))
    for number in range(30):
        await say(store, f"t{number}", "common", "word")
    assert await found(store, "common") == {f"t{number}" for number in range(20, 30)}
    await store.aclose()


PLANS: dict[str, tuple[str, Any, str]] = {
    "newest": (threads._LIST, ("a",) * 6, "threads_by_use"),
    "prefix": (threads._LIST_PREFIX, ("a",) * 8, "threads_by_id"),
    "count": (threads._COUNT_PREFIX, ("a",) * 4, "threads_by_id"),
    "one": (threads._FIND, ("a",) * 2, "threads_by_id"),
    "showing": (finding._SHOWING, dict.fromkeys(("key", "turn", "archived"), "a"), "threads_by_base"),
}


@pytest.mark.parametrize("name", PLANS)
async def test_plans(path: Path, name: str) -> None:
    """No list goes through the whole table, and the newest ones are not sorted."""
    store = SqliteStore(str(path))
    await store.check()
    await store.aclose()
    statement, values, index = PLANS[name]
    with closing(sqlite3.connect(path)) as other:
        plan = [row[3] for row in other.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
    assert any(index in step for step in plan), plan
    assert not any("SCAN threads" in step for step in plan), plan
    assert name != "newest" or not any("TEMP B-TREE" in step for step in plan), plan


async def test_common_prefix(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prefix of many threads lists the same as one of few."""
    store = SqliteStore(str(path))
    for number in range(12):
        await say(store, f"ab{number:02}")
        if number % 3 == 0:
            await store.archive(LOCAL_OWNER, f"ab{number:02}", archived=True)
    pages = []
    for few in (2000, 3):
        monkeypatch.setattr(threads, "_FEW", few)
        page = await store.threads(LOCAL_OWNER, limit=3, prefix="ab", archived=None)
        rest = await store.threads(LOCAL_OWNER, limit=9, prefix="ab", archived=None, cursor=page.next_cursor)
        pages.append((page, rest))
    assert pages[0] == pages[1]
    await store.aclose()


async def test_conversations_show_shared_turns(path: Path) -> None:
    """The view for reading by hand shows a fork with the turns that it shares."""
    store = SqliteStore(str(path))
    for prompt in ("one", "two", "three"):
        await say(store, "a", prompt, "-")
    await store.fork(LOCAL_OWNER, "a", fork_id="f", title="f", turns=2)
    begun = await store.begin(new_turn("f", "other"))
    await store.commit(held(begun), answer("-", turn_id=begun.turn.id))
    await store.aclose()
    with closing(sqlite3.connect(path)) as other:
        rows = other.execute("SELECT turn, content FROM conversations WHERE thread = 'f' AND role = 'human'")
        assert rows.fetchall() == [(1, "one"), (2, "two"), (3, "other")]


async def test_chains_are_short(path: Path) -> None:
    """A fork's base is the thread whose own the last shared turn is, however it came about."""
    store = SqliteStore(str(path))
    for _ in range(4):
        await say(store, "a")
    for origin, fork_id, turns in (("a", "b", 2), ("b", "c", 2), ("b", "d", 1)):
        await store.fork(LOCAL_OWNER, origin, fork_id=fork_id, title="-", turns=turns)
    await store.undo(LOCAL_OWNER, "a", fork_id="u", title="-", turns=2)
    await store.undo(LOCAL_OWNER, "u", fork_id="v", title="-", turns=3)
    for number in range(5):
        await say(store, "a")
        await store.undo(LOCAL_OWNER, "a", fork_id=f"w{number}", title="-", turns=1)
    await store.aclose()
    with closing(sqlite3.connect(path)) as other:
        bases = (
            "SELECT forks.id, bases.id FROM threads AS forks JOIN threads AS bases ON forks.base = bases.key"
        )
        found = dict(other.execute(bases).fetchall())
    assert found == dict.fromkeys(("b", "c", "d", "u", "v", *(f"w{n}" for n in range(5))), "a")
