"""Messages as the objects hold them: LangChain's own JSON, as programs before this one wrote it."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from chatcli.models import Content, Message, Part, Role, format_time, parse_time
from chatcli.stores.base import message_id

_CLASSES = {
    Role.HUMAN: "HumanMessage",
    Role.AI: "AIMessage",
    Role.SYSTEM: "SystemMessage",
    Role.TOOL: "ToolMessage",
}
_ROLES = {
    **{role.value: role for role in Role},
    **{name.lower(): role for role, name in _CLASSES.items()},
    "aimessagechunk": Role.AI,
    "assistant": Role.AI,
    "user": Role.HUMAN,
    "function": Role.TOOL,
}


def to_json(message: Message) -> dict[str, Any]:
    """Return a message of ours in the form of the objects, with its id and time added."""
    content = message.content
    return {
        "_type": _CLASSES[message.role],
        "content": content if isinstance(content, str) else list(content),
        "additional_kwargs": {},
        "type": message.role.value,
        "id": message.id,
        "timestamp": format_time(message.timestamp),
    }


def from_json(data: Mapping[str, Any], turn_id: str, index: int, fallback: datetime) -> Message:
    """Return the message at `index` of a turn; `fallback` is its time where it says none.

    What makes no sense raises `ValueError`, `KeyError` or `TypeError`.
    """
    given = data.get("id")
    return Message(
        id=given if isinstance(given, str) and given else message_id(turn_id, index),
        role=role_of(data),
        content=_content(data),
        timestamp=moment_of(data.get("timestamp")) or fallback,
    )


def role_of(data: Mapping[str, Any]) -> Role:
    """Return who wrote a message; a kind that is not known raises `ValueError`."""
    for name in (data.get("type"), data.get("_type"), data.get("role")):
        if isinstance(name, str) and (role := _ROLES.get(name.lower())) is not None:
            return role
    raise ValueError("a message of no known type")


def moment_of(text: object) -> datetime | None:
    """Return the moment that another program wrote, in UTC where it says no zone; None if it is none."""
    if not isinstance(text, str):
        return None
    try:
        moment = parse_time(text)
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def group(messages: Iterable[Mapping[str, Any]]) -> list[list[dict[str, Any]]]:
    """Return messages of another program as turns: each begins with a human one, or what comes before it."""
    turns: list[list[dict[str, Any]]] = []
    spoken = True
    for message in messages:
        role = role_of(message)
        if not turns or (spoken and role in {Role.HUMAN, Role.SYSTEM}):
            turns.append([])
            spoken = False
        turns[-1].append(dict(message))
        spoken = spoken or role in {Role.HUMAN, Role.AI}
    return turns


def is_answer(data: Mapping[str, Any]) -> bool:
    """Tell whether the model wrote a message."""
    return role_of(data) is Role.AI


def bytes_of(messages: Iterable[Mapping[str, Any]]) -> int:
    """Return how many bytes of text messages hold."""
    total = 0
    for message in messages:
        content = message.get("content")
        parts: Sequence[Any] = content if isinstance(content, list) else [content]
        for part in parts:
            text = part.get("text") if isinstance(part, dict) else part
            total += len(text.encode()) if isinstance(text, str) else 0
    return total


def _content(data: Mapping[str, Any]) -> Content:
    content = data["content"]
    calls = data.get("tool_calls") or ()
    answers = data.get("tool_call_id")
    if isinstance(content, str) and not calls and answers is None:
        return content
    parts: list[Part] = []
    for part in [content] if isinstance(content, str) else content:
        if isinstance(part, str):
            parts += [{"type": "text", "text": part}] if part else []
        elif isinstance(part, dict):
            parts.append(part)
        else:
            raise TypeError("a part of a message that is neither text nor an object")
    parts += [
        {"type": "tool_call", "id": call.get("id"), "name": call["name"], "args": call.get("args", {})}
        for call in calls
    ]
    if answers is not None:
        parts.append({"type": "tool_result", "tool_call_id": answers})
    return tuple(parts)
