"""Who is alive: whoever runs a turn keeps a byte of a lock file locked for as long as it does.

The kernel drops the lock with the process, so a dead holder is known at once. POSIX locks have two
traps. They do not conflict within a process: what this process holds is remembered here. And they
are all lost as soon as any descriptor of the file is closed: each file is opened once a process and
never closed. Where files can't be locked, turns have no byte, and only time tells.
"""

import os
import threading
from collections.abc import Callable
from datetime import datetime, timedelta

from chatcli.models import format_time
from chatcli.stores.base import LEASE_SECONDS, Lease
from chatcli.stores.sqlite.files import make_file

try:
    import fcntl
except ImportError:
    _POSIX = False
else:
    _POSIX = True

_CLOCK_LEEWAY = 5.0


class _LockFile:
    """One lock file, open for as long as the process lives."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.held: set[int] = set()


_files: dict[tuple[int, int], _LockFile] = {}
_guard = threading.Lock()


def _forget_parent() -> None:
    """After a fork the child holds none of its parent's locks; the descriptors still serve."""
    global _guard  # noqa: PLW0603 - another thread of the parent may have held it
    _guard = threading.Lock()
    for file in _files.values():
        file.held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parent)


class Holder:
    """The running turns of one store object, as other stores on the same file see them."""

    def __init__(self, path: str, clock: Callable[[], datetime]) -> None:
        self._path = path
        self._clock = clock
        self._bytes: dict[Lease, int] = {}
        self._pid = 0

    def claim(self, lease: Lease) -> int | None:
        """Return the byte that is locked for the turn, or None where files can't be locked."""
        with _guard:
            if self._pid != os.getpid():
                self._bytes.clear()
                self._pid = os.getpid()
            if lease not in self._bytes:
                byte = _claim(self._path)
                if byte is None:
                    return None
                self._bytes[lease] = byte
            return self._bytes[lease]

    def let_go(self, lease: Lease) -> None:
        """Unlock the turn's byte: if the turn still runs, it is an orphan from now on."""
        with _guard:
            byte = self._bytes.pop(lease, None)
            if byte is not None and self._pid == os.getpid():
                _release(self._path, byte)

    def let_all_go(self) -> None:
        """Let go of every turn, as the death of the process would."""
        for lease in tuple(self._bytes):
            self.let_go(lease)

    def until(self) -> str:
        """Return when a lease that is taken or renewed now runs out."""
        return format_time(self._clock() + timedelta(seconds=LEASE_SECONDS))

    def is_live(self, holder: int | None, until: str | None) -> bool:
        """Return whether the lease of `holder` stands.

        A lease that ends later than any that could be taken now was written before the clock was
        set back: it does not stand either. Should its holder be at work all the same, its late
        commit is stored in its place.
        """
        now = self._clock()
        latest = now + timedelta(seconds=LEASE_SECONDS + _CLOCK_LEEWAY)
        if until is None or not format_time(now) < until <= format_time(latest):
            return False
        if holder is None:
            return True
        with _guard:
            return _is_locked(self._path, holder)


def _claim(path: str) -> int | None:
    if not _POSIX:
        return None
    try:
        make_file(path)
        file = _open(path)
        for _ in range(8):  # a byte that is taken is as good as never met: there are 2^62
            byte = int.from_bytes(os.urandom(8)) >> 2
            if byte not in file.held and _lock(file.descriptor, byte, fcntl.LOCK_EX):
                file.held.add(byte)
                return byte
    except OSError:
        pass
    return None


def _release(path: str, byte: int) -> None:
    try:
        file = _open(path)
        if byte in file.held:
            file.held.discard(byte)
            fcntl.lockf(file.descriptor, fcntl.LOCK_UN, 1, byte)
    except OSError:
        pass


def _is_locked(path: str, byte: int) -> bool:
    """Return whether a living process holds `byte`; True where that can't be known."""
    if not _POSIX:
        return True
    try:
        file = _open(path)
        if byte in file.held:
            return True
        if not _lock(file.descriptor, byte, fcntl.LOCK_SH):  # shared: two who look do not meet
            return True
        fcntl.lockf(file.descriptor, fcntl.LOCK_UN, 1, byte)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _lock(descriptor: int, byte: int, kind: int) -> bool:
    try:
        fcntl.lockf(descriptor, kind | fcntl.LOCK_NB, 1, byte)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _open(path: str) -> _LockFile:
    """Return the file's one entry of this process. It is looked up before it is opened: see above."""
    status = os.stat(path)  # noqa: PTH116 - twice a turn, and half the price
    known = _files.get((status.st_dev, status.st_ino))
    if known is not None:
        return known
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        descriptor = os.open(path, os.O_RDONLY)  # enough to see whether others live
    status = os.fstat(descriptor)
    return _files.setdefault((status.st_dev, status.st_ino), _LockFile(descriptor))
