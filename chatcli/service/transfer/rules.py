"""What a thread must be like to be imported or copied: any store can keep it, and give it back."""

import math
import re
from collections.abc import Iterator, Sequence

from chatcli.errors import InvalidRequest
from chatcli.models import Message, Thread, Turn
from chatcli.stores.records import arrival
from chatcli.text import check_text, check_thread_id

MAX_DEPTH = 64
"""Levels of what a part of a message may hold."""

LARGEST = 2**53
"""Larger numbers are others to programs that keep them as floats."""

LONGEST_ID = 256
LONGEST_NAME = 1000
"""Characters of the id of a turn or message, and of a model, a finish reason and the name of an error."""

_ID = re.compile("[^\x00-\x1f\x7f]+")
_WHOLE_NUMBERS = range(-(2**63), 2**64)
"""Those that every reader of JSON takes."""


def check_thread(thread: Thread, turns: Sequence[Turn]) -> None:
    """Refuse a thread that no store could keep. Raises `InvalidRequest`, `InvalidText`."""
    check_thread_id(thread.id)
    place = f"thread {thread.id}"
    for name, text in ("title", thread.title), ("language", thread.language), ("system", thread.system):
        check_text(text or "", source=f"{name} of {place}")
    for turn in turns:
        _check_turn(turn, f"turn {turn.index} of {place}")
    arrival(thread, turns)


def _check_turn(turn: Turn, place: str) -> None:
    _check_id(turn.id, place)
    for name, text in _names(turn):
        check_text(text, source=f"{name} of {place}")
        if len(text) > LONGEST_NAME:
            raise InvalidRequest(f"{name} of {place} has more than {LONGEST_NAME} characters")
    if turn.usage is not None:
        for name, count in turn.usage.to_json().items():
            if not 0 <= count <= LARGEST:
                raise InvalidRequest(f"{name} of {place} is no number from 0 to {LARGEST}")
    if turn.error is not None:
        check_text(turn.error.message, source=f"error of {place}")
    for number, message in enumerate(turn.messages, 1):
        _check_message(message, f"message {number} of {place}")


def _names(turn: Turn) -> Iterator[tuple[str, str]]:
    yield "model", turn.model
    if turn.finish_reason is not None:
        yield "finish_reason", turn.finish_reason
    if turn.error is not None:
        yield "error.name", turn.error.name


def _check_message(message: Message, place: str) -> None:
    _check_id(message.id, place)
    if isinstance(message.content, str):
        check_text(message.content, source=place)
    else:
        for part in message.content:
            _check_plain(part, place, MAX_DEPTH)


def _check_id(found: str, place: str) -> None:
    check_text(found, source=f"id of {place}")
    if len(found) > LONGEST_ID or _ID.fullmatch(found) is None:
        raise InvalidRequest(f"id of {place} is not one line of 1 to {LONGEST_ID} characters")


def _check_plain(value: object, place: str, depth: int) -> None:
    """Refuse texts that can't be kept, numbers that JSON does not have, and what has no bottom."""
    if isinstance(value, str):
        check_text(value, source=place)
    elif isinstance(value, int):
        if value not in _WHOLE_NUMBERS:
            raise InvalidRequest(f"{place} holds a number of more than 64 bits")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidRequest(f"{place} holds a number that is none", hint="JSON has no NaN or Infinity")
    elif isinstance(value, dict | list):
        if not depth:
            raise InvalidRequest(f"{place} is nested deeper than {MAX_DEPTH} levels")
        for item in value if isinstance(value, list) else (*value, *value.values()):
            _check_plain(item, place, depth - 1)
