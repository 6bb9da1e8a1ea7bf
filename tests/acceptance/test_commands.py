"""Every command in every condition of the store: what it returns, and that it never says it otherwise."""

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pytest

from chatcli.models import utc_now
from tests.cli.seed import insert
from tests.program import Chatcli

if TYPE_CHECKING:
    from subprocess import CompletedProcess

NAMED = {
    "history": ("history", "{}"),
    "title": ("title", "{}"),
    "rename": ("title", "{}", "New"),
    "fork": ("fork", "{}"),
    "clear": ("clear", "{}", "--yes"),
    "delete": ("delete", "{}", "--yes"),
    "archive": ("archive", "{}"),
    "restore": ("archive", "--restore", "{}"),
    "export": ("export", "{}"),
    "undo": ("chat", "-t", "{}", "--undo", "1"),
    "retry": ("chat", "-t", "{}", "--retry", "-m", "offline", "--wait", "0"),
}
"""Commands on a thread that must be there."""

OTHERS = {
    "list": ("history",),
    "search": ("history", "--search", "human"),
    "export-all": ("export",),
    "import": ("import", "threads.jsonl"),
    "cleanup": ("cleanup", "--older-than", "1h"),
    "dry-run": ("cleanup", "--older-than", "1h", "--dry-run"),
}

READING = {"history", "title", "export", "list", "search", "export-all", "dry-run"}
ALL = {**NAMED, **OTHERS}
JSON = pytest.mark.parametrize("json_wanted", [False, True], ids=["text", "json"])
Runs: TypeAlias = Mapping[str, "CompletedProcess[bytes]"]

UNPRIVILEGED = ("setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner")
"""What takes from root the right to write where nobody may."""


@pytest.fixture
def chatcli(tmp_path: Path) -> Chatcli:
    """The program, with a thread for each command and something to import."""
    program = Chatcli.at(tmp_path)
    insert(program, *((f"{name}-thread", utc_now()) for name in NAMED))
    elsewhere = f"sqlite:///{tmp_path}/other.db"
    program("chat", "-m", "offline", "-t", "imported", "hello", "--store", elsewhere)
    assert program("export", "--store", elsewhere, "-o", "threads.jsonl").returncode == 0
    return program


def run_all(
    chatcli: Chatcli, commands: Mapping[str, tuple[str, ...]], *, json_wanted: bool, thread: str | None = None
) -> Runs:
    """Run commands side by side, each on its own thread or on the one named."""

    def run(name: str) -> "CompletedProcess[bytes]":
        words = [word.format(thread or f"{name}-thread") for word in commands[name]]
        return chatcli(*words, *(["--json"] if json_wanted else []))

    with ThreadPoolExecutor(16) as pool:
        return dict(zip(commands, pool.map(run, commands), strict=True))


def check_failures(runs: Runs, code: int, name: str, *, json_wanted: bool) -> None:
    """Each run ended with this code, empty standard output, and this error in the form that was wanted."""
    assert {command: done.returncode for command, done in runs.items()} == dict.fromkeys(runs, code)
    for command, done in runs.items():
        assert done.stdout == b"", command
        lines = done.stderr.decode().splitlines()
        if json_wanted:
            assert len(lines) == 1, command
            assert json.loads(lines[0])["error"]["type"] == f"urn:chatcli:{name}", command
        else:
            assert lines[0].startswith("error: "), command
            assert "Traceback" not in done.stderr.decode(), command


def check_successes(runs: Runs, *, json_wanted: bool) -> None:
    """Each run ended well, and with JSON every line of its standard output is a document."""
    failed = {command: done.stderr for command, done in runs.items() if done.returncode}
    assert not failed
    if json_wanted:
        for command, done in runs.items():
            for line in done.stdout.decode().splitlines():
                assert isinstance(json.loads(line), dict), command


@JSON
def test_a_store_in_order(chatcli: Chatcli, *, json_wanted: bool) -> None:
    """All commands work, at the same time, too, and say something."""
    runs = run_all(chatcli, ALL, json_wanted=json_wanted)
    check_successes(runs, json_wanted=json_wanted)
    silent = {command for command, done in runs.items() if not done.stdout}
    assert silent <= {"dry-run"}


@JSON
def test_a_missing_thread(chatcli: Chatcli, *, json_wanted: bool) -> None:
    """Nothing falls back to another thread, and nothing is made."""
    runs = run_all(chatcli, NAMED, json_wanted=json_wanted, thread="nosuch")
    check_failures(runs, 66, "thread-not-found", json_wanted=json_wanted)


