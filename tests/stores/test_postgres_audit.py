"""The audit in PostgreSQL: in the transaction of what it tells of, and out of everybody's reach."""

from typing import TYPE_CHECKING

import psycopg
import pytest

from chatcli.errors import ChatcliError
from chatcli.models import LOCAL_OWNER, utc_now
from chatcli.stores import open_store
from chatcli.stores.records import AuditEntry
from chatcli.text import new_id
from tests.stores.talk import say

if TYPE_CHECKING:
    from tests.stores.postgres import Server

SCHEMA = "audited"


def _deletion_of(thread_id: str) -> AuditEntry:
    return AuditEntry(LOCAL_OWNER, "ann", "cli", "desk", "delete", utc_now(), new_id(), thread_id)


async def test_a_deletion_and_its_entry_are_one_transaction(postgres_server: "Server") -> None:
    """Nobody changes or removes an entry; where one can't be written, the thread stays."""
    store = open_store(postgres_server.url(SCHEMA))
    for name in ("tea", "coffee"):
        await say(store, name)
    await store.delete(LOCAL_OWNER, "tea", audit=_deletion_of("tea"))
    for statement in ("DELETE FROM {s}.audit", "UPDATE {s}.audit SET actor = 'x'", "TRUNCATE {s}.audit"):
        with pytest.raises(psycopg.errors.RaiseException, match="only ever added to"):
            postgres_server.execute(statement, s=SCHEMA)
    assert [entry.thread_id for entry in await store.audit(None, limit=9)] == ["tea"]

    postgres_server.execute("ALTER TABLE {s}.audit ADD CHECK (thread_id = 'tea')", s=SCHEMA)
    with pytest.raises(ChatcliError):
        await store.delete(LOCAL_OWNER, "coffee", audit=_deletion_of("coffee"))
    assert (await store.thread(LOCAL_OWNER, "coffee")).turn_count == 1
    await store.aclose()
