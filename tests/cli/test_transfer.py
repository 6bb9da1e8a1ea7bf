"""The commands `export` and `import`: threads move from store to store and lose nothing."""

import hashlib
import json
import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from chatcli.models import TurnState
from tests.cli.seed import archive, keep, running, thread_ids

if TYPE_CHECKING:
    from pathlib import Path

    from tests.program import Chatcli

NASTY = "a\x1b[31m [red]b[/red] \r\u202e\u2028\tpipe | `x`\n\n  tail  \n\U0001f680"


@pytest.fixture
def full(chatcli: "Chatcli") -> "Chatcli":
    """The program, with threads of all kinds."""
    keep(chatcli, "first", [(NASTY, "one", TurnState.COMPLETE), ("two", "", TurnState.FAILED)], title=NASTY)
    keep(chatcli, "second", [("x", "cut h", TurnState.INTERRUPTED)])
    keep(chatcli, "third")
    keep(chatcli, "first", title=NASTY)
    archive(chatcli, "third")
    return chatcli


def other(chatcli: "Chatcli", name: str = "other") -> str:
    """Return the URL of another store."""
    return f"sqlite:///{chatcli.home}/{name}.db"


def test_everything_moves(full: "Chatcli") -> None:
    """An export that is imported elsewhere gives the same export, the same threads and the same order."""
    exported = full("export")
    assert (exported.returncode, exported.stderr) == (0, b"exported 3 threads with 5 turns\n")
    done = full("import", "--store", other(full), input=exported.stdout)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3
    assert done.stderr == b"3 threads imported, 0 there already\n"
    assert full("export", "--store", other(full)).stdout == exported.stdout
    for words in (["history", "--json", "--all"], ["history", "first", "--json"]):
        assert full(*words).stdout == full(*words, "--store", other(full)).stdout
    assert full("chat", "-m", "offline", "-t", "second", "hello", "--store", other(full)).returncode == 0


def test_what_is_there_stays(full: "Chatcli") -> None:
    """Importing again changes nothing; a thread of that id with other turns is refused, the rest comes."""
    data = full("export").stdout
    again = full("import", "--json", input=data)
    assert [json.loads(line)["action"] for line in again.stdout.splitlines()] == ["keep"] * 3
    keep(full, "second")
    full("delete", "first", "-y")
    done = full("import", "--json", input=data)
    assert (done.returncode, json.loads(done.stderr)["thread"]) == (2, "second")
    assert [json.loads(line)["action"] for line in done.stdout.splitlines()] == ["keep", "import"]
    assert len(json.loads(full("history", "second", "--json").stdout)["turns"]) == 2


def test_a_dry_run_of_an_import(full: "Chatcli") -> None:
    """What would come is shown, and nothing is written."""
    data = full("export").stdout
    done = full("import", "--dry-run", "--store", other(full), input=data)
    assert done.returncode == 0
    assert done.stdout.count(b"would import ") == 3
    assert full("history", "--all", "--store", other(full)).stdout == b""
    assert full("import", "--dry-run", input=data).stdout == b""
    keep(full, "second")
    assert full("import", "--dry-run", input=data).returncode == 2


def test_some_threads(full: "Chatcli") -> None:
    """Named threads, by prefix or from standard input, come in the order in which they are named, once."""
    done = full("export", "second", "-", "seco", input=b"first\n")
    ids = [json.loads(line).get("id") for line in done.stdout.splitlines()]
    assert ids == [None, "second", "first", None]
    done = full("export", "second", "nosuch")
    assert (done.returncode, done.stdout) == (66, b"")


def test_a_file_is_whole_or_not_there(full: "Chatcli") -> None:
    """-o writes a file that only its owner may read, and leaves none behind where it fails."""
    path = full.home / "threads.jsonl"
    done = full("export", "-o", "threads.jsonl")
    assert (done.returncode, done.stdout) == (0, b"")
    assert path.read_bytes() == full("export").stdout
    assert path.stat().st_mode & 0o777 == 0o600
    assert full("export", "nosuch", "-o", "threads.jsonl").returncode == 66
    assert path.read_bytes() == full("export").stdout
    assert full("export", "-o", "missing/threads.jsonl").returncode == 74
    assert full("import", "threads.jsonl", "--store", other(full)).returncode == 0
    assert sorted(entry.name for entry in full.home.glob("*threads*")) == ["threads.jsonl"]


@pytest.mark.parametrize("damage", ["changed", "cut", "doubled"])
def test_damage_is_refused(full: "Chatcli", damage: str) -> None:
    """Nothing of a damaged export gets into the store."""
    data = full("export").stdout
    place = len(data) // 2
    wrong = {
        "changed": data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :],
        "cut": b"".join(data.splitlines(keepends=True)[:-1]),
        "doubled": data + data,
    }[damage]
    done = full("import", "--store", other(full), input=wrong)
    assert (done.returncode, done.stdout) == (65, b"")
    assert full("history", "--all", "--store", other(full)).stdout == b""


