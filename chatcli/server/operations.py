"""The table of the API: from it come the routes and the OpenAPI document, so that neither can be alone."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from pydantic import BaseModel
from starlette.requests import Request
from starlette.types import ASGIApp

from chatcli.server import chats, moving, schemas, status, threads
from chatcli.server.api import Api
from chatcli.server.wire import NDJSON, SSE

Endpoint = Callable[[Api, Request], Awaitable[ASGIApp]]

EVERYWHERE = (400, 403, 429, 431, 500)
"""Statuses that every operation may answer with."""
_STORE = (503, 507)
_BODY = (408, 413, 415)
_THREAD = (404, 422, *_STORE)
_CHANGE = (*_THREAD, 409)
_TURN = (404, 408, 409, 413, 415, 422, 502, 503, 504, 507)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    endpoint: Endpoint
    tag: str
    answer: type[BaseModel] | None = None
    """The document of the answer; None where there is none."""
    status: int = 200
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    problems: tuple[int, ...] = ()
    is_stream: bool = False
    formats: tuple[str, ...] = (NDJSON, SSE)
    """Media types of a stream."""
    has_key: bool = False
    """Whether an idempotency key is looked at."""
    is_open: bool = False
    """Whether it needs no token."""
    media_type: str = "application/json"
    may_be_empty: bool = False
    """Whether there may be nothing to answer (204)."""

    @property
    def name(self) -> str:
        """The operation's id."""
        return str(getattr(self.endpoint, "__name__", self.path))

    @property
    def summary(self) -> str:
        """What it does."""
        return (self.endpoint.__doc__ or "").strip().rstrip(".")


OPERATIONS = (
    Operation(
        method="POST",
        path="/chat/stream",
        endpoint=chats.stream,
        tag="chat",
        body=schemas.StreamRequest,
        answer=schemas.StreamEvent,
        is_stream=True,
        has_key=True,
        problems=_TURN,
    ),
    Operation(
        method="POST",
        path="/chat",
        endpoint=chats.chat,
        tag="chat",
        body=schemas.ChatRequest,
        answer=schemas.ChatAnswer,
        has_key=True,
        problems=_TURN,
    ),
    Operation(
        method="GET",
        path="/chat/history/{thread_id}",
        endpoint=threads.chat_history,
        tag="chat",
        answer=schemas.ChatHistory,
        problems=_THREAD,
    ),
    Operation(
        method="GET",
        path="/threads",
        endpoint=threads.list_threads,
        tag="threads",
        query=schemas.ThreadsQuery,
        answer=schemas.ThreadList,
        problems=(422, *_STORE),
    ),
    Operation(
        method="GET",
        path="/threads/{thread_id}",
        endpoint=threads.show,
        tag="threads",
        query=schemas.ThreadQuery,
        answer=schemas.StoredThread,
        problems=_THREAD,
    ),
    Operation(
        method="GET",
        path="/threads/{thread_id}/history",
        endpoint=threads.history,
        tag="threads",
        answer=schemas.ThreadHistory,
        problems=_THREAD,
    ),
    Operation(
        method="GET",
        path="/threads/{thread_id}/turns/{turn_id}/stream",
        endpoint=chats.attach,
        tag="threads",
        query=schemas.StreamQuery,
        answer=schemas.StreamEvent,
        is_stream=True,
        may_be_empty=True,
        problems=(*_CHANGE, 410),
    ),
    Operation(
        method="PUT",
        path="/threads/{thread_id}/turns/{turn_id}/save",
        endpoint=chats.save,
        tag="threads",
        answer=schemas.StoredTurn,
        problems=_CHANGE,
    ),
    Operation(
        method="PATCH",
        path="/threads/{thread_id}",
        endpoint=threads.rename,
        tag="threads",
        body=schemas.TitleRequest,
        answer=schemas.ThreadSummary,
        problems=(*_CHANGE, *_BODY),
    ),
    Operation(
        method="POST",
        path="/threads/{thread_id}/fork",
        endpoint=threads.fork,
        tag="threads",
        body=schemas.ForkRequest,
        answer=schemas.ThreadSummary,
        status=201,
        problems=(*_CHANGE, *_BODY),
    ),
    Operation(
        method="POST",
        path="/threads/{thread_id}/undo",
        endpoint=threads.undo,
        tag="threads",
        body=schemas.UndoRequest,
        answer=schemas.ThreadSummary,
        status=201,
        problems=(*_CHANGE, *_BODY),
    ),
    Operation(
        method="PUT",
        path="/threads/{thread_id}/clear",
        endpoint=threads.clear,
        tag="threads",
        answer=schemas.ThreadHistory,
        problems=_CHANGE,
    ),
    Operation(
        method="PUT",
        path="/threads/{thread_id}/archive",
        endpoint=threads.archive,
        tag="threads",
        answer=schemas.ThreadHistory,
        problems=_CHANGE,
    ),
    Operation(
        method="DELETE",
        path="/threads/{thread_id}/archive",
        endpoint=threads.restore,
        tag="threads",
        answer=schemas.ThreadHistory,
        problems=_CHANGE,
    ),
    Operation(
        method="DELETE",
        path="/threads/{thread_id}",
        endpoint=threads.delete,
        tag="threads",
        status=204,
        problems=_CHANGE,
    ),
    Operation(
        method="POST",
        path="/cleanup",
        endpoint=moving.cleanup,
        tag="threads",
        body=schemas.CleanupRequest,
        answer=schemas.CleanupLine,
        is_stream=True,
        formats=(NDJSON,),
        problems=(*_BODY, 422, *_STORE),
    ),
    Operation(
        method="GET",
        path="/export",
        endpoint=moving.export,
        tag="threads",
        answer=schemas.ExportLine,
        is_stream=True,
        formats=(NDJSON,),
        problems=_STORE,
    ),
    Operation(
        method="POST",
        path="/import",
        endpoint=moving.import_threads,
        tag="threads",
        body=schemas.ImportRequest,
        answer=schemas.ImportAnswer,
        problems=(*_BODY, 422, *_STORE),
    ),
    Operation(
        method="GET",
        path="/models",
        endpoint=status.models,
        tag="service",
        query=schemas.ModelsQuery,
        answer=schemas.Models,
        problems=(404, 422, 502, 504, *_STORE),
    ),
    Operation(method="GET", path="/info", endpoint=status.info, tag="service", answer=schemas.Info),
    Operation(
        method="GET",
        path="/healthz",
        endpoint=status.health,
        tag="service",
        answer=schemas.Health,
        is_open=True,
    ),
    Operation(
        method="GET",
        path="/readyz",
        endpoint=status.ready,
        tag="service",
        answer=schemas.Health,
        is_open=True,
        problems=(503,),
    ),
    Operation(method="GET", path="/metrics", endpoint=status.metrics, tag="service", media_type="text/plain"),
)
