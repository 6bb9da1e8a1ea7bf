"""Rows to models and back; a row that makes no sense is `StoreCorrupt`, never a guess."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from chatcli.errors import StoreCorrupt
from chatcli.models import (
    Content,
    Message,
    Role,
    Thread,
    Turn,
    TurnError,
    TurnState,
    Usage,
    format_time,
    parse_time,
    text_of,
)
from chatcli.stores.base import message_id

_SEARCHED = frozenset({Role.HUMAN, Role.AI})


@contextmanager
def _making_sense(what: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError) as error:
        raise StoreCorrupt(
            f"the store holds {what} that makes no sense", hint="restore it from a backup"
        ) from error


def thread_of(row: sqlite3.Row) -> Thread:
    """Return the thread of a row of `threads`."""
    with _making_sense("a thread"):
        return Thread(
            id=row["id"],
            owner=row["owner"],
            title=row["title"],
            language=row["language"],
            turn_count=row["turn_count"],
            created_at=parse_time(row["created_at"]),
            updated_at=parse_time(row["updated_at"]),
            archived_at=None if row["archived_at"] is None else parse_time(row["archived_at"]),
            system=row["system"],
            model=row["model"],
        )


def turn_of(row: sqlite3.Row, messages: Sequence[Message], *, live: bool) -> Turn:
    """Return the turn of a row of `turns`; one that nobody runs any more is shown as interrupted."""
    with _making_sense("a turn"):
        state = TurnState(row["state"])
        if state is TurnState.RUNNING and not live:
            state = TurnState.INTERRUPTED
        return Turn(
            id=row["id"],
            index=row["idx"],
            state=state,
            started_at=parse_time(row["started_at"]),
            model=row["model"],
            messages=tuple(messages),
            finished_at=None if row["finished_at"] is None else parse_time(row["finished_at"]),
            finish_reason=row["finish_reason"],
            usage=None if row["input_tokens"] is None else Usage(row["input_tokens"], row["output_tokens"]),
            error=None if row["error"] is None else TurnError(row["error"], row["error_message"]),
        )


def message_of(row: sqlite3.Row, turn_id: str) -> Message:
    """Return the message of a row of `messages`."""
    with _making_sense("a message"):
        return Message(
            id=row["id"] or message_id(turn_id, row["position"]),
            role=Role(row["role"]),
            content=row["content"] if row["format"] is None else _parts_of(row["content"]),
            timestamp=parse_time(row["timestamp"]),
        )


def searched_in(rows: Sequence[sqlite3.Row]) -> str:
    """Return what is searched of the rows of `messages` of one turn."""
    said = [row for row in rows if row["role"] in _SEARCHED]
    with _making_sense("a message"):
        return "\n".join(
            row["content"] if row["format"] is None else text_of(_parts_of(row["content"])) for row in said
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
        if isinstance(message.content, str):
            content, form = message.content, None
        else:
            content, form = _to_json(message.content), "parts"
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


def _to_json(content: Content) -> str:
    import json

    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def _parts_of(text: str) -> Content:
    import json

    parts = json.loads(text)
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise TypeError("not a list of parts")
    return tuple(parts)
