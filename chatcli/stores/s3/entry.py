"""One turn as it stands in an object: its record, and its messages in the form of the objects."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import orjson

from chatcli.models import Message, Turn, TurnError, TurnState, Usage, format_time, parse_time
from chatcli.stores.s3 import messages as forms


@dataclass(frozen=True, slots=True)
class Encoded:
    """A turn as bytes; it is encoded once, however often its thread is written."""

    record: bytes
    messages: bytes
    """Separated by commas, without brackets."""
    text_bytes: int


@dataclass(slots=True)
class Entry:
    """A turn of an object. Nothing in it is ever changed: a changed turn is a new entry."""

    record: dict[str, Any]
    messages: list[dict[str, Any]]
    _encoded: Encoded | None = field(default=None, compare=False)

    @property
    def id(self) -> str:
        """The id of the turn."""
        return str(self.record["id"])

    @property
    def state(self) -> TurnState:
        """How the turn was left."""
        return TurnState(self.record["state"])

    @property
    def is_open(self) -> bool:
        """Whether a commit may still end the turn: it runs, or was taken for an orphan."""
        return self.state is TurnState.RUNNING or bool(self.record.get("orphaned"))

    @property
    def has_answer(self) -> bool:
        """Whether the model said something."""
        return any(forms.is_answer(message) for message in self.messages)

    def changed(self, messages: Iterable[Message] = (), **fields: Any) -> "Entry":
        """Return the turn with some fields of its record set, and messages added."""
        return Entry({**self.record, **fields}, [*self.messages, *map(forms.to_json, messages)])

    def without_key(self) -> "Entry":
        """Return the turn without what it was asked for by."""
        if self.record.get("key") is None:
            return self
        return replace(self, record={**self.record, "key": None, "fingerprint": None}, _encoded=None)

    def said(self) -> tuple[Message, ...]:
        """Return the messages of the turn."""
        started = parse_time(self.record["started_at"])
        return tuple(
            forms.from_json(message, self.id, index, started) for index, message in enumerate(self.messages)
        )

    def view(self, index: int, *, live: bool) -> Turn:
        """Return the turn as it is shown: one that nobody runs any more is ``interrupted``."""
        record = self.record
        state, usage, error = self.state, record.get("usage"), record.get("error")
        finished = record.get("finished_at")
        return Turn(
            id=self.id,
            index=index,
            state=TurnState.INTERRUPTED if state is TurnState.RUNNING and not live else state,
            started_at=parse_time(record["started_at"]),
            model=record["model"],
            messages=self.said(),
            finished_at=None if finished is None else parse_time(finished),
            finish_reason=record.get("finish_reason"),
            usage=None if usage is None else Usage(usage["input_tokens"], usage["output_tokens"]),
            error=None if error is None else TurnError(error["name"], error["message"]),
        )

    def encode(self) -> Encoded:
        """Return the turn as bytes."""
        if self._encoded is None:
            self._encoded = Encoded(
                orjson.dumps({**self.record, "messages": len(self.messages)}),
                b",".join(map(orjson.dumps, self.messages)),
                forms.bytes_of(self.messages),
            )
        return self._encoded


def entry_of(turn: Turn, *, key: str | None = None, fingerprint: str | None = None) -> Entry:
    """Return a turn of ours as an entry."""
    usage, error = turn.usage, turn.error
    record = {
        "id": turn.id,
        "state": turn.state.value,
        "started_at": format_time(turn.started_at),
        "finished_at": None if turn.finished_at is None else format_time(turn.finished_at),
        "model": turn.model,
        "finish_reason": turn.finish_reason,
        "usage": None if usage is None else usage.to_json(),
        "error": None if error is None else error.to_json(),
        "key": key,
        "fingerprint": fingerprint,
    }
    return Entry(record, [forms.to_json(message) for message in turn.messages])


def foreign_entries(
    messages: Iterable[Mapping[str, Any]], thread_id: str, *, start: int, fallback: datetime
) -> list[Entry]:
    """Return messages that another program wrote as turns, counted from `start`.

    A turn with an answer is complete; nobody waits any more for the answer to one without.
    """
    return [
        _foreign_entry(turn, f"{thread_id}.{index}", fallback)
        for index, turn in enumerate(forms.group(messages), start)
    ]


def _foreign_entry(messages: Sequence[dict[str, Any]], turn_id: str, fallback: datetime) -> Entry:
    moments = [moment for message in messages if (moment := forms.moment_of(message.get("timestamp")))]
    answered = any(forms.is_answer(message) for message in messages)
    record = {
        "id": turn_id,
        "state": (TurnState.COMPLETE if answered else TurnState.INTERRUPTED).value,
        "started_at": format_time(min(moments, default=fallback)),
        "finished_at": format_time(max(moments, default=fallback)),
        "model": "",
    }
    for index, message in enumerate(messages):  # what can't be shown must not be taken over
        forms.from_json(message, turn_id, index, fallback)
    return Entry(record, list(messages))
