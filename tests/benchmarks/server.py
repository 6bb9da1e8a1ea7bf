"""What `chatcli serve` costs, beside the plain design and beside bare relays, in the same run.

    uv run --group bench python -m tests.benchmarks.server [--rounds 3] [--only burst,paced,…]

All servers stand before one fake provider and are asked by one load generator, each a process of its
own; every turn begins a thread. The servers take turns in each round, so that a noisy machine hits
all of them; what is shown is the median, and that of the ratios within rounds. CPU is that of the
server's process, user and system, in microseconds a token or milliseconds a turn. Needs Linux.
"""

import argparse
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

NAMES = ("plain", "chatcli", "memory", "relay", "raw")
"""The plain design, chatcli on SQLite and in memory, Starlette over aiohttp, and bare asyncio."""
STREAMS = (1, 16, 128, 512)


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of the load generator saw, and the server's CPU seconds meanwhile."""

    tokens: int
    seconds: float
    first_ms: float
    cpu: float
    turns: int


class Server:
    """A process that listens."""

    def __init__(self, name: str, port: int, process: "subprocess.Popen[bytes]") -> None:
        self.name = name
        self.port = port
        self.process = process
        self.path = "/v1/chat/completions" if name == "upstream" else "/chat/stream"

    def cpu(self) -> float:
        """Return the CPU seconds that the process has used, to the nanosecond."""
        return time.clock_gettime(~self.process.pid << 3 | 2)

    def memory(self) -> int:
        """Return the KiB that the process has in memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])

    def command(self, model: str, clients: int, turns: int, *more: object) -> list[str]:
        """Return the command that puts load on the server."""
        words = (self.port, self.path, f"openai:{model}", clients, turns, *more)
        return [sys.executable, "-m", "tests.benchmarks.load", *map(str, words)]

    def load(self, model: str, clients: int, turns: int) -> Load:
        """Put load on the server and return what came of it."""
        before = self.cpu()
        command = self.command(model, clients, turns)
        found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
        assert not found["errors"], (self.name, model, clients, found)
        used = self.cpu() - before
        return Load(found["tokens"], found["seconds"], found["first_ms"], used, turns)


@contextmanager
def listening(name: str, command: list[str], port: int, environment: dict[str, str]) -> Iterator[Server]:
    """Run a server until the end of the block."""
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None, f"{name} ended"
                assert time.monotonic() < deadline, f"{name} does not listen"
                time.sleep(0.05)
        yield Server(name, port, process)
    finally:
        process.kill()
        process.wait()


@contextmanager
def servers() -> Iterator[dict[str, Server]]:
    """Run the provider and all servers before it."""
    with tempfile.TemporaryDirectory() as home, ExitStack() as stack:
        ports = {name: _free_port() for name in ("upstream", *NAMES)}
        upstream = str(ports["upstream"])
        environment = {
            **os.environ,
            "XDG_DATA_HOME": home,
            "XDG_CONFIG_HOME": home,
            "OPENAI_API_KEY": "sk-benchmark",
            "OPENAI_BASE_URL": f"http://127.0.0.1:{upstream}/v1",
            "CHATCLI_CLIENT_RATE": "100000000/minute",
            "RATE_LIMIT_CALLS": "100000000",
            "LOG_LEVEL": "WARNING",
        }
        run = [sys.executable, "-m"]
        commands = {
            "upstream": [*run, "tests.benchmarks.upstream", upstream],
            "plain": [*run, "tests.benchmarks.plain_server", str(ports["plain"]), upstream],
            "chatcli": _serve(ports["chatcli"], f"sqlite:///{home}/chats.db"),
            "memory": _serve(ports["memory"], "memory://"),
            "relay": [*run, "tests.benchmarks.relays", "starlette", str(ports["relay"]), upstream],
            "raw": [*run, "tests.benchmarks.relays", "raw", str(ports["raw"]), upstream],
        }
        yield {
            name: stack.enter_context(listening(name, command, ports[name], environment))
            for name, command in commands.items()
        }


def _serve(port: int, store: str) -> list[str]:
    return [sys.executable, "-m", "chatcli", "serve", "--port", str(port), "--store", store]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


Rounds: TypeAlias = list[dict[str, Load]]
Figure: TypeAlias = Callable[[Load], float]


def _token_us(load: Load) -> float:
    return load.cpu / load.tokens * 1e6


def _turn_ms(load: Load) -> float:
    return load.cpu / load.turns * 1e3


def _rate(load: Load) -> float:
    return load.turns / load.seconds


def collect(
    running: dict[str, Server],
    rounds: int,
    model: str,
    clients: int,
    turns: int,
    *,
    names: tuple[str, ...] = NAMES,
) -> Rounds:
    """Return the figures of all servers in all rounds, after a few turns to warm them up."""
    for name in names:
        running[name].load(model, min(clients, 16), min(turns, 32))
    return [{name: running[name].load(model, clients, turns) for name in names} for _ in range(rounds)]


def show(what: str, unit: str, rounds: Rounds, figure: Figure, against: tuple[str, ...]) -> None:
    """Print the medians, and those of chatcli's ratios to `against`."""
    print(f"\n{what}")
    for name in rounds[0]:
        print(f"  {name:<10} {statistics.median(figure(one[name]) for one in rounds):>9.2f} {unit}")
    for other in against:
        ratios = [figure(one["chatcli"]) / figure(one[other]) for one in rounds]
        print(f"  chatcli / {other:<10} {statistics.median(ratios):>9.3f}")
    sys.stdout.flush()


