"""A store whose session in the server is cut lives on, and nobody takes its thread from it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from chatcli.errors import ThreadBusy
from chatcli.models import LOCAL_OWNER, TurnState, utc_now
from chatcli.stores import open_store
from chatcli.stores.base import ThreadStore
from chatcli.stores.postgres.address import Address
from tests.stores.postgres import Server
from tests.stores.talk import answer, held, new_turn, say, texts

LOCKED = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ExclusiveLock' AND granted"


@pytest.fixture
def url(postgres_server: Server) -> str:
    """The URL of an empty store, whose sessions have its own name in the server."""
    found = postgres_server.url()
    return f"{found}&application_name={Address.of(found).schema}"


@pytest.fixture
async def stores(url: str) -> AsyncIterator[tuple[ThreadStore, ThreadStore]]:
    """Two stores in one place, as two processes have them; only the first one's sessions can be cut."""
    first, second = open_store(url), open_store(url.partition("&application_name")[0])
    yield first, second
    await first.aclose()
    await second.aclose()


def holders(server: Server, url: str) -> list[int]:
    """Return the processes of the first store's sessions that hold a lock."""
    name = Address.of(url).parameters["application_name"]
    where = f"pid IN (SELECT pid FROM pg_stat_activity WHERE application_name = '{name}')"  # noqa: S608 - ours
    return [pid for (pid,) in server.execute(f"{LOCKED} AND {where}")]


async def test_a_cut_session_is_no_dead_process(
    stores: tuple[ThreadStore, ThreadStore], postgres_server: Server, url: str
) -> None:
    """While the turn runs, its store locks again by itself, and the thread stays its own."""
    first, second = stores
    await say(first)
    begun = await first.begin(new_turn(prompt="And now?"))
    for _ in range(2):
        (pid,) = holders(postgres_server, url)
        postgres_server.execute(f"SELECT pg_terminate_backend({pid}, 30000)")
        while holders(postgres_server, url) in ([], [pid]):  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.01)
        with pytest.raises(ThreadBusy):
            await second.begin(new_turn(prompt="Mine!"))
        with pytest.raises(ThreadBusy):
            await second.delete(LOCAL_OWNER, "tea")
        assert (await second.turns(LOCAL_OWNER, "tea"))[-1].state is TurnState.RUNNING
    await first.commit(held(begun), answer("80", turn_id=begun.turn.id))
    await say(second, prompt="Mine!")
    assert [said[0] for said in texts(await first.turns(LOCAL_OWNER, "tea"))] == [
        "How hot?",
        "And now?",
        "Mine!",
    ]


async def test_who_locks_again_in_time_lives(postgres_server: Server, url: str) -> None:
    """Whoever looks for a lock that is free for a moment waits for that moment, and no longer."""
    store = open_store(url)
    await say(store)
    await store.aclose()
    schema = Address.of(url).schema
    is_live = f'SELECT "{schema}".is_live(%s, %s, 0)'
    until = utc_now() + timedelta(minutes=5)

    def look(key: int) -> bool:
        with postgres_server.connect() as connection:
            connection.execute("SET application_name = 'looking'")
            row = connection.execute(is_live.encode(), (key, until)).fetchone()
        assert row is not None
        return bool(row[0])

    sleeping = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'looking' AND wait_event = 'PgSleep'"
    lives = False
    for key in range(1, 100):  # a machine may be so busy that it is too late
        looking = asyncio.create_task(asyncio.to_thread(look, key))
        with postgres_server.connect() as connection:
            while not looking.done() and not connection.execute(sleeping.encode()).fetchone():  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            connection.execute("SELECT pg_advisory_lock(%s)", (key,))
            lives = await looking
        if lives:
            break
    assert lives, "nobody noticed that it was locked again"
    assert await asyncio.to_thread(look, 1000) is False
