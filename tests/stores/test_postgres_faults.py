"""PostgreSQL and all that goes wrong around it: nothing is lost, nothing is doubled, and it is said."""

import asyncio
import os
import secrets
import signal
import subprocess
import sys
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from chatcli.errors import (
    ChatcliError,
    ConfigError,
    InvalidText,
    NotSaved,
    StoreCorrupt,
    StoreDenied,
    StoreFull,
    StoreNewerSchema,
    StoreUnavailable,
    ThreadBusy,
)
from chatcli.frozen import replace
from chatcli.models import LOCAL_OWNER, TurnState
from chatcli.stores import open_store
from chatcli.stores.base import Blob, CheckpointKey, CheckpointRow, Lease
from chatcli.stores.postgres import Address, PostgresStore
from tests.stores.postgres import Server, fill_in, running
from tests.stores.proxy import Proxy, network
from tests.stores.rival import rival_of
from tests.stores.talk import answer, held, new_turn, say, texts

LONG = 60.0
"""Seconds after which a call counts as hung."""


@pytest.fixture
def url(postgres_server: Server) -> str:
    """A place for a store that nobody used before; its sessions have a name of their own."""
    return postgres_server.url(application_name=f"faults-{secrets.token_hex(4)}")


@pytest.fixture
async def store(url: str) -> AsyncIterator[PostgresStore]:
    """A store there."""
    store = PostgresStore(Address.of(url))
    yield store
    await store.aclose()


@pytest.fixture
async def proxy(postgres_server: Server) -> AsyncIterator[Proxy]:
    """A network in front of the server."""
    async with network(postgres_server.socket) as proxy:
        yield proxy


@pytest.fixture
async def far_store(proxy: Proxy, schema: str) -> AsyncIterator[PostgresStore]:
    """A store on the same place, seen through the network."""
    store = PostgresStore(proxy.address(schema))
    yield store
    await store.aclose()


@pytest.fixture
def schema(url: str) -> str:
    """The schema there."""
    return Address.of(url).schema


@contextmanager
def impatient(store: PostgresStore) -> Iterator[None]:
    """Let the server take half a second for a call of `store`, for the block."""
    patience, store._database._patience = store._database._patience, 0.5
    yield
    store._database._patience = patience


def end_sessions(server: Server, url: str) -> None:
    """End all sessions of a store in the server, and see them gone."""
    name = Address.of(url).parameters["application_name"]
    where = "FROM pg_stat_activity WHERE application_name = '{name}'"
    assert server.execute("SELECT pg_terminate_backend(pid, 5000) " + where, name=name)
    assert server.execute("SELECT pid " + where, name=name) == []


async def conversation(store: PostgresStore, thread_id: str = "tea") -> list[list[str]]:
    return texts(await store.turns(LOCAL_OWNER, thread_id))


# Connections ---------------------------------------------------------------------------------------


async def test_sessions_killed_in_the_midst_of_a_turn(
    store: PostgresStore, postgres_server: Server, url: str
) -> None:
    """A turn whose sessions the server ended is committed on a fresh one, once, and the next one begins."""
    begun = await store.begin(new_turn())
    end_sessions(postgres_server, url)
    turn = await store.commit(held(begun), answer("80", turn_id=begun.turn.id))
    await say(store, prompt="And now?")

    assert turn.state is TurnState.COMPLETE
    assert await conversation(store) == [["How hot?", "80"], ["And now?", "80 degrees."]]


async def test_stale_connections(store: PostgresStore, postgres_server: Server, url: str) -> None:
    """Connections that died at rest are noticed before they are used: every call works, and once."""
    await asyncio.gather(*(say(store, f"t{number}") for number in range(6)))
    end_sessions(postgres_server, url)
    await store.archive(LOCAL_OWNER, "t1", archived=True)
    end_sessions(postgres_server, url)
    assert (await store.fork(LOCAL_OWNER, "t2", fork_id="f", title="F", turns=1)).turn_count == 1
    end_sessions(postgres_server, url)
    assert (await store.begin(new_turn("t0"))).turn.index == 2


