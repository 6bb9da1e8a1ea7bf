"""The installed program against a fake provider that speaks real HTTP in its own process."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from subprocess import CompletedProcess
from typing import Any

import pytest

from tests.fake_provider import FakeProvider
from tests.program import Chatcli
from tests.server.peer import TOKENS, Server, serving

KEY = "sk-canary-0123456789abcdef"


@pytest.fixture
def online(chatcli: Chatcli, fake_provider: FakeProvider) -> Chatcli:
    """The program, with a key and the fake provider behind ``openai:``."""
    return chatcli.with_environment(
        OPENAI_API_KEY=KEY, OPENAI_BASE_URL=fake_provider.url, RATE_LIMIT_CALLS="10000"
    )


Document = dict[str, Any]


@pytest.fixture
def history(chatcli: Chatcli) -> Callable[[str], Document]:
    """Return a thread as ``history --json`` shows it."""

    def read(thread: str) -> Document:
        done = chatcli("history", thread, "--json")
        assert done.returncode == 0, done.stderr
        document: Document = json.loads(done.stdout)
        return document

    return read


def lines(done: CompletedProcess[bytes]) -> list[Document]:
    """Return the JSON objects on standard output, one a line."""
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def servers(
    tmp_path_factory: pytest.TempPathFactory, fake_provider_process: FakeProvider
) -> Iterator[Callable[[str], tuple[Server, str]]]:
    """Return a server with a transport and its URL; each is started when it is first asked for."""
    with ExitStack() as stack:

        @cache
        def start(transport: str) -> tuple[Server, str]:
            home = tmp_path_factory.mktemp(transport)
            if transport == "tcp":
                server = stack.enter_context(serving(home, provider=fake_provider_process))
                return server, server.url
            path = home / "s"
            words = ("--uds", str(path))
            return stack.enter_context(serving(home, *words, provider=fake_provider_process, uds=True)), (
                f"unix://{path}"
            )

        yield start


@pytest.fixture
def server(servers: Callable[[str], tuple[Server, str]], fake_provider: FakeProvider) -> Server:
    """A running server in front of the fake provider."""
    del fake_provider  # resets it
    return servers("tcp")[0]


@pytest.fixture
def remote(chatcli: Chatcli, server: Server) -> Chatcli:
    """The program, with the server and a token for it in its environment, and no store of its own."""
    return chatcli.with_environment(CHATCLI_SERVER=server.url, CHATCLI_API_TOKEN=TOKENS["local"])
