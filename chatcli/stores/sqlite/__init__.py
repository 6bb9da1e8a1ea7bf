"""Threads in one SQLite file, readable with any SQLite tool."""

from pathlib import Path

from chatcli.errors import ConfigError
from chatcli.stores.sqlite.store import SqliteStore

__all__ = ["SqliteStore", "path_of"]


def path_of(url: str) -> str:
    """Return the path in ``sqlite:///PATH``, taken literally but for a leading ``~``."""
    path = url.partition("://")[2]
    if not path.startswith("/") or path in {"/", "/:memory:"} or "\x00" in path:
        raise ConfigError(
            "the SQLite store names no file",
            hint="use sqlite:///PATH (an absolute PATH makes it sqlite:////…), or memory:// to keep nothing",
        )
    return str(Path(path[1:]).expanduser())
