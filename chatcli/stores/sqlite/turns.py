"""What is done to turns within one transaction."""

import sqlite3

from chatcli.errors import InvalidRequest, ThreadArchived, ThreadBusy, ThreadNotFound
from chatcli.frozen import replace
from chatcli.models import Message, Turn, TurnState, format_time, utc_now
from chatcli.stores.base import Begun, CheckpointRow, Lease, NewTurn, Outcome
from chatcli.stores.sqlite import checkpoints
from chatcli.stores.sqlite.chains import segments
from chatcli.stores.sqlite.leases import Holder
from chatcli.stores.sqlite.rows import insert_messages, message_of, thread_after, thread_of, turn_of
from chatcli.stores.sqlite.threads import end_orphan, find, get, is_live, next_use

_ENDED = (TurnState.COMPLETE, TurnState.TRUNCATED)
"""States whose answer is given again for the same idempotency key; after others it may be tried again."""


def begin(connection: sqlite3.Connection, new: NewTurn, holder: Holder) -> Begun:
    """Write a running turn with its prompt and take the thread's lease."""
    thread = find(connection, new.owner, new.thread_id)
    if thread is not None and thread["id"] != new.thread_id:
        raise InvalidRequest(
            f"there is a thread {thread['id']}: ids that differ only in case can't both exist",
            hint=f"use {thread['id']}, or another id",
        )
    if thread is None and not new.create:
        raise ThreadNotFound(f"there is no thread {new.thread_id}")
    said: tuple[Message, ...] = ()
    if thread is not None:
        earlier = _find_key(connection, thread, new)
        if earlier is not None and earlier["state"] in _ENDED:
            turn = _read(connection, thread, earlier, live=False)
            return Begun(thread_of(thread), turn, created=False, lease=None)
        if thread["archived_at"] is not None:
            raise ThreadArchived(
                f"thread {new.thread_id} is archived",
                hint=f"chatcli archive --restore {new.thread_id} takes it back",
            )
        if is_live(thread, holder):
            raise ThreadBusy(
                f"another turn is running on thread {thread['id']}",
                hint="wait until it has ended",
                retry_after=1.0,
            )
        said = _admit(connection, new, thread)
        end_orphan(connection, thread)
        if earlier is not None:
            connection.execute(
                "UPDATE turns SET idempotency_key = NULL, fingerprint = NULL WHERE thread = ? AND idx = ?",
                (thread["key"], earlier["idx"]),
            )
    return _write(connection, new, thread, holder, said)


def _admit(connection: sqlite3.Connection, new: NewTurn, thread: sqlite3.Row) -> tuple[Message, ...]:
    """Return the context of the turn if it may begin."""
    limit = new.context_limit
    said = context(connection, new.owner, new.thread_id, limit=limit, before=None) if limit else ()
    if new.admission is not None:
        new.admission.admit(thread_of(thread), said)
    return said


def _write(
    connection: sqlite3.Connection,
    new: NewTurn,
    thread: sqlite3.Row | None,
    holder: Holder,
    said: tuple[Message, ...],
) -> Begun:
    moment = utc_now()
    now = format_time(moment)
    used = next_use(connection)
    lease = Lease(new.owner, new.thread_id, new.turn_id)
    byte, until = holder.claim(lease), holder.until()
    if thread is None:
        index = 1
        key = connection.execute(
            "INSERT INTO threads (owner, id, title, language, system, model, created_at, updated_at, used,"
            " turn_count, running, holder, lease_until) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 1, 1, ?, ?)",
            (
                new.owner,
                new.thread_id,
                new.title,
                new.language or "English",
                new.system,
                new.model,
                now,
                now,
                used,
                byte,
                until,
            ),
        ).lastrowid
    else:
        index, key = thread["turn_count"] + 1, thread["key"]
        connection.execute(
            "UPDATE threads SET title = iif(?, ?, title), language = coalesce(?, language),"
            " system = coalesce(?, system), model = ?, updated_at = ?, used = ?, turn_count = ?, running = ?,"
            " holder = ?, lease_until = ? WHERE key = ?",
            (
                new.rename,
                new.title,
                new.language,
                new.system,
                new.model,
                now,
                used,
                index,
                index,
                byte,
                until,
                key,
            ),
        )
    assert key is not None  # noqa: S101 - an INSERT has a rowid
    connection.execute(
        "INSERT INTO turns (thread, idx, id, state, started_at, model, idempotency_key, fingerprint)"
        " VALUES (?, ?, ?, 'running', ?, ?, ?, ?)",
        (key, index, new.turn_id, now, new.model, new.idempotency_key, new.fingerprint),
    )
    insert_messages(connection, new.prompt, thread=key, turn=index, turn_id=new.turn_id, start=0)
    return Begun(
        thread_after(thread, new, moment),
        Turn(new.turn_id, index, TurnState.RUNNING, moment, new.model, tuple(new.prompt)),
        created=thread is None,
        lease=lease,
        context=said,
    )


