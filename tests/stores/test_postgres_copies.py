"""Copies of contexts in Redis: they save reading, and whatever is in there, a turn has its right context."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeAlias

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.rows import dict_row

from chatcli.config import load_settings
from chatcli.errors import ConfigError, InvalidText, StoreUnavailable, ThreadNotFound
from chatcli.frozen import replace
from chatcli.models import LOCAL_OWNER, Content, Message, Role, TurnState, utc_now
from chatcli.stores import open_store
from chatcli.stores.base import Begun, Expiry, Outcome, ThreadStore, message_id
from chatcli.stores.encrypted import EncryptedStore
from chatcli.stores.entries import LARGEST
from chatcli.stores.postgres import Address, PostgresStore
from chatcli.stores.postgres.rows import context_of, messages_json, to_json
from chatcli.stores.postgres.schema import migrate, read_migrations
from chatcli.stores.postgres.turns import _request_of
from chatcli.text import new_id
from tests.redis import RedisServer
from tests.stores.conftest import FAULTS, OpenMachine
from tests.stores.keys import KEY
from tests.stores.postgres import Server, fill_in
from tests.stores.proxy import Proxy, network
from tests.stores.talk import answer, held, new_turn, say
from tests.stores.test_rewriting import Shouting
from tests.stores.test_sweep import day, put

pytestmark = pytest.mark.usefixtures("patient")

LIMIT = 6
"""Messages of the contexts here."""

Change: TypeAlias = Callable[[ThreadStore], Awaitable[object]]


@pytest.fixture
def url(postgres_server: Server) -> str:
    """An empty schema."""
    return postgres_server.url()


@pytest.fixture
def schema(url: str) -> str:
    """Its name."""
    return Address.of(url).schema


@pytest.fixture
async def plain(url: str) -> AsyncIterator[ThreadStore]:
    """A store there, of a program that knows of no Redis."""
    async with aclosing(open_store(url)) as store:
        yield store


@pytest.fixture
async def proxy(postgres_server: Server) -> AsyncIterator[Proxy]:
    """A network in front of the server."""
    async with network(postgres_server.socket) as proxy:
        yield proxy


@pytest.fixture
async def far(proxy: Proxy, schema: str, redis_server: RedisServer) -> AsyncIterator[ThreadStore]:
    """The store of a machine behind that network; it has begun a turn before."""
    environ = {"HOME": "/nonexistent", "CHATCLI_REDIS_URL": redis_server.url}
    async with aclosing(
        PostgresStore(proxy.address(schema), settings=load_settings(environ=environ))
    ) as store:
        await say(store, "warm")
        yield store


async def begin(
    store: ThreadStore,
    prompt: Content = "q",
    *,
    thread_id: str = "tea",
    owner: str = LOCAL_OWNER,
    limit: int = LIMIT,
) -> Begun:
    """Begin a turn that wants a context."""
    return await store.begin(replace(new_turn(thread_id, prompt, owner=owner), context_limit=limit))


async def end(store: ThreadStore, begun: Begun, reply: str = "a") -> None:
    """End it, and see everything copied."""
    await store.commit(held(begun), answer(reply, turn_id=begun.turn.id))
    inner = store.store if isinstance(store, EncryptedStore) else store
    assert isinstance(inner, PostgresStore)
    if inner._windows is not None:
        await inner._windows.settle()


async def chat(store: ThreadStore, number: int = 0, **options: Any) -> list[str]:
    """Run a whole turn, and return what it had as its context."""
    begun = await begin(store, f"question {number}", **options)
    await end(store, begun, f"answer {number}")
    return [message.text for message in begun.context]


def talk(*numbers: int) -> list[str]:
    """Return the context of turns with these numbers."""
    return [text for number in numbers for text in (f"question {number}", f"answer {number}")]


# What it is good for ------------------------------------------------------------------------------


async def test_a_turn_on_another_machine_is_sent_no_context(
    machine: OpenMachine, far: ThreadStore, proxy: Proxy
) -> None:
    """What was said before does not come from the server again, and a turn still takes two round trips."""
    await chat(machine(), 1)
    proxy.heard, proxy.trips = b"", 0
    begun = await begin(far, "question 2")
    assert [message.text for message in begun.context] == talk(1)
    assert (proxy.trips, b"running" in proxy.heard, b"answer 1" in proxy.heard) == (1, True, False)
    await end(far, begun, "answer 2")
    assert proxy.trips == 2
    assert await chat(machine(), 3) == talk(1, 2)
    assert await chat(far, 4) == talk(1, 2, 3)
    assert (proxy.trips, b"answer 3" in proxy.heard) == (4, False)


async def test_a_turn_without_an_answer_changes_nothing(
    machine: OpenMachine, far: ThreadStore, proxy: Proxy
) -> None:
    """After a failed turn, or one that was only begun, the copy from before is still right."""
    await chat(machine(), 1)
    failed = await begin(far, "failed")
    await far.commit(held(failed), Outcome(TurnState.FAILED))
    other = machine()
    await begin(other, "dead")
    await other.aclose()
    proxy.heard = b""
    assert await chat(far, 2) == talk(1)
    assert b"answer 1" not in proxy.heard


async def test_copies_of_other_stores_are_not_seen(
    machine: OpenMachine, postgres_server: Server, redis_server: RedisServer
) -> None:
    """Owners, databases and threads have copies of their own, and their names tell nothing."""
    elsewhere = postgres_server.url()
    for number, place in enumerate(("", elsewhere)):
        for owner in (LOCAL_OWNER, "eve"):
            for thread_id in ("tea", "teas"):
                assert await chat(machine(place), number, owner=owner, thread_id=thread_id) == []
    assert len(redis_server.names()) == 8
    assert not any(b"eve" in name.encode() or b"tea" in name.encode() for name in redis_server.names())
    assert await chat(machine(elsewhere), 2, owner="eve") == talk(1)


async def test_a_copy_does_not_last(machine: OpenMachine, redis_server: RedisServer) -> None:
    """It is kept for an hour at the longest; none is made of a large context, or where none was asked for."""
    store = machine()
    await chat(store, limit=0)
    assert redis_server.names() == []
    await chat(store)
    (name,) = redis_server.names()
    assert 3000 < int(str(redis_server.call("TTL", name))) <= 3600
    redis_server.call("FLUSHALL")
    await end(store, await begin(store, "x" * LARGEST))
    assert redis_server.names() == []


async def test_a_copy_is_for_one_limit(machine: OpenMachine, redis_server: RedisServer) -> None:
    """Machines with settings of their own have contexts as long as they want them."""
    store = machine()
    for number in range(1, 4):
        await chat(store, number)
    for limit, numbers in ((2, (3,)), (4, (2, 3)), (8, (1, 2, 3))):
        assert all(redis_server.entries().values())
        begun = await begin(store, limit=limit)
        assert [message.text for message in begun.context] == talk(*numbers)
        await store.commit(held(begun), Outcome(TurnState.FAILED))


async def test_what_is_gone_leaves_no_copy(machine: OpenMachine, redis_server: RedisServer) -> None:
    """Where text was removed or rewritten its copy goes, and a late one does not come back."""
    store = machine()
    for thread_id in ("deleted", "cleared", "undone", "rewritten"):
        await chat(store, thread_id=thread_id)
    late = await begin(store, thread_id="rewritten")
    await put(store, "swept", day(0))
    redis_server.call("SET", "other", "words")
    await store.delete(LOCAL_OWNER, "deleted")
    await store.clear(LOCAL_OWNER, "cleared")
    await store.undo(LOCAL_OWNER, "undone", fork_id="fork", title="Fork", turns=1)
    await store.rewrite(LOCAL_OWNER, "rewritten", Shouting())
    assert len((await store.sweep(LOCAL_OWNER, Expiry(day(1)), limit=9)).removed) == 1
    await end(store, late)
    entries = redis_server.entries()
    assert entries.pop("other") == b"words"
    assert list(entries.values()) == 5 * [b""]


async def test_a_deletion_whose_answer_was_lost(
    far: ThreadStore, proxy: Proxy, redis_server: RedisServer
) -> None:
    """The words go from Redis also where it can't be told whether they are gone from the store."""
    await chat(far, 1)
    proxy.losses += [b"delete_thread"] * 2
    with pytest.raises(StoreUnavailable):
        await far.delete(LOCAL_OWNER, "tea")
    assert list(redis_server.entries().values()) == [b""]


