"""What is done to threads within one transaction."""

import sqlite3
import zlib

from chatcli.errors import InvalidRequest, ThreadBusy, ThreadNotFound
from chatcli.models import Page, Thread, format_time, utc_now
from chatcli.stores.sqlite.leases import Holder
from chatcli.stores.sqlite.rows import thread_of

_FIND = "SELECT * FROM threads WHERE owner = ? AND id = ? COLLATE NOCASE"
_LIST = (
    "SELECT * FROM threads WHERE owner = ? AND (archived_at IS NOT NULL) = ? AND used < ?"
    " AND substr(id, 1, length(?)) = ? ORDER BY used DESC LIMIT ?"
)
_LIST_PREFIX = (
    "SELECT * FROM threads WHERE owner = ? AND id COLLATE NOCASE BETWEEN ? AND ? || '~'"
    " AND (archived_at IS NOT NULL) = ? AND +used < ?"
    " AND substr(id, 1, length(?)) = ? ORDER BY +used DESC LIMIT ?"
)
_COUNT_PREFIX = (
    "SELECT count(*) FROM (SELECT 1 FROM threads"
    " WHERE owner = ? AND id COLLATE NOCASE BETWEEN ? AND ? || '~' LIMIT ?)"
)
_FEW = 2000
"""Threads up to which those with a prefix are sorted by use; more are soon met in the order of use."""

_END = 2**62


def find(connection: sqlite3.Connection, owner: str, thread_id: str) -> sqlite3.Row | None:
    """Return the thread whose id is `thread_id` but for case."""
    row: sqlite3.Row | None = connection.execute(_FIND, (owner, thread_id)).fetchone()
    return row


def get(connection: sqlite3.Connection, owner: str, thread_id: str) -> sqlite3.Row:
    """Return the thread with exactly this id, or raise `ThreadNotFound`."""
    row = find(connection, owner, thread_id)
    if row is None or row["id"] != thread_id:
        raise ThreadNotFound(f"there is no thread {thread_id}")
    return row


def is_live(thread: sqlite3.Row, holder: Holder) -> bool:
    """Return whether a turn runs on the thread and somebody lives who runs it."""
    return thread["running"] is not None and holder.is_live(thread["holder"], thread["lease_until"])


def page(
    connection: sqlite3.Connection,
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
    rows: list[sqlite3.Row] = []
    few = bool(prefix) and _count(connection, owner, prefix) <= _FEW
    for mark in (False, True) if archived is None else (archived,):
        if few:
            values = (owner, prefix, prefix, mark, below, prefix, prefix, limit + 1)
            rows += connection.execute(_LIST_PREFIX, values)
        else:
            rows += connection.execute(_LIST, (owner, mark, below, prefix, prefix, limit + 1))
    rows.sort(key=lambda row: -row["used"])
    threads = tuple(thread_of(row) for row in rows[:limit])
    return Page(threads, f"{rows[limit - 1]['used']}-{query}" if len(rows) > limit else None)


def rename(connection: sqlite3.Connection, owner: str, thread_id: str, title: str) -> Thread:
    """Give the thread a title."""
    key = get(connection, owner, thread_id)["key"]
    connection.execute("UPDATE threads SET title = ? WHERE key = ?", (title, key))
    return thread_of(get(connection, owner, thread_id))


def archive(
    connection: sqlite3.Connection, owner: str, thread_id: str, holder: Holder, *, archived: bool
) -> Thread:
    """Set the archived mark, or take it off; the time of the first mark stays."""
    key = get_idle(connection, owner, thread_id, holder)["key"]
    connection.execute(
        "UPDATE threads SET archived_at = iif(?, coalesce(archived_at, ?), NULL) WHERE key = ?",
        (archived, format_time(utc_now()), key),
    )
    return thread_of(get(connection, owner, thread_id))


def get_idle(connection: sqlite3.Connection, owner: str, thread_id: str, holder: Holder) -> sqlite3.Row:
    """Return the thread, or raise `ThreadNotFound`, or `ThreadBusy` while a turn runs on it."""
    thread = get(connection, owner, thread_id)
    if is_live(thread, holder):
        raise ThreadBusy(
            f"a turn is running on thread {thread_id}", hint="wait until it has ended", retry_after=1.0
        )
    return thread


def end_orphan(connection: sqlite3.Connection, thread: sqlite3.Row) -> None:
    """Mark the turn that nobody runs any more as interrupted, if there is one."""
    if thread["running"] is None:
        return
    connection.execute(
        "UPDATE turns SET state = 'interrupted', orphaned = 1, finished_at = ? WHERE thread = ? AND idx = ?",
        (format_time(utc_now()), thread["key"], thread["running"]),
    )
    release(connection, thread["key"], thread["running"])


def release(connection: sqlite3.Connection, key: int, index: int) -> None:
    """Take the lease off the thread, unless it is of another turn than the one at `index`."""
    connection.execute(
        "UPDATE threads SET running = NULL, holder = NULL, lease_until = NULL WHERE key = ? AND running = ?",
        (key, index),
    )


def next_use(connection: sqlite3.Connection) -> int:
    """Return the number of a new use."""
    (value,) = connection.execute(
        "UPDATE counters SET value = value + 1 WHERE name = 'used' RETURNING value"
    ).fetchone()
    return int(value)


def newest_use(connection: sqlite3.Connection, owner: str) -> str | None:
    """Return the latest time at which a thread was used."""
    (latest,) = connection.execute("SELECT max(updated_at) FROM threads WHERE owner = ?", (owner,)).fetchone()
    return None if latest is None else str(latest)


def _count(connection: sqlite3.Connection, owner: str, prefix: str) -> int:
    """Return how many threads have the prefix, but for case; it counts no further than it must."""
    (count,) = connection.execute(_COUNT_PREFIX, (owner, prefix, prefix, _FEW + 1)).fetchone()
    return int(count)


def _query_mark(owner: str, archived: bool | None, prefix: str) -> str:  # noqa: FBT001
    """Return what tells the cursors of one query from those of another."""
    return f"{zlib.crc32(repr((owner, archived, prefix)).encode()):08x}"


def _place_of(cursor: str, query: str) -> int:
    place, _, mark = cursor.partition("-")
    if mark != query or not (place.isascii() and place.isdigit() and len(place) < 19):  # noqa: PLR2004
        raise InvalidRequest("the cursor is of another list", hint="begin again without a cursor")
    return int(place)
