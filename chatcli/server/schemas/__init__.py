"""The documents of the API: these models validate what comes, build what goes, and make the OpenAPI."""

from typing import TypeVar

from pydantic import BaseModel

from chatcli.server.schemas.answers import (
    ChatAnswer,
    ChatHistory,
    CleanupLine,
    ExportLine,
    Health,
    Import,
    ImportAnswer,
    Info,
    Models,
    Problem,
    Service,
    StoredThread,
    StoredTurn,
    StreamEvent,
    ThreadHistory,
    ThreadList,
    ThreadSummary,
    TokenUsage,
)
from chatcli.server.schemas.asked import (
    ChatRequest,
    CleanupRequest,
    ForkRequest,
    ModelsQuery,
    StreamQuery,
    StreamRequest,
    ThreadQuery,
    ThreadsQuery,
    TitleRequest,
    UndoRequest,
    content_of,
)
from chatcli.server.schemas.fields import EVENT_NUMBER, THREAD_ID, read_moment
from chatcli.server.schemas.imports import ImportRequest, read_imported
from chatcli.server.schemas.telling import list_messages, show, show_turn, summarise, tell

__all__ = [
    "EVENT_NUMBER",
    "THREAD_ID",
    "Asked",
    "ChatAnswer",
    "ChatHistory",
    "ChatRequest",
    "CleanupLine",
    "CleanupRequest",
    "ExportLine",
    "ForkRequest",
    "Health",
    "Import",
    "ImportAnswer",
    "ImportRequest",
    "Info",
    "Models",
    "ModelsQuery",
    "Problem",
    "Service",
    "StoredThread",
    "StoredTurn",
    "StreamEvent",
    "StreamQuery",
    "StreamRequest",
    "ThreadHistory",
    "ThreadList",
    "ThreadQuery",
    "ThreadSummary",
    "ThreadsQuery",
    "TitleRequest",
    "TokenUsage",
    "UndoRequest",
    "content_of",
    "list_messages",
    "read_imported",
    "read_moment",
    "show",
    "show_turn",
    "summarise",
    "tell",
]

Asked = TypeVar("Asked", bound=BaseModel)
