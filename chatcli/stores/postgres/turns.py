"""What is done to turns."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from chatcli.errors import (
    ChatcliError,
    InvalidRequest,
    NotSaved,
    StoreUnavailable,
    ThreadArchived,
    ThreadNotFound,
)
from chatcli.frozen import replace
from chatcli.models import Message, Role, Turn
from chatcli.stores.base import LEASE_SECONDS, Begun, CheckpointRow, Lease, NewTurn, Outcome
from chatcli.stores.postgres.admission import CONTEXT, ask, refusal_of
from chatcli.stores.postgres.checkpoints import parts_of
from chatcli.stores.postgres.connection import Database, Row
from chatcli.stores.postgres.rows import (
    context_of,
    messages_json,
    thread_of,
    to_json,
    turn_of,
    words_json,
)
from chatcli.stores.postgres.schema import Condition
from chatcli.stores.postgres.threads import busy, missing, raise_refusal
from chatcli.stores.postgres.windows import Windows

_LAST_WORD = 1.0

_LEASE = f"{LEASE_SECONDS} seconds"

_TURNS = """
WITH kept AS MATERIALIZED (
  SELECT key, CASE WHEN {schema}.is_held(holder, lease_until, %(own)s) THEN running END AS live
  FROM {schema}.threads
  WHERE owner = %(owner)s AND lower(id) = lower(%(thread)s) AND id = %(thread)s
)
SELECT found.idx, found.idx = kept.live AS live, {schema}.turn_json(found) AS turn
FROM kept LEFT JOIN LATERAL (
  SELECT * FROM {schema}.turns WHERE turns.thread = kept.key AND idx > %(after)s
  ORDER BY idx LIMIT %(limit)s
) AS found ON true
ORDER BY found.idx
"""


async def begin(database: Database, new: NewTurn, windows: Windows | None) -> Begun:
    """Write a running turn with its prompt and take the thread's lease."""
    lease = Lease(new.owner, new.thread_id, new.turn_id)
    try:
        lock = await database.hold()
        found = await _call_begin(database, lock, new, windows, unless=refusal_of(new))
        if not found:
            await ask(database, new)
            found = await _call_begin(database, lock, new, windows)
        if "refused" in found:
            raise _refusal(found, new)
        if found.get("answered"):
            turn = turn_of(found["turn"], live=False)
            return Begun(thread_of(found["thread"]), turn, created=False, lease=None)
        if await database.hold() != lock:  # the session that held it was lost on the way
            await renew(database, lease)
    except (NotSaved, StoreUnavailable):  # it may have begun all the same
        await abandon(database, lease)
        raise
    return Begun(
        thread_of(found["thread"]),
        turn_of(found["turn"], live=True),
        created=found["created"],
        lease=lease,
        context=context_of(found["context"]),
    )


async def _call_begin(
    database: Database,
    lock: int | None,
    new: NewTurn,
    windows: Windows | None,
    *,
    unless: Condition | None = None,
) -> Row:
    """Return what ``begin_turn`` says; nothing where `unless` holds: it is not called then."""
    place = (database.key, lock, _LEASE)
    if windows is None or not new.context_limit:
        return await database.call("begin_turn", *place, _request_of(new), unless=unless) or {}
    request = _request_of(replace(new, context_limit=0))
    return await windows.begin(database, new, (*place, request), unless=unless)


def _request_of(new: NewTurn) -> str:
    request = {
        "owner": new.owner,
        "thread": new.thread_id,
        "turn": new.turn_id,
        "model": new.model,
        "title": new.title,
        "rename": new.rename,
        "language": new.language,
        "system": new.system,
        "make": new.create,
        "key": new.idempotency_key,
        "fingerprint": new.fingerprint,
        "context": new.context_limit,
        "said": messages_json(new.prompt, turn_id=new.turn_id, start=0),
        "words": words_json(new.prompt),
    }
    return to_json(request)


def _refusal(found: Mapping[str, Any], new: NewTurn) -> ChatcliError:
    match found["refused"]:
        case "case":
            return InvalidRequest(
                f"there is a thread {found['id']}: ids that differ only in case can't both exist",
                hint=f"use {found['id']}, or another id",
            )
        case "key":
            return InvalidRequest(
                "the idempotency key was used for another request on this thread",
                hint="use a new key for a new request",
            )
        case "archived":
            return ThreadArchived(
                f"thread {new.thread_id} is archived",
                hint=f"chatcli archive --restore {new.thread_id} takes it back",
            )
        case "busy":
            return busy(new.thread_id)
        case _:
            return missing(new.thread_id)


async def abandon(database: Database, lease: Lease, *, after: "asyncio.Task[Begun] | None" = None) -> None:
    """Make the turn an orphan, if it can be done: nobody will end it. Else its lease runs out."""
    if after is not None:
        await asyncio.wait({after})
        if after.exception() is not None:
            return
    with suppress(ChatcliError):
        await database.call("abandon_turn", lease.owner, lease.thread_id, lease.turn_id, patience=_LAST_WORD)


async def renew(database: Database, lease: Lease) -> None:
    """Hold the lease for another while, as this store's own; silent where it is gone."""
    lock = await database.hold()
    await database.call("renew_lease", lock, _LEASE, lease.owner, lease.thread_id, lease.turn_id)


async def commit(
    database: Database,
    lease: Lease,
    outcome: Outcome,
    checkpoint: CheckpointRow | None,
    windows: Windows | None,
) -> Turn:
    """End the turn, and release the thread unless somebody else's turn runs on it by now."""
    usage, error = outcome.usage, outcome.error
    ended = {
        "state": outcome.state.value,
        "finish_reason": outcome.finish_reason,
        "input_tokens": None if usage is None else usage.input_tokens,
        "output_tokens": None if usage is None else usage.output_tokens,
        "error": None if error is None else error.name,
        "error_message": None if error is None else error.message,
        "answered": any(message.role is Role.AI for message in outcome.messages),
        "said": messages_json(outcome.messages, turn_id=lease.turn_id, start=0),
        "words": words_json(outcome.messages),
    }
    parts = (None, None, None) if checkpoint is None else parts_of(checkpoint)
    values = (lease.owner, lease.thread_id, lease.turn_id, to_json(ended), *parts)
    try:
        if windows is None:
            found = await database.call("commit_turn", *values)
        else:
            found = await windows.commit(database, lease, values)
    except ChatcliError:  # a turn that could not be ended must not hold its thread
        await abandon(database, lease)
        raise
    if found.get("refused") == "cleared":
        raise ThreadNotFound(f"thread {lease.thread_id} was cleared while the turn ran")
    raise_refusal(found, lease.thread_id)
    return turn_of(found, live=False)


async def context(
    database: Database, owner: str, thread_id: str, *, limit: int, before: int | None
) -> tuple[Message, ...]:
    """Return the newest messages of answered turns."""
    values = {"owner": owner, "thread": thread_id, "before": before, "most": limit}
    rows = await database.rows(CONTEXT, values)
    return context_of(rows[0]["said"]) if rows else ()


async def read(
    database: Database, owner: str, thread_id: str, *, after: int, limit: int | None
) -> tuple[Turn, ...]:
    """Return the turns over `after`, oldest first."""
    values = {"owner": owner, "thread": thread_id, "own": database.key, "after": after, "limit": limit}
    rows = await database.rows(_TURNS, values)
    if not rows:
        raise missing(thread_id)
    return tuple(turn_of(row["turn"], live=bool(row["live"])) for row in rows if row["idx"] is not None)
