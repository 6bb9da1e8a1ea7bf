"""The load generator: clients of ``POST /chat/stream`` in a process of their own.

    python -m tests.benchmarks.load PORT PATH MODEL CLIENTS TURNS [SECONDS]

Each of CLIENTS keeps one connection and asks for one turn after the other, each on a new thread,
until there were TURNS. Prints one JSON object: tokens, errors, seconds, and the median and the 99th
percentile of the milliseconds to the first token, and where tokens tell when they were sent, how many a
second came while all clients were served, and the median of how long they were on their way. With SECONDS
each client asks once, and hangs up after that time; a line is printed when all have their first token.
"""

import asyncio
import json
import re
import statistics
import sys
import time
from typing import cast

import uvloop

_END = b"\r\n0\r\n\r\n"
_TIME = re.compile(rb'"content": ?" ([0-9]+)"')


class Client(asyncio.Protocol):
    """One connection, one turn at a time."""

    def __init__(self, load: "Load") -> None:
        self._load = load

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        self._transport = cast("asyncio.Transport", transport)
        self._busy = False
        self._ask()

    def _ask(self) -> None:
        if self._load.left <= 0:
            self._transport.close()
            self._load.leave()
            return
        self._load.left -= 1
        self._busy, self._tail, self._first, self._ok = True, b"", 0.0, True
        self._tokens = 0
        self._start = time.perf_counter()
        self._transport.write(self._load.request)

    def data_received(self, data: bytes) -> None:
        """Count tokens; they may be cut anywhere."""
        load = self._load
        if not self._tail:
            self._ok = data.startswith(b"HTTP/1.1 200")
        kept = self._tail[-len(load.marker) + 1 :]
        self._tokens += (kept + data).count(load.marker)
        if load.timed:
            now = time.monotonic_ns()
            load.delays += [now - int(sent) for sent in _TIME.findall(data)]
        if self._tokens and not self._first:
            self._first = time.perf_counter()
            load.first_came(self._first - self._start)
        self._tail = (self._tail + data)[-64:]
        if self._tail.endswith(_END) or not self._ok:
            self._busy = False
            load.one_ended()
            load.tokens += self._tokens
            load.errors += not (self._ok and load.wants in {0, self._tokens})
            self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        """Count a turn that was cut."""
        del exc
        if self._busy:
            self._load.errors += 1
            self._load.leave()


class Load:
    """What all clients share."""

    def __init__(self, path: str, model: str, clients: int, turns: int) -> None:
        kind, *numbers = model.partition(":")[2].split("-")
        self.wants = 0 if kind == "held" else int(numbers[-1])
        self.marker = b'"content":" ' if path != "/chat/stream" else b'"type": "token"'
        asked = {"model": model, "input": "hello"} if path == "/chat/stream" else {"model": model}
        body = json.dumps(asked).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        self.request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        self.left = turns
        self.tokens = self.errors = 0
        self.firsts: list[float] = []
        self.timed = kind == "timed"
        self.delays: list[int] = []
        self._all_run: tuple[float, int] | None = None
        self.rate = 0.0
        """Tokens a second while all clients had their first token and none its last."""
        self._clients = clients
        self._started = asyncio.Event()
        self._over = asyncio.Event()

    def first_came(self, seconds: float) -> None:
        """Take note of a first token."""
        self.firsts.append(seconds)
        if len(self.firsts) >= self._clients and not self._started.is_set():
            self._started.set()
            self._all_run = (time.perf_counter(), len(self.delays))

    def one_ended(self) -> None:
        """Take note of the first end of a turn."""
        if self._all_run is not None and not self.rate:
            since, before = self._all_run
            self.rate = (len(self.delays) - before) / (time.perf_counter() - since)

    def leave(self) -> None:
        """Take note that a client is done."""
        self._clients -= 1
        if not self._clients:
            self._over.set()

    async def run(self, port: int, seconds: float | None) -> dict[str, float]:
        """Run it and return the figures."""
        loop = asyncio.get_running_loop()
        start = time.perf_counter()
        for _ in range(self._clients):
            await loop.create_connection(lambda: Client(self), "127.0.0.1", port)
        if seconds is None:
            await self._over.wait()
        else:
            await asyncio.wait_for(self._started.wait(), 60)
            print("started", flush=True)
            await asyncio.sleep(seconds)
        taken = time.perf_counter() - start
        firsts = sorted(self.firsts) or [0.0]
        return {
            "tokens": self.tokens,
            "errors": self.errors,
            "seconds": taken,
            "first_ms": statistics.median(firsts) * 1e3,
            "late_ms": firsts[int(len(firsts) * 0.99)] * 1e3,
            "rate": self.rate,
            "delay_ms": statistics.median(self.delays or [0]) / 1e6,
        }


async def _main() -> None:
    port, path, model, clients, turns = sys.argv[1:6]
    load = Load(path, model, int(clients), int(turns))
    seconds = float(sys.argv[6]) if len(sys.argv) > 6 else None
    print(json.dumps(await load.run(int(port), seconds)), flush=True)


if __name__ == "__main__":
    uvloop.run(_main())
