"""Logs of the server: one JSON object a record on standard error, with no word of a foreign exception."""

import logging
import sys
import traceback
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any, cast

import structlog

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger, Processor

    from chatcli.config import Settings

_OWN = ("chatcli", "uvicorn", "asyncio", "py.warnings")


def start(settings: "Settings") -> None:
    """Send all logs to standard error: ours from the level of the settings on, foreign ones from WARNING."""
    level = logging.getLevelName(settings.log_level or "INFO")
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        _describe_exception,
    ]
    last: Processor = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if settings.log_format == "console"
        else structlog.processors.JSONRenderer(ensure_ascii=True)
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.captureWarnings(True)
    for name in _OWN:
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = True
    logging.getLogger("chatcli").setLevel(level)
    # What uvicorn has to say of its life, we say ourselves.
    logging.getLogger("uvicorn").setLevel(max(logging.WARNING, level))


def get_logger(name: str) -> "FilteringBoundLogger":
    """Return a logger that takes fields as keywords."""
    return cast("FilteringBoundLogger", structlog.stdlib.get_logger(name))


def _describe_exception(
    _logger: Any, _method: str, record: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Put frames and type in the place of an exception: its own text may hold a key."""
    found = record.pop("exc_info", None)
    if found is True:
        found = sys.exc_info()
    if isinstance(found, BaseException):
        found = (type(found), found, found.__traceback__)
    if isinstance(found, tuple) and found[0] is not None:
        record["exception"] = "".join(traceback.format_tb(found[2])) + found[0].__qualname__
    return record