def commit(
    connection: sqlite3.Connection, lease: Lease, outcome: Outcome, checkpoint: CheckpointRow | None
) -> Turn:
    """End the turn, and release the thread unless somebody else's turn runs on it by now."""
    thread = get(connection, lease.owner, lease.thread_id)
    turn = _find_turn(connection, thread, lease)
    if turn["state"] != TurnState.RUNNING and turn["orphaned"] is None:
        return _read(connection, thread, turn, live=False)
    key, index = thread["key"], turn["idx"]
    moment = utc_now()
    now = format_time(moment)
    usage, error = outcome.usage, outcome.error
    connection.execute(
        "UPDATE turns SET state = ?, orphaned = NULL, finished_at = ?, finish_reason = ?, input_tokens = ?,"
        " output_tokens = ?, error = ?, error_message = ? WHERE thread = ? AND idx = ?",
        (
            outcome.state.value,
            now,
            outcome.finish_reason,
            None if usage is None else usage.input_tokens,
            None if usage is None else usage.output_tokens,
            None if error is None else error.name,
            None if error is None else error.message,
            key,
            index,
        ),
    )
    begun = _read(connection, thread, turn, live=True)
    start = len(begun.messages)
    insert_messages(connection, outcome.messages, thread=key, turn=index, turn_id=lease.turn_id, start=start)
    connection.execute(
        "UPDATE threads SET updated_at = ?, used = ?, running = nullif(running, ?),"
        " holder = iif(running = ?, NULL, holder), lease_until = iif(running = ?, NULL, lease_until)"
        " WHERE key = ?",
        (now, next_use(connection), index, index, index, key),
    )
    if checkpoint is not None and index == thread["turn_count"]:  # a late one is not the newest any more
        checkpoints.put(connection, checkpoint, keep="latest")
    return replace(
        begun,
        state=outcome.state,
        messages=(*begun.messages, *outcome.messages),
        finished_at=moment,
        finish_reason=outcome.finish_reason,
        usage=usage,
        error=error,
    )


def renew(connection: sqlite3.Connection, lease: Lease, holder: Holder) -> None:
    """Hold the lease for another while, as this store's own; silent where it is gone."""
    thread = find(connection, lease.owner, lease.thread_id)
    if thread is None or thread["running"] is None:
        return
    if _row(connection, thread["key"], thread["running"])["id"] == lease.turn_id:
        connection.execute(
            "UPDATE threads SET holder = ?, lease_until = ? WHERE key = ?",
            (holder.claim(lease), holder.until(), thread["key"]),
        )


