-- What is done to whole threads.

CREATE FUNCTION get_thread(owner_name text, thread_id text) RETURNS threads
-- The thread with exactly this id, its row locked; all NULL where there is none.
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  kept threads;
BEGIN
  SELECT * INTO kept FROM threads
  WHERE owner = owner_name AND lower(id) = lower(thread_id) AND id = thread_id FOR UPDATE;
  RETURN kept;
END $$;

CREATE FUNCTION empty_thread(thread threads) RETURNS void
BEGIN ATOMIC
  DELETE FROM messages WHERE messages.thread = thread.key;
  DELETE FROM turns WHERE turns.thread = thread.key;
  DELETE FROM checkpoint_spaces WHERE owner = thread.owner AND thread_id = thread.id;
END;

CREATE FUNCTION rename_thread(owner_name text, thread_id text, new_title text) RETURNS json
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  kept threads := get_thread(owner_name, thread_id);
BEGIN
  IF kept.key IS NULL THEN
    RETURN json_build_object('refused', 'missing');
  END IF;
  UPDATE threads SET title = new_title WHERE key = kept.key RETURNING * INTO kept;
  RETURN thread_json(kept);
END $$;

CREATE FUNCTION clear_thread(own bigint, owner_name text, thread_id text) RETURNS json
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  kept threads := get_thread(owner_name, thread_id);
BEGIN
  IF kept.key IS NULL THEN
    RETURN json_build_object('refused', 'missing');
  ELSIF kept.running IS NOT NULL AND is_live(kept.holder, kept.lease_until, own) THEN
    RETURN json_build_object('refused', 'busy');
  END IF;
  PERFORM empty_thread(kept);
  UPDATE threads SET turn_count = 0, running = NULL, holder = NULL, lease_until = NULL
  WHERE key = kept.key RETURNING * INTO kept;
  RETURN thread_json(kept);
END $$;

CREATE FUNCTION delete_thread(own bigint, owner_name text, thread_id text) RETURNS json
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  kept threads := get_thread(owner_name, thread_id);
BEGIN
  IF kept.key IS NULL THEN
    RETURN json_build_object('refused', 'missing');
  ELSIF kept.running IS NOT NULL AND is_live(kept.holder, kept.lease_until, own) THEN
    RETURN json_build_object('refused', 'busy');
  END IF;
  PERFORM empty_thread(kept);
  DELETE FROM threads WHERE key = kept.key;
  RETURN NULL;
END $$;

CREATE FUNCTION archive_thread(own bigint, owner_name text, thread_id text, archived boolean) RETURNS json
-- The time of the first mark stays.
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  kept threads := get_thread(owner_name, thread_id);
BEGIN
  IF kept.key IS NULL THEN
    RETURN json_build_object('refused', 'missing');
  ELSIF kept.running IS NOT NULL AND is_live(kept.holder, kept.lease_until, own) THEN
    RETURN json_build_object('refused', 'busy');
  END IF;
  UPDATE threads SET archived_at = CASE WHEN archived THEN coalesce(archived_at, clock_timestamp()) END
  WHERE key = kept.key RETURNING * INTO kept;
  RETURN thread_json(kept);
END $$;
