"""What the full-text index of PostgreSQL holds: words that can be searched for, and no others."""

from collections.abc import AsyncIterator

import pytest

from chatcli.models import LOCAL_OWNER
from chatcli.stores import open_store
from chatcli.stores.base import ThreadStore
from chatcli.stores.encrypted import EncryptedStore
from chatcli.stores.rewriting import Rewriter
from tests.stores.keys import KEY, protected
from tests.stores.postgres import Server
from tests.stores.talk import say


@pytest.fixture
def schema(postgres_server: Server) -> str:
    """A schema that nobody used before."""
    return postgres_server.url().partition("schema=")[2].partition("&")[0]


@pytest.fixture
async def store(postgres_server: Server, schema: str) -> AsyncIterator[ThreadStore]:
    """A store in the schema."""
    store = open_store(postgres_server.url(schema))
    yield store
    await store.aclose()


def lexemes(server: Server, schema: str) -> list[str]:
    """Return everything that the index finds turns by."""
    rows = server.execute("SELECT DISTINCT (unnest(words)).lexeme FROM {schema}.turns", schema=schema)
    return sorted(lexeme for (lexeme,) in rows)


async def test_sealed_text_is_not_indexed(store: ThreadStore, postgres_server: Server, schema: str) -> None:
    """Encrypted text has no words: the index grows only by what is plain, and follows a change of keys."""
    sealed = protected(store, KEY)
    await say(sealed, "tea", "How hot?", "80 degrees.")
    await say(sealed, "tea", ({"type": "text", "text": "How hot?"},), "80 degrees.")
    assert lexemes(postgres_server, schema) == []
    assert [hit.turn_index for hit in await sealed.search(LOCAL_OWNER, "hot", limit=9)] == [2]

    opened = EncryptedStore(store, sealed.ring.without_current())
    assert await opened.rewrite(LOCAL_OWNER, "tea", Rewriter())
    assert len(await store.search(LOCAL_OWNER, "hot", limit=9)) == 1
    assert await sealed.rewrite(LOCAL_OWNER, "tea", Rewriter())
    assert lexemes(postgres_server, schema) == []
