-- Turns, each call a transaction of one statement: one round trip. What is refused is an answer, not an
-- error, {"refused": …}: waiting for a busy thread fills no log of the server.

CREATE FUNCTION is_live(holder bigint, lease_until timestamptz, own bigint) RETURNS boolean
-- Whether the lease stands: it has not run out, and whoever holds it lives, as far as that can be known.
-- A living store holds its advisory lock exclusively; two who look for it do not meet.
BEGIN ATOMIC
  SELECT CASE
    WHEN lease_until IS NULL OR lease_until <= clock_timestamp() THEN false
    WHEN holder IS NULL OR holder = own THEN true
    ELSE NOT pg_try_advisory_xact_lock_shared(holder)
  END;
END;

CREATE FUNCTION thread_json(thread threads) RETURNS json STABLE
BEGIN ATOMIC
  SELECT json_build_object(
    'id', thread.id, 'owner', thread.owner, 'title', thread.title, 'language', thread.language,
    'system', thread.system, 'turn_count', thread.turn_count, 'created_at', thread.created_at,
    'updated_at', thread.updated_at, 'archived_at', thread.archived_at, 'used', thread.used,
    'model', thread.model
  );
END;

CREATE FUNCTION message_json(message messages, turn_id text) RETURNS json STABLE
BEGIN ATOMIC
  SELECT json_build_object(
    'id', coalesce(message.id, turn_id || '.' || message.position), 'role', message.role,
    'content', message.content, 'format', message.format, 'timestamp', message.timestamp
  );
END;

CREATE FUNCTION turn_json(turn turns) RETURNS json STABLE
BEGIN ATOMIC
  SELECT json_build_object(
    'id', turn.id, 'idx', turn.idx, 'state', turn.state, 'started_at', turn.started_at,
    'finished_at', turn.finished_at, 'model', turn.model, 'finish_reason', turn.finish_reason,
    'input_tokens', turn.input_tokens, 'output_tokens', turn.output_tokens, 'error', turn.error,
    'error_message', turn.error_message, 'messages', (
      SELECT coalesce(json_agg(message_json(messages, turn.id) ORDER BY position), '[]')
      FROM messages WHERE messages.thread = turn.thread AND messages.turn = turn.idx
    )
  );
END;

CREATE FUNCTION context_json(thread_key bigint, before integer, most integer) RETURNS json STABLE
-- The newest messages of answered turns, oldest first; the turns are limited before any message is read.
BEGIN ATOMIC
  SELECT coalesce(json_agg(said.message ORDER BY said.turn, said.position), '[]')
  FROM (
    SELECT message_json(messages, answered.id) AS message, messages.turn, messages.position
    FROM (
      SELECT idx, id FROM turns
      WHERE turns.thread = thread_key AND idx < before AND turns.answered
      ORDER BY idx DESC LIMIT most
    ) AS answered
    JOIN messages ON messages.thread = thread_key AND messages.turn = answered.idx
    WHERE messages.role <> 'system'
    ORDER BY messages.turn DESC, messages.position DESC LIMIT most
  ) AS said;
END;

CREATE FUNCTION add_messages(thread_key bigint, turn_idx integer, start integer, said json) RETURNS void
BEGIN ATOMIC
  INSERT INTO messages (thread, turn, position, role, content, format, timestamp, id)
  SELECT thread_key, turn_idx, start + row_number() OVER () - 1, role, content, format, timestamp, id
  FROM json_to_recordset(said) AS message (
    role text, content text, format text, timestamp timestamptz, id text
  );
END;

CREATE FUNCTION lexemes(words json) RETURNS tsvector IMMUTABLE
BEGIN ATOMIC
  SELECT array_to_tsvector(ARRAY(SELECT json_array_elements_text(words)));
END;

CREATE FUNCTION interrupt_orphan(thread threads) RETURNS void
BEGIN ATOMIC
  UPDATE turns SET state = 'interrupted', orphaned = true, finished_at = clock_timestamp()
  WHERE turns.thread = thread.key AND idx = thread.running;
  UPDATE threads SET running = NULL, holder = NULL, lease_until = NULL WHERE key = thread.key;
END;

CREATE FUNCTION begin_turn(own bigint, lock bigint, lease interval, request json) RETURNS json
-- own: the lock of the calling store; lock: the same if it is held, else NULL.
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  new record;
  kept threads;
  last turns;
  moment timestamptz;
  created boolean := false;
