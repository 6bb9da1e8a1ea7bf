"""A provider that speaks the OpenAI wire format over real HTTP, in a process of its own.

What it answers is chosen by the model's name; ``script.py`` has the table. Tests take it through
the fixture ``fake_provider``.
"""

import asyncio
import contextlib
import http.client
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
Request = dict[str, Any]
Condition = Callable[[list[Request]], bool]


class FakeProvider:
    """A running fake provider, seen from a test."""

    def __init__(self, port: int) -> None:
        self.port = port

    @property
    def origin(self) -> str:
        """The address without a path, as Groq's SDK wants its base URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The base URL, as ``OPENAI_BASE_URL`` wants it."""
        return f"{self.origin}/v1"

    def requests(self) -> list[Request]:
        """Return every question to a model since the last reset: `tests.fake_provider.server.Record`."""
        return [request for request in self.all_requests() if request["method"] == "POST"]

    def all_requests(self) -> list[Request]:
        """Return every request since the last reset, those for the list of models, too."""
        found: list[Request] = self._call("GET", "/_log")["requests"]
        return found

    def second_host_connections(self) -> int:
        """Return how many connections the host behind the model ``redirect`` got."""
        return int(self._call("GET", "/_log")["second_host_connections"])

    def release(self, tokens: int = 1) -> None:
        """Let that many tokens of gated answers go."""
        self._call("POST", f"/_release?n={tokens}")

    def reset(self) -> None:
        """Forget all requests and end all answers that are still open."""
        self._call("POST", "/_reset")

    def wait_for(self, condition: Condition, *, seconds: float = 60) -> list[Request]:
        """Return the requests as soon as `condition` holds for them; fail after `seconds`."""
        deadline = time.monotonic() + seconds
        while not condition(requests := self.requests()):
            assert time.monotonic() < deadline, f"never came true: {requests}"
            time.sleep(0.01)
        return requests

    async def until(self, condition: Condition, *, seconds: float = 60) -> list[Request]:
        """Do what `wait_for` does while the event loop goes on."""
        deadline = time.monotonic() + seconds
        while not condition(requests := self.requests()):
            assert time.monotonic() < deadline, f"never came true: {requests}"
            await asyncio.sleep(0.01)
        return requests

    def _call(self, method: str, path: str) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with contextlib.closing(connection):
            connection.request(method, path)
            page: dict[str, Any] = json.loads(connection.getresponse().read())
        return page


@contextlib.contextmanager
def running() -> Iterator[FakeProvider]:
    """Start a fake provider, and end it afterwards."""
    command = [sys.executable, "-m", "tests.fake_provider"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield FakeProvider(int(process.stdout.readline()))
        finally:
            process.kill()
