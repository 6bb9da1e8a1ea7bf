"""The audit: entries written by the statement that does what they tell of."""

from datetime import UTC

from chatcli.stores.postgres.connection import Database
from chatcli.stores.postgres.rows import to_json
from chatcli.stores.records import AuditEntry

_SELECT = """
SELECT number, id, at, owner, actor, door, origin, action, thread_id, count, outcome FROM {schema}.audit
WHERE (%(owner)s::text IS NULL OR owner = %(owner)s::text)
  AND (%(before)s::bigint IS NULL OR number < %(before)s::bigint)
ORDER BY number DESC LIMIT %(limit)s
"""


def entry_json(entry: AuditEntry | None) -> str | None:
    """Return an entry as the function ``record_audit`` takes it."""
    return None if entry is None else to_json({"id": entry.id, **entry.to_json()})


async def record(database: Database, entry: AuditEntry) -> None:
    """Write an entry, unless one with its id is there."""
    await database.call("record_audit", entry_json(entry), None)


async def select(
    database: Database, owner: str | None, *, limit: int, before: int | None
) -> tuple[AuditEntry, ...]:
    """Return entries, newest first."""
    rows = await database.rows(_SELECT, {"owner": owner, "before": before, "limit": limit})
    return tuple(AuditEntry(**{**row, "at": row["at"].astimezone(UTC)}) for row in rows)
