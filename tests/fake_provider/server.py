"""The fake provider's server: HTTP/1.1 over asyncio streams, one request a connection, all of it recorded.

Besides ``POST …/chat/completions`` and ``GET …/models`` (any prefix; with a key ``…=err-401`` the
list is answered as that model would be) it answers to tests:
``GET /_log`` (requests so far), ``POST /_release?n=N`` (let N gated tokens go), ``POST /_reset``.
"""

import asyncio
import contextlib
import json
import time
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.fake_provider.script import Asked, Reply, reply_to

MODELS = ("fake-large", "fake-small")


@dataclass
class Record:
    """One request as it came, and what became of it."""

    number: int
    method: str
    path: str
    headers: dict[str, str]
    body: Any
    at: float
    """Seconds on the monotonic clock."""
    sent: int = 0
    """Pieces of the answer's body written so far."""
    finished: bool = False
    """The answer was written to its end."""
    client_gone: bool = False
    """The client closed the connection before the end."""


@dataclass
class State:
    """All that tests can ask for."""

    records: list[Record] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    second_host: str = ""
    second_host_connections: int = 0

    def reset(self) -> None:
        """Forget everything and end all answers."""
        for task in self.tasks:
            task.cancel()
        self.records.clear()
        self.counts.clear()
        self.gate = asyncio.Semaphore(0)
        self.second_host_connections = 0


async def read_request(reader: asyncio.StreamReader) -> tuple[str, str, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)
    }
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return method, path, headers, body


def json_reply(page: object) -> Reply:
    return Reply(200, {"content-type": "application/json"}, body=json.dumps(page).encode())


def control(state: State, method: str, path: str) -> Reply | None:
    """Return the answer to a test's own request, None for any other."""
    parts = urlsplit(path)
    match method, parts.path:
        case "GET", "/_log":
            requests = [asdict(record) for record in state.records]
            return json_reply(
                {"requests": requests, "second_host_connections": state.second_host_connections}
            )
        case "POST", "/_release":
            for _ in range(int(parse_qs(parts.query).get("n", ["1"])[0])):
                state.gate.release()
            return json_reply({})
        case "POST", "/_reset":
            state.reset()
            return json_reply({})
    return None


def reply_for(state: State, record: Record) -> Reply:
    key = record.headers.get("authorization", "no key").removeprefix("Bearer ")
    if record.path.endswith("/models") and "=" in key:
        record.body = {"model": key.rpartition("=")[2]}
    elif record.path.endswith("/models"):
        return json_reply({"object": "list", "data": [{"id": name, "object": "model"} for name in MODELS]})
    if not record.path.endswith(("/chat/completions", "/models")):
        record.body = {"model": "err-404"}
    body = record.body if isinstance(record.body, dict) else {}
    model = str(body.get("model", ""))
    state.counts[model] = state.counts.get(model, 0) + 1
    return reply_to(Asked(body, key, state.counts[model], state.second_host, state.gate))


async def write_reply(writer: asyncio.StreamWriter, reply: Reply, record: Record | None) -> None:
    """Write an answer; streams are chunked, so that a lost connection differs from an end."""
    if not reply.headless:
        length = "transfer-encoding: chunked" if reply.pieces else f"content-length: {len(reply.body)}"
        lines = [f"HTTP/1.1 {reply.status} x", *(f"{name}: {value}" for name, value in reply.headers.items())]
        writer.write("\r\n".join([*lines, length, "connection: close", "", ""]).encode() + reply.body)
        await writer.drain()
        if reply.pieces:
            async for piece in reply.pieces:
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                await writer.drain()
                if record:
                    record.sent += 1
    if reply.ending == "hang":
        await asyncio.Event().wait()
    if reply.ending == "drop":
        writer.transport.abort()
        return
    if reply.pieces:
        writer.write(b"0\r\n\r\n")
    await writer.drain()
    if record:
        record.finished = True


async def serve_one(state: State, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        method, path, headers, body = await read_request(reader)
    except (asyncio.IncompleteReadError, ConnectionError):
        return
    if reply := control(state, method, path):
        await write_reply(writer, reply, None)
        return
    parsed = json.loads(body) if body else None
    record = Record(len(state.records) + 1, method, path, headers, parsed, time.monotonic())
    state.records.append(record)
    answer = asyncio.create_task(write_reply(writer, reply_for(state, record), record))
    state.tasks.add(answer)
    gone = asyncio.create_task(reader.read(1))
    await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
    if not answer.done():
        record.client_gone = True
        answer.cancel()
    gone.cancel()
    with contextlib.suppress(asyncio.CancelledError, ConnectionError):
        await answer
    with contextlib.suppress(asyncio.CancelledError, ConnectionError):
        await gone
    record.client_gone = record.client_gone or answer.cancelled() or answer.exception() is not None
    state.tasks.discard(answer)


async def serve(port: int) -> None:
    """Serve until cancelled; print the port on a line of its own."""
    state = State()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await serve_one(state, reader, writer)
        writer.close()

    async def count(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        state.second_host_connections += 1
        writer.close()

    second = await asyncio.start_server(count, "127.0.0.1", 0)
    state.second_host = f"http://127.0.0.1:{second.sockets[0].getsockname()[1]}"
    server = await asyncio.start_server(handle, "127.0.0.1", port)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
