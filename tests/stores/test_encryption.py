"""Encryption: nothing that was said can be read without the key, and nothing that is stored can be forged."""

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest

from chatcli.config import Secret
from chatcli.errors import ConfigError, InvalidRequest, StoreCorrupt
from chatcli.frozen import replace
from chatcli.models import LOCAL_OWNER, Message, Part, Thread, Turn, TurnError, TurnState, utc_now
from chatcli.stores import open_store
from chatcli.stores.base import (
    Blob,
    CheckpointKey,
    CheckpointRow,
    Expiry,
    NewTurn,
    Outcome,
    PendingWrite,
    ThreadStore,
)
from chatcli.stores.encrypted import KeyRing
from chatcli.stores.postgres import Address, PostgresStore
from chatcli.stores.rewriting import Rewriter
from chatcli.text import new_id
from tests.stores.keys import KEY, OTHER_KEY, key_id, protected
from tests.stores.postgres import Server as PostgresServer
from tests.stores.proxy import network
from tests.stores.s3 import Server as S3Server
from tests.stores.talk import answer, held, new_turn, say, texts

PLACE = CheckpointKey(LOCAL_OWNER, "tea", "", "1")
ROW = CheckpointRow(
    PLACE, None, Blob("m", b"canary"), '{"a":"canary"}', {"c": "1"}, {("c", "1"): Blob("m", b"canary")}
)


async def fill(store: ThreadStore) -> None:
    """Store the word `canary` wherever text may be."""
    begun = await store.begin(
        new_turn(prompt="canary", system="canary", title="canary", key="k", fingerprint="canary")
    )
    failed = Outcome(TurnState.FAILED, answer("canary", turn_id=begun.turn.id, index=2).messages)
    await store.commit(held(begun), replace(failed, error=TurnError("internal", "canary")))
    await say(store, prompt=({"type": "text", "text": "canary"},), reply="canary")
    await store.put_checkpoint(ROW)
    await store.put_writes(PLACE, [PendingWrite("t", "", 0, "c", Blob("m", b"canary"))], replace=False)
    await store.fork(LOCAL_OWNER, "tea", fork_id="fork", title="canary", turns=1)
    await store.rename(LOCAL_OWNER, "fork", "my canary")
    await store.undo(LOCAL_OWNER, "fork", fork_id="undone", title="canary", turns=1)


async def shown(store: ThreadStore) -> str:
    """Return all that a store shows of what `fill` wrote."""
    page = await store.threads(LOCAL_OWNER, limit=9, archived=None)
    turns = [await store.turns(LOCAL_OWNER, thread.id) for thread in page.threads]
    return repr(
        (
            page,
            turns,
            await store.get_checkpoint(PLACE),
            await store.list_checkpoints(LOCAL_OWNER, None, None),
        )
    )


async def test_no_word_is_readable(plain_store: ThreadStore) -> None:
    """Everything said comes back through the key, and none of it is in what the store itself holds."""
    store = protected(plain_store, KEY)
    await fill(store)
    assert (await shown(store)).count("canary") >= 20
    stored = await shown(plain_store)
    assert "canary" not in stored
    assert stored.count(f"enc:1:{key_id(KEY)}:") >= 15
    assert await plain_store.search(LOCAL_OWNER, "canary", limit=9) == ()


async def test_without_the_key(plain_store: ThreadStore) -> None:
    """Without a key, or with another one, each way to read is an error that names both keys."""
    await fill(protected(plain_store, KEY))
    for keys, given in (((), "no key is given"), ((OTHER_KEY,), f"the keys given are {key_id(OTHER_KEY)}")):
        store = protected(plain_store, *keys)
        for call in (
            store.thread(LOCAL_OWNER, "tea"),
            store.turns(LOCAL_OWNER, "tea"),
            store.context(LOCAL_OWNER, "tea", limit=9),
            store.threads(LOCAL_OWNER, limit=9),
            store.search(LOCAL_OWNER, "canary", limit=9),
            store.get_checkpoint(PLACE),
            store.check(),
            store.rename(LOCAL_OWNER, "tea", "mine"),
            store.archive(LOCAL_OWNER, "tea", archived=True),
            store.fork(LOCAL_OWNER, "tea", fork_id="again", title="", turns=1),
            store.rewrite(LOCAL_OWNER, "tea", Rewriter()),
        ):
            with pytest.raises(ConfigError, match=f"with the key {key_id(KEY)}; {given}"):
                await call
    assert (await protected(plain_store, KEY).thread(LOCAL_OWNER, "tea")).title == "canary"


