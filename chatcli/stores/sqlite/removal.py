"""Threads that go: cleared, deleted, or swept away when they expire."""

import sqlite3

from chatcli.errors import InvalidRequest
from chatcli.models import Thread, format_time
from chatcli.stores.base import Expiry, Sweep
from chatcli.stores.sqlite import search
from chatcli.stores.sqlite.chains import bequeath
from chatcli.stores.sqlite.leases import Holder
from chatcli.stores.sqlite.rows import thread_of
from chatcli.stores.sqlite.threads import get, get_idle, is_live

_NEXT = (
    "SELECT * FROM threads WHERE owner = ? AND (archived_at IS NOT NULL) = ? AND used > ?"
    " ORDER BY used LIMIT ?"
)
_KEPT = (
    "SELECT used FROM (SELECT used FROM (SELECT used FROM threads"
    " WHERE owner = :owner AND (archived_at IS NOT NULL) = 0 ORDER BY used DESC LIMIT :keep)"
    " UNION ALL SELECT used FROM (SELECT used FROM threads"
    " WHERE owner = :owner AND (archived_at IS NOT NULL) = 1 ORDER BY used DESC LIMIT :keep))"
    " ORDER BY used DESC LIMIT 1 OFFSET :keep - 1"
)
_SIZE = (
    "SELECT coalesce(sum(length(CAST(content AS BLOB))), 0) FROM messages"
    " WHERE thread = ? AND turn > ? AND format IS NULL"
)
_SHARED = (
    # The last own turn of a thread that another one shares which stays.
    "WITH RECURSIVE forks (key, shared) AS ("
    " SELECT key, base_turns FROM threads WHERE base = :key UNION ALL"
    " SELECT threads.key, min(threads.base_turns, forks.shared) FROM forks JOIN threads ON base = forks.key)"
    " SELECT coalesce(max(shared), 0) FROM forks JOIN threads USING (key)"
    " WHERE NOT (updated_at < :before AND used < :kept AND (archived_at IS NOT NULL OR NOT :archived_only))"
)
_END = 2**62


def clear(connection: sqlite3.Connection, owner: str, thread_id: str, holder: Holder) -> Thread:
    """Remove the turns and the checkpoints."""
    thread = get_idle(connection, owner, thread_id, holder)
    _empty(connection, thread)
    search.lower_mark(connection)
    connection.execute(
        "UPDATE threads SET turn_count = 0, base = NULL, base_turns = 0,"
        " running = NULL, holder = NULL, lease_until = NULL WHERE key = ?",
        (thread["key"],),
    )
    return thread_of(get(connection, owner, thread_id))


def delete(connection: sqlite3.Connection, owner: str, thread_id: str, holder: Holder) -> None:
    """Remove the thread with everything that belongs to it."""
    _remove(connection, get_idle(connection, owner, thread_id, holder))
    search.lower_mark(connection)


def sweep(
    connection: sqlite3.Connection,
    owner: str,
    expiry: Expiry,
    holder: Holder,
    *,
    limit: int,
    cursor: str | None,
    dry_run: bool,
) -> Sweep:
    """Remove the expired threads among the next `limit`."""
    after, before = _place_of(cursor), format_time(expiry.before)
    kept = _first_kept(connection, owner, expiry.keep)
    rows: list[sqlite3.Row] = []
    for mark in (True,) if expiry.archived_only else (False, True):
        rows += connection.execute(_NEXT, (owner, mark, after, limit + 1))
    rows.sort(key=lambda row: row["used"])
    removed: list[Thread] = []
    busy: list[str] = []
    freed = 0
    for row in rows[:limit]:
        if row["updated_at"] >= before or row["used"] >= kept:
            continue
        if is_live(row, holder):
            busy.append(row["id"])
            continue
        thread = get(connection, owner, row["id"])  # a base that was removed may have changed it
        removed.append(thread_of(thread))
        if dry_run:
            staying = {
                "key": thread["key"],
                "before": before,
                "kept": kept,
                "archived_only": expiry.archived_only,
            }
            (shared,) = connection.execute(_SHARED, staying).fetchone()
            freed += _size(connection, thread["key"], after=shared)
        else:
            freed += _remove(connection, thread)
    if not dry_run:
        search.lower_mark(connection)
    return Sweep(
        scanned=len(rows[:limit]),
        removed=tuple(removed),
        busy=tuple(busy),
        cursor=str(rows[limit - 1]["used"]) if len(rows) > limit > 0 else None,
        freed=freed,
    )


def _remove(connection: sqlite3.Connection, thread: sqlite3.Row) -> int:
    freed = _empty(connection, thread)
    connection.execute("DELETE FROM threads WHERE key = ?", (thread["key"],))
    return freed


def _empty(connection: sqlite3.Connection, thread: sqlite3.Row) -> int:
    """Remove the checkpoints, and the turns that nobody shares; return how many bytes of text these had."""
    key = thread["key"]
    bequeath(connection, thread)
    freed = _size(connection, key)
    search.forget(connection, key)
    connection.execute("DELETE FROM messages WHERE thread = ?", (key,))
    connection.execute("DELETE FROM turns WHERE thread = ?", (key,))
    connection.execute(
        "DELETE FROM checkpoint_spaces WHERE owner = ? AND thread_id = ?", (thread["owner"], thread["id"])
    )
    return freed


def _size(connection: sqlite3.Connection, key: int, *, after: int = 0) -> int:
    (size,) = connection.execute(_SIZE, (key, after)).fetchone()
    return int(size)


def _first_kept(connection: sqlite3.Connection, owner: str, keep: int) -> int:
    """Return the use from which on threads are among the `keep` last used ones."""
    if keep == 0:
        return _END
    row = connection.execute(_KEPT, {"owner": owner, "keep": keep}).fetchone()
    return 0 if row is None else int(row["used"])


def _place_of(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) < 19):  # noqa: PLR2004 - below 2^63
        raise InvalidRequest("that is not a cursor of a sweep", hint="begin again without a cursor")
    return int(cursor)