@pytest.mark.parametrize("lost", [1, 2])
async def test_commit_with_a_lost_reply(
    store: PostgresStore, far_store: PostgresStore, proxy: Proxy, lost: int
) -> None:
    """A commit that was carried out but not answered is found to be ours, however often it is said."""
    begun = await far_store.begin(new_turn())
    proxy.losses += [b"commit_turn"] * lost
    outcome = answer("80", turn_id=begun.turn.id)
    if lost == 1:
        turn = await far_store.commit(held(begun), outcome)
    else:
        with pytest.raises(StoreUnavailable):
            await far_store.commit(held(begun), outcome)
        turn = await far_store.commit(held(begun), outcome)

    assert (turn.state, turn.answer) == (TurnState.COMPLETE, "80")
    assert await store.turns(LOCAL_OWNER, "tea") == (turn,)
    assert proxy.losses == []


async def test_begin_with_a_lost_reply(store: PostgresStore, far_store: PostgresStore, proxy: Proxy) -> None:
    """A turn that began without our hearing of it is begun once, and is ours."""
    await say(far_store, prompt="q0", reply="a0")
    proxy.losses.append(b"begin_turn")
    begun = await far_store.begin(replace(new_turn(prompt="q1"), context_limit=20))

    assert (begun.turn.index, begun.turn.state, begun.created) == (2, TurnState.RUNNING, False)
    assert [message.text for message in begun.context] == ["q0", "a0"]
    assert await store.turns(LOCAL_OWNER, "tea") == await far_store.turns(LOCAL_OWNER, "tea")
    with pytest.raises(ThreadBusy):
        await store.begin(new_turn())
    await far_store.commit(held(begun), answer("a1", turn_id=begun.turn.id))
    assert await conversation(store) == [["q0", "a0"], ["q1", "a1"]]


async def test_first_begin_with_a_lost_reply(far_store: PostgresStore, proxy: Proxy) -> None:
    """A thread made by a begin that was not answered is still told as new."""
    await far_store.check()
    proxy.losses.append(b"begin_turn")
    assert (await far_store.begin(new_turn())).created


async def test_begin_that_nobody_heard_of_blocks_nobody(
    store: PostgresStore, far_store: PostgresStore, proxy: Proxy
) -> None:
    """If begin fails although it was carried out, its turn is an orphan and the thread is free."""
    await far_store.check()
    proxy.losses += [b"begin_turn"] * 2
    with pytest.raises(StoreUnavailable):
        await far_store.begin(new_turn(prompt="lost"))
    await far_store.aclose()
    await say(store)
    states = [turn.state for turn in await store.turns(LOCAL_OWNER, "tea")]
    assert states == [TurnState.INTERRUPTED, TurnState.COMPLETE]


async def test_deletion_with_a_lost_reply(far_store: PostgresStore, proxy: Proxy) -> None:
    """A thread that was deleted without our hearing of it is reported as deleted."""
    await say(far_store)
    proxy.losses.append(b"delete_thread")
    await far_store.delete(LOCAL_OWNER, "tea")
    assert (await far_store.threads(LOCAL_OWNER, limit=1)).threads == ()


async def test_fork_with_a_lost_reply(far_store: PostgresStore, proxy: Proxy) -> None:
    """What can't be told from a second wish is not tried again: it is said that the store did not answer."""
    await say(far_store)
    proxy.losses.append(b"fork_thread")
    with pytest.raises(StoreUnavailable):
        await far_store.fork(LOCAL_OWNER, "tea", fork_id="f", title="F", turns=1)
    assert len((await far_store.threads(LOCAL_OWNER, limit=9)).threads) == 2


async def test_silent_server(store: PostgresStore, far_store: PostgresStore, proxy: Proxy) -> None:
    """A server that says nothing more is given up in time, for every call; when it speaks, all works."""
    begun = await far_store.begin(new_turn())
    proxy.silent = True
    for call in (
        far_store.commit(held(begun), answer("80", turn_id=begun.turn.id)),
        far_store.threads(LOCAL_OWNER, limit=1),
    ):
        with impatient(far_store), pytest.raises(StoreUnavailable):
            await asyncio.wait_for(call, LONG)
    proxy.silent = False
    await far_store.commit(held(begun), answer("80", turn_id=begun.turn.id))
    assert await conversation(store) == [["How hot?", "80"]]