def burst(running: dict[str, Server], rounds: int) -> None:
    """16 streams of 200 tokens, as fast as they go."""
    found = collect(running, rounds, "burst-200", 16, 64)
    show("16 streams in bursts", "us/token", found, _token_us, ("plain", "raw", "relay"))


def paced(running: dict[str, Server], rounds: int) -> None:
    """25 streams with 25 ms between tokens."""
    found = collect(running, rounds, "paced-25-60", 25, 50)
    show("25 streams, 25 ms apart", "us/token", found, _token_us, ("plain", "relay"))


def short(running: dict[str, Server], rounds: int) -> None:
    """Turns of 20 tokens, 64 at once."""
    found = collect(running, rounds, "burst-20", 64, 512)
    show("20-token turns, 64 at once", "turns/s", found, _rate, ("plain", "memory"))
    show("the same", "ms CPU/turn", found, _turn_ms, ("plain", "memory"))


def sweep(running: dict[str, Server], rounds: int) -> None:
    """CPU of tokens and turns at different numbers of streams."""
    medians: dict[tuple[str, int], float] = {}
    for streams in STREAMS:
        for model, unit in (("burst-200", "us/token"), ("burst-20", "ms/turn")):
            turns = max(32, streams)
            found = collect(running, rounds, model, streams, turns, names=("plain", "chatcli"))
            figure: Figure = (_token_us) if model == "burst-200" else _turn_ms
            show(f"{streams} streams, {model}", unit, found, figure, ("plain",))
            if model == "burst-200":
                for name in found[0]:
                    medians[name, streams] = statistics.median(_token_us(one[name]) for one in found)
    for name in ("plain", "chatcli"):
        print(f"  {name:<10} {medians[name, 512] / medians[name, 16]:>9.2f} x a token, 512 streams to 16")


def first(running: dict[str, Server], rounds: int) -> None:
    """What is added to the provider's time to the first token, with one client."""
    names = ("upstream", *NAMES)
    found = [{name: running[name].load("burst-20", 1, 60) for name in names} for _ in range(rounds + 1)][1:]
    print("\nfirst token later than the provider's")
    added = [{name: one[name].first_ms - one["upstream"].first_ms for name in NAMES} for one in found]
    for name in NAMES:
        print(f"  {name:<10} {statistics.median(one[name] for one in added):>9.2f} ms")
    ratio = statistics.median(one["chatcli"] / one["plain"] for one in added)
    print(f"  chatcli / plain      {ratio:>9.3f}")


def idle(running: dict[str, Server], rounds: int) -> None:
    """Memory of 1,000 streams that wait for their second token."""
    del rounds
    print("\n1,000 streams that wait")
    for name in ("plain", "chatcli", "relay"):
        server = running[name]
        server.load("burst-20", 64, 256)
        before = server.memory()
        command = server.command("held-1", 1000, 1000, 2)
        with subprocess.Popen(command, stdout=subprocess.PIPE) as load:
            assert load.stdout is not None
            load.stdout.readline()
            print(f"  {name:<10} {(server.memory() - before) / 1000:>9.1f} KiB/stream", flush=True)
            load.stdout.read()


def stalled(running: dict[str, Server], rounds: int) -> None:
    """Memory of a server while a client takes nothing of an answer of 400,000 tokens."""
    del rounds
    print("\na client that reads nothing, KiB more after 5, 10, 15 s")
    body = json.dumps({"input": "hello", "model": "openai:burst-400000"}).encode()
    head = "POST /chat/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    for name in ("plain", "chatcli"):
        server = running[name]
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            before = server.memory()
            client.connect(("127.0.0.1", server.port))
            client.sendall(request)
            grown = []
            for _ in range(3):
                time.sleep(5)
                grown.append(server.memory() - before)
            print(f"  {name:<10} {grown}", flush=True)


PARTS = {part.__name__: part for part in (burst, paced, short, sweep, first, idle, stalled)}


def main() -> None:
    """Print all tables, or the ones that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default=",".join(PARTS))
    arguments = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with servers() as running:
        for part in arguments.only.split(","):
            PARTS[part](running, arguments.rounds)


if __name__ == "__main__":
    main()
