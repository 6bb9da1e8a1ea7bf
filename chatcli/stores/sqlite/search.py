"""The full-text index: FTS5 tables that searching brings up to date, so that turns need not pay for it.

There is one table for each `_SPAN` keys of messages. What is deleted must leave no words behind, but FTS5
takes them out of its file only when it merges all of a table: so tables are small. They hold neither
text nor places of words, only which turn has which: a seventh of the text. A turn stands in the table,
and under the number, of its first message. Words are folded before they get there.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from chatcli.stores.matching import CANDIDATES, fold, folding_version
from chatcli.stores.sqlite.rows import searched_in

_SPAN = 2**14
"""8,000 turns: a table of 1 MB that is merged in 30 ms."""

_STEP = 4000
"""Messages that are indexed in one transaction: a quarter of a second at most."""

_TAIL = 2000
"""Newest messages that are searched without the index where it can't be written."""

_MATCHING = (
    "SELECT messages.thread, messages.turn FROM {table}"
    " CROSS JOIN messages ON messages.key = {table}.rowid"
    " CROSS JOIN threads ON threads.key = messages.thread"
    " WHERE {table} MATCH :query AND owner = :owner"
    " AND (:archived IS NULL OR (archived_at IS NOT NULL) = :archived"
    " OR EXISTS (SELECT 1 FROM threads AS forks WHERE forks.base = threads.key))"
    " ORDER BY {table}.rowid DESC LIMIT :limit"
)


def is_behind(connection: sqlite3.Connection) -> bool:
    """Return whether there is something to index."""
    (newest,) = connection.execute("SELECT coalesce(max(key), 0) FROM messages").fetchone()
    return bool(newest > _indexed(connection) or (newest and not _is_folded_alike(connection)))


def advance(connection: sqlite3.Connection) -> bool:
    """Index the next messages; return whether there may be more."""
    if not _is_folded_alike(connection):
        reset(connection)
    mark = _indexed(connection)
    rows = connection.execute(
        "SELECT key, thread, turn, position, role, content, format FROM messages"
        " WHERE key > ? ORDER BY key LIMIT ?",
        (mark, _STEP),
    ).fetchall()
    if not rows:
        return False
    turns: dict[tuple[int, int], list[sqlite3.Row]] = {}
    for row in rows:
        turns.setdefault((row["thread"], row["turn"]), []).append(row)
    entries: list[tuple[int, str]] = []
    outdated: list[tuple[int, str]] = []
    for place, later in turns.items():
        earlier = [] if later[0]["position"] == 0 else _messages(connection, *place, upto=mark)
        outdated += _entries(earlier)
        entries += _entries([*earlier, *later])
    _take_out(connection, outdated)
    for part, members in _by_part(entries):
        table = f"search_{part}"
        connection.execute("INSERT OR IGNORE INTO search_parts (part, stale) VALUES (?, 0)", (part,))
        connection.execute(
            f"CREATE VIRTUAL TABLE IF NOT EXISTS {table}"
            " USING fts5 (words, content = '', columnsize = 0, detail = none, tokenize = 'ascii')"
        )
        connection.executemany(
            f"INSERT INTO {table} (rowid, words) VALUES (?, ?)",  # noqa: S608 - a name of ours
            members,
        )
    _set_mark(connection, rows[-1]["key"])
    return len(rows) == _STEP


def forget(connection: sqlite3.Connection, key: int) -> None:
    """Take what is indexed of a thread's own turns out of the index, before they are deleted."""
    mark = _indexed(connection)
    if not mark:
        return
    if not _is_folded_alike(connection):  # what stands there can't be told: another Python folded it
        reset(connection)
        return
    rows = connection.execute(
        "SELECT key, turn, role, content, format FROM messages WHERE thread = ? AND key <= ?"
        " ORDER BY turn, position",
        (key, mark),
    )
    entries: list[tuple[int, str]] = []
    for _, messages in groupby(rows, key=lambda row: row["turn"]):
        entries += _entries(list(messages))
    _take_out(connection, entries)


def lower_mark(connection: sqlite3.Connection) -> None:
    """After deletions: SQLite gives the highest keys again, and what gets them is not indexed yet."""
    connection.execute(
        "UPDATE counters SET value = (SELECT coalesce(max(key), 0) FROM messages)"
        " WHERE name = 'indexed' AND value > (SELECT coalesce(max(key), 0) FROM messages)"
    )


