"""Logs of the commands: chatcli's own, on standard error, with no word of a foreign exception in them."""

import json
import logging
import sys
import traceback
from types import TracebackType
from typing import TYPE_CHECKING, TypeAlias

from chatcli.cli.terminal import visible

if TYPE_CHECKING:
    from chatcli.config import Settings

_Raised: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class ConsoleFormatter(logging.Formatter):
    """One line a record; of an exception only where it came from and its type: its text may hold a key."""

    def formatException(self, ei: _Raised) -> str:  # noqa: N802 - the name of the base class
        """Return the frames and the type."""
        kind, _, trace = ei
        return "".join(traceback.format_tb(trace)) + ("" if kind is None else kind.__qualname__)

    def format(self, record: logging.LogRecord) -> str:
        """Return the record with nothing in it that a terminal would act on."""
        return visible(super().format(record))


class JsonFormatter(ConsoleFormatter):
    """One JSON object a record."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the object, on one line."""
        entry = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def start(settings: "Settings") -> None:
    """Send chatcli's own logs to standard error, from the level of the settings (WARNING) on."""
    handler = logging.StreamHandler(sys.stderr)
    if settings.log_format == "json":
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(ConsoleFormatter("%(levelname)s %(name)s: %(message)s"))
    own = logging.getLogger("chatcli")
    own.handlers = [handler]
    own.propagate = False
    own.setLevel(settings.log_level or logging.WARNING)
