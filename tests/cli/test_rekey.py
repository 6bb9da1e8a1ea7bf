"""The command `rekey`, and the settings that it works with, on the installed program."""

import json
import os
import signal
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from chatcli.models import TurnState
from tests.cli.seed import insert, keep, running
from tests.stores.keys import KEY, OTHER_KEY, key_id

if TYPE_CHECKING:
    from tests.program import Chatcli

CANARY = b"Quetzalcoatl"
MANY = 400


@pytest.fixture
def keyed(chatcli: "Chatcli") -> "Chatcli":
    """The program with a key in its environment."""
    return chatcli.with_environment(CHATCLI_ENCRYPTION_KEY=KEY)


def say(chatcli: "Chatcli", thread_id: str, text: str, *words: str) -> None:
    """Run a turn of the offline model, which repeats what it is told."""
    done = chatcli("chat", "-m", "offline", "-t", thread_id, *words, text)
    assert done.returncode == 0, done.stderr


def live(chatcli: "Chatcli") -> None:
    """Do what a person does with threads, with a word that must not be found."""
    word = CANARY.decode()
    say(chatcli, "one", f"{word} is feathered", "-s", f"praise {word}", "--idempotency-key", "k")
    say(chatcli, "one", f"tell me more of {word}")
    say(chatcli, "two", f"is {word} a bird?", "--title", word)
    for words in (
        ["fork", "one", "--at", "1"],
        ["title", "one", f"about {word}"],
        ["archive", "two"],
        ["history", "--search", word],
        ["chat", "-m", "offline", "-t", "one", "--undo", "1", "and now?"],
    ):
        done = chatcli(*words)
        assert done.returncode == 0, (words, done.stderr)


def fill(chatcli: "Chatcli") -> None:
    """Store threads without a key, with a word that must not be found later."""
    word = CANARY.decode()
    keep(chatcli, "one", [(word, "x", TurnState.COMPLETE), ("x", word, TurnState.INTERRUPTED)], title=word)
    keep(chatcli, "two", [(f"no {word}", "", TurnState.FAILED)])
    done = chatcli("fork", "one", "--at", "1")
    assert done.returncode == 0, done.stderr


def files(chatcli: "Chatcli") -> bytes:
    """Return the bytes of all files that the program keeps."""
    return b"".join(path.read_bytes() for path in sorted(chatcli.home.rglob("*")) if path.is_file())


def seals(chatcli: "Chatcli") -> set[str]:
    """Return with which keys the messages of the store are sealed, straight from its table."""
    with closing(sqlite3.connect(chatcli.database)) as connection:
        rows = connection.execute("SELECT content FROM messages").fetchall()
    return {row[0][:14] if row[0].startswith("enc:1:") else "" for row in rows}


def seal(key: str) -> str:
    """Return how what a key has sealed begins."""
    return f"enc:1:{key_id(key)}"


def test_nothing_said_is_in_the_files(keyed: "Chatcli") -> None:
    """With a key, no word of prompts, answers and titles is in any file, and all of it is shown."""
    live(keyed)
    assert CANARY not in files(keyed)
    shown = keyed("history", "one").stdout + keyed("history", "--all").stdout
    assert shown.count(CANARY) > 3
    assert CANARY in keyed("history", "--search", CANARY.decode()).stdout


def test_a_plain_store_is_encrypted(chatcli: "Chatcli", keyed: "Chatcli") -> None:
    """What was stored before there was a key is encrypted in place, and is gone from the files."""
    fill(chatcli)
    assert CANARY in chatcli("history", "--search", CANARY.decode()).stdout  # it makes an index
    shown = chatcli("export").stdout
    assert CANARY in files(chatcli)
    done = keyed("rekey", "--json")
    receipt = json.loads(done.stdout)
    assert (done.returncode, receipt["key"], receipt["failed"]) == (0, key_id(KEY), 0), done.stderr
    assert receipt["scanned"] == receipt["changed"] == 3
    assert CANARY not in files(keyed)
    assert seals(keyed) == {seal(KEY)}
    assert keyed("export").stdout == shown
    assert json.loads(keyed("rekey", "--json").stdout)["changed"] == 0


def test_keys_are_replaced_and_taken_off(chatcli: "Chatcli", keyed: "Chatcli") -> None:
    """The first of two keys takes over; later it alone opens the store, and takes the encryption off."""
    fill(chatcli)
    assert keyed("rekey").returncode == 0
    shown = keyed("export").stdout
    path = chatcli.home / "keys"
    path.write_text(f"{OTHER_KEY}\n{KEY}\n")
    both = chatcli.with_environment(CHATCLI_ENCRYPTION_KEY_FILE=str(path))
    checked = json.loads(both("info", "--check", "--json", "-m", "offline").stdout)["check"]["store"]
    assert checked["keys"] == [key_id(OTHER_KEY), key_id(KEY)]
    assert any("chatcli rekey" in warning for warning in checked["warnings"])
    assert both("rekey").returncode == 0
    assert seals(chatcli) == {seal(OTHER_KEY)}
    path.write_text(f"{OTHER_KEY}\n")
    assert both("export").stdout == shown
    assert b"decrypted" in both("rekey", "--decrypt").stdout
    assert chatcli("export").stdout == shown
    assert seals(chatcli) == {""}
    assert CANARY in chatcli("history", "--search", CANARY.decode()).stdout