@pytest.mark.parametrize("name", [".", "nosuch", "/dev/null"])
def test_files_that_can_not_be_read(full: "Chatcli", name: str) -> None:
    """A folder, a missing and an empty file are clear errors."""
    done = full("import", name)
    assert done.returncode in {2, 65}
    assert done.stderr.startswith(b"error: ")


def test_a_running_turn_is_exported_as_it_is(full: "Chatcli") -> None:
    """It says so in the export, and is interrupted where it is imported."""
    with running(full, "second"):
        data = full("export", "second").stdout
        assert json.loads(data.splitlines()[1])["turns"][-1]["state"] == "running"
        assert full("import", "--store", other(full), input=data).returncode == 0
    shown = json.loads(full("history", "second", "--json", "--store", other(full)).stdout)
    assert shown["turns"][-1]["state"] == "interrupted"


def test_a_foreign_log_is_only_read(full: "Chatcli", tmp_path: "Path") -> None:
    """ChatGPT's conversations come in with their times, last used last, and can be gone on with."""
    nodes = {
        "a": {"parent": None, "message": {"author": {"role": "user"}, "content": _text("hi"), "id": "m1"}},
        "b": {
            "parent": "a",
            "message": {"author": {"role": "assistant"}, "content": _text("ho"), "id": "m2"},
        },
    }
    talk = {"id": "abc-1", "title": "T", "create_time": 1.5e9, "mapping": nodes, "current_node": "b"}
    (tmp_path / "conversations.json").write_text(json.dumps([talk]))
    done = full("import", "conversations.json")
    assert (done.returncode, done.stdout) == (0, b"imported abc-1  T (1 turn)\n")
    shown = json.loads(full("history", "abc-1", "--json").stdout)
    assert shown["created_at"] == "2017-07-14T02:40:00.000000Z"
    assert [message["content"] for message in shown["turns"][0]["messages"]] == ["hi", "ho"]
    assert full("chat", "-m", "offline", "-t", "abc-1", "go on").returncode == 0


def _text(text: str) -> dict[str, object]:
    return {"content_type": "text", "parts": [text]}


def test_a_hostile_export_gets_no_further_than_the_gate(full: "Chatcli") -> None:
    """An id that is none, and text that can't be stored, are refused; other threads come."""
    import hashlib

    header, line, _ = full("export", "second").stdout.splitlines(keepends=True)
    evil = [line.replace(b'"second"', b'"../../x"'), line.replace(b'"x"', b'"\\ud800"'), line]
    body = header + b"".join(evil)
    trailer = {"threads": 3, "sha256": hashlib.sha256(body).hexdigest()}
    data = body + json.dumps(trailer, separators=(",", ":")).encode() + b"\n"
    done = full("import", "--store", other(full), input=data)
    assert done.returncode == 2
    assert done.stdout.startswith(b"imported second")
    with closing(sqlite3.connect(full.home / "other.db")) as connection:
        assert connection.execute("SELECT id FROM threads").fetchall() == [("second",)]
    assert thread_ids(full) == {"first", "second", "third"}
    assert not os.path.lexists(full.home / "x")


def test_what_no_store_can_keep(full: "Chatcli") -> None:
    """Threads that can't be read or kept are named, and the others come in."""
    first, *threads, _ = full("export").stdout.decode().splitlines()
    documents = [json.loads(line) for line in threads]
    for number, change in enumerate([{"model": "\0"}, {"finish_reason": 5}]):
        documents[number]["turns"][0] |= change
    usage = {"input_tokens": 10**30, "output_tokens": 1}
    turn = {**documents[0]["turns"][0], "model": "m", "usage": usage}
    documents.insert(0, {**documents[0], "id": "huge", "turns": [turn]})
    body = "".join(f"{line}\n" for line in [first, *map(json.dumps, documents)]).encode()
    trailer = {"threads": len(documents), "sha256": hashlib.sha256(body).hexdigest()}
    data = body + json.dumps(trailer, separators=(",", ":")).encode() + b"\n"
    for options in ["--dry-run"], []:
        done = full("import", "--store", other(full), "--json", *options, input=data)
        assert done.returncode == 65
        refused = [json.loads(line) for line in done.stderr.splitlines()]
        assert [one["thread"] for one in refused] == ["huge", *(one["id"] for one in documents[1:3])]
        assert "turns.0.usage.input_tokens is no number" in refused[0]["error"]["detail"]
        assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == [documents[3]["id"]]
