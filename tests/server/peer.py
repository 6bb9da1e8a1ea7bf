"""A running `chatcli serve`, and the clients that tests need: httpx, raw sockets, and rude ones."""

import contextlib
import json
import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import httpx

from tests.fake_provider import FakeProvider
from tests.program import Chatcli

if TYPE_CHECKING:
    import subprocess

KEY = "sk-canary-0123456789abcdef"
TOKENS = {"alice": "token-of-alice", "bob": "token-of-bob", "local": "token-of-the-shell"}
WAIT = 60.0

Document = dict[str, Any]
T = TypeVar("T")


@dataclass
class Server:
    """A server that listens, and what it has written to its log."""

    program: Chatcli
    process: "subprocess.Popen[bytes]"
    log: Path
    port: int = 0
    token: str = TOKENS["alice"]
    address: str = ""
    pids: list[int] = field(default_factory=list)

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def headers(self) -> dict[str, str]:
        """Headers that let a request in."""
        return {"Authorization": f"Bearer {self.token}"}

    def client(self, owner: str | None = "alice", **options: Any) -> httpx.Client:
        """Return a client with the token of an owner."""
        headers = {} if owner is None else {"Authorization": f"Bearer {TOKENS[owner]}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=WAIT, **options)

    def call(self, method: str, path: str, *, owner: str | None = "alice", **options: Any) -> httpx.Response:
        """Make one request."""
        with self.client(owner) as client:
            return client.request(method, path, **options)

    def chat(self, message: str = "hello", *, owner: str = "alice", **body: Any) -> httpx.Response:
        """Ask for an answer in one piece."""
        return self.call("POST", "/chat", owner=owner, json={"message": message, **body})

    def lines(
        self, text: str = "hello", *, headers: Mapping[str, str] | None = None, **body: Any
    ) -> list[Document]:
        """Ask for a stream and return its lines."""
        answer = self.call("POST", "/chat/stream", json={"input": text, **body}, headers=headers)
        assert answer.status_code == 200, answer.text
        return [json.loads(line) for line in answer.text.splitlines()]

    def open_stream(self, body: Document, *, headers: Mapping[str, str] | None = None) -> "Stream":
        """Ask for a stream on a socket of its own."""
        return Stream(self, "POST", "/chat/stream", body, headers or {})

    def attach(self, thread_id: str, turn_id: str, *, after: int = 0, **headers: str) -> "Stream":
        """Read a turn on a socket of its own."""
        query = f"?after={after}" if after else ""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return Stream(self, "GET", f"/threads/{thread_id}/turns/{turn_id}/stream{query}", None, named)

    def raw(self, data: bytes, *, seconds: float = 30.0) -> bytes:
        """Send bytes on a new connection, and return everything until the server closes it."""
        with self.connect() as connection:
            connection.settimeout(seconds)
            connection.sendall(data)
            return read_all(connection)

    def connect(self) -> socket.socket:
        """Return a new connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=WAIT)

    def history(self, thread_id: str, *, owner: str = "alice") -> list[Document]:
        """Return the entries of a thread's history."""
        answer = self.call("GET", f"/threads/{thread_id}/history", owner=owner)
        assert answer.status_code == 200, answer.text
        entries: list[Document] = answer.json()["history"]
        return entries

    def until_state(self, thread_id: str, state: str) -> Document:
        """Wait until the last turn of a thread has a state, and return the turn."""
        return eventually(
            lambda: next((turn for turn in self.history(thread_id)[-1:] if turn["state"] == state), None)
        )

    def metric(self, name: str, **labels: str) -> float:
        """Return a value of /metrics; 0 where there is none."""
        text = self.call("GET", "/metrics", owner="local").text
        for line in text.splitlines():
            found = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
            if found and found[1] == name and dict(re.findall(r'(\w+)="([^"]*)"', found[2] or "")) == labels:
                return float(found[3])
        return 0.0

    def records(self) -> list[Document]:
        """Return the log, one document a line."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def until_logged(self, condition: Callable[[Document], bool]) -> Document:
        """Wait until a record is there."""
        return eventually(lambda: next(filter(condition, self.records()), None))

    def stop(self) -> int:
        """Send SIGTERM and return the exit code."""
        self.process.terminate()
        return self.process.wait(WAIT)


class Stream:
    """A stream that is read piece by piece, by a client that can be rude."""

    def __init__(
        self, server: Server, method: str, path: str, body: Document | None, headers: Mapping[str, str]
    ) -> None:
        self.socket = server.connect()
        content = b"" if body is None else json.dumps(body).encode()
        fields = {"Host": "localhost", "Connection": "close", **server.headers, **headers}
        if body is not None:
            fields |= {"Content-Type": "application/json", "Content-Length": str(len(content))}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self.socket.sendall(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + content)
        self._file = self.socket.makefile("rb")
        self.status = 0
        self.headers: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.hang_up()

    def read_head(self) -> int:
        """Read the head of the answer and return its status."""
        self.status = int(self._file.readline().split()[1])
        while (line := self._file.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode().partition(":")
            self.headers[name.lower()] = value.strip()
        return self.status

    def pieces(self) -> Iterator[bytes]:
        """Yield the pieces of a chunked body; a body that is cut off ends with an error."""
        if not self.status:
            self.read_head()
        while True:
            size = self._file.readline()
            if not size:
                raise ConnectionError("the stream was cut")
            piece = self._file.read(int(size, 16) + 2)[:-2]
            if not piece:
                return
            yield piece

    def lines(self) -> Iterator[str]:
        """Yield the lines of the body."""
        held = ""
        for piece in self.pieces():
            *whole, held = (held + piece.decode()).split("\n")
            yield from whole
        assert not held

    def documents(self) -> Iterator[Document]:
        """Yield the lines of the body as documents."""
        for line in self.lines():
            yield json.loads(line)

    def hang_up(self) -> None:
        """Close the connection."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self._file.close()
        self.socket.close()


def read_all(connection: socket.socket) -> bytes:
    """Read until the other side closes."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            found += piece
    return found


def eventually(look: Callable[[], T | None], *, seconds: float = WAIT) -> T:
    """Return what `look` finds, as soon as it finds something."""
    deadline = time.monotonic() + seconds
    while (found := look()) is None:
        assert time.monotonic() < deadline, "never came true"
        time.sleep(0.01)
    return found


def _named(owner: str) -> str:
    """Return what a token's line begins with; the shell's is the one without a name."""
    return "" if owner == "local" else f"{owner}:"


def program(home: Path, provider: FakeProvider | None, **variables: str) -> Chatcli:
    """Return the program with tokens, a provider, and limits that nobody meets."""
    home.mkdir(exist_ok=True)
    tokens = home / "tokens"
    tokens.write_text("".join(f"{_named(name)}{token}\n" for name, token in TOKENS.items()))
    settings = {
        "CHATCLI_API_TOKENS_FILE": str(tokens),
        "CHATCLI_CLIENT_RATE": "1000000/minute",
        "RATE_LIMIT_CALLS": "1000000",
        "CHATCLI_MODEL": "openai:fake",
        **variables,
    }
    if provider is not None:
        settings = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": provider.url, **settings}
    return Chatcli.at(home).with_environment(**settings)


@contextlib.contextmanager
def serving(
    home: Path, *words: str, provider: FakeProvider | None = None, uds: bool = False, **variables: str
) -> Iterator[Server]:
    """Start a server with a home of its own, wait until it listens, and end it afterwards."""
    found = program(home, provider, **variables)
    log = home / "serve.log"
    place = () if uds else ("--port", "0")
    with log.open("ab") as errors, found.start("serve", *place, *words, stderr=errors) as running:
        server = Server(found, running.process, log)
        listening = eventually(lambda: _listening(server))
        server.address = listening["address"]
        if not uds:
            server.port = int(server.address.rpartition(":")[2])
        yield server


def _listening(server: Server) -> Document | None:
    assert server.process.poll() is None, server.log.read_text()
    lines = server.log.read_text().splitlines(keepends=True)
    whole = [json.loads(line) for line in lines if line.endswith("\n")]
    return next((record for record in whole if record.get("event") == "listening"), None)
