"""What goes into a store and what comes out of it, beside threads and turns themselves."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Literal

from chatcli.errors import InvalidRequest
from chatcli.frozen import Frozen, replace
from chatcli.models import Message, Thread, Turn, TurnError, TurnState, Usage, format_time

LEASE_SECONDS = 30.0
"""How long a lease holds without being renewed; holders renew it every third of that."""

Keep = Literal["all", "latest"]


class Admission:
    """Decides whether a turn may begin on a thread that is there; this one lets every turn begin."""

    keys: tuple[str, ...] = ()
    """Ids of the keys that open what is sealed."""

    def admit(self, thread: Thread, context: tuple[Message, ...]) -> None:
        """Raise what is to be raised instead of beginning. May be called several times."""


class NewTurn(Frozen):
    """What `ThreadStore.begin` writes. The ids of the messages follow `message_id`."""

    owner: str
    thread_id: str
    turn_id: str
    model: str
    prompt: tuple[Message, ...]
    """The human message, after a system message where a system prompt was given with the turn."""
    title: str
    """Title of the thread if `begin` makes it, or if `rename` is set."""
    rename: bool = False
    language: str | None = None
    """New language of the thread; None keeps it (English on a new one)."""
    system: str | None = None
    """New system prompt of the thread; None keeps it."""
    create: bool = True
    """Whether a missing thread is made; without it `ThreadNotFound` is raised."""
    idempotency_key: str | None = None
    context_limit: int = 0
    """Messages of earlier turns that `Begun.context` may hold: they cost no second round trip."""
    fingerprint: str | None = None
    """Digest of the request behind `idempotency_key`: the same key must come with the same one."""
    admission: Admission | None = None
    """Asked, before anything is written, about a thread that is there and the context of the turn.

    A store that can't ask within its transaction finds out there whether text is sealed with another key
    than `Admission.keys`, and asks only then.
    """


class Lease(Frozen):
    """The right to finish one running turn."""

    owner: str
    thread_id: str
    turn_id: str


class Begun(Frozen):
    """A turn that `begin` wrote, or (`lease` is None) the finished one that has its idempotency key."""

    thread: Thread
    turn: Turn
    created: bool
    lease: Lease | None
    context: tuple[Message, ...] = ()
    """What `ThreadStore.context` returns for the turns before this one."""


class Outcome(Frozen):
    """How a turn ended; `messages` are the model's, without the prompt."""

    state: TurnState
    messages: tuple[Message, ...] = ()
    finish_reason: str | None = None
    usage: Usage | None = None
    error: TurnError | None = None


class CheckpointKey(Frozen):
    """The place of a LangGraph checkpoint. `checkpoint_id` empty stands for the newest."""

    owner: str
    thread_id: str
    namespace: str = ""
    checkpoint_id: str = ""


class Blob(Frozen):
    """A value as LangGraph's serializer wrote it: its type tag and its bytes."""

    type: str
    data: bytes


class PendingWrite(Frozen):
    """One write of a task that did not become part of a checkpoint yet."""

    task_id: str
    task_path: str
    index: int
    channel: str
    value: Blob


class CheckpointRow(Frozen):
    """A checkpoint as stores keep it: opaque but for its place and its metadata.

    `channels` holds the values of the channels by (name, version): on writing only those that
    changed, on reading all that the checkpoint names. `metadata` is a JSON object as text.
    """

    key: CheckpointKey
    parent_id: str | None
    head: Blob
    metadata: str
    versions: dict[str, str]
    """Version of each channel that has a value, as text."""
    channels: Mapping[tuple[str, str], Blob] = MappingProxyType({})
    writes: tuple[PendingWrite, ...] = ()
    """Pending writes, in (task_path, task_id, index) order; empty on writing."""


class Hit(Frozen):
    """A thread in which a search found something: its best turn, and the line of it that matches."""

    thread: Thread
    turn_index: int
    line: str
    marks: tuple[tuple[int, int], ...]
    """Where in `line` the words of the search stand, as (start, end) in characters."""


class AuditEntry(Frozen):
    """Who did what, when, and from where; never a word of what was said.

    A method of a store that is given one writes it if it did what it was asked to, in the same
    transaction where the store knows such a thing. What is written stays, and one id is written once.
    """

    owner: str
    actor: str
    """A user of this machine, or the name of a token."""
    door: str
    """``cli`` or ``serve``."""
    origin: str
    """The machine's name, or the client's address."""
    action: str
    at: datetime
    id: str
    thread_id: str | None = None
    count: int | None = None
    """Threads that were removed or rewritten, or attempts that were refused."""
    outcome: str = "done"
    number: int = 0
    """The place in the audit, which the store gives: later entries have higher ones."""

    def to_json(self) -> dict[str, object]:
        """Return the wire form."""
        return {
            "number": self.number,
            "at": format_time(self.at),
            "owner": self.owner,
            "actor": self.actor,
            "door": self.door,
            "origin": self.origin,
            "action": self.action,
            "thread_id": self.thread_id,
            "count": self.count,
            "outcome": self.outcome,
        }


class Expiry(Frozen):
    """Which threads a cleanup removes: those not used since `before`, but for the `keep` last used."""

    before: datetime
    archived_only: bool = False
    keep: int = 0
    audit: AuditEntry | None = None
    """Written by a step that removes threads, with their number as its count."""

    def entry_of(self, step: "Sweep") -> AuditEntry | None:
        """Return what a step writes into the audit, if there is anything to tell."""
        return (
            None if self.audit is None or not step.removed else replace(self.audit, count=len(step.removed))
        )


class Sweep(Frozen):
    """One step of a cleanup: what was looked at, and what became of it."""

    scanned: int
    removed: tuple[Thread, ...]
    """In a dry run those that would be."""
    busy: tuple[str, ...]
    """Ids that a running turn kept."""
    cursor: str | None
    """Where the next step begins; None after the last one."""
    freed: int = 0
    """Bytes of message text that no thread has any longer; in a dry run those that would go."""


def message_id(turn_id: str, index: int) -> str:
    """Return the id of the message at `index` (from 0) of a turn."""
    return f"{turn_id}.{index}"


def arrival(thread: Thread, turns: Sequence[Turn]) -> tuple[Thread, tuple[Turn, ...]]:
    """Return an imported thread and its turns as they are stored: nothing runs where it arrives.

    Raises `InvalidRequest` unless the turns are numbered 1, 2, … and have an id each.
    """
    numbers, ids = [turn.index for turn in turns], {turn.id for turn in turns}
    if numbers != list(range(1, len(turns) + 1)) or len(ids) != len(turns):
        raise InvalidRequest(f"thread {thread.id} has turns missing, or twice", hint="export it again")
    ended = (
        replace(turn, state=TurnState.INTERRUPTED) if turn.state is TurnState.RUNNING else turn
        for turn in turns
    )
    return replace(thread, turn_count=len(turns)), tuple(ended)


def text_bytes(turn: Turn) -> int:
    """Return how many bytes of text a turn holds."""
    return sum(len(message.text.encode()) for message in turn.messages)
