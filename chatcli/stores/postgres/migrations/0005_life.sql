-- What is done with threads as wholes: forked, imported, cleaned up.

CREATE FUNCTION text_bytes(thread threads) RETURNS bigint STABLE
BEGIN ATOMIC
  SELECT coalesce(sum(
    CASE WHEN messages.format IS NULL THEN octet_length(messages.content) ELSE (
      SELECT coalesce(sum(octet_length(part ->> 'text')), 0)
      FROM json_array_elements(messages.content::json) AS part WHERE part ->> 'type' = 'text'
    ) END
  ), 0)::bigint
  FROM messages WHERE messages.thread = thread.key;
END;

CREATE FUNCTION copy_thread(source threads, fork_id text, fork_title text, count integer) RETURNS threads
-- The fork, as the last used thread, with the first turns of another; all NULL if its id is taken.
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  fork threads;
  moment timestamptz := clock_timestamp();
BEGIN
  INSERT INTO threads (
    owner, id, title, language, system, model, created_at, updated_at, used, turn_count
  ) VALUES (
    source.owner, fork_id, fork_title, source.language, source.system, source.model, moment, moment,
    nextval('uses'), count
  ) ON CONFLICT DO NOTHING RETURNING * INTO fork;
  IF FOUND THEN
    INSERT INTO turns (
      thread, idx, id, state, answered, started_at, finished_at, model, finish_reason, input_tokens,
      output_tokens, error, error_message, words
    )
    SELECT fork.key, idx, id, state, answered, started_at, finished_at, model, finish_reason, input_tokens,
           output_tokens, error, error_message, words
    FROM turns WHERE thread = source.key AND idx <= count;
    INSERT INTO messages (thread, turn, position, role, content, format, timestamp, id)
    SELECT fork.key, turn, position, role, content, format, timestamp, id
    FROM messages WHERE thread = source.key AND turn <= count;
  END IF;
  RETURN fork;
END $$;

CREATE FUNCTION taken_id(owner_name text, fork_id text) RETURNS text STABLE
-- The id that is in the way of a new one; NULL if none is.
BEGIN ATOMIC
  SELECT id FROM threads WHERE owner = owner_name AND lower(id) = lower(fork_id);
END;

CREATE FUNCTION fork_thread(
  own bigint, owner_name text, thread_id text, fork_id text, fork_title text, count integer
) RETURNS json
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  kept threads := get_thread(owner_name, thread_id);
  fork threads;
BEGIN
  IF kept.key IS NULL THEN
    RETURN json_build_object('refused', 'missing');
  ELSIF count < 0 OR count > kept.turn_count THEN
    RETURN json_build_object('refused', 'few', 'turns', kept.turn_count);
  ELSIF count = kept.turn_count AND is_live(kept.holder, kept.lease_until, own) THEN
    RETURN json_build_object('refused', 'busy');
  ELSIF taken_id(owner_name, fork_id) IS NOT NULL THEN
    RETURN json_build_object('refused', 'taken', 'id', taken_id(owner_name, fork_id));
  ELSIF count = kept.turn_count AND kept.running IS NOT NULL THEN
    PERFORM interrupt_orphan(kept);
  END IF;
  fork := copy_thread(kept, fork_id, fork_title, count);
  IF fork.key IS NULL THEN  -- somebody was faster
    RETURN json_build_object('refused', 'taken', 'id', fork_id);
  END IF;
  RETURN thread_json(fork);
END $$;

CREATE FUNCTION undo_turns(
  own bigint, owner_name text, thread_id text, fork_id text, fork_title text, count integer
) RETURNS json
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  kept threads := get_thread(owner_name, thread_id);
  fork threads;
  remaining integer := kept.turn_count - count;
BEGIN
  IF kept.key IS NULL THEN
    RETURN json_build_object('refused', 'missing');
  ELSIF kept.archived_at IS NOT NULL THEN
    RETURN json_build_object('refused', 'archived');
  ELSIF count < 1 OR remaining < 0 THEN
    RETURN json_build_object('refused', 'few', 'turns', kept.turn_count);
  ELSIF is_live(kept.holder, kept.lease_until, own) THEN
    RETURN json_build_object('refused', 'busy');
  ELSIF taken_id(owner_name, fork_id) IS NOT NULL THEN
    RETURN json_build_object('refused', 'taken', 'id', taken_id(owner_name, fork_id));
  ELSIF kept.running IS NOT NULL THEN
    PERFORM interrupt_orphan(kept);
  END IF;
  fork := copy_thread(kept, fork_id, fork_title, kept.turn_count);
  IF fork.key IS NULL THEN  -- somebody was faster
    RETURN json_build_object('refused', 'taken', 'id', fork_id);
  END IF;
  DELETE FROM messages WHERE thread = kept.key AND turn > remaining;
  DELETE FROM turns WHERE thread = kept.key AND idx > remaining;
  DELETE FROM checkpoint_spaces AS space WHERE space.owner = kept.owner AND space.thread_id = kept.id;
  UPDATE threads SET turn_count = remaining, updated_at = clock_timestamp(), used = nextval('uses')
  WHERE key = kept.key;
  RETURN thread_json(fork);
