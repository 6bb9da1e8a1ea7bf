"""Servers of their own processes on real sockets; most tests share one."""

from collections.abc import Iterator

import pytest

from tests.fake_provider import FakeProvider
from tests.server.peer import Server, serving


@pytest.fixture(scope="session", params=["httptools", "h11"])
def each_parser_process(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    fake_provider_process: FakeProvider,
) -> Iterator[Server]:
    """A server for each HTTP parser, with tokens for alice, bob and the shell."""
    home = tmp_path_factory.mktemp(request.param)
    with serving(
        home,
        "--http",
        request.param,
        "--cors-origin",
        "https://friend.example",
        provider=fake_provider_process,
    ) as server:
        yield server


@pytest.fixture
def each_parser(each_parser_process: Server, fake_provider: FakeProvider) -> Server:
    """Run the test against both HTTP parsers."""
    del fake_provider  # resets it
    return each_parser_process


@pytest.fixture(scope="session")
def server_process(
    tmp_path_factory: pytest.TempPathFactory, fake_provider_process: FakeProvider
) -> Iterator[Server]:
    """One server for many tests; use `server`."""
    with serving(tmp_path_factory.mktemp("server"), provider=fake_provider_process) as server:
        yield server


@pytest.fixture
def server(server_process: Server, fake_provider: FakeProvider) -> Server:
    """A running server, with tokens for alice, bob and the shell, in front of the fake provider."""
    del fake_provider  # resets it
    return server_process


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
