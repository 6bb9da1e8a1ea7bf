"""HTTP/1.1 as bytes (RFC 9112): the head of a response, and where its body ends."""

from collections.abc import Mapping
from typing import TypeAlias

HEAD_LIMIT = 64 * 1024
"""Bytes of a head."""
_FRAME_LIMIT = 4 * 1024
"""Bytes of a line between two chunks."""
_NO_BODY = frozenset({204, 304})
_HEX = b"0123456789ABCDEFabcdef"
_HEX_DIGITS = 15


class ConnectionFailed(Exception):
    """The connection was lost, or what came over it is not HTTP."""


class Head:
    """Status and headers of a response."""

    __slots__ = ("headers", "persistent", "status")

    def __init__(self, status: int, headers: Mapping[str, str], *, persistent: bool) -> None:
        self.status = status
        self.headers = headers
        """By name in lower case."""
        self.persistent = persistent
        """Whether the connection may be used again when the body was read."""


def split_head(data: bytes | bytearray) -> tuple[Head, bytes] | None:
    """Return the head at the beginning of `data` and what follows it; None while it is not whole.

    Interim responses are skipped. Raises `ConnectionFailed`.
    """
    start = 0
    while (end := data.find(b"\r\n\r\n", start)) >= 0:
        head = parse_head(bytes(data[start:end]))
        start = end + 4
        if head.status >= 200:  # noqa: PLR2004 - HTTP
            return head, bytes(data[start:])
    if len(data) > HEAD_LIMIT:
        raise ConnectionFailed
    return None


def parse_head(data: bytes) -> Head:
    """Return the head that `data` is. Raises `ConnectionFailed`."""
    first, *lines = data.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    status, _, _ = rest.partition(" ")
    if version not in {"HTTP/1.0", "HTTP/1.1"} or not (len(status) == 3 and _is_number(status)):  # noqa: PLR2004 - HTTP
        raise ConnectionFailed
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise ConnectionFailed
        name, value = name.lower(), value.strip(" \t")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    wishes = {wish.strip() for wish in headers.get("connection", "").lower().split(",")}
    persistent = "close" not in wishes and (version == "HTTP/1.1" or "keep-alive" in wishes)
    return Head(int(status), headers, persistent=persistent)


def body_of(head: Head) -> "Body":
    """Return what finds the body behind `head`. Raises `ConnectionFailed`."""
    if head.status in _NO_BODY:
        return SizedBody(0)
    coding = head.headers.get("transfer-encoding")
    if coding is not None:
        if coding.lower() != "chunked":
            raise ConnectionFailed
        return ChunkedBody()
    size = head.headers.get("content-length")
    if size is None:
        return OpenBody()
    if not _is_number(size):
        raise ConnectionFailed
    return SizedBody(int(size))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


class SizedBody:
    """A body of known size."""

    def __init__(self, size: int) -> None:
        self._left = size
        self.surplus = False

    @property
    def done(self) -> bool:
        """Whether all of it has come."""
        return not self._left

    def feed(self, data: bytes) -> bytes:
        """Return what of `data` is the body's."""
        self.surplus = len(data) > self._left
        data = data[: self._left]
        self._left -= len(data)
        return data

    def end(self) -> None:
        """Take note that the connection ended."""
        if self._left:
            raise ConnectionFailed


class OpenBody:
    """A body that ends with its connection."""

    done = False
    surplus = False

    def feed(self, data: bytes) -> bytes:
        """Return `data`."""
        return data

    def end(self) -> None:
        """Take note that the connection ended."""
        self.done = True


class ChunkedBody:
    """A body in chunks (RFC 9112, 7.1); extensions and trailers are passed over."""

    def __init__(self) -> None:
        self._left = 0
        """Bytes that the current chunk still has."""
        self._line = b""
        """The beginning of a line between chunks whose end has not come."""
        self._closing = False
        """A chunk's data are over, and the end of their line is due."""
        self._last = False
        """The last chunk was seen: trailers follow, and an empty line."""
        self.done = False
        self.surplus = False

    def feed(self, data: bytes) -> bytes:
        """Return what of `data` is the body's."""
        if self._line:
            data, self._line = self._line + data, b""
        pieces = []
        position, end = 0, len(data)
        while position < end and not self.done:
            if self._left:
                piece = data[position : position + self._left]
                pieces.append(piece)
                position += len(piece)
                self._left -= len(piece)
                self._closing = not self._left
                continue
            line_end = data.find(b"\r\n", position, position + _FRAME_LIMIT)
            if line_end < 0:
                self._line = data[position:]
                if len(self._line) >= _FRAME_LIMIT:
                    raise ConnectionFailed
                break
            self._take_line(data[position:line_end])
            position = line_end + 2
        self.surplus = self.done and position < end
        return b"".join(pieces) if len(pieces) != 1 else pieces[0]

    def end(self) -> None:
        """Take note that the connection ended."""
        if not self.done:
            raise ConnectionFailed

    def _take_line(self, line: bytes) -> None:
        if self._closing:
            if line:
                raise ConnectionFailed
            self._closing = False
        elif self._last:
            self.done = not line
        else:
            size = line.partition(b";")[0].rstrip(b" \t")
            if not 0 < len(size) <= _HEX_DIGITS or size.strip(_HEX):
                raise ConnectionFailed
            self._left = int(size, 16)
            self._last = not self._left


Body: TypeAlias = SizedBody | OpenBody | ChunkedBody
"""Finds the body of a response in what comes after its head.

``feed`` returns what of its argument is the body's; ``done`` says whether all of it has come, and
``surplus`` whether something came behind it. ``end`` is told that the connection ended. Both raise
`ConnectionFailed` where that is not how the body goes on.
"""
