"""JSON of the schema's functions to models and back; what makes no sense is `StoreCorrupt`, never a guess."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

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
)
from chatcli.stores.base import message_id
from chatcli.stores.matching import fold, searched_text

_LONGEST_WORD = 2000
_MOST_WORDS = 400_000
"""Bytes of different words of a prompt or an answer that can be found: what the index takes."""


@contextmanager
def _making_sense(what: str) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        raise StoreCorrupt(
            f"the store holds {what} that makes no sense", hint="restore it from a backup"
        ) from error


def thread_of(found: Mapping[str, Any]) -> Thread:
    """Return the thread that ``thread_json`` described."""
    with _making_sense("a thread"):
        return Thread(
            id=found["id"],
            owner=found["owner"],
            title=found["title"],
            language=found["language"],
            turn_count=found["turn_count"],
            created_at=_moment(found["created_at"]),
            updated_at=_moment(found["updated_at"]),
            archived_at=None if found["archived_at"] is None else _moment(found["archived_at"]),
            system=found["system"],
            model=found["model"],
        )


def turn_of(found: Mapping[str, Any], *, live: bool) -> Turn:
    """Return the turn that ``turn_json`` described; one that nobody runs any more is shown as interrupted."""
    with _making_sense("a turn"):
        state = TurnState(found["state"])
        if state is TurnState.RUNNING and not live:
            state = TurnState.INTERRUPTED
        tokens = found["input_tokens"]
        return Turn(
            id=found["id"],
            index=found["idx"],
            state=state,
            started_at=_moment(found["started_at"]),
            model=found["model"],
            messages=tuple(message_of(message) for message in found["messages"]),
            finished_at=None if found["finished_at"] is None else _moment(found["finished_at"]),
            finish_reason=found["finish_reason"],
            usage=None if tokens is None else Usage(tokens, found["output_tokens"]),
            error=None if found["error"] is None else TurnError(found["error"], found["error_message"]),
        )


def message_of(found: Mapping[str, Any]) -> Message:
    """Return the message that ``message_json`` described."""
    with _making_sense("a message"):
        content = found["content"]
        return Message(
            id=found["id"],
            role=Role(found["role"]),
            content=content if found["format"] is None else _parts_of(content),
            timestamp=_moment(found["timestamp"]),
        )


def context_of(found: Sequence[Mapping[str, Any]]) -> tuple[Message, ...]:
    """Return the messages that ``context_json`` described, from the first human one on."""
    messages = [message_of(message) for message in found]
    for start, message in enumerate(messages):
        if message.role is Role.HUMAN:
            return tuple(messages[start:])
    return ()


def messages_json(messages: Iterable[Message], *, turn_id: str, start: int) -> list[dict[str, object]]:
    """Return messages of a turn, from position `start` on, as ``add_messages`` takes them."""
    return [
        {
            "role": message.role.value,
            "content": message.content if isinstance(message.content, str) else to_json(message.content),
            "format": None if isinstance(message.content, str) else "parts",
            "timestamp": format_time(message.timestamp),
            "id": None if message.id == message_id(turn_id, position) else message.id,
        }
        for position, message in enumerate(messages, start)
    ]


def words_json(messages: Iterable[Message]) -> list[str]:
    """Return the words by which the turn of these messages is found."""
    words, room = dict.fromkeys(fold(searched_text(messages)).split()), _MOST_WORDS
    found = []
    for word in words:
        size = len(word.encode())
        if size <= min(_LONGEST_WORD, room):
            found.append(word)
            room -= size
    return found


def to_json(value: object) -> str:
    """Return `value` as JSON, letters as they are."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _parts_of(text: str) -> Content:
    parts = json.loads(text)
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise TypeError("not a list of parts")
    return tuple(parts)


def _moment(text: str) -> datetime:
    return parse_time(text).astimezone(UTC)
