"""Text changed where it stands, within one transaction."""

import sqlite3

from chatcli.frozen import replace
from chatcli.models import Content
from chatcli.stores.base import Blob, CheckpointKey, PendingWrite
from chatcli.stores.rewriting import Rewriter
from chatcli.stores.sqlite import search
from chatcli.stores.sqlite.chains import segments
from chatcli.stores.sqlite.rows import message_of, thread_of, turn_of
from chatcli.stores.sqlite.threads import get


def owners(connection: sqlite3.Connection) -> tuple[str, ...]:
    """Return everybody who has threads; each is found by one look into the index."""
    rows = connection.execute(
        "WITH RECURSIVE found (owner) AS (SELECT min(owner) FROM threads UNION ALL"
        " SELECT (SELECT min(owner) FROM threads WHERE owner > found.owner) FROM found"
        " WHERE owner IS NOT NULL) SELECT owner FROM found WHERE owner IS NOT NULL"
    )
    return tuple(owner for (owner,) in rows)


def rewrite(connection: sqlite3.Connection, owner: str, thread_id: str, rewriter: Rewriter) -> bool:
    """Change what a thread holds as `rewriter` says; the index of words goes if anything was said anew."""
    row = get(connection, owner, thread_id)
    was = thread_of(row)
    now = rewriter.thread(was)
    changed = (now.title, now.system) != (was.title, was.system)
    if changed:
        connection.execute(
            "UPDATE threads SET title = ?, system = ? WHERE key = ?", (now.title, now.system, row["key"])
        )
    said_anew = False
    for key, after, upto in segments(connection, row, row["turn_count"]):
        turns = connection.execute(
            "SELECT * FROM turns WHERE thread = ? AND idx > ? AND idx <= ?", (key, after, upto)
        ).fetchall()
        for turn in turns:
            said_anew |= _rewrite_turn(connection, turn, rewriter)
    if said_anew:
        search.reset(connection)
    for space, namespace in connection.execute(
        "SELECT key, namespace FROM checkpoint_spaces WHERE owner = ? AND thread_id = ?", (owner, thread_id)
    ).fetchall():
        changed |= _rewrite_space(connection, space, CheckpointKey(owner, thread_id, namespace), rewriter)
    return changed or said_anew


def _rewrite_turn(connection: sqlite3.Connection, row: sqlite3.Row, rewriter: Rewriter) -> bool:
    place = (row["thread"], row["idx"])
    messages = connection.execute(
        "SELECT * FROM messages WHERE thread = ? AND turn = ? ORDER BY position", place
    ).fetchall()
    was = turn_of(row, [message_of(message, row["id"]) for message in messages], live=True)
    now = rewriter.turn(was)
    changed = False
    for message, old, new in zip(messages, was.messages, now.messages, strict=True):
        if new.content != old.content:
            connection.execute(
                "UPDATE messages SET content = ?, format = ? WHERE key = ?",
                (*_stored(new.content), message["key"]),
            )
            changed = True
    if now.error is not None and now.error != was.error:
        connection.execute(
            "UPDATE turns SET error_message = ? WHERE thread = ? AND idx = ?", (now.error.message, *place)
        )
        changed = True
    if row["fingerprint"] is not None:
        fingerprint = rewriter.fingerprint(row["fingerprint"])
        if fingerprint != row["fingerprint"]:
            connection.execute(
                "UPDATE turns SET fingerprint = ? WHERE thread = ? AND idx = ?", (fingerprint, *place)
            )
            changed = True
    return changed


def _rewrite_space(
    connection: sqlite3.Connection, space: int, key: CheckpointKey, rewriter: Rewriter
) -> bool:
    """Change the checkpoints of one namespace, the values of its channels, and the pending writes."""
    before = connection.total_changes
    for row in _rows(connection, "checkpoints", space):
        at, head = replace(key, checkpoint_id=row["id"]), Blob(row["type"], row["head"])
        new, metadata = rewriter.head(at, head), rewriter.metadata(at, row["metadata"])
        if new != head or metadata != row["metadata"]:
            connection.execute(
                "UPDATE checkpoints SET type = ?, head = ?, metadata = ? WHERE space = ? AND id = ?",
                (new.type, new.data, metadata, space, row["id"]),
            )
    for row in _rows(connection, "checkpoint_channels", space):
        value = Blob(row["type"], row["data"])
        new = rewriter.channel(key, row["channel"], row["version"], value)
        if new != value:
            connection.execute(
                "UPDATE checkpoint_channels SET type = ?, data = ?"
                " WHERE space = ? AND channel = ? AND version = ?",
                (new.type, new.data, space, row["channel"], row["version"]),
            )
    for row in _rows(connection, "checkpoint_writes", space):
        value = Blob(row["type"], row["data"])
        write = PendingWrite(row["task_id"], row["task_path"], row["idx"], row["channel"], value)
        new = rewriter.write(replace(key, checkpoint_id=row["checkpoint_id"]), write).value
        if new != value:
            connection.execute(
                "UPDATE checkpoint_writes SET type = ?, data = ?"
                " WHERE space = ? AND checkpoint_id = ? AND task_id = ? AND idx = ?",
                (new.type, new.data, space, row["checkpoint_id"], row["task_id"], row["idx"]),
            )
    return connection.total_changes > before


def _rows(connection: sqlite3.Connection, table: str, space: int) -> list[sqlite3.Row]:
    """Return the rows of a table of checkpoints; they are changed while they are looked at."""
    return connection.execute(
        f"SELECT * FROM {table} WHERE space = ?",  # noqa: S608 - a name of ours
        (space,),
    ).fetchall()


def _stored(content: Content) -> tuple[str, str | None]:
    """Return content and format of a row of `messages`."""
    if isinstance(content, str):
        return content, None
    import json

    return json.dumps(content, ensure_ascii=False, separators=(",", ":")), "parts"
