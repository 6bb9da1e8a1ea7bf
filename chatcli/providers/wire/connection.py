"""Connections to one origin: made, asked, read, and kept for the next request."""

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Self

from chatcli.providers.wire.framing import Body, ConnectionFailed, Head, body_of, split_head

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from ssl import SSLContext

BUFFER_LIMIT = 256 * 1024
"""Bytes that wait to be read before a connection takes no more in."""
IDLE_LIMIT = 512
"""Connections that are kept for later: a server with so many turns at once makes no new ones for the next."""
IDLE_SECONDS = 30.0
"""How long they are."""
_EYEBALLS = 0.25
"""Seconds before the next address of a host is tried beside the first (RFC 8305)."""


class ConnectTimeout(ConnectionFailed):
    """No connection was made in time."""


class Untrusted(ConnectionFailed):
    """The other side's certificate is not trusted, or is another's."""


class NothingCame(ConnectionFailed):
    """The connection was lost before the first byte of a response."""


class Connection(asyncio.Protocol):
    """One connection; what came waits here, and no more is taken in than `BUFFER_LIMIT` and a bit.

    A reader costs one future for each time that it has to wait, and gets all that is there.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: Any = None
        self._pieces: list[bytes] = []
        self._size = 0
        self._waiter: asyncio.Future[None] | None = None
        self._paused = False
        self._ended = self._broken = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Keep what came."""
        self._pieces.append(data)
        self._size += len(data)
        if self._waiter is not None:
            self._wake()
        elif self._size > BUFFER_LIMIT and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def eof_received(self) -> None:
        """Take note that nothing more will come; the transport closes itself."""
        self._ended = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Take note of the end, and whether it was one."""
        self._broken = not self._ended and exc is not None
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def write(self, data: bytes) -> None:
        """Send `data`."""
        self._transport.write(data)

    async def read(self) -> bytes:
        """Return what has come, as soon as there is anything; nothing at the end.

        Raises:
            ConnectionFailed: the connection was lost.
        """
        if not self._pieces:
            if not self._ended:
                self._waiter = self._loop.create_future()
                try:
                    await self._waiter
                finally:
                    self._waiter = None
            if not self._pieces and self._broken:
                raise ConnectionFailed
        return self.take()

    async def read_some(self) -> bytes:
        """Do what `read` does where the end would come too early."""
        data = await self.read()
        if not data:
            raise ConnectionFailed
        return data

    def take(self) -> bytes:
        """Return what has come so far."""
        pieces = self._pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._size = 0
        if self._paused and not self._ended:
            self._paused = False
            self._transport.resume_reading()
        return data

    def put_back(self, data: bytes) -> None:
        """Let `data` be what is read next."""
        if data:
            self._pieces.insert(0, data)
            self._size += len(data)

    @property
    def ended(self) -> bool:
        """Whether the other side has hung up."""
        return self._ended

    @property
    def has_sent(self) -> bool:
        """Whether all that was written is on its way."""
        return not self._transport.get_write_buffer_size()

    def abort(self) -> None:
        """Hang up at once."""
        self._pieces.clear()
        self._transport.abort()


class Response:
    """The answer to one request, as it arrives."""

    def __init__(self, connections: "Connections", connection: Connection, head: Head) -> None:
        self.status = head.status
        self.headers: Mapping[str, str] = head.headers
        self._persistent = head.persistent
        self._body = body_of(head)
        self._connection = connection
        self._connections = connections
        self._over = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    async def read(self) -> bytes:
        """Return the next bytes of the body, nothing at its end. Raises `ConnectionFailed`."""
        body = self._body
        while not body.done:
            data = await self._connection.read()
            if not data:
                body.end()
                break
            if piece := body.feed(data):
                return piece
        return b""

    async def read_up_to(self, limit: int) -> bytes:
        """Return the first `limit` bytes of the body, or as many as came."""
        found = bytearray()
        while len(found) < limit and (piece := await self.read()):
            found += piece
        return bytes(found[:limit])

    def release(self) -> None:
        """Give the connection back: the reader needs no more of the body, and hardly any is to come."""
        if not self._over and self._persistent and self._connection.has_sent:
            self._over = True
            self._connections.keep(self._connection, self._body)

    def close(self) -> None:
        """Hang up, unless the connection was given back."""
        if not self._over:
            self._over = True
            self._connection.abort()


class Connections:
    """Connections to one origin; idle ones are used again while they live."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        open_tls: "Callable[[], SSLContext] | None",
        connect_timeout: float,
        socket_file: str | None = None,
    ) -> None:
        self._host = host
        self._port = port
        self._socket_file = socket_file
        """Where the origin listens, if that is no address."""
        self._open_tls = open_tls
        self._connect_timeout = connect_timeout
        self._idle: deque[tuple[float, Connection, Body]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    async def send(self, request: bytes) -> Response:
        """Send a request and return the response when its head is there.

        A server may hang up on an idle connection at any time. If that is what came of the request,
        it is sent once more, on a new one.

        Raises:
            ConnectionFailed: there was no connection, or it was lost.
        """
        if (connection := self._take()) is not None:
            try:
                return await self._exchange(connection, request)
            except NothingCame:
                pass
        return await self._exchange(await self._connect(), request)

    async def _exchange(self, connection: Connection, request: bytes) -> Response:
        came = bytearray()
        try:
            connection.write(request)
            while (parts := split_head(came)) is None:
                came += await connection.read_some()
            connection.put_back(parts[1])
            return Response(self, connection, parts[0])
        except BaseException as error:
            connection.abort()
            if isinstance(error, ConnectionFailed) and not came:
                raise NothingCame from None
            raise

    async def _connect(self) -> Connection:
        try:
            async with asyncio.timeout(self._connect_timeout):
                return await self._open()
        except TimeoutError:
            raise ConnectTimeout from None
        except OSError as error:
            raise (Untrusted if self._is_untrusted(error) else ConnectionFailed) from None

    def _is_untrusted(self, error: OSError) -> bool:
        if self._open_tls is None:
            return False
        from ssl import SSLCertVerificationError

        return isinstance(error, SSLCertVerificationError)

    async def _open(self) -> Connection:
        loop = asyncio.get_running_loop()
        if self._socket_file is not None:
            return (await loop.create_unix_connection(Connection, self._socket_file))[1]
        tls = None if self._open_tls is None else self._open_tls()
        # Other loops have ways of their own.
        eyeballs = {"happy_eyeballs_delay": _EYEBALLS} if isinstance(loop, asyncio.BaseEventLoop) else {}
        options: dict[str, Any] = {"ssl": tls, **eyeballs}
        return (await loop.create_connection(Connection, self._host, self._port, **options))[1]

    def _take(self) -> Connection | None:
        """Return an idle connection on which nothing is left of what it carried before."""
        self._expire()
        while self._idle:
            _, connection, body = self._idle.pop()
            if _is_free(connection, body):
                return connection
            connection.abort()
        return None

    def keep(self, connection: Connection, body: Body) -> None:
        """Keep a connection on which the end of `body` has come, or is about to."""
        loop = asyncio.get_running_loop()
        self._idle.append((loop.time(), connection, body))
        if len(self._idle) > IDLE_LIMIT:
            self._idle.popleft()[1].abort()
        self._timer = self._timer or loop.call_later(IDLE_SECONDS, self._look)

    def _look(self) -> None:
        """Close what was idle for too long, even if nobody asks this origin any more."""
        self._expire()
        when = self._idle[0][0] + IDLE_SECONDS if self._idle else None
        self._timer = None if when is None else asyncio.get_running_loop().call_at(when, self._look)

    def _expire(self) -> None:
        oldest = asyncio.get_running_loop().time() - IDLE_SECONDS
        while self._idle and self._idle[0][0] <= oldest:  # they are kept in the order of their times
            self._idle.popleft()[1].abort()

    async def aclose(self) -> None:
        """Close what is idle."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._idle:
            self._idle.pop()[1].abort()
        # Transports close their sockets in the loop's next round.
        await asyncio.sleep(0)


def _is_free(connection: Connection, body: Body) -> bool:
    """Whether nothing of `body` is left to come, and nothing else has."""
    data = connection.take()
    try:
        rest = body.feed(data) if data else b""
    except ConnectionFailed:
        return False
    return body.done and not body.surplus and not rest.strip() and not connection.ended
