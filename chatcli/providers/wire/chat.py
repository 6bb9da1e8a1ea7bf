"""Chat completions: the body of a request, and what an event of its answer says."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from msgspec.json import Decoder

from chatcli.models import Message, ModelOptions, Usage
from chatcli.providers.base import Delta
from chatcli.providers.messages import to_wire
from chatcli.providers.wire.events import EventReader

if TYPE_CHECKING:
    from chatcli.providers import Target

_decode = Decoder().decode
_decode_all = json.JSONDecoder().decode


def compose_body(target: "Target", messages: Sequence[Message], options: ModelOptions) -> bytes:
    """Return the body that the LangChain engine of the provider would send."""
    row, model = target.row, target.spec.model
    is_o_series = row.engine == "langchain-openai" and model[:1] == "o" and model[1:2].isdecimal()
    wired = [to_wire(message) for message in messages]
    for message in wired:
        message["content"] = message["content"] or ""
        if is_o_series and message["role"] == "system":
            message["role"] = "developer"
    body: dict[str, Any] = {"model": model, "messages": wired, "stream": True, **dict(row.always_sends)}
    if row.asks_for_usage:
        body["stream_options"] = {"include_usage": True}
    if options.temperature is not None:
        body["temperature"] = options.temperature
    if options.max_tokens is not None:
        body[target.max_tokens_name] = options.max_tokens
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


class DeltaReader:
    """Finds the deltas in the body of an answer."""

    def __init__(self) -> None:
        self._events = EventReader()
        self.over = False
        """Whether the rest of the body is of no interest."""
        self.failure: Exception | None = None
        """Why that is so, unless the answer has come to its end."""

    def feed(self, data: bytes) -> list[Delta]:
        """Return what `data` adds to the answer, up to its end or to what can't be read."""
        found: list[Delta] = []
        try:
            for event in self._events.feed(data):
                if event.startswith(b"[DONE]"):
                    self.over = True
                    break
                if (delta := read_delta(event)) is not None:
                    found.append(delta)
        except Exception as error:  # noqa: BLE001 - what came before it counts
            self.over, self.failure = True, error
        return found


def read_delta(event: bytes) -> Delta | None:
    """Return what an event adds to the answer, None where that is nothing.

    Tool calls, which nobody asked for, are passed over.

    Raises:
        ValueError, TypeError, LookupError, AttributeError, RecursionError: it is no chunk of an
        answer, or it is an error.
    """
    chunk = _parse(event)
    if type(chunk) is not dict or chunk.get("error"):
        raise TypeError("an event is an object, and no error")
    text = reasoning = ""
    finish_reason = None
    if choices := chunk.get("choices"):
        choice = choices[0]
        if delta := choice.get("delta"):
            content = delta.get("content")
            if content:
                text = content if type(content) is str else _join(content)
            thought = delta.get("reasoning_content") or delta.get("reasoning")
            if thought and type(thought) is str:
                reasoning = thought
        finish_reason = choice.get("finish_reason")
    counted = chunk.get("usage") or (chunk.get("x_groq") or _NOTHING).get("usage")
    if not (text or reasoning or finish_reason or counted):
        return None
    return Delta(text, reasoning, _name(finish_reason), _usage(counted))


_NOTHING: dict[str, Any] = {}


def _parse(event: bytes) -> Any:
    """Return the JSON of an event; what the fast parser refuses (half a surrogate pair) Python's may take."""
    try:
        return _decode(event)
    except ValueError:
        return _decode_all(event.decode())


def _join(parts: list[Any]) -> str:
    """Return the text of content that comes in parts."""
    if not isinstance(parts, list):
        raise TypeError("content is text, or parts")
    texts = (part if isinstance(part, str) else _text_part(part) for part in parts)
    return "".join(texts)


def _text_part(part: dict[str, Any]) -> str:
    text = part.get("text") if part.get("type") == "text" else ""
    return text if isinstance(text, str) else ""


def _name(finish_reason: object) -> str | None:
    return finish_reason if isinstance(finish_reason, str) and finish_reason else None


def _usage(counted: dict[str, Any] | None) -> Usage | None:
    if not counted:
        return None
    numbers = [counted.get(name) or 0 for name in ("prompt_tokens", "completion_tokens")]
    if not all(isinstance(number, int) for number in numbers):
        raise TypeError("tokens are counted in whole numbers")
    return Usage(*numbers)
