"""Connections as uvicorn makes them, with what it leaves out: deadlines and limits around each request."""

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any, ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

from chatcli.server.guard import MAX_HEAD
from chatcli.server.problems import MEDIA_TYPE, BadRequest, HeadTooLarge, problem
from chatcli.text import new_id

if TYPE_CHECKING:
    from chatcli.errors import ChatcliError

try:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
except ImportError:  # httptools is not everywhere
    HAS_HTTPTOOLS = False
else:
    HAS_HTTPTOOLS = True

LINGER_SECONDS = 2.0
_HEAD_END = b"\r\n\r\n"
_UPGRADE = re.compile(rb"\nupgrade:", re.IGNORECASE)


class _Bounded(asyncio.Protocol):
    """A mixin: a head must arrive in time and be small; what nobody reads is not waited for.

    * The head of a request that is not complete within `receive_seconds` closes the connection.
    * One of more than `MAX_HEAD` bytes is answered with 431, one that can't be parsed with 400.
    * A body that is not read is discarded for `LINGER_SECONDS`, so that the client can read why, and
      then the connection is closed.
    * An answer that the client does not take within `stall_seconds` cuts the connection.
    * The application can cut the connection, too: ``scope["chatcli.abort"]``.
    """

    receive_seconds: ClassVar[float] = 10.0
    stall_seconds: ClassVar[float] = 30.0

    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop
    cycle: Any

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._in_head = True
        self._discarding = False
        self._last_cycle: Any = None
        self._head_size = 0
        self._tail = b""
        self._timer: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None
        self._start_timer(self.receive_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._stop_stall()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        # Once for each time that the buffer is full, and not for each piece that is sent.
        super().pause_writing()
        if self._stall is None:
            self._stall = self.loop.call_later(self.stall_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        self._stop_stall()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        if self._in_head and not self._discarding:
            if self._timer is None:
                self._start_timer(self.receive_seconds)
            if self._is_too_large(data):
                self._refuse(HeadTooLarge(f"the head of the request has more than {MAX_HEAD} bytes"))
                return
        super().data_received(data)
        if self.cycle is not self._last_cycle:
            self._begin_answer(self.cycle)

    def on_response_complete(self) -> None:
        super().on_response_complete()  # type: ignore[misc]
        if not self.cycle.response_complete:  # a pipelined request, which is answered next
            self._begin_answer(self.cycle)
            return
        self._in_head, self._head_size, self._tail = True, 0, b""
        self._discarding = self.cycle.more_body
        if self.transport.is_closing() or self.transport.get_write_buffer_size():
            self._start_timer(self.stall_seconds, cut=True)
        elif self._discarding:
            self._start_timer(LINGER_SECONDS)

    def send_400_response(self, msg: str) -> None:
        """Answer what can't be parsed."""
        del msg
        self._refuse(BadRequest("that is not an HTTP request"))

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: the request is answered as if it had not asked for another protocol."""

    def _begin_answer(self, cycle: Any) -> None:
        self._stop_timer()
        self._in_head = self._discarding = False
        self._last_cycle = cycle
        cycle.scope["chatcli.abort"] = self.transport.abort

    def _is_too_large(self, data: bytes) -> bool:
        """Whether `data` takes a head that has not ended yet over its limit."""
        room = MAX_HEAD - self._head_size
        self._head_size += len(data)
        if len(data) <= room:
            self._tail = (self._tail + data)[-3:]
            return False
        return _HEAD_END not in self._tail + data[:room]

    def _refuse(self, error: "ChatcliError") -> None:
        if self.transport.is_closing():
            return
        request_id = new_id()
        body = json.dumps(problem(error, request_id)).encode()
        head = (
            f"HTTP/1.1 {error.http_status} \r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
            f"x-request-id: {request_id}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()

    def _start_timer(self, seconds: float, *, cut: bool = False) -> None:
        self._stop_timer()
        action = self.transport.abort if cut else self.transport.close
        self._timer = self.loop.call_later(seconds, action)

    def _stop_stall(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class H11Connection(_Bounded, H11Protocol):
    """A connection that is parsed by h11."""


if HAS_HTTPTOOLS:

    class _HttptoolsConnection(_Bounded, HttpToolsProtocol):
        """A connection that is parsed by httptools, which keeps heads and trailers however long they are.

        So what comes must be the body of a request, or the end of something, every `MAX_HEAD` bytes; that
        also holds for the heads of requests that come while another one is answered. Trailers are dropped.
        """

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self._unfinished = 0
            self._in_trailers = False

        def data_received(self, data: bytes) -> None:
            self._unfinished += len(data)
            super().data_received(_without_upgrade(data) if self._in_head else data)
            if self._unfinished > MAX_HEAD and not self.transport.is_closing():
                if self.cycle is not None and self.cycle.response_started:
                    self.transport.abort()
                else:
                    self._refuse(HeadTooLarge(f"the request has more than {MAX_HEAD} bytes beside its body"))

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._unfinished, self._in_trailers = 0, False

        def on_header(self, name: bytes, value: bytes) -> None:
            if not self._in_trailers:
                super().on_header(name, value)

        def on_headers_complete(self) -> None:
            super().on_headers_complete()
            self._unfinished, self._in_trailers = 0, True

        def on_body(self, body: bytes) -> None:
            super().on_body(body)
            self._unfinished = 0

        def on_message_complete(self) -> None:
            super().on_message_complete()
            self._unfinished = 0


def _without_upgrade(data: bytes) -> bytes:
    """Return the start of a request that asks for no other protocol: httptools would lose its body then."""
    if _UPGRADE.search(data) is None:
        return data
    head, end, rest = data.partition(_HEAD_END)
    return _UPGRADE.sub(rb"\n_______:", head) + end + rest


def connection_class(http: str, *, receive: float, stall: float) -> type[asyncio.Protocol]:
    """Return the class of connections for a parser, ``auto``, ``httptools`` or ``h11``."""
    base: type[_Bounded] = _HttptoolsConnection if HAS_HTTPTOOLS and http != "h11" else H11Connection
    return type(base.__name__, (base,), {"receive_seconds": receive, "stall_seconds": stall})
