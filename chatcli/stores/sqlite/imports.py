"""Whole threads that come from elsewhere, with their ids, times and marks."""

import sqlite3
from collections.abc import Sequence

from chatcli.errors import InvalidRequest
from chatcli.models import Thread, Turn, format_time
from chatcli.stores.records import arrival
from chatcli.stores.sqlite.leases import Holder
from chatcli.stores.sqlite.rows import insert_messages
from chatcli.stores.sqlite.threads import find, next_use
from chatcli.stores.sqlite.turns import read_turns


def import_thread(
    connection: sqlite3.Connection, thread: Thread, turns: Sequence[Turn], holder: Holder
) -> bool:
    """Write the thread as the last used one; False if it is there with these turns."""
    thread, turns = arrival(thread, turns)
    there = find(connection, thread.owner, thread.id)
    if there is not None:
        if there["id"] == thread.id and turns == read_turns(
            connection, thread.owner, thread.id, holder, after=0, limit=None
        ):
            return False
        raise InvalidRequest(
            f"there is another thread {there['id']}", hint="use another id, or delete it first"
        )
    key = connection.execute(
        "INSERT INTO threads (owner, id, title, language, system, model, created_at, updated_at,"
        " archived_at, used, turn_count) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            thread.owner,
            thread.id,
            thread.title,
            thread.language,
            thread.system,
            thread.model,
            format_time(thread.created_at),
            format_time(thread.updated_at),
            None if thread.archived_at is None else format_time(thread.archived_at),
            next_use(connection),
            thread.turn_count,
        ),
    ).lastrowid
    assert key is not None  # noqa: S101 - an INSERT has a rowid
    for turn in turns:
        _insert_turn(connection, key, turn)
    return True


def _insert_turn(connection: sqlite3.Connection, key: int, turn: Turn) -> None:
    usage, error = turn.usage, turn.error
    connection.execute(
        "INSERT INTO turns (thread, idx, id, state, started_at, finished_at, model, finish_reason,"
        " input_tokens, output_tokens, error, error_message) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            key,
            turn.index,
            turn.id,
            turn.state.value,
            format_time(turn.started_at),
            None if turn.finished_at is None else format_time(turn.finished_at),
            turn.model,
            turn.finish_reason,
            None if usage is None else usage.input_tokens,
            None if usage is None else usage.output_tokens,
            None if error is None else error.name,
            None if error is None else error.message,
        ),
    )
    insert_messages(connection, turn.messages, thread=key, turn=turn.index, turn_id=turn.id, start=0)
