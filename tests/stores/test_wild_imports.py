"""Imports of anything: every store keeps what is taken, and what is refused stands in nothing else's way."""

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as some

from chatcli.errors import ChatcliError, InvalidRequest, InvalidText
from chatcli.frozen import replace
from chatcli.models import LOCAL_OWNER, Message, Role, Thread, Turn, TurnError, TurnState, Usage
from chatcli.server.schemas import read_imported
from chatcli.server.schemas.imports import ImportedThread
from chatcli.service.threads import ThreadService
from chatcli.service.transfer import check_thread
from chatcli.service.transfer.document import write_document
from chatcli.service.transfer.lines import HEADER, VERSION, read_export
from chatcli.service.transfer.reading import Unfit, Whole
from chatcli.stores.base import ThreadStore
from chatcli.text import new_id

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
PART = {"type": "text", "text": "hello"}


def whole(thread_id: str = "") -> Whole:
    """Return a thread with one turn that has everything that a turn can have."""
    turn = Turn(
        id=new_id(),
        index=1,
        state=TurnState.FAILED,
        started_at=MOMENT,
        model="offline:echo",
        messages=(
            Message(new_id(), Role.HUMAN, ({**PART},), MOMENT),
            Message(new_id(), Role.AI, "hi", MOMENT),
        ),
        finished_at=MOMENT,
        finish_reason="stop",
        usage=Usage(1, 2),
        error=TurnError("internal", "oh"),
    )
    thread_id = thread_id or new_id()
    thread = Thread(thread_id, LOCAL_OWNER, "T", "English", 1, MOMENT, MOMENT, MOMENT, "S", turn.model)
    return thread, (turn,)


def places_in(value: object, *place: str | int) -> Iterator[tuple[str | int, ...]]:
    """Yield the places of everything in a document."""
    if place:
        yield place
    if isinstance(value, dict | list):
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places_in(inner, *place, name)


def put(document: Any, place: Sequence[str | int], value: object) -> dict[str, Any]:
    """Return a document with something else in a place."""
    document = json.loads(json.dumps(document))
    inner = document
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    found: dict[str, Any] = document
    return found


def export(*documents: object) -> io.BytesIO:
    """Return an export of documents that may be none."""
    body = "".join(json.dumps(document) + "\n" for document in ({HEADER: VERSION}, *documents)).encode()
    trailer = {"threads": len(documents), "sha256": hashlib.sha256(body).hexdigest()}
    return io.BytesIO(body + json.dumps(trailer, separators=(",", ":")).encode() + b"\n")


PLACES = list(places_in(write_document(*whole())))
strange: some.SearchStrategy[Any] = some.sampled_from(
    [
        *("", "\0", "\ud800", "x" * 257, "x" * 1001, "a\nb", "\u2028\N{TEAPOT}", "running", "ai"),
        *(0, -1, 2**53, 2**53 + 1, 2**63, -(2**63) - 1, 2**64, 10**30, 1e400, float("nan"), 0.5, True),
        *(None, [], {}, [[]], [PART, PART], [{**PART, "n": 2**64 - 1}], [{**PART, "n": 10**20}]),
        *("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00+01:00"),
        *([{**PART, "\0": 1}], [{"type": "\0"}], [{**PART, "m": {"\ud800": [1e400]}}], {"name": "x"}),
    ]
) | some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(some.characters()),
    lambda inner: some.lists(inner, max_size=2) | some.dictionaries(some.text(), inner, max_size=2),
    max_leaves=5,
)


@example(place=("turns", 0, "messages", 0, "content"), value=[{**PART, "n": 10**20}])
@example(place=("turns", 0, "usage", "input_tokens"), value=10**30)
@example(place=("turns", 0, "model"), value="\0")
@given(place=some.sampled_from(PLACES), value=strange)
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_what_is_taken_is_kept(store: ThreadStore, place: tuple[str | int, ...], value: object) -> None:
    """A strange thread is in the store as it was, or refused by name; the sound one behind it comes in."""
    service, sound = ThreadService(store), whole()
    strange_one = put(write_document(*whole()), place, value)
    reading = read_export(export(strange_one, write_document(*sound)))
    with suppress(Unfit):
        await _take_or_refuse(service, *next(reading))
    assert await service.import_thread(*next(reading))
    assert await service.turns(sound[0].id) == sound[1]
    assert next(reading, None) is None


