"""A provider that costs next to nothing: prebuilt answers, for what is measured in front of it.

    python -m tests.benchmarks.upstream PORT

The model's name says how it answers: ``burst-200`` sends 200 tokens as fast as they are taken, 20 in
a piece; ``paced-25-40`` sends 40 tokens, 25 ms apart; ``timed-25-40`` does, too, and each token is the
time at which it was sent; ``held-1`` sends 1 token and then nothing.
"""

import asyncio
import json
import re
import sys
import time
from collections.abc import Iterator
from functools import cache
from typing import Any, cast

import uvloop

PIECE = 20
WORD = " token"
_MODEL = re.compile(rb'"model":\s*"(?:[a-z]+:)?([a-z0-9-]+)"')
_LENGTH = re.compile(rb"content-length: *([0-9]+)", re.IGNORECASE)
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def _event(delta: dict[str, Any], finish_reason: str | None = None, **more: Any) -> bytes:
    chunk = {
        "id": "chatcmpl-benchmark",
        "object": "chat.completion.chunk",
        "created": 1_760_000_000,
        "model": "benchmark",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
    }
    return b"data: " + json.dumps(chunk | more, separators=(",", ":")).encode() + b"\n\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


TOKEN = _event({"content": WORD})
FIRST = _event({"role": "assistant", "content": ""})
_BEFORE, _AFTER = TOKEN.split(WORD.encode())


@cache
def pieces_of(count: int, size: int) -> list[bytes]:
    """Return an answer of `count` tokens as it is sent, `size` tokens in each piece but the last."""
    usage = {"prompt_tokens": 10, "completion_tokens": count, "total_tokens": 10 + count}
    last = _event({}, "stop") + _event({}, choices=[], usage=usage) + b"data: [DONE]\n\n"
    pieces = [_chunk(TOKEN * min(size, count - start)) for start in range(0, count, size)]
    pieces[0] = _HEAD + _chunk(FIRST) + pieces[0]
    pieces[-1] += _chunk(last) + b"0\r\n\r\n"
    return pieces


def timed_pieces(count: int) -> Iterator[bytes]:
    """Yield such an answer, a token a piece; each says when, in nanoseconds of the monotonic clock."""
    first, *_, last = pieces_of(2, 1)
    yield first[: first.index(_chunk(TOKEN))]
    for _ in range(count):
        yield _chunk(b"%b %d%b" % (_BEFORE, time.monotonic_ns(), _AFTER))
    yield last[len(_chunk(TOKEN)) :]


class Upstream(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)
        self._loop = asyncio.get_running_loop()
        self._came = b""
        self._writable = True
        self._waiting: Iterator[bytes] | None = None

    def data_received(self, data: bytes) -> None:
        """Answer a request that is whole."""
        self._came += data
        head, end, body = self._came.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not end or len(body) < int(length[1] if length else 0):
            return
        self._came = b""
        asked = _MODEL.search(body)
        if asked is None:  # the list of models
            page = b'{"data": [{"id": "burst-20"}]}'
            self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(page), page))
            return
        kind, *numbers = asked[1].decode().split("-")
        if kind == "burst":
            self._burst(iter(pieces_of(int(numbers[0]), PIECE)))
        elif kind == "paced":
            self._pace(iter(pieces_of(int(numbers[1]), 1)), int(numbers[0]) / 1000)
        elif kind == "timed":
            self._pace(timed_pieces(int(numbers[1])), int(numbers[0]) / 1000)
        else:
            self._transport.write(_HEAD + _chunk(FIRST + TOKEN * int(numbers[0])))

    def pause_writing(self) -> None:
        """Wait for the reader."""
        self._writable = False

    def resume_writing(self) -> None:
        """Go on."""
        self._writable = True
        if self._waiting is not None:
            self._burst(self._waiting)

    def _burst(self, pieces: Iterator[bytes]) -> None:
        self._waiting = pieces
        if not self._writable or self._transport.is_closing():
            return
        if (piece := next(pieces, None)) is None:
            self._waiting = None
        else:
            self._transport.write(piece)
            self._loop.call_soon(self._burst, pieces)

    def _pace(self, pieces: Iterator[bytes], gap: float) -> None:
        if not self._transport.is_closing() and (piece := next(pieces, None)) is not None:
            self._transport.write(piece)
            self._loop.call_later(gap, self._pace, pieces, gap)


async def _main() -> None:
    server = await asyncio.get_running_loop().create_server(
        Upstream, "127.0.0.1", int(sys.argv[1]), backlog=2048
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_main())
