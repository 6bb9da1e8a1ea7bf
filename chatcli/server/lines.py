"""Answers that are made line by line while they are sent, in the memory of one line."""

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from starlette.types import Receive, Scope, Send

from chatcli.errors import ChatcliError
from chatcli.server.exchange import GONE, exchange_of
from chatcli.server.problems import problem
from chatcli.server.wire import NDJSON, unless_gone


class LineStream:
    """Lines that end when the client hangs up; one that takes nothing is cut off by its connection.

    What is wrong before the first line is raised, and answered with a status; what goes wrong later
    is the last line.
    """

    def __init__(self, lines: AsyncGenerator[str]) -> None:
        self._lines = lines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the lines."""
        exchange = exchange_of(scope)
        if not await unless_gone(self._deliver(send, exchange.request_id), receive):
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
                    await _send(send, held, more=True)
                    held = line
            except ChatcliError as error:
                await _send(send, held, more=True)
                held = write_line({"type": "error", "error": problem(error, request_id)})
            await _send(send, held, more=False)


async def _send(send: Send, line: str, *, more: bool) -> None:
    await send({"type": "http.response.body", "body": line.encode(), "more_body": more})


def write_line(document: Mapping[str, object]) -> str:
    """Return a document on one line of ASCII."""
    return json.dumps(document) + "\n"
