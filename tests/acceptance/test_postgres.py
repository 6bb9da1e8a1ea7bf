"""The program on PostgreSQL: the same commands, and a turn outlives what happens to its connections."""

import json
from collections.abc import Iterator

import pytest

from tests.fake_provider import FakeProvider
from tests.program import Chatcli
from tests.stores.postgres import Server, running


@pytest.fixture
def far(online: Chatcli, postgres_server: Server) -> Chatcli:
    """The program with its threads in a schema of their own."""
    return online.with_environment(CHATCLI_STORE=postgres_server.url())


@pytest.fixture(scope="module")
def own_server() -> Iterator[Server]:
    """A server of these tests' own, that they may stop; each leaves it running."""
    with running() as server:
        yield server


def states(program: Chatcli, thread: str) -> list[str]:
    """Return the states of the turns of a thread."""
    done = program("history", thread, "--json")
    assert done.returncode == 0, done.stderr
    return [turn["state"] for turn in json.loads(done.stdout)["turns"]]


def test_the_commands(far: Chatcli) -> None:
    """A conversation is carried on, listed, found and deleted, each by its own process."""
    assert far("chat", "-m", "openai:echo", "-t", "tea", "How hot?").stdout == b"How hot?"
    assert far("chat", "-m", "openai:echo-count", "-c", "And now?").stdout.strip() == b"4"
    assert [json.loads(line)["id"] for line in far("history", "--json").stdout.splitlines()] == ["tea"]
    assert b"How hot?" in far("history", "--search", "HÓT").stdout
    assert far("info", "--check").returncode == 0
    assert far("delete", "tea", "--yes").returncode == 0
    assert far("history", "tea").returncode == 66


def test_a_server_that_restarts_during_a_turn(
    online: Chatcli, fake_provider: FakeProvider, own_server: Server
) -> None:
    """The server goes and comes back while the model answers: the turn is saved, and nobody is told."""
    far = online.with_environment(CHATCLI_STORE=own_server.url())
    with far.start("chat", "-m", "openai:slow-3", "-t", "tea", "count") as run:
        fake_provider.wait_for(lambda requests: len(requests) == 1)
        fake_provider.release(1)
        assert run.read_until(b"w0")
        own_server.stop()
        own_server.start()
        fake_provider.release(100)
        assert (run.finish(), run.errors) == (0, b"")
    assert states(far, "tea") == ["complete"]


def test_a_server_that_stays_away(online: Chatcli, fake_provider: FakeProvider, own_server: Server) -> None:
    """The answer is shown whole, and it is said that it was not saved; the orphan blocks nobody later."""
    far = online.with_environment(CHATCLI_STORE=own_server.url())
    with far.start("chat", "-m", "openai:slow-3", "-t", "tea", "count") as run:
        fake_provider.wait_for(lambda requests: len(requests) == 1)
        fake_provider.release(1)
        assert run.read_until(b"w0")
        own_server.stop()
        fake_provider.release(100)
        assert run.finish() == 74
        assert run.seen.strip() == b"w0 w1 w2"
        assert b"not stored" in run.errors
    assert far("chat", "-m", "openai:echo", "-t", "tea", "more").returncode == 69
    own_server.start()
    assert far("chat", "-m", "openai:echo", "-t", "tea", "more").returncode == 0
    assert states(far, "tea") == ["interrupted", "complete"]


def test_a_killed_process_blocks_nobody(far: Chatcli, fake_provider: FakeProvider) -> None:
    """After SIGKILL the next turn on the thread begins at once, long before the lease runs out."""
    with far.start("chat", "-m", "openai:slow-3", "-t", "tea", "count") as run:
        fake_provider.wait_for(lambda requests: len(requests) == 1)
        run.process.kill()
        run.process.wait()
        done = far("chat", "-m", "openai:echo", "-t", "tea", "--wait", "10", "more")
    assert (done.returncode, done.stdout) == (0, b"more")
    assert states(far, "tea") == ["interrupted", "complete"]