async def test_cancelled_begin_leaves_an_orphan(
    store: PostgresStore, postgres_server: Server, schema: str
) -> None:
    """A begin whose task is cancelled while the server works on it does not hold the thread."""
    await say(store)
    with postgres_server.connect() as other, other.transaction():
        other.execute(fill_in("SELECT 1 FROM {schema}.threads FOR UPDATE", schema=schema))
        beginning = asyncio.create_task(store.begin(new_turn(prompt="cancelled")))
        waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%{schema}%'"
        while not postgres_server.execute(waiting, schema=schema):  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.001)
        beginning.cancel()
        with pytest.raises(asyncio.CancelledError):
            await beginning
    async with asyncio.timeout(LONG):
        while len(await store.turns(LOCAL_OWNER, "tea")) < 3:
            with suppress(ThreadBusy):
                await say(store, prompt="next")
    states = [turn.state.value for turn in await store.turns(LOCAL_OWNER, "tea")]
    assert states == ["complete", "interrupted", "complete"]


async def test_row_held_by_another_program(
    store: PostgresStore, url: str, postgres_server: Server, schema: str
) -> None:
    """A lock of another program is waited for, but not for long; other threads do not wait at all."""
    await say(store)
    hasty = PostgresStore(Address.of(url), patience=0.5)
    with postgres_server.connect() as other, other.transaction():
        other.execute(fill_in("SELECT 1 FROM {schema}.threads FOR UPDATE", schema=schema))
        with pytest.raises(StoreUnavailable):
            await hasty.begin(new_turn())
        await say(store, "coffee")
        await hasty.aclose()
    await say(store)


# The holder ----------------------------------------------------------------------------------------


async def test_lost_holder_is_found_again(
    store: PostgresStore, postgres_server: Server, url: str, schema: str
) -> None:
    """If the session that says that a turn lives is ended, renewing says it again on another."""
    begun = await store.begin(new_turn())
    other = PostgresStore(Address.of(postgres_server.url(schema)))
    assert (await other.turns(LOCAL_OWNER, "tea"))[0].state is TurnState.RUNNING
    end_sessions(postgres_server, url)
    assert (await other.turns(LOCAL_OWNER, "tea"))[0].state is TurnState.INTERRUPTED
    await store.renew(held(begun))
    assert (await other.turns(LOCAL_OWNER, "tea"))[0].state is TurnState.RUNNING
    with pytest.raises(ThreadBusy):
        await other.begin(new_turn())
    await other.aclose()


async def test_lease_runs_out(store: PostgresStore, postgres_server: Server, schema: str) -> None:
    """A lease that was not renewed is void by the server's clock, even if its holder seems to live."""
    begun = await store.begin(new_turn(prompt="early"))
    postgres_server.execute(
        "UPDATE {schema}.threads SET lease_until = clock_timestamp() - interval '1 ms'", schema=schema
    )
    await say(store, prompt="late")
    await store.commit(held(begun), answer("80", turn_id=begun.turn.id))
    assert await conversation(store) == [["early", "80"], ["late", "80 degrees."]]


async def test_behind_a_pooler(far_store: PostgresStore, proxy: Proxy, url: str) -> None:
    """Where sessions are not ours alone they are left as they are, and only time tells who is dead."""
    proxy.pooling = True
    begun = await far_store.begin(new_turn(prompt="early"))
    await far_store.aclose()
    other = PostgresStore(Address.of(url))
    with pytest.raises(ThreadBusy):
        await other.begin(new_turn())
    (row,) = await other._database.rows("SELECT holder FROM {schema}.threads", {})
    assert row["holder"] is None
    await far_store.renew(held(begun))
    (row,) = await far_store._database.rows("SELECT current_setting('statement_timeout') AS timeout", {})
    assert row["timeout"] == "0"
    await far_store.commit(held(begun), answer("80", turn_id=begun.turn.id))
    assert await conversation(other) == [["early", "80"]]
    await other.aclose()


