"""Known trouble with the store: a damaged file, an old SQLite, files that others can read, a network disk."""

import sqlite3
import stat
from pathlib import Path

from chatcli.errors import StoreCorrupt

_FIXED_BRANCHES = ((3, 44, 6), (3, 50, 7))
_FIXED = (3, 51, 3)
_NETWORK = frozenset({"9p", "afs", "ceph", "cifs", "fuse.sshfs", "nfs", "nfs4", "smb3", "smbfs"})


def write_nothing(connection: sqlite3.Connection) -> None:
    """Change nothing, by a statement that only a writable database takes."""
    connection.execute("UPDATE counters SET value = value")


def check_pages(connection: sqlite3.Connection) -> None:
    """Raise `StoreCorrupt` unless the database is well formed."""
    found = [row[0] for row in connection.execute("PRAGMA quick_check(1)")]
    if found != ["ok"]:
        raise StoreCorrupt(
            "the store is damaged: SQLite's quick_check fails", hint="restore it from a backup"
        )


def find_trouble(path: str) -> tuple[str, ...]:
    """Return what is worth a warning about the file and what reads it, one sentence each."""
    trouble = []
    if has_wal_reset_bug(sqlite3.sqlite_version_info):
        trouble.append(
            f"SQLite {sqlite3.sqlite_version} can, very rarely, damage a database that several programs "
            "write at once (the WAL-reset bug); 3.51.3 and newer can't."
        )
    for name in (str(Path(path).parent), path, f"{path}-wal", f"{path}-shm", f"{path}.lock"):
        try:
            mode = stat.S_IMODE(Path(name).stat().st_mode)
        except OSError:
            continue
        if mode & 0o077:
            trouble.append(f"Other users have access to {name} (mode {mode:04o}).")
    kind = _file_system(path)
    if kind in _NETWORK:
        trouble.append(
            f"The store is on a network file system ({kind}), where SQLite's locks can't be relied on."
        )
    return tuple(trouble)


def has_wal_reset_bug(version: tuple[int, int, int]) -> bool:
    """Return whether SQLite `version` has the bug described at https://sqlite.org/wal.html#walresetbug."""
    return version < _FIXED and not any(
        version[:2] == branch[:2] and version >= branch for branch in _FIXED_BRANCHES
    )


def _file_system(path: str) -> str:
    """Return the kind of file system that holds `path`, or nothing where the system does not tell."""
    best, kind = "", ""
    try:
        with Path("/proc/self/mounts").open(encoding="utf-8", errors="replace") as mounts:
            for line in mounts:
                _, point, name, *_ = line.split(" ")
                inside = path == point or path.startswith(point.rstrip("/") + "/")
                if inside and len(point) >= len(best):
                    best, kind = point, name
    except OSError:
        pass
    return kind
