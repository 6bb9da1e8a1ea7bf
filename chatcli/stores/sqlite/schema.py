"""The tables, as numbered migrations. SQLite keeps the comments: ``.schema`` shows them.

A released migration is never changed; a change of the tables is a new one at the end.
"""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

from chatcli.errors import StoreCorrupt, StoreNewerSchema
from chatcli.stores.sqlite.files import database_uri, make_file

APPLICATION_ID = 0x63686174
"""``chat``: the mark in the file's header by which its program is known."""

HEADER_BYTES = 100

Migration: TypeAlias = Sequence[str]

_FIRST: Migration = (
    """CREATE TABLE counters (
  -- Numbers that only grow. 'used': how often any thread was used so far.
  name TEXT PRIMARY KEY,
  value INTEGER NOT NULL
) STRICT, WITHOUT ROWID""",
    "INSERT INTO counters (name, value) VALUES ('used', 0)",
    """CREATE TABLE threads (
  -- One row a conversation.
  key INTEGER PRIMARY KEY,      -- what turns and messages refer to; shown nowhere
  owner TEXT NOT NULL,          -- 'local': the shell's
  id TEXT NOT NULL,             -- what users see; two that differ only in case can't both exist
  title TEXT NOT NULL,
  language TEXT NOT NULL,       -- the one that the model is told to answer in
  system TEXT,                  -- the system prompt that was last given
  created_at TEXT NOT NULL,     -- times are RFC 3339 in UTC; they are shown, and order nothing
  updated_at TEXT NOT NULL,     -- last use
  archived_at TEXT,             -- NULL: not archived
  used INTEGER NOT NULL,        -- raised by each use: the order of threads
  turn_count INTEGER NOT NULL,  -- also the index of the last turn
  running INTEGER,              -- index of the running turn
  holder INTEGER,               -- the byte of the lock file that is locked while somebody runs it
  lease_until TEXT              -- when it counts as dead unless renewed
) STRICT""",
    "CREATE UNIQUE INDEX threads_by_id ON threads (owner, id COLLATE NOCASE)",
    "CREATE INDEX threads_by_use ON threads (owner, (archived_at IS NOT NULL), used)",
    """CREATE TABLE turns (
  -- One row a prompt with everything that was answered to it.
  thread INTEGER NOT NULL REFERENCES threads (key) ON DELETE CASCADE,
  idx INTEGER NOT NULL,         -- 1, 2, …: the order of turns
  id TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('running', 'complete', 'truncated', 'interrupted', 'failed')),
  orphaned INTEGER,             -- 1: 'interrupted' because the process that ran it was gone
  started_at TEXT NOT NULL,
  finished_at TEXT,
  model TEXT NOT NULL,
  finish_reason TEXT,           -- the provider's word for why the answer ended
  input_tokens INTEGER,
  output_tokens INTEGER,
  error TEXT,                   -- name of the error that ended the turn
  error_message TEXT,
  idempotency_key TEXT,
  fingerprint TEXT,             -- digest of the request that came with the key
  PRIMARY KEY (thread, idx)
) STRICT, WITHOUT ROWID""",
    "CREATE UNIQUE INDEX turns_by_key ON turns (thread, idempotency_key) WHERE idempotency_key IS NOT NULL",
    """CREATE TABLE messages (
  -- One row a message.
  key INTEGER PRIMARY KEY,
  thread INTEGER NOT NULL,
  turn INTEGER NOT NULL,        -- turns.idx
  position INTEGER NOT NULL,    -- 0, 1, … within the turn
  role TEXT NOT NULL CHECK (role IN ('human', 'ai', 'system', 'tool')),
  content TEXT NOT NULL,        -- byte for byte
  format TEXT CHECK (format = 'parts'),  -- NULL: content is the text; 'parts': a JSON array of parts
  timestamp TEXT NOT NULL,
  id TEXT,                      -- NULL: the turn's id, a dot and the position
  UNIQUE (thread, turn, position),
  FOREIGN KEY (thread, turn) REFERENCES turns (thread, idx) ON DELETE CASCADE
) STRICT""",
    """CREATE VIEW conversations AS
  -- Everything that was said, for reading by hand: SELECT * FROM conversations WHERE thread = '…'
  SELECT threads.owner, threads.id AS thread, turns.idx AS turn, turns.state,
         messages.role, messages.content, messages.timestamp
  FROM threads
  CROSS JOIN turns ON turns.thread = threads.key
  CROSS JOIN messages ON messages.thread = turns.thread AND messages.turn = turns.idx
  ORDER BY threads.used, turns.thread, turns.idx, messages.position""",
    """CREATE TABLE checkpoint_spaces (
  -- LangGraph's checkpoints live apart from the conversation: in spaces of a thread id and a namespace.
  key INTEGER PRIMARY KEY,
  owner TEXT NOT NULL,
  thread_id TEXT NOT NULL,      -- threads.id, but a checkpoint needs no thread
  namespace TEXT NOT NULL,
  UNIQUE (owner, thread_id, namespace)
) STRICT""",
    """CREATE TABLE checkpoints (
  space INTEGER NOT NULL REFERENCES checkpoint_spaces (key) ON DELETE CASCADE,
  id TEXT NOT NULL,             -- text order is the order of checkpoints
  parent_id TEXT,
  type TEXT NOT NULL,           -- how the serializer wrote `head`
  head BLOB NOT NULL,
  metadata TEXT NOT NULL,       -- JSON object
  versions TEXT NOT NULL,       -- JSON object: channel to the version of its value
  PRIMARY KEY (space, id)
) STRICT, WITHOUT ROWID""",
    """CREATE TABLE checkpoint_channels (
  -- The values of channels, each version once, however many checkpoints name it.
  space INTEGER NOT NULL REFERENCES checkpoint_spaces (key) ON DELETE CASCADE,
  channel TEXT NOT NULL,
  version TEXT NOT NULL,
  type TEXT NOT NULL,
  data BLOB NOT NULL,
  PRIMARY KEY (space, channel, version)
) STRICT, WITHOUT ROWID""",
    """CREATE TABLE checkpoint_writes (
  -- What tasks wrote after a checkpoint and before the next.
  space INTEGER NOT NULL REFERENCES checkpoint_spaces (key) ON DELETE CASCADE,
  checkpoint_id TEXT NOT NULL,
  task_id TEXT NOT NULL,
  idx INTEGER NOT NULL,
  task_path TEXT NOT NULL,
  channel TEXT NOT NULL,
  type TEXT NOT NULL,
  data BLOB NOT NULL,
  PRIMARY KEY (space, checkpoint_id, task_id, idx)
) STRICT, WITHOUT ROWID""",
)

