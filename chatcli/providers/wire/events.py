"""Server-sent events: the data of each event, from bytes cut anywhere."""

from chatcli.providers.transport import LINE_LIMIT

_LINE_COST = 64
"""What a line of an event takes beside its bytes."""


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
        self._line_size = 0
        self._data: list[bytes] = []
        """Lines of data of an event whose end has not come."""
        self._data_size = 0
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
        self._after_return = data.endswith(b"\r")
        rest = b"" if self._after_return or data.endswith(b"\n") else lines.pop()
        if self._line and lines:
            lines[0] = b"".join((*self._line, lines[0]))
            self._line.clear()
            self._line_size = 0
        found = self._take(lines)
        if rest:
            self._line.append(rest)
            self._line_size += len(rest)
        if self._line_size + self._data_size > self._limit:
            raise EventTooLong
        return found

    def _take(self, lines: list[bytes]) -> list[bytes]:
        found = []
        pending = self._data
        for line in lines:
            if line.startswith(b"data:"):
                pending.append(line[6:] if line.startswith(b"data: ") else line[5:])
                self._data_size += len(line) + _LINE_COST
            elif not line and pending:
                if event := pending[0] if len(pending) == 1 else b"\n".join(pending):
                    found.append(event)
                pending.clear()
                self._data_size = 0
        return found
