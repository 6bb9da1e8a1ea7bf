"""Encryption: nothing that was said can be read without the key, and nothing that is stored can be forged."""

from collections.abc import Callable

import pytest

from chatcli.config import Secret
from chatcli.errors import ConfigError, InvalidRequest, StoreCorrupt
from chatcli.frozen import replace
from chatcli.models import LOCAL_OWNER, Message, Part, Thread, Turn, TurnError, TurnState
from chatcli.stores.base import (
    Blob,
    CheckpointKey,
    CheckpointRow,
    Expiry,
    Outcome,
    PendingWrite,
    ThreadStore,
)
from chatcli.stores.encrypted import KeyRing
from chatcli.stores.rewriting import Rewriter
from tests.stores.keys import KEY, OTHER_KEY, key_id, protected
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


@pytest.mark.parametrize("keys", [(), (OTHER_KEY,)])
async def test_a_turn_with_the_wrong_key_leaves_nothing(
    plain_store: ThreadStore, keys: tuple[str, ...]
) -> None:
    """Who can't read a thread can't add to it either: the turn is refused, and no trace stays."""
    right = protected(plain_store, KEY)
    await say(right)
    before = await right.turns(LOCAL_OWNER, "tea")
    with pytest.raises(ConfigError):
        await protected(plain_store, *keys).begin(replace(new_turn(), context_limit=9))
    assert await right.turns(LOCAL_OWNER, "tea") == before
    assert len((await right.threads(LOCAL_OWNER, limit=9)).threads) == 1
    assert (await right.begin(new_turn())).lease is not None


async def test_a_new_thread_with_the_wrong_key_is_refused(plain_store: ThreadStore) -> None:
    """A store never holds threads of two keys that nobody has together."""
    await say(protected(plain_store, KEY))
    with pytest.raises(ConfigError):
        await say(protected(plain_store, OTHER_KEY), "coffee")
    assert len((await plain_store.threads(LOCAL_OWNER, limit=9)).threads) == 1


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