@pytest.mark.parametrize("key", [None, OTHER_KEY])
def test_wrong_key(chatcli: "Chatcli", keyed: "Chatcli", key: str | None) -> None:
    """Without the key every command says which one is missing, shows nothing, and adds nothing."""
    fill(chatcli)
    assert keyed("rekey").returncode == 0
    before = [keyed("history", name).stdout for name in ("one", "two")]
    wrong = chatcli if key is None else chatcli.with_environment(CHATCLI_ENCRYPTION_KEY=key)
    for words in (
        ["history"],
        ["history", "one"],
        ["chat", "-m", "offline", "-t", "one", "more?"],
        ["title", "one", "x"],
        ["fork", "one"],
        ["export"],
        ["info", "--check", "-m", "offline"],
    ):
        done = wrong(*words)
        assert done.returncode == 78, (words, done.stderr)
        assert key_id(KEY).encode() in done.stderr + done.stdout
        assert b"enc:1" not in done.stdout
    assert [keyed("history", name).stdout for name in ("one", "two")] == before
    assert len(keyed("history", "--all").stdout.splitlines()) == 3


def test_a_thread_of_a_lost_key(chatcli: "Chatcli", keyed: "Chatcli") -> None:
    """One thread that can't be opened is named and stays; the others are done all the same."""
    keep(chatcli, "lost")
    assert keyed("rekey").returncode == 0
    keep(chatcli, "plain")
    done = chatcli.with_environment(CHATCLI_ENCRYPTION_KEY=OTHER_KEY)("rekey", "--json")
    assert done.returncode == 78
    assert json.loads(done.stderr)["thread"] == "lost"
    receipt = json.loads(done.stdout)
    assert [receipt[name] for name in ("scanned", "changed", "failed")] == [2, 1, 1]
    assert seals(chatcli) == {seal(KEY), seal(OTHER_KEY)}


def test_rekey_needs_a_key(chatcli: "Chatcli") -> None:
    """Without a key there is nothing to encrypt with, and one that is none is not repeated."""
    done = chatcli("rekey")
    assert (done.returncode, b"openssl rand" in done.stderr) == (78, True)
    done = chatcli.with_environment(CHATCLI_ENCRYPTION_KEY="hunter2")("history")
    assert (done.returncode, b"hunter2" in done.stderr) == (78, False)


def test_beside_a_running_turn(chatcli: "Chatcli", keyed: "Chatcli") -> None:
    """A thread on which a turn is running is encrypted too, and the turn ends as if nothing had been."""
    keep(chatcli, "tea")
    with running(chatcli, "tea"):
        assert json.loads(keyed("rekey", "--json").stdout)["changed"] == 1
        assert seals(chatcli) == {seal(KEY)}
    assert b"still running" in keyed("history", "tea").stdout


def test_killed_and_run_again(chatcli: "Chatcli", keyed: "Chatcli") -> None:
    """Killed anywhere, it leaves whole threads, all readable; run again, it does what is left."""
    moment = datetime(2024, 1, 1, tzinfo=UTC)
    insert(chatcli, *((f"t{number}", moment + timedelta(hours=number)) for number in range(MANY)))
    shown = chatcli("export").stdout
    with keyed.start("rekey") as run:
        wait_for_change(chatcli.database)
        run.send(signal.SIGKILL)
        assert run.finish() == -signal.SIGKILL
    assert seals(chatcli) == {"", seal(KEY)}
    assert keyed("export").stdout == shown
    receipt = json.loads(keyed("rekey", "--json").stdout)
    assert 0 < receipt["changed"] < receipt["scanned"] == MANY
    assert seals(chatcli) == {seal(KEY)}
    assert b"human of t" not in files(chatcli)
    assert keyed("export").stdout == shown


def wait_for_change(database: Path) -> None:
    """Return as soon as the first thread is encrypted."""
    with closing(sqlite3.connect(database, timeout=60)) as connection:
        while not connection.execute("SELECT 1 FROM threads WHERE title LIKE 'enc:%' LIMIT 1").fetchone():
            os.sched_yield()


def test_keys_are_in_no_output(keyed: "Chatcli") -> None:
    """The key itself is never shown."""
    loud = keyed.with_environment(LOG_LEVEL="DEBUG")
    for words in (
        ["info", "--check", "-m", "offline"],
        ["info", "--json"],
        ["rekey"],
        ["rekey", "--decrypt"],
    ):
        done = loud(*words)
        assert KEY.encode() not in done.stdout + done.stderr


def test_without_a_key_encryption_costs_nothing(chatcli: "Chatcli") -> None:
    """Without a key no library of cryptography is imported."""
    spy = (
        "import sys\nfrom chatcli.__main__ import main\ntry:\n    main()\nfinally:\n"
        "    print(any(name.startswith('cryptography') for name in sys.modules), file=sys.stderr)\n"
    )
    program = replace(chatcli, command=(*chatcli.command[:1], "-c", spy))
    keep(chatcli, "tea")
    assert program("history", "tea").stderr == b"False\n"
