"""What is done with threads as wholes: found by their text, cleaned up, forked, imported."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from chatcli.errors import InvalidRequest, ThreadArchived
from chatcli.models import Role, Thread, Turn, format_time
from chatcli.stores.base import Expiry, Hit, Sweep
from chatcli.stores.matching import CANDIDATES, best_line, score, searched_text, words_of
from chatcli.stores.postgres import turns as turns_of
from chatcli.stores.postgres.auditing import entry_json
from chatcli.stores.postgres.connection import Database
from chatcli.stores.postgres.rows import (
    message_of,
    messages_json,
    thread_of,
    to_json,
    words_json,
)
from chatcli.stores.postgres.threads import raise_refusal
from chatcli.stores.records import arrival

_SEARCH = """
WITH found AS MATERIALIZED (
  SELECT turns.thread, turns.idx, turns.id FROM {schema}.turns
  JOIN {schema}.threads ON threads.key = turns.thread
  WHERE threads.owner = %(owner)s AND turns.words @@ %(query)s::tsquery
    AND (%(archived)s::boolean IS NULL OR (threads.archived_at IS NOT NULL) = %(archived)s::boolean)
  ORDER BY turns.started_at DESC, turns.thread DESC, turns.idx DESC LIMIT %(most)s
)
SELECT threads.used, found.idx, {schema}.thread_json(threads) AS thread, (
  SELECT json_agg({schema}.message_json(messages, found.id) ORDER BY position)
  FROM {schema}.messages WHERE messages.thread = found.thread AND messages.turn = found.idx
) AS said
FROM found JOIN {schema}.threads ON threads.key = found.thread
"""

_NEWEST = "SELECT max(updated_at) AS newest FROM {schema}.threads WHERE owner = %(owner)s"


async def search(
    database: Database, owner: str, text: str, *, limit: int, archived: bool | None
) -> tuple[Hit, ...]:
    """Return the threads with the turns that match best; the index finds them, `matching` compares them."""
    words = words_of(text)
    if not words:
        return ()
    query = " & ".join([*(f"'{word}'" for word in words[:-1]), f"'{words[-1]}':*"])
    values = {"owner": owner, "query": query, "archived": archived, "most": CANDIDATES}
    best: dict[str, tuple[float, int, int, Hit]] = {}
    for row in await database.rows(_SEARCH, values):
        said = searched_text([message_of(message) for message in row["said"]])
        points = score(words, said)
        thread = thread_of(row["thread"])
        if points and (points, row["idx"]) > best.get(thread.id, (0.0, 0))[:2]:
            hit = Hit(thread, row["idx"], *best_line(words, said))
            best[thread.id] = (points, row["idx"], row["used"], hit)
    ranked = sorted(best.values(), key=lambda entry: (entry[0], entry[2]), reverse=True)
    return tuple(entry[-1] for entry in ranked[:limit])


async def sweep(
    database: Database, owner: str, expiry: Expiry, *, limit: int, cursor: str | None, dry_run: bool
) -> Sweep:
    """Look at the next threads, least recently used first, and remove the expired ones."""
    found = await database.call(
        "sweep_threads",
        database.key,
        owner,
        expiry.before,
        expiry.archived_only,
        expiry.keep,
        0 if cursor is None else _place_of(cursor),
        limit,
        dry_run,
        repeatable=False,
        audit=None if dry_run else entry_json(expiry.audit),
    )
    return Sweep(
        scanned=found["scanned"],
        removed=tuple(thread_of(thread) for thread in found["removed"]),
        busy=tuple(found["busy"]),
        cursor=None if found["cursor"] is None else str(found["cursor"]),
        freed=found["freed"],
    )


async def newest_use(database: Database, owner: str) -> datetime | None:
    """Return the latest time at which a thread was used."""
    (row,) = await database.rows(_NEWEST, {"owner": owner})
    newest: datetime | None = row["newest"]
    return newest


async def fork(
    database: Database, owner: str, thread_id: str, *, fork_id: str, title: str, turns: int
) -> Thread:
    """Make a thread with copies of the first turns of another."""
    found = await database.call(
        "fork_thread", database.key, owner, thread_id, fork_id, title, turns, repeatable=False
    )
    return _fork(found, thread_id)


async def undo(
    database: Database, owner: str, thread_id: str, *, fork_id: str, title: str, turns: int
) -> Thread:
    """Take the last turns off a thread; a fork has all of them."""
    found = await database.call(
        "undo_turns", database.key, owner, thread_id, fork_id, title, turns, repeatable=False
    )
    return _fork(found, thread_id)


async def import_thread(database: Database, thread: Thread, turns: Sequence[Turn]) -> bool:
    """Write a whole thread; False if it is there already."""
    thread, turns = arrival(thread, turns)
    request = {
        "owner": thread.owner,
        "id": thread.id,
        "title": thread.title,
        "language": thread.language,
        "system": thread.system,
        "model": thread.model,
        "created_at": format_time(thread.created_at),
        "updated_at": format_time(thread.updated_at),
        "archived_at": None if thread.archived_at is None else format_time(thread.archived_at),
        "turns": [_turn_json(turn) for turn in turns],
    }
    found = await database.call("import_thread", to_json(request))
    if found.get("imported"):
        return True
    if found["id"] == thread.id:
        there = await turns_of.read(database, thread.owner, thread.id, after=0, limit=None)
        if there == turns:
            return False
    raise _taken(found["id"])


def _turn_json(turn: Turn) -> dict[str, object]:
    usage, error = turn.usage, turn.error
    return {
        "idx": turn.index,
        "id": turn.id,
        "state": turn.state.value,
        "answered": any(message.role is Role.AI for message in turn.messages),
        "started_at": format_time(turn.started_at),
        "finished_at": None if turn.finished_at is None else format_time(turn.finished_at),
        "model": turn.model,
        "finish_reason": turn.finish_reason,
        "input_tokens": None if usage is None else usage.input_tokens,
        "output_tokens": None if usage is None else usage.output_tokens,
        "error": None if error is None else error.name,
        "error_message": None if error is None else error.message,
        "said": messages_json(turn.messages, turn_id=turn.id, start=0),
        "words": words_json(turn.messages),
    }


def _fork(found: Mapping[str, Any], thread_id: str) -> Thread:
    match found.get("refused"):
        case "few":
            raise InvalidRequest(
                f"thread {thread_id} has {found['turns']} turns", hint="give a smaller number"
            )
        case "taken":
            raise _taken(found["id"])
        case "archived":
            raise ThreadArchived(
                f"thread {thread_id} is archived",
                hint=f"chatcli archive --restore {thread_id} takes it back",
            )
    raise_refusal(found, thread_id)
    return thread_of(found)


def _taken(thread_id: str) -> InvalidRequest:
    return InvalidRequest(f"there is another thread {thread_id}", hint="use another id, or delete it first")


def _place_of(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):  # noqa: PLR2004
        raise InvalidRequest("that is not a cursor of a sweep", hint="begin again without a cursor")
    return int(cursor)
