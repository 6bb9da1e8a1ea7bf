"""What is done to turns within one document. Everything may be done again to a newer document."""

from dataclasses import dataclass
from datetime import datetime

from chatcli.errors import InvalidRequest, ThreadArchived, ThreadBusy, ThreadNotFound
from chatcli.frozen import replace
from chatcli.models import Message, Role, Thread, Turn, TurnState, format_time
from chatcli.stores.base import Begun, CheckpointRow, Lease, NewTurn, Outcome
from chatcli.stores.s3.document import DEFAULT_LANGUAGE, Document
from chatcli.stores.s3.entry import entry_of

_ENDED = (TurnState.COMPLETE, TurnState.TRUNCATED)
"""States whose answer is given again for the same idempotency key; after others it may be tried again."""


@dataclass(frozen=True, slots=True)
class Moment:
    """When something is done, by the server's clock, and by which store object."""

    now: datetime
    use: int
    """A number over that of every earlier use by this store object."""
    holder: str


def begin(document: Document, new: NewTurn, moment: Moment) -> Begun:
    """Write a running turn with its prompt and take the thread's lease."""
    lease = Lease(new.owner, new.thread_id, new.turn_id)
    if (place := _find(document, new.turn_id)) is not None:  # ours, written by a request without an answer
        turn = document.entries[place].view(place + 1, live=True)
        thread = document.found()
        created = thread.created_at == turn.started_at
        return Begun(thread, turn, created, lease, _context_of(document, new, turn.index))
    created = document.thread is None
    if document.thread is None and new.create:
        thread = Thread(new.thread_id, new.owner, new.title, DEFAULT_LANGUAGE, 0, moment.now, moment.now)
    else:
        thread = document.found()
        if (answered := _answered(document, new)) is not None:
            return Begun(thread, answered, created=False, lease=None)
        refuse_busy(document, moment.now)
        refuse_archived(thread)
        if new.admission is not None:
            new.admission.admit(thread, context(document, limit=new.context_limit))
        end_orphan(document, moment.now)
    turn = Turn(
        id=new.turn_id,
        index=len(document.entries) + 1,
        state=TurnState.RUNNING,
        started_at=moment.now,
        model=new.model,
        messages=new.prompt,
    )
    document.entries.append(entry_of(turn, key=new.idempotency_key, fingerprint=new.fingerprint))
    document.thread = replace(
        thread,
        title=new.title if new.rename else thread.title,
        language=thread.language if new.language is None else new.language,
        system=thread.system if new.system is None else new.system,
        model=new.model,
    )
    document.take_lease(new.turn_id, moment.holder, moment.now)
    use(document, moment)
    turn = document.entries[-1].view(turn.index, live=True)
    return Begun(document.found(), turn, created, lease, _context_of(document, new, turn.index))


def commit(
    document: Document, lease: Lease, outcome: Outcome, checkpoint: CheckpointRow | None, moment: Moment
) -> Turn:
    """End the turn, and release the thread unless somebody else's turn runs on it by now."""
    place = _find(document, lease.turn_id)
    if place is None:
        raise ThreadNotFound(
            f"the thread {lease.thread_id} was deleted or cleared while the turn ran", saved=False
        )
    entry = document.entries[place]
    if not entry.is_open:
        return entry.view(place + 1, live=False)
    usage, error = outcome.usage, outcome.error
    document.entries[place] = entry.changed(
        outcome.messages,
        state=outcome.state.value,
        orphaned=False,
        finished_at=format_time(moment.now),
        finish_reason=outcome.finish_reason,
        usage=None if usage is None else usage.to_json(),
        error=None if error is None else error.to_json(),
    )
    if document.lease is not None and document.lease["turn"] == lease.turn_id:
        document.lease = None
    if checkpoint is not None and place == len(document.entries) - 1:  # a late one is not the newest
        document.shelf.put(checkpoint, keep="latest")
    use(document, moment)
    return document.entries[place].view(place + 1, live=False)


