"""What serving must cost at least: relays that turn a provider's events into lines, and do nothing else.

    python -m tests.benchmarks.relays raw|starlette PORT UPSTREAM_PORT

``raw`` is a bare protocol on either side, ``starlette`` Starlette over aiohttp on uvicorn. They read
each event, and write what came together in one piece; no threads, no store, no errors.
"""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from typing import Any, cast

import uvloop

_MODEL = re.compile(rb'"model":\s*"(?:[a-z]+:)?([a-z0-9-]+)"')
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n"
_END = '{"type": "metadata", "thread_id": "none", "metadata": {"status": "completed"}}\n'


def compose(model: str) -> bytes:
    """Return the body that asks the provider."""
    prompt = [{"role": "user", "content": "hello"}]
    return json.dumps({"model": model, "messages": prompt, "stream": True}).encode()


class Lines:
    """Lines of the answer from the provider's events, cut anywhere."""

    def __init__(self) -> None:
        self._rest = b""
        self.over = False

    def feed(self, data: bytes) -> bytes:
        """Return the lines that `data` completes."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        found = []
        for line in lines:
            if not line.startswith(b"data: "):
                continue
            if line == b"data: [DONE]":
                self.over = True
                found.append(_END)
                break
            choices = json.loads(line[6:])["choices"]
            if choices and (text := choices[0]["delta"].get("content")):
                found.append(f'{{"type": "token", "content": {json.dumps(text)}, "thread_id": "none"}}\n')
        return "".join(found).encode()


class RawClient(asyncio.Protocol):
    """A connection to the provider; it is used for one answer after the other."""

    def __init__(self, idle: "list[RawClient]") -> None:
        self._idle = idle

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def ask(self, model: str, reader: asyncio.Transport) -> None:
        """Ask for an answer, and relay it to `reader`."""
        self._reader, self._lines = reader, Lines()
        reader.write(_HEAD)
        body = compose(model)
        self._transport.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b"
            % (len(body), body)
        )

    def data_received(self, data: bytes) -> None:
        """Relay: no event is split over chunks, so what is no event is skipped with the framing."""
        if lines := self._lines.feed(data):
            self._reader.write(b"%x\r\n%b\r\n" % (len(lines), lines))
        if self._lines.over:
            self._reader.write(b"0\r\n\r\n")
            self._idle.append(self)


class RawServer(asyncio.Protocol):
    """A connection of a client."""

    idle: list[RawClient]
    port: int

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Relay the answer to a request, which comes whole from our load generator."""
        found = _MODEL.search(data)
        assert found is not None
        if self.idle:
            self.idle.pop().ask(found[1].decode(), self._transport)
        else:
            self._asking = asyncio.ensure_future(self._connect(found[1].decode()))

    async def _connect(self, model: str) -> None:
        loop = asyncio.get_running_loop()
        _, client = await loop.create_connection(lambda: RawClient(self.idle), "127.0.0.1", self.port)
        client.ask(model, self._transport)


async def run_raw(port: int, upstream: int) -> None:
    """Serve the bare relay."""
    RawServer.idle, RawServer.port = [], upstream
    server = await asyncio.get_running_loop().create_server(RawServer, "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


def run_starlette(port: int, upstream: int) -> None:
    """Serve the relay over Starlette and aiohttp."""
    import aiohttp
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import StreamingResponse
    from starlette.routing import Route

    sessions: list[aiohttp.ClientSession] = []

    async def stream(request: Request) -> StreamingResponse:
        model = (await request.json())["model"].partition(":")[2]
        if not sessions:
            sessions.append(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=4096)))

        async def relay() -> AsyncIterator[bytes]:
            lines = Lines()
            url = f"http://127.0.0.1:{upstream}/v1/chat/completions"
            async with sessions[0].post(url, data=compose(model)) as response:
                async for data in response.content.iter_any():
                    if found := lines.feed(data):
                        yield found

        return StreamingResponse(relay(), media_type="application/x-ndjson")

    app: Any = Starlette(routes=[Route("/chat/stream", stream, methods=["POST"])])
    uvicorn.run(app, port=port, log_level="warning", backlog=2048)


if __name__ == "__main__":
    if sys.argv[1] == "raw":
        uvloop.run(run_raw(int(sys.argv[2]), int(sys.argv[3])))
    else:
        run_starlette(int(sys.argv[2]), int(sys.argv[3]))