WRONG = pytest.mark.parametrize("keys", [(), (OTHER_KEY,)], ids=["no key", "another key"])


async def stored(plain_store: ThreadStore, *owners: str) -> str:
    """Return all that a store holds of these owners, as it is stored, in the order of use."""
    found: list[object] = []
    for owner in owners or (LOCAL_OWNER,):
        page = await plain_store.threads(owner, limit=99, archived=None)
        found += [page, await plain_store.list_checkpoints(owner, None, None)]
        found += [await plain_store.turns(owner, thread.id) for thread in page.threads]
    return repr((found, await plain_store.audit(None, limit=9)))


def change(thread_id: str = "tea", *, owner: str = LOCAL_OWNER) -> NewTurn:
    """Return a turn that changes all that a turn can change of its thread."""
    new = new_turn(
        thread_id, owner=owner, title="Mine", rename=True, language="Latin", system="Obey.", key="k"
    )
    return replace(new, context_limit=20, fingerprint="f")


async def _seal_title(plain_store: ThreadStore) -> None:
    await protected(plain_store, KEY).rename(LOCAL_OWNER, "tea", "secret")


async def _seal_system(plain_store: ThreadStore) -> None:
    store = protected(plain_store, KEY)
    begun = await store.begin(new_turn(system="secret"))
    await store.commit(held(begun), Outcome(TurnState.FAILED))


async def _seal_answer(plain_store: ThreadStore) -> None:
    begun = await plain_store.begin(new_turn())
    await protected(plain_store, KEY).commit(held(begun), answer("secret", turn_id=begun.turn.id))


async def _seal_picture(plain_store: ThreadStore) -> None:
    store = protected(plain_store, KEY)
    begun = await store.begin(new_turn(prompt=({"type": "text", "text": "secret"},)))
    await plain_store.commit(held(begun), answer("plain", turn_id=begun.turn.id))


@WRONG
@pytest.mark.parametrize("seal", [_seal_title, _seal_system, _seal_answer, _seal_picture])
async def test_a_turn_with_the_wrong_key_leaves_nothing(
    plain_store: ThreadStore, keys: tuple[str, ...], seal: Callable[[ThreadStore], Awaitable[None]]
) -> None:
    """Who can't read a thread can't add to it: the turn is refused before anything of the thread changes.

    That is so wherever in it the key is missing, and though the thread that was last used is readable.
    """
    await say(plain_store)
    await seal(plain_store)
    await plain_store.put_checkpoint(ROW)
    await say(plain_store, "open")
    before = await stored(plain_store)
    store = protected(plain_store, *keys)
    for _ in range(2):
        with pytest.raises(ConfigError, match=key_id(KEY)):
            await store.begin(change())
    assert await stored(plain_store) == before
    begun = await protected(plain_store, KEY).begin(change())
    assert (begun.lease is not None, len(begun.context)) == (True, 4 if seal in _ANSWERED else 2)


_ANSWERED = (_seal_answer, _seal_picture)


@WRONG
async def test_an_encrypted_store_takes_nothing_with_the_wrong_key(
    plain_store: ThreadStore, keys: tuple[str, ...]
) -> None:
    """A store whose last used thread can't be read takes nothing, not even for threads that can be read."""
    await say(plain_store, "open")
    await say(protected(plain_store, KEY))
    await protected(plain_store, KEY).put_checkpoint(ROW)
    before = await stored(plain_store)
    mine = Thread("mine", LOCAL_OWNER, "Mine", "English", 0, utc_now(), utc_now())
    calls: list[Callable[[ThreadStore], Awaitable[object]]] = [
        lambda store: store.begin(change()),
        lambda store: store.begin(change("coffee")),
        lambda store: store.begin(change("open")),
        lambda store: store.import_thread(mine, ()),
        lambda store: store.rename(LOCAL_OWNER, "open", "Mine"),
        lambda store: store.fork(LOCAL_OWNER, "open", fork_id="fork", title="Mine", turns=1),
        lambda store: store.undo(LOCAL_OWNER, "open", fork_id="fork", title="Mine", turns=1),
        lambda store: store.put_checkpoint(replace(ROW, key=replace(PLACE, thread_id="mine")), keep="latest"),
        lambda store: store.put_checkpoint(ROW, keep="latest"),
        lambda store: store.put_writes(
            PLACE, [PendingWrite("t", "", 0, "c", Blob("m", b"mine"))], replace=True
        ),
    ]
    store = protected(plain_store, *keys)
    for call in calls:
        with pytest.raises(ConfigError, match=key_id(KEY)):
            await call(store)
    assert await stored(plain_store) == before


