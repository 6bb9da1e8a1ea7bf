"""The formats of the fast engine: events and HTTP, cut anywhere, whole or broken."""

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatcli.models import Usage
from chatcli.providers.base import Delta
from chatcli.providers.wire.chat import read_delta
from chatcli.providers.wire.events import EventReader, EventTooLong
from chatcli.providers.wire.framing import (
    HEAD_LIMIT,
    ChunkedBody,
    ConnectionFailed,
    OpenBody,
    SizedBody,
    body_of,
    parse_head,
    split_head,
)

cuts = st.lists(st.integers(0, 400), max_size=12)
ends = st.sampled_from(["\n", "\r\n", "\r"])
words = st.text(max_size=12)


def cut(data: bytes, places: Sequence[int]) -> Iterator[bytes]:
    """Yield `data` in pieces, some of them empty."""
    edges = [0, *sorted(min(place, len(data)) for place in places), len(data)]
    for start, end in pairwise(edges):
        yield data[start:end]


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """Return a stream of events and their data; the data hold no line ends, but events may have lines."""
    written, expected = [], []
    for _ in range(draw(st.integers(0, 6))):
        end = draw(ends)
        lines = draw(
            st.lists(words.map(lambda word: json.dumps({"x": word}, ensure_ascii=False)), max_size=3)
        )
        # These separate lines for Python's text, not in a stream of events.
        lines = [line.replace("\x0b", "").replace("\x85", "") for line in lines]
        noise = draw(st.sampled_from([[], [": ping"], ["event: x"], ["id: 1", "retry: 5"], ["odd"]]))
        gap = draw(st.sampled_from(["", " "]))
        written += [*(f"{line}{end}" for line in (*noise, *(f"data:{gap}{line}" for line in lines))), end]
        if lines:
            expected.append("\n".join(lines).encode())
    return "".join(written).encode(), expected


@given(streams(), cuts)
def test_events_are_the_same_however_the_stream_is_cut(
    stream: tuple[bytes, list[bytes]], places: list[int]
) -> None:
    """Comments, other fields, all three line ends, events of several lines, cut characters."""
    data, expected = stream
    reader = EventReader()
    assert [event for piece in cut(data, places) for event in reader.feed(piece)] == expected


@given(st.lists(words, max_size=8), cuts)
def test_deltas_are_the_same_however_the_stream_is_cut(texts: list[str], places: list[int]) -> None:
    """What was written as text comes out as text, piece for piece."""
    chunks = [{"choices": [{"index": 0, "delta": {"content": text}}]} for text in texts]
    data = "".join(f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n" for chunk in chunks).encode()
    reader = EventReader()
    deltas = [read_delta(event) for piece in cut(data, places) for event in reader.feed(piece)]
    assert deltas == [Delta(text=text) if text else None for text in texts]


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), cuts, st.booleans())
def test_chunks_are_the_same_however_they_are_cut(
    chunks: list[bytes],
    places: list[int],
    extras: bool,  # noqa: FBT001 - drawn
) -> None:
    """Sizes in either case, extensions and trailers; the end is found where it is, and not before."""
    extension, trailer = (b';name="v"', b"X-Sum: 1\r\n") if extras else (b"", b"")
    form = b"%X%b\r\n%b\r\n" if extras else b"%x%b\r\n%b\r\n"
    data = b"".join(form % (len(chunk), extension, chunk) for chunk in chunks)
    data += b"0%b\r\n%b\r\n" % (extension, trailer)
    body = ChunkedBody()
    found = b""
    for piece in cut(data[:-1], places):
        found += body.feed(piece)
        assert not body.done
    found += body.feed(data[-1:])
    assert found == b"".join(chunks)
    assert body.done
    assert not body.surplus
    body.end()


@given(st.binary(max_size=200), cuts)
def test_nonsense_is_a_failed_connection(data: bytes, places: list[int]) -> None:
    """Whatever comes instead of HTTP, the one error says so."""
    chunked = ChunkedBody()
    try:
        for piece in cut(data, places):
            chunked.feed(piece)
    except ConnectionFailed:
        pass
    for start in (b"", b"HTTP/1.1 200 OK\r\n"):
        try:
            parts = split_head(start + data + b"\r\n\r\n")
            if parts is not None:
                body_of(parts[0])
        except ConnectionFailed:
            pass


@pytest.mark.parametrize(
    "data",
    [b"5\r\nhello!", b"x\r\n", b"-1\r\n", b"0x5\r\n", b"5 5\r\n", b"\r\n", b"f" * 17 + b"\r\n", b"1" * 5000],
)
def test_broken_chunks(data: bytes) -> None:
    """A size that is none, data that do not end where they should, a line without an end."""
    with pytest.raises(ConnectionFailed):
        ChunkedBody().feed(data + b"\r\n")


@pytest.mark.parametrize("data", [b"", b"5\r\nhel", b"5\r\nhello\r\n", b"0\r\n"])
def test_an_end_before_the_last_chunk(data: bytes) -> None:
    """Only the last chunk ends a body in chunks."""
    body = ChunkedBody()
    body.feed(data)
    with pytest.raises(ConnectionFailed):
        body.end()


