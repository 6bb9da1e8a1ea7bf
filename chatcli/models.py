"""What a conversation is made of: threads, turns and messages, as frozen structs."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeAlias

from chatcli.frozen import Frozen

LOCAL_OWNER = "local"
"""Owner of the threads of the shell, and of a server with a single token."""

Part: TypeAlias = dict[str, object]
"""One part of a message that is more than text, as the chat-completions API writes it:
``{"type": "text", "text": …}`` or ``{"type": "image_url", "image_url": {"url": "data:…"}}``."""

Content: TypeAlias = str | tuple[Part, ...]


_CUT_SHORT = frozenset({"length", "content_filter"})


class Role(StrEnum):
    """Who wrote a message."""

    HUMAN = "human"
    AI = "ai"
    SYSTEM = "system"
    TOOL = "tool"


class TurnState(StrEnum):
    """How a turn stands; it is `COMPLETE` only if the provider said that the answer was finished."""

    RUNNING = "running"
    COMPLETE = "complete"
    TRUNCATED = "truncated"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


class ModelOptions(Frozen):
    """What a caller may ask of a model; None leaves it to the provider."""

    temperature: float | None = None
    max_tokens: int | None = None


class Usage(Frozen):
    """Tokens that the provider counted for one turn."""

    input_tokens: int
    output_tokens: int

    def to_json(self) -> dict[str, int]:
        """Return the wire form."""
        return {"input_tokens": self.input_tokens, "output_tokens": self.output_tokens}


class Message(Frozen):
    """One message, byte for byte as it was written."""

    id: str
    role: Role
    content: Content
    timestamp: datetime

    @property
    def text(self) -> str:
        """The text of the message: all of it, or that of its text parts."""
        return text_of(self.content)

    def to_json(self) -> dict[str, object]:
        """Return the wire form."""
        return {
            "id": self.id,
            "role": self.role.value,
            "content": self.content if isinstance(self.content, str) else list(self.content),
            "timestamp": format_time(self.timestamp),
        }


class TurnError(Frozen):
    """Why a turn did not end well: the name of an error class and its fixed text."""

    name: str
    message: str

    def to_json(self) -> dict[str, str]:
        """Return the wire form."""
        return {"name": self.name, "message": self.message}


class Turn(Frozen):
    """One prompt and everything the model answered to it.

    ``index`` counts from 1 and is the order of turns; the times are only shown.
    """

    id: str
    index: int
    state: TurnState
    started_at: datetime
    model: str
    messages: tuple[Message, ...]
    finished_at: datetime | None = None
    finish_reason: str | None = None
    usage: Usage | None = None
    error: TurnError | None = None

    @property
    def answer(self) -> str:
        """The text of the model's messages; empty where there is none."""
        return "".join(message.text for message in self.messages if message.role is Role.AI)

    def to_json(self) -> dict[str, object]:
        """Return the wire form."""
        return {
            "id": self.id,
            "index": self.index,
            "state": self.state.value,
            "started_at": format_time(self.started_at),
            "finished_at": None if self.finished_at is None else format_time(self.finished_at),
            "model": self.model,
            "finish_reason": self.finish_reason,
            "usage": None if self.usage is None else self.usage.to_json(),
            "error": None if self.error is None else self.error.to_json(),
            "messages": [message.to_json() for message in self.messages],
        }


class Thread(Frozen):
    """One conversation, without its turns."""

    id: str
    owner: str
    title: str
    language: str
    turn_count: int
    created_at: datetime
    updated_at: datetime
    archived_at: datetime | None = None
    system: str | None = None
    """The system prompt that was last given on the thread."""
    model: str | None = None
    """The model that was last asked on the thread."""

    def to_json(self) -> dict[str, object]:
        """Return the wire form."""
        return {
            "id": self.id,
            "title": self.title,
            "turn_count": self.turn_count,
            "created_at": format_time(self.created_at),
            "updated_at": format_time(self.updated_at),
            "archived_at": None if self.archived_at is None else format_time(self.archived_at),
            "language": self.language,
            "owner": self.owner,
        }


class Page(Frozen):
    """Some threads of a longer list, and where the next ones begin (None at the end)."""

    threads: tuple[Thread, ...]
    next_cursor: str | None = None


def state_of(finish_reason: str | None) -> TurnState:
    """Return the state of an answer that its provider ended for this reason."""
    return TurnState.TRUNCATED if finish_reason in _CUT_SHORT else TurnState.COMPLETE


def text_of(content: Content) -> str:
    """Return the text of `content`: all of it, or that of its text parts."""
    if isinstance(content, str):
        return content
    return "".join(str(part["text"]) for part in content if part.get("type") == "text")


def utc_now() -> datetime:
    """Return the time of this machine; it is shown and compared with ages, and orders nothing."""
    return datetime.now(UTC)


def format_time(moment: datetime) -> str:
    """Return RFC 3339 in UTC with microseconds, always 27 characters, so that text order is time order."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")[:26] + "Z"


def parse_time(text: str) -> datetime:
    """Return the moment that `format_time` wrote, or any RFC 3339 text with an offset."""
    return datetime.fromisoformat(text)
