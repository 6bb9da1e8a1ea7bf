"""Fixtures that every suite may use; sockets reach loopback and nothing else."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_socket import socket_allow_hosts

from tests.fake_provider import FakeProvider, running
from tests.program import Chatcli


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let long sweeps run at their full length; by default they are short and seeded."""
    parser.addoption("--kills", type=int, default=25, help="SIGKILLs of the kill tests (full: 300)")


def pytest_runtest_setup() -> None:
    """Keep every test off the network."""
    socket_allow_hosts(["127.0.0.1", "::1"], allow_unix_socket=True)


@pytest.fixture
def chatcli(tmp_path: Path) -> Chatcli:
    """The program, with a home of its own."""
    return Chatcli.at(tmp_path)


@pytest.fixture(scope="session")
def fake_provider_process() -> Iterator[FakeProvider]:
    """One fake provider for all tests of a run; use `fake_provider`."""
    with running() as provider:
        yield provider


@pytest.fixture
def fake_provider(fake_provider_process: FakeProvider) -> FakeProvider:
    """A provider with nothing in its log; `tests/fake_provider/script.py` says what it answers."""
    fake_provider_process.reset()
    return fake_provider_process
