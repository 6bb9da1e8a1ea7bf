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
from datetime import datetime

from chatcli.models import Message, Page, Thread, Turn
from chatcli.stores.records import (
    LEASE_SECONDS,
    AuditEntry,
    Begun,
    Blob,
    CheckpointKey,
    CheckpointRow,
    Expiry,
    Hit,
    Keep,
    Lease,
    NewTurn,
    Outcome,
    PendingWrite,
    Sweep,
    message_id,
)
from chatcli.stores.rewriting import Rewriter

__all__ = [
    "LEASE_SECONDS",
    "Begun",
    "Blob",
    "CheckpointKey",
    "CheckpointRow",
    "Expiry",
    "Hit",
    "Keep",
    "Lease",
    "NewTurn",
    "Outcome",
    "PendingWrite",
    "Sweep",
    "ThreadStore",
    "message_id",
]


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
            ConfigError, StoreCorrupt: `new.admission` was refused; nothing was written.
        """

    @abstractmethod
    async def renew(self, lease: Lease) -> None:
        """Hold the lease for another `LEASE_SECONDS`; silent where it is gone."""

    @abstractmethod
    async def commit(self, lease: Lease, outcome: Outcome, checkpoint: CheckpointRow | None = None) -> Turn:
        """End the turn, release the lease and write the checkpoint, in one transaction.

        Calling it again with the same lease changes nothing and returns the stored turn. A turn
        that was taken for an orphan meanwhile is ended all the same, in its place.

        Raises `ThreadNotFound` if the thread was deleted or cleared meanwhile; nothing was written.
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

    async def sample(self, owner: str) -> Thread | None:
        """Return the last used thread, or one of the last used where that one takes long to find."""
        page = await self.threads(owner, limit=1, archived=None)
        return page.threads[0] if page.threads else None

    @abstractmethod
    async def rename(self, owner: str, thread_id: str, title: str) -> Thread:
        """Give the thread a title. Raises `ThreadNotFound`."""

    @abstractmethod
    async def clear(self, owner: str, thread_id: str, *, audit: AuditEntry | None = None) -> Thread:
        """Remove the turns and checkpoints and keep the thread. Raises `ThreadNotFound`, `ThreadBusy`."""

    @abstractmethod
    async def delete(self, owner: str, thread_id: str, *, audit: AuditEntry | None = None) -> None:
        """Remove the thread, its turns and its checkpoints. Raises `ThreadNotFound`, `ThreadBusy`."""

    @abstractmethod
    async def archive(
        self, owner: str, thread_id: str, *, archived: bool, audit: AuditEntry | None = None
    ) -> Thread:
        """Set or take off the archived mark; twice is harmless. Raises `ThreadNotFound`, `ThreadBusy`."""

    # Threads' life -----------------------------------------------------------------------------

    @abstractmethod
    async def search(
        self, owner: str, text: str, *, limit: int, archived: bool | None = False
    ) -> tuple[Hit, ...]:
        """Return the threads with a turn in whose prompt and answer all words of `text` stand.

        Best match first, each thread with its best turn; turns are looked for from the newest back.
        What a word is, how it is compared, the order and the line shown follow `stores.matching`:
        without case and accents; the last word of `text` also matches the beginning of a longer one.
        Nothing in `text` has a special meaning; without a word in it nothing is found.
        """

    @abstractmethod
    async def sweep(
        self, owner: str, expiry: Expiry, *, limit: int, cursor: str | None = None, dry_run: bool = False
    ) -> Sweep:
        """Look at the next `limit` threads, least recently used first, and remove the expired ones.

        One transaction. A thread is removed only if it is expired and not running at the very moment
        of its removal. The same call may be made by several processes at once, and again after a
        crash. A cursor of something else raises `InvalidRequest`.
        """

    @abstractmethod
    async def newest_use(self, owner: str) -> datetime | None:
        """Return the latest `updated_at` of all threads: no clock that is right can be before it."""

    @abstractmethod
    async def fork(self, owner: str, thread_id: str, *, fork_id: str, title: str, turns: int) -> Thread:
        """Make a thread from the first `turns` turns of another, as the last used one.

        Nothing is copied where the store can share it; the turns keep their ids. Language, system
        prompt and model are those of the other thread; idempotency keys stay with it.

        Raises `ThreadNotFound`, `ThreadBusy` (a running turn is among them) and `InvalidRequest` (there
        are fewer turns, or `fork_id` is taken).
        """

    @abstractmethod
    async def undo(self, owner: str, thread_id: str, *, fork_id: str, title: str, turns: int) -> Thread:
        """Take the last `turns` turns off a thread, and return a fork that still has all of its turns.

        The thread is the last used one afterwards, the fork the one before it. Its checkpoints go.

        Raises `ThreadNotFound`, `ThreadArchived`, `ThreadBusy` (a turn is running) and `InvalidRequest`
        (there are fewer turns, `turns` is not positive, or `fork_id` is taken).
        """

    @abstractmethod
    async def import_thread(self, thread: Thread, turns: Sequence[Turn]) -> bool:
        """Write a whole thread with its ids, times and marks, as the last used one, in one transaction.

        Returns False, and writes nothing, if a thread with this id and these turns is there already.

        Raises `InvalidRequest` if its id belongs to a thread with other turns, or differs from one only
        in case; or if the turns are not numbered 1, 2, … with an id each of its own.
        """

    # Everything --------------------------------------------------------------------------------

    @abstractmethod
    async def owners(self) -> tuple[str, ...]:
        """Return everybody who has threads."""

    @abstractmethod
    async def rewrite(self, owner: str, thread_id: str, rewriter: Rewriter) -> bool:
        """Change the text of a thread where it stands, in one transaction; False if nothing changed.

        No time, order, mark, state or lease changes, and a running turn goes on. Turns that the
        thread shares with others change for them too. What stood there is gone from the store's
        files at the latest when the store is closed.

        Raises `ThreadNotFound`, and what `rewriter` raises: nothing has changed then.
        """

    @abstractmethod
    async def record(self, entry: AuditEntry) -> None:
        """Add an entry to the audit, which nothing here changes or removes."""

    @abstractmethod
    async def audit(
        self, owner: str | None, *, limit: int, before: int | None = None
    ) -> tuple[AuditEntry, ...]:
        """Return entries of one owner, or of all, newest first: only those with a number below `before`."""

    # LangGraph's checkpoints -------------------------------------------------------------------

    @abstractmethod
    async def put_checkpoint(self, row: CheckpointRow, *, keep: Keep = "all") -> None:
        """Write a checkpoint; with `keep` ``latest`` it is the only one of its namespace afterwards."""

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
        """Release everything that the store holds; turns that are still running become orphans."""
