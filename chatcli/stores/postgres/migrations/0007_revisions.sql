-- Revisions: what copies of contexts that are kept elsewhere (in Redis) are held against. Whatever changes
-- what a context is made of gives the thread another one: triggers do it, also for changes made by hand.

CREATE TABLE copy_secret (secret bytea NOT NULL);
INSERT INTO copy_secret VALUES (uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()));

COMMENT ON TABLE copy_secret IS
  'One row: what copies are signed with, so that only who can read the store makes one that counts.';

CREATE TABLE revisions (
  thread bigint PRIMARY KEY REFERENCES threads ON DELETE CASCADE,
  revision uuid NOT NULL DEFAULT gen_random_uuid(),
  before uuid
) WITH (fillfactor = 50);

COMMENT ON TABLE revisions IS 'One row a thread, changed once a transaction that changes its contexts.';
COMMENT ON COLUMN revisions.revision IS 'At random, so that none comes again, not even after a restore.';
COMMENT ON COLUMN revisions.before IS 'The one before the last change.';

CREATE FUNCTION add_revision() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  INSERT INTO revisions (thread) VALUES (NEW.key);
  RETURN NULL;
END $$;

CREATE FUNCTION revise() RETURNS trigger
-- Once a transaction: what it was in between is seen by nobody else.
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  UPDATE revisions SET before = revision, revision = gen_random_uuid()
  WHERE thread IN (OLD.thread, NEW.thread) AND revisions.xmin <> pg_current_xact_id()::xid;
  RETURN NULL;
END $$;

CREATE FUNCTION revise_if_answered() RETURNS trigger
-- The prompt of a turn that begins changes no context.
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  UPDATE revisions SET before = revision, revision = gen_random_uuid()
  WHERE thread = NEW.thread AND revisions.xmin <> pg_current_xact_id()::xid
    AND (SELECT answered FROM turns WHERE turns.thread = NEW.thread AND turns.idx = NEW.turn);
  RETURN NULL;
END $$;

CREATE FUNCTION revise_all() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  UPDATE revisions SET before = revision, revision = gen_random_uuid();
  RETURN NULL;
END $$;

CREATE TRIGGER thread_is_new AFTER INSERT ON threads FOR EACH ROW EXECUTE FUNCTION add_revision();

-- A turn counts by its messages: one that has none, or none any more, is no part of a context.
CREATE TRIGGER turn_is_changed AFTER UPDATE OF thread, idx, id, answered ON turns
FOR EACH ROW WHEN (OLD.answered OR NEW.answered) EXECUTE FUNCTION revise();

CREATE TRIGGER message_is_new AFTER INSERT ON messages FOR EACH ROW EXECUTE FUNCTION revise_if_answered();
CREATE TRIGGER message_is_changed AFTER UPDATE OR DELETE ON messages FOR EACH ROW EXECUTE FUNCTION revise();
CREATE TRIGGER messages_are_gone AFTER TRUNCATE ON messages EXECUTE FUNCTION revise_all();

INSERT INTO revisions (thread) SELECT key FROM threads;

CREATE FUNCTION begin_turn_with_window(
  own bigint, lock bigint, lease interval, request json, most integer, held uuid
) RETURNS json
-- begin_turn, whose request asks for no context, and the context, unless `held` is the thread's revision.
-- That is read first: the context may be newer, and then the revision is void.
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  begun json := begin_turn(own, lock, lease, request);
  kept record;
BEGIN
  IF begun ->> 'refused' IS NOT NULL OR begun ->> 'answered' IS NOT NULL THEN
    RETURN json_build_object('begun', begun);
  END IF;
  SELECT threads.key, threads.running, revisions.revision INTO kept
  FROM threads LEFT JOIN revisions ON revisions.thread = threads.key
  WHERE owner = request ->> 'owner' AND lower(id) = lower(request ->> 'thread');
  RETURN json_build_object(
    'begun', begun, 'revision', kept.revision,
    'said', CASE WHEN kept.revision = held THEN NULL ELSE context_json(kept.key, kept.running, most) END
  );
END $$;

CREATE FUNCTION commit_turn_with_window(
  owner_name text, thread_id text, turn_id text, outcome json,
  checkpoint json, head_data bytea, channel_data bytea[], held uuid
) RETURNS json
-- commit_turn, and the revision that it made of the one that the turn began with; NULL: of another, or none.
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  ended json := commit_turn(owner_name, thread_id, turn_id, outcome, checkpoint, head_data, channel_data);
BEGIN
  RETURN json_build_object('ended', ended, 'revision', (
    SELECT revision FROM revisions JOIN threads ON threads.key = revisions.thread
    WHERE owner = owner_name AND lower(id) = lower(thread_id)
      AND before = held AND revisions.xmin = pg_current_xact_id()::xid
  ));
END $$;
