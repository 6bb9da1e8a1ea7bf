"""Text changed where it stands, within one transaction. What stood there goes when the server vacuums."""

from chatcli.frozen import replace
from chatcli.models import Message, Turn
from chatcli.stores.base import Blob, CheckpointKey, PendingWrite
from chatcli.stores.postgres.connection import Database, Row, Transaction
from chatcli.stores.postgres.rows import messages_json, thread_of, to_json, turn_of, words_json
from chatcli.stores.postgres.threads import missing
from chatcli.stores.rewriting import Rewriter

_OWNERS = "SELECT DISTINCT owner FROM {schema}.threads ORDER BY owner"

_THREAD = """
SELECT key, {schema}.thread_json(threads) AS thread FROM {schema}.threads
WHERE owner = %(owner)s AND lower(id) = lower(%(thread)s) AND id = %(thread)s FOR UPDATE
"""

_TURNS = """
SELECT idx, fingerprint, {schema}.turn_json(turns) AS turn FROM {schema}.turns
WHERE thread = %(key)s ORDER BY idx
"""

_SPACES = """
SELECT key, namespace FROM {schema}.checkpoint_spaces
WHERE owner = %(owner)s AND thread_id = %(thread)s ORDER BY namespace FOR UPDATE
"""


async def owners(database: Database) -> tuple[str, ...]:
    """Return everybody who has threads."""
    return tuple(row["owner"] for row in await database.rows(_OWNERS, {}))


async def rewrite(database: Database, owner: str, thread_id: str, rewriter: Rewriter) -> bool:
    """Change what a thread holds as `rewriter` says."""

    async def work(transaction: Transaction) -> bool:
        place = {"owner": owner, "thread": thread_id}
        rows = await transaction.rows(_THREAD, place)
        if not rows:
            raise missing(thread_id)
        changed = await _rewrite_thread(transaction, rows[0], rewriter)
        changed |= await _rewrite_turns(transaction, rows[0]["key"], rewriter)
        for space in await transaction.rows(_SPACES, place):
            key = CheckpointKey(owner, thread_id, space["namespace"])
            changed |= await _rewrite_heads(transaction, space["key"], key, rewriter)
            changed |= await _rewrite_channels(transaction, space["key"], key, rewriter)
            changed |= await _rewrite_writes(transaction, space["key"], key, rewriter)
        return changed

    return await database.transact(work)


async def _rewrite_thread(transaction: Transaction, row: Row, rewriter: Rewriter) -> bool:
    was = thread_of(row["thread"])
    now = rewriter.thread(was)
    changes = (
        [(now.title, now.system, row["key"])] if (now.title, now.system) != (was.title, was.system) else []
    )
    return await transaction.change(
        "UPDATE {schema}.threads SET title = %s, system = %s WHERE key = %s", changes
    )


async def _rewrite_turns(transaction: Transaction, thread: int, rewriter: Rewriter) -> bool:
    texts: list[tuple[object, ...]] = []
    marks: list[tuple[object, ...]] = []
    for row in await transaction.rows(_TURNS, {"key": thread}):
        was = turn_of(row["turn"], live=True)
        now = rewriter.turn(was)
        fingerprint = row["fingerprint"]
        if fingerprint is not None:
            fingerprint = rewriter.fingerprint(fingerprint)
        anew = [*_contents(was, now)]
        texts += [(content, form, thread, row["idx"], position) for position, content, form in anew]
        error = None if was.error is None or now.error is None else now.error.message
        if (
            anew
            or fingerprint != row["fingerprint"]
            or (was.error is not None and error != was.error.message)
        ):
            marks.append((error, fingerprint, to_json(words_json(now.messages)), thread, row["idx"]))
    changed = await transaction.change(
        "UPDATE {schema}.messages SET content = %s, format = %s"
        " WHERE thread = %s AND turn = %s AND position = %s",
        texts,
    )
    return changed | await transaction.change(
        "UPDATE {schema}.turns SET error_message = %s, fingerprint = %s, words = {schema}.lexemes(%s)"
        " WHERE thread = %s AND idx = %s",
        marks,
    )


def _contents(was: Turn, now: Turn) -> list[tuple[int, object, object]]:
    """Return position, content and format of the messages that changed."""

    def stored(messages: tuple[Message, ...]) -> list[tuple[object, object]]:
        return [
            (message["content"], message["format"])
            for message in messages_json(messages, turn_id=was.id, start=0)
        ]

    pairs = zip(stored(was.messages), stored(now.messages), strict=True)
    return [(position, *new) for position, (old, new) in enumerate(pairs) if new != old]


async def _rewrite_heads(
    transaction: Transaction, space: int, key: CheckpointKey, rewriter: Rewriter
) -> bool:
    changes: list[tuple[object, ...]] = []
    for row in await _rows(transaction, "checkpoints", space):
        at, was = replace(key, checkpoint_id=row["id"]), Blob(row["type"], row["head"])
        now, metadata = rewriter.head(at, was), rewriter.metadata(at, row["metadata"])
        if now != was or metadata != row["metadata"]:
            changes.append((now.type, now.data, metadata, space, row["id"]))
    return await transaction.change(
        "UPDATE {schema}.checkpoints SET type = %s, head = %s, metadata = %s WHERE space = %s AND id = %s",
        changes,
    )


async def _rewrite_channels(
    transaction: Transaction, space: int, key: CheckpointKey, rewriter: Rewriter
) -> bool:
    changes: list[tuple[object, ...]] = []
    for row in await _rows(transaction, "checkpoint_channels", space):
        was = Blob(row["type"], row["data"])
        now = rewriter.channel(key, row["channel"], row["version"], was)
        if now != was:
            changes.append((now.type, now.data, space, row["channel"], row["version"]))
    return await transaction.change(
        "UPDATE {schema}.checkpoint_channels SET type = %s, data = %s"
        " WHERE space = %s AND channel = %s AND version = %s",
        changes,
    )


async def _rewrite_writes(
    transaction: Transaction, space: int, key: CheckpointKey, rewriter: Rewriter
) -> bool:
    changes: list[tuple[object, ...]] = []
    for row in await _rows(transaction, "checkpoint_writes", space):
        was = Blob(row["type"], row["data"])
        write = PendingWrite(row["task_id"], row["task_path"], row["idx"], row["channel"], was)
        now = rewriter.write(replace(key, checkpoint_id=row["checkpoint_id"]), write).value
        if now != was:
            changes.append((now.type, now.data, space, row["checkpoint_id"], row["task_id"], row["idx"]))
    return await transaction.change(
        "UPDATE {schema}.checkpoint_writes SET type = %s, data = %s"
        " WHERE space = %s AND checkpoint_id = %s AND task_id = %s AND idx = %s",
        changes,
    )


async def _rows(transaction: Transaction, table: str, space: int) -> list[Row]:
    query = f"SELECT * FROM {{schema}}.{table} WHERE space = %(space)s"  # noqa: S608 - a name of ours
    return await transaction.rows(query, {"space": space}, binary=True)
