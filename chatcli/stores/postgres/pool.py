"""The connections: made when they are needed, checked when they are taken, never carried over a fork.

A pool of our own, since one that connects in the background can tell whoever waits only that it
took too long: here the reason comes at once, as an error of ours.
"""

import asyncio
import os
import socket
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TypeAlias

import psycopg
from psycopg.rows import dict_row

from chatcli.stores.postgres import errors
from chatcli.stores.postgres.address import Address
from chatcli.stores.postgres.schema import Connection

SIZE = 8
"""Connections of one store: calls are short, and none holds its connection between them."""

_LONGEST_REST = 240.0
"""Seconds after which a connection at rest is not used again: routers forget them from five minutes on."""

_STARTING_PAUSE = 0.1
"""Seconds between two attempts to connect to a server that is starting or recovering."""

SetUp: TypeAlias = Callable[[Connection, float], Awaitable[None]]


class Pool:
    """At most `SIZE` connections to one address; `set_up` prepares each new one until a deadline."""

    def __init__(self, address: Address, set_up: SetUp) -> None:
        self._address = address
        self._set_up = set_up
        self._slots = asyncio.Semaphore(SIZE)
        self._resting: deque[tuple[Connection, float]] = deque()
        self._lent: set[Connection] = set()
        self._pid = os.getpid()
        self.anchor: Connection | None = None
        """A connection that is kept however long it rests: its session holds a lock."""

    @asynccontextmanager
    async def connection(self, deadline: float, *, fresh: bool = False) -> AsyncIterator[Connection]:
        """Lend a connection that was sound a moment ago; whatever it does is cut off at `deadline`.

        With `fresh` it is a new one.

        Raises:
            StoreUnavailable, StoreDenied, ConfigError: none can be had.
        """
        try:
            async with asyncio.timeout_at(deadline):
                await self._slots.acquire()
        except TimeoutError:
            raise errors.too_slow(str(self._address)) from None
        try:
            self._forget_parent()
            connection = None if fresh else await self._take()
            if connection is None:
                connection = await self._connect(deadline)
            self._lent.add(connection)
            try:
                with cut_off(connection, deadline):
                    yield connection
            finally:
                self._lent.discard(connection)
                await self._give_back(connection)
        finally:
            self._slots.release()

    async def close(self) -> None:
        """Close the connections; the pool can be used again all the same."""
        self._forget_parent()
        while self._resting:
            await self._resting.pop()[0].close()

    def has_anchor(self) -> bool:
        """Return whether the anchor stands, as far as is known."""
        anchor = self.anchor
        if anchor is None or self._pid != os.getpid():
            return False
        return not anchor.closed if anchor in self._lent else is_sound(anchor)

    async def _take(self) -> Connection | None:
        while self._resting:
            connection, since = self._resting.pop()
            rested = connection is not self.anchor and time.monotonic() - since > _LONGEST_REST
            if is_sound(connection) and not rested:
                return connection
            await connection.close()
        return None

    async def _connect(self, deadline: float) -> Connection:
        connection = await self._reach(deadline)
        try:
            await self._set_up(connection, deadline)
        except BaseException:
            await connection.close()
            raise
        return connection

    async def _reach(self, deadline: float) -> Connection:
        """Return a connection; a server that is about to take some, after a crash, say, is waited for."""
        attempt = 0
        while True:
            attempt += 1
            try:
                async with asyncio.timeout_at(deadline):
                    return await psycopg.AsyncConnection.connect(
                        self._address.conninfo,
                        autocommit=True,
                        # Each statement is one message: preparing would cost a round trip, and a pooler
                        # between us and the server may know nothing of what is prepared.
                        prepare_threshold=None,
                        row_factory=dict_row,
                    )
            except TimeoutError:
                raise errors.unavailable(str(self._address)) from None
            except psycopg.Error as error:
                over = asyncio.get_running_loop().time() + _STARTING_PAUSE >= deadline
                if over or not errors.is_starting(error, attempt):  # what it says may name the password
                    raise errors.translate_connecting(error, str(self._address)) from None
            await asyncio.sleep(_STARTING_PAUSE)

    async def _give_back(self, connection: Connection) -> None:
        idle = connection.info.transaction_status is psycopg.pq.TransactionStatus.IDLE
        spare = len(self._resting) >= SIZE and connection is not self.anchor
        if connection.closed or spare or not idle:
            await connection.close()
        else:
            self._resting.append((connection, time.monotonic()))

    def _forget_parent(self) -> None:
        """After a fork, leave the connections to the parent: libpq closes them only in their own process."""
        if self._pid != os.getpid():
            self._resting.clear()
            self.anchor = None
            self._pid = os.getpid()


def is_sound(connection: Connection) -> bool:
    """Return whether nothing is known against a connection that rests: just a look at its socket."""
    try:
        connection.pgconn.consume_input()  # what the server said when it hung up
        connection.pgconn.consume_input()  # that it hung up
    except psycopg.Error:
        return False
    return not connection.closed


@contextmanager
def cut_off(connection: Connection, deadline: float) -> Iterator[None]:
    """Break the connection at the deadline: whoever waits for it then gets an ordinary error.

    Cancelling would ask a silent server for leave first.
    """

    def cut() -> None:
        with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as line:
            line.shutdown(socket.SHUT_RDWR)

    timer = asyncio.get_running_loop().call_at(deadline, cut)
    try:
        yield
    finally:
        timer.cancel()
