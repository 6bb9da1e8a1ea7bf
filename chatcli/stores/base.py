"""The contract of a store: threads as append-only logs of turns, and LangGraph's checkpoints beside them.

Every store keeps these promises; the suite in ``tests/stores`` checks them on all of them.

* What `begin` or `commit` returned from is never lost, whatever dies afterwards.
* No turn is half there: each call is one transaction.
* The order of turns is their integer index, the order of threads an integer that each use raises.
  No clock orders anything.
* One running turn a thread, across tasks, processes and machines. Who holds it is known by its
  lease; the lease of a dead holder is void at once where the store can know it, else when it runs
  out. The orphaned turn becomes ``interrupted``.
* Deletion is final. A commit for a deleted thread raises `ThreadNotFound` and brings nothing back.
* An owner never sees, and never touches, another owner's threads.
* Text comes back byte for byte; lists are read in constant memory.

Errors of every method: `StoreUnavailable` (can't be reached, or held for longer than 5 s),
`StoreDenied`, `StoreCorrupt`, `StoreFull`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from chatcli.models import Message, Page, Thread, Turn, TurnError, TurnState, Usage

LEASE_SECONDS = 30.0
"""How long a lease holds without being renewed; holders renew it every third of that."""

Keep = Literal["all", "latest"]


@dataclass(frozen=True, slots=True)
class NewTurn:
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
    fingerprint: str | None = None
    """Digest of the request behind `idempotency_key`: the same key must come with the same one."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to finish one running turn."""

    owner: str
    thread_id: str
    turn_id: str


@dataclass(frozen=True, slots=True)
class Begun:
    """A turn that `begin` wrote, or (`lease` is None) the finished one that has its idempotency key."""

    thread: Thread
    turn: Turn
    created: bool
    lease: Lease | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a turn ended; `messages` are the model's, without the prompt."""

    state: TurnState
    messages: tuple[Message, ...] = ()
    finish_reason: str | None = None
    usage: Usage | None = None
    error: TurnError | None = None


@dataclass(frozen=True, slots=True)
class CheckpointKey:
    """The place of a LangGraph checkpoint. `checkpoint_id` empty stands for the newest."""

    owner: str
    thread_id: str
    namespace: str = ""
    checkpoint_id: str = ""


@dataclass(frozen=True, slots=True)
class Blob:
    """A value as LangGraph's serializer wrote it: its type tag and its bytes."""

    type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class PendingWrite:
    """One write of a task that did not become part of a checkpoint yet."""

    task_id: str
    task_path: str
    index: int
    channel: str
    value: Blob


@dataclass(frozen=True, slots=True)
class CheckpointRow:
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
    channels: dict[tuple[str, str], Blob] = field(default_factory=dict)
    writes: tuple[PendingWrite, ...] = ()
    """Pending writes, in (task_path, task_id, index) order; empty on writing."""


