"""Clients that hang up, again and again: nothing is left of any of them."""

import random
from pathlib import Path

import pytest

from tests.fake_provider import FakeProvider
from tests.server.peer import Server, eventually


def test_nothing_is_left_of_clients_that_hang_up(
    server: Server, fake_provider: FakeProvider, pytestconfig: pytest.Config
) -> None:
    """No call of the provider, no descriptor, no open stream, no lease, no memory that grows."""
    count = pytestconfig.getoption("--hang-ups")
    chance = random.Random(7)
    hang_up(server, fake_provider, chance, 10, "warm")
    calm(server, fake_provider)
    descriptors, memory = descriptors_of(server), memory_of(server)
    hang_up(server, fake_provider, chance, count, "leak")
    calm(server, fake_provider)
    assert descriptors_of(server) <= descriptors + 2
    assert memory_of(server) - memory < 20_000 + 10 * count
    requests = fake_provider.requests()
    assert all(request["client_gone"] or request["finished"] for request in requests)
    for number in (0, count - 1):
        thread = f"leak-{number % 5}"
        assert server.chat("after", thread_id=thread, on_busy="reject").status_code == 200
        states = {turn["state"] for turn in server.history(thread)}
        assert states <= {"interrupted", "complete"}


def hang_up(server: Server, provider: FakeProvider, chance: random.Random, count: int, name: str) -> None:
    """Begin streams and leave them: before the head, after it, after a token, or in the wait for a thread."""
    for number in range(count):
        model = chance.choice(["openai:silent", "openai:slow-5", "openai:tokens-50", "openai:stall"])
        body = {"input": "x", "thread_id": f"{name}-{number % 5}", "model": model}
        stream = server.open_stream(body)
        if model == "openai:slow-5":
            provider.release()
        if model != "openai:silent" and chance.random() < 0.5:
            next(stream.documents(), None)
        stream.hang_up()


def calm(server: Server, provider: FakeProvider) -> None:
    """Wait until nothing runs any more."""
    del provider
    eventually(lambda: True if server.metric("chatcli_open_streams") == 0 else None)


def descriptors_of(server: Server) -> int:
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


def memory_of(server: Server) -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])
