-- The log's append: the only place that gives out positions.

CREATE OR REPLACE FUNCTION log_lock_key() RETURNS bigint LANGUAGE sql IMMUTABLE AS $$ SELECT 5521862 $$;

DROP FUNCTION IF EXISTS append_events;
DROP TYPE IF EXISTS event_draft;
CREATE TYPE event_draft AS (discussion_id uuid, user_id uuid, type text, data text);

-- Appends the drafts in their order and announces them.
--
-- The transaction-level lock is held until commit, so no other transaction can take a later position and
-- commit first, and a roll-back leaves no hole. max() is read by a statement of its own after the lock is
-- held: under READ COMMITTED it sees all that was committed before. (In a REPEATABLE READ transaction with an
-- old snapshot the insert fails on the primary key: loudly, and nothing is stored.)
CREATE FUNCTION append_events(drafts event_draft[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  newest bigint;
  lines text[];
BEGIN
  IF coalesce(cardinality(drafts), 0) = 0 THEN
    RETURN;
  END IF;
  PERFORM pg_advisory_xact_lock(log_lock_key());
  SELECT coalesce(max(position), 0) INTO newest FROM events;
  WITH appended AS (
    INSERT INTO events (position, discussion_id, user_id, type, data, at)
    SELECT newest + d.ordinality, d.discussion_id, d.user_id, d.type, d.data, clock_timestamp()
    FROM unnest(drafts) WITH ORDINALITY AS d
    RETURNING *
  )
  SELECT array_agg(
    event_line(a.position, a.discussion_id, a.user_id, a.type, a.at, a.data) ORDER BY a.position
  ) INTO lines FROM appended AS a;
  PERFORM announce_events(newest, lines);
END
$$;

-- One event as one line of a NOTIFY payload: tab-separated, as neither ids, types nor JSON text made by
-- Postgres contain a raw tab or line feed.
CREATE OR REPLACE FUNCTION event_line(
  of_position bigint, discussion_id uuid, user_id uuid, type text, at timestamptz, data text
) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT concat_ws(E'\t', of_position, coalesce(discussion_id::text, ''), coalesce(user_id::text, ''), type,
    wire_time(at), data)
$$;

-- Sends the lines of positions newest + 1 … as NOTIFYs "from to", then a line per event. A payload must be
-- below 8,000 bytes; an event larger than that, and all after the 16th NOTIFY of a call, are announced by
-- their range alone, which the listener reads from the table.
CREATE OR REPLACE FUNCTION announce_events(newest bigint, lines text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  max_bytes CONSTANT int := 7900 - 42; -- two bigints and their separators
  max_notifications CONSTANT int := 16;
  chunk_from int := 1;
  chunk_bytes int := 0;
  line_bytes int;
  sent int := 0;
BEGIN
  FOR i IN 1 .. cardinality(lines) LOOP
    line_bytes := octet_length(lines[i]) + 1;
    IF chunk_bytes > 0 AND chunk_bytes + line_bytes > max_bytes THEN
      EXIT WHEN sent = max_notifications - 1;
      PERFORM announce_chunk(newest, lines, chunk_from, i - 1, chunk_bytes <= max_bytes);
      sent := sent + 1;
      chunk_from := i;
      chunk_bytes := 0;
    END IF;
    chunk_bytes := chunk_bytes + line_bytes;
  END LOOP;
  PERFORM announce_chunk(newest, lines, chunk_from, cardinality(lines),
    chunk_bytes <= max_bytes AND sent < max_notifications - 1);
END
$$;

CREATE OR REPLACE FUNCTION announce_chunk(newest bigint, lines text[], first int, last int, inlined boolean)
RETURNS void LANGUAGE sql AS $$
  SELECT pg_notify('events', (newest + first) || ' ' || (newest + last)
    || CASE WHEN inlined THEN E'\n' || array_to_string(lines[first : last], E'\n') ELSE '' END)
$$;
