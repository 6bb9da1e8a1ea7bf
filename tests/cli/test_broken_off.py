"""Ctrl-C in the long commands on a server's store: what was done is said, and is in the audit."""

import json
import os
import secrets
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from tests.cli.seed import insert
from tests.stores.keys import KEY

if TYPE_CHECKING:
    from tests.program import Chatcli, Running
    from tests.stores.postgres import Server

MANY = 100
START = datetime(2024, 1, 1, tzinfo=UTC)
SOME = "SELECT 1 FROM {threads} WHERE title LIKE %s OFFSET 20 LIMIT 1"


@pytest.fixture
def full(chatcli: "Chatcli") -> "Chatcli":
    """The program, with threads."""
    insert(chatcli, *((f"t{number}", START + timedelta(hours=number)) for number in range(MANY)))
    return chatcli


@pytest.fixture
def schema() -> str:
    """A schema that nobody used before."""
    return f"t_{secrets.token_hex(6)}"


def copy(chatcli: "Chatcli", url: str) -> list[str]:
    """Return the words that copy all threads to a store."""
    return ["copy", "--from", f"sqlite:///{chatcli.database}", "--to", url]


@contextmanager
def held_up(server: "Server", schema: str, title: str) -> Iterator[None]:
    """Wait until some threads have such titles, and let nobody at the threads until the end of the block.

    The block begins when somebody waits for that.
    """
    waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = to_regclass(%s)"
    threads = f"{schema}.threads"
    with server.connect() as connection:
        while connection.execute("SELECT to_regclass(%s)", (threads,)).fetchone() == (None,):
            os.sched_yield()
        while not connection.execute(SOME.format(threads=threads).encode(), (title,)).fetchone():
            os.sched_yield()
        with connection.transaction():
            connection.execute(f"LOCK TABLE {threads} IN ACCESS EXCLUSIVE MODE".encode())
            with server.connect() as watch:
                while not watch.execute(waiting, (threads,)).fetchone():
                    os.sched_yield()
            yield


def count_of(server: "Server", schema: str, title: str) -> int:
    """Return how many threads have such titles."""
    query = f"SELECT count(*) FROM {schema}.threads WHERE title LIKE '{title}'"  # noqa: S608 - all of it ours
    count: int = server.execute(query)[0][0]
    return count


def said_of(what: str, count: int) -> set[str]:
    """Return what may be said where `count` threads are done; the last one may not be counted yet."""
    assert 20 < count < MANY
    line = "interrupted; {} threads were {}, the same command goes on\n"
    return {line.format(number, what) for number in (count - 1, count)}


def interrupt(run: "Running") -> str:
    """Press Ctrl-C; return what is written to standard error."""
    run.send(signal.SIGINT)
    assert run.finish() == 130
    return run.errors.decode()


def test_copy(full: "Chatcli", postgres_server: "Server", schema: str) -> None:
    """It says how far it came; the same command brings the rest."""
    url = postgres_server.url(schema)
    with full.start(*copy(full, url)) as run, held_up(postgres_server, schema, "%"):
        said = interrupt(run)
    count = count_of(postgres_server, schema, "%")
    assert said in said_of("copied", count)
    assert json.loads(full(*copy(full, url), "--json").stdout)["there"] == count


def test_rekey(full: "Chatcli", postgres_server: "Server", schema: str) -> None:
    """What was encrypted until then is in the audit."""
    url = postgres_server.url(schema)
    assert full(*copy(full, url)).returncode == 0
    keyed = full.with_environment(CHATCLI_ENCRYPTION_KEY=KEY, CHATCLI_STORE=url)
    with keyed.start("rekey") as run:
        with held_up(postgres_server, schema, "enc:%"):
            run.send(signal.SIGINT)
        assert run.finish() == 130
    said = run.errors.decode()
    assert said in said_of("changed", count_of(postgres_server, schema, "enc:%"))
    entry = json.loads(keyed("info", "--audit", "--json").stdout.splitlines()[0])
    assert (entry["action"], entry["outcome"]) == ("rekey", "interrupted")
    assert f" {entry['count']} threads" in said


def test_cleanup(full: "Chatcli", postgres_server: "Server", schema: str) -> None:
    """It says what it removed."""
    url = postgres_server.url(schema)
    assert full(*copy(full, url)).returncode == 0
    words = ("cleanup", "--older-than", "1d", "--store", url)
    with full.start(*words) as run, held_up(postgres_server, schema, "%"):
        said = interrupt(run)
    assert said == "interrupted; 0 threads were removed, the same command goes on\n"
