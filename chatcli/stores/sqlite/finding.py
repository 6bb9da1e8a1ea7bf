"""A search: the best turns among those that the index names, and the threads that show them."""

import sqlite3
from collections.abc import Sequence

from chatcli.stores.base import Hit
from chatcli.stores.matching import best_line, score
from chatcli.stores.sqlite import search
from chatcli.stores.sqlite.rows import searched_in, thread_of

_SHOWING = (
    "WITH RECURSIVE showing (key) AS (SELECT :key UNION SELECT threads.key FROM showing"
    " JOIN threads ON threads.base = showing.key AND threads.base_turns >= :turn)"
    " SELECT threads.* FROM showing JOIN threads USING (key)"
    " WHERE :archived IS NULL OR (archived_at IS NOT NULL) = :archived"
)


def find(
    connection: sqlite3.Connection, owner: str, words: Sequence[str], *, limit: int, archived: bool | None
) -> tuple[Hit, ...]:
    """Return the threads with the best turns, best first."""
    best: dict[int, tuple[float, int, int, str]] = {}  # score, index, use and text by key of the thread
    threads: dict[int, sqlite3.Row] = {}
    for key, index in search.candidates(connection, owner, words, archived=archived):
        rows = connection.execute(
            "SELECT role, content, format FROM messages WHERE thread = ? AND turn = ? ORDER BY position",
            (key, index),
        ).fetchall()
        text = searched_in(rows)
        value = score(words, text)
        if not value:
            continue
        place = {"key": key, "turn": index, "archived": archived}
        for thread in connection.execute(_SHOWING, place):
            threads[thread["key"]] = thread
            entry = (value, index, thread["used"], text)
            if thread["key"] not in best or entry[:2] > best[thread["key"]][:2]:
                best[thread["key"]] = entry
    ordered = sorted(best, key=lambda key: (best[key][0], best[key][2]), reverse=True)
    return tuple(
        Hit(thread_of(threads[key]), best[key][1], *best_line(words, best[key][3])) for key in ordered[:limit]
    )
