"""The audit: entries written in the transaction of what they tell of."""

import sqlite3
from collections.abc import Callable
from typing import TypeVar

from chatcli.models import format_time, parse_time
from chatcli.stores.records import AuditEntry

T = TypeVar("T")

_INSERT = (
    "INSERT INTO audit (id, at, owner, actor, door, origin, action, thread_id, count, outcome)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
)
_SELECT = (
    "SELECT * FROM audit WHERE (:owner IS NULL OR owner = :owner) AND (:before IS NULL OR number < :before)"
    " ORDER BY number DESC LIMIT :limit"
)


def recorded(
    work: Callable[[sqlite3.Connection], T], entry_of: Callable[[T], AuditEntry | None]
) -> Callable[[sqlite3.Connection], T]:
    """Return `work` with the entry that belongs to its result, if there is one, written after it."""

    def write(connection: sqlite3.Connection) -> T:
        result = work(connection)
        if (entry := entry_of(result)) is not None:
            insert(connection, entry)
        return result

    return write


def insert(connection: sqlite3.Connection, entry: AuditEntry) -> None:
    """Write an entry, unless one with its id is there."""
    values = (entry.id, format_time(entry.at), entry.owner, entry.actor, entry.door, entry.origin)
    connection.execute(_INSERT, (*values, entry.action, entry.thread_id, entry.count, entry.outcome))


def select(
    connection: sqlite3.Connection, owner: str | None, *, limit: int, before: int | None
) -> tuple[AuditEntry, ...]:
    """Return entries, newest first."""
    rows = connection.execute(_SELECT, {"owner": owner, "before": before, "limit": limit}).fetchall()
    return tuple(AuditEntry(**{**dict(row), "at": parse_time(row["at"])}) for row in rows)