async def test_only_sealed_text_is_copied(
    machine: OpenMachine, redis_server: RedisServer, plain: ThreadStore
) -> None:
    """With a key no word gets into Redis in the clear, not even of a thread that was begun without one."""
    await chat(plain, 1, thread_id="mixed")
    store = machine(key=KEY)
    assert await chat(store, 2, thread_id="mixed") == talk(1)
    assert await chat(store, 3, thread_id="sealed") == []
    (value,) = redis_server.entries().values()
    assert b"enc:1:" in value
    assert b"answer" not in value
    assert await chat(machine(key=KEY), 4, thread_id="sealed") == talk(3)


# What is in a copy --------------------------------------------------------------------------------

ROLES = st.lists(st.sampled_from([Role.AI, Role.TOOL, Role.SYSTEM, Role.HUMAN]), max_size=4)
PARTS = st.builds(lambda text: ({"type": "text", "text": text},), st.text("aé\n\"'", max_size=3))
CONTENT = st.one_of(st.text("aé😀\\\"'\n", max_size=4), PARTS)
TURNS = st.tuples(st.booleans(), CONTENT, ROLES, st.booleans(), st.integers(0, 3))
"""With a system prompt or without, the prompt, who said what, under ids of their own or not, who runs it."""


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(limit=st.integers(1, 5), turns=st.lists(TURNS, min_size=2, max_size=5))
def test_a_copy_is_what_the_store_would_say(
    url: str, redis_server: RedisServer, limit: int, turns: list[tuple[bool, Content, list[Role], bool, int]]
) -> None:
    """Whatever is said, copies and contexts made of them are to the byte what the server makes of it."""

    async def run() -> None:
        redis_server.call("FLUSHALL")
        environ = {"HOME": "/nonexistent", "CHATCLI_REDIS_URL": redis_server.url}
        given = load_settings(environ=environ)
        thread_id = new_id()
        stores = [open_store(url, settings=None if not number else given) for number in range(3)]
        for has_system, prompt, roles, own_ids, number in turns:
            store = stores[number % 3]
            new = new_turn(thread_id, prompt, system="Be brief." if has_system else None)
            begun = await store.begin(replace(new, context_limit=limit))
            right = await stores[0].context(LOCAL_OWNER, thread_id, limit=limit, before=begun.turn.index)
            assert begun.context == right
            said = [
                Message(
                    new_id() if own_ids else message_id(new.turn_id, place),
                    role,
                    f"{role} {place}",
                    utc_now(),
                )
                for place, role in enumerate(roles, len(new.prompt))
            ]
            redis_server.call("FLUSHALL") if number == 3 else None
            await store.commit(held(begun), Outcome(TurnState.COMPLETE, tuple(said)))
            if number % 3 and Role.AI in roles:
                assert isinstance(store, PostgresStore)
                assert store._windows is not None
                await store._windows.settle()
                (entry,) = redis_server.entries().values()
                now = await stores[0].context(LOCAL_OWNER, thread_id, limit=limit)
                assert context_of(json.loads(entry.split(b" ", 4)[4])) == now
        for store in stores:
            await store.aclose()

    asyncio.run(run())


