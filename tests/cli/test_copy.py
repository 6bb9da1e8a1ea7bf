"""The command `copy`: threads move from store to store, whole, once, and compared."""

import asyncio
import json
import os
import signal
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from chatcli.models import TurnState
from chatcli.stores import open_store
from tests.cli.seed import archive, insert, keep, running
from tests.stores.keys import KEY, OTHER_KEY

if TYPE_CHECKING:
    from pathlib import Path

    from tests.program import Chatcli

MANY = 400
START = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture
def full(chatcli: "Chatcli") -> "Chatcli":
    """The program, with threads of all kinds, and of two owners."""
    keep(
        chatcli,
        "first",
        [("größer\n", "one", TurnState.COMPLETE), ("two", "", TurnState.FAILED)],
        title="\x1b[1m",
    )
    keep(chatcli, "second", [("x", "cut h", TurnState.INTERRUPTED)])
    keep(chatcli, "third")
    keep(chatcli, "first")
    archive(chatcli, "third")
    insert(chatcli, ("first", START), owner="eve")
    return chatcli


def url(path: "Path") -> str:
    return f"sqlite:///{path}"


def ends(chatcli: "Chatcli", name: str = "other") -> list[str]:
    """Return the options for the way from the default store to another one."""
    return ["--from", url(chatcli.database), "--to", url(chatcli.home / f"{name}.db")]


def receipt(output: bytes) -> dict[str, int]:
    """Return the last line of the output, without the time that it took."""
    found: dict[str, int] = json.loads(output.splitlines()[-1])
    found.pop("seconds")
    return found


def test_everything_is_copied(full: "Chatcli") -> None:
    """Threads, turns, times, marks and the order of use of all owners are the same in the other store."""
    done = full("copy", *ends(full), "--json")
    assert done.returncode == 0, done.stderr
    assert receipt(done.stdout) == {"dry_run": False, "copied": 4, "turns": 6, "there": 0, "failed": 0}
    other = ["--store", ends(full)[3]]
    for words in (["export"], ["history", "--json", "--all"], ["history", "first", "--json"]):
        assert full(*words).stdout == full(*words, *other).stdout
    stores = [open_store(end) for end in (ends(full)[1], ends(full)[3])]
    threads = [asyncio.run(store.threads("eve", limit=9)) for store in stores]
    assert threads[0] == threads[1]
    assert len(threads[0].threads) == 1
    for store in stores:
        asyncio.run(store.aclose())


def test_again_changes_nothing(full: "Chatcli") -> None:
    """What is there already is left alone; a thread with other turns there is an error, the rest comes."""
    assert full("copy", *ends(full)).returncode == 0
    keep(full, "second")
    keep(full, "fourth")
    before = full("history", "second", "--json", "--store", ends(full)[3]).stdout
    done = full("copy", *ends(full), "--json")
    assert (done.returncode, json.loads(done.stderr)["thread"]) == (2, "second")
    assert receipt(done.stdout) == {"dry_run": False, "copied": 1, "turns": 1, "there": 3, "failed": 1}
    assert full("history", "second", "--json", "--store", ends(full)[3]).stdout == before


def test_some_of_them(full: "Chatcli") -> None:
    """Only one owner's, or only archived ones."""
    assert receipt(full("copy", *ends(full), "--owner", "eve", "--json").stdout)["copied"] == 1
    assert receipt(full("copy", *ends(full, "b"), "--archived", "--json").stdout)["copied"] == 1
    shown = full("history", "--all", "--json", "--store", ends(full, "b")[3]).stdout.splitlines()
    assert [json.loads(line)["id"] for line in shown] == ["third"]


def test_dry_run(full: "Chatcli") -> None:
    """It tells what the real run does, and makes no store."""
    done = full("copy", *ends(full), "--dry-run")
    assert done.returncode == 0, done.stderr
    named = sorted(line.split()[2].decode() for line in done.stdout.splitlines()[:-1])
    assert named == ["first", "first", "second", "third"]
    assert b"4 threads with 6 turns would be copied" in done.stdout
    assert not (full.home / "other.db").exists()