def test_bodies() -> None:
    """A size, an end of the connection, or nothing: each says when it is over and what is too much."""
    sized = SizedBody(5)
    assert sized.feed(b"hel") == b"hel"
    with pytest.raises(ConnectionFailed):
        sized.end()
    assert sized.feed(b"lo!") == b"lo"
    assert sized.done
    assert sized.surplus
    open_ = OpenBody()
    assert open_.feed(b"hello") == b"hello"
    before = open_.done
    open_.end()
    assert (before, open_.done) == (False, True)
    chunked = ChunkedBody()
    chunked.feed(b"0\r\n\r\nHTTP")
    assert chunked.surplus


def test_heads() -> None:
    """Status, headers in any case, interim responses, and whether the connection goes on."""
    data = (
        b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n"
        b"HTTP/1.1 429 Too Many\r\nRetry-After:  7 \r\nX-A: 1\r\nx-a: 2\r\n\r\nbody"
    )
    for end in range(len(data) - 4):
        assert split_head(data[:end]) is None
    parts = split_head(data)
    assert parts is not None
    head, rest = parts
    assert (head.status, rest, head.persistent) == (429, b"body", True)
    assert head.headers == {"retry-after": "7", "x-a": "1, 2"}
    assert not parse_head(b"HTTP/1.1 200 OK\r\nConnection: Close").persistent
    assert not parse_head(b"HTTP/1.0 200 OK").persistent
    assert parse_head(b"HTTP/1.0 200 OK\r\nConnection: keep-alive").persistent
    assert parse_head(b"HTTP/1.1 200").status == 200


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"SSH-2.0-OpenSSH",
        b"HTTP/2 200 OK",
        b"HTTP/1.1 99 x",
        b"HTTP/1.1 200 OK\r\nno colon",
        b"HTTP/1.1 200 OK\r\n folded: x",
        b"HTTP/1.1 200 OK\r\nname : x",
    ],
)
def test_heads_that_are_none(data: bytes) -> None:
    """Anything else on the port is a failed connection."""
    with pytest.raises(ConnectionFailed):
        parse_head(data)


@pytest.mark.parametrize(
    "headers", [b"Content-Length: 5, 6", b"Content-Length: -1", b"Transfer-Encoding: gzip, chunked"]
)
def test_bodies_that_cannot_be_read(headers: bytes) -> None:
    """A size that is none and a coding that was not asked for are refused."""
    with pytest.raises(ConnectionFailed):
        body_of(parse_head(b"HTTP/1.1 200 OK\r\n" + headers))


def test_a_head_without_an_end() -> None:
    """A head has a limit."""
    with pytest.raises(ConnectionFailed):
        split_head(b"HTTP/1.1 200 OK\r\nX: " + b"x" * HEAD_LIMIT)


@pytest.mark.parametrize("line", [b"x" * 1000, b"data: x\n" * 10, b"data:\n" * 10])
def test_an_event_without_an_end(line: bytes) -> None:
    """An event has a limit, be it one line or many; events that end do not count."""
    reader = EventReader(limit=10_000)
    for _ in range(100):
        reader.feed(b"data: " + b"x" * 500)
        assert reader.feed(b"x" * 500 + b"\n\n: ping\n")
    with pytest.raises(EventTooLong):
        any(reader.feed(line) for _ in range(100))


@pytest.mark.parametrize(
    ("chunk", "expected"),
    [
        ({"choices": [{"delta": {"content": "a"}}]}, Delta("a")),
        ({"choices": [{"delta": {"reasoning_content": "r"}}]}, Delta(reasoning="r")),
        ({"choices": [{"delta": {"reasoning": "r", "content": "a"}}]}, Delta("a", "r")),
        ({"choices": [{"delta": {}, "finish_reason": "stop"}]}, Delta(finish_reason="stop")),
        ({"choices": [{"delta": {"role": "assistant", "content": ""}}]}, None),
        ({"choices": [{"delta": None}]}, None),
        ({"choices": [{"delta": {"tool_calls": [{"index": 0}]}}]}, None),
        ({"choices": [{"delta": {"content": [{"type": "text", "text": "a"}, {"type": "x"}]}}]}, Delta("a")),
        ({"choices": []}, None),
        ({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}, Delta(usage=Usage(3, 4))),
        ({"usage": {"prompt_tokens": None}}, Delta(usage=Usage(0, 0))),
        ({"x_groq": {"usage": {"prompt_tokens": 3, "completion_tokens": 4}}}, Delta(usage=Usage(3, 4))),
    ],
)
def test_deltas(chunk: dict[str, Any], expected: Delta | None) -> None:
    """Text, reasoning by either name, the finish reason and the count; nothing of anything else."""
    assert read_delta(json.dumps(chunk).encode()) == expected


@pytest.mark.parametrize(
    "event",
    [
        b"[1]",
        b'"x"',
        b"nonsense",
        b"\xff",
        b'{"error": "x"}',
        b'{"choices": {"a": 1}}',
        b'{"choices": ["x"]}',
        b'{"choices": [{"delta": "x"}]}',
        b'{"choices": [{"delta": {"content": 5}}]}',
        b'{"usage": {"prompt_tokens": "many"}}',
    ],
)
def test_events_that_are_no_deltas(event: bytes) -> None:
    """They raise; which error is the engine's business."""
    with pytest.raises((ValueError, TypeError, LookupError, AttributeError)):
        read_delta(event)