END $$;

CREATE FUNCTION import_thread(request json) RETURNS json
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  new record;
  kept threads;
BEGIN
  SELECT * INTO new FROM json_to_record(request) AS fields (
    owner text, id text, title text, language text, system text, model text, created_at timestamptz,
    updated_at timestamptz, archived_at timestamptz, turns json
  );
  INSERT INTO threads (
    owner, id, title, language, system, model, created_at, updated_at, archived_at, used, turn_count
  ) VALUES (
    new.owner, new.id, new.title, new.language, new.system, new.model, new.created_at, new.updated_at,
    new.archived_at, nextval('uses'), json_array_length(new.turns)
  ) ON CONFLICT DO NOTHING RETURNING * INTO kept;
  IF NOT FOUND THEN
    RETURN json_build_object('refused', 'taken', 'id', taken_id(new.owner, new.id));
  END IF;
  INSERT INTO turns (
    thread, idx, id, state, answered, started_at, finished_at, model, finish_reason, input_tokens,
    output_tokens, error, error_message, words
  )
  SELECT kept.key, idx, id, state, answered, started_at, finished_at, model, finish_reason, input_tokens,
         output_tokens, error, error_message, lexemes(words)
  FROM json_to_recordset(new.turns) AS turn (
    idx integer, id text, state text, answered boolean, started_at timestamptz, finished_at timestamptz,
    model text, finish_reason text, input_tokens bigint, output_tokens bigint, error text,
    error_message text, words json
  );
  PERFORM add_messages(kept.key, turn.idx, 0, turn.said)
  FROM json_to_recordset(new.turns) AS turn (idx integer, said json);
  RETURN json_build_object('imported', true);
END $$;

CREATE FUNCTION sweep_threads(
  own bigint, owner_name text, before timestamptz, archived_only boolean, keep integer,
  after bigint, most integer, dry_run boolean
) RETURNS json
-- Threads that somebody is using at this moment are passed over: their rows are locked.
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  step threads[];
  seen threads;
  kept threads;
  floor bigint := CASE WHEN keep > 0 THEN 0 ELSE 9223372036854775807 END;
  removed json[] := '{}';
  busy text[] := '{}';
  freed bigint := 0;
BEGIN
  IF keep > 0 THEN  -- the use of the last thread that is kept whatever its age; 0: all of them are
    SELECT coalesce(min(used), 0) INTO floor FROM (
      (SELECT used FROM threads WHERE owner = owner_name AND archived_at IS NULL
       ORDER BY used DESC LIMIT keep)
      UNION ALL
      (SELECT used FROM threads WHERE owner = owner_name AND archived_at IS NOT NULL
       ORDER BY used DESC LIMIT keep)
      ORDER BY used DESC LIMIT keep
    ) AS newest;
  END IF;
  SELECT array_agg(list ORDER BY list.used) INTO step FROM (
    (SELECT * FROM threads WHERE owner = owner_name AND archived_at IS NOT NULL AND used > after
     ORDER BY used LIMIT most + 1)
    UNION ALL
    (SELECT * FROM threads WHERE owner = owner_name AND archived_at IS NULL AND used > after
       AND NOT archived_only
     ORDER BY used LIMIT most + 1)
    ORDER BY used LIMIT most + 1
  ) AS list;
  FOREACH seen IN ARRAY coalesce(step[:most], '{}') LOOP
    CONTINUE WHEN seen.used >= floor OR seen.updated_at >= before;
    IF dry_run THEN
      kept := seen;
    ELSE
      SELECT * INTO kept FROM threads
      WHERE key = seen.key AND used = seen.used AND archived_at IS NOT DISTINCT FROM seen.archived_at
      FOR UPDATE SKIP LOCKED;
    END IF;
    IF kept.key IS NULL THEN
      IF EXISTS (SELECT FROM threads WHERE key = seen.key) THEN
        busy := busy || seen.id;
      END IF;
    ELSIF kept.running IS NOT NULL AND is_live(kept.holder, kept.lease_until, own) THEN
      busy := busy || kept.id;
    ELSE
      freed := freed + text_bytes(kept);
      removed := removed || thread_json(kept);
      IF NOT dry_run THEN
        PERFORM empty_thread(kept);
        DELETE FROM threads WHERE key = kept.key;
      END IF;
    END IF;
  END LOOP;
  RETURN json_build_object(
    'scanned', least(coalesce(cardinality(step), 0), most), 'removed', to_json(removed),
    'busy', to_json(busy), 'freed', freed,
    'cursor', CASE WHEN cardinality(step) > most AND most > 0 THEN step[most].used END
  );
END $$;