def context(
    connection: sqlite3.Connection, owner: str, thread_id: str, *, limit: int, before: int | None
) -> tuple[Message, ...]:
    """Walk back from the newest turn until `limit` messages of answered turns are found."""
    thread = find(connection, owner, thread_id)
    if thread is None or thread["id"] != thread_id:
        return ()
    rows: list[sqlite3.Row] = []
    newest = thread["turn_count"] if before is None else before - 1
    for key, after, upto in segments(connection, thread, newest):
        rows += connection.execute(
            "SELECT messages.*, (SELECT turns.id FROM turns"
            " WHERE turns.thread = messages.thread AND turns.idx = messages.turn) AS turn_id FROM messages"
            " WHERE thread = ? AND turn > ? AND turn <= ? AND role <> 'system'"
            " AND EXISTS (SELECT 1 FROM messages AS answer WHERE answer.thread = messages.thread"
            " AND answer.turn = messages.turn AND answer.role = 'ai')"
            " ORDER BY turn DESC, position DESC LIMIT ?",
            (key, after, upto, limit - len(rows)),
        )
        if len(rows) >= limit:
            break
    while rows and rows[-1]["role"] != "human":
        rows.pop()
    return tuple(message_of(row, row["turn_id"]) for row in reversed(rows))


def read_turns(
    connection: sqlite3.Connection,
    owner: str,
    thread_id: str,
    holder: Holder,
    *,
    after: int,
    limit: int | None,
) -> tuple[Turn, ...]:
    """Return the turns over `after`, oldest first."""
    thread = get(connection, owner, thread_id)
    last = thread["turn_count"] if limit is None else min(after + limit, thread["turn_count"])
    found: list[sqlite3.Row] = []
    said: dict[int, list[Message]] = {}
    for key, below, upto in reversed(list(segments(connection, thread, last, down_to=after))):
        turns = connection.execute(
            "SELECT * FROM turns WHERE thread = ? AND idx > ? AND idx <= ? ORDER BY idx", (key, below, upto)
        ).fetchall()
        said |= {turn["idx"]: [] for turn in turns}
        ids = {turn["idx"]: turn["id"] for turn in turns}
        for row in connection.execute(
            "SELECT * FROM messages WHERE thread = ? AND turn > ? AND turn <= ? ORDER BY turn, position",
            (key, below, upto),
        ):
            said[row["turn"]].append(message_of(row, ids[row["turn"]]))
        found += turns
    live = thread["running"] if is_live(thread, holder) else None
    return tuple(turn_of(turn, said[turn["idx"]], live=turn["idx"] == live) for turn in found)


def _find_key(connection: sqlite3.Connection, thread: sqlite3.Row, new: NewTurn) -> sqlite3.Row | None:
    """Return the turn that has the idempotency key of `new`, if any."""
    if new.idempotency_key is None:
        return None
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM turns WHERE thread = ? AND idempotency_key = ?", (thread["key"], new.idempotency_key)
    ).fetchone()
    if row is not None and row["fingerprint"] != new.fingerprint:
        raise InvalidRequest(
            "the idempotency key was used for another request on this thread",
            hint="use a new key for a new request",
        )
    return row


def _find_turn(connection: sqlite3.Connection, thread: sqlite3.Row, lease: Lease) -> sqlite3.Row:
    """Return the turn of `lease`, looking from the newest back: it is nearly always the first."""
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM turns WHERE thread = ? AND id = ? ORDER BY idx DESC LIMIT 1",
        (thread["key"], lease.turn_id),
    ).fetchone()
    if row is None:
        raise ThreadNotFound(f"thread {lease.thread_id} was cleared while the turn ran")
    return row


def _row(connection: sqlite3.Connection, thread: int, index: int) -> sqlite3.Row:
    row: sqlite3.Row = connection.execute(
        "SELECT * FROM turns WHERE thread = ? AND idx = ?", (thread, index)
    ).fetchone()
    return row


def _read(connection: sqlite3.Connection, thread: sqlite3.Row, turn: sqlite3.Row, *, live: bool) -> Turn:
    rows = connection.execute(
        "SELECT * FROM messages WHERE thread = ? AND turn = ? ORDER BY position", (thread["key"], turn["idx"])
    )
    return turn_of(turn, [message_of(row, turn["id"]) for row in rows], live=live)