# What must not harm -------------------------------------------------------------------------------

FORGERIES: list[Callable[[bytes, bytes, bytes], bytes]] = [
    lambda now, *_: now.replace(b"answer", b"insult"),
    lambda now, *_: now[:-9],
    lambda now, *_: now[:64] + b" 2" + now[66:],
    lambda now, *_: b"0" * 64 + now[64:],
    lambda now, *_: now[65:],
    lambda _, before, __: before,
    lambda now, before, _: now[:103] + before[103:],
    lambda now, before, _: before[:103] + now[103:],
    lambda _, __, other: other,
    lambda *_: b'{"said": []}',
    lambda *_: "é".encode(),
    lambda *_: b"",
    lambda *_: b"x" * (3 * LARGEST),
]
"""What takes the place of an entry, made of it, of the one before it, and of another thread's."""


async def test_no_entry_gets_into_a_conversation(
    machine: OpenMachine, redis_server: RedisServer, plain: ThreadStore
) -> None:
    """Forged, stale, torn or foreign: the turn has the context that the server has."""
    store = machine()
    await chat(store, 77, thread_id="other")
    (other,) = redis_server.names()
    await chat(store)
    (name,) = {*redis_server.names()} - {other}
    for number, forge in enumerate(FORGERIES):
        before = redis_server.entries()[name]
        redis_server.call("DEL", name)
        for _ in range(2):
            await chat(store, number)
        entries = redis_server.entries()
        redis_server.call("SET", name, forge(entries[name], before, entries[other]))
        right = await plain.context(LOCAL_OWNER, "tea", limit=LIMIT)
        begun = await begin(store)
        assert begun.context == right, number
        redis_server.call("DEL", name)
        await end(store, begun)


async def _late_commit(plain: ThreadStore) -> None:
    begun = await begin(plain, "late")
    await plain.aclose()
    await chat(plain, 5)
    await end(plain, begun, "too")


async def _make_anew(plain: ThreadStore) -> None:
    await plain.delete(LOCAL_OWNER, "tea")
    await chat(plain, 6)


