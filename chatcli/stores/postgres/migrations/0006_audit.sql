-- The audit: who did what, when, and from where; never a word of what was said.

CREATE TABLE audit (
  -- One row a thread, or a cleanup's step, that was changed for good, or keys that were refused.
  number bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
  id text NOT NULL UNIQUE,
  at timestamptz NOT NULL,
  owner text NOT NULL,     -- of the threads
  actor text NOT NULL,     -- a user of a machine, or the name of a token
  door text NOT NULL,      -- 'cli' or 'serve'
  origin text NOT NULL,    -- the machine, or the client's address
  action text NOT NULL,
  thread_id text,
  count integer,           -- threads, or attempts
  outcome text NOT NULL
);

CREATE FUNCTION refuse_change() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'the audit is only ever added to';
END $$;

CREATE TRIGGER audit_is_not_changed BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
EXECUTE FUNCTION refuse_change();

CREATE FUNCTION record_audit(entry json, result json) RETURNS boolean
-- Write the entry of what a function did that returned `result`; nothing if it refused, or removed nothing.
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  removed integer := CASE WHEN result -> 'removed' IS NOT NULL THEN json_array_length(result -> 'removed') END;
BEGIN
  IF result ->> 'refused' IS NOT NULL OR removed = 0 THEN
    RETURN false;
  END IF;
  INSERT INTO audit (id, at, owner, actor, door, origin, action, thread_id, count, outcome)
  SELECT id, at, owner, actor, door, origin, action, thread_id, coalesce(removed, count), outcome
  FROM json_to_record(entry) AS fields (
    id text, at timestamptz, owner text, actor text, door text, origin text, action text, thread_id text,
    count integer, outcome text
  ) ON CONFLICT DO NOTHING;
  RETURN true;
END $$;
