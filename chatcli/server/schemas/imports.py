"""Threads that come from elsewhere, as the lines of an export hold them."""

from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, Field

from chatcli.models import Role, Thread, Turn, TurnState
from chatcli.server.schemas.fields import ANY_TEXT, LINE, Asked, Moment
from chatcli.service.transfer.document import read_document, read_part
from chatcli.service.transfer.rules import LARGEST, LONGEST_ID, LONGEST_NAME

MOST_THREADS = 1000
_Id: TypeAlias = Annotated[str, Field(pattern=LINE, max_length=LONGEST_ID)]
_Name: TypeAlias = Annotated[str, Field(pattern=ANY_TEXT, max_length=LONGEST_NAME)]
_Count: TypeAlias = Annotated[int, Field(ge=0, le=LARGEST)]
_Part: TypeAlias = Annotated[dict[str, Any], AfterValidator(read_part)]


class ImportedUsage(Asked):
    """Tokens that were counted."""

    input_tokens: _Count
    output_tokens: _Count


class ImportedError(Asked):
    """Why a turn did not end well."""

    name: _Name
    message: str


class ImportedMessage(Asked):
    """One message."""

    id: _Id
    role: Role = Field(strict=False)
    content: str | list[_Part]
    timestamp: Moment


class ImportedTurn(Asked):
    """One turn."""

    id: _Id
    index: int = Field(ge=1, le=2**31)
    state: TurnState = Field(strict=False)
    started_at: Moment
    finished_at: Moment | None
    model: _Name
    finish_reason: _Name | None
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
