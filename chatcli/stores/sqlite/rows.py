"""Rows to models and back; a row that makes no sense is `StoreCorrupt`, never a guess."""

import sqlite3
from collections.abc import Sequence
from datetime import datetime

from chatcli.frozen import replace
from chatcli.models import Message, Role, Thread, format_time, text_of
from chatcli.stores import rows
from chatcli.stores.base import NewTurn, message_id
from chatcli.stores.rows import making_sense, parts_of, thread_of, turn_of

__all__ = ["insert_messages", "message_of", "searched_in", "thread_after", "thread_of", "turn_of"]

_SEARCHED = frozenset({Role.HUMAN, Role.AI})


def message_of(row: sqlite3.Row, turn_id: str) -> Message:
    """Return the message of a row of `messages`."""
    return rows.message_of(row, row["id"] or message_id(turn_id, row["position"]))


def thread_after(row: sqlite3.Row | None, new: NewTurn, moment: datetime) -> Thread:
    """Return the thread as a turn that began on it left it, without reading it again."""
    if row is None:
        return Thread(
            id=new.thread_id,
            owner=new.owner,
            title=new.title,
            language=new.language or "English",
            turn_count=1,
            created_at=moment,
            updated_at=moment,
            system=new.system,
            model=new.model,
        )
    before = thread_of(row)
    return replace(
        before,
        title=new.title if new.rename else before.title,
        language=before.language if new.language is None else new.language,
        system=before.system if new.system is None else new.system,
        model=new.model,
        updated_at=moment,
        turn_count=before.turn_count + 1,
    )


def searched_in(messages: Sequence[sqlite3.Row]) -> str:
    """Return what is searched of the rows of `messages` of one turn."""
    said = [row for row in messages if row["role"] in _SEARCHED]
    with making_sense("a message"):
        return "\n".join(
            row["content"] if row["format"] is None else text_of(parts_of(row["content"])) for row in said
        )


def insert_messages(
    connection: sqlite3.Connection,
    messages: Sequence[Message],
    *,
    thread: int,
    turn: int,
    turn_id: str,
    start: int,
) -> None:
    """Write the messages of a turn from position `start` on."""
    for position, message in enumerate(messages, start):
        content, form = rows.stored(message.content)
        connection.execute(
            "INSERT INTO messages (thread, turn, position, role, content, format, timestamp, id)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                thread,
                turn,
                position,
                message.role.value,
                content,
                form,
                format_time(message.timestamp),
                None if message.id == message_id(turn_id, position) else message.id,
            ),
        )