_SECOND: Migration = (
    "ALTER TABLE threads ADD COLUMN model TEXT",  # the one that was last asked
    "UPDATE threads SET model = (SELECT model FROM turns WHERE thread = key AND idx = turn_count)",
    # A fork shares turns: those up to `base_turns` are found in the thread `base`, or in turn in its base.
    "ALTER TABLE threads ADD COLUMN base INTEGER REFERENCES threads (key)",
    "ALTER TABLE threads ADD COLUMN base_turns INTEGER NOT NULL DEFAULT 0",
    "CREATE INDEX threads_by_base ON threads (base) WHERE base IS NOT NULL",
    "DROP VIEW conversations",
    """CREATE VIEW conversations AS
  -- Everything that was said, for reading by hand: SELECT * FROM conversations WHERE thread = '…'
  WITH RECURSIVE parts (thread, part, after, upto, base) AS (
    SELECT key, key, base_turns, turn_count, base FROM threads
    UNION ALL
    SELECT parts.thread, threads.key, threads.base_turns, parts.after, threads.base
    FROM parts CROSS JOIN threads ON threads.key = parts.base
  )
  SELECT threads.owner, threads.id AS thread, turns.idx AS turn, turns.state,
         messages.role, messages.content, messages.timestamp
  FROM threads
  CROSS JOIN parts ON parts.thread = threads.key
  CROSS JOIN turns ON turns.thread = parts.part AND turns.idx > parts.after AND turns.idx <= parts.upto
  CROSS JOIN messages ON messages.thread = turns.thread AND messages.turn = turns.idx
  ORDER BY threads.used, threads.key, turns.idx, messages.position""",
    # The full-text index is made by searching, as tables search_0, search_1, …: see search.py.
    # 'indexed': the last message in it; 'folding': how its words were folded.
    "INSERT INTO counters (name, value) VALUES ('indexed', 0), ('folding', 0)",
    """CREATE TABLE search_parts (
  part INTEGER PRIMARY KEY,     -- the number of its table
  stale INTEGER NOT NULL        -- 1: words of deleted messages are still to be taken out
) STRICT""",
)