async def _import_anew(plain: ThreadStore) -> None:
    thread, turns = await plain.thread(LOCAL_OWNER, "tea"), await plain.turns(LOCAL_OWNER, "tea")
    await plain.delete(LOCAL_OWNER, "tea")
    await plain.import_thread(thread, turns[:1])


def _by_hand(statement: str) -> Change:
    async def change(plain: ThreadStore) -> None:
        assert isinstance(plain, PostgresStore)
        await plain._database.rows(statement + " RETURNING 1", {})

    return change


_RENAME_TURN = "UPDATE {schema}.turns SET id = id || 'x' WHERE idx = 2"
_INSERT = """INSERT INTO {schema}.messages (thread, turn, position, role, content, timestamp)
 SELECT key, 2, 9, 'ai', 'more', clock_timestamp() FROM {schema}.threads WHERE id = 'tea'"""

CHANGES: dict[str, Change] = {
    "another turn": lambda plain: chat(plain, 5),
    "a late answer": _late_commit,
    "cleared": lambda plain: plain.clear(LOCAL_OWNER, "tea"),
    "undone": lambda plain: plain.undo(LOCAL_OWNER, "tea", fork_id="f", title="F", turns=1),
    "rewritten": lambda plain: plain.rewrite(LOCAL_OWNER, "tea", Shouting()),
    "made anew": _make_anew,
    "imported": _import_anew,
    "text by hand": _by_hand("UPDATE {schema}.messages SET content = content || '!' WHERE turn = 2"),
    "role by hand": _by_hand("UPDATE {schema}.messages SET role = 'system' WHERE position = 1"),
    "moved by hand": _by_hand("UPDATE {schema}.messages SET position = 7 WHERE position = 0"),
    "removed by hand": _by_hand("DELETE FROM {schema}.messages WHERE turn = 1"),
    "added by hand": _by_hand(_INSERT),
    "turn by hand": _by_hand("UPDATE {schema}.turns SET answered = false WHERE idx = 2"),
    "turn id by hand": _by_hand(_RENAME_TURN),
    "thread removed by hand": _by_hand("DELETE FROM {schema}.threads WHERE id = 'tea'"),
    "turn removed by hand": _by_hand("DELETE FROM {schema}.turns WHERE idx = 1"),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_no_change_is_missed(
    machine: OpenMachine, redis_server: RedisServer, plain: ThreadStore, change: str
) -> None:
    """What somebody without Redis changes makes a copy worthless, be it by hand in the tables."""
    for number in range(3):
        await chat(machine(), number)
    assert all(redis_server.entries().values())
    was = await plain.context(LOCAL_OWNER, "tea", limit=LIMIT)
    await CHANGES[change](plain)
    for store in (machine(), machine()):
        right = await plain.context(LOCAL_OWNER, "tea", limit=LIMIT)
        assert right != was
        begun = await begin(store)
        assert begun.context == right
        await end(store, begun)


@pytest.mark.parametrize("change", ["text by hand", "turn id by hand", "rewritten"])
async def test_changes_while_a_turn_runs(machine: OpenMachine, plain: ThreadStore, change: str) -> None:
    """What a turn began with is not the next one's context if it was changed meanwhile."""
    store = machine()
    for number in range(2):
        await chat(store, number)
    begun = await begin(store)
    await CHANGES[change](plain)
    await end(store, begun)
    right = await plain.context(LOCAL_OWNER, "tea", limit=LIMIT)
    assert (await begin(store)).context == right


async def test_a_change_that_is_under_way(
    machine: OpenMachine, plain: ThreadStore, postgres_server: Server, schema: str
) -> None:
    """A turn that ends while somebody's change by hand is not committed yet leaves no copy without it."""
    store = machine()
    await chat(store, 1)
    begun = await begin(store, "question 2")
    with postgres_server.connect() as other, other.transaction():
        other.execute(fill_in("UPDATE {schema}.messages SET content = 'else' WHERE turn = 1", schema=schema))
        ending = asyncio.create_task(end(store, begun, "answer 2"))
        waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%{schema}%'"
        while not postgres_server.execute(waiting, schema=schema):  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.001)
    await ending
    begun = await begin(machine())
    assert [message.text for message in begun.context] == ["else", "else", *talk(2)]
    assert begun.context == await plain.context(LOCAL_OWNER, "tea", limit=LIMIT)


async def test_truncated_by_hand(machine: OpenMachine, postgres_server: Server, schema: str) -> None:
    """A table that was emptied as a whole is empty."""
    await chat(machine(), 1)
    postgres_server.execute("TRUNCATE {schema}.messages", schema=schema)
    assert (await begin(machine())).context == ()


