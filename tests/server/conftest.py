"""Servers of their own processes on real sockets; most tests share one."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache

import pytest

from tests.fake_provider import FakeProvider
from tests.server.peer import Server, serving


@pytest.fixture(scope="session")
def parsers(
    tmp_path_factory: pytest.TempPathFactory, fake_provider_process: FakeProvider
) -> Iterator[Callable[[str], Server]]:
    """Return the server with an HTTP parser; each is started when it is first asked for."""
    with ExitStack() as stack:

        @cache
        def start(parser: str) -> Server:
            home = tmp_path_factory.mktemp(parser)
            words = ("--http", parser, "--cors-origin", "https://friend.example")
            return stack.enter_context(serving(home, *words, provider=fake_provider_process))

        yield start


@pytest.fixture(params=["httptools", "h11"])
def each_parser(
    request: pytest.FixtureRequest, parsers: Callable[[str], Server], fake_provider: FakeProvider
) -> Server:
    """Run the test against both HTTP parsers."""
    del fake_provider  # resets it
    return parsers(request.param)


@pytest.fixture
def server(parsers: Callable[[str], Server], fake_provider: FakeProvider) -> Server:
    """A running server, with tokens for alice, bob and the shell, in front of the fake provider."""
    del fake_provider  # resets it
    return parsers("httptools")


@pytest.fixture(scope="session")
def impatient_process(
    tmp_path_factory: pytest.TempPathFactory, fake_provider_process: FakeProvider
) -> Iterator[Server]:
    """A server that waits for nothing long; use `impatient`."""
    with serving(
        tmp_path_factory.mktemp("impatient"),
        "--receive-timeout",
        "1",
        "--stall-timeout",
        "0.5",
        provider=fake_provider_process,
        CHATCLI_TIMEOUT_FIRST_TOKEN="0.5",
        CHATCLI_TIMEOUT_IDLE="1.5",
        CHATCLI_TIMEOUT_TOTAL="30",
    ) as server:
        yield server


@pytest.fixture
def impatient(impatient_process: Server, fake_provider: FakeProvider) -> Server:
    """A running server with short deadlines."""
    del fake_provider  # resets it
    return impatient_process