async def test_each_owner_has_keys_of_the_own(plain_store: ThreadStore) -> None:
    """That the threads of one owner can be read opens no other owner's."""
    await say(protected(plain_store, KEY))
    await say(protected(plain_store, OTHER_KEY), owner="eve")
    before = await stored(plain_store)
    store = protected(plain_store, OTHER_KEY)
    await say(store, "coffee", owner="eve")
    with pytest.raises(ConfigError):
        await store.begin(change("coffee"))
    assert await stored(plain_store) == before
    assert len((await store.threads("eve", limit=9)).threads) == 2


async def test_a_second_key_needs_the_first(plain_store: ThreadStore) -> None:
    """A new key goes before the old one; from then on the old one alone adds nothing either."""
    await say(protected(plain_store, OTHER_KEY))
    with pytest.raises(ConfigError):
        await say(protected(plain_store, KEY), "coffee")
    await say(protected(plain_store, KEY, OTHER_KEY))
    with pytest.raises(ConfigError):
        await protected(plain_store, OTHER_KEY).begin(change())
    await say(protected(plain_store, KEY, OTHER_KEY), "coffee")
    before = await stored(plain_store)
    for keys in ((), (OTHER_KEY,)):
        for thread_id in ("tea", "coffee", "milk"):
            with pytest.raises(ConfigError):
                await protected(plain_store, *keys).begin(change(thread_id))
    assert await stored(plain_store) == before
    await say(protected(plain_store, KEY), "milk")


@pytest.mark.parametrize("keys", [(), (KEY,)], ids=["no key", "a key"])
async def test_a_warm_turn_asks_for_nothing_more(
    postgres_server: PostgresServer, s3_server: S3Server, keys: tuple[str, ...]
) -> None:
    """That a turn may begin is found out with what it takes anyway: two round trips, two PUT requests."""
    schema, bucket = Address.of(postgres_server.url()).schema, s3_server.url()
    async with network(postgres_server.socket) as proxy:
        store = protected(PostgresStore(proxy.address(schema)), *keys)
        await say(store)
        proxy.trips = 0
        begun = await store.begin(replace(new_turn(), context_limit=20))
        await store.commit(held(begun), answer("80", turn_id=begun.turn.id))
        assert (proxy.trips, len(begun.context)) == (2, 2)
        await store.aclose()
    store = protected(open_store(bucket), *keys)
    await say(store)
    s3_server.traffic(bucket).counts()
    await say(store)
    await say(store, new_id())
    assert s3_server.traffic(bucket).counts() == {"PUT": 4}
    await store.aclose()


