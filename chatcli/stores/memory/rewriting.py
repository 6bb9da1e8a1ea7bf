"""Text changed where it stands, in memory."""

from dataclasses import replace

from chatcli.stores.base import CheckpointKey
from chatcli.stores.memory.checkpoints import Shelf
from chatcli.stores.memory.records import ThreadRecord, TurnRecord
from chatcli.stores.rewriting import Rewriter


def rewrite(record: ThreadRecord, shelf: Shelf, rewriter: Rewriter) -> bool:
    """Change what a thread holds as `rewriter` says: all of it, or nothing if that raises."""
    thread = rewriter.thread(record.thread)
    turns = [_rewritten(held, rewriter) for held in record.turns.values()]
    values = _rewritten_shelf(shelf, CheckpointKey(thread.owner, thread.id), rewriter)
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
    return replace(held, turn=rewriter.turn(held.turn), fingerprint=fingerprint)


def _rewritten_shelf(shelf: Shelf, key: CheckpointKey, rewriter: Rewriter) -> Shelf:
    new = Shelf()
    for place, row in shelf.rows.items():
        head, metadata = rewriter.head(row.key, row.head), rewriter.metadata(row.key, row.metadata)
        new.rows[place] = replace(row, head=head, metadata=metadata)
    for (namespace, name, version), value in shelf.channels.items():
        at = replace(key, namespace=namespace)
        new.channels[namespace, name, version] = rewriter.channel(at, name, version, value)
    for (namespace, checkpoint_id), writes in shelf.writes.items():
        at = replace(key, namespace=namespace, checkpoint_id=checkpoint_id)
        for index, write in writes.items():
            new.writes[namespace, checkpoint_id][index] = rewriter.write(at, write)
    return new