@JSON
def test_a_bad_id(chatcli: Chatcli, *, json_wanted: bool) -> None:
    """An id that can't exist is a usage error; every command gets another one."""
    bad = cycle(("../../etc/passwd", "a b", "x" * 129, "a..b", "a.", "ä", "", "a/b", "a\\b", "a\nb"))
    commands = {
        name: tuple(word.format(thread) for word in words)
        for (name, words), thread in zip(NAMED.items(), bad, strict=False)
    }
    runs = run_all(chatcli, commands, json_wanted=json_wanted)
    check_failures(runs, 2, "invalid-request", json_wanted=json_wanted)


@contextmanager
def locked(chatcli: Chatcli) -> Iterator[None]:
    """Hold the lock of the writer."""
    with closing(sqlite3.connect(chatcli.database, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


@JSON
def test_a_locked_store(chatcli: Chatcli, *, json_wanted: bool) -> None:
    """While another program writes, reading works, and writing gives up after 5 seconds."""
    with locked(chatcli):
        reading = {name: words for name, words in ALL.items() if name in READING}
        check_successes(run_all(chatcli, reading, json_wanted=json_wanted), json_wanted=json_wanted)
        writing = {name: words for name, words in ALL.items() if name not in READING}
        runs = run_all(chatcli, writing, json_wanted=json_wanted)
        check_failures(runs, 69, "store-unavailable", json_wanted=json_wanted)
    assert chatcli("delete", "delete-thread", "--yes").returncode == 0


@JSON
def test_a_store_that_can_only_be_read(chatcli: Chatcli, *, json_wanted: bool) -> None:
    """Reading works, writing says that nothing is saved, and nothing was."""
    if os.geteuid() == 0:
        if shutil.which(UNPRIVILEGED[0]) is None:
            pytest.skip("setpriv is not installed, and root writes everywhere")
        chatcli = replace(chatcli, command=(*UNPRIVILEGED, *chatcli.command))
    folder = chatcli.database.parent
    before = chatcli("export").stdout
    for entry in folder.iterdir():
        entry.chmod(0o400)
    folder.chmod(0o500)
    try:
        reading = {name: words for name, words in ALL.items() if name in READING}
        check_successes(run_all(chatcli, reading, json_wanted=json_wanted), json_wanted=json_wanted)
        writing = {name: words for name, words in ALL.items() if name not in READING}
        runs = run_all(chatcli, writing, json_wanted=json_wanted)
        check_failures(runs, 74, "not-saved", json_wanted=json_wanted)
        assert chatcli("export").stdout == before
    finally:
        folder.chmod(0o700)


@JSON
def test_a_newer_store(chatcli: Chatcli, *, json_wanted: bool) -> None:
    """What a newer program wrote is refused, and not touched."""
    with closing(sqlite3.connect(chatcli.database, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA user_version = 99")
    before = chatcli.database.read_bytes()
    runs = run_all(chatcli, ALL, json_wanted=json_wanted)
    check_failures(runs, 78, "store-newer-schema", json_wanted=json_wanted)
    assert chatcli.database.read_bytes() == before


@JSON
def test_a_broken_store(chatcli: Chatcli, *, json_wanted: bool) -> None:
    """What is no database is refused, and not touched."""
    for entry in chatcli.database.parent.iterdir():
        entry.unlink()
    chatcli.database.write_bytes(b"no database at all" * 1000)
    runs = run_all(chatcli, ALL, json_wanted=json_wanted)
    check_failures(runs, 65, "store-corrupt", json_wanted=json_wanted)
    assert chatcli.database.read_bytes() == b"no database at all" * 1000


@JSON
def test_an_empty_store(tmp_path: Path, *, json_wanted: bool) -> None:
    """Where there are no threads yet, lists and cleaning up have nothing to do."""
    program = Chatcli.at(tmp_path)
    for name in OTHERS.keys() - {"import"}:
        runs = run_all(program, {name: OTHERS[name]}, json_wanted=json_wanted)
        check_successes(runs, json_wanted=json_wanted)
    runs = run_all(program, NAMED, json_wanted=json_wanted, thread="nosuch")
    check_failures(runs, 66, "thread-not-found", json_wanted=json_wanted)
    runs = run_all(program, NAMED, json_wanted=json_wanted, thread="@last")
    check_failures(runs, 66, "thread-not-found", json_wanted=json_wanted)