async def _take_or_refuse(service: ThreadService, thread: Thread, turns: tuple[Turn, ...]) -> None:
    try:
        is_new = await service.would_be_new(thread, turns)
    except (InvalidRequest, InvalidText) as refusal:
        with pytest.raises(type(refusal)):
            await service.import_thread(thread, turns)
        return
    assert is_new is await service.import_thread(thread, turns)
    running = any(turn.state is TurnState.RUNNING for turn in turns)
    ended = tuple(replace(turn, state=TurnState.INTERRUPTED) for turn in turns) if running else turns
    assert await service.turns(thread.id) == ended
    kept = await service.thread(thread.id)
    assert kept == replace(thread, owner=LOCAL_OWNER, model=kept.model)
    await service.delete(thread.id)


@given(place=some.sampled_from(PLACES), value=strange)
def test_a_server_takes_the_same(place: tuple[str | int, ...], value: object) -> None:
    """What is taken here is taken by a server, which makes the same of it."""
    try:
        thread, turns = next(read_export(export(put(write_document(*whole()), place, value))))
        check_thread(thread, turns)
    except ChatcliError:
        return
    sent = json.dumps(write_document(thread, turns))
    assert read_imported(ImportedThread.model_validate_json(sent)) == (thread, turns)


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("usage", "input_tokens"), 10**30, "usage.input_tokens is no number from 0 to 9007199254740992"),
        (("model",), "\0", "model of turn 1 of thread tea holds a NUL"),
        (("model",), "x" * 1001, "model of turn 1 of thread tea has more than 1000 characters"),
        (("finish_reason",), 5, "finish_reason is no text"),
        (("finish_reason",), "\ud800", "finish_reason of turn 1 of thread tea holds a lone surrogate"),
        (("id",), "a\nb", "id of turn 1 of thread tea is not one line of 1 to 256 characters"),
        (("id",), "a\0", "id of turn 1 of thread tea holds a NUL"),
        (("messages", 0, "id"), "", "messages.0.id is empty"),
        (("messages", 1, "id"), "x" * 257, "id of message 2 of turn 1 of thread tea is not one line"),
        (
            ("messages", 0, "content", 0, "n"),
            2**64,
            "message 1 of turn 1 of thread tea holds a number",
        ),
        (("error", "name"), "\0", "error.name of turn 1 of thread tea holds a NUL"),
        (("state",), "asleep", "turns.0.state is none of running, complete"),
    ],
)
def test_what_is_refused_is_named(place: tuple[str | int, ...], value: object, said: str) -> None:
    """A refusal says what is wrong with which field of which thread."""
    document = put(write_document(*whole("tea")), ("turns", 0, *place), value)
    with pytest.raises((InvalidRequest, InvalidText), match=said):
        check_thread(*next(read_export(export(document))))


async def test_the_largest_that_is_taken(store: ThreadStore) -> None:
    """At the very limits of the rules each store keeps all of it."""
    thread, (turn,) = whole()
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    deep: list[Any] = [2**64 - 1, -(2**63), 0.1]
    for _ in range(61):
        deep = [deep]
    content = ({**PART, "deep": deep},)
    turn = replace(
        turn,
        id="\N{TEAPOT}" * 256,
        model="m" * 1000,
        finish_reason="",
        usage=Usage(0, 2**53),
        started_at=first,
        finished_at=last - timedelta(days=1),
        messages=(replace(turn.messages[0], id="i" * 256, content=content),),
    )
    thread = replace(thread, created_at=first, updated_at=last, title="", system="", model=turn.model)
    service = ThreadService(store)
    assert await service.import_thread(thread, (turn,))
    assert (await service.thread(thread.id), await service.turns(thread.id)) == (thread, (turn,))
    ((copied, turns),) = [whole async for whole in service.export([thread.id])]
    assert next(read_export(export(write_document(copied, turns)))) == (thread, (turn,))
