"""Rewriting in SQLite: what stood there is in no file any more, or it is said that it may be."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from chatcli.errors import StoreUnavailable
from chatcli.models import LOCAL_OWNER
from chatcli.stores.rewriting import Rewriter
from chatcli.stores.sqlite import SqliteStore
from tests.stores.keys import KEY, protected
from tests.stores.talk import say

CANARY = "Quetzalcoatl"


def files(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


@pytest.mark.parametrize("indexed", [False, True])
async def test_old_text_is_gone(tmp_path: Path, *, indexed: bool) -> None:
    """After closing, neither the database nor its log nor its index holds a word of what was rewritten."""
    store = SqliteStore(f"{tmp_path}/x.db")
    for number in range(60):
        await say(store, prompt=f"{CANARY} {number} " * 40, reply=CANARY)
    if indexed:
        assert await store.search(LOCAL_OWNER, CANARY, limit=1)
    await protected(store, KEY).rewrite(LOCAL_OWNER, "tea", Rewriter())
    await store.aclose()
    assert CANARY.encode() not in files(tmp_path)
    assert CANARY.lower().encode() not in files(tmp_path)


async def test_somebody_in_the_way(tmp_path: Path) -> None:
    """While another program reads the old text, closing says that it may still be there; later it is not."""
    store = SqliteStore(f"{tmp_path}/x.db", patience=0.1)
    await say(store, prompt=CANARY)
    with closing(sqlite3.connect(f"{tmp_path}/x.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM messages").fetchall()
        await protected(store, KEY).rewrite(LOCAL_OWNER, "tea", Rewriter())
        with pytest.raises(StoreUnavailable, match="as it was"):
            await store.aclose()
    assert not await protected(store, KEY).rewrite(LOCAL_OWNER, "tea", Rewriter())
    await store.aclose()
    assert CANARY.encode() not in files(tmp_path)
