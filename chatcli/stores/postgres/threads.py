"""What is done to threads."""

import zlib
from collections.abc import Mapping
from typing import Any

from chatcli.errors import InvalidRequest, StoreUnavailable, ThreadBusy, ThreadNotFound
from chatcli.models import Page, Thread
from chatcli.stores.postgres.auditing import entry_json
from chatcli.stores.postgres.connection import Database, Row
from chatcli.stores.postgres.rows import thread_of
from chatcli.stores.records import AuditEntry

_GET = """
SELECT {schema}.thread_json(threads) AS thread FROM {schema}.threads
WHERE owner = %(owner)s AND lower(id) = lower(%(thread)s) AND id = %(thread)s
"""

_LIVE, _ARCHIVED = "archived_at IS NULL", "archived_at IS NOT NULL"

_LIST = """
SELECT used, {schema}.thread_json(threads) AS thread FROM {schema}.threads
WHERE owner = %(owner)s AND used < %(below)s AND {condition}
ORDER BY used DESC LIMIT %(limit)s
"""

_PREFIX = """ AND lower(id) BETWEEN lower(%(prefix)s) AND lower(%(prefix)s) || '~'
AND starts_with(id, %(prefix)s)"""

_END = 2**62


async def get(database: Database, owner: str, thread_id: str) -> Thread:
    """Return the thread with exactly this id, or raise `ThreadNotFound`."""
    rows = await database.rows(_GET, {"owner": owner, "thread": thread_id})
    if not rows:
        raise missing(thread_id)
    return thread_of(rows[0]["thread"])


async def page(
    database: Database,
    owner: str,
    *,
    limit: int,
    cursor: str | None,
    archived: bool | None,
    prefix: str,
) -> Page:
    """Return one page of threads, last used first."""
    query = _query_mark(owner, archived, prefix)
    below = _END if cursor is None else _place_of(cursor, query)
    values = {"owner": owner, "prefix": prefix, "below": below, "limit": limit + 1}
    marks = (_LIVE, _ARCHIVED) if archived is None else (_ARCHIVED if archived else _LIVE,)
    # Both lists in one statement, each by its own index: they are of one moment.
    parts = [_LIST.replace("{condition}", mark + (_PREFIX if prefix else "")) for mark in marks]
    rows: list[Row] = await database.rows(" UNION ALL ".join(f"({part})" for part in parts), values)
    rows.sort(key=lambda row: -row["used"])
    threads = tuple(thread_of(row["thread"]) for row in rows[:limit])
    return Page(threads, f"{rows[limit - 1]['used']}-{query}" if len(rows) > limit else None)


async def rename(database: Database, owner: str, thread_id: str, title: str) -> Thread:
    """Give the thread a title."""
    return _thread(await database.call("rename_thread", owner, thread_id, title), thread_id)


async def clear(database: Database, owner: str, thread_id: str, *, audit: AuditEntry | None) -> Thread:
    """Remove the turns and the checkpoints."""
    values = (database.key, owner, thread_id)
    return _thread(await database.call("clear_thread", *values, audit=entry_json(audit)), thread_id)


async def delete(database: Database, owner: str, thread_id: str, *, audit: AuditEntry | None) -> None:
    """Remove the thread with everything that belongs to it."""
    values, entry = (database.key, owner, thread_id), entry_json(audit)
    try:
        found = await database.call("delete_thread", *values, repeatable=False, audit=entry)
    except StoreUnavailable:
        found = await database.call("delete_thread", *values, repeatable=False, audit=entry)
        if found is not None and found["refused"] == "missing":
            return  # the first time it was carried out, and only the answer was lost
    if found is not None:
        raise_refusal(found, thread_id)


async def archive(
    database: Database, owner: str, thread_id: str, *, archived: bool, audit: AuditEntry | None
) -> Thread:
    """Set the archived mark, or take it off; the time of the first mark stays."""
    values = (database.key, owner, thread_id, archived)
    found = await database.call("archive_thread", *values, audit=entry_json(audit))
    return _thread(found, thread_id)


def raise_refusal(found: Mapping[str, Any], thread_id: str) -> None:
    """Raise what a function's refusal stands for; return if it did not refuse."""
    match found.get("refused"):
        case "missing":
            raise missing(thread_id)
        case "busy":
            raise busy(thread_id)


def missing(thread_id: str) -> ThreadNotFound:
    """Return the error for a thread that is not there."""
    return ThreadNotFound(f"there is no thread {thread_id}")


def busy(thread_id: str) -> ThreadBusy:
    """Return the error for a thread that a live turn holds."""
    return ThreadBusy(
        f"a turn is running on thread {thread_id}", hint="wait until it has ended", retry_after=1.0
    )


def _thread(found: Mapping[str, Any], thread_id: str) -> Thread:
    raise_refusal(found, thread_id)
    return thread_of(found)


def _query_mark(owner: str, archived: bool | None, prefix: str) -> str:  # noqa: FBT001
    """Return what tells the cursors of one query from those of another."""
    return f"{zlib.crc32(repr((owner, archived, prefix)).encode()):08x}"


def _place_of(cursor: str, query: str) -> int:
    place, _, mark = cursor.partition("-")
    if mark != query or not (place.isascii() and place.isdigit() and len(place) < 19):  # noqa: PLR2004
        raise InvalidRequest("the cursor is of another list", hint="begin again without a cursor")
    return int(place)
