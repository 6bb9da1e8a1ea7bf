"""Server-sent events: the data of each event, from bytes cut anywhere."""

from chatcli.providers.transport import LINE_LIMIT


class EventTooLong(ValueError):
    """An event is larger than anything sensible."""


class EventReader:
    """Finds events in a stream; only their data count here, as bytes, for they may not be UTF-8.

    An event ends with an empty line; one that the stream leaves unfinished is none.
    """

    def __init__(self, limit: int = LINE_LIMIT) -> None:
        self._limit = limit
        self._line: list[bytes] = []
        """The beginning of a line whose end has not come."""
        self._data: list[bytes] = []
        """Lines of data of an event whose end has not come."""
        self._size = 0
        """Bytes of both."""
        self._after_return = False
        """The last byte was a carriage return, and a line feed may belong to it."""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the data of the events that `data` completes.

        Raises:
            EventTooLong: the next event would be larger than the limit.
        """
        if self._after_return and data.startswith(b"\n"):
            data = data[1:]
        if not data:
            return []
        lines = data.splitlines()
        last = data[-1]
        self._after_return = last == 0x0D  # noqa: PLR2004 - carriage return
        rest = b"" if last == 0x0A or self._after_return else lines.pop()  # noqa: PLR2004 - line feed
        if self._line and lines:
            self._line.append(lines[0])
            lines[0] = b"".join(self._line)
            self._line.clear()
        found = self._take(lines)
        if rest:
            self._line.append(rest)
        self._size += len(data)
        if found:
            self._size = len(rest) + sum(map(len, self._data))
        if self._size > self._limit:
            raise EventTooLong
        return found

    def _take(self, lines: list[bytes]) -> list[bytes]:
        found = []
        pending = self._data
        for line in lines:
            if not line:
                if pending:
                    found.append(pending[0] if len(pending) == 1 else b"\n".join(pending))
                    pending.clear()
            elif line.startswith(b"data:"):
                pending.append(line[6:] if line.startswith(b"data: ") else line[5:])
            elif line == b"data":
                pending.append(b"")
        return found