def renew(document: Document, lease: Lease, moment: Moment) -> None:
    """Hold the lease for another while, as this store's own; silent where it is gone."""
    place = _find(document, lease.turn_id)
    if place is None or place < len(document.entries) - 1:
        return
    if document.entries[place].state is TurnState.RUNNING:
        document.take_lease(lease.turn_id, moment.holder, moment.now)
        document.changed = True


def let_go(document: Document, lease: Lease, moment: Moment) -> None:
    """Make an orphan of a turn that still runs here."""
    held = document.lease
    if held is not None and (held["turn"], held["holder"]) == (lease.turn_id, moment.holder):
        document.lease = None
        document.changed = True


def context(document: Document, *, limit: int, before: int | None = None) -> tuple[Message, ...]:
    """Walk back from the newest turn until `limit` messages of answered turns are found."""
    found: list[Message] = []
    last = len(document.entries) if before is None else min(before - 1, len(document.entries))
    for place in range(last - 1, -1, -1):
        if len(found) >= limit:
            break
        entry = document.entries[place]
        if entry.has_answer:
            found.extend(message for message in reversed(entry.said()) if message.role is not Role.SYSTEM)
    del found[max(limit, 0) :]
    while found and found[-1].role is not Role.HUMAN:
        found.pop()
    return tuple(reversed(found))


def views(document: Document, now: datetime, *, after: int, limit: int | None) -> tuple[Turn, ...]:
    """Return the turns over `after`, oldest first."""
    count, live = len(document.entries), document.is_live(now)
    chosen = range(max(after, 0), count)[: None if limit is None else max(limit, 0)]
    return tuple(
        document.entries[place].view(place + 1, live=live and place == count - 1) for place in chosen
    )


def use(document: Document, moment: Moment) -> None:
    """Note that the thread was used, and that its object is to be written."""
    document.used = max(moment.use, document.used + 1)
    count = len(document.entries)
    document.thread = replace(document.found(), updated_at=moment.now, turn_count=count)
    document.changed = True


def refuse_busy(document: Document, now: datetime) -> None:
    """Raise `ThreadBusy` if a turn runs on the thread."""
    if document.is_live(now):
        raise ThreadBusy(
            f"another turn is running on the thread {document.id}",
            hint="wait until it has ended",
            retry_after=1.0,
        )


def refuse_archived(thread: Thread) -> None:
    """Raise `ThreadArchived` if the thread takes no turns."""
    if thread.archived_at is not None:
        raise ThreadArchived(
            f"the thread {thread.id} is archived",
            hint=f"restore it with: chatcli archive --restore {thread.id}",
        )


def end_orphan(document: Document, now: datetime) -> None:
    """Mark a turn that nobody runs any more as ``interrupted``; its key may be used again."""
    if document.entries and (last := document.entries[-1]).state is TurnState.RUNNING:
        document.entries[-1] = last.changed(
            state=TurnState.INTERRUPTED.value, orphaned=True, finished_at=format_time(now)
        )
    document.lease = None


def _answered(document: Document, new: NewTurn) -> Turn | None:
    """Return the finished turn that has the idempotency key of `new`, if there is one."""
    if new.idempotency_key is None:
        return None
    for place in range(len(document.entries) - 1, -1, -1):
        entry = document.entries[place]
        if entry.record.get("key") != new.idempotency_key:
            continue
        if entry.record.get("fingerprint") != new.fingerprint:
            raise InvalidRequest(
                "the idempotency key was used on this thread with another request",
                hint="use a new key for a new request",
            )
        return entry.view(place + 1, live=False) if entry.state in _ENDED else None
    return None


def _find(document: Document, turn_id: str) -> int | None:
    """Return the place of a turn, looked for from the newest back."""
    places = range(len(document.entries) - 1, -1, -1)
    return next((place for place in places if document.entries[place].id == turn_id), None)


def _context_of(document: Document, new: NewTurn, index: int) -> tuple[Message, ...]:
    return context(document, limit=new.context_limit, before=index)
