"""What lies in the bucket: objects of the one documented form, whoever wrote them."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from chatcli.errors import StoreCorrupt, StoreNewerSchema
from chatcli.models import LOCAL_OWNER, Message, Role, TurnState, Usage
from chatcli.stores import open_store
from chatcli.stores.base import Blob, CheckpointKey, CheckpointRow, PendingWrite, ThreadStore
from tests.stores.s3 import Server
from tests.stores.talk import say, texts

GOLDEN = Path(__file__).parent / "golden"
TEA = "chat_histories/tea.json"


@pytest.fixture
def url(s3_server: Server) -> str:
    """An empty bucket."""
    return s3_server.url()


@pytest.fixture
async def store(url: str) -> AsyncIterator[ThreadStore]:
    """The store in the bucket."""
    store = open_store(url)
    yield store
    await store.aclose()


def load(server: Server, url: str, key: str = TEA) -> Any:
    """Return an object of the bucket."""
    body = server.read(url, key)
    assert body is not None
    return json.loads(body)


def put(server: Server, url: str, name: str) -> Any:
    """Put a golden object into the bucket as the thread ``tea``, and return it."""
    body = (GOLDEN / name).read_bytes()
    server.write(url, TEA, body)
    return json.loads(body)


async def test_objects_have_the_documented_form(store: ThreadStore, s3_server: Server, url: str) -> None:
    """State, metadata and versions stand where every program of this format looks for them."""
    await say(store, "tea", "How hot?", "80 °C.")
    await say(store, "coffee", owner="eve")
    found = load(s3_server, url)

    assert [message["content"] for message in found["state"]["messages"]] == ["How hot?", "80 °C."]
    human, ai = found["state"]["messages"]
    assert (human["_type"], human["type"], human["additional_kwargs"]) == ("HumanMessage", "human", {})
    assert (ai["_type"], ai["type"], ai["additional_kwargs"]) == ("AIMessage", "ai", {})
    assert found["state"]["language"] == found["metadata"]["language"] == "English"
    assert datetime.fromisoformat(found["metadata"]["timestamp"]).tzinfo is not None
    assert found["new_versions"] == {"messages": 2}
    assert "chat_histories/eve/coffee.json" in s3_server.keys(url)
    assert set(found) == {"state", "metadata", "new_versions", "chatcli"}


async def test_earlier_objects_are_read(store: ThreadStore, s3_server: Server, url: str) -> None:
    """The conversation of an earlier program is shown as complete turns, with its language and title."""
    put(s3_server, url, "earlier.json")
    turns = await store.turns(LOCAL_OWNER, "tea")
    thread = await store.thread(LOCAL_OWNER, "tea")

    assert texts(turns) == [
        ["How hot should green tea be?", "About 80 °C."],
        ["Og sort te?", "95 °C."],
    ]
    assert {turn.state for turn in turns} == {TurnState.COMPLETE}
    assert [turn.index for turn in turns] == [1, 2]
    assert turns[0].started_at == datetime(2025, 2, 3, 4, 5, 6, 789012, UTC)
    assert (thread.title, thread.language, thread.turn_count) == (
        "How hot should green tea be?",
        "Danish",
        2,
    )
    assert (await store.threads(LOCAL_OWNER, limit=2)).threads == (thread,)
    assert len(await store.context(LOCAL_OWNER, "tea", limit=3)) == 2
    (hit,) = await store.search(LOCAL_OWNER, "sort te", limit=5)
    assert (hit.thread.id, hit.turn_index, hit.line) == ("tea", 2, "Og sort te?")


@pytest.mark.parametrize("name", ["earlier.json", "earlier_rich.json", "empty.json"])
async def test_earlier_objects_are_continued(
    store: ThreadStore, s3_server: Server, url: str, name: str
) -> None:
    """A turn more, a new title, and back: every field that was there is there, in its place."""
    before = put(s3_server, url, name)
    shown = await store.turns(LOCAL_OWNER, "tea")
    said = await say(store, "tea", "More?", "Yes.")
    await store.rename(LOCAL_OWNER, "tea", "Tea")
    after = load(s3_server, url)

    count = len(before["state"]["messages"])
    assert after["state"]["messages"][:count] == before["state"]["messages"]
    assert after["new_versions"]["messages"] == len(after["state"]["messages"]) == count + 2
    for part, written in (
        ("state", {"messages", "language"}),
        ("metadata", {"timestamp", "language"}),
        ("new_versions", {"messages"}),
    ):
        kept = {key: value for key, value in before[part].items() if key not in written}
        assert kept.items() <= after[part].items()
        assert before[part].keys() <= after[part].keys()
    assert after["state"]["language"] == before["state"].get("language", "English")
    assert after.get("thread_ts") == before.get("thread_ts")
    other = open_store(url)
    assert await other.turns(LOCAL_OWNER, "tea") == (*shown, said)
    await other.aclose()


async def test_rich_earlier_messages(store: ThreadStore, s3_server: Server, url: str) -> None:
    """Parts, calls of tools, ids and times are shown; a prompt without an answer is not complete."""
    put(s3_server, url, "earlier_rich.json")
    answered, asked = await store.turns(LOCAL_OWNER, "tea")

    roles = [Role.SYSTEM, Role.HUMAN, Role.AI, Role.TOOL, Role.AI]
    assert [message.role for message in answered.messages] == roles
    assert answered.messages[1].id == "m-1"
    assert answered.messages[1].timestamp == datetime(2025, 2, 3, 3, 5, 6, tzinfo=UTC)
    call = {"type": "tool_call", "id": "call_1", "name": "look", "args": {"at": "tea", "n": [1, 2.5, None]}}
    assert answered.messages[2].content == (call,)
    assert answered.messages[3].content == (
        {"type": "text", "text": "a cup"},
        {"type": "tool_result", "tool_call_id": "call_1"},
    )
    assert (answered.state, asked.state) == (TurnState.COMPLETE, TurnState.INTERRUPTED)


async def test_earlier_program_goes_on(store: ThreadStore, s3_server: Server, url: str) -> None:
    """Messages that an earlier program adds to an object of ours become a turn after the others."""
    first = await say(store)
    data = load(s3_server, url)
    data["state"]["messages"] += [
        {"_type": "HumanMessage", "content": "Again?", "additional_kwargs": {}, "type": "human"},
        {"_type": "AIMessage", "content": "Yes.", "additional_kwargs": {}, "type": "ai"},
    ]
    s3_server.write(url, TEA, json.dumps(data).encode())
    turns = await store.turns(LOCAL_OWNER, "tea")
    assert turns[0] == first
    assert texts(turns)[1] == ["Again?", "Yes."]
    assert (await say(store)).index == 3


async def test_first_format_is_read(store: ThreadStore, s3_server: Server, url: str) -> None:
    """An object as the first version wrote it comes back with everything in it."""
    put(s3_server, url, "format_1.json")
    first, second = await store.turns(LOCAL_OWNER, "tea")
    thread = await store.thread(LOCAL_OWNER, "tea")

    assert (thread.title, thread.system, thread.model) == ("Tea", "Be brief.", "offline:echo")
    assert (first.id, first.state, first.finish_reason, first.usage) == (
        "t1",
        TurnState.TRUNCATED,
        "length",
        Usage(3, 5),
    )
    assert first.messages[2] == Message("t1.2", Role.AI, "80 °C.", datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC))
    assert second.error is not None
    assert (second.state, second.error.name) == (TurnState.FAILED, "provider-timeout")
    key = CheckpointKey(LOCAL_OWNER, "tea", "", "1")
    write = PendingWrite("t", "", 0, "c", Blob("msgpack", b"w"))
    assert await store.get_checkpoint(key) == CheckpointRow(
        key,
        None,
        Blob("msgpack", b"head"),
        "{}",
        {"a": "1"},
        {("a", "1"): Blob("msgpack", b"value")},
        (write,),
    )
    await store.rename(LOCAL_OWNER, "tea", "Tea")
    before = json.loads((GOLDEN / "format_1.json").read_text())
    assert load(s3_server, url) == before


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b"null",
        b"{}",
        b'{"state": {}}',
        b'{"state": {"messages": []}}',
        b'{"state": {"messages": {}}, "metadata": {}}',
        b'{"state": {"messages": [{"type": "robot", "content": ""}]}, "metadata": {}}',
        b'{"state": {"messages": [{"type": "human"}]}, "metadata": {}}',
        b'{"state": {"messages": []}, "metadata": {}, "chatcli": {"format": 1, "turns": [{}]}}',
        b'{"state": {"messages": []}, "metadata": {}, "chatcli": {}}',
        b"<?xml version='1.0'?><Error><Code>InternalError</Code></Error>",
    ],
)
async def test_damage_is_never_overwritten(
    store: ThreadStore, s3_server: Server, url: str, body: bytes
) -> None:
    """Torn or foreign JSON, or an error instead of it, is an error that names the object, and stays."""
    s3_server.write(url, TEA, body)
    for call in (
        lambda: store.turns(LOCAL_OWNER, "tea"),
        lambda: say(store),
        lambda: store.clear(LOCAL_OWNER, "tea"),
        lambda: store.delete(LOCAL_OWNER, "tea"),
    ):
        with pytest.raises(StoreCorrupt, match=r"chat_histories/tea\.json"):
            await call()
    assert s3_server.read(url, TEA) == body
    await say(store, "coffee")
    listed = (await store.threads(LOCAL_OWNER, limit=9)).threads
    assert {thread.title for thread in listed} == {"(damaged object)", "Tea"}
    assert await store.search(LOCAL_OWNER, "hot", limit=9)


async def test_newer_format_is_refused(store: ThreadStore, s3_server: Server, url: str) -> None:
    """An object of a newer version is not touched, and the error says what to do."""
    data = put(s3_server, url, "format_1.json")
    data["chatcli"]["format"] = 2
    body = json.dumps(data).encode()
    s3_server.write(url, TEA, body)
    with pytest.raises(StoreNewerSchema, match="newer version"):
        await say(store)
    assert s3_server.read(url, TEA) == body


async def test_other_files_are_no_threads(store: ThreadStore, s3_server: Server, url: str) -> None:
    """What has no name of a thread in the bucket is left alone."""
    for key in ("chat_histories/notes.txt", "chat_histories/a b.json", "chat_histories/a..b.json", "x.json"):
        s3_server.write(url, key, b"?")
    assert (await store.threads(LOCAL_OWNER, limit=9)).threads == ()
    assert await store.owners() == ()
