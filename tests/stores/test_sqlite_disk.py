"""SQLite on a disk that is full or failing: what is acknowledged is flushed, what is not is told."""

import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chatcli.models import LOCAL_OWNER, TurnState
from chatcli.stores.sqlite import SqliteStore
from chatcli.stores.sqlite.runners import Threaded
from tests.stores.talk import say

ROOT = Path(__file__).parents[2]
STRACE = shutil.which("strace")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "chatcli.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(str(path), runner=Threaded())
    yield store
    await store.aclose()


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
