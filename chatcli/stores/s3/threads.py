"""What is done to whole threads within one document. Everything may be done again to a newer document."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from chatcli.errors import InvalidRequest
from chatcli.frozen import replace
from chatcli.models import Thread, Turn
from chatcli.stores.base import LEASE_SECONDS
from chatcli.stores.s3.document import Document
from chatcli.stores.s3.entry import entry_of
from chatcli.stores.s3.turns import Moment, end_orphan, refuse_archived, refuse_busy, use, views
from chatcli.stores.shelf import Shelf


def rename(document: Document, title: str) -> Thread:
    """Give the thread a title; that is no use of it."""
    document.thread = replace(document.found(), title=title)
    document.changed = True
    return document.thread


def clear(document: Document, moment: Moment) -> Thread:
    """Remove the turns and the checkpoints; that is no use either."""
    thread = document.found()
    refuse_busy(document, moment.now)
    document.entries, document.shelf, document.lease = [], Shelf(), None
    document.thread = replace(thread, turn_count=0)
    document.changed = True
    return document.thread


def archive(document: Document, moment: Moment, *, archived: bool) -> Thread:
    """Set the archived mark, or take it off; the time of the first mark stays."""
    thread = document.found()
    refuse_busy(document, moment.now)
    if archived != (thread.archived_at is not None):
        document.thread = replace(thread, archived_at=moment.now if archived else None)
    document.changed = True  # its mark may be missing
    return document.found()


def condemn(document: Document, moment: Moment) -> datetime:
    """Turn the object into what says that the thread is deleted, and that it is about to go."""
    document.found()
    refuse_busy(document, moment.now)
    return bury(document, moment)


def bury(document: Document, moment: Moment) -> datetime:
    """Leave nothing in the object but the time until which nobody else may write to it; return that."""
    document.thread, document.entries, document.lease, document.rest = None, [], None, {}
    document.shelf = Shelf()
    document.deleted_until = moment.now + timedelta(seconds=LEASE_SECONDS)
    document.changed = True
    return document.deleted_until


def fork_into(document: Document, source: Document, moment: Moment, *, title: str, turns: int) -> Thread:
    """Make a thread of the first turns of another; their keys stay with that one."""
    thread = source.found()
    _refuse_taken(document)
    if not 0 <= turns <= len(source.entries):
        raise _too_few(thread)
    if turns == len(source.entries):
        refuse_busy(source, moment.now)
    copied = source.copy()
    end_orphan(copied, moment.now)
    document.entries = [entry.without_key() for entry in copied.entries[:turns]]
    document.thread = replace(
        thread,
        id=document.id,
        title=title,
        turn_count=turns,
        created_at=moment.now,
        archived_at=None,
    )
    use(document, moment)
    return document.thread


def check_undo(document: Document, moment: Moment, turns: int) -> None:
    """Raise what stands against taking turns off."""
    thread = document.found()
    refuse_archived(thread)
    if not 0 < turns <= len(document.entries):
        raise _too_few(thread)
    refuse_busy(document, moment.now)


def cut(document: Document, moment: Moment, turns: int) -> None:
    """Take the last turns off, and the checkpoints."""
    check_undo(document, moment, turns)
    end_orphan(document, moment.now)
    del document.entries[len(document.entries) - turns :]
    document.shelf = Shelf()
    use(document, moment)


def bring(document: Document, thread: Thread, turns: Sequence[Turn], moment: Moment) -> bool:
    """Write a thread that comes from elsewhere; False if the very same is there."""
    if document.thread is not None:
        if views(document, moment.now, after=0, limit=None) == tuple(turns):
            return False
        _refuse_taken(document)
    document.entries = [entry_of(turn) for turn in turns]
    document.used = max(moment.use, document.used + 1)
    document.thread = thread
    document.changed = True
    return True


def _refuse_taken(document: Document) -> None:
    if document.thread is not None:
        raise InvalidRequest(
            f"there is another thread {document.id}", hint="use another id, or delete it first"
        )


def _too_few(thread: Thread) -> InvalidRequest:
    return InvalidRequest(f"thread {thread.id} has {thread.turn_count} turns", hint="give a smaller number")