async def test_no_connection_is_held_for_a_turn(
    store: PostgresStore, postgres_server: Server, url: str
) -> None:
    """However many turns run, the server has few sessions for them, and none in a transaction."""
    begun = await asyncio.gather(*(store.begin(new_turn(f"t{number}")) for number in range(32)))
    name = Address.of(url).parameters["application_name"]
    sessions = postgres_server.execute(
        "SELECT state FROM pg_stat_activity WHERE application_name = '{name}'", name=name
    )
    assert len(sessions) <= 8
    assert set(sessions) == {("idle",)}
    await asyncio.gather(*(store.commit(held(each), answer("80", turn_id=each.turn.id)) for each in begun))


# The server ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own_server() -> Iterator[Server]:
    """A server of these tests' own, that they may stop; each leaves it running."""
    with running() as server:
        yield server


async def test_server_that_goes_and_comes(own_server: Server) -> None:
    """While the server is down every call says so at once; when it is back, the turn is committed, once."""
    store = PostgresStore(Address.of(own_server.url()))
    await say(store, prompt="before")
    begun = await store.begin(new_turn(prompt="meanwhile"))
    own_server.stop()
    for call in (
        store.commit(held(begun), answer("80", turn_id=begun.turn.id)),
        store.renew(held(begun)),
        store.threads(LOCAL_OWNER, limit=1),
        store.begin(new_turn("coffee")),
        store.check(),
    ):
        with pytest.raises(StoreUnavailable, match="can't be reached"):
            await asyncio.wait_for(call, LONG)
    own_server.start()
    await store.commit(held(begun), answer("80", turn_id=begun.turn.id))
    await say(store, prompt="after")
    await store.aclose()
    assert await conversation(store) == [
        ["before", "80 degrees."],
        ["meanwhile", "80"],
        ["after", "80 degrees."],
    ]
    await store.aclose()


async def test_killed_session(own_server: Server) -> None:
    """A server that has to recover, since one of its processes was killed, is waited for: nothing is lost."""
    url = own_server.url(application_name="killed")
    async with aclosing(PostgresStore(Address.of(url), patience=LONG)) as store:
        begun = await store.begin(new_turn())
        ((pid,),) = own_server.execute("SELECT pid FROM pg_stat_activity WHERE application_name = 'killed'")
        with own_server.connect() as witness:
            os.kill(pid, signal.SIGKILL)
            with pytest.raises(psycopg.OperationalError):  # the server has noticed, and ends all sessions
                await asyncio.to_thread(witness.execute, "SELECT pg_sleep(200)")
        await store.commit(held(begun), answer("80", turn_id=begun.turn.id))
        await say(store, prompt="after")
        assert await conversation(store) == [["How hot?", "80"], ["after", "80 degrees."]]


async def test_nobody_there() -> None:
    """A server that is not there, or a host that has no address, is unavailable."""
    for place in ("127.0.0.1:1", "nowhere.invalid"):
        store = open_store(f"postgresql://ann:canary@{place}/chat")
        with pytest.raises(StoreUnavailable, match="can't be reached") as caught:
            await store.begin(new_turn())
        assert_no_secret(caught.value)
        await store.aclose()


def assert_no_secret(error: ChatcliError) -> None:
    """See that the password is in nothing that anybody could show or log."""
    shown = "".join(traceback.format_exception(error)) + repr(error) + str(error.hint) + str(error.to_json())
    assert "canary" not in shown


async def test_refused_users(postgres_server: Server, url: str) -> None:
    """A wrong password, a missing one and an unknown user are refusals; nothing shows the password."""
    role = f"ann_{secrets.token_hex(4)}"
    with postgres_server.asking_passwords(role, "right"):
        right = url.replace("postgres@", f"{role}:right@")
        for wrong in (
            right.replace(":right@", ":canary@"),
            right.replace(":right@", "@"),
            url.replace("postgres@", "nobody_canary:canary@").replace("nobody_canary", "nobody_there"),
        ):
            store = open_store(wrong)
            assert "canary" not in repr(store)
            with pytest.raises(StoreDenied) as caught:
                await store.begin(new_turn())
            assert_no_secret(caught.value)
            await store.aclose()
        store = open_store(right)  # the user is let in, but may make no schema
        with pytest.raises(StoreDenied):
            await store.begin(new_turn())
        await store.aclose()


async def test_unknown_database(postgres_server: Server) -> None:
    """A database that is not there is a setting to correct, not an empty store."""
    store = open_store(postgres_server.url().replace("/postgres?", "/nowhere?"))
    with pytest.raises(ConfigError, match="no such database"):
        await store.threads(LOCAL_OWNER, limit=1)
    await store.aclose()


