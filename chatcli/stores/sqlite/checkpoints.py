"""LangGraph's checkpoints within one transaction: opaque values, found by their place."""

import sqlite3
from collections.abc import Sequence

from chatcli.errors import StoreCorrupt
from chatcli.stores.base import Blob, CheckpointKey, CheckpointRow, Keep, PendingWrite

_PLACE = (
    "SELECT checkpoints.*, owner, thread_id, namespace FROM checkpoint_spaces"
    " JOIN checkpoints ON checkpoints.space = checkpoint_spaces.key"
)


def put(connection: sqlite3.Connection, row: CheckpointRow, *, keep: Keep) -> None:
    """Write a checkpoint and the channel values that came with it."""
    import json

    space, is_new = _make_space(connection, row.key)
    connection.execute(
        "INSERT OR REPLACE INTO checkpoints (space, id, parent_id, type, head, metadata, versions)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            space,
            row.key.checkpoint_id,
            row.parent_id,
            row.head.type,
            row.head.data,
            row.metadata,
            json.dumps(row.versions, separators=(",", ":")),
        ),
    )
    connection.executemany(
        "INSERT OR REPLACE INTO checkpoint_channels (space, channel, version, type, data)"
        " VALUES (?, ?, ?, ?, ?)",
        [(space, name, version, blob.type, blob.data) for (name, version), blob in row.channels.items()],
    )
    if keep == "latest" and not is_new:
        connection.execute(  # by id, not by order: a clock that was set back makes a smaller one
            "DELETE FROM checkpoints WHERE space = ? AND id <> ?", (space, row.key.checkpoint_id)
        )
        connection.execute(
            "DELETE FROM checkpoint_writes WHERE space = ? AND checkpoint_id <> ?",
            (space, row.key.checkpoint_id),
        )
        _drop_unnamed(connection, space)


def get(connection: sqlite3.Connection, key: CheckpointKey) -> CheckpointRow | None:
    """Return the checkpoint at `key`, or the newest of its namespace."""
    row = connection.execute(
        f"{_PLACE} WHERE owner = ? AND thread_id = ? AND namespace = ? AND (? = '' OR id = ?)"
        " ORDER BY id DESC LIMIT 1",
        (key.owner, key.thread_id, key.namespace, key.checkpoint_id, key.checkpoint_id),
    ).fetchone()
    return None if row is None else _checkpoint_of(connection, row)


def select(
    connection: sqlite3.Connection,
    owner: str,
    thread_id: str | None,
    namespace: str | None,
    *,
    before: str | None,
    limit: int | None,
) -> tuple[CheckpointRow, ...]:
    """Return checkpoints, newest id first."""
    rows = connection.execute(
        f"{_PLACE} WHERE owner = ? AND thread_id = coalesce(?, thread_id)"
        " AND namespace = coalesce(?, namespace) AND (? IS NULL OR id < ?) ORDER BY id DESC LIMIT ?",
        (owner, thread_id, namespace, before, before, -1 if limit is None else limit),
    ).fetchall()
    return tuple(_checkpoint_of(connection, row) for row in rows)


def put_writes(
    connection: sqlite3.Connection, key: CheckpointKey, writes: Sequence[PendingWrite], *, replace: bool
) -> None:
    """Add pending writes to a checkpoint, which need not be there yet."""
    space, _ = _make_space(connection, key)
    if replace:
        connection.executemany(
            "DELETE FROM checkpoint_writes WHERE space = ? AND checkpoint_id = ? AND task_id = ? AND idx = ?",
            [(space, key.checkpoint_id, write.task_id, write.index) for write in writes],
        )
    connection.executemany(
        "INSERT OR IGNORE INTO checkpoint_writes"
        " (space, checkpoint_id, task_id, idx, task_path, channel, type, data)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                space,
                key.checkpoint_id,
                write.task_id,
                write.index,
                write.task_path,
                write.channel,
                write.value.type,
                write.value.data,
            )
            for write in writes
        ],
    )


def copy(connection: sqlite3.Connection, owner: str, source_id: str, target_id: str) -> None:
    """Copy all checkpoints of a thread, with channels and writes, to another thread id."""
    if source_id == target_id:
        return
    for source, namespace in _spaces(connection, owner, source_id):
        target, _ = _make_space(connection, CheckpointKey(owner, target_id, namespace))
        connection.execute(
            "INSERT OR REPLACE INTO checkpoints (space, id, parent_id, type, head, metadata, versions)"
            " SELECT ?, id, parent_id, type, head, metadata, versions FROM checkpoints WHERE space = ?",
            (target, source),
        )
        connection.execute(
            "INSERT OR REPLACE INTO checkpoint_channels (space, channel, version, type, data)"
            " SELECT ?, channel, version, type, data FROM checkpoint_channels WHERE space = ?",
            (target, source),
        )
        connection.execute(
            "INSERT OR REPLACE INTO checkpoint_writes"
            " (space, checkpoint_id, task_id, idx, task_path, channel, type, data)"
            " SELECT ?, checkpoint_id, task_id, idx, task_path, channel, type, data"
            " FROM checkpoint_writes WHERE space = ?",
            (target, source),
        )


