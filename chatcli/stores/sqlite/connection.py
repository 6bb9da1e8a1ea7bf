"""The connection: opened on first use, given up when it breaks, and never carried over a fork."""

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from chatcli.errors import ChatcliError, ConfigError, StoreUnavailable
from chatcli.stores.sqlite import errors, files
from chatcli.stores.sqlite.schema import (
    HEADER_BYTES,
    MIGRATIONS,
    Migration,
    apply,
    migrate,
    read_version,
    version_in_header,
)

T = TypeVar("T")

OLDEST_SQLITE = (3, 37, 0)
"""The first with STRICT tables."""

_FREED_AT_ONCE = 4096
"""Pages given back to the file system after one deletion: keeps it short in huge files."""

_SCRUBBED_SIZE = 64 * 2**20
"""Bytes up to which a file is written anew after deletions: well under a second."""

_WRITE_BACK_SECONDS, _WRITE_BACK_PAUSE = 1.0, 0.01
"""How long a file that looks damaged from outside may be so because somebody closes it."""

_opening = threading.Lock()
_inherited: list[sqlite3.Connection] = []
"""Connections of the parent process. SQLite forbids a child even to close them."""


class Database:
    """One SQLite file, used by one thread at a time.

    `read` and `write` raise `sqlite3.Error` as it comes; a transaction is whole or was not there.
    """

    def __init__(self, path: str, migrations: Sequence[Migration] = MIGRATIONS) -> None:
        self.path = os.path.realpath(path)
        self._migrations = migrations
        self._connection: sqlite3.Connection | None = None
        self._pid = 0
        self._file: tuple[int, int] | None = None

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Return what `work` reads, all of it from one moment."""
        connection = self._readable()
        try:
            connection.execute("BEGIN")
            self._check_current(connection)
            return work(connection)
        except sqlite3.Error as error:
            self._give_up(error)
            raise
        finally:
            _roll_back(connection)
            if connection is not self._connection:
                connection.close()

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in one transaction, on disk when this returns."""
        try:
            connection = self._writable()
        except sqlite3.Error as error:
            if errors.code_of(error) == sqlite3.SQLITE_CANTOPEN and self._is_read_only():
                raise errors.read_only(self.path) from error
            raise
        try:
            connection.execute("BEGIN IMMEDIATE")
            self._check_current(connection)
            result = work(connection)
            connection.execute("COMMIT")
        except BaseException as error:
            _roll_back(connection)
            if isinstance(error, sqlite3.Error):
                self._give_up(error)
            raise
        return result

    def purge(self) -> bool:
        """Take deleted text out of the write-ahead log; False while another connection is in the way.

        What was deleted stays deleted, whatever happens here: trouble shows with the next call.
        """
        try:
            connection = self._writable()
            # Not `execute`: it takes one step of a statement without columns, and that frees one page.
            connection.executescript(f"PRAGMA incremental_vacuum({_FREED_AT_ONCE})")
            busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error as error:
            self._give_up(error)
            return errors.code_of(error) not in errors.LOCKED
        except ChatcliError:
            return True
        return not busy

    def count_free_pages(self) -> int:
        """Return how many pages `purge` may still give back to the file system."""
        connection = self._connection
        try:
            return 0 if connection is None else connection.execute("PRAGMA freelist_count").fetchone()[0]
        except sqlite3.Error:
            return 0

    def scrub(self, *, whole: bool = False) -> bool:
        """Write the file anew, unless it is large or in use: pages may keep stale copies of rows.

        ``secure_delete`` overwrites what is deleted where it stands, but not what was left behind in
        the unused space of a page when SQLite moved rows to another. With `whole` the size does not
        matter. Returns whether it was done.
        """
        connection = self._connection
        if connection is None or not self._is_same_file():
            return True
        with suppress(sqlite3.Error, OSError):
            if whole or Path(self.path).stat().st_size <= _SCRUBBED_SIZE:
                connection.execute("VACUUM")
                busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                return not busy
        return False

    def close(self) -> None:
        """Close the connection; the last one on a file also tidies up its log."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._pid != os.getpid():
            _inherited.append(connection)
        else:
            connection.close()

    def _give_up(self, error: sqlite3.Error) -> None:
        if errors.code_of(error) in errors.BROKEN:
            self.close()

    def _writable(self) -> sqlite3.Connection:
        if self._connection is not None and self._is_same_file():
            return self._connection
        self.close()
        with _opening:  # a descriptor of ours must not be closed while SQLite holds locks on the file
            self._connection = self._open()
        self._pid, self._file = os.getpid(), files.identity_of(self.path)
        return self._connection

    def _readable(self) -> sqlite3.Connection:
        if self._connection is not None and self._is_same_file():
            return self._connection
        if not files.check_kind(self.path):
            return self._empty()
        try:
            return self._writable()
        except sqlite3.Error as error:
            if errors.code_of(error) not in errors.UNOPENED:
                raise
            return self._open_read_only()

    def _is_same_file(self) -> bool:
        """Return whether the connection is this process's, and the file still the one that it opened."""
        return self._pid == os.getpid() and self._file == files.identity_of(self.path)

    def _open(self) -> sqlite3.Connection:
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise ConfigError(
                f"this Python has SQLite {sqlite3.sqlite_version}, too old for the store",
                hint="use a Python with SQLite 3.37 or newer",
            )
        try:
            if self._is_current():
                return self._connect_ours()
            folder = Path(self.path).parent
            files.make_folder(folder)
            with files.alone_in(folder):
                if files.check_kind(self.path):
                    self._inspect_patiently()
                else:
                    files.make_file(self.path)
                return self._connect_ours()
        except OSError as error:
            raise files.translate(error, self.path) from error

    def _connect_ours(self) -> sqlite3.Connection:
        connection = _connect(self.path, "mode=rw")
        try:
            self._configure(connection)
            migrate(connection, self.path, self._migrations)
        except BaseException:
            connection.close()
            raise
        return connection

    def _is_current(self) -> bool:
        """Return whether the file is, at a glance, a database of ours that needs nothing done to it."""
        try:
            return files.check_kind(self.path) and self._inspect() == len(self._migrations)
        except (ChatcliError, sqlite3.Error):
            return False

    def _inspect_patiently(self) -> None:
        """Refuse what is not ours; what looks damaged may be a log that is just being written back."""
        deadline = time.monotonic() + _WRITE_BACK_SECONDS
        while True:
            try:
                self._inspect()
            except sqlite3.Error as error:
                if errors.code_of(error) not in errors.UNREADABLE or time.monotonic() > deadline:
                    raise
                time.sleep(_WRITE_BACK_PAUSE)
            else:
                return

    def _inspect(self) -> int:
        """Return the version in the file's header, 0 if it is in the log; refuse what is not ours.

        Beyond its header a file of ours says nothing without its log: whoever was killed while the log
        was written back left pages of two times, which SQLite puts in order when it opens both.
        """
        with Path(self.path).open("rb") as file:
            header = file.read(HEADER_BYTES)
        if not header:
            return 0
        version = version_in_header(header, newest=len(self._migrations))
        if version is not None:
            return version
        connection = _connect(self.path, "mode=ro&immutable=1")
        try:
            return read_version(connection, newest=len(self._migrations))
        finally:
            connection.close()

    def _configure(self, connection: sqlite3.Connection) -> None:
        for setting in (
            "synchronous = FULL",
            "fullfsync = ON",  # macOS: fsync alone does not reach the disk
            "foreign_keys = ON",
            "secure_delete = ON",
            "trusted_schema = OFF",
        ):
            connection.execute(f"PRAGMA {setting}").fetchall()
        if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            # Not ours yet, and empty: whoever made it died before the first migration.
            if read_version(connection, newest=len(self._migrations)) == 0:
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL").fetchall()

    def _empty(self) -> sqlite3.Connection:
        """Return an empty store that is nowhere: reading does not make the file."""
        connection = _connect(":memory:", None)
        for version, migration in enumerate(self._migrations, 1):
            apply(connection, version, migration)
        return connection

    def _open_read_only(self) -> sqlite3.Connection:
        """Open what can't be written, for one call.

        SQLite reads a WAL database only with an index of the log beside it. Where that can't be
        made, an empty log may be ignored; one that holds turns is read from a copy.
        """
        log = Path(f"{self.path}-wal")
        try:
            connection = _connect(self.path, "mode=ro")
            try:
                self._check_current(connection)
            except BaseException:
                connection.close()
                raise
        except sqlite3.Error as error:
            if errors.code_of(error) not in errors.UNOPENED or not os.access(self.path, os.R_OK):
                raise
        else:
            return connection
        if log.exists() and log.stat().st_size:
            return self._open_copy(log)
        connection = _connect(self.path, "mode=ro&immutable=1")
        self._check_current(connection)
        return connection

    def _open_copy(self, log: Path) -> sqlite3.Connection:
        import shutil
        import tempfile

        with tempfile.TemporaryDirectory(prefix="chatcli-") as folder:
            copy = f"{folder}/copy.db"
            shutil.copyfile(self.path, copy)
            shutil.copyfile(log, f"{copy}-wal")
            connection = _connect(copy, "mode=rw")
            self._check_current(connection)  # opens the files: they may be unlinked from here on
        return connection

    def _check_current(self, connection: sqlite3.Connection) -> None:
        """Refuse tables of another version; a newer program may have changed them since they were opened."""
        if read_version(connection, newest=len(self._migrations)) != len(self._migrations):
            raise StoreUnavailable(
                f"the store at {self.path} was written by an older program and can't be brought up to date: "
                "it can only be read",
                hint="make the file and its folder writable",
            )

    def _is_read_only(self) -> bool:
        folder = Path(self.path).parent
        return os.access(self.path, os.R_OK) and not os.access(folder, os.W_OK)


def _connect(path: str, query: str | None) -> sqlite3.Connection:
    target = path if query is None else files.database_uri(path, query)
    connection = sqlite3.connect(
        target,
        timeout=0,  # waiting is done off the connection
        isolation_level=None,  # transactions are begun and ended by us alone
        check_same_thread=False,  # one at a time is enough
        uri=query is not None,
    )
    connection.row_factory = sqlite3.Row
    return connection


def _roll_back(connection: sqlite3.Connection) -> None:
    try:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    except sqlite3.Error:  # closed by now: it is rolled back
        pass
