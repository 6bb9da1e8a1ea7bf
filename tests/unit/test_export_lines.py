"""chatcli's own export: what went in comes out, byte for byte, and damage is never taken for text."""

import hashlib
import io
import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from chatcli.checkpoint.sync import finish
from chatcli.cli.webpage import page_of
from chatcli.errors import ChatcliError, InvalidRequest, InvalidText
from chatcli.frozen import replace
from chatcli.models import Message, Role, Thread, Turn, TurnError, TurnState, Usage
from chatcli.service.threads import ThreadService
from chatcli.service.transfer import check_thread
from chatcli.service.transfer.lines import Export, read_export
from chatcli.stores import open_store
from chatcli.text import new_id

CONTENT: list[str | int] = ["turns", 0, "messages", 0, "content"]
IN_CONTENT = "turns.0.messages.0.content"
MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
texts = some.text(some.characters(exclude_categories=["Cs"], exclude_characters="\0"))
contents: some.SearchStrategy[Any] = texts | some.tuples(
    some.fixed_dictionaries({"type": some.just("text"), "text": texts}),
    some.just({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}),
)
counts = some.integers(0, 2**53)
moments = some.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=some.just(UTC))  # noqa: DTZ001


@some.composite
def turns_of(draw: some.DrawFn) -> tuple[Turn, ...]:
    """Turns as a store may hold them."""
    return tuple(
        Turn(
            id=f"t{index}",
            index=index,
            state=draw(some.sampled_from([state for state in TurnState if state != "running"])),
            started_at=draw(moments),
            model=draw(texts),
            messages=(
                Message(f"t{index}.0", Role.HUMAN, draw(contents), draw(moments)),
                Message(f"t{index}.1", Role.AI, draw(texts), draw(moments)),
            ),
            finished_at=draw(some.none() | moments),
            finish_reason=draw(some.none() | texts),
            usage=draw(some.none() | some.builds(Usage, counts, counts)),
            error=draw(some.none() | some.builds(TurnError, texts, texts)),
        )
        for index in range(1, draw(some.integers(0, 3)) + 1)
    )


def thread_of(turns: Sequence[Turn], **fields: object) -> Thread:
    """Return a thread that has these turns."""
    known: dict[str, object] = {
        "id": "tea",
        "owner": "local",
        "title": "Tea",
        "language": "English",
        "turn_count": len(turns),
        "created_at": MOMENT,
        "updated_at": MOMENT,
        "model": turns[-1].model if turns else None,
    }
    return Thread(**{**known, **fields})  # type: ignore[arg-type]


def written(*threads: tuple[Thread, tuple[Turn, ...]]) -> bytes:
    """Return the export of these threads."""
    export = Export()
    lines = [export.header(), *(export.line(*thread) for thread in threads), export.trailer()]
    return "".join(lines).encode("ascii")


def one(content: str = "hello") -> tuple[Thread, tuple[Turn, ...]]:
    """Return a thread with one turn."""
    message = Message("t1.0", Role.HUMAN, content, MOMENT)
    turns = (Turn("t1", 1, TurnState.INTERRUPTED, MOMENT, "offline", (message,)),)
    return thread_of(turns), turns


@settings(deadline=None)
@given(turns_of(), texts, some.none() | texts, some.none() | moments)
def test_what_goes_out_comes_in(
    turns: tuple[Turn, ...], title: str, system: str | None, archived_at: datetime | None
) -> None:
    """Threads and turns survive with every character and every microsecond, and give the same bytes again."""
    thread = thread_of(turns, title=title, system=system, archived_at=archived_at)
    data = written((thread, turns), one())
    found = list(read_export(io.BytesIO(data)))
    assert found == [(thread, turns), one()]
    assert written(*found) == data
    assert data.isascii()
    assert len(data.decode().splitlines()) == 4


@pytest.mark.parametrize("seed", range(3))
def test_no_changed_byte_is_accepted(seed: int) -> None:
    """Whichever byte changes, nothing of the export is read."""
    data = written(one(), one("ünïcode"))
    for place in range(seed, len(data), 3):
        damaged = bytearray(data)
        damaged[place] ^= 1
        with pytest.raises(InvalidText):
            next(read_export(io.BytesIO(damaged)))


def test_no_shorter_or_longer_export_is_accepted() -> None:
    """An export that was cut anywhere, or has something before, between or behind, is refused whole."""
    data = written(one(), one("again"))
    lines = data.splitlines(keepends=True)
    wrong = [data[:length] for length in range(len(data))]
    wrong += [b"".join(lines[:2] + lines[3:]), b"".join([*lines, lines[1]]), data + data, b"\n" + data]
    for damaged in wrong:
        with pytest.raises(InvalidText):
            next(read_export(io.BytesIO(damaged)))


