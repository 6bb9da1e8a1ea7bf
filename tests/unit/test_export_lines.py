"""chatcli's own export: what went in comes out, byte for byte, and damage is never taken for text."""

import hashlib
import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from chatcli.errors import InvalidText
from chatcli.models import Message, Role, Thread, Turn, TurnError, TurnState, Usage
from chatcli.service.transfer.lines import Export, read_export

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
texts = some.text(some.characters(exclude_categories=["Cs"], exclude_characters="\0"))
contents: some.SearchStrategy[Any] = texts | some.tuples(
    some.fixed_dictionaries({"type": some.just("text"), "text": texts}),
    some.just({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}),
)
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
            usage=draw(some.none() | some.builds(Usage, some.integers(0), some.integers(0))),
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


@pytest.mark.parametrize("part", [{"type": "text"}, {"type": "text", "text": 1}, {"text": "x"}, "x"])
def test_a_part_that_is_none_is_refused(part: object) -> None:
    """Content that nothing could show gets no further, though the checksum is right."""
    head, line, _ = written(one()).splitlines(keepends=True)
    document = json.loads(line)
    document["turns"][0]["messages"][0]["content"] = [part]
    body = head + json.dumps(document).encode() + b"\n"
    digest = hashlib.sha256(body).hexdigest()
    data = body + f'{{"threads":1,"sha256":"{digest}"}}\n'.encode()
    with pytest.raises(InvalidText, match="line 2"):
        next(read_export(io.BytesIO(data)))


def test_a_newer_export_is_refused() -> None:
    """A version that is not known is named, with what to do."""
    head = b'{"chatcli_export":2}\n'
    digest = hashlib.sha256(head).hexdigest()
    data = head + f'{{"threads":0,"sha256":"{digest}"}}\n'.encode()
    with pytest.raises(InvalidText, match="version 2"):
        next(read_export(io.BytesIO(data)))
