"""What copies of contexts in Redis save a turn in PostgreSQL, and what they cost.

    uv run python -m tests.benchmarks.copies [--turns 500] [--letters 400,4000]

Turns of `begin` with a context of 20 messages and `commit`, warm, each message of so many letters: without
Redis and with it, three times by turns, the median of each figure. CPU is that of one turn in milliseconds:
of the process, of PostgreSQL's processes and of Redis'. Round trips and bytes on the wire are those to
PostgreSQL, both ways.
"""

import argparse
import asyncio
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from chatcli.config import load_settings
from chatcli.frozen import replace
from chatcli.models import Message, Role, TurnState, Usage, utc_now
from chatcli.stores import open_store
from chatcli.stores.base import Outcome, ThreadStore, message_id
from tests import redis
from tests.benchmarks import growth
from tests.benchmarks.meter import Meter, metered
from tests.stores import postgres
from tests.stores.talk import held

ROUNDS = 3
SEEDS = 15
"""Turns before: more than a context holds."""


class Server(growth.Server):
    """PostgreSQL, with a Redis beside it or without one."""

    redis_url = ""

    def store(self) -> ThreadStore:
        """Return chatcli's store."""
        environ = {"HOME": "/nonexistent", "CHATCLI_REDIS_URL": self.redis_url}
        return open_store(self._url(), settings=load_settings(environ=environ))


async def turn(store: ThreadStore, text: str) -> None:
    """Run a turn without a graph around it."""
    new = growth.new_turn()
    begun = await store.begin(replace(new, prompt=(replace(new.prompt[0], content=text),)))
    reply = Message(message_id(new.turn_id, 1), Role.AI, text, utc_now())
    await store.commit(held(begun), Outcome(TurnState.COMPLETE, (reply,), "stop", Usage(100, 100)))


async def measure(place: Server, text: str, turns: int, redis_process: psutil.Process) -> list[float]:
    """Return the figures of a turn."""
    store = place.store()
    for _ in range(SEEDS):
        await turn(store, text)
    before = sum(redis_process.cpu_times()[:2])
    cost = await growth.measure(lambda: turn(store, text), place, turns)
    of_redis = (sum(redis_process.cpu_times()[:2]) - before) / (turns + 1) * 1e3
    await store.aclose()
    return [cost.own, cost.server, of_redis, cost.trips, cost.wire]


async def run(server: postgres.Server, meter: Meter, folder: Path, turns: int, sizes: list[int]) -> None:
    """Print the table."""
    with redis.running(folder) as redis_server:
        assert redis_server.process is not None
        process = psutil.Process(redis_server.process.pid)
        print(f"{'letters':>8} {'':10} {'own ms':>8} {'server':>8} {'Redis':>8} {'trips':>6} {'bytes':>9}")
        for size in sizes:
            text = (growth.TEXT * (size // len(growth.TEXT) + 1))[:size]
            found: dict[str, list[list[float]]] = {"": [], redis_server.url: []}
            for url in (*found, *found, *found)[: ROUNDS * 2]:
                place = Server(server, meter, folder)
                place.redis_url = url
                found[url].append(await measure(place, text, turns, process))
            for url, rows in found.items():
                own, served, of_redis, trips, wire = map(statistics.median, zip(*rows, strict=True))
                name = "with Redis" if url else "without"
                print(
                    f"{size:>8} {name:10} {own:8.2f} {served:8.2f} {of_redis:8.2f} {trips:6.1f} {wire:9,.0f}",
                    flush=True,
                )


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=500)
    parser.add_argument("--letters", default="400,4000")
    arguments = parser.parse_args()
    sizes = [int(size) for size in arguments.letters.split(",")]
    with tempfile.TemporaryDirectory(dir="/tmp") as name, ExitStack() as stack:
        server = stack.enter_context(postgres.running())
        meter, _ = stack.enter_context(metered(server.socket, Path(name) / server.socket.name))
        asyncio.run(run(server, meter, Path(name), arguments.turns, sizes))


if __name__ == "__main__":
    main()
