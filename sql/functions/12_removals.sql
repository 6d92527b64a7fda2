-- What deleted discussions leave goes in steps, each a transaction of its own that nobody waits for: of very
-- many messages it takes longer than a statement may last. Until then the log tells
-- nothing of them (log_events), and nobody is a member. See docs/decisions/0018-deleting-in-steps.md.

-- Empties what the log holds of a discussion, then removes its messages, at most so many rows in all. Gives
-- how many it was: if fewer, nothing is left. In the transaction that deletes the discussion it comes under
-- the discussion's lock, and before the log's.
CREATE OR REPLACE FUNCTION empty_discussion(of_discussion uuid, most int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  after bigint;
  after_seq bigint;
  emptied int;
  removed int := 0;
BEGIN
  INSERT INTO discussion_removals (discussion_id) VALUES (of_discussion) ON CONFLICT DO NOTHING;
  SELECT r.erased_to, r.removed_to INTO after, after_seq
  FROM discussion_removals AS r WHERE r.discussion_id = of_discussion;
  -- Locked in order, as the pruning of old events deletes them in order.
  WITH next AS (
    SELECT e.position FROM events AS e WHERE e.discussion_id = of_discussion AND e.position > after
    ORDER BY e.position LIMIT most FOR UPDATE
  ), erased AS (
    UPDATE events AS e SET type = 'event.erased', data = '{}', seq = NULL
    FROM next AS n WHERE e.position = n.position AND e.user_id IS NULL AND e.type <> 'event.erased'
  )
  SELECT count(*), max(n.position) INTO emptied, after FROM next AS n;
  IF emptied < most THEN
    -- What comes after the last one is what the messages leave at their positions.
    after := 9223372036854775807;
    WITH gone AS (
      DELETE FROM messages AS m WHERE m.discussion_id = of_discussion AND m.seq IN (
        SELECT x.seq FROM messages AS x WHERE x.discussion_id = of_discussion AND x.seq > after_seq
        ORDER BY x.seq LIMIT most - emptied)
      RETURNING m.seq
    )
    SELECT count(*), max(g.seq) INTO removed, after_seq FROM gone AS g;
  END IF;
  IF emptied + removed < most THEN
    DELETE FROM discussion_removals AS r WHERE r.discussion_id = of_discussion;
  ELSE
    UPDATE discussion_removals AS r
    SET erased_to = after, removed_to = greatest(after_seq, r.removed_to)
    WHERE r.discussion_id = of_discussion;
  END IF;
  RETURN emptied + removed;
END
$$;

-- One step, on a discussion that nobody else is at; by chance, so that one that fails is in nobody's way.
-- Gives how much was done; 0: there is nothing to do.
CREATE OR REPLACE FUNCTION remove_deleted(most int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  its_id uuid;
BEGIN
  SELECT r.discussion_id INTO its_id FROM discussion_removals AS r
  ORDER BY random() LIMIT 1 FOR UPDATE SKIP LOCKED;
  IF NOT FOUND THEN
    RETURN 0;
  END IF;
  RETURN greatest(empty_discussion(its_id, most), 1);
END
$$;
