"""SQLite where nothing can be written: every turn can be read, and none begins."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from chatcli.models import LOCAL_OWNER
from chatcli.stores.sqlite import SqliteStore
from tests.stores.talk import say

ROOT = Path(__file__).parents[2]
NOBODY = 65534


READER = """
import json, os, shutil, sys, tempfile
from chatcli.errors import ChatcliError
from chatcli.models import LOCAL_OWNER
from chatcli.stores import open_store
import chatcli.stores.sqlite
from tests.stores.talk import new_turn, texts

def drive(coroutine):
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    except ChatcliError as error:
        return error.name

if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
store = open_store(sys.argv[1], threaded=False)
told = {}
for time in ("first", "second"):
    turns = drive(store.turns(LOCAL_OWNER, "tea"))
    told["read"] = turns if isinstance(turns, str) else len(texts(turns))
    told["begin"] = drive(store.begin(new_turn()))
    hits = drive(store.search(LOCAL_OWNER, "hot", limit=9))
    told["search"] = hits if isinstance(hits, str) else [hit.turn_index for hit in hits]
    told["check"] = "can only be read" in str(drive(store.check()))
    told["delete"] = drive(store.delete(LOCAL_OWNER, "tea"))
drive(store.aclose())
print(json.dumps(told))
"""


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A folder that another user may enter."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o755)
        yield place
        for entry in place.rglob("*"):
            if entry.is_dir():
                entry.chmod(0o700)


def read_as_nobody(path: Path, *, folder_mode: int, file_mode: int) -> dict[str, object]:
    """Return what a user without rights can do with the store."""
    for entry in path.parent.iterdir():
        entry.chmod(file_mode)
        if os.geteuid() == 0:
            os.chown(entry, NOBODY, NOBODY)
    if os.geteuid() == 0:
        os.chown(path.parent, NOBODY, NOBODY)
    path.parent.chmod(folder_mode)
    done = subprocess.run(
        [sys.executable, "-c", READER, f"sqlite:///{path}"], cwd=ROOT, stdout=subprocess.PIPE, check=True
    )
    told: dict[str, object] = json.loads(done.stdout)
    return told


@pytest.mark.parametrize(
    ("state", "folder_mode", "file_mode"),
    [
        pytest.param("closed", 0o555, 0o444, id="nothing can be written"),
        pytest.param("closed", 0o555, 0o644, id="the folder can't be written"),
        pytest.param("closed", 0o755, 0o444, id="the file can't be written"),
        pytest.param("crashed", 0o555, 0o444, id="there is a log, and no index to it"),
        pytest.param("open", 0o555, 0o444, id="another program has it open"),
    ],
)
async def test_read_only(open_place: Path, state: str, folder_mode: int, file_mode: int) -> None:
    """Where nothing can be written every turn can be read, and a turn is refused before it begins."""
    path = open_place / "data" / "chatcli.db"
    store = SqliteStore(str(path))
    for number in range(3):
        await say(store)
        if number == 0:
            await store.search(LOCAL_OWNER, "makes the index", limit=1)
    if state == "crashed":
        path = copy_without_index(path)
    if state == "closed":
        await store.aclose()
    copies = copies_left()

    told = read_as_nobody(path, folder_mode=folder_mode, file_mode=file_mode)

    assert told == {
        "read": 3,
        "search": [3],
        "begin": "not-saved",
        "check": True,
        "delete": "not-saved",
    }
    assert copies_left() <= copies
    await store.aclose()


def copies_left() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("chatcli-*"))


def copy_without_index(path: Path) -> Path:
    copy = path.parents[1] / "crashed" / path.name
    copy.parent.mkdir()
    for end in ("", "-wal"):
        shutil.copyfile(f"{path}{end}", f"{copy}{end}")
    return copy


async def test_unreadable(open_place: Path) -> None:
    """A file that may not even be read is unavailable, for every call."""
    path = open_place / "data" / "chatcli.db"
    store = SqliteStore(str(path))
    await say(store)
    await store.aclose()
    told = read_as_nobody(path, folder_mode=0o755, file_mode=0o000)
    assert told == dict.fromkeys(("read", "search", "begin", "delete"), "store-unavailable") | {
        "check": False
    }
