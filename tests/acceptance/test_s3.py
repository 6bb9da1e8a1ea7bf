"""The program on S3: the same commands, and a turn outlives what the server does to it."""

import json

import pytest

from chatcli.stores.base import LEASE_SECONDS
from tests.fake_provider import FakeProvider
from tests.program import Chatcli
from tests.stores.s3 import ENVIRONMENT, Fault, Server, Traffic


@pytest.fixture
def far(online: Chatcli, s3_server: Server) -> Chatcli:
    """The program with its threads in a bucket of their own."""
    return online.with_environment(CHATCLI_STORE=s3_server.url(), **ENVIRONMENT)


@pytest.fixture
def traffic(far: Chatcli, s3_server: Server) -> Traffic:
    """What goes on between the program and the bucket."""
    return s3_server.traffic(far.environment["CHATCLI_STORE"])


def states(program: Chatcli, thread: str) -> list[str]:
    """Return the states of the turns of a thread."""
    done = program("history", thread, "--json")
    assert done.returncode == 0, done.stderr
    return [turn["state"] for turn in json.loads(done.stdout)["turns"]]


def test_the_commands(far: Chatcli) -> None:
    """A conversation is carried on, found and deleted, each by its own process."""
    assert far("chat", "-m", "openai:echo", "-t", "tea", "How hot?").stdout == b"How hot?"
    assert far("chat", "-m", "openai:echo-count", "-c", "And now?").stdout.strip() == b"4"
    assert b"How hot?" in far("history", "--search", "HÓT").stdout
    assert far("delete", "tea", "--yes").returncode == 0


def test_a_server_that_refuses_the_answer(
    far: Chatcli, fake_provider: FakeProvider, traffic: Traffic
) -> None:
    """The answer is shown whole, and it is said that it was not saved; the orphan blocks nobody later."""
    with far.start("chat", "-m", "openai:slow-3", "-t", "tea", "count") as run:
        fake_provider.wait_for(lambda requests: len(requests) == 1)
        fake_provider.release(1)
        assert run.read_until(b"w0")
        traffic.add(Fault(status=403, code="AccessDenied", times=9999))
        fake_provider.release(100)
        assert run.finish() == 74
        assert run.seen.strip() == b"w0 w1 w2"
        assert b"not stored" in run.errors
    asked = len(fake_provider.requests())
    assert far("chat", "-m", "openai:echo", "-t", "tea", "more").returncode == 77
    assert len(fake_provider.requests()) == asked, "the model was asked although nothing can be stored"
    traffic.faults.clear()
    traffic.ahead += LEASE_SECONDS + 1
    assert far("chat", "-m", "openai:echo", "-t", "tea", "more").stdout == b"more"


def test_an_answer_that_was_lost(far: Chatcli, fake_provider: FakeProvider, traffic: Traffic) -> None:
    """The server stores the turn and hangs up without saying so: it is there once, and nobody is told."""
    with far.start("chat", "-m", "openai:slow-3", "-t", "tea", "count") as run:
        fake_provider.wait_for(lambda requests: len(requests) == 1)
        fault = traffic.add(Fault("PUT", "tea.json", status=0, after=True))
        fake_provider.release(100)
        assert (run.finish(), run.errors) == (0, b"")
    assert fault.times == 0
    assert states(far, "tea") == ["complete"]


def test_a_killed_process_blocks_for_its_lease_only(
    far: Chatcli, fake_provider: FakeProvider, traffic: Traffic
) -> None:
    """After SIGKILL the thread is busy until the lease has run out on the server, and free then."""
    with far.start("chat", "-m", "openai:slow-3", "-t", "tea", "count") as run:
        fake_provider.wait_for(lambda requests: len(requests) == 1)
        run.process.kill()
        run.process.wait()
    busy = far("chat", "-m", "openai:echo", "-t", "tea", "--wait", "0", "more")
    assert (busy.returncode, busy.stdout) == (75, b"")
    traffic.ahead += LEASE_SECONDS + 1
    assert far("chat", "-m", "openai:echo", "-t", "tea", "--wait", "0", "more").stdout == b"more"
    assert states(far, "tea") == ["interrupted", "complete"]


def test_a_server_that_ignores_conditions(
    far: Chatcli, fake_provider: FakeProvider, traffic: Traffic
) -> None:
    """A server on which turns could be lost is refused by name before the model is asked."""
    fine = b'HTTP/1.1 200 OK\r\nETag: "1"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n'
    traffic.add(Fault("PUT", times=9999, replace=lambda _: fine))
    done = far("chat", "-m", "openai:echo", "-t", "tea", "How hot?")
    assert (done.returncode, done.stdout) == (78, b"")
    assert b"ignores conditional writes" in done.stderr
    assert fake_provider.requests() == []
