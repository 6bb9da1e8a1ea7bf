"""Threads and turns in memory."""

import hashlib
import time
from collections.abc import Callable
from itertools import islice

from chatcli.errors import InvalidRequest, ThreadArchived, ThreadNotFound
from chatcli.frozen import replace
from chatcli.models import Message, Page, Role, Thread, Turn, TurnState, utc_now
from chatcli.stores.base import LEASE_SECONDS, Begun, CheckpointRow, Lease, NewTurn, Outcome
from chatcli.stores.memory.life import MemoryLife, not_found
from chatcli.stores.memory.records import ThreadRecord, own
from chatcli.stores.memory.rewriting import rewrite
from chatcli.stores.records import AuditEntry
from chatcli.stores.rewriting import Rewriter
from chatcli.stores.shelf import Shelf

DEFAULT_LANGUAGE = "English"
ANSWERED = frozenset({TurnState.COMPLETE, TurnState.TRUNCATED})


class MemoryStore(MemoryLife):
    """A store that keeps its promises until the process ends. Nothing here ever waits.

    `clock` tells in seconds when leases run out.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)

    async def begin(self, new: NewTurn) -> Begun:
        record = self._records.get((new.owner, new.thread_id.lower()))
        if record is not None and record.thread.id != new.thread_id:
            raise InvalidRequest(
                f"the thread {record.thread.id} exists, and ids must differ in more than case",
                hint=f"use {record.thread.id}, or another id",
            )
        if record is None and not new.create:
            raise not_found(new.thread_id)
        if record is not None:
            if (answered := _answered(record, new)) is not None:
                return Begun(record.thread, answered, created=False, lease=None)
            self._refuse_busy(record)
            if record.thread.archived_at is not None:
                raise ThreadArchived(
                    f"the thread {new.thread_id} is archived",
                    hint=f"restore it with: chatcli archive --restore {new.thread_id}",
                )
        context = await self.context(new.owner, new.thread_id, limit=new.context_limit)
        if record is not None and new.admission is not None:
            new.admission.admit(record.thread, context)
        created = record is None
        record = record or self._make(new)
        turn = record.begin(new, deadline=self._clock() + LEASE_SECONDS)
        record.thread = replace(
            record.thread,
            title=new.title if new.rename else record.thread.title,
            language=record.thread.language if new.language is None else new.language,
            system=record.thread.system if new.system is None else new.system,
            model=new.model,
            turn_count=len(record.turns),
        )
        self._use(record)
        return Begun(record.thread, turn, created, Lease(new.owner, new.thread_id, new.turn_id), context)

    async def renew(self, lease: Lease) -> None:
        record = self._records.get((lease.owner, lease.thread_id.lower()))
        if record is not None and (held := record.turns.get(lease.turn_id)) is not None:
            held.deadline = self._clock() + LEASE_SECONDS

    async def commit(self, lease: Lease, outcome: Outcome, checkpoint: CheckpointRow | None = None) -> Turn:
        record = self._records.get((lease.owner, lease.thread_id.lower()))
        held = None if record is None else record.turns.get(lease.turn_id)
        if record is None or held is None:
            raise ThreadNotFound(
                f"the thread {lease.thread_id} was deleted or cleared while the turn ran", saved=False
            )
        if held.committed:
            return held.turn
        held.turn = replace(
            held.turn,
            state=outcome.state,
            messages=(*held.turn.messages, *own(outcome.messages)),
            finished_at=utc_now(),
            finish_reason=outcome.finish_reason,
            usage=outcome.usage,
            error=outcome.error,
        )
        held.committed = True
        if checkpoint is not None and held is record.last:  # a late one is not the newest any more
            self._put(checkpoint, keep="latest")
        self._use(record)
        return held.turn

    async def context(
        self, owner: str, thread_id: str, *, limit: int, before: int | None = None
    ) -> tuple[Message, ...]:
        record = self._records.get((owner, thread_id.lower()))
        if record is None or record.thread.id != thread_id:
            return ()
        found: list[Message] = []
        for held in reversed(record.turns.values()):
            if len(found) >= limit:
                break
            messages = held.turn.messages
            if (before is None or held.turn.index < before) and any(m.role is Role.AI for m in messages):
                found.extend(m for m in reversed(messages) if m.role is not Role.SYSTEM)
        del found[max(limit, 0) :]
        while found and found[-1].role is not Role.HUMAN:
            found.pop()
        return tuple(reversed(found))

    async def thread(self, owner: str, thread_id: str) -> Thread:
        return self._find(owner, thread_id).thread

    async def turns(
        self, owner: str, thread_id: str, *, after: int = 0, limit: int | None = None
    ) -> tuple[Turn, ...]:
        record, now = self._find(owner, thread_id), self._clock()
        return tuple(held.view(now) for held in record.turns.values() if held.turn.index > after)[:limit]

    async def threads(
        self,
        owner: str,
        *,
        limit: int,
        cursor: str | None = None,
        archived: bool | None = False,
        prefix: str = "",
    ) -> Page:
        query = hashlib.blake2s(repr((owner, archived, prefix)).encode(), digest_size=6).hexdigest()
        below = None if cursor is None else _read_cursor(cursor, query)
        found = sorted(
            (
                record
                for (holder, _), record in self._records.items()
                if holder == owner
                and record.thread.id.startswith(prefix)
                and (archived is None or archived == (record.thread.archived_at is not None))
                and (below is None or record.used < below)
            ),
            key=lambda record: record.used,
            reverse=True,
        )
        page = found[:limit]
        more = len(found) > len(page) > 0
        return Page(tuple(record.thread for record in page), f"{query}-{page[-1].used}" if more else None)

    async def rename(self, owner: str, thread_id: str, title: str) -> Thread:
        record = self._find(owner, thread_id)
        record.thread = replace(record.thread, title=title)
        return record.thread

    async def clear(self, owner: str, thread_id: str, *, audit: AuditEntry | None = None) -> Thread:
        record = self._find(owner, thread_id)
        self._refuse_busy(record)
        record.turns.clear()
        record.keys.clear()
        self._shelves.pop((owner, thread_id), None)
        record.thread = replace(record.thread, turn_count=0)
        self._note(audit)
        return record.thread

    async def delete(self, owner: str, thread_id: str, *, audit: AuditEntry | None = None) -> None:
        record = self._find(owner, thread_id)
        self._refuse_busy(record)
        self._remove(record)
        self._note(audit)

    async def archive(
        self, owner: str, thread_id: str, *, archived: bool, audit: AuditEntry | None = None
    ) -> Thread:
        record = self._find(owner, thread_id)
        self._refuse_busy(record)
        if archived != (record.thread.archived_at is not None):
            record.thread = replace(record.thread, archived_at=utc_now() if archived else None)
        self._note(audit)
        return record.thread

    async def owners(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(owner for owner, _ in self._records))

    async def rewrite(self, owner: str, thread_id: str, rewriter: Rewriter) -> bool:
        record = self._find(owner, thread_id)
        return rewrite(record, self._shelves.setdefault((owner, thread_id), Shelf()), rewriter)

    async def record(self, entry: AuditEntry) -> None:
        self._note(entry)

    async def audit(
        self, owner: str | None, *, limit: int, before: int | None = None
    ) -> tuple[AuditEntry, ...]:
        found = (
            entry
            for entry in reversed(self._audit.values())
            if owner in {None, entry.owner} and (before is None or entry.number < before)
        )
        return tuple(islice(found, limit))

    async def check(self) -> tuple[str, ...]:
        return ("threads are kept in memory and end with this process",)

    async def aclose(self) -> None:
        self._records.clear()
        self._shelves.clear()
        self._audit.clear()

    def _make(self, new: NewTurn) -> ThreadRecord:
        now = utc_now()
        language = DEFAULT_LANGUAGE if new.language is None else new.language
        thread = Thread(new.thread_id, new.owner, new.title, language, 0, now, now)
        return self._add(thread)


def _answered(record: ThreadRecord, new: NewTurn) -> Turn | None:
    """Return the finished turn that has the idempotency key of `new`, if there is one."""
    held = None if new.idempotency_key is None else record.keys.get(new.idempotency_key)
    if held is None:
        return None
    if held.fingerprint != new.fingerprint:
        raise InvalidRequest(
            "the idempotency key was used on this thread with another request",
            hint="use a new key for a new request",
        )
    return held.turn if held.turn.state in ANSWERED else None


def _read_cursor(cursor: str, query: str) -> int:
    asked, _, used = cursor.partition("-")
    if asked != query or not (used.isascii() and used.isdecimal()):
        raise InvalidRequest("that is not a cursor of this list", hint="begin again without a cursor")
    return int(used)