_THIRD: Migration = (
    """CREATE TABLE audit (
  -- One row a thread, or a cleanup's step, that was changed for good, or keys that were refused.
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  at TEXT NOT NULL,             -- RFC 3339 in UTC
  owner TEXT NOT NULL,          -- of the threads
  actor TEXT NOT NULL,          -- a user of the machine, or the name of a token
  door TEXT NOT NULL,           -- 'cli' or 'serve'
  origin TEXT NOT NULL,         -- the machine, or the client's address
  action TEXT NOT NULL,
  thread_id TEXT,
  count INTEGER,                -- threads, or attempts
  outcome TEXT NOT NULL
) STRICT""",
    """CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
BEGIN SELECT raise(ABORT, 'the audit is only ever added to'); END""",
    """CREATE TRIGGER audit_is_not_removed BEFORE DELETE ON audit
BEGIN SELECT raise(ABORT, 'the audit is only ever added to'); END""",
)

MIGRATIONS: tuple[Migration, ...] = (_FIRST, _SECOND, _THIRD)


def read_version(connection: sqlite3.Connection, *, newest: int) -> int:
    """Return the version of the tables, 0 for an empty database.

    Raises:
        StoreCorrupt: another program's database.
        StoreNewerSchema: a newer version than `newest`.
    """
    mark = _number(connection, "PRAGMA application_id")
    version = _number(connection, "PRAGMA user_version")
    if mark != APPLICATION_ID:
        if mark or version or _number(connection, "SELECT count(*) FROM sqlite_schema"):
            raise StoreCorrupt(
                "the store's file is a database of another program; it was not touched",
                hint="name another file with --store or CHATCLI_STORE",
            )
        return 0
    return check_version(version, newest=newest)


def version_in_header(header: bytes, *, newest: int) -> int | None:
    """Return the version in the first bytes of a database file, or None if it is not marked as ours.

    Raises:
        StoreNewerSchema: a newer version than `newest`.
    """
    if header[:16] != b"SQLite format 3\0" or header[68:72] != APPLICATION_ID.to_bytes(4, "big"):
        return None
    return check_version(int.from_bytes(header[60:64], "big"), newest=newest)


def check_version(version: int, *, newest: int) -> int:
    """Return a version of the tables; raise `StoreNewerSchema` if it is newer than `newest`."""
    if version > newest:
        raise StoreNewerSchema(
            f"the store has schema {version}, this program knows {newest}; it was not touched",
            hint="use the newer chatcli that wrote it",
        )
    return version


def migrate(connection: sqlite3.Connection, path: str, migrations: Sequence[Migration]) -> None:
    """Bring the tables to the newest version, each step in a transaction of its own.

    The database as it was is kept at ``PATH.backup-vN`` first.
    """
    version = read_version(connection, newest=len(migrations))
    if 0 < version < len(migrations):
        _back_up(connection, f"{path}.backup-v{version}")
    while version < len(migrations):
        connection.execute("BEGIN IMMEDIATE")
        try:
            version = read_version(connection, newest=len(migrations))  # somebody may have been faster
            if version < len(migrations):
                apply(connection, version + 1, migrations[version])
                version += 1
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def apply(connection: sqlite3.Connection, version: int, migration: Migration) -> None:
    """Run the statements of one migration and set the version, in the caller's transaction."""
    for statement in migration:
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {version}")


def _back_up(connection: sqlite3.Connection, target: str) -> None:
    """Copy the database to `target`, which is either whole or not there."""
    unfinished = f"{target}.unfinished"
    Path(unfinished).unlink(missing_ok=True)
    make_file(unfinished)
    with closing(sqlite3.connect(database_uri(unfinished, "mode=rw"), uri=True)) as copy:
        connection.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE").fetchall()  # one file, with no log beside it
    Path(unfinished).replace(target)


def _number(connection: sqlite3.Connection, statement: str) -> int:
    return int(connection.execute(statement).fetchone()[0])
