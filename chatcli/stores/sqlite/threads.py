"""What is done to threads within one transaction."""

import sqlite3
import zlib

from chatcli.errors import InvalidRequest, ThreadBusy, ThreadNotFound
from chatcli.models import Page, Thread, format_time, utc_now
from chatcli.stores.sqlite.leases import Holder
from chatcli.stores.sqlite.rows import thread_of

_SELECT = (
    "SELECT threads.*, turns.model AS model FROM threads"
    " LEFT JOIN turns ON turns.thread = threads.key AND turns.idx = threads.turn_count"
)
_FIND = f"{_SELECT} WHERE owner = ? AND threads.id = ? COLLATE NOCASE"
_LIST = f"{_SELECT} WHERE owner = ? AND (archived_at IS NOT NULL) = ? AND used < ? ORDER BY used DESC LIMIT ?"
_LIST_PREFIX = (
    f"{_SELECT} WHERE owner = ? AND threads.id COLLATE NOCASE BETWEEN ? AND ? || '~'"
    " AND substr(threads.id, 1, length(?)) = ? AND (archived_at IS NOT NULL) = ? AND +used < ?"
    " ORDER BY +used DESC LIMIT ?"
)
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
    for mark in (False, True) if archived is None else (archived,):
        if prefix:
            values = (owner, prefix, prefix, prefix, prefix, mark, below, limit + 1)
            rows += connection.execute(_LIST_PREFIX, values)
        else:
            rows += connection.execute(_LIST, (owner, mark, below, limit + 1))
    rows.sort(key=lambda row: -row["used"])
    threads = tuple(thread_of(row) for row in rows[:limit])
    return Page(threads, f"{rows[limit - 1]['used']}-{query}" if len(rows) > limit else None)


def rename(connection: sqlite3.Connection, owner: str, thread_id: str, title: str) -> Thread:
    """Give the thread a title."""
    key = get(connection, owner, thread_id)["key"]
    connection.execute("UPDATE threads SET title = ? WHERE key = ?", (title, key))
    return thread_of(get(connection, owner, thread_id))


def clear(connection: sqlite3.Connection, owner: str, thread_id: str, holder: Holder) -> Thread:
    """Remove the turns and the checkpoints."""
    key = _get_idle(connection, owner, thread_id, holder)["key"]
    _empty(connection, owner, thread_id, key)
    connection.execute(
        "UPDATE threads SET turn_count = 0, running = NULL, holder = NULL, lease_until = NULL WHERE key = ?",
        (key,),
    )
    return thread_of(get(connection, owner, thread_id))


def delete(connection: sqlite3.Connection, owner: str, thread_id: str, holder: Holder) -> None:
    """Remove the thread with everything that belongs to it."""
    key = _get_idle(connection, owner, thread_id, holder)["key"]
    _empty(connection, owner, thread_id, key)
    connection.execute("DELETE FROM threads WHERE key = ?", (key,))


def archive(
    connection: sqlite3.Connection, owner: str, thread_id: str, holder: Holder, *, archived: bool
) -> Thread:
    """Set the archived mark, or take it off; the time of the first mark stays."""
    key = _get_idle(connection, owner, thread_id, holder)["key"]
    connection.execute(
        "UPDATE threads SET archived_at = iif(?, coalesce(archived_at, ?), NULL) WHERE key = ?",
        (archived, format_time(utc_now()), key),
    )
    return thread_of(get(connection, owner, thread_id))


def _get_idle(connection: sqlite3.Connection, owner: str, thread_id: str, holder: Holder) -> sqlite3.Row:
    thread = get(connection, owner, thread_id)
    if is_live(thread, holder):
        raise ThreadBusy(
            f"a turn is running on thread {thread_id}", hint="wait until it has ended", retry_after=1.0
        )
    return thread


def _empty(connection: sqlite3.Connection, owner: str, thread_id: str, key: int) -> None:
    connection.execute("DELETE FROM messages WHERE thread = ?", (key,))
    connection.execute("DELETE FROM turns WHERE thread = ?", (key,))
    connection.execute("DELETE FROM checkpoint_spaces WHERE owner = ? AND thread_id = ?", (owner, thread_id))


def _query_mark(owner: str, archived: bool | None, prefix: str) -> str:  # noqa: FBT001
    """Return what tells the cursors of one query from those of another."""
    return f"{zlib.crc32(repr((owner, archived, prefix)).encode()):08x}"


def _place_of(cursor: str, query: str) -> int:
    place, _, mark = cursor.partition("-")
    if mark != query or not (place.isascii() and place.isdigit() and len(place) < 19):  # noqa: PLR2004
        raise InvalidRequest("the cursor is of another list", hint="begin again without a cursor")
    return int(place)
