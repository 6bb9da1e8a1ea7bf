-- A session that is lost is not yet a process that died: whoever lives has the lock again in a moment.

CREATE FUNCTION is_held(holder bigint, lease_until timestamptz, own bigint) RETURNS boolean
-- Whether the lease stands as far as can be seen at once; for those who only look.
BEGIN ATOMIC
  SELECT CASE
    WHEN lease_until IS NULL OR lease_until <= clock_timestamp() THEN false
    WHEN holder IS NULL OR holder = own THEN true
    ELSE NOT pg_try_advisory_xact_lock_shared(holder)
  END;
END;

CREATE OR REPLACE FUNCTION is_live(holder bigint, lease_until timestamptz, own bigint) RETURNS boolean
-- Whether the lease stands: it has not run out, and whoever holds it lives. A store whose session was cut
-- makes another and locks again; a lock that nobody has for so long is a dead one's. Who is found dead
-- stays so for the rest of the transaction.
LANGUAGE plpgsql AS $$
DECLARE
  doubted_until CONSTANT timestamptz := clock_timestamp() + interval '1.5 seconds';
BEGIN
  IF lease_until IS NULL OR lease_until <= clock_timestamp() THEN
    RETURN false;
  ELSIF holder IS NULL OR holder = own THEN
    RETURN true;
  ELSIF holder::text = current_setting('chatcli.dead', true) THEN
    RETURN false;
  END IF;
  WHILE pg_try_advisory_lock_shared(holder) LOOP
    PERFORM pg_advisory_unlock_shared(holder);
    IF clock_timestamp() >= least(doubted_until, lease_until) THEN
      PERFORM set_config('chatcli.dead', holder::text, true);
      RETURN false;
    END IF;
    PERFORM pg_sleep(0.05);
  END LOOP;
  RETURN true;
END $$;