def changed(place: Sequence[str | int], value: object) -> bytes:
    """Return an export of one thread whose document has `value` in a place, with the right checksum."""
    head, line, _ = written(one()).splitlines(keepends=True)
    document = json.loads(line)
    inner = document
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    body = head + json.dumps(document).encode() + b"\n"
    return body + f'{{"threads":1,"sha256":"{hashlib.sha256(body).hexdigest()}"}}\n'.encode()


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (CONTENT, [{"type": "text"}], f"{IN_CONTENT}.0.text is missing"),
        (CONTENT, [{"type": "text", "text": 1}], f"{IN_CONTENT}.0.text is no text"),
        (CONTENT, [{"text": "x"}], f"{IN_CONTENT}.0.type is missing"),
        (CONTENT, ["x"], f"{IN_CONTENT}.0 is no object"),
        (CONTENT, [{"type": "image_url"}], f"{IN_CONTENT}.0.image_url is missing"),
        (CONTENT, [{"type": "image_url", "image_url": "u"}], f"{IN_CONTENT}.0.image_url is no object"),
        (CONTENT, [{"type": "image_url", "image_url": {}}], f"{IN_CONTENT}.0.image_url.url is missing"),
        (CONTENT, {"type": "text"}, f"{IN_CONTENT} is no list"),
        (["turns", 0, "messages", 0, "role"], "cook", "turns.0.messages.0.role is none of human, ai"),
        (["turns", 0, "started_at"], "2026-01-02T03:04:05", "turns.0.started_at is no moment"),
        (["turns", 0, "usage"], {"input_tokens": 1}, "turns.0.usage.output_tokens is missing"),
        (["turns", 0, "index"], True, "turns.0.index is no number"),
        (["turns", 0, "finish_reason"], ["stop"], "turns.0.finish_reason is no text"),
        (["turns", 0, "id"], "", "turns.0.id is empty"),
        (["turns"], None, "turns is no list"),
        (["updated_at"], "9999-12-31T23:59:59-12:00", "updated_at is no moment"),
    ],
)
def test_what_is_no_thread_is_refused(place: Sequence[str | int], value: object, said: str) -> None:
    """What nothing could show gets no further, though the checksum is right; the error names its place."""
    with pytest.raises(InvalidText, match=re.escape(f"line 2 of the export is no thread: {said}")):
        next(read_export(io.BytesIO(changed(place, value))))


def test_what_has_no_bottom_is_refused() -> None:
    """Depth is told as what is wrong, in a part, and by the hundred thousand brackets in a line."""
    deep: list[Any] = []
    for _ in range(63):
        deep = [deep]
    for part, sound in ({"type": "x", "more": deep[0]}, True), ({"type": "x", "more": deep}, False):
        (thread,) = read_export(io.BytesIO(changed(CONTENT, [part])))
        with nullcontext() if sound else pytest.raises(InvalidRequest, match=r"turn 1 .* deeper than 64"):
            check_thread(*thread)
    body = b'{"chatcli_export":1}\n{"turns":' + b"[" * 200_000 + b"]" * 200_000 + b"}\n"
    digest = hashlib.sha256(body).hexdigest()
    with pytest.raises(InvalidText, match="line 2"):
        next(read_export(io.BytesIO(body + f'{{"threads":1,"sha256":"{digest}"}}\n'.encode())))


words = some.text(some.characters())
anything: some.SearchStrategy[Any] = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | words,
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)
strange_parts = some.one_of(
    some.fixed_dictionaries({"type": some.just("text"), "text": words}, optional={"more": anything}),
    some.fixed_dictionaries({"type": some.just("image_url"), "image_url": some.builds(dict, url=words)}),
    some.fixed_dictionaries({"type": words}, optional={"text": anything, "image_url": anything}),
    anything,
)
PLACES = (
    [["turns", 0, "messages", 0, name] for name in ("id", "role", "content", "timestamp")]
    + [["turns", 0, name] for name in one()[1][0].to_json()]
    + [[name] for name in one()[0].to_json()]
)


@pytest.fixture(scope="module")
def shelf() -> Iterator[ThreadService]:
    """Threads in a database, whose coroutines never wait."""
    with tempfile.TemporaryDirectory() as folder:
        service = ThreadService(open_store(f"sqlite:///{folder}/chats.db"))
        yield service
        finish(service.store.aclose())


@given(
    some.tuples(some.sampled_from(PLACES), anything)
    | some.tuples(some.just(CONTENT), some.lists(strange_parts, max_size=3))
)
def test_a_strange_thread_is_taken_or_refused(
    shelf: ThreadService, change: tuple[Sequence[str | int], object]
) -> None:
    """Whatever stands where: it is in the store and can be shown and exported again, or is refused by name.

    A dry run says the same.
    """
    try:
        thread, turns = next(read_export(io.BytesIO(changed(*change))))
    except InvalidText:
        return
    thread = replace(thread, id=new_id()) if thread.id == "tea" else thread
    try:
        assert finish(shelf.would_be_new(thread, turns))
    except ChatcliError as refusal:
        with pytest.raises(type(refusal), match=re.escape(refusal.message)):
            finish(shelf.import_thread(thread, turns))
        return
    assert finish(shelf.import_thread(thread, turns))
    stored = finish(shelf.thread(thread.id)), finish(shelf.turns(thread.id))
    assert next(read_export(io.BytesIO(written(stored)))) == stored
    assert stored[1] == turns or turns[0].state is TurnState.RUNNING
    json.dumps([turn.to_json() for turn in turns], allow_nan=False)
    "".join(page_of(*stored))


def test_a_newer_export_is_refused() -> None:
    """A version that is not known is named, with what to do."""
    head = b'{"chatcli_export":2}\n'
    digest = hashlib.sha256(head).hexdigest()
    data = head + f'{{"threads":0,"sha256":"{digest}"}}\n'.encode()
    with pytest.raises(InvalidText, match="version 2"):
        next(read_export(io.BytesIO(data)))
