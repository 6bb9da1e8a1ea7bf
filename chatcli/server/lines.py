"""Answers that are made line by line while they are sent, in the memory of one line."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from starlette.types import Receive, Scope, Send

from chatcli.errors import ChatcliError
from chatcli.server.exchange import GONE, cut_connection, exchange_of
from chatcli.server.problems import problem
from chatcli.server.wire import NDJSON, unless_gone


class LineStream:
    """Lines that end when the client hangs up, or takes nothing.

    What is wrong before the first line is raised, and answered with a status; what goes wrong later
    is the last line.
    """

    def __init__(self, lines: AsyncGenerator[str], *, stall: float) -> None:
        self._lines = lines
        self._stall = stall

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the lines."""
        exchange = exchange_of(scope)
        try:
            delivered = await unless_gone(self._deliver(send, exchange.request_id), receive)
        except TimeoutError:
            await cut_connection(scope, receive)
            delivered = False
        if not delivered:
            exchange.complete = False
            exchange.status = exchange.status or GONE

    async def _deliver(self, send: Send, request_id: str) -> None:
        async with aclosing(self._lines) as lines:
            held = await anext(lines)
            headers = [
                (b"content-type", f"{NDJSON}; charset=utf-8".encode()),
                (b"cache-control", b"no-store"),
                (b"x-accel-buffering", b"no"),
            ]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            try:
                async for line in lines:
                    await self._send(send, held, more=True)
                    held = line
            except ChatcliError as error:
                await self._send(send, held, more=True)
                held = write_line({"type": "error", "error": problem(error, request_id)})
            await self._send(send, held, more=False)

    async def _send(self, send: Send, line: str, *, more: bool) -> None:
        async with asyncio.timeout(self._stall):
            await send({"type": "http.response.body", "body": line.encode(), "more_body": more})


def write_line(document: Mapping[str, object]) -> str:
    """Return a document on one line of ASCII."""
    return json.dumps(document) + "\n"