def tidy(connection: sqlite3.Connection) -> bool:
    """Merge one table that holds words of deleted turns; return whether there was one."""
    row = connection.execute("SELECT part FROM search_parts WHERE stale LIMIT 1").fetchone()
    if row is None:
        return False
    part = row["part"]
    if connection.execute(
        "SELECT 1 FROM messages WHERE key BETWEEN ? AND ? LIMIT 1", (part * _SPAN, (part + 1) * _SPAN - 1)
    ).fetchone():
        connection.execute(
            f"INSERT INTO search_{part} (search_{part}) VALUES ('optimize')"  # noqa: S608 - a name of ours
        )
        connection.execute("UPDATE search_parts SET stale = 0 WHERE part = ?", (part,))
    else:
        _drop(connection, part)
    return True


def candidates(
    connection: sqlite3.Connection, owner: str, words: Sequence[str], *, archived: bool | None
) -> list[tuple[int, int]]:
    """Return the newest turns that may match, as (key of the thread, index).

    `archived` is that of the thread whose own they are, unless it has forks: they share its turns.
    """
    query = " ".join(f'"{word}"' for word in words) + "*"
    found = _tail(connection, owner)
    for (part,) in connection.execute("SELECT part FROM search_parts ORDER BY part DESC").fetchall():
        values = {"query": query, "owner": owner, "archived": archived, "limit": CANDIDATES - len(found)}
        found += map(tuple, connection.execute(_MATCHING.replace("{table}", f"search_{part}"), values))
        if len(found) >= CANDIDATES:
            break
    return list(dict.fromkeys(found))


def _tail(connection: sqlite3.Connection, owner: str) -> list[tuple[int, int]]:
    """Return the newest turns that are not indexed; few, unless the store can't be written."""
    rows = connection.execute(
        "SELECT DISTINCT thread, turn FROM (SELECT thread, turn, key FROM messages"
        " WHERE key > ? ORDER BY key DESC LIMIT ?) AS newest"
        " CROSS JOIN threads ON threads.key = newest.thread AND owner = ?",
        (_indexed(connection), _TAIL, owner),
    )
    return [(row["thread"], row["turn"]) for row in rows]


def _entries(messages: Sequence[sqlite3.Row]) -> list[tuple[int, str]]:
    """Return the entry of a turn with these messages, if it has any words."""
    words = fold(searched_in(messages)) if messages else ""
    return [(messages[0]["key"], words)] if words and not words.isspace() else []


def _take_out(connection: sqlite3.Connection, entries: Sequence[tuple[int, str]]) -> None:
    for part, members in _by_part(entries):
        table = f"search_{part}"
        connection.executemany(
            f"INSERT INTO {table} ({table}, rowid, words) VALUES ('delete', ?, ?)",  # noqa: S608 - of ours
            members,
        )
        connection.execute("UPDATE search_parts SET stale = 1 WHERE part = ?", (part,))


def _by_part(entries: Iterable[tuple[int, str]]) -> Iterator[tuple[int, list[tuple[int, str]]]]:
    ordered = sorted(entries)
    for part, members in groupby(ordered, key=lambda entry: entry[0] // _SPAN):
        yield part, list(members)


def _messages(connection: sqlite3.Connection, thread: int, turn: int, *, upto: int) -> list[sqlite3.Row]:
    return connection.execute(
        "SELECT key, role, content, format FROM messages WHERE thread = ? AND turn = ? AND key <= ?"
        " ORDER BY position",
        (thread, turn, upto),
    ).fetchall()


def _indexed(connection: sqlite3.Connection) -> int:
    """Return the key up to which messages are indexed."""
    (mark,) = connection.execute("SELECT value FROM counters WHERE name = 'indexed'").fetchone()
    return int(mark)


def _set_mark(connection: sqlite3.Connection, key: int) -> None:
    connection.execute("UPDATE counters SET value = ? WHERE name = 'indexed'", (key,))


def _is_folded_alike(connection: sqlite3.Connection) -> bool:
    (version,) = connection.execute("SELECT value FROM counters WHERE name = 'folding'").fetchone()
    return bool(version == folding_version())


def reset(connection: sqlite3.Connection) -> None:
    """Remove the whole index; the next search makes it anew."""
    for (part,) in connection.execute("SELECT part FROM search_parts").fetchall():
        _drop(connection, part)
    _set_mark(connection, 0)
    connection.execute("UPDATE counters SET value = ? WHERE name = 'folding'", (folding_version(),))


def _drop(connection: sqlite3.Connection, part: int) -> None:
    connection.execute(f"DROP TABLE search_{part}")
    connection.execute("DELETE FROM search_parts WHERE part = ?", (part,))
