"""The documents of the API: these models validate what comes, build what goes, and make the OpenAPI."""

from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from chatcli.models import Role, Thread, Turn, TurnState
from chatcli.stores.base import Hit

THREAD_ID = r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9_-])?$"
_LINE = r"^[^\x00-\x1f\x7f]+$"
_TEXT = r"^[^\x00]+$"
_ANY_TEXT = r"^[^\x00]*$"
_MAX_PAGE = 100

ThreadId: TypeAlias = Annotated[
    str, Field(pattern=THREAD_ID, description="The thread; it is made where there is none.")
]
Language: TypeAlias = Annotated[
    str, Field(pattern=_LINE, max_length=64, description="Language of the answers, kept with the thread.")
]
Model: TypeAlias = Annotated[
    str, Field(pattern=_LINE, max_length=200, description="PROVIDER:MODEL or an alias.")
]
OnBusy: TypeAlias = Annotated[
    Literal["wait", "reject"],
    Field(description="What happens while another turn runs on the thread: wait for it, or 409 at once."),
]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


Asked = TypeVar("Asked", bound=BaseModel)


class StreamRequest(_Request):
    """A prompt, to be answered as a stream of events."""

    input: str = Field(pattern=_TEXT, description="The prompt.")
    thread_id: ThreadId | None = None
    session_metadata: dict[str, Any] | None = Field(
        default=None, max_length=32, description="Goes to traces, where these are on; it is not stored."
    )
    language: Language | None = None
    model: Model | None = None
    on_disconnect: Literal["cancel", "continue"] = Field(
        default="cancel", description="Whether a turn that nobody reads any more is stopped."
    )
    on_busy: OnBusy = "wait"
    wait: float | None = Field(
        default=None, ge=0, le=3600, description="Seconds that `on_busy` waits, where not 30."
    )
    hold: bool = Field(
        default=True,
        description="Whether the answer begins with the first token, so that an error before it is a status.",
    )
    must_exist: bool = Field(default=False, description="Refuse a thread that is not there (404).")
    system: str | None = Field(
        default=None, pattern=_ANY_TEXT, description="A new system prompt for the thread, from here on."
    )
    title: str | None = Field(default=None, pattern=_ANY_TEXT, description="Name the thread.")
    temperature: float | None = Field(default=None, ge=0, le=2)
    max_tokens: int | None = Field(default=None, ge=1, le=2**31, description="Most tokens of the answer.")
    save: bool = Field(default=True, description="Whether anything is stored.")


class ChatRequest(_Request):
    """A prompt, to be answered in one piece."""

    message: str = Field(pattern=_TEXT, description="The prompt.")
    thread_id: ThreadId | None = None
    language: Language | None = None
    model: Model | None = None
    on_busy: OnBusy = "wait"


class ThreadsQuery(BaseModel):
    """Which threads are listed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: int = Field(default=20, ge=1, le=_MAX_PAGE, description="Threads of a page.")
    cursor: str | None = Field(
        default=None, min_length=1, max_length=256, description="The `next_cursor` of the page before."
    )
    archived: Literal["false", "true", "all"] = Field(
        default="false", description="Whether archived threads are left out, listed alone, or listed too."
    )
    prefix: str = Field(
        default="", pattern=r"^[A-Za-z0-9._-]*$", max_length=128, description="How the ids begin."
    )
    search: str | None = Field(
        default=None, pattern=_TEXT, max_length=1000, description="Words to find in prompts and answers."
    )


class ThreadQuery(BaseModel):
    """Which turns of a thread are shown."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tail: int | None = Field(
        default=None, ge=0, le=2**53, description="How many of the newest turns; all where it is missing."
    )


class StreamQuery(BaseModel):
    """From where a running turn is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    after: int = Field(
        default=0, ge=0, le=2**53, description="The number of the last event that was received."
    )


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
    seq: int | None = Field(default=None, description="The event's number, in a stream that was attached to.")


def summarise(thread: Thread, hit: Hit | None = None) -> ThreadSummary:
    """Return a thread as lists show it."""
    match = None if hit is None else Match(turn_index=hit.turn_index, line=hit.line, marks=list(hit.marks))
    return ThreadSummary(
        id=thread.id,
        title=thread.title,
        turn_count=thread.turn_count,
        created_at=thread.created_at,
        updated_at=thread.updated_at,
        archived_at=thread.archived_at,
        language=thread.language,
        owner=thread.owner,
        match=match,
    )


def show(thread: Thread, turns: tuple[Turn, ...]) -> StoredThread:
    """Return a thread with turns of it."""
    return StoredThread.model_validate({**thread.to_json(), "turns": [turn.to_json() for turn in turns]})


def list_messages(turns: tuple[Turn, ...]) -> ChatHistory:
    """Return the messages of turns."""
    return ChatHistory(
        messages=[
            ChatMessage(
                content=message.text,
                role="human" if message.role is Role.HUMAN else "assistant",
                timestamp=message.timestamp,
            )
            for turn in turns
            for message in turn.messages
            if message.role in (Role.HUMAN, Role.AI)
        ]
    )


def tell(thread_id: str, turns: tuple[Turn, ...]) -> ThreadHistory:
    """Return the history of a thread."""
    entries = [
        HistoryEntry(
            timestamp=turn.started_at,
            turn_id=turn.id,
            state=turn.state,
            messages=[
                TurnMessage(type="human" if message.role is Role.HUMAN else "ai", content=message.text)
                for message in turn.messages
                if message.role in (Role.HUMAN, Role.AI)
            ],
        )
        for turn in turns
    ]
    return ThreadHistory(
        thread_id=thread_id,
        history=entries,
        total_messages=len(entries),
        message_count=sum(len(entry.messages) for entry in entries),
    )