def delete(
    connection: sqlite3.Connection, owner: str, thread_id: str, ids: Sequence[tuple[str, str]] | None
) -> None:
    """Remove a thread's checkpoints: all, or those with the given (namespace, id) pairs."""
    for space, namespace in _spaces(connection, owner, thread_id):
        if ids is None:
            connection.execute("DELETE FROM checkpoint_spaces WHERE key = ?", (space,))
            continue
        for where, checkpoint_id in ids:
            if where == namespace:
                _drop(connection, space, checkpoint_id)
        _drop_unnamed(connection, space)


def _spaces(connection: sqlite3.Connection, owner: str, thread_id: str) -> list[tuple[int, str]]:
    return connection.execute(
        "SELECT key, namespace FROM checkpoint_spaces WHERE owner = ? AND thread_id = ?", (owner, thread_id)
    ).fetchall()


def _make_space(connection: sqlite3.Connection, key: CheckpointKey) -> tuple[int, bool]:
    """Return the key of a space, and whether it was not there before."""
    place = (key.owner, key.thread_id, key.namespace)
    made = connection.execute(
        "INSERT OR IGNORE INTO checkpoint_spaces (owner, thread_id, namespace) VALUES (?, ?, ?)"
        " RETURNING key",
        place,
    ).fetchone()
    if made is not None:
        return int(made[0]), True
    (space,) = connection.execute(
        "SELECT key FROM checkpoint_spaces WHERE owner = ? AND thread_id = ? AND namespace = ?", place
    ).fetchone()
    return int(space), False


def _drop(connection: sqlite3.Connection, space: int, checkpoint_id: str) -> None:
    connection.execute("DELETE FROM checkpoints WHERE space = ? AND id = ?", (space, checkpoint_id))
    connection.execute(
        "DELETE FROM checkpoint_writes WHERE space = ? AND checkpoint_id = ?", (space, checkpoint_id)
    )


def _drop_unnamed(connection: sqlite3.Connection, space: int) -> None:
    """Remove the channel values that no checkpoint of the space names any longer."""
    named = {
        pair
        for (versions,) in connection.execute("SELECT versions FROM checkpoints WHERE space = ?", (space,))
        for pair in _versions_of(versions).items()
    }
    stored = connection.execute(
        "SELECT channel, version FROM checkpoint_channels WHERE space = ?", (space,)
    ).fetchall()
    connection.executemany(
        "DELETE FROM checkpoint_channels WHERE space = ? AND channel = ? AND version = ?",
        [(space, *pair) for pair in map(tuple, stored) if pair not in named],
    )


def _versions_of(text: str) -> dict[str, str]:
    import json

    try:
        versions = json.loads(text)
    except ValueError as error:
        raise StoreCorrupt(
            "the store holds a checkpoint that makes no sense", hint="clear the thread"
        ) from error
    return {str(name): str(version) for name, version in versions.items()}


def _checkpoint_of(connection: sqlite3.Connection, row: sqlite3.Row) -> CheckpointRow:
    key = CheckpointKey(row["owner"], row["thread_id"], row["namespace"], row["id"])
    versions = _versions_of(row["versions"])
    channels: dict[tuple[str, str], Blob] = {}
    for name, version in versions.items():
        value = connection.execute(
            "SELECT type, data FROM checkpoint_channels WHERE space = ? AND channel = ? AND version = ?",
            (row["space"], name, version),
        ).fetchone()
        if value is not None:
            channels[name, version] = Blob(value["type"], value["data"])
    writes = tuple(
        PendingWrite(
            write["task_id"],
            write["task_path"],
            write["idx"],
            write["channel"],
            Blob(write["type"], write["data"]),
        )
        for write in connection.execute(
            "SELECT * FROM checkpoint_writes WHERE space = ? AND checkpoint_id = ?"
            " ORDER BY task_path, task_id, idx",
            (row["space"], row["id"]),
        )
    )
    return CheckpointRow(
        key,
        row["parent_id"],
        Blob(row["type"], row["head"]),
        row["metadata"],
        versions,
        channels,
        writes,
    )
