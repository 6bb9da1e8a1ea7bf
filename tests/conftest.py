"""Fixtures that every suite may use; sockets reach loopback and nothing else."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, settings
from pytest_socket import socket_allow_hosts

from tests.fake_provider import FakeProvider, running
from tests.program import Chatcli

if TYPE_CHECKING:
    from tests.stores.postgres import Server
    from tests.stores.s3 import Server as S3Server

# How long an example takes says how busy the machine is, not whether a promise holds.
settings.register_profile("any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-machine")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let long sweeps run at their full length; by default they are short and seeded."""
    parser.addoption("--texts", type=int, default=300, help="texts through the terminal gate (full: 20000)")
    parser.addoption("--screens", type=int, default=60, help="texts through a terminal (full: 3000)")
    parser.addoption("--every-store", action="store_true", help="test mixtures of stores, too")
    parser.addoption(
        "--s3-endpoint", help="test on this S3 server instead of moto (tests/stores/endpoint.py)"
    )
    parser.addoption("--every-command", action="store_true", help="count instructions of all commands")
    parser.addoption("--kills", type=int, default=25, help="SIGKILLs of the kill tests (full: 300)")
    parser.addoption("--machines", type=int, default=8, help="runs of the state machine (full: 500)")
    parser.addoption("--writers", type=int, default=4, help="writers at once of a store (full: 32)")
    parser.addoption("--turns", type=int, default=4, help="turns of each writer (full: 50)")
    parser.addoption("--hang-ups", type=int, default=50, help="clients of serve that hang up (full: 1000)")
    parser.addoption(
        "--examples", type=int, default=5, help="requests for each operation of the API (full: 200)"
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Keep every test off the network, but for the S3 server that was named."""
    endpoint: str | None = item.config.getoption("--s3-endpoint")
    named = [] if endpoint is None else [urlsplit(endpoint).hostname or ""]
    socket_allow_hosts(["127.0.0.1", "::1", *named], allow_unix_socket=True)


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


@pytest.fixture(scope="session")
def postgres_server() -> "Iterator[Server]":
    """One PostgreSQL server for all tests of a run, started by the first that wants it."""
    from tests.stores.postgres import running

    with running() as server:
        yield server


@pytest.fixture(scope="session")
def s3_server(pytestconfig: pytest.Config) -> "Iterator[S3Server]":
    """One S3 server for all tests of a run, started by the first that wants it."""
    from tests.stores.s3 import running

    with running(pytestconfig.getoption("--s3-endpoint")) as server:
        yield server
