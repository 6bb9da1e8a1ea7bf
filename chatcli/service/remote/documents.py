"""The documents of the API, read back into what they were made from."""

from typing import Any

from chatcli.errors import ChatcliError, find_class
from chatcli.events import Event, Failed, Finished, Reasoning, Started, Token
from chatcli.models import Message, Role, Thread, Turn, TurnError, TurnState, Usage, parse_time
from chatcli.stores.records import Hit

NOT_AS_EXPECTED = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""What the functions here raise where a document is not what it should be."""

_URN = "urn:chatcli:"


def read_thread(document: Any) -> Thread:
    """Return the thread that a document of a thread, with or without turns, speaks of."""
    archived_at = document["archived_at"]
    return Thread(
        id=document["id"],
        owner=document["owner"],
        title=document["title"],
        language=document["language"],
        turn_count=document["turn_count"],
        created_at=parse_time(document["created_at"]),
        updated_at=parse_time(document["updated_at"]),
        archived_at=None if archived_at is None else parse_time(archived_at),
        system=document.get("system"),
        model=document.get("model"),
    )


def read_hit(document: Any) -> Hit:
    """Return what a search found."""
    match = document["match"]
    marks = tuple((start, end) for start, end in match["marks"])
    return Hit(read_thread(document), match["turn_index"], match["line"], marks)


def read_turn(document: Any) -> Turn:
    """Return a turn."""
    finished_at, error = document["finished_at"], document["error"]
    return Turn(
        id=document["id"],
        index=document["index"],
        state=TurnState(document["state"]),
        started_at=parse_time(document["started_at"]),
        model=document["model"],
        messages=tuple(map(_message, document["messages"])),
        finished_at=None if finished_at is None else parse_time(finished_at),
        finish_reason=document["finish_reason"],
        usage=_usage(document["usage"]),
        error=None if error is None else TurnError(error["name"], error["message"]),
    )


def read_event(document: Any) -> Event | None:
    """Return the event that a line of a stream is; None for one of a kind that is not known here."""
    kind, thread_id = document["type"], document["thread_id"]
    if kind == "token":
        return Token(thread_id, document["content"])
    if kind == "reasoning":
        return Reasoning(thread_id, document["content"])
    if kind == "error":
        error, saved = read_problem(document["error"]), document["saved"]
        if error is None:
            raise ValueError
        return Failed(thread_id, document["turn_id"], TurnState(document["state"]), saved, error)
    if kind != "metadata":
        return None
    metadata = document["metadata"]
    if "state" not in metadata:
        return Started(
            thread_id,
            metadata["turn_id"],
            metadata["model"],
            metadata["thread_created"],
            metadata["title"],
        )
    return Finished(
        thread_id,
        metadata["turn_id"],
        TurnState(metadata["state"]),
        metadata["saved"],
        metadata["finish_reason"],
        _usage(metadata["usage"]),
        replayed=metadata.get("replayed", False),
    )


def read_problem(document: Any) -> ChatcliError | None:
    """Return the error that a problem document stands for; None if it is none of ours."""
    kind, detail = document["type"], document["detail"]
    if not isinstance(kind, str) or not isinstance(detail, str) or not kind.startswith(_URN):
        return None
    found = find_class(kind.removeprefix(_URN), document["status"])
    hint = document.get("hint")
    return (found or ChatcliError)(
        detail,
        hint=hint if isinstance(hint, str) else None,
        retry_after=document.get("retry_after"),
        saved=document.get("saved"),
    )


def _message(document: Any) -> Message:
    content = document["content"]
    return Message(
        document["id"],
        Role(document["role"]),
        content if isinstance(content, str) else tuple(content),
        parse_time(document["timestamp"]),
    )


def _usage(document: Any) -> Usage | None:
    return None if document is None else Usage(document["input_tokens"], document["output_tokens"])
