-- LangGraph's checkpoints: opaque values, found by their place. Writers to a space meet at its row.

CREATE FUNCTION make_space(owner_name text, thread text, space_name text) RETURNS bigint
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  space bigint;
BEGIN
  LOOP
    SELECT key INTO space FROM checkpoint_spaces
    WHERE owner = owner_name AND thread_id = thread AND namespace = space_name FOR NO KEY UPDATE;
    EXIT WHEN FOUND;
    INSERT INTO checkpoint_spaces (owner, thread_id, namespace) VALUES (owner_name, thread, space_name)
    ON CONFLICT DO NOTHING RETURNING key INTO space;
    EXIT WHEN FOUND;
  END LOOP;
  RETURN space;
END $$;

CREATE FUNCTION drop_unnamed_channels(of_space bigint) RETURNS void
-- Remove the channel values that no checkpoint of the space names any longer.
BEGIN ATOMIC
  DELETE FROM checkpoint_channels AS held WHERE space = of_space AND NOT EXISTS (
    SELECT FROM checkpoints
    WHERE checkpoints.space = of_space AND checkpoints.versions::json ->> held.channel = held.version
  );
END;

CREATE FUNCTION put_checkpoint(place json, head_data bytea, channel_data bytea[], latest boolean) RETURNS json
-- place: where the checkpoint belongs, and all of it but its bytes.
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  new record;
  of_space bigint;
BEGIN
  SELECT * INTO new FROM json_to_record(place) AS fields (
    owner text, thread text, namespace text, id text, parent text, type text, metadata text,
    versions text, channels json
  );
  of_space := make_space(new.owner, new.thread, new.namespace);
  INSERT INTO checkpoints (space, id, parent_id, type, head, metadata, versions)
  VALUES (of_space, new.id, new.parent, new.type, head_data, new.metadata, new.versions)
  ON CONFLICT (space, id) DO UPDATE SET
    parent_id = excluded.parent_id, type = excluded.type, head = excluded.head,
    metadata = excluded.metadata, versions = excluded.versions;
  INSERT INTO checkpoint_channels (space, channel, version, type, data)
  SELECT of_space, channel, version, type, channel_data[value.place]
  FROM json_to_recordset(new.channels) AS value (
    place integer, channel text, version text, type text
  )
  ON CONFLICT (space, channel, version) DO UPDATE SET type = excluded.type, data = excluded.data;
  IF latest THEN
    -- By id, not by order: a clock that was set back makes a smaller one.
    DELETE FROM checkpoint_writes WHERE space = of_space AND checkpoint_id <> new.id;
    DELETE FROM checkpoints WHERE space = of_space AND id <> new.id;
    PERFORM drop_unnamed_channels(of_space);
  END IF;
  RETURN NULL;
END $$;

CREATE FUNCTION put_writes(place json, write_data bytea[], replacing boolean) RETURNS json
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  new record;
  of_space bigint;
BEGIN
  SELECT * INTO new FROM json_to_record(place) AS fields (
    owner text, thread text, namespace text, id text, writes json
  );
  of_space := make_space(new.owner, new.thread, new.namespace);
  IF replacing THEN
    DELETE FROM checkpoint_writes AS written
    USING json_to_recordset(new.writes) AS value (task text, idx integer)
    WHERE space = of_space AND checkpoint_id = new.id
      AND written.task_id = value.task AND written.idx = value.idx;
  END IF;
  INSERT INTO checkpoint_writes (space, checkpoint_id, task_id, idx, task_path, channel, type, data)
  SELECT of_space, new.id, task, idx, path, channel, type, write_data[value.place]
  FROM json_to_recordset(new.writes) AS value (
    place integer, task text, idx integer, path text, channel text, type text
  )
  ON CONFLICT DO NOTHING;
  RETURN NULL;
END $$;

CREATE FUNCTION copy_checkpoints(owner_name text, source text, target text) RETURNS json
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  held record;
  of_space bigint;
BEGIN
  FOR held IN
    SELECT key, namespace FROM checkpoint_spaces WHERE owner = owner_name AND thread_id = source
    ORDER BY namespace
  LOOP
    of_space := make_space(owner_name, target, held.namespace);
    INSERT INTO checkpoints (space, id, parent_id, type, head, metadata, versions)
    SELECT of_space, id, parent_id, type, head, metadata, versions FROM checkpoints WHERE space = held.key
    ON CONFLICT (space, id) DO UPDATE SET
      parent_id = excluded.parent_id, type = excluded.type, head = excluded.head,
      metadata = excluded.metadata, versions = excluded.versions;
    INSERT INTO checkpoint_channels (space, channel, version, type, data)
    SELECT of_space, channel, version, type, data FROM checkpoint_channels WHERE space = held.key
    ON CONFLICT (space, channel, version) DO UPDATE SET type = excluded.type, data = excluded.data;
    INSERT INTO checkpoint_writes (space, checkpoint_id, task_id, idx, task_path, channel, type, data)
    SELECT of_space, checkpoint_id, task_id, idx, task_path, channel, type, data
    FROM checkpoint_writes WHERE space = held.key
    ON CONFLICT (space, checkpoint_id, task_id, idx) DO UPDATE SET
      task_path = excluded.task_path, channel = excluded.channel, type = excluded.type,
      data = excluded.data;
  END LOOP;
  RETURN NULL;
END $$;

CREATE FUNCTION delete_checkpoints(owner_name text, thread text, places json) RETURNS json
-- places: pairs of namespace and id, or NULL for all.
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  held record;
BEGIN
  IF places IS NULL THEN
    DELETE FROM checkpoint_spaces WHERE owner = owner_name AND thread_id = thread;
    RETURN NULL;
  END IF;
  FOR held IN
    SELECT key, namespace FROM checkpoint_spaces WHERE owner = owner_name AND thread_id = thread
    ORDER BY namespace FOR NO KEY UPDATE
  LOOP
    DELETE FROM checkpoints WHERE space = held.key AND id IN (
      SELECT pair ->> 1 FROM json_array_elements(places) AS pair WHERE pair ->> 0 = held.namespace
    );
    DELETE FROM checkpoint_writes WHERE space = held.key AND checkpoint_id IN (
      SELECT pair ->> 1 FROM json_array_elements(places) AS pair WHERE pair ->> 0 = held.namespace
    );
    PERFORM drop_unnamed_channels(held.key);
  END LOOP;
  RETURN NULL;
END $$;
