"""The files of the store: private whatever the umask, and named so that SQLite takes any path."""

import errno
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chatcli.errors import ChatcliError, StoreCorrupt, StoreFull, StoreUnavailable

_LOCK_SECONDS, _LOCK_PAUSE = 5.0, 0.005

_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/._-~")


def database_uri(path: str, query: str) -> str:
    """Return the URI by which SQLite opens exactly `path`."""
    quoted = "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in os.fsencode(path))
    return f"file://{quoted}?{query}"


def make_folder(path: Path) -> None:
    """Make the folder and those above it where they are missing, all for this user only."""
    if path.is_dir():
        return
    make_folder(path.parent)
    try:
        path.mkdir(0o700)
    except FileExistsError:  # somebody was faster; or it is no folder, which the next step tells
        return
    path.chmod(0o700)


def make_file(path: str) -> None:
    """Make an empty file for this user only; one that exists is left alone."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    try:
        Path(path).chmod(0o600)
    finally:
        os.close(descriptor)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other processes from making or migrating a database in `folder` for the block.

    A lock on the folder itself: it leaves nothing behind, and ends with the process. Where there is
    no such lock, or somebody keeps it for too long, the block runs all the same: SQLite's own locks
    keep the database whole, and only the first opening of a new one may have to be repeated.
    """
    try:
        import fcntl

        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except (ImportError, OSError):
        yield
        return
    try:
        deadline = time.monotonic() + _LOCK_SECONDS
        while time.monotonic() < deadline:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_LOCK_PAUSE)
            except OSError:
                break
            else:
                break
        yield
    finally:
        os.close(descriptor)


def identity_of(path: str) -> tuple[int, int] | None:
    """Return what tells the file at `path` from one that takes its place; None where there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116 - on every call of the store
    except OSError:
        return None
    return status.st_dev, status.st_ino


def check_kind(path: str) -> bool:
    """Return whether there is a file at `path`; raise `StoreCorrupt` for what can't be a database."""
    try:
        mode = Path(path).stat().st_mode
    except FileNotFoundError:
        return False
    except OSError as error:
        raise translate(error, path) from error
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "not a file"
        raise StoreCorrupt(
            f"the store's path is {kind}: {path}", hint="name a file with --store or CHATCLI_STORE"
        )
    return True


def translate(error: OSError, path: str) -> ChatcliError:
    """Return the error that a failure to make the store's files stands for."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return StoreFull(f"there is no room for the store at {path}", hint="free some space")
    return StoreUnavailable(
        f"the store at {path} can't be opened: {os.strerror(error.errno or 0)}",
        hint="check the path and its permissions, or name another file with --store",
    )