def test_a_running_turn(full: "Chatcli") -> None:
    """A thread in use waits for the next run; all others are copied."""
    with running(full, "second"):
        done = full("copy", *ends(full), "--json")
        assert (done.returncode, json.loads(done.stderr)["thread"]) == (75, "second")
        assert receipt(done.stdout)["copied"] == 3
    assert receipt(full("copy", *ends(full), "--json").stdout)["copied"] == 1


def test_killed_and_run_again(chatcli: "Chatcli") -> None:
    """Killed anywhere, it leaves whole threads there; run again, it brings the rest, in their order."""
    insert(chatcli, *((f"t{number}", START + timedelta(hours=number)) for number in range(MANY)))
    other = chatcli.home / "other.db"
    with chatcli.start("copy", *ends(chatcli)) as run:
        wait_for_thread(other)
        run.send(signal.SIGKILL)
        assert run.finish() == -signal.SIGKILL
    assert chatcli("export", "--store", url(other)).returncode == 0
    done = receipt(chatcli("copy", *ends(chatcli), "--json").stdout)
    assert done["copied"] + done["there"] == MANY
    assert 0 < done["copied"] < MANY
    assert chatcli("export", "--store", url(other)).stdout == chatcli("export").stdout


def wait_for_thread(database: "Path") -> None:
    """Return as soon as there is a thread in the store."""
    while True:
        os.sched_yield()
        if not database.exists():
            continue
        with closing(sqlite3.connect(database, timeout=60)) as connection:
            try:
                if connection.execute("SELECT 1 FROM threads LIMIT 1").fetchone():
                    return
            except sqlite3.OperationalError:  # the tables are yet to be made
                continue


def test_between_keys(full: "Chatcli") -> None:
    """A plain store is copied into an encrypted one, and that into one with another key."""
    plain = full("export").stdout
    keyed = full.with_environment(CHATCLI_ENCRYPTION_KEY=KEY)
    assert keyed("copy", *ends(full)).returncode == 0
    other = ends(full)[3]
    assert full("history", "--store", other).returncode == 78
    keys = full.home / "keys"
    keys.write_text(KEY)
    rekeyed = full.with_environment(CHATCLI_ENCRYPTION_KEY=OTHER_KEY)
    third = url(full.home / "third.db")
    assert rekeyed("copy", "--from", other, "--to", third).returncode == 78
    done = rekeyed("copy", "--from", other, "--to", third, "--from-key-file", str(keys))
    assert done.returncode == 0, done.stderr
    assert rekeyed("export", "--store", third).stdout == plain
    assert keyed("history", "--store", third).returncode == 78


def test_wrong_ends(full: "Chatcli") -> None:
    """Both stores the same, a missing end, no store at all: nothing is done."""
    same = url(full.database)
    assert full("copy", "--from", same, "--to", same).returncode == 2
    assert full("copy", "--from", same).returncode == 2
    assert full("copy", "--from", same, "--to", "nowhere").returncode == 78
    missing = full("copy", "--from", same, "--to", url(full.home / "x.db"), "--from-key-file", "none")
    assert missing.returncode == 78
    assert not (full.home / "x.db").exists()


def test_progress_on_a_terminal(full: "Chatcli") -> None:
    """A person sees the receipt, and the exit code is that of success."""
    code, shown = full.on_terminal("copy", *ends(full))
    assert code == 0
    assert "4 threads with 6 turns copied and compared, 0 there already" in shown


@pytest.mark.parametrize(("source", "said"), [("sqlite:///~/no.db", "no store at"), ("memory://", "memory")])
def test_a_source_that_is_not_there(chatcli: "Chatcli", source: str, said: str) -> None:
    """A store that is not there is no empty one: nothing is made, neither of it nor of the other."""
    done = chatcli("copy", "--from", source, "--to", url(chatcli.home / "other.db"))
    assert (done.returncode, done.stdout) == (78, b"")
    assert said in done.stderr.decode()
    assert not list(chatcli.home.rglob("*.db"))