class ThreadStore(ABC):
    """Threads and checkpoints behind one URL; made by `chatcli.stores.open_store`."""

    # Turns -------------------------------------------------------------------------------------

    @abstractmethod
    async def begin(self, new: NewTurn) -> Begun:
        """Write a running turn with its prompt and take the thread's lease, in one transaction.

        The thread is made where it is missing and `new.create` allows it; an orphaned turn is
        marked ``interrupted``. A finished turn with the same idempotency key is returned instead,
        without a lease.

        Raises:
            ThreadBusy: a live turn holds the thread; nothing was written.
            ThreadArchived: it takes no turns.
            ThreadNotFound: it is missing, and `new.create` is false.
            InvalidRequest: another thread's id differs only in case, or the idempotency key came
                with another request.
        """

    @abstractmethod
    async def renew(self, lease: Lease) -> None:
        """Hold the lease for another `LEASE_SECONDS`; silent where it is gone."""

    @abstractmethod
    async def commit(self, lease: Lease, outcome: Outcome, checkpoint: CheckpointRow | None = None) -> Turn:
        """End the turn, release the lease and write the checkpoint, in one transaction.

        Calling it again with the same lease changes nothing and returns the stored turn. A turn
        that was taken for an orphan meanwhile is ended all the same, in its place.

        Raises:
            ThreadNotFound: the thread was deleted or cleared meanwhile; nothing was written.
        """

    @abstractmethod
    async def context(
        self, owner: str, thread_id: str, *, limit: int, before: int | None = None
    ) -> tuple[Message, ...]:
        """Return the newest messages of turns that have an answer, oldest first.

        At most `limit` human, ai and tool messages, beginning with a human one, all of turns with
        an index below `before`. The cost does not depend on the length of the thread.
        """

    # Threads -----------------------------------------------------------------------------------

    @abstractmethod
    async def thread(self, owner: str, thread_id: str) -> Thread:
        """Return the thread with exactly this id, or raise `ThreadNotFound`."""

    @abstractmethod
    async def turns(
        self, owner: str, thread_id: str, *, after: int = 0, limit: int | None = None
    ) -> tuple[Turn, ...]:
        """Return turns with an index over `after`, oldest first, at most `limit`.

        An orphaned turn is shown as ``interrupted``. Raises `ThreadNotFound`.
        """

    @abstractmethod
    async def threads(
        self,
        owner: str,
        *,
        limit: int,
        cursor: str | None = None,
        archived: bool | None = False,
        prefix: str = "",
    ) -> Page:
        """Return threads, last used first. `archived` None means both; `prefix` is one of ids.

        `cursor` is a `Page.next_cursor` of the same query; a foreign one raises `InvalidRequest`.
        """

    @abstractmethod
    async def rename(self, owner: str, thread_id: str, title: str) -> Thread:
        """Give the thread a title. Raises `ThreadNotFound`."""

    @abstractmethod
    async def clear(self, owner: str, thread_id: str) -> Thread:
        """Remove the turns and checkpoints and keep the thread. Raises `ThreadNotFound`, `ThreadBusy`."""

    @abstractmethod
    async def delete(self, owner: str, thread_id: str) -> None:
        """Remove the thread, its turns and its checkpoints. Raises `ThreadNotFound`, `ThreadBusy`."""

    @abstractmethod
    async def archive(self, owner: str, thread_id: str, *, archived: bool) -> Thread:
        """Set or take off the archived mark; twice is harmless. Raises `ThreadNotFound`, `ThreadBusy`."""

    # LangGraph's checkpoints -------------------------------------------------------------------

    @abstractmethod
    async def put_checkpoint(self, row: CheckpointRow, *, keep: Keep = "all") -> None:
        """Write a checkpoint; with `keep` ``latest`` the older ones of its namespace go."""

    @abstractmethod
    async def get_checkpoint(self, key: CheckpointKey) -> CheckpointRow | None:
        """Return the checkpoint at `key` with its channels and pending writes."""

    @abstractmethod
    async def list_checkpoints(
        self,
        owner: str,
        thread_id: str | None,
        namespace: str | None,
        *,
        before: str | None = None,
        limit: int | None = None,
    ) -> tuple[CheckpointRow, ...]:
        """Return checkpoints, newest id first, of one or all threads and namespaces.

        Only those with an id below `before`.
        """

    @abstractmethod
    async def put_writes(self, key: CheckpointKey, writes: Sequence[PendingWrite], *, replace: bool) -> None:
        """Add pending writes to a checkpoint; one with the same task and index stays unless `replace`."""

    @abstractmethod
    async def copy_checkpoints(self, owner: str, source_id: str, target_id: str) -> None:
        """Copy all checkpoints of a thread, with channels and writes, to another thread id."""

    @abstractmethod
    async def delete_checkpoints(
        self, owner: str, thread_id: str, checkpoint_ids: Sequence[tuple[str, str]] | None = None
    ) -> None:
        """Remove a thread's checkpoints: all, or those with the given (namespace, id) pairs.

        Channel values that no checkpoint names any longer go with them.
        """

    # Life --------------------------------------------------------------------------------------

    @abstractmethod
    async def check(self) -> tuple[str, ...]:
        """Open the store for real and return known trouble, one sentence each."""

    @abstractmethod
    async def aclose(self) -> None:
        """Release everything that the store holds; leases end with their turns, not here."""


def message_id(turn_id: str, index: int) -> str:
    """Return the id of the message at `index` (from 0) of a turn."""
    return f"{turn_id}.{index}"
