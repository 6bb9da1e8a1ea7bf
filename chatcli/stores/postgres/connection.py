"""Statements, each a transaction of its own and one round trip, tried twice where that can help."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeAlias, TypeVar

import psycopg

from chatcli.errors import ConfigError, StoreCorrupt
from chatcli.stores.postgres import errors
from chatcli.stores.postgres.address import Address
from chatcli.stores.postgres.pool import Pool, cut_off
from chatcli.stores.postgres.schema import Condition, Connection, call_of, check_version, migrate, prepare

T = TypeVar("T")
Row: TypeAlias = dict[str, Any]

OLDEST_SERVER = 140000
"""The first with functions whose names are bound when they are made."""

PATIENCE = 8.0
"""Seconds within which a call succeeds or fails, whatever the server and the network do."""

_FIRST_TRY = 0.55
"""Part of that after which a call that may be tried again is."""

_LAST_WORD = 1.0
_LOOKING = (0.01, 0.03, 0.1)
_LONGEST_TRANSACTION = 60.0

_VERSION = "SELECT max(version) AS version FROM {schema}.chatcli_schema"

_LOCK = "SELECT CASE WHEN pg_backend_pid() = %(pid)s THEN pg_try_advisory_lock(%(key)s) END AS held"


class Database:
    """One schema of one database, and the advisory lock by which others know that we live.

    Statements name their tables as ``{schema}.NAME``. Whatever fails is raised as an error of ours.
    """

    def __init__(self, address: Address, migrations: Sequence[str], patience: float = PATIENCE) -> None:
        self.address = address
        self._patience = patience
        self._migrations = migrations
        self._pool = Pool(address, self._set_up)
        self._statements: dict[str, bytes] = {}
        self._calls: set[asyncio.Task[Any]] = set()
        self._anchoring = asyncio.Lock()
        self._pooled = False
        """Whether there is a pooler before the server: no session is ours, so none can hold a lock."""
        self.key = _new_key()
        """The lock of this store object; a running turn bears it."""
        self.secret: bytes | None = None
        """What copies are signed with; known after the first call."""

    async def call(
        self,
        function: str,
        *values: object,
        repeatable: bool = True,
        patience: float | None = None,
        audit: str | None = None,
        unless: Condition | None = None,
    ) -> Any:
        """Return what a function of the schema makes of `values`: JSON, decoded.

        Unless it is `repeatable`, it is not tried again where it may have had its effect. If it does
        not refuse, `audit`, an entry as JSON, is written with it. Where `unless` holds it is not called,
        and None is returned.
        """
        query, values = call_of(function, values, version=len(self._migrations), audit=audit, unless=unless)
        rows = await self._to_its_end(
            self._try(query, values, binary=False, repeatable=repeatable, patience=patience or self._patience)
        )
        if not rows:
            await self._refuse_schema()
        return rows[0]["result"]

    async def rows(self, query: str, values: Mapping[str, object], *, binary: bool = False) -> list[Row]:
        """Return what `query` finds, all of it from one moment."""
        return await self._to_its_end(
            self._try(query, values, binary=binary, repeatable=True, patience=self._patience)
        )

    async def transact(self, work: Callable[["Transaction"], Awaitable[T]]) -> T:
        """Run `work`, which takes several statements, in one transaction. It is not tried again."""
        return await self._to_its_end(self._transact(work))

    async def hold(self) -> int | None:
        """Return the key of the lock, held from now on by a session of ours; None if none can hold it."""
        if self._pooled:
            return None
        if self._pool.has_anchor():
            return self.key
        return await self._to_its_end(self._anchor())

    def has_lost_lock(self) -> bool:
        """Return whether the session that should hold the lock is gone, as far as is known."""
        return not self._pooled and not self._pool.has_anchor()

    async def close(self) -> None:
        """Let go of the lock and close the connections, after the calls that are under way."""
        if self._calls:
            await asyncio.wait(self._calls)
        if self._pool.has_anchor() and self._pool.anchor is not None:
            deadline = asyncio.get_running_loop().time() + _LAST_WORD
            with cut_off(self._pool.anchor, deadline), suppress(psycopg.Error):  # it goes with the session
                await self._pool.anchor.execute("SELECT pg_advisory_unlock(%s)", (self.key,))
        self._pool.anchor, self.key = None, _new_key()
        await self._pool.close()

    async def _to_its_end(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` to its end, even if the task that waits for it is cancelled: it always knows its own."""
        try:
            task = asyncio.get_running_loop().create_task(work)
        except RuntimeError:  # called without an event loop
            work.close()
            raise
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_take_note)
            raise

    async def _try(
        self,
        query: str,
        values: Mapping[str, object] | Sequence[object],
        *,
        binary: bool,
        repeatable: bool,
        patience: float,
    ) -> list[Row]:
        statement = self._statement(query)
        now = asyncio.get_running_loop().time()
        last = now + patience
        try:
            async with self._pool.connection(now + _FIRST_TRY * patience) as connection:
                try:
                    return await _execute(connection, statement, values, binary=binary)
                except psycopg.Error as error:
                    broken = connection.broken and repeatable
                    if not (broken or errors.is_passing(error)):
                        raise
            async with self._pool.connection(last, fresh=True) as connection:
                return await _execute(connection, statement, values, binary=binary)
        except psycopg.Error as error:
            if error.sqlstate in errors.UNKNOWN_OBJECTS:
                await self._refuse_schema()
            if asyncio.get_running_loop().time() >= last:
                raise errors.too_slow(str(self.address)) from None
            raise errors.translate(error, str(self.address)) from error
        except UnicodeEncodeError as error:
            raise errors.not_text() from error

    async def _transact(self, work: Callable[["Transaction"], Awaitable[T]]) -> T:
        deadline = asyncio.get_running_loop().time() + _LONGEST_TRANSACTION
        try:
            async with self._pool.connection(deadline) as connection, connection.transaction():
                transaction = Transaction(connection, self._statement)
                (found,) = await transaction.rows(_VERSION, {})
                check_version(found["version"] or 0, newest=len(self._migrations))
                return await work(transaction)
        except psycopg.Error as error:
            raise errors.translate(error, str(self.address)) from error
        except UnicodeEncodeError as error:
            raise errors.not_text() from error

    async def _set_up(self, connection: Connection, deadline: float) -> None:
        if connection.info.server_version < OLDEST_SERVER:
            raise ConfigError(
                f"the server at {self.address} is too old for the store",
                hint="PostgreSQL 14 or newer is needed",
            )
        if connection.info.parameter_status("server_encoding") != "UTF8":
            raise ConfigError(
                f"the database is not in UTF-8: {self.address}",
                hint="make one with: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0",
            )
        row = None
        try:
            with (
                cut_off(connection, deadline),
                suppress(psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName),
            ):
                row = await prepare(connection, self.address.schema, self._patience)
            if row is None or (row["version"] or 0) < len(self._migrations):
                with cut_off(connection, asyncio.get_running_loop().time() + _LONGEST_TRANSACTION):
                    await migrate(connection, self.address.schema, self._migrations)
                    row = await prepare(connection, self.address.schema, self._patience)
        except psycopg.Error as error:
            raise errors.translate(error, str(self.address)) from error
        check_version(row["version"], newest=len(self._migrations))
        self.secret = row["secret"]

    async def _anchor(self) -> int | None:
        async with self._anchoring:
            if self._pool.has_anchor():  # somebody was faster
                return self.key
            deadline = asyncio.get_running_loop().time() + self._patience
            try:
                async with self._pool.connection(deadline) as connection:
                    held = await self._lock(connection)
                    if held:
                        self._pool.anchor = connection
                    self._pooled = held is None
            except psycopg.Error as error:
                raise errors.translate(error, str(self.address)) from error
            return self.key if held else None

    async def _lock(self, connection: Connection) -> bool | None:
        """Take the lock, under another key if it can't be had; None if there is no session for it."""
        for pause in _LOOKING:  # somebody else may just look whether we live
            if (held := await self._try_lock(connection)) is not False:
                return held
            await asyncio.sleep(pause)
        self.key = _new_key()  # the server has not noticed yet that the session before is gone
        return await self._try_lock(connection)

    async def _try_lock(self, connection: Connection) -> bool | None:
        values = {"pid": connection.info.backend_pid, "key": self.key}
        row = await (await connection.execute(_LOCK, values)).fetchone()
        return None if row is None else row["held"]

    def _statement(self, query: str) -> bytes:
        statement = self._statements.get(query)
        if statement is None:
            statement = query.replace("{schema}", f'"{self.address.schema}"').encode()
            self._statements[query] = statement
        return statement

    async def _refuse_schema(self) -> None:
        """Raise what is wrong with the tables, which are not those of this program any more."""
        deadline = asyncio.get_running_loop().time() + self._patience
        try:
            async with self._pool.connection(deadline) as connection:
                row = await prepare(connection, self.address.schema, self._patience)
        except psycopg.Error as error:
            raise StoreCorrupt(
                "the tables of the store are not there any more", hint="restore them from a backup"
            ) from error
        check_version(row["version"] or 0, newest=len(self._migrations))
        raise StoreCorrupt(
            "the tables of the store are not those that its version says", hint="restore them from a backup"
        )


class Transaction:
    """Several statements that have their effect together."""

    def __init__(self, connection: Connection, statement: Callable[[str], bytes]) -> None:
        self._connection = connection
        self._statement = statement

    async def rows(self, query: str, values: Mapping[str, object], *, binary: bool = False) -> list[Row]:
        """Return what `query` finds."""
        return await _execute(self._connection, self._statement(query), values, binary=binary)

    async def change(self, query: str, values: Sequence[Sequence[object]]) -> bool:
        """Run a statement for each of `values`, together in one round trip; return whether there are any."""
        if values:
            async with self._connection.cursor() as cursor:
                await cursor.executemany(self._statement(query), values)
        return bool(values)


async def _execute(
    connection: Connection, statement: bytes, values: Mapping[str, object] | Sequence[object], *, binary: bool
) -> list[Row]:
    async with connection.cursor(binary=binary) as cursor:
        await cursor.execute(statement, values)
        return await cursor.fetchall()


def _new_key() -> int:
    return int.from_bytes(os.urandom(8)) >> 1


def _take_note(task: "asyncio.Task[Any]") -> None:
    """Look at the error of a call for which nobody waits any more; it is nobody's news."""
    if not task.cancelled():
        task.exception()
