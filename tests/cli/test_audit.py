"""``info --audit``: who did what to the threads, kept after they are gone."""

import getpass
import json
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tests.cli.seed import insert, keep
from tests.stores.keys import KEY, OTHER_KEY

if TYPE_CHECKING:
    from tests.program import Chatcli


def told(chatcli: "Chatcli") -> list[tuple[str, str | None, int | None, str]]:
    """Return what the audit tells, oldest first."""
    done = chatcli("info", "--audit", "--json", "-n", "0")
    assert (done.returncode, done.stderr) == (0, b"")
    entries = [json.loads(line) for line in done.stdout.splitlines()]
    return [(one["action"], one["thread_id"], one["count"], one["outcome"]) for one in reversed(entries)]


def test_the_audit_outlives_the_threads(chatcli: "Chatcli") -> None:
    """Each command leaves an entry with its user and machine, and nothing of what was said."""
    keep(chatcli, "tea")
    insert(chatcli, ("old", datetime(2020, 1, 1, tzinfo=UTC)), ("older", datetime(2019, 1, 1, tzinfo=UTC)))
    for words in (
        ["archive", "tea"],
        ["archive", "--restore", "tea"],
        ["clear", "-y", "tea"],
        ["delete", "-y", "tea"],
        ["cleanup", "--older-than", "1y"],
    ):
        done = chatcli(*words)
        assert done.returncode == 0, (words, done.stderr)
    assert told(chatcli) == [
        ("archive", "tea", None, "done"),
        ("restore", "tea", None, "done"),
        ("clear", "tea", None, "done"),
        ("delete", "tea", None, "done"),
        ("cleanup", None, 2, "done"),
    ]
    done = chatcli("info", "--audit", "-n", "2")
    lines = done.stdout.decode().splitlines()
    assert [line.split()[1:3] for line in lines] == [["cleanup", "2"], ["delete", "tea"]]
    assert all(f"{getpass.getuser()}@{os.uname().nodename} (cli)" in line for line in lines)
    assert b"hello" not in done.stdout


def test_a_missing_key_is_recorded(chatcli: "Chatcli") -> None:
    """Who comes without the key that sealed the threads, or with another, leaves an entry; so does rekey."""
    keyed = chatcli.with_environment(CHATCLI_ENCRYPTION_KEY=KEY)
    assert keyed("chat", "-m", "offline", "-t", "tea", "hello").returncode == 0
    for words in (["history", "tea"], ["info", "--check", "-m", "offline"]):
        assert chatcli(*words, env={"CHATCLI_ENCRYPTION_KEY": OTHER_KEY}).returncode == 78
    assert chatcli("history").returncode == 78
    assert [(action, outcome) for action, _, _, outcome in told(keyed)] == [("key-refused", "refused")] * 3
    assert keyed("rekey", "--decrypt").returncode == 0
    assert told(chatcli)[3:] == [("decrypt", None, 1, "done")]


def test_an_empty_audit(chatcli: "Chatcli") -> None:
    """That nothing is recorded is said, and it is no error; looking makes no store."""
    done = chatcli("info", "--audit")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"the audit is empty\n")
    assert told(chatcli) == []


def test_options_that_do_not_go_together(chatcli: "Chatcli") -> None:
    """A number without --audit, or --check with it, is a mistake."""
    for words in (["-n", "3"], ["--audit", "--check"]):
        done = chatcli("info", *words)
        assert (done.returncode, done.stdout) == (2, b"")
