"""The servers that are measured, each a process of its own before one fake provider, and the load on them."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

NAMES = ("plain", "chatcli", "memory", "relay", "raw")
"""The plain design, chatcli on SQLite and in memory, Starlette over aiohttp, and bare asyncio."""


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of the load generator saw, and the server's CPU seconds meanwhile."""

    tokens: int
    seconds: float
    first_ms: float
    cpu: float
    turns: int
    rate: float
    """Tokens a second while all clients were served; 0 where tokens do not tell when they were sent."""
    delay_ms: float
    """From when the provider sent a token until it came, the median; 0 where tokens do not tell."""


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
        took = (found["seconds"], found["first_ms"])
        return Load(found["tokens"], *took, used, turns, found["rate"], found["delay_ms"])


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
