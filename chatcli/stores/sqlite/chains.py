"""Turns that threads share: a fork has a base, in which its first turns are found, and so on down.

Turns 1 to `base_turns` of a thread stand in the thread `base`, or further down; the later ones are its
own. It always holds that the last shared turn is the base's own: chains are no longer than they must be.
"""

import sqlite3
from collections.abc import Iterator

from chatcli.errors import InvalidRequest, ThreadArchived
from chatcli.models import Thread, format_time, utc_now
from chatcli.stores.sqlite import checkpoints
from chatcli.stores.sqlite.leases import Holder
from chatcli.stores.sqlite.rows import thread_of
from chatcli.stores.sqlite.threads import end_orphan, find, get, get_idle, next_use


def segments(
    connection: sqlite3.Connection, thread: sqlite3.Row, upto: int, *, down_to: int = 0
) -> Iterator[tuple[int, int, int]]:
    """Yield where the turns over `down_to` and up to `upto` stand, the newest first.

    Each as (key of the thread, after, upto): its turns with ``after < idx <= upto``.
    """
    while upto > down_to:
        after = max(thread["base_turns"], down_to)
        if upto > after:
            yield thread["key"], after, upto
            upto = after
        if thread["base"] is None:
            return
        thread = _row(connection, thread["base"])


def fork(
    connection: sqlite3.Connection,
    owner: str,
    thread_id: str,
    holder: Holder,
    *,
    fork_id: str,
    title: str,
    turns: int,
) -> Thread:
    """Make a thread that shares the first `turns` turns of another."""
    thread = get(connection, owner, thread_id)
    if not 0 <= turns <= thread["turn_count"]:
        raise _too_few(thread)
    if turns == thread["turn_count"]:
        end_orphan(connection, get_idle(connection, owner, thread_id, holder))
    _insert(connection, thread, fork_id, title, turns=turns, base=_base_of(connection, thread, turns))
    return thread_of(get(connection, owner, fork_id))


def undo(
    connection: sqlite3.Connection,
    owner: str,
    thread_id: str,
    holder: Holder,
    *,
    fork_id: str,
    title: str,
    turns: int,
) -> Thread:
    """Take the last `turns` turns off the thread; a fork takes them over and shares the rest."""
    thread = get(connection, owner, thread_id)
    if thread["archived_at"] is not None:
        raise ThreadArchived(
            f"thread {thread_id} is archived", hint=f"chatcli archive --restore {thread_id} takes it back"
        )
    if not 0 < turns <= thread["turn_count"]:
        raise _too_few(thread)
    end_orphan(connection, get_idle(connection, owner, thread_id, holder))
    key, own, left = thread["key"], thread["base_turns"], thread["turn_count"] - turns
    kept = max(left, own)
    below = _base_of(connection, thread, left)
    # The fork's base is this thread if that keeps turns of its own, else this thread's base.
    base = below if left > own else (thread["base"], own)
    fork_key = _insert(connection, thread, fork_id, title, turns=thread["turn_count"], base=base)
    _move(connection, key, fork_key, after=kept)
    connection.execute(
        "UPDATE threads SET base = ? WHERE base = ? AND base_turns > ? AND key <> ?",
        (fork_key, key, kept, fork_key),
    )
    if left < own:
        connection.execute("UPDATE threads SET base = ?, base_turns = ? WHERE key = ?", (*below, key))
    connection.execute(
        "UPDATE threads SET turn_count = ?, updated_at = ?, used = ? WHERE key = ?",
        (left, format_time(utc_now()), next_use(connection), key),
    )
    checkpoints.delete(connection, owner, thread_id, None)
    return thread_of(get(connection, owner, fork_id))


def bequeath(connection: sqlite3.Connection, thread: sqlite3.Row) -> None:
    """Give the turns that others share to the one that shares most; the rest stays."""
    key = thread["key"]
    heir = connection.execute(
        "SELECT key, base_turns FROM threads WHERE base = ? ORDER BY base_turns DESC, key LIMIT 1", (key,)
    ).fetchone()
    if heir is None:
        return
    _move(connection, key, heir["key"], after=thread["base_turns"], upto=heir["base_turns"])
    connection.execute("UPDATE threads SET base = ? WHERE base = ?", (heir["key"], key))
    connection.execute(
        "UPDATE threads SET base = ?, base_turns = ? WHERE key = ?",
        (thread["base"], thread["base_turns"], heir["key"]),
    )


def _base_of(connection: sqlite3.Connection, thread: sqlite3.Row, turns: int) -> tuple[int | None, int]:
    """Return base and number of shared turns for a thread with the first `turns` turns of `thread`."""
    if turns == 0:
        return None, 0
    while turns <= thread["base_turns"]:
        thread = _row(connection, thread["base"])
    return thread["key"], turns


def _insert(
    connection: sqlite3.Connection,
    thread: sqlite3.Row,
    fork_id: str,
    title: str,
    *,
    turns: int,
    base: tuple[int | None, int],
) -> int:
    """Write the row of a fork, as the last used thread; return its key."""
    there = find(connection, thread["owner"], fork_id)
    if there is not None:
        raise InvalidRequest(f"there is another thread {there['id']}", hint="use another id")
    now = format_time(utc_now())
    key = connection.execute(
        "INSERT INTO threads (owner, id, title, language, system, model, created_at, updated_at, used,"
        " turn_count, base, base_turns) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            thread["owner"],
            fork_id,
            title,
            thread["language"],
            thread["system"],
            thread["model"],
            now,
            now,
            next_use(connection),
            turns,
            *base,
        ),
    ).lastrowid
    assert key is not None  # noqa: S101 - an INSERT has a rowid
    return key


def _move(
    connection: sqlite3.Connection, source: int, target: int, *, after: int, upto: int | None = None
) -> None:
    """Give turns of one thread to another. Idempotency keys are a thread's own: they go."""
    connection.execute("PRAGMA defer_foreign_keys = ON")  # until the messages have followed
    values = (target, source, after, upto, upto)
    connection.execute(
        "UPDATE turns SET thread = ?, idempotency_key = NULL, fingerprint = NULL"
        " WHERE thread = ? AND idx > ? AND (? IS NULL OR idx <= ?)",
        values,
    )
    connection.execute(
        "UPDATE messages SET thread = ? WHERE thread = ? AND turn > ? AND (? IS NULL OR turn <= ?)", values
    )


def _row(connection: sqlite3.Connection, key: int) -> sqlite3.Row:
    row: sqlite3.Row = connection.execute("SELECT * FROM threads WHERE key = ?", (key,)).fetchone()
    return row


def _too_few(thread: sqlite3.Row) -> InvalidRequest:
    return InvalidRequest(
        f"thread {thread['id']} has {thread['turn_count']} turns", hint="give a smaller number"
    )
