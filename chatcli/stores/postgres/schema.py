"""The tables and functions, as numbered migrations: the files in ``migrations``.

A released migration is never changed; a change is a new one at the end. All that are missing are
run in one transaction, under a lock that is the schema's, so that many processes can start at once.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import psycopg
from psycopg import sql

from chatcli.errors import StoreNewerSchema

Connection: TypeAlias = psycopg.AsyncConnection[dict[str, Any]]

Condition: TypeAlias = tuple[str, tuple[object, ...]]
"""An expression, and its values."""

VERSION_TABLE = "chatcli_schema"
"""The table that marks a schema as ours."""

_SET_UP = """
SELECT max(version) AS version,
  CASE WHEN pg_backend_pid() = %(pid)s THEN ARRAY[
    set_config('TimeZone', 'UTC', false),
    set_config('lock_timeout', %(lock_timeout)s, false),
    set_config('statement_timeout', %(statement_timeout)s, false),
    set_config('synchronous_commit', CASE current_setting('synchronous_commit')
      WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, false)
  ] END AS settings,
  (SELECT secret FROM {schema}.copy_secret LIMIT 1) AS secret
FROM {schema}.chatcli_schema
"""
"""Behind a pooler the session is not ours alone (its process is another one), and is left as it is."""

_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"
_FIND = "SELECT to_regnamespace(%s) AS schema, to_regclass(%s) AS versions"


@cache
def read_migrations() -> tuple[str, ...]:
    """Return the scripts that make the schema, oldest first."""
    folder = Path(__file__).parent / "migrations"
    return tuple(file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.sql")))


def check_version(version: int, *, newest: int) -> None:
    """Raise `StoreNewerSchema` if the schema is one that this program does not know yet."""
    if version > newest:
        raise StoreNewerSchema(
            f"the store has schema {version}, this program knows {newest}; it was not touched",
            hint="use the newer chatcli that wrote it",
        )


def call_of(
    function: str,
    values: tuple[object, ...],
    *,
    version: int,
    audit: str | None,
    unless: Condition | None = None,
) -> tuple[str, tuple[object, ...]]:
    """Return the query that calls a function of the schema and writes its entry, with its values.

    It is one statement with the check of the version, so that a program that does not know the
    tables changes nothing. Where `unless` holds the function is not called, and the result is NULL.
    """
    places = ", ".join(["%s"] * len(values))
    called = f"{{schema}}.{function}({places})"
    if unless is not None:
        called, values = f"CASE WHEN {unless[0]} THEN NULL ELSE {called} END", (*unless[1], *values)
    query = f"SELECT {called} AS result"
    query += f" WHERE (SELECT max(version) FROM {{schema}}.{VERSION_TABLE}) = {version}"  # noqa: S608 - ours
    if audit is None:
        return query, values
    query = f"WITH done AS MATERIALIZED ({query})"
    query += " SELECT result, {schema}.record_audit(%s, result) FROM done"
    return query, (*values, audit)


async def prepare(connection: Connection, schema: str, patience: float) -> dict[str, Any]:
    """Set a session up for calls of `patience` seconds; return the version of the schema, and its secret."""
    query = sql.SQL(_SET_UP).format(schema=sql.Identifier(schema))
    values = {
        "pid": connection.info.backend_pid,
        "lock_timeout": f"{patience / 2 * 1000:.0f}",
        "statement_timeout": f"{patience * 900:.0f}",
    }
    row = await (await connection.execute(query, values)).fetchone()
    assert row is not None  # noqa: S101 - an aggregate has one row
    return row


async def migrate(connection: Connection, schema: str, migrations: Sequence[str]) -> None:
    """Make the schema, or bring it to the newest version; where it is, nothing is written."""
    name = sql.Identifier(schema)
    versions = sql.Identifier(schema, VERSION_TABLE)
    async with connection.transaction():
        await connection.execute(b"SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0")
        await connection.execute(_LOCK, (f"chatcli schema {schema}",))
        found = await (await connection.execute(_FIND, (schema, f"{schema}.{VERSION_TABLE}"))).fetchone()
        assert found is not None  # noqa: S101 - a SELECT without FROM has one row
        if found["schema"] is None:
            await connection.execute(sql.SQL("CREATE SCHEMA {}").format(name))
        if found["versions"] is None:
            await connection.execute(
                sql.SQL(
                    "CREATE TABLE {} (version integer PRIMARY KEY,"
                    " applied_at timestamptz NOT NULL DEFAULT clock_timestamp())"
                ).format(versions)
            )
        version = await _read_version(connection, versions)
        check_version(version, newest=len(migrations))
        await connection.execute(sql.SQL("SET LOCAL search_path TO {}").format(name))
        for number, script in enumerate(migrations[version:], version + 1):
            await connection.execute(script.encode())
            await connection.execute(
                sql.SQL("INSERT INTO {} (version) VALUES (%s)").format(versions), (number,)
            )


async def _read_version(connection: Connection, versions: sql.Identifier) -> int:
    query = sql.SQL("SELECT coalesce(max(version), 0) AS version FROM {}").format(versions)
    row = await (await connection.execute(query)).fetchone()
    return 0 if row is None else int(row["version"])
