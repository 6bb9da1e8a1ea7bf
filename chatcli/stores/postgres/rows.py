"""JSON of the schema's functions to models and back; what makes no sense is `StoreCorrupt`, never a guess."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from chatcli.models import Message, Role, Turn, format_time
from chatcli.stores import rows
from chatcli.stores.base import message_id
from chatcli.stores.matching import fold, searched_text
from chatcli.stores.rows import making_sense, thread_of, to_json
from chatcli.stores.sealed import is_sealed_content

__all__ = [
    "context_of",
    "cut",
    "message_of",
    "messages_json",
    "thread_of",
    "to_json",
    "turn_of",
    "words_json",
]

_LONGEST_WORD = 2000
_MOST_WORDS = 400_000
"""Bytes of different words of a prompt or an answer that can be found: what the index takes."""


def turn_of(found: Mapping[str, Any], *, live: bool) -> Turn:
    """Return the turn that ``turn_json`` described; one that nobody runs any more is shown as interrupted."""
    with making_sense("a turn"):
        return rows.turn_of(found, [message_of(message) for message in found["messages"]], live=live)


def message_of(found: Mapping[str, Any]) -> Message:
    """Return the message that ``message_json`` described."""
    with making_sense("a message"):
        return rows.message_of(found, found["id"])


def context_of(found: Sequence[Mapping[str, Any]]) -> tuple[Message, ...]:
    """Return the messages that ``context_json`` described, from the first human one on."""
    messages = [message_of(message) for message in found]
    for start, message in enumerate(messages):
        if message.role is Role.HUMAN:
            return tuple(messages[start:])
    return ()


def cut(found: Sequence[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """Return what a context of at most `most` messages has of messages that ``message_json`` described."""
    newest = found[max(len(found) - most, 0) :]
    start = next((i for i, one in enumerate(newest) if one["role"] == Role.HUMAN), len(newest))
    return list(newest[start:])


def messages_json(messages: Iterable[Message], *, turn_id: str, start: int) -> list[dict[str, object]]:
    """Return messages of a turn, from position `start` on, as ``add_messages`` takes them."""
    found: list[dict[str, object]] = []
    for position, message in enumerate(messages, start):
        content, form = rows.stored(message.content)
        found.append(
            {
                "role": message.role.value,
                "content": content,
                "format": form,
                "timestamp": format_time(message.timestamp),
                "id": None if message.id == message_id(turn_id, position) else message.id,
            }
        )
    return found


def words_json(messages: Iterable[Message]) -> list[str]:
    """Return the words by which the turn of these messages is found; encrypted text has none."""
    plain = [message for message in messages if not is_sealed_content(message.content)]
    words, room = dict.fromkeys(fold(searched_text(plain)).split()), _MOST_WORDS
    found = []
    for word in words:
        size = len(word.encode())
        if size <= min(_LONGEST_WORD, room):
            found.append(word)
            room -= size
    return found
