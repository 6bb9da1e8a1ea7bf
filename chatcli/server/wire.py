"""Streams on the wire: events as lines or as server-sent events, sent as fast as the client takes them."""

import asyncio
import json
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Any, Protocol

from starlette.types import Receive, Scope, Send

from chatcli.events import Event, Failed, Token
from chatcli.server.exchange import GONE, exchange_of
from chatcli.server.problems import problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chatcli.server.live import Numbered, Reader
    from chatcli.server.metrics import Metrics

NDJSON = "application/x-ndjson"
SSE = "text/event-stream"
HOLD_SECONDS = 5.0
"""How long the head of the answer waits for the first token: until then an error is a real status."""
PING_SECONDS = 15.0
_PING = b": ping\n\n"


class Format(Protocol):
    """How events are written."""

    media_type: str
    ping: bytes

    def write(self, events: "Sequence[Numbered]") -> bytes:
        """Return events as they go over the wire, those that are next in the stream."""


class Lines:
    """One event is one line: everything beyond ASCII is escaped, U+2028 and its like too.

    A line without its number is the event behind that of the line before, the first one event 1.
    """

    media_type = NDJSON
    ping = b""

    def __init__(self, request_id: str, *, numbered: bool = False) -> None:
        self._request_id = request_id
        self._numbered = numbered
        self._last = 0
        """Number of the last line."""

    def write(self, events: "Sequence[Numbered]") -> bytes:
        """Return events, one a line; with their numbers where they are not simply counted."""
        before, self._last = self._last, events[-1][0] if events else self._last
        if not self._numbered and self._last - before == len(events):  # numbers rise: there is no gap
            lines = [
                f"{_token(event)}\n" if type(event) is Token else self._line(None, event)
                for _, event in events
            ]
        else:
            lines = []
            for number, event in events:
                counted = not self._numbered and number == before + 1
                lines.append(self._line(None if counted else number, event))
                before = number
        return "".join(lines).encode("ascii")

    def _line(self, number: int | None, event: Event) -> str:
        document = document_of(event, self._request_id)
        if number is not None:
            document["seq"] = number
        return json.dumps(document) + "\n"


class ServerSentEvents:
    """The same lines as server-sent events; the ids are the numbers."""

    media_type = SSE
    ping = _PING

    def __init__(self, request_id: str) -> None:
        self._request_id = request_id

    def write(self, events: "Sequence[Numbered]") -> bytes:
        """Return events."""
        lines = [
            f"id: {number}\nevent: token\ndata: {_token(event)}\n\n"
            if type(event) is Token
            else self._event(number, event)
            for number, event in events
        ]
        return "".join(lines).encode("ascii")

    def _event(self, number: int, event: Event) -> str:
        document = document_of(event, self._request_id)
        return f"id: {number}\nevent: {document['type']}\ndata: {json.dumps(document)}\n\n"


def _token(token: Token) -> str:
    """Return the JSON of a token: there are more of them than of all else."""
    text = encode_basestring_ascii(token.content)
    return f'{{"type": "token", "content": {text}, "thread_id": "{token.thread_id}"}}'


def document_of(event: Event, request_id: str) -> dict[str, Any]:
    """Return the wire form of an event."""
    document = event.to_json()
    if isinstance(event, Failed):
        document["error"] = problem(event.error, request_id)
    return document


class EventStream:
    """An answer that is a stream; a client that hangs up is left at once.

    One that takes nothing is cut off by its connection.
    """

    def __init__(
        self,
        reader: "Reader",
        form: Format,
        *,
        metrics: "Metrics",
        hold: float | None = HOLD_SECONDS,
    ) -> None:
        self._reader = reader
        self._form = form
        self._metrics = metrics
        self._hold = hold

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream; errors before its first byte are raised."""
        with self._metrics.streams.track_inprogress():
            try:
                delivered = await unless_gone(self._deliver(send), receive)
            finally:
                self._reader.close()
        if not delivered:
            exchange = exchange_of(scope)
            exchange.complete = False
            exchange.status = exchange.status or GONE

    async def _deliver(self, send: Send) -> None:
        events = [] if self._hold is None else await self._first_events(self._hold)
        headers = [
            (b"content-type", f"{self._form.media_type}; charset=utf-8".encode()),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        over = False
        while not over:
            events = events or await self._next_events(send)
            # The last line and the end of the answer go out in one piece.
            over = not events or self._reader.over
            await _send(send, self._form.write(events), more=not over)
            events = []

    async def _first_events(self, hold: float) -> "list[Numbered]":
        """Return the events up to the first token, or what there is after a while."""
        reader = self._reader
        events = await reader.take()
        if not hold:
            return events
        if len(events) == 1 and reader.after == 1:
            try:
                async with asyncio.timeout(hold):
                    events += await reader.take()
            except TimeoutError:
                return events
        for _, event in events[1:2]:
            if isinstance(event, Failed):  # before the first token: an answer of its own
                raise event.error
        return events

    async def _next_events(self, send: Send) -> "list[Numbered]":
        if not self._form.ping:
            return await self._reader.take()
        while True:
            try:
                async with asyncio.timeout(PING_SECONDS):
                    return await self._reader.take()
            except TimeoutError:
                await _send(send, self._form.ping, more=True)


async def _send(send: Send, body: bytes, *, more: bool) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def unless_gone(work: Any, receive: Receive) -> bool:
    """Run the coroutine `work`; give it up, and return False, if the client hangs up before."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_hang_up(receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            return False
        task.result()
        return True
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.wait({task, gone})


async def _hang_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
