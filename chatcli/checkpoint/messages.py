"""Messages of the log as LangChain's, and back.

What LangChain keeps beside the content of a message is kept as parts: the calls of an ai message as
``{"type": "tool_call", "id", "name", "args"}``, the call that a tool message answers as
``{"type": "tool_result", "tool_call_id"}``.
"""

import copy
from datetime import datetime
from typing import Any

from langchain_core.messages import (
    AIMessage,
    AnyMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from chatcli.errors import InvalidRequest
from chatcli.models import Content, Message, Part, Role

_CALL, _RESULT = "tool_call", "tool_result"


def to_langchain(message: Message) -> AnyMessage:
    """Return the message with its id and parts as LangChain's class for its role."""
    parts: list[Part] = [] if isinstance(message.content, str) else copy.deepcopy(list(message.content))
    calls = [part for part in parts if part.get("type") == _CALL]
    results = [part for part in parts if part.get("type") == _RESULT]
    content: Any = message.content
    if not isinstance(message.content, str):
        content = [part for part in parts if part.get("type") not in (_CALL, _RESULT)] or ""
    match message.role:
        case Role.HUMAN:
            return HumanMessage(content=content, id=message.id)
        case Role.SYSTEM:
            return SystemMessage(content=content, id=message.id)
        case Role.AI:
            return AIMessage(content=content, id=message.id, tool_calls=calls)
        case Role.TOOL:
            call_id = str(results[0].get("tool_call_id", "")) if results else ""
            return ToolMessage(content=content, id=message.id, tool_call_id=call_id)


def from_langchain(base: BaseMessage, message_id: str, timestamp: datetime) -> Message:
    """Return LangChain's message as one of the log, under the given id.

    Raises:
        InvalidRequest: it is neither a human, ai, system nor tool message.
    """
    match base:
        case HumanMessage():
            return Message(message_id, Role.HUMAN, _content(base), timestamp)
        case SystemMessage():
            return Message(message_id, Role.SYSTEM, _content(base), timestamp)
        case AIMessage():
            calls: list[Part] = [
                {"type": _CALL, "id": call["id"], "name": call["name"], "args": copy.deepcopy(call["args"])}
                for call in base.tool_calls
            ]
            return Message(message_id, Role.AI, _content(base, *calls), timestamp)
        case ToolMessage():
            result: Part = {"type": _RESULT, "tool_call_id": base.tool_call_id}
            return Message(message_id, Role.TOOL, _content(base, result), timestamp)
        case _:
            raise InvalidRequest(
                f"a thread can't keep a message of the type {base.type!r}",
                hint="use human, ai, system and tool messages",
            )


def _content(base: BaseMessage, *added: Part) -> Content:
    if isinstance(base.content, str):
        if not added:
            return base.content
        return (*([_text(base.content)] if base.content else []), *added)
    parts = [_text(part) if isinstance(part, str) else copy.deepcopy(part) for part in base.content]
    # Some engines write calls among the parts as well.
    return (*(part for part in parts if part.get("type") not in (_CALL, _RESULT)), *added)


def _text(text: str) -> Part:
    return {"type": "text", "text": text}
