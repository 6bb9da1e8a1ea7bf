-- Text that a caller can't open, looked for with the call that begins a turn. In PL/pgSQL, whose plans are
-- kept: planning it would take longer than looking.

CREATE FUNCTION has_foreign_text(owner_name text, thread_id text, most integer, pattern text) RETURNS boolean
-- Whether the thread, or what is the context of its next turn, holds text that begins like `pattern`.
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
DECLARE
  kept threads;
BEGIN
  SELECT * INTO kept FROM threads
  WHERE owner = owner_name AND lower(id) = lower(thread_id) AND id = thread_id;
  RETURN FOUND AND (coalesce(kept.title ~ pattern OR kept.system ~ pattern, false) OR EXISTS (
    SELECT FROM (
      SELECT left(content, 64) AS start
      FROM (
        SELECT idx FROM turns WHERE thread = kept.key AND answered ORDER BY idx DESC LIMIT most
      ) AS ended
      JOIN messages ON messages.thread = kept.key AND messages.turn = ended.idx
      WHERE role <> 'system' ORDER BY messages.turn DESC, messages.position DESC LIMIT most
    ) AS said
    WHERE start ~ pattern
  ));
END $$;
