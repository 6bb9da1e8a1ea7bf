"""Clients that hang up, again and again: nothing is left of any of them."""

import random
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.fake_provider import FakeProvider
from tests.server.peer import Server, Stream, eventually

TOGETHER = 20
"""Streams that are open at once."""


def test_nothing_is_left_of_clients_that_hang_up(
    server: Server, fake_provider: FakeProvider, pytestconfig: pytest.Config
) -> None:
    """No call of the provider, no descriptor, no open stream, no lease, no memory that grows."""
    count = pytestconfig.getoption("--hang-ups")
    chance = random.Random(7)
    hang_up(server, chance, TOGETHER, "warm")
    calm(server, fake_provider, descriptors_of(server))
    descriptors, memory = descriptors_of(server), memory_of(server)
    threads = hang_up(server, chance, count, "leak")
    start = time.perf_counter()
    calm(server, fake_provider, descriptors + 2)
    print(f"\n{count} clients hung up; quiet after {time.perf_counter() - start:.2f} s")
    assert memory_of(server) - memory < 20_000 + 10 * count
    states: Counter[str] = Counter()
    for thread in threads:
        assert server.chat("after", thread_id=thread, on_busy="reject").status_code == 200
        states.update(turn["state"] for turn in server.history(thread)[:-1])
    print(dict(states))
    assert states.keys() <= {"interrupted", "complete"}


def hang_up(server: Server, chance: random.Random, count: int, name: str) -> set[str]:
    """Begin streams and leave them in any order; return the threads that they were on.

    They are left before the head, after it, after a token, or in the wait for a thread that others have.
    """
    threads: set[str] = set()
    begun: list[Stream] = []
    for number in range(count):
        model = chance.choice(["openai:silent", "openai:paced-20-20-20", "openai:tokens-50", "openai:stall"])
        reads = model != "openai:silent" and chance.random() < 0.5
        threads.add(thread := f"{name}-alone-{number % TOGETHER}" if reads else f"{name}-{number % 5}")
        begun.append(server.open_stream({"input": "x", "thread_id": thread, "model": model}))
        if reads:
            next(begun[-1].documents(), None)
        if len(begun) == TOGETHER or chance.random() < 0.05:
            leave(begun, chance)
    leave(begun, chance)
    return {thread for thread in threads if server.call("GET", f"/threads/{thread}").status_code == 200}


def leave(streams: list[Stream], chance: random.Random) -> None:
    """Hang up on all, in any order."""
    chance.shuffle(streams)
    while streams:
        streams.pop().hang_up()


def calm(server: Server, provider: FakeProvider, descriptors: int) -> None:
    """Wait until nothing runs any more: no stream, no call, and hardly a descriptor more than before."""

    def look() -> bool | None:
        over = all(request["client_gone"] or request["finished"] for request in provider.requests())
        quiet = over and server.metric("chatcli_open_streams") == 0
        return True if quiet and descriptors_of(server) <= descriptors else None

    eventually(look)


def descriptors_of(server: Server) -> int:
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


def memory_of(server: Server) -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])