async def test_a_restored_database(machine: OpenMachine, postgres_server: Server, schema: str) -> None:
    """A copy of what was said after a backup is not taken for what is said after its restore."""
    tables = ("threads", "turns", "messages", "revisions")
    store = machine()
    await chat(store, 1)
    for table in tables:
        postgres_server.execute(
            f"CREATE TABLE {{schema}}.old_{table} AS TABLE {{schema}}.{table}", schema=schema
        )
    await chat(store, 2)
    with postgres_server.connect() as restoring:
        restoring.execute(f"SET search_path TO {schema}; SET session_replication_role TO replica")
        restoring.execute("TRUNCATE " + ", ".join(tables))
        for table in tables:
            restoring.execute(f"INSERT INTO {table} OVERRIDING SYSTEM VALUE TABLE old_{table}")
    async with aclosing(open_store(postgres_server.url(schema))) as plain:
        await chat(plain, 3)
    assert await chat(machine(), 4) == talk(1, 3)


async def test_an_older_schema(
    machine: OpenMachine, redis_server: RedisServer, url: str, schema: str
) -> None:
    """A thread from before there were copies has its context, and copies from its next turn on."""
    new = new_turn(prompt="question 1")
    said = messages_json(answer("answer 1", turn_id=new.turn_id).messages, turn_id=new.turn_id, start=1)
    ended = {"state": "complete", "answered": True, "said": said, "words": []}
    conninfo = Address.of(url).conninfo
    async with await psycopg.AsyncConnection.connect(conninfo, row_factory=dict_row) as connection:
        await migrate(connection, schema, read_migrations()[:6])
        await connection.execute(f"SET search_path TO {schema}".encode())
        await connection.execute("SELECT begin_turn(1, NULL, '0 s', %s)", (_request_of(new),))
        place = (new.owner, new.thread_id, new.turn_id, to_json(ended))
        await connection.execute("SELECT commit_turn(%s, %s, %s, %s, NULL, NULL, NULL)", place)
    for number in (2, 3, 4):
        assert await chat(machine(), number) == talk(*range(1, number))
        assert len(redis_server.names()) == 1


async def test_a_turn_whose_answer_was_lost(far: ThreadStore, proxy: Proxy, plain: ThreadStore) -> None:
    """A begin or a commit that was carried out unheard is done again: the contexts are right."""
    for number in range(3):
        proxy.losses += [b"begin_turn"] if number == 1 else [b"commit_turn"]
        right = await plain.context(LOCAL_OWNER, "tea", limit=LIMIT)
        begun = await begin(far)
        assert begun.context == right
        await end(far, begun)
    assert proxy.losses == []
    assert len((await begin(far)).context) == LIMIT


async def test_cleared_while_a_turn_runs(machine: OpenMachine, plain: ThreadStore) -> None:
    """A turn of a thread that was cleared or removed meanwhile leaves no copy of it."""
    store = machine()
    await chat(store, 1)
    for gone in (plain.clear, plain.delete):
        begun = await begin(store)
        await store.aclose()
        await gone(LOCAL_OWNER, "tea")
        with pytest.raises(ThreadNotFound):
            await store.commit(held(begun), answer("a", turn_id=begun.turn.id))
        assert await chat(machine(), 2) == []


@pytest.mark.parametrize("fault", FAULTS)
async def test_whatever_redis_has_turns_go_on(
    machine: OpenMachine, harm_redis: Callable[[str], None], fault: str
) -> None:
    """A Redis that fails in the middle costs a read, and no turn."""
    store = machine()
    await chat(store, 1)
    begun = await begin(store, "question 2")
    harm_redis(fault)
    await end(store, begun, "answer 2")
    assert await chat(machine(), 3) == talk(1, 2)
    await store.delete(LOCAL_OWNER, "tea")
    assert await chat(store, 4) == []


async def test_an_id_that_no_store_can_keep(machine: OpenMachine) -> None:
    """What is no text is refused as ever."""
    with pytest.raises(InvalidText):
        await begin(machine(), thread_id="a\ud800b")


async def test_a_url_that_is_none_is_named(machine: OpenMachine, plain: ThreadStore) -> None:
    """The setting is named before anything is written."""
    with pytest.raises(ConfigError, match="CHATCLI_REDIS_URL"):
        await begin(machine(redis="redis://:canary@host:port/0"))
    with pytest.raises(ThreadNotFound):
        await plain.thread(LOCAL_OWNER, "tea")
