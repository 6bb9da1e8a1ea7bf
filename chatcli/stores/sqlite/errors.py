"""What SQLite's failures mean to a user."""

import sqlite3

from chatcli.errors import ChatcliError, NotSaved, StoreCorrupt, StoreFull, StoreUnavailable

LOCKED = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})
UNREADABLE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
UNOPENED = frozenset(
    {
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
    }
)
"""Failures after which a database may still be open to reading, in some humbler way."""

BROKEN = UNREADABLE | UNOPENED
"""Failures after which a connection is given up, so that the next call finds what is there then."""


def code_of(error: sqlite3.Error) -> int:
    """Return SQLite's primary result code, or its general one where the error did not come from SQLite."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code & 0xFF


def translate(error: sqlite3.Error, path: str, *, writing: bool) -> ChatcliError:
    """Return the error of ours that `error` stands for."""
    code = code_of(error)
    if code in LOCKED:
        return StoreUnavailable(
            f"another program holds the store at {path}",
            hint="try again when it is done",
            retry_after=5.0,
        )
    if code in UNREADABLE:
        return corrupt(path)
    if code == sqlite3.SQLITE_FULL:
        return StoreFull(f"there is no room left for the store at {path}", hint="free some space")
    if code == sqlite3.SQLITE_READONLY and writing:
        return read_only(path)
    if code == sqlite3.SQLITE_IOERR and writing:
        return NotSaved(
            f"the store at {path} can't be written", hint="check the disk: it may be full or failing"
        )
    if code in UNOPENED:
        return StoreUnavailable(
            f"the store at {path} can't be opened or read",
            hint="check the disk and the permissions of the file",
        )
    if "decode" in str(error):  # text that is not UTF-8 has no code of its own
        return corrupt(path)
    return StoreUnavailable(f"the store at {path} failed: {error}", hint="chatcli info --check looks into it")


def corrupt(path: str) -> StoreCorrupt:
    """Return the error for a file that is no database, or a damaged one."""
    return StoreCorrupt(
        f"the store at {path} is damaged, or not a database; it was not touched",
        hint="restore it from a backup, or name another file with --store",
    )


def read_only(path: str) -> NotSaved:
    """Return the error for a write where nothing can be written."""
    return NotSaved(
        f"the store at {path} can only be read",
        hint="make the file and its folder writable, name another store with --store, or use --no-save",
    )
