"""A thread with its turns as a document: what a line of an export holds, and how it is read again."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from chatcli.models import (
    Content,
    Message,
    Part,
    Role,
    Thread,
    Turn,
    TurnError,
    TurnState,
    Usage,
    parse_time,
)
from chatcli.service.transfer.rules import LARGEST

Document = dict[str, Any]
Found = TypeVar("Found")


class Misfit(ValueError):
    """Something in a document is not what it must be; the text says where it stands, and what is wrong."""


def write_document(thread: Thread, turns: tuple[Turn, ...]) -> Document:
    """Return a thread and its turns as `read_document` reads them."""
    return {**thread.to_json(), "system": thread.system, "turns": [turn.to_json() for turn in turns]}


def read_document(document: Document) -> tuple[Thread, tuple[Turn, ...]]:
    """Return the thread of a document, and its turns. Raises `Misfit`."""
    turns = _each(_turn_of, document, "turns")
    thread = Thread(
        id=_text(document, "id"),
        owner=_text(document, "owner"),
        title=_text(document, "title"),
        language=_text(document, "language"),
        turn_count=len(turns),
        created_at=_moment(document, "created_at"),
        updated_at=_moment(document, "updated_at"),
        archived_at=_maybe(_moment, document, "archived_at"),
        system=_maybe(_text, document, "system"),
        model=turns[-1].model if turns else None,
    )
    return thread, turns


def _turn_of(document: Document) -> Turn:
    return Turn(
        id=_id(document, "id"),
        index=_count(document, "index"),
        state=TurnState(_word(document, "state", tuple(TurnState))),
        started_at=_moment(document, "started_at"),
        model=_text(document, "model"),
        messages=_each(_message_of, document, "messages"),
        finished_at=_maybe(_moment, document, "finished_at"),
        finish_reason=_maybe(_text, document, "finish_reason"),
        usage=_maybe(_usage, document, "usage"),
        error=_maybe(_error, document, "error"),
    )


def _usage(document: Document, name: str) -> Usage:
    return _read(
        lambda found: Usage(_count(found, "input_tokens"), _count(found, "output_tokens")),
        document[name],
        name,
    )


def _error(document: Document, name: str) -> TurnError:
    return _read(lambda found: TurnError(_text(found, "name"), _text(found, "message")), document[name], name)


def _message_of(document: Document) -> Message:
    return Message(
        id=_id(document, "id"),
        role=Role(_word(document, "role", tuple(Role))),
        content=_content(document, "content"),
        timestamp=_moment(document, "timestamp"),
    )


def _content(document: Document, name: str) -> Content:
    if isinstance(content := _member(document, name), str):
        return content
    return _each(read_part, document, name)


def read_part(document: Document) -> Part:
    """Return a part; of those whose type is not known here, nothing more is asked. Raises `Misfit`."""
    kind = _text(document, "type")
    if kind == "text":
        _text(document, "text")
    elif kind == "image_url":
        _read(lambda picture: _text(picture, "url"), _member(document, "image_url"), "image_url")
    return {**document}


def _read(read: Callable[[Document], Found], value: object, place: str) -> Found:
    """Return what `read` makes of an object; what it finds wrong is told with the object's place."""
    if not isinstance(value, dict):
        raise Misfit(f"{place} is no object")
    try:
        return read(value)
    except Misfit as error:
        raise Misfit(f"{place}.{error}") from None


def _each(read: Callable[[Document], Found], document: Document, name: str) -> tuple[Found, ...]:
    found = _member(document, name)
    if not isinstance(found, list):
        raise Misfit(f"{name} is no list")
    return tuple([_read(read, value, f"{name}.{place}") for place, value in enumerate(found)])


def _maybe(read: Callable[[Document, str], Found], document: Document, name: str) -> Found | None:
    return None if _member(document, name) is None else read(document, name)


def _member(document: Document, name: str) -> object:
    if name not in document:
        raise Misfit(f"{name} is missing")
    found: object = document[name]
    return found


def _text(document: Document, name: str) -> str:
    if not isinstance(found := _member(document, name), str):
        raise Misfit(f"{name} is no text")
    return found


def _id(document: Document, name: str) -> str:
    if not (found := _text(document, name)):
        raise Misfit(f"{name} is empty")
    return found


def _word(document: Document, name: str, words: tuple[str, ...]) -> str:
    if (found := _text(document, name)) not in words:
        raise Misfit(f"{name} is none of {', '.join(words)}")
    return found


def _count(document: Document, name: str) -> int:
    found = _member(document, name)
    if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found <= LARGEST:
        raise Misfit(f"{name} is no number from 0 to {LARGEST}")
    return found


def _moment(document: Document, name: str) -> datetime:
    try:
        moment = parse_time(_text(document, name))
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        if isinstance(error, Misfit):
            raise
    raise Misfit(f"{name} is no moment as RFC 3339 writes it")
