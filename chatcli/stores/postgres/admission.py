"""Asking whether a turn may begin: of the server with the call that begins it, of its caller only if not.

So a turn still takes one round trip to begin. What the server can tell is whether the thread, or the
context of the turn, holds text of a key that the caller does not have.
"""

from contextlib import suppress

from chatcli.errors import ThreadNotFound
from chatcli.stores.base import NewTurn
from chatcli.stores.postgres import threads
from chatcli.stores.postgres.connection import Database
from chatcli.stores.postgres.rows import context_of
from chatcli.stores.postgres.schema import Condition
from chatcli.stores.sealed import foreign

CONTEXT = """
SELECT {schema}.context_json(key, coalesce(%(before)s::integer, turn_count + 1), %(most)s) AS said
FROM {schema}.threads
WHERE owner = %(owner)s AND lower(id) = lower(%(thread)s) AND id = %(thread)s
"""


def refusal_of(new: NewTurn) -> Condition | None:
    """Return the condition on which the caller has to be asked before the turn begins."""
    if new.admission is None:
        return None
    values = (new.owner, new.thread_id, new.context_limit, foreign(new.admission.keys))
    return "{schema}.has_foreign_text(%s, %s, %s, %s)", values


async def ask(database: Database, new: NewTurn) -> None:
    """Ask the caller, who raises an error if the turn may not begin."""
    assert new.admission is not None  # noqa: S101 - there would have been no condition
    with suppress(ThreadNotFound):  # deleted meanwhile
        thread = await threads.get(database, new.owner, new.thread_id)
        values = {"owner": new.owner, "thread": new.thread_id, "before": None, "most": new.context_limit}
        rows = await database.rows(CONTEXT, values)
        new.admission.admit(thread, context_of(rows[0]["said"]) if rows else ())