async def test_full_disk(store: PostgresStore, postgres_server: Server, schema: str) -> None:
    """Without room nothing is half written, it is said, and the thread is free when there is room again."""
    begun = await store.begin(new_turn())
    postgres_server.execute(
        "CREATE FUNCTION {schema}.no_room() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END$$",
        "CREATE TRIGGER no_room BEFORE INSERT ON {schema}.messages EXECUTE FUNCTION {schema}.no_room()",
        schema=schema,
    )
    with pytest.raises(StoreFull):
        await store.commit(held(begun), answer("80", turn_id=begun.turn.id))
    with pytest.raises(StoreFull):
        await store.begin(new_turn("coffee"))
    assert [thread.id for thread in (await store.threads(LOCAL_OWNER, limit=9)).threads] == ["tea"]
    postgres_server.execute("DROP TRIGGER no_room ON {schema}.messages", schema=schema)
    await say(store)
    assert await conversation(store) == [["How hot?"], ["How hot?", "80 degrees."]]


async def test_read_only_server(store: PostgresStore, url: str) -> None:
    """Where nothing can be written, as on a standby, threads can be read, and turns are refused."""
    await say(store)
    reader = open_store(f"{url}&options=-c%20default_transaction_read_only%3Don")
    assert texts(await reader.turns(LOCAL_OWNER, "tea")) == [["How hot?", "80 degrees."]]
    with pytest.raises(NotSaved, match="can only be read"):
        await reader.begin(new_turn())
    await reader.aclose()


async def test_text_that_it_cannot_keep(store: PostgresStore) -> None:
    """A NUL or a lone surrogate, should one come by, is refused as text; nothing is written."""
    for text in ("a\0b", "a\ud800b"):
        with pytest.raises(InvalidText):
            await store.begin(new_turn(prompt=text))
        with pytest.raises(InvalidText):
            await store.thread(LOCAL_OWNER, text)
    assert (await store.threads(LOCAL_OWNER, limit=1)).threads == ()


# The schema ----------------------------------------------------------------------------------------


async def test_newer_schema_is_not_touched(
    store: PostgresStore, postgres_server: Server, url: str, schema: str
) -> None:
    """Tables of a newer program are refused, by those who open them and those who had them open."""
    begun = await store.begin(new_turn())
    postgres_server.execute("INSERT INTO {schema}.chatcli_schema (version) VALUES (99)", schema=schema)
    fresh = PostgresStore(Address.of(url))
    with pytest.raises(StoreNewerSchema, match="schema 99"):
        await fresh.threads(LOCAL_OWNER, limit=1)
    for call in (
        store.commit(held(begun), answer("80", turn_id=begun.turn.id)),
        store.begin(new_turn("coffee")),
        store.delete(LOCAL_OWNER, "tea"),
    ):
        with pytest.raises(StoreNewerSchema):
            await call
    await fresh.aclose()
    said = postgres_server.execute("SELECT count(*) FROM {schema}.messages", schema=schema)
    assert said == [(1,)]


async def test_older_schema_is_brought_up_to_date(url: str) -> None:
    """Migrations that are missing are run, once, and what was there stays."""
    older = PostgresStore(Address.of(url))
    await say(older)
    database = older._database
    newer = PostgresStore(
        Address.of(url), migrations=(*database._migrations, "CREATE TABLE later (x integer); SELECT 1")
    )
    for _ in range(2):
        assert await conversation(newer) == [["How hot?", "80 degrees."]]
        await newer.aclose()
    with pytest.raises(StoreNewerSchema):
        await say(older)
    await older.aclose()


async def test_failed_migration_leaves_the_old_schema(url: str, postgres_server: Server, schema: str) -> None:
    """A migration that dies at any point has changed nothing."""
    older = PostgresStore(Address.of(url))
    await say(older)
    broken = PostgresStore(
        Address.of(url),
        migrations=(*older._database._migrations, "CREATE TABLE later (x integer)", "SELECT 1 / 0"),
    )
    with pytest.raises(StoreUnavailable, match="22012"):
        await broken.threads(LOCAL_OWNER, limit=1)
    await broken.aclose()
    found = postgres_server.execute("SELECT to_regclass('{schema}.later')", schema=schema)
    assert found == [(None,)]
    await say(older)
    await older.aclose()


