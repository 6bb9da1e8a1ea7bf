"""LangGraph's checkpoints: opaque values, found by their place. Bytes go beside the JSON, as bytes."""

import json
from collections.abc import Sequence

from chatcli.errors import StoreCorrupt
from chatcli.stores.base import Blob, CheckpointKey, CheckpointRow, Keep, PendingWrite
from chatcli.stores.postgres.connection import Database, Row
from chatcli.stores.postgres.rows import to_json

_SELECT = """
SELECT owner, thread_id, namespace, checkpoints.*,
  channels.names, channels.channel_versions, channels.types AS channel_types, channels.channel_data,
  writes.tasks, writes.paths, writes.places, writes.written, writes.types AS write_types, writes.write_data
FROM {schema}.checkpoint_spaces
JOIN {schema}.checkpoints ON checkpoints.space = checkpoint_spaces.key
LEFT JOIN LATERAL (
  SELECT array_agg(channel) AS names, array_agg(version) AS channel_versions,
    array_agg(type) AS types, array_agg(data) AS channel_data
  FROM {schema}.checkpoint_channels AS value
  WHERE value.space = checkpoints.space AND checkpoints.versions::json ->> value.channel = value.version
) AS channels ON true
LEFT JOIN LATERAL (
  SELECT array_agg(task_id) AS tasks, array_agg(task_path) AS paths, array_agg(idx) AS places,
    array_agg(channel) AS written, array_agg(type) AS types, array_agg(data) AS write_data
  FROM (
    SELECT * FROM {schema}.checkpoint_writes AS value
    WHERE value.space = checkpoints.space AND value.checkpoint_id = checkpoints.id
    ORDER BY task_path, task_id, idx
  ) AS ordered
) AS writes ON true
WHERE owner = %(owner)s
"""

_GET = f"""{_SELECT} AND thread_id = %(thread)s AND namespace = %(namespace)s
  AND (%(id)s = '' OR id = %(id)s) ORDER BY id DESC LIMIT 1
"""

_LIST = f"""{_SELECT} AND thread_id = coalesce(%(thread)s, thread_id)
  AND namespace = coalesce(%(namespace)s, namespace) AND (%(before)s::text IS NULL OR id < %(before)s)
ORDER BY id DESC LIMIT %(limit)s
"""


def parts_of(row: CheckpointRow) -> tuple[str, bytes, list[bytes]]:
    """Return a checkpoint as ``put_checkpoint`` takes it: all but its bytes, its head, its channels."""
    place = {
        "owner": row.key.owner,
        "thread": row.key.thread_id,
        "namespace": row.key.namespace,
        "id": row.key.checkpoint_id,
        "parent": row.parent_id,
        "type": row.head.type,
        "metadata": row.metadata,
        "versions": to_json(row.versions),
        "channels": [
            {"place": place, "channel": name, "version": version, "type": blob.type}
            for place, ((name, version), blob) in enumerate(row.channels.items(), 1)
        ],
    }
    return to_json(place), row.head.data, [blob.data for blob in row.channels.values()]


async def put(database: Database, row: CheckpointRow, *, keep: Keep) -> None:
    """Write a checkpoint and the channel values that came with it."""
    await database.call("put_checkpoint", *parts_of(row), keep == "latest")


async def get(database: Database, key: CheckpointKey) -> CheckpointRow | None:
    """Return the checkpoint at `key`, or the newest of its namespace."""
    values = {
        "owner": key.owner,
        "thread": key.thread_id,
        "namespace": key.namespace,
        "id": key.checkpoint_id,
    }
    rows = await database.rows(_GET, values, binary=True)
    return _checkpoint_of(rows[0]) if rows else None


async def select(
    database: Database,
    owner: str,
    thread_id: str | None,
    namespace: str | None,
    *,
    before: str | None,
    limit: int | None,
) -> tuple[CheckpointRow, ...]:
    """Return checkpoints, newest id first."""
    values = {
        "owner": owner,
        "thread": thread_id,
        "namespace": namespace,
        "before": before,
        "limit": limit,
    }
    return tuple(_checkpoint_of(row) for row in await database.rows(_LIST, values, binary=True))


async def put_writes(
    database: Database, key: CheckpointKey, writes: Sequence[PendingWrite], *, replace: bool
) -> None:
    """Add pending writes to a checkpoint, which need not be there yet."""
    place = {
        "owner": key.owner,
        "thread": key.thread_id,
        "namespace": key.namespace,
        "id": key.checkpoint_id,
        "writes": [
            {
                "place": place,
                "task": write.task_id,
                "idx": write.index,
                "path": write.task_path,
                "channel": write.channel,
                "type": write.value.type,
            }
            for place, write in enumerate(writes, 1)
        ],
    }
    await database.call("put_writes", to_json(place), [write.value.data for write in writes], replace)


async def copy(database: Database, owner: str, source_id: str, target_id: str) -> None:
    """Copy all checkpoints of a thread, with channels and writes, to another thread id."""
    if source_id != target_id:
        await database.call("copy_checkpoints", owner, source_id, target_id)


async def delete(
    database: Database, owner: str, thread_id: str, ids: Sequence[tuple[str, str]] | None
) -> None:
    """Remove a thread's checkpoints: all, or those with the given (namespace, id) pairs."""
    await database.call("delete_checkpoints", owner, thread_id, None if ids is None else to_json(list(ids)))


def _checkpoint_of(row: Row) -> CheckpointRow:
    try:
        versions = {str(name): str(version) for name, version in json.loads(row["versions"]).items()}
    except (ValueError, AttributeError) as error:
        raise StoreCorrupt(
            "the store holds a checkpoint that makes no sense", hint="clear the thread"
        ) from error
    channels = zip(*(row[part] or () for part in _CHANNEL_PARTS), strict=True)
    writes = zip(*(row[part] or () for part in _WRITE_PARTS), strict=True)
    return CheckpointRow(
        CheckpointKey(row["owner"], row["thread_id"], row["namespace"], row["id"]),
        row["parent_id"],
        Blob(row["type"], row["head"]),
        row["metadata"],
        versions,
        {(name, version): Blob(kind, data) for name, version, kind, data in channels},
        tuple(
            PendingWrite(task, path, place, channel, Blob(kind, data))
            for task, path, place, channel, kind, data in writes
        ),
    )


_CHANNEL_PARTS = ("names", "channel_versions", "channel_types", "channel_data")
_WRITE_PARTS = ("tasks", "paths", "places", "written", "write_types", "write_data")