BEGIN
  SELECT * INTO new FROM json_to_record(request) AS fields (
    owner text, thread text, turn text, model text, title text, rename boolean, language text,
    system text, make boolean, key text, fingerprint text, context integer, said json, words json
  );
  LOOP
    SELECT * INTO kept FROM threads
    WHERE owner = new.owner AND lower(id) = lower(new.thread) FOR NO KEY UPDATE;
    EXIT WHEN FOUND;
    IF NOT new.make THEN
      RETURN json_build_object('refused', 'missing');
    END IF;
    moment := clock_timestamp();
    INSERT INTO threads (owner, id, title, language, created_at, updated_at, used, turn_count)
    VALUES (new.owner, new.thread, new.title, 'English', moment, moment, 0, 0)
    ON CONFLICT DO NOTHING RETURNING * INTO kept;
    created := FOUND;
    EXIT WHEN created;
  END LOOP;
  IF kept.id <> new.thread THEN
    RETURN json_build_object('refused', 'case', 'id', kept.id);
  END IF;

  IF kept.running IS NOT NULL THEN
    SELECT * INTO last FROM turns WHERE thread = kept.key AND idx = kept.running;
    IF last.id = new.turn THEN  -- our own, whose answer was lost on its way
      UPDATE threads SET holder = lock, lease_until = clock_timestamp() + lease WHERE key = kept.key;
      RETURN json_build_object(
        'thread', thread_json(kept), 'turn', turn_json(last),
        'created', last.idx = 1 AND last.started_at = kept.created_at,
        'context', context_json(kept.key, last.idx, new.context)
      );
    END IF;
  END IF;
  IF new.key IS NOT NULL THEN
    SELECT * INTO last FROM turns WHERE thread = kept.key AND idempotency_key = new.key;
    IF FOUND AND last.fingerprint IS DISTINCT FROM new.fingerprint THEN
      RETURN json_build_object('refused', 'key');
    ELSIF FOUND AND last.state IN ('complete', 'truncated') THEN
      RETURN json_build_object('thread', thread_json(kept), 'turn', turn_json(last), 'answered', true);
    END IF;
  END IF;
  IF kept.archived_at IS NOT NULL THEN
    RETURN json_build_object('refused', 'archived');
  END IF;
  IF kept.running IS NOT NULL THEN
    IF is_live(kept.holder, kept.lease_until, own) THEN
      RETURN json_build_object('refused', 'busy');
    END IF;
    PERFORM interrupt_orphan(kept);
  END IF;
  IF new.key IS NOT NULL THEN
    UPDATE turns SET idempotency_key = NULL, fingerprint = NULL
    WHERE thread = kept.key AND idempotency_key = new.key;
  END IF;

  moment := CASE WHEN created THEN kept.created_at ELSE clock_timestamp() END;
  UPDATE threads SET
    title = CASE WHEN new.rename THEN new.title ELSE title END,
    language = coalesce(new.language, language), system = coalesce(new.system, system),
    model = new.model, updated_at = moment, used = nextval('uses'), turn_count = turn_count + 1, running = turn_count + 1,
    holder = lock, lease_until = clock_timestamp() + lease
  WHERE key = kept.key RETURNING * INTO kept;
  INSERT INTO turns (thread, idx, id, state, started_at, model, idempotency_key, fingerprint, words)
  VALUES (
    kept.key, kept.running, new.turn, 'running', moment, new.model, new.key, new.fingerprint,
    lexemes(new.words)
  )
  RETURNING * INTO last;
  PERFORM add_messages(kept.key, kept.running, 0, new.said);
  RETURN json_build_object(
    'thread', thread_json(kept), 'turn', turn_json(last), 'created', created,
    'context', context_json(kept.key, kept.running, new.context)
  );
END $$;

CREATE FUNCTION commit_turn(
  owner_name text, thread_id text, turn_id text, outcome json,
  checkpoint json, head_data bytea, channel_data bytea[]
) RETURNS json
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  ended record;
  kept threads;
  held turns;
  moment timestamptz;
BEGIN
  SELECT * INTO kept FROM threads
  WHERE owner = owner_name AND lower(id) = lower(thread_id) AND id = thread_id FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    RETURN json_build_object('refused', 'missing');
  END IF;
  SELECT * INTO held FROM turns  -- from the newest back: it is nearly always the first
  WHERE thread = kept.key AND id = turn_id ORDER BY idx DESC LIMIT 1;
  IF NOT FOUND THEN
    RETURN json_build_object('refused', 'cleared');
  END IF;
  IF held.state <> 'running' AND NOT held.orphaned THEN
    RETURN turn_json(held);
  END IF;
  SELECT * INTO ended FROM json_to_record(outcome) AS fields (
    state text, finish_reason text, input_tokens bigint, output_tokens bigint, error text,
    error_message text, answered boolean, said json, words json
  );
  moment := clock_timestamp();
  UPDATE turns SET
    state = ended.state, orphaned = false, answered = ended.answered, finished_at = moment,
    finish_reason = ended.finish_reason, input_tokens = ended.input_tokens,
    output_tokens = ended.output_tokens, error = ended.error, error_message = ended.error_message,
    words = words || lexemes(ended.words)
  WHERE thread = kept.key AND idx = held.idx RETURNING * INTO held;
  PERFORM add_messages(
    kept.key, held.idx,
    (SELECT count(*)::integer FROM messages WHERE thread = kept.key AND turn = held.idx), ended.said
  );
  UPDATE threads SET
    updated_at = moment, used = nextval('uses'),
    running = CASE WHEN running = held.idx THEN NULL ELSE running END,
    holder = CASE WHEN running = held.idx THEN NULL ELSE holder END,
    lease_until = CASE WHEN running = held.idx THEN NULL ELSE lease_until END
  WHERE key = kept.key;
  IF checkpoint IS NOT NULL AND held.idx = kept.turn_count THEN  -- a late one is not the newest any more
    PERFORM put_checkpoint(checkpoint, head_data, channel_data, true);
  END IF;
  RETURN turn_json(held);
END $$;

CREATE FUNCTION renew_lease(
  lock bigint, lease interval, owner_name text, thread_id text, turn_id text
) RETURNS json
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  UPDATE threads SET holder = lock, lease_until = clock_timestamp() + lease
  WHERE owner = owner_name AND lower(threads.id) = lower(thread_id) AND EXISTS (
    SELECT FROM turns WHERE turns.thread = threads.key AND turns.idx = threads.running AND turns.id = turn_id
  );
  RETURN NULL;
END $$;

CREATE FUNCTION abandon_turn(owner_name text, thread_id text, turn_id text) RETURNS json
-- Nobody will end the turn: it is an orphan from now on.
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  UPDATE threads SET holder = NULL, lease_until = NULL
  WHERE owner = owner_name AND lower(threads.id) = lower(thread_id) AND EXISTS (
    SELECT FROM turns WHERE turns.thread = threads.key AND turns.idx = threads.running AND turns.id = turn_id
  );
  RETURN NULL;
END $$;
