"""Errors as RFC 9457 problems, and the refusals that only HTTP knows."""

import json
import math
from typing import ClassVar

from starlette.responses import Response

from chatcli.errors import ChatcliError, InvalidRequest, ThreadBusy, TooLong

MEDIA_TYPE = "application/problem+json"


class BadRequest(InvalidRequest):
    """The request can't be read at all."""

    http_status: ClassVar[int] = 400


class NoSuchPage(InvalidRequest):
    """Nothing is served at the path."""

    http_status: ClassVar[int] = 404


class MethodNotAllowed(InvalidRequest):
    """The path takes other methods."""

    http_status: ClassVar[int] = 405

    def __init__(self, allowed: str) -> None:
        super().__init__("the path does not take this method", hint=f"it takes {allowed}")
        self.allowed = allowed


class TooSlow(InvalidRequest):
    """The request did not arrive in time."""

    http_status: ClassVar[int] = 408


class NotKept(InvalidRequest):
    """What is asked for was there, and is not any more."""

    http_status: ClassVar[int] = 410


class BodyTooLarge(TooLong):
    """The body is larger than any valid one."""


class WrongMediaType(InvalidRequest):
    """The body is not JSON, or is encoded."""

    http_status: ClassVar[int] = 415


class HeadTooLarge(InvalidRequest):
    """The head is larger than any valid one."""

    http_status: ClassVar[int] = 431


def internal_error() -> ChatcliError:
    """Return the error that stands for a bug."""
    return ChatcliError("the server has a bug here", hint="its log has the request id, and where it happened")


def problem(error: ChatcliError, request_id: str) -> dict[str, object]:
    """Return the problem document of an error."""
    return {**error.to_json(), "request_id": request_id}


def problem_response(error: ChatcliError, request_id: str, **extensions: object) -> Response:
    """Return the response for an error; `extensions` are more members of the document."""
    headers: dict[str, str] = {}
    retry_after = 1.0 if isinstance(error, ThreadBusy) and error.retry_after is None else error.retry_after
    if retry_after is not None:
        headers["retry-after"] = str(max(1, math.ceil(retry_after)))
    if error.http_status == 401:  # noqa: PLR2004 - it is the status that wants the header
        headers["www-authenticate"] = 'Bearer realm="chatcli"'
    if isinstance(error, TooSlow):
        headers["connection"] = "close"  # the rest is not waited for
    if isinstance(error, MethodNotAllowed):
        headers["allow"] = error.allowed
    content = json.dumps({**problem(error, request_id), **extensions}).encode()
    return Response(content, error.http_status, headers, MEDIA_TYPE)
