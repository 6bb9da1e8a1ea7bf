"""Text changed where it stands, in memory."""

from chatcli.stores.base import CheckpointKey
from chatcli.stores.memory.records import ThreadRecord, TurnRecord
from chatcli.stores.rewriting import Rewriter
from chatcli.stores.shelf import Shelf


def rewrite(record: ThreadRecord, shelf: Shelf, rewriter: Rewriter) -> bool:
    """Change what a thread holds as `rewriter` says: all of it, or nothing if that raises."""
    thread = rewriter.thread(record.thread)
    turns = [_rewritten(held, rewriter) for held in record.turns.values()]
    values = shelf.rewritten(CheckpointKey(thread.owner, thread.id), rewriter)
    changed = (
        thread != record.thread
        or any(turns[at] != held for at, held in enumerate(record.turns.values()))
        or (values.rows, values.channels, values.writes) != (shelf.rows, shelf.channels, shelf.writes)
    )
    record.thread = thread
    for held, new in zip(record.turns.values(), turns, strict=True):
        held.turn, held.fingerprint = new.turn, new.fingerprint
    shelf.rows, shelf.channels, shelf.writes = values.rows, values.channels, values.writes
    return changed


def _rewritten(held: TurnRecord, rewriter: Rewriter) -> TurnRecord:
    fingerprint = None if held.fingerprint is None else rewriter.fingerprint(held.fingerprint)
    return TurnRecord(rewriter.turn(held.turn), fingerprint, held.deadline, held.committed)
