"""The documents that the API answers with."""

from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from chatcli.models import Role, TurnState


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class TokenUsage(_Answer):
    """Tokens that the provider counted."""

    input_tokens: int
    output_tokens: int


class ChatAnswer(_Answer):
    """A turn that ended without an error."""

    response: str
    language: str
    thread_id: str
    turn_id: str
    state: TurnState
    saved: bool
    usage: TokenUsage | None = None


class ChatMessage(_Answer):
    """One message, as chat programs show it."""

    content: str
    role: Literal["human", "assistant"]
    timestamp: AwareDatetime


class ChatHistory(_Answer):
    """The messages of a thread, oldest first."""

    messages: list[ChatMessage]


class ThreadSummary(_Answer):
    """A thread without its turns; `match` is what a search found in it."""

    id: str
    title: str
    turn_count: int
    created_at: AwareDatetime
    updated_at: AwareDatetime
    archived_at: AwareDatetime | None
    language: str
    owner: str
    match: "Match | None" = None


class Match(_Answer):
    """The line that a search found."""

    turn_index: int
    line: str
    marks: list[tuple[int, int]] = Field(description="Where the words stand in it, from and to.")


class ThreadList(_Answer):
    """A page of threads, last used first."""

    threads: list[ThreadSummary]
    next_cursor: str | None


class StoredMessage(_Answer):
    """One message as it is stored; with pictures its content is a list of parts."""

    id: str
    role: Role
    content: str | list[dict[str, Any]]
    timestamp: AwareDatetime


class StoredError(_Answer):
    """Why a turn did not end well."""

    name: str
    message: str


class StoredTurn(_Answer):
    """One turn as it is stored."""

    id: str
    index: int
    state: TurnState
    started_at: AwareDatetime
    finished_at: AwareDatetime | None
    model: str
    finish_reason: str | None
    usage: TokenUsage | None
    error: StoredError | None
    messages: list[StoredMessage]


class StoredThread(ThreadSummary):
    """A thread with its turns, oldest first, as `chatcli history THREAD --json` shows it."""

    turns: list[StoredTurn]
    system: str | None = Field(default=None, description="The system prompt that was last given.")
    model: str | None = Field(default=None, description="The model that was last asked.")


class TurnMessage(_Answer):
    """One message of a turn."""

    type: Literal["human", "ai"]
    content: str


class HistoryEntry(_Answer):
    """One turn: a prompt and what was answered."""

    timestamp: AwareDatetime
    turn_id: str
    state: TurnState
    messages: list[TurnMessage]


class ThreadHistory(_Answer):
    """The turns of a thread, oldest first."""

    thread_id: str
    history: list[HistoryEntry]
    total_messages: int = Field(description="How many entries `history` has.")
    message_count: int = Field(description="How many messages there are in them.")


class Service(_Answer):
    """What is served."""

    name: str
    description: str
    version: str


class Info(_Answer):
    """The service, what it can do, and where."""

    service: Service
    features: dict[str, bool]
    endpoints: dict[str, str]


class Health(_Answer):
    """The server is there."""

    status: Literal["ok", "ready"]


class Problem(_Answer):
    """What went wrong (RFC 9457), and what to do about it."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="`urn:chatcli:` and the name of the error.")
    title: str
    status: int
    detail: str
    request_id: str
    hint: str | None = None
    retry_after: float | None = Field(default=None, description="Seconds.")
    saved: bool | None = Field(default=None, description="Where a turn is concerned: whether it is stored.")


class StreamEvent(_Answer):
    """One line of a stream: `metadata` first and last, `token` between; `error` last where it failed."""

    model_config = ConfigDict(extra="allow")

    type: Literal["metadata", "token", "reasoning", "error"]
    thread_id: str
    content: str | None = None
    metadata: dict[str, Any] | None = None
    error: Problem | None = None
    saved: bool | None = None
    seq: int | None = Field(
        default=None,
        description="The event's number; a line without it is one more than the line before, the first is 1.",
    )


class CleanupLine(_Answer):
    """One line of a cleanup: a `step`, and last a `receipt`, or an `error`."""

    type: Literal["step", "receipt", "error"]
    scanned: int | None = None
    removed: list[ThreadSummary] | int | None = Field(
        default=None, description="The threads of a step; in the receipt their number."
    )
    busy: list[str] | int | None = Field(
        default=None, description="Ids of threads that a running turn kept; in the receipt their number."
    )
    bytes_freed: int | None = None
    dry_run: bool | None = None
    before: AwareDatetime | None = None
    seconds: float | None = None
    error: Problem | None = None


class ExportLine(_Answer):
    """One line of an export: the first says so, the last has the checksum, each other is a thread."""

    model_config = ConfigDict(extra="allow")


class Import(_Answer):
    """What became of one thread."""

    thread_id: str
    action: Literal["import", "keep"] | None = Field(description="None where it was refused.")
    error: Problem | None = None


class ImportAnswer(_Answer):
    """What became of the threads, in their order."""

    threads: list[Import]


class Models(_Answer):
    """The model that a turn would ask, and what it could be."""

    model: str
    names: list[str] = Field(description="What may stand for a model: aliases, providers, known models.")
    offered: list[str] | None = Field(description="What the provider offers, if it was asked.")
    context_messages: int = Field(description="How many messages of a thread are sent to a model.")
