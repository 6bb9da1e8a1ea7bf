"""A network between a store and its PostgreSQL server: it counts, and it loses what a test says."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from chatcli.stores.postgres import Address

_KEY_DATA = b"K\x00\x00\x00\x0c"
"""How the message BackendKeyData begins; the process number follows."""


class Proxy:
    """Carries bytes to and from a server's socket, in the event loop of the test."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._lines: set[asyncio.Task[None]] = set()
        self.port = 0
        self.trips = 0
        """How often a client has said something and waited for what the server says to it."""
        self.heard = b""
        """What servers said."""
        self.losses: list[bytes] = []
        """Words of statements: each is carried to the server once, and its connection dies with the reply."""
        self.pooling = False
        """Whether sessions are given other numbers than their processes have, as a pooler does."""
        self.silent = False
        """Whether nothing is carried any more, while all connections stay open."""

    def address(self, schema: str) -> Address:
        """Return the address of a store behind this network."""
        return Address.of(
            f"postgresql://postgres@127.0.0.1:{self.port}/postgres?sslmode=disable&schema={schema}"
        )

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        own = asyncio.current_task()
        assert own is not None
        self._lines.add(own)
        server_reader, server_writer = await asyncio.open_unix_connection(self._socket)
        line = _Line(self)
        both = (
            asyncio.create_task(line.carry_up(reader, server_writer)),
            asyncio.create_task(line.carry_down(server_reader, writer)),
        )
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            pass  # cut by the test: nobody else has this task
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)
            self._lines.discard(own)
            for end in (writer, server_writer):
                end.close()
                with suppress(ConnectionError):
                    await end.wait_closed()

    async def close(self) -> None:
        """Cut every connection."""
        for task in tuple(self._lines):
            task.cancel()
        if self._lines:
            await asyncio.wait(self._lines)


class _Line:
    """One connection."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._losing = False
        self._asking = False

    async def carry_up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while said := await reader.read(1 << 16):
            if not self._asking:
                self._proxy.trips += 1
                self._asking = True
            for words in self._proxy.losses:
                if words in said:
                    self._proxy.losses.remove(words)
                    self._losing = True
                    break
            if not self._proxy.silent:
                writer.write(said)
                await writer.drain()

    async def carry_down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while said := await reader.read(1 << 16):
            self._asking = False
            self._proxy.heard += said
            if self._losing:
                return
            if not self._proxy.silent:
                writer.write(_renumber(said) if self._proxy.pooling else said)
                await writer.drain()


def _renumber(said: bytes) -> bytes:
    """Change the process number in the message that tells it, if it is among these."""
    head, message, rest = said.partition(_KEY_DATA)
    return head + message + bytes(4) + rest[4:] if message else said


@asynccontextmanager
async def network(socket: Path) -> AsyncIterator[Proxy]:
    """Run a network for the block."""
    proxy = Proxy(socket)
    server = await asyncio.start_server(proxy._serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
        await server.wait_closed()
