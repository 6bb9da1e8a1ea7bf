"""Reading a request's JSON: bounded in size, time and depth, and strict about what JSON is."""

import asyncio
import json
import math
import re
from collections.abc import Sequence
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.datastructures import Headers
from starlette.types import Receive, Scope

from chatcli.errors import InvalidRequest, InvalidText, RateLimited
from chatcli.server.problems import BadRequest, BodyTooLarge, TooSlow, WrongMediaType

MAX_BYTES = 1024 * 1024
MOST_HELD = 256 * MAX_BYTES
"""Bytes of larger bodies that a process holds at once: four of the largest that there may be."""
SLOWEST = 128 * 1024
"""Bytes a second that a body may take to arrive, beyond the seconds that each has."""
MAX_DEPTH = 64
_SHOWN_ERRORS = 5

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")
_SURROGATE = re.compile("[\ud800-\udfff]")

Model = TypeVar("Model", bound=BaseModel)


class Room:
    """What is left for bodies of more than `MAX_BYTES`. Nobody waits for it: turns may take minutes."""

    def __init__(self, size: int = MOST_HELD) -> None:
        self.left = size


class Share:
    """What one request has of the room, until it is given back."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._held = 0

    def cover(self, size: int) -> None:
        """Hold as much as a body of `size` bytes takes; small ones take nothing. Raises `RateLimited`."""
        more = size - self._held
        if size <= MAX_BYTES or more <= 0:
            return
        if more > self._room.left:
            raise RateLimited(
                "the server holds as much of large requests as it can",
                hint="try again later",
                retry_after=5.0,
            )
        self._room.left -= more
        self._held = size

    def give_back(self) -> None:
        """Hold nothing any more."""
        self._room.left += self._held
        self._held = 0


async def read_model(
    model: type[Model],
    scope: Scope,
    receive: Receive,
    *,
    seconds: float,
    limit: int = MAX_BYTES,
    share: Share | None = None,
) -> Model:
    """Return the request's body, of at most `limit` bytes, as a `model`; what is large goes to its `share`.

    Raises:
        BadRequest, InvalidText: it is no JSON that could be stored; the message names the place.
        InvalidRequest: it is not what the schema says; the message names the fields.
        BodyTooLarge, TooSlow, WrongMediaType, RateLimited.
    """
    check_media_type(Headers(scope=scope))
    data = await _read(scope, receive, seconds, limit, share)
    return validate(model, _parse(data))


def check_media_type(headers: Headers) -> None:
    """Refuse a body that is not said to be JSON: a form of another site can't say so."""
    given = headers.getlist("content-type")
    media_type = given[0].partition(";")[0].strip().lower() if len(given) == 1 else ""
    if media_type != "application/json":
        raise WrongMediaType("the body must be JSON", hint="send it with Content-Type: application/json")


def validate(model: type[Model], value: object) -> Model:
    """Return `value` as a `model`, or raise `InvalidRequest` with the fields that are wrong."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_context=False, include_input=False)
    # Out here, so that the error has no context: that quotes the input.
    raise InvalidRequest(
        "; ".join(f"{_place(item['loc'])}: {_uncapitalized(item['msg'])}" for item in wrong[:_SHOWN_ERRORS]),
        hint="/docs shows what the request takes",
    )


def _uncapitalized(message: str) -> str:
    """Return a message as it stands within a sentence; a pattern in it stays as it is."""
    return message[:1].lower() + message[1:]


def _place(path: Sequence[int | str]) -> str:
    """Return a path into a document; names that the client chose are cut and made printable."""
    return (
        ".".join(str(step)[:40].encode("ascii", "backslashreplace").decode() for step in path) or "the body"
    )


async def _read(scope: Scope, receive: Receive, seconds: float, limit: int, share: Share | None) -> bytes:
    headers = dict(scope["headers"])
    if headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
        raise WrongMediaType("the body is encoded", hint="send it without Content-Encoding")
    length = headers.get(b"content-length", b"")
    if length.isdigit():
        _admit(int(length), limit, share)
    body = bytearray()
    deadline = asyncio.get_running_loop().time() + seconds
    try:
        async with asyncio.timeout_at(deadline) as patience:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise BadRequest("the client went away before its request was complete")
                body += message.get("body", b"")
                _admit(len(body), limit, share)
                if not message.get("more_body", False):
                    return bytes(body)
                patience.reschedule(deadline + len(body) / SLOWEST)
    except TimeoutError:
        pass
    raise TooSlow(f"the body did not arrive within {seconds:g} seconds", hint="send it in one go")


def _admit(size: int, limit: int, share: Share | None) -> None:
    if size > limit:
        raise BodyTooLarge(
            f"the body has more than {limit} bytes",
            hint="send less; with chatcli serve --max-body pictures and threads may have more",
        )
    if share is not None:
        share.cover(size)


def _parse(data: bytes) -> Any:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest(
            f"the body is not UTF-8: byte 0x{data[error.start]:02x} at position {error.start}"
        ) from None
    if text.startswith("\ufeff"):
        raise BadRequest("the body begins with a byte order mark", hint="send it without")
    _check_depth(data)
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=_refuse_constant, parse_float=_parse_float
        )
    except json.JSONDecodeError as error:
        raise BadRequest(
            f"the body is not JSON: {error.msg.lower()} at line {error.lineno}, column {error.colno}"
        ) from None
    except ValueError:  # what Python says to an integer of thousands of digits
        raise BadRequest("a number in the body is too large") from None
    _check_text(value, "the body")
    return value


def _check_depth(data: bytes) -> None:
    """Refuse what is nested deeper than `MAX_DEPTH`, before a parser descends into it."""
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return
    depth = 0
    for bracket in _BRACKET.finditer(_STRING.sub(b"", data)):
        depth += 1 if bracket[0] in b"[{" else -1
        if depth > MAX_DEPTH:
            raise BadRequest(f"the body is nested deeper than {MAX_DEPTH} levels")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise BadRequest(f"the body gives {_place([name])} twice")
        found[name] = value
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise BadRequest(f"the body holds {name}, which is not JSON")


def _parse_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise BadRequest("a number in the body is too large")
    return value


def _check_text(value: object, place: str) -> None:
    """Refuse lone surrogates, which JSON can escape and UTF-8 can't hold."""
    if isinstance(value, str):
        if _SURROGATE.search(value):
            raise InvalidText(f"{place} holds a lone surrogate", hint="only text can be sent")
    elif isinstance(value, dict):
        for name, item in value.items():
            _check_text(name, "a name in the body")
            _check_text(item, _place([name]))
    elif isinstance(value, list):
        for item in value:
            _check_text(item, place)
