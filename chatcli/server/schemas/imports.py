"""Threads that come from elsewhere, as the lines of an export hold them."""

from typing import Annotated, Any, TypeAlias

from pydantic import Field

from chatcli.models import Role, Thread, Turn, TurnState
from chatcli.server.schemas.fields import LINE, MOST_PARTS, Asked, Moment, Part
from chatcli.service.transfer.lines import read_document

MOST_THREADS = 1000
_Id: TypeAlias = Annotated[str, Field(pattern=LINE, max_length=256)]
_Line: TypeAlias = Annotated[str, Field(pattern=LINE, max_length=1000)]
_Count: TypeAlias = Annotated[int, Field(ge=0, le=2**53)]


class ImportedUsage(Asked):
    """Tokens that were counted."""

    input_tokens: _Count
    output_tokens: _Count


class ImportedError(Asked):
    """Why a turn did not end well."""

    name: _Line
    message: str


class ImportedMessage(Asked):
    """One message."""

    id: _Id
    role: Role = Field(strict=False)
    content: str | Annotated[list[Part], Field(max_length=MOST_PARTS)]
    timestamp: Moment


class ImportedTurn(Asked):
    """One turn."""

    id: _Id
    index: int = Field(ge=1, le=2**31)
    state: TurnState = Field(strict=False)
    started_at: Moment
    finished_at: Moment | None
    model: _Line
    finish_reason: _Line | None
    usage: ImportedUsage | None
    error: ImportedError | None
    messages: list[ImportedMessage]


class ImportedThread(Asked):
    """A thread as an export holds it; it becomes one of the owner's, whoever `owner` is."""

    id: str
    title: str
    turn_count: _Count
    created_at: Moment
    updated_at: Moment
    archived_at: Moment | None
    language: str
    owner: str
    system: str | None
    turns: list[ImportedTurn]


class ImportRequest(Asked):
    """Threads to import, in the order of their use."""

    threads: list[ImportedThread] = Field(max_length=MOST_THREADS)
    dry_run: bool = Field(default=False, description="Only tell what would be imported.")


def read_imported(thread: ImportedThread) -> tuple[Thread, tuple[Turn, ...]]:
    """Return a thread and its turns."""
    document: dict[str, Any] = thread.model_dump()
    return read_document(document)
