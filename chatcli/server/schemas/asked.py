"""What clients ask of the API."""

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field

from chatcli.models import Content
from chatcli.server.schemas.fields import (
    ANY_TEXT,
    MOST_PARTS,
    TEXT,
    Asked,
    Language,
    Model,
    Moment,
    OnBusy,
    Part,
    Query,
    ThreadId,
)
from chatcli.service.requests import HOTTEST, LONGEST_SEARCH, MOST_TOKENS

MAX_PAGE = 1000

Prompt: TypeAlias = Annotated[
    Annotated[str, Field(pattern=TEXT)] | Annotated[list[Part], Field(min_length=1, max_length=MOST_PARTS)],
    Field(description="The prompt: text, or parts, some of which may be pictures."),
]
ForkId: TypeAlias = Annotated[
    ThreadId | None,
    Field(description="The id of the fork: the same request, sent again, can't make a second one."),
]


class StreamRequest(Asked):
    """A prompt, to be answered as a stream of events."""

    input: Prompt
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
        default=None, pattern=ANY_TEXT, description="A new system prompt for the thread, from here on."
    )
    title: str | None = Field(default=None, pattern=ANY_TEXT, description="Name the thread.")
    temperature: float | None = Field(default=None, ge=0, le=HOTTEST)
    max_tokens: int | None = Field(
        default=None, ge=1, le=MOST_TOKENS, description="Most tokens of the answer."
    )
    save: bool = Field(default=True, description="Whether anything is stored.")


class ChatRequest(Asked):
    """A prompt, to be answered in one piece."""

    message: str = Field(pattern=TEXT, description="The prompt.")
    thread_id: ThreadId | None = None
    language: Language | None = None
    model: Model | None = None
    on_busy: OnBusy = "wait"


class ThreadsQuery(Query):
    """Which threads are listed."""

    limit: int = Field(default=20, ge=1, le=MAX_PAGE, description="Threads of a page.")
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
        default=None,
        pattern=ANY_TEXT,
        max_length=LONGEST_SEARCH,
        description="Words to find in prompts and answers.",
    )


class ThreadQuery(Query):
    """Which turns of a thread are shown."""

    tail: int | None = Field(
        default=None, ge=0, description="How many of the newest turns; all where it is missing."
    )
    after: int | None = Field(
        default=None, ge=0, le=2**53, description="Only turns with an index over this one; not with `tail`."
    )
    limit: int | None = Field(
        default=None, ge=1, le=2**53, description="At most so many of them; only with `after`."
    )


class StreamQuery(Query):
    """From where a running turn is read."""

    after: int = Field(
        default=0,
        ge=-2,
        le=2**53,
        description="The number of the last event that was received: what comes behind it is sent, or "
        "nothing (204) if that was the end. Numbers over 1 are good in the process that runs the turn, up to "
        "a minute after its end; those below 0, of a turn told from the store, everywhere. Where a number is "
        "not good the answer is 410: read the turn from its beginning. `Last-Event-ID` counts over it.",
    )


class TitleRequest(Asked):
    """A new title."""

    title: str = Field(pattern=TEXT)


class ForkRequest(Asked):
    """How much of a thread goes into a new one."""

    turns: int | None = Field(
        default=None, ge=0, le=2**53, description="The first so many turns; all where it is missing."
    )
    title: str | None = Field(default=None, pattern=ANY_TEXT)
    fork_id: ForkId = None


class UndoRequest(Asked):
    """How many turns come off a thread."""

    turns: int = Field(default=1, ge=1, le=2**53)
    fork_id: ForkId = None


class CleanupRequest(Asked):
    """Which threads go."""

    before: Moment = Field(description="Threads that were not used since then.")
    archived_only: bool = False
    keep: int = Field(default=0, ge=0, le=2**31, description="The last used ones stay, however old.")
    dry_run: bool = Field(default=False, description="Only tell what would go.")
    force_clock: bool = Field(
        default=False, description="Believe the server's clock even if threads were used later."
    )


class ModelsQuery(Query):
    """Which model is meant."""

    model: Model | None = None
    thread_id: ThreadId | None = Field(default=None, description="The thread that is to go on.")
    offered: Literal["false", "true"] = Field(
        default="false", description="Whether the provider is asked for all of its models."
    )


def content_of(prompt: str | list[Part]) -> Content:
    """Return a prompt as the content of a message."""
    return prompt if isinstance(prompt, str) else tuple(part.model_dump() for part in prompt)