async def test_a_sample_of_many_objects(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many threads a bucket has, few requests find one that was used last, or was noted last."""
    url = s3_server.url()
    async with aclosing(open_store(url)) as store:
        assert await store.sample(LOCAL_OWNER) is None
        for number in range(4):
            await say(store, f"t{number}")
    proof = {"PUT": 2}  # at the same time
    for batch, found, requests in (1000, "t3", {"GET": 1, "HEAD": 4}), (2, "t1", {"GET": 2, "HEAD": 2}):
        monkeypatch.setattr("chatcli.stores.s3.sampling.BATCH", batch)
        async with aclosing(open_store(url)) as store:
            s3_server.traffic(url).counts()
            assert (sampled := await store.sample(LOCAL_OWNER)) is not None
            assert (sampled.id, s3_server.traffic(url).counts()) == (found, requests | proof)
    async with aclosing(open_store(url)) as store:
        for number in range(40):
            await say(store, "t2", prompt=str(number))
        await store.threads(LOCAL_OWNER, limit=9)
    async with aclosing(open_store(url)) as store:
        assert (sampled := await store.sample(LOCAL_OWNER)) is not None
        assert sampled.id == "t2"


async def test_who_is_overtaken_by_the_same_import(
    plain_store: ThreadStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two who import the same thread at the same time one writes it, and to the other it is there."""
    await say(plain_store)
    thread, turns = await plain_store.thread(LOCAL_OWNER, "tea"), await plain_store.turns(LOCAL_OWNER, "tea")
    await plain_store.delete(LOCAL_OWNER, "tea")
    slow, fast = protected(plain_store, KEY), protected(plain_store, KEY)
    write = plain_store.import_thread

    async def write_late(*late: Any) -> bool:
        monkeypatch.setattr(plain_store, "import_thread", write)
        assert await fast.import_thread(thread, turns)
        return await write(*late)

    monkeypatch.setattr(plain_store, "import_thread", write_late)
    assert not await slow.import_thread(thread, turns)
    assert await slow.turns(LOCAL_OWNER, "tea") == turns
    with pytest.raises(InvalidRequest):
        await slow.import_thread(thread, (replace(turns[0], id="other"),))


async def test_cleanup_needs_no_key(plain_store: ThreadStore) -> None:
    """Expired threads go, whether their titles can be told or not."""
    await say(protected(plain_store, KEY))
    (thread,) = (await plain_store.threads(LOCAL_OWNER, limit=9)).threads
    expiry = Expiry(replace(thread, updated_at=thread.updated_at.replace(year=2099)).updated_at)
    sweep = await protected(plain_store).sweep(LOCAL_OWNER, expiry, limit=9)
    assert [thread.title for thread in sweep.removed] == ["(encrypted)"]


async def test_mixed_store(plain_store: ThreadStore) -> None:
    """What was stored before there was a key stays readable beside what is stored now."""
    await say(plain_store, prompt="before", reply="plain")
    store = protected(plain_store, KEY)
    await say(store, prompt="after", reply="sealed")
    assert texts(await store.turns(LOCAL_OWNER, "tea")) == [["before", "plain"], ["after", "sealed"]]
    assert [message.text for message in await store.context(LOCAL_OWNER, "tea", limit=9)][-1] == "sealed"
    found = [await store.search(LOCAL_OWNER, word, limit=9) for word in ("plain", "sealed", "neither")]
    assert [len(hits) for hits in found] == [1, 1, 0]
    assert any("1 of the 1 last used" in line for line in await store.check())


async def test_keys_are_replaced(plain_store: ThreadStore) -> None:
    """With both keys everything is read; rewritten, it needs the new one alone."""
    await say(plain_store, "old", prompt="plain")
    await fill(protected(plain_store, OTHER_KEY))
    both = protected(plain_store, KEY, OTHER_KEY)
    before = await shown(both)
    for thread_id in ("old", "tea", "fork", "undone"):
        await both.rewrite(LOCAL_OWNER, thread_id, Rewriter())
        assert not await both.rewrite(LOCAL_OWNER, thread_id, Rewriter())
    assert await shown(protected(plain_store, KEY)) == before
    assert key_id(OTHER_KEY) not in await shown(plain_store)
    assert not any("last used threads" in line for line in await both.check())


async def test_seals_are_taken_off(plain_store: ThreadStore) -> None:
    """Rewritten by a store that has the key but does not use it, everything is as if there had been none."""
    store = protected(plain_store, KEY)
    await fill(store)
    before = await shown(store)
    bare = type(store)(plain_store, store.ring.without_current())
    for thread_id in ("tea", "fork", "undone"):
        assert await bare.rewrite(LOCAL_OWNER, thread_id, Rewriter())
    assert await shown(plain_store) == before


@pytest.mark.parametrize("keys", [(KEY,), (OTHER_KEY, KEY), (KEY, OTHER_KEY)])
async def test_same_request_after_a_change_of_keys(plain_store: ThreadStore, keys: tuple[str, ...]) -> None:
    """A repeated request gets the stored answer, whichever of the keys its digest was made with, or none."""
    for thread_id, first in (("plain", plain_store), ("tea", protected(plain_store, KEY))):
        begun = await first.begin(new_turn(thread_id, key="k", fingerprint="f"))
        await first.commit(held(begun), answer("80", turn_id=begun.turn.id))
        again = await protected(plain_store, *keys).begin(new_turn(thread_id, key="k", fingerprint="f"))
        assert (again.lease, again.turn.answer) == (None, "80")
        with pytest.raises(InvalidRequest):
            await protected(plain_store, *keys).begin(new_turn(thread_id, key="k", fingerprint="g"))


def _swapped(turn: Turn) -> Turn:
    one, two = turn.messages
    return replace(turn, messages=(replace(one, content=two.content), replace(two, content=one.content)))


def _cut(message: Message) -> Message:
    assert isinstance(message.content, str)
    return replace(message, content=message.content[:-8])


def _flipped(message: Message) -> Message:
    assert isinstance(message.content, str)
    last = "A" if message.content[-10] != "A" else "B"
    return replace(message, content=message.content[:-10] + last + message.content[-9:])


class Forging(Rewriter):
    """Changes what is stored as somebody without the key could."""

    def __init__(self, turn: Callable[[Turn], Turn] = lambda turn: turn, title: str | None = None) -> None:
        self._turn = turn
        self._title = title

    def thread(self, thread: Thread) -> Thread:
        """Give it the title."""
        return thread if self._title is None else replace(thread, title=self._title)

    def turn(self, turn: Turn) -> Turn:
        """Change the turn."""
        return self._turn(turn)


@pytest.mark.parametrize(
    "forge",
    [
        _swapped,
        lambda turn: replace(turn, messages=tuple(map(_cut, turn.messages))),
        lambda turn: replace(turn, messages=tuple(map(_flipped, turn.messages))),
        lambda turn: replace(turn, messages=tuple(replace(m, content="enc:1:") for m in turn.messages)),
        lambda turn: replace(turn, messages=tuple(replace(m, content="enc:7:x") for m in turn.messages)),
    ],
    ids=["swapped", "cut", "flipped", "no key", "unknown form"],
)
async def test_forged_turns(plain_store: ThreadStore, forge: Callable[[Turn], Turn]) -> None:
    """Sealed text that was changed, or put in another's place, is damage and never an answer."""
    store = protected(plain_store, KEY)
    await say(store)
    await plain_store.rewrite(LOCAL_OWNER, "tea", Forging(forge))
    with pytest.raises(StoreCorrupt):
        await store.turns(LOCAL_OWNER, "tea")
    with pytest.raises(StoreCorrupt):
        await store.context(LOCAL_OWNER, "tea", limit=9)


async def test_forged_title(plain_store: ThreadStore) -> None:
    """A sealed title belongs to its thread, and to its owner."""
    store = protected(plain_store, KEY)
    for owner, thread_id in ((LOCAL_OWNER, "tea"), (LOCAL_OWNER, "other"), ("eve", "tea")):
        await say(store, thread_id, owner=owner)
    title = (await plain_store.thread(LOCAL_OWNER, "tea")).title
    for owner, thread_id in ((LOCAL_OWNER, "other"), ("eve", "tea")):
        await plain_store.rename(owner, thread_id, title)
        with pytest.raises(StoreCorrupt):
            await store.thread(owner, thread_id)


async def test_another_owners_messages(plain_store: ThreadStore) -> None:
    """Who puts another owner's sealed turns under the own name can't have them opened."""
    store = protected(plain_store, KEY)
    await say(store)
    thread = replace(await plain_store.thread(LOCAL_OWNER, "tea"), owner="eve")
    assert await plain_store.import_thread(thread, await plain_store.turns(LOCAL_OWNER, "tea"))
    with pytest.raises(StoreCorrupt):
        await store.turns("eve", "tea")


@pytest.mark.parametrize("text", ["enc:1:00000000:AAAA", "enc:0:", "enc:2:x", "enc:", "enc: why?", "enc:1x:"])
@pytest.mark.parametrize("keys", [(), (KEY,)])
async def test_text_that_looks_sealed(plain_store: ThreadStore, keys: tuple[str, ...], text: str) -> None:
    """Whatever people say, with a key or without one, comes back as they said it."""
    store = protected(plain_store, *keys)
    parts: tuple[Part, ...] = ({"type": "encrypted", "data": text},)
    begun = await store.begin(new_turn(prompt=text, title=text, system=text))
    await store.commit(held(begun), answer(parts, turn_id=begun.turn.id, index=2))
    (turn,) = await store.turns(LOCAL_OWNER, "tea")
    assert [message.content for message in turn.messages] == [text, text, parts]
    thread = await store.thread(LOCAL_OWNER, "tea")
    assert (thread.title, thread.system) == (text, text)
    await store.rewrite(LOCAL_OWNER, "tea", Rewriter())
    assert (await store.turns(LOCAL_OWNER, "tea")) == (turn,)


@pytest.mark.parametrize(
    "given", ["short", KEY[:-2], f"{KEY}{KEY}", f"{KEY},x", "ä" * 44, KEY.replace("Q", "*")]
)
def test_what_is_no_key(given: str) -> None:
    """A key that is none is refused without being repeated."""
    with pytest.raises(ConfigError) as caught:
        KeyRing.of(Secret(given))
    assert given not in f"{caught.value.message} {caught.value.hint}"


def test_ways_to_write_keys() -> None:
    """Keys are separated by commas or white space, in either alphabet of Base64; the first is in use."""
    standard = "+/" * 21 + "8="
    for text in (
        f"{standard},{KEY}",
        f" {standard}\r\n{KEY}\n",
        f"{standard.replace('+', '-').replace('/', '_')} , {KEY}",
    ):
        ring = KeyRing.of(Secret(text))
        assert list(ring.keys)[1:] == [key_id(KEY)]
        assert ring.current is ring.keys[key_id(standard)]
    assert KEY not in repr(KeyRing.of(Secret(KEY))) + repr(list(KeyRing.of(Secret(KEY)).keys.values()))
    assert KeyRing.of(None).current is None