async def test_foreign_tables_are_not_touched(postgres_server: Server, url: str, schema: str) -> None:
    """A schema with tables of another program is refused, and left as it is."""
    postgres_server.execute(
        "CREATE SCHEMA {schema}", "CREATE TABLE {schema}.threads (x integer)", schema=schema
    )
    store = PostgresStore(Address.of(url))
    with pytest.raises(StoreCorrupt, match="another program"):
        await store.begin(new_turn())
    await store.aclose()
    tables = postgres_server.execute(
        "SELECT tablename FROM pg_tables WHERE schemaname = '{schema}'", schema=schema
    )
    assert tables == [("threads",)]


async def test_vanished_tables(store: PostgresStore, postgres_server: Server, schema: str) -> None:
    """If somebody drops the tables under us, that is damage, and not an empty store."""
    await say(store)
    postgres_server.execute("DROP SCHEMA {schema} CASCADE", schema=schema)
    for call in (store.threads(LOCAL_OWNER, limit=1), store.begin(new_turn())):
        with pytest.raises(StoreCorrupt):
            await call


async def test_many_open_it_at_once(url: str) -> None:
    """Store objects and processes that all come first make one schema, and none fails."""
    stores = [PostgresStore(Address.of(url)) for _ in range(6)]
    with rival_of(url) as one, rival_of(url) as two:
        for rival in (one, two):
            rival.tell("say", name="r", times=1, thread=f"r-{rival.process.pid}")
        await asyncio.gather(*(say(store, f"t{number}") for number, store in enumerate(stores)))
        assert [one.hear(), two.hear()] == [{"ok": 1}, {"ok": 1}]
    assert len((await stores[0].threads(LOCAL_OWNER, limit=99)).threads) == 8
    for store in stores:
        await store.aclose()


# Cost ----------------------------------------------------------------------------------------------


async def test_round_trips_of_a_warm_turn(far_store: PostgresStore, proxy: Proxy) -> None:
    """Begin with the context is one round trip, commit with a checkpoint another; each other call is one."""
    await say(far_store)
    proxy.trips = 0
    begun = await far_store.begin(replace(new_turn(), context_limit=20))
    assert proxy.trips == 1
    key = CheckpointKey(LOCAL_OWNER, "tea", "", "1")
    row = CheckpointRow(key, None, Blob("m", b"h"), "{}", {"a": "1"}, {("a", "1"): Blob("m", b"v")})
    await far_store.commit(held(begun), answer("80", turn_id=begun.turn.id), row)
    assert (proxy.trips, len(begun.context)) == (2, 2)
    for number in range(20):
        await say(far_store, prompt=str(number))
    assert proxy.trips == 42

    for call in (
        far_store.renew(Lease(LOCAL_OWNER, "tea", "gone")),
        far_store.turns(LOCAL_OWNER, "tea"),
        far_store.context(LOCAL_OWNER, "tea", limit=20),
        far_store.threads(LOCAL_OWNER, limit=20, archived=None),
        far_store.search(LOCAL_OWNER, "hot", limit=20),
        far_store.put_checkpoint(replace(row, key=replace(key, checkpoint_id="2"))),
        far_store.get_checkpoint(key),
        far_store.list_checkpoints(LOCAL_OWNER, None, None),
        far_store.fork(LOCAL_OWNER, "tea", fork_id="f", title="F", turns=9),
        far_store.delete(LOCAL_OWNER, "tea"),
    ):
        proxy.trips = 0
        await call
        assert proxy.trips == 1


# The package ---------------------------------------------------------------------------------------

WITHOUT = """
import sys
sys.modules["psycopg"] = None
from chatcli.errors import ConfigError
from chatcli.stores import open_store
try:
    open_store("postgresql://u:canary@h/d")
except ConfigError as error:
    print(error.message, "|", error.hint)
"""


def test_without_psycopg() -> None:
    """Without its package the store says how to install it."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "the PostgreSQL store needs the package psycopg | pip install 'chatcli[postgres]'\n"
