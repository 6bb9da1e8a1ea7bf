"""Opening a store by its URL: lazily, without a secret in an error, and without an event loop."""

import subprocess
import sys
from pathlib import Path

import pytest

from chatcli.errors import ConfigError
from chatcli.models import LOCAL_OWNER
from chatcli.stores import open_store
from chatcli.stores.memory import MemoryStore
from chatcli.stores.sqlite import SqliteStore, path_of


def names_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://u:canary@h:canary/d", "can't be understood"),
        ("postgres://u:canary@h/d?schema=Canary", "has no usable name"),
        ("postgresql://u@h/d?schema=pg_canary", "has no usable name"),
        ("s3://bucket/p?canary=1", "an option that is not known"),
        ("s3:///canary", "names no bucket"),
        ("mysql://u:canary@h/d", "no store for 'mysql'"),
        ("/tmp/canary", "not given as a URL"),
        ("sqlite://canary", "names no file"),
        ("sqlite:///", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:////tmp/\0canary", "names no file"),
    ],
)
def test_urls_of_no_store(url: str, said: str) -> None:
    """What can't be opened is a setting to correct; the message never repeats what may be a secret."""
    with pytest.raises(ConfigError, match=said) as caught:
        open_store(url, threaded=False)
    assert "canary" not in f"{caught.value.message} {caught.value.hint}"
    assert caught.value.hint


def test_schemes() -> None:
    """The scheme picks the store, in any case."""
    assert isinstance(open_store("memory://", threaded=False), MemoryStore)
    assert isinstance(open_store("SQLite:///x.db", threaded=True), SqliteStore)


def test_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three slashes and a relative path, or four and an absolute one; nothing in it is decoded."""
    monkeypatch.setenv("HOME", "/home/ann")
    assert path_of("sqlite:////var/a%20b?c.db") == "/var/a%20b?c.db"
    assert path_of("sqlite:///data/x.db") == "data/x.db"
    assert path_of("sqlite:///~/x.db") == "/home/ann/x.db"


@pytest.mark.parametrize("name", ["a b", "50%", "what?", "a#b", "ü→", "%41", "a;b&c=d", "new\nline"])
async def test_odd_paths(tmp_path: Path, name: str) -> None:
    """Any file name is taken as it is."""
    store = open_store(f"sqlite:///{tmp_path}/{name}/{name}.db", threaded=False)
    await store.check()
    await store.aclose()
    assert names_in(tmp_path / name) == [f"{name}.db"]


async def test_opening_and_reading_make_no_files(tmp_path: Path) -> None:
    """Looking into a store that is not there leaves nothing behind."""
    store = open_store(f"sqlite:///{tmp_path}/data/chatcli.db", threaded=True)
    assert (await store.threads(LOCAL_OWNER, limit=1)).threads == ()
    await store.aclose()
    assert names_in(tmp_path) == []


INLINE = """
import sys
before = set(sys.modules)
from chatcli.stores import open_store
from chatcli.models import LOCAL_OWNER
from chatcli.stores.base import Lease
from tests.stores.talk import answer, new_turn

def drive(coroutine):
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("suspended")

store = open_store(sys.argv[1], threaded=False)
begun = drive(store.begin(new_turn()))
drive(store.context(LOCAL_OWNER, "tea", limit=20))
drive(store.renew(begun.lease))
drive(store.commit(begun.lease, answer("80", turn_id=begun.turn.id)))
assert len(drive(store.turns(LOCAL_OWNER, "tea"))) == 1
drive(store.threads(LOCAL_OWNER, limit=1))
drive(store.delete(LOCAL_OWNER, "tea"))
drive(store.check())
drive(store.aclose())
heavy = {"asyncio", "concurrent", "logging", "json", "tempfile", "shutil", "random", "pydantic"}
print(sorted(heavy & {name for name in sys.modules if name not in before}))
"""


def test_inline_needs_no_event_loop(tmp_path: Path) -> None:
    """Without a thread no call ever suspends, and neither asyncio nor an executor is imported."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", INLINE, f"sqlite:///{tmp_path}/x.db"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
