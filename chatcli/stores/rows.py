"""Rows of the tables `threads`, `turns` and `messages` to models; what makes no sense is `StoreCorrupt`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Protocol

from chatcli.errors import StoreCorrupt
from chatcli.models import Content, Message, Role, Thread, Turn, TurnError, TurnState, Usage, parse_time


class Row(Protocol):
    """Anything that has its columns by name."""

    def __getitem__(self, name: str, /) -> Any:
        """Return a column."""


@contextmanager
def making_sense(what: str) -> Iterator[None]:
    """Take an error in the block for damage of `what`."""
    try:
        yield
    except (LookupError, TypeError, ValueError) as error:
        raise StoreCorrupt(
            f"the store holds {what} that makes no sense", hint="restore it from a backup"
        ) from error


def thread_of(row: Row) -> Thread:
    """Return the thread of a row of `threads`."""
    with making_sense("a thread"):
        return Thread(
            id=row["id"],
            owner=row["owner"],
            title=row["title"],
            language=row["language"],
            turn_count=row["turn_count"],
            created_at=_moment(row["created_at"]),
            updated_at=_moment(row["updated_at"]),
            archived_at=None if row["archived_at"] is None else _moment(row["archived_at"]),
            system=row["system"],
            model=row["model"],
        )


def turn_of(row: Row, messages: Sequence[Message], *, live: bool) -> Turn:
    """Return the turn of a row of `turns`; one that nobody runs any more is shown as interrupted."""
    with making_sense("a turn"):
        state = TurnState(row["state"])
        if state is TurnState.RUNNING and not live:
            state = TurnState.INTERRUPTED
        return Turn(
            id=row["id"],
            index=row["idx"],
            state=state,
            started_at=_moment(row["started_at"]),
            model=row["model"],
            messages=tuple(messages),
            finished_at=None if row["finished_at"] is None else _moment(row["finished_at"]),
            finish_reason=row["finish_reason"],
            usage=None if row["input_tokens"] is None else Usage(row["input_tokens"], row["output_tokens"]),
            error=None if row["error"] is None else TurnError(row["error"], row["error_message"]),
        )


def message_of(row: Row, message_id: str) -> Message:
    """Return the message of a row of `messages`."""
    with making_sense("a message"):
        return Message(
            id=message_id,
            role=Role(row["role"]),
            content=row["content"] if row["format"] is None else parts_of(row["content"]),
            timestamp=_moment(row["timestamp"]),
        )


def stored(content: Content) -> tuple[str, str | None]:
    """Return the columns `content` and `format` of a message."""
    return (content, None) if isinstance(content, str) else (to_json(content), "parts")


def parts_of(text: str) -> Content:
    """Return the parts of a message; what is none raises `ValueError` or `TypeError`."""
    import json

    parts = json.loads(text)
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise TypeError("not a list of parts")
    return tuple(parts)


def to_json(value: object) -> str:
    """Return `value` as JSON, letters as they are."""
    import json

    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _moment(text: str) -> datetime:
    return parse_time(text).astimezone(UTC)
