-- The tables, as SQLite's. Everything is in one schema, which the program that runs this made and chose.

CREATE SEQUENCE uses;  -- how often any thread was used so far

CREATE TABLE threads (
  key bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  owner text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  title text NOT NULL,
  language text NOT NULL,
  system text,
  model text,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  archived_at timestamptz,
  used bigint NOT NULL,
  turn_count integer NOT NULL,
  running integer,
  holder bigint,
  lease_until timestamptz
);
CREATE UNIQUE INDEX threads_by_id ON threads (owner, lower(id));
CREATE INDEX threads_by_use ON threads (owner, used) WHERE archived_at IS NULL;
CREATE INDEX archived_threads_by_use ON threads (owner, used) WHERE archived_at IS NOT NULL;

COMMENT ON TABLE threads IS 'One row a conversation.';
COMMENT ON COLUMN threads.key IS 'What turns and messages refer to; shown nowhere.';
COMMENT ON COLUMN threads.owner IS '''local'': the shell''s.';
COMMENT ON COLUMN threads.id IS 'What users see; two that differ only in case can''t both exist.';
COMMENT ON COLUMN threads.language IS 'The one that the model is told to answer in.';
COMMENT ON COLUMN threads.system IS 'The system prompt that was last given.';
COMMENT ON COLUMN threads.model IS 'The one that was last asked.';
COMMENT ON COLUMN threads.updated_at IS 'Last use. Times are shown, and order nothing.';
COMMENT ON COLUMN threads.used IS 'Raised by each use: the order of threads.';
COMMENT ON COLUMN threads.turn_count IS 'Also the index of the last turn.';
COMMENT ON COLUMN threads.running IS 'Index of the running turn.';
COMMENT ON COLUMN threads.holder IS 'The advisory lock that is held while the store that runs it lives; NULL: only time tells.';
COMMENT ON COLUMN threads.lease_until IS 'When it counts as dead unless renewed, by the server''s clock.';

CREATE TABLE turns (
  thread bigint NOT NULL REFERENCES threads ON DELETE CASCADE,
  idx integer NOT NULL,
  id text COLLATE "C" NOT NULL,
  state text NOT NULL CHECK (state IN ('running', 'complete', 'truncated', 'interrupted', 'failed')),
  orphaned boolean NOT NULL DEFAULT false,
  answered boolean NOT NULL DEFAULT false,
  started_at timestamptz NOT NULL,
  finished_at timestamptz,
  model text NOT NULL,
  finish_reason text,
  input_tokens bigint,
  output_tokens bigint,
  error text,
  error_message text,
  idempotency_key text COLLATE "C",
  fingerprint text COLLATE "C",
  words tsvector NOT NULL,
  PRIMARY KEY (thread, idx)
);
CREATE UNIQUE INDEX turns_by_key ON turns (thread, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX turns_by_word ON turns USING gin (words);

COMMENT ON TABLE turns IS 'One row a prompt with everything that was answered to it.';
COMMENT ON COLUMN turns.idx IS '1, 2, …: the order of turns.';
COMMENT ON COLUMN turns.orphaned IS 'Interrupted because whoever ran it was gone.';
COMMENT ON COLUMN turns.answered IS 'Whether the model said anything: other turns are no part of a context.';
COMMENT ON COLUMN turns.finish_reason IS 'The provider''s word for why the answer ended.';
COMMENT ON COLUMN turns.error IS 'Name of the error that ended the turn.';
COMMENT ON COLUMN turns.fingerprint IS 'Digest of the request that came with the key.';
COMMENT ON COLUMN turns.words IS
  'What a search finds: the words of prompt and answer without case and accents, as the program folds them.';

CREATE TABLE messages (
  thread bigint NOT NULL,
  turn integer NOT NULL,
  position integer NOT NULL,
  role text NOT NULL CHECK (role IN ('human', 'ai', 'system', 'tool')),
  content text NOT NULL,
  format text CHECK (format = 'parts'),
  timestamp timestamptz NOT NULL,
  id text,
  PRIMARY KEY (thread, turn, position),
  FOREIGN KEY (thread, turn) REFERENCES turns ON DELETE CASCADE
);

COMMENT ON TABLE messages IS 'One row a message.';
COMMENT ON COLUMN messages.turn IS 'turns.idx';
COMMENT ON COLUMN messages.position IS '0, 1, … within the turn.';
COMMENT ON COLUMN messages.content IS 'Byte for byte.';
COMMENT ON COLUMN messages.format IS 'NULL: content is the text; ''parts'': a JSON array of parts.';
COMMENT ON COLUMN messages.id IS 'NULL: the turn''s id, a dot and the position.';

CREATE VIEW conversations AS
  SELECT threads.owner, threads.id AS thread, turns.idx AS turn, turns.state,
         messages.role, messages.content, messages.timestamp
  FROM threads
  JOIN turns ON turns.thread = threads.key
  JOIN messages ON messages.thread = turns.thread AND messages.turn = turns.idx
  ORDER BY threads.used, turns.thread, turns.idx, messages.position;

COMMENT ON VIEW conversations IS 'Everything that was said, for reading by hand.';

CREATE TABLE checkpoint_spaces (
  key bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  owner text COLLATE "C" NOT NULL,
  thread_id text COLLATE "C" NOT NULL,
  namespace text COLLATE "C" NOT NULL,
  UNIQUE (owner, thread_id, namespace)
);
COMMENT ON TABLE checkpoint_spaces IS
  'LangGraph''s checkpoints live apart from the conversation: in spaces of a thread id and a namespace.';
COMMENT ON COLUMN checkpoint_spaces.thread_id IS 'threads.id, but a checkpoint needs no thread.';

CREATE TABLE checkpoints (
  space bigint NOT NULL REFERENCES checkpoint_spaces ON DELETE CASCADE,
  id text COLLATE "C" NOT NULL,
  parent_id text,
  type text NOT NULL,
  head bytea NOT NULL,
  metadata text NOT NULL,
  versions text NOT NULL,
  PRIMARY KEY (space, id)
);
COMMENT ON COLUMN checkpoints.id IS 'Text order is the order of checkpoints.';
COMMENT ON COLUMN checkpoints.type IS 'How the serializer wrote head.';
COMMENT ON COLUMN checkpoints.metadata IS 'JSON object.';
COMMENT ON COLUMN checkpoints.versions IS 'JSON object: channel to the version of its value.';

CREATE TABLE checkpoint_channels (
  space bigint NOT NULL REFERENCES checkpoint_spaces ON DELETE CASCADE,
  channel text COLLATE "C" NOT NULL,
  version text COLLATE "C" NOT NULL,
  type text NOT NULL,
  data bytea NOT NULL,
  PRIMARY KEY (space, channel, version)
);
COMMENT ON TABLE checkpoint_channels IS
  'The values of channels, each version once, however many checkpoints name it.';

CREATE TABLE checkpoint_writes (
  space bigint NOT NULL REFERENCES checkpoint_spaces ON DELETE CASCADE,
  checkpoint_id text COLLATE "C" NOT NULL,
  task_id text COLLATE "C" NOT NULL,
  idx integer NOT NULL,
  task_path text COLLATE "C" NOT NULL,
  channel text NOT NULL,
  type text NOT NULL,
  data bytea NOT NULL,
  PRIMARY KEY (space, checkpoint_id, task_id, idx)
);
COMMENT ON TABLE checkpoint_writes IS 'What tasks wrote after a checkpoint and before the next.';
