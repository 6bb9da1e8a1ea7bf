"""What is done with threads as wholes in memory: found by their text, cleaned up, forked, imported."""

from collections.abc import Callable, Sequence
from datetime import datetime

from chatcli.errors import InvalidRequest, ThreadArchived, ThreadBusy, ThreadNotFound
from chatcli.frozen import replace
from chatcli.models import Thread, Turn, utc_now
from chatcli.stores.base import Expiry, Hit, Sweep
from chatcli.stores.matching import best_line, score, searched_text, words_of
from chatcli.stores.memory.checkpoints import MemoryCheckpoints
from chatcli.stores.memory.records import ThreadRecord, TurnRecord, own
from chatcli.stores.records import AuditEntry, arrival, text_bytes

_LONGEST_CURSOR = 19


class MemoryLife(MemoryCheckpoints):
    """The methods of `MemoryStore` that read or write several threads, or a whole one."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self._clock = clock
        self._records: dict[tuple[str, str], ThreadRecord] = {}
        """By owner and lower-case id."""
        self._uses = 0
        self._audit: dict[str, AuditEntry] = {}

    async def search(
        self, owner: str, text: str, *, limit: int, archived: bool | None = False
    ) -> tuple[Hit, ...]:
        words = words_of(text)
        found: list[tuple[float, int, Hit]] = []
        for record in self._owned(owner):
            if archived is not None and archived != (record.thread.archived_at is not None):
                continue
            said = {turn.turn.index: searched_text(turn.turn.messages) for turn in record.turns.values()}
            best, index = max(((score(words, said[index]), index) for index in said), default=(0.0, 0))
            if best:
                hit = Hit(record.thread, index, *best_line(words, said[index]))
                found.append((best, record.used, hit))
        found.sort(key=lambda entry: entry[:2], reverse=True)
        return tuple(hit for _, _, hit in found[:limit])

    async def sweep(
        self, owner: str, expiry: Expiry, *, limit: int, cursor: str | None = None, dry_run: bool = False
    ) -> Sweep:
        after, now = 0 if cursor is None else _read_place(cursor), self._clock()
        threads = sorted(self._owned(owner), key=lambda record: record.used)
        scope = [
            record for record in threads if record.thread.archived_at is not None or not expiry.archived_only
        ]
        kept = {record.used for record in threads[-expiry.keep :]} if expiry.keep else set()
        expired = [
            record for record in scope if record.used not in kept and record.thread.updated_at < expiry.before
        ]
        looked_at = [record for record in scope if record.used > after][:limit]
        last = looked_at[-1].used if looked_at else 0
        here = [record for record in expired if after < record.used <= last]
        gone = [record for record in here if not record.is_live(now)]
        freed = self._freed_by(gone, [record for record in expired if not record.is_live(now)])
        if not dry_run:
            for record in gone:
                self._remove(record)
        step = Sweep(
            scanned=len(looked_at),
            removed=tuple(record.thread for record in gone),
            busy=tuple(record.thread.id for record in here if record.is_live(now)),
            cursor=str(last) if looked_at and scope[-1].used > last else None,
            freed=freed,
        )
        self._note(None if dry_run else expiry.entry_of(step))
        return step

    async def newest_use(self, owner: str) -> datetime | None:
        return max((record.thread.updated_at for record in self._owned(owner)), default=None)

    async def fork(self, owner: str, thread_id: str, *, fork_id: str, title: str, turns: int) -> Thread:
        record = self._find(owner, thread_id)
        if not 0 <= turns <= len(record.turns):
            raise too_few(record.thread)
        if turns == len(record.turns):
            self._refuse_busy(record)
        return self._fork(record, fork_id, title, turns).thread

    async def undo(self, owner: str, thread_id: str, *, fork_id: str, title: str, turns: int) -> Thread:
        record = self._find(owner, thread_id)
        if record.thread.archived_at is not None:
            raise ThreadArchived(
                f"the thread {thread_id} is archived",
                hint=f"restore it with: chatcli archive --restore {thread_id}",
            )
        if not 0 < turns <= len(record.turns):
            raise too_few(record.thread)
        self._refuse_busy(record)
        fork = self._fork(record, fork_id, title, len(record.turns))
        record.cut(len(record.turns) - turns)
        self._shelves.pop((owner, thread_id), None)
        self._use(record)
        return fork.thread

    async def import_thread(self, thread: Thread, turns: Sequence[Turn]) -> bool:
        thread, turns = arrival(thread, turns)
        there = self._records.get((thread.owner, thread.id.lower()))
        if there is not None:
            now = self._clock()
            same = tuple(held.view(now) for held in there.turns.values()) == turns
            if there.thread.id == thread.id and same:
                return False
            raise taken(there.thread.id)
        record = self._add(thread)
        for turn in turns:
            turn_record = TurnRecord(replace(turn, messages=own(turn.messages)), None, 0, committed=True)
            record.turns[turn.id] = turn_record
        return True

    def _owned(self, owner: str) -> list[ThreadRecord]:
        return [record for (holder, _), record in self._records.items() if holder == owner]

    def _find(self, owner: str, thread_id: str) -> ThreadRecord:
        record = self._records.get((owner, thread_id.lower()))
        if record is None or record.thread.id != thread_id:
            raise not_found(thread_id)
        return record

    def _refuse_busy(self, record: ThreadRecord) -> None:
        if record.is_live(self._clock()):
            raise ThreadBusy(
                f"another turn is running on the thread {record.thread.id}",
                hint="wait until it has ended",
                retry_after=1.0,
            )

    def _add(self, thread: Thread) -> ThreadRecord:
        """Add a thread without turns, as the last used one."""
        self._uses += 1
        record = self._records[thread.owner, thread.id.lower()] = ThreadRecord(thread, self._uses)
        return record

    def _use(self, record: ThreadRecord) -> None:
        self._uses += 1
        record.used = self._uses
        record.thread = replace(record.thread, updated_at=utc_now())

    def _remove(self, record: ThreadRecord) -> None:
        del self._records[record.thread.owner, record.thread.id.lower()]
        self._shelves.pop((record.thread.owner, record.thread.id), None)

    def _fork(self, record: ThreadRecord, fork_id: str, title: str, turns: int) -> ThreadRecord:
        owner, now = record.thread.owner, utc_now()
        if (there := self._records.get((owner, fork_id.lower()))) is not None:
            raise taken(there.thread.id)
        if turns == len(record.turns):
            record.end_orphan()
        fork = self._add(
            replace(
                record.thread,
                id=fork_id,
                title=title,
                turn_count=turns,
                created_at=now,
                updated_at=now,
                archived_at=None,
            )
        )
        fork.turns = dict(list(record.turns.items())[:turns])
        return fork

    def _note(self, entry: AuditEntry | None) -> None:
        """Write an entry of the audit, unless it is there."""
        if entry is not None:
            self._audit.setdefault(entry.id, replace(entry, number=len(self._audit) + 1))

    def _freed_by(self, gone: Sequence[ThreadRecord], expired: Sequence[ThreadRecord]) -> int:
        """Return the bytes of the turns that only expired threads have, those of `gone` as the last ones."""
        going = {id(record) for record in expired}
        staying = {
            id(held)
            for record in self._records.values()
            if id(record) not in going
            for held in record.turns.values()
        }
        last = {id(held): (record, held) for record in expired for held in record.turns.values()}
        here = {id(record) for record in gone}
        return sum(
            text_bytes(held.turn)
            for key, (record, held) in last.items()
            if id(record) in here and key not in staying
        )


def not_found(thread_id: str) -> ThreadNotFound:
    """Return the error for a thread that is not there."""
    return ThreadNotFound(f"there is no thread {thread_id}", hint="chatcli history lists the threads")


def taken(thread_id: str) -> InvalidRequest:
    """Return the error for a thread that is in the way of another one."""
    return InvalidRequest(f"there is another thread {thread_id}", hint="use another id, or delete it first")


def too_few(thread: Thread) -> InvalidRequest:
    """Return the error for a number of turns that the thread does not have."""
    return InvalidRequest(f"thread {thread.id} has {thread.turn_count} turns", hint="give a smaller number")


def _read_place(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) < _LONGEST_CURSOR):
        raise InvalidRequest("that is not a cursor of a sweep", hint="begin again without a cursor")
    return int(cursor)
