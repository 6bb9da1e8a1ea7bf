"""What a running turn emits, and the wire form of it: one event is one JSON object on one line.

A turn emits one `Started`, any number of `Token` and `Reasoning`, and at the end exactly one
`Finished` or `Failed`. A missing last event means that the stream was cut.
"""

from typing import TypeAlias

from msgspec import Struct

from chatcli.errors import ChatcliError
from chatcli.models import TurnState, Usage


class Started(Struct, frozen=True):
    """The turn is in the store, with its prompt, and the model is about to be asked."""

    thread_id: str
    turn_id: str
    model: str
    thread_created: bool
    title: str

    def to_json(self) -> dict[str, object]:
        """Return the wire form."""
        metadata = {
            "thread_created": self.thread_created,
            "turn_id": self.turn_id,
            "model": self.model,
            "title": self.title,
        }
        return {"type": "metadata", "thread_id": self.thread_id, "metadata": metadata}


class Token(Struct, frozen=True):
    """A piece of the answer."""

    thread_id: str
    content: str

    def to_json(self) -> dict[str, object]:
        """Return the wire form."""
        return {"type": "token", "content": self.content, "thread_id": self.thread_id}


class Reasoning(Struct, frozen=True):
    """A piece of what the model says to itself; shown, never stored."""

    thread_id: str
    content: str

    def to_json(self) -> dict[str, object]:
        """Return the wire form."""
        return {"type": "reasoning", "content": self.content, "thread_id": self.thread_id}


class Finished(Struct, frozen=True):
    """The turn ended without an error: `complete`, `truncated` or `interrupted`."""

    thread_id: str
    turn_id: str
    state: TurnState
    saved: bool
    finish_reason: str | None = None
    usage: Usage | None = None
    replayed: bool = False
    """True if this is a stored answer, given again for the same idempotency key."""

    def to_json(self) -> dict[str, object]:
        """Return the wire form."""
        metadata: dict[str, object] = {
            "status": "completed" if self.state is TurnState.COMPLETE else self.state.value,
            "state": self.state.value,
            "turn_id": self.turn_id,
            "saved": self.saved,
            "finish_reason": self.finish_reason,
            "usage": None if self.usage is None else self.usage.to_json(),
        }
        if self.replayed:
            metadata["replayed"] = True
        return {"type": "metadata", "thread_id": self.thread_id, "metadata": metadata}


class Failed(Struct, frozen=True):
    """The turn ended with an error: `failed`, `truncated` where text had arrived, or not stored."""

    thread_id: str
    turn_id: str
    state: TurnState
    saved: bool
    error: ChatcliError

    def to_json(self) -> dict[str, object]:
        """Return the wire form."""
        return {
            "type": "error",
            "thread_id": self.thread_id,
            "turn_id": self.turn_id,
            "state": self.state.value,
            "error": self.error.to_json(),
            "saved": self.saved,
        }


Event: TypeAlias = Started | Token | Reasoning | Finished | Failed
