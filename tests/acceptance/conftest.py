"""The installed program against a fake provider that speaks real HTTP in its own process."""

import json
from collections.abc import Callable
from subprocess import CompletedProcess
from typing import Any

import pytest

from tests.fake_provider import FakeProvider
from tests.program import Chatcli

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
