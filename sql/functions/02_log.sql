-- The log: messages by their position, each the event message.new, and all other events. Messages that are
-- edited or deleted are so in the log at once, as they stand nowhere else. Of a deleted discussion that is
-- still being removed the log tells what it will tell then: who heard of its end, and nothing else.
CREATE OR REPLACE VIEW log_events AS
  SELECT e.position, e.discussion_id, e.user_id,
    CASE WHEN r.discussion_id IS NULL THEN e.type ELSE 'event.erased' END AS type,
    CASE WHEN r.discussion_id IS NOT NULL THEN '{}' WHEN e.seq IS NULL THEN e.data
      ELSE event_data(e.type, e.discussion_id, e.seq, e.data) END AS data,
    e.at
  FROM events AS e
  LEFT JOIN discussion_removals AS r ON r.discussion_id = e.discussion_id AND e.user_id IS NULL
  UNION ALL
  SELECT m.position, m.discussion_id, NULL::uuid,
    CASE WHEN r.discussion_id IS NULL THEN 'message.new' ELSE 'event.erased' END,
    CASE WHEN r.discussion_id IS NULL THEN new_message_data(m) ELSE '{}' END, m.created_at
  FROM messages AS m LEFT JOIN discussion_removals AS r ON r.discussion_id = m.discussion_id
  WHERE m.position IS NOT NULL;

-- Where a discussion's messages after a position begin: seq and position rise together. It looks back from
-- the last one in steps that double, then halves: a look-up or two if little was missed. Of a discussion that
-- is being removed it does not look at what has gone, all of which each look-up would walk over.
CREATE OR REPLACE FUNCTION first_seq_after(of_discussion uuid, after bigint) RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
DECLARE
  gone bigint := coalesce(
    (SELECT r.removed_to FROM discussion_removals AS r WHERE r.discussion_id = of_discussion), 0);
  above bigint := last_seq(of_discussion) + 1; -- comes after the position, or there is none
  below bigint := above - 1; -- is looked at; then: comes before it
  step bigint := 1;
  middle bigint;
BEGIN
  WHILE below > gone AND is_after(of_discussion, below, after) LOOP
    above := below;
    below := below - step;
    step := step * 2;
  END LOOP;
  below := greatest(below, gone);
  WHILE above - below > 1 LOOP
    middle := (above + below) / 2;
    IF is_after(of_discussion, middle, after) THEN
      above := middle;
    ELSE
      below := middle;
    END IF;
  END LOOP;
  RETURN above;
END
$$;

CREATE OR REPLACE FUNCTION is_after(of_discussion uuid, of_seq bigint, after bigint) RETURNS boolean
LANGUAGE sql STABLE AS $$
  SELECT coalesce((SELECT m.position > after FROM messages AS m
    WHERE m.discussion_id = of_discussion AND m.seq <= of_seq ORDER BY m.seq DESC LIMIT 1), false)
$$;

-- Where this database is: a copy of it is somewhere else, be it restored from a dump (into another cluster,
-- database or table) or from a base backup (on another timeline, which a failover has, too). Not known on a
-- Postgres that does not tell.
CREATE OR REPLACE FUNCTION log_place() RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN concat_ws('.', (SELECT system_identifier FROM pg_control_system()),
    (SELECT oid FROM pg_database WHERE datname = current_database()), 'log_epoch'::regclass::oid,
    left(pg_walfile_name(pg_current_wal_lsn()), 8));
EXCEPTION WHEN insufficient_privilege OR undefined_function OR feature_not_supported
  OR object_not_in_prerequisite_state THEN
  RETURN '';
END
$$;

-- Begins a new history: all cursors given out before answer with a reset. With `of_epoch`, only if that is
-- still the epoch, so that of many instances which notice at once the first does it for all.
CREATE OR REPLACE FUNCTION renew_epoch(of_epoch text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  UPDATE log_epoch SET epoch = substr(md5(gen_random_uuid()::text), 1, 8)
  WHERE of_epoch IS NULL OR epoch = of_epoch;
  IF FOUND THEN
    INSERT INTO log_home (home) SELECT place FROM log_place() AS place WHERE place <> ''
    ON CONFLICT (only_row) DO UPDATE SET home = excluded.home;
  END IF;
END
$$;

-- Renews the epoch if the log is not where it was when it last served: what clients know of may be lost. Also
-- after a mere failover: no instance knows what the others, or its own answers, have told of. Tells whether
-- it did.
CREATE OR REPLACE FUNCTION settle_log() RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  here text := log_place();
  known text;
BEGIN
  IF here = '' THEN
    RETURN false;
  END IF;
  INSERT INTO log_home (home) VALUES (here) ON CONFLICT (only_row) DO NOTHING;
  SELECT h.home INTO known FROM log_home AS h FOR UPDATE;
  IF known = here THEN
    RETURN false;
  END IF;
  PERFORM renew_epoch(NULL);
  RETURN true;
END
$$;

-- The log's append. Positions are given out here and, for messages, by send_messages() or their trigger; all
-- under lock_log().

CREATE OR REPLACE FUNCTION log_lock_key() RETURNS bigint LANGUAGE sql IMMUTABLE AS $$ SELECT 5521862 $$;

-- Takes the log's lock, which is held until commit: no other transaction can take a later position and commit
-- first, and a roll-back leaves no hole. Gives the newest position, read by a statement of its own after the
-- lock is held: under READ COMMITTED it sees all that was committed before. With an older snapshot, which the
-- other levels keep, a position would be given twice, once in each table, so they are refused.
--
-- Lock order: pairs of users (lock_pair), rows of discussions, discussions (lock_discussions), rows of users,
-- of members and of messages, the search's lock, then the log; several of a kind by their ids.
--
-- An assignment costs a tenth of what PERFORM does, which runs a query; hence the style here and below.
CREATE OR REPLACE FUNCTION lock_log() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  locked text := pg_advisory_xact_lock(log_lock_key())::text;
BEGIN
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE invalid_transaction_state USING MESSAGE = 'what is told of by the log needs READ COMMITTED';
  END IF;
  RETURN greatest((SELECT max(position) FROM messages), (SELECT max(position) FROM events), 0);
END
$$;

-- Until commit nobody else stores messages in these discussions or ends memberships of them. Advisory locks,
-- as a lock on a row is a write to it. Always in the same order, so that nobody waits in a circle; where two
-- ids have the same hash, one merely waits for the other.
CREATE OR REPLACE FUNCTION lock_discussions(ids uuid[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  locked text;
BEGIN
  IF cardinality(ids) = 1 THEN
    locked := pg_advisory_xact_lock(log_lock_key()::int, uuid_hash(ids[1]))::text;
  ELSE
    PERFORM pg_advisory_xact_lock(log_lock_key()::int, key)
    FROM (SELECT DISTINCT uuid_hash(id) AS key FROM unnest(ids) AS id ORDER BY key) AS keys;
  END IF;
END
$$;

CREATE TYPE event_draft AS (discussion_id uuid, user_id uuid, type text, data text, seq bigint);

-- Appends the drafts in their order and announces them. Returns how many NOTIFYs that took. A draft with a
-- `seq` is told of by event_data().
CREATE OR REPLACE FUNCTION append_events(drafts event_draft[]) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  newest bigint;
  lines text[];
  happened_at timestamptz;
  at_text text;
BEGIN
  IF coalesce(cardinality(drafts), 0) = 0 THEN
    RETURN 0;
  END IF;
  newest := lock_log();
  happened_at := clock_timestamp();
  at_text := wire_time(happened_at);
  WITH appended AS (
    INSERT INTO events (position, discussion_id, user_id, type, data, seq, at)
    SELECT newest + d.ordinality, d.discussion_id, d.user_id, d.type, d.data, d.seq, happened_at
    FROM unnest(drafts) WITH ORDINALITY AS d
    RETURNING *
  )
  SELECT array_agg(event_line(a.position, a.discussion_id, a.user_id, a.type, at_text,
    event_data(a.type, a.discussion_id, a.seq, a.data)))
  INTO lines FROM appended AS a;
  RETURN announce_events(newest, lines);
END
$$;

-- One event as one line of a NOTIFY payload: tab-separated, as neither ids, types nor JSON text made by
-- Postgres contain a raw tab or line feed.
CREATE OR REPLACE FUNCTION event_line(
  of_position bigint, discussion_id uuid, user_id uuid, type text, at text, data text
) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT concat(of_position, E'\t', discussion_id, E'\t', user_id, E'\t', type, E'\t', at, E'\t', data)
$$;

-- Sends the lines of positions newest + 1 … as NOTIFYs "from to", then a line per event; returns how many. A
-- payload must be below 8,000 bytes; an event larger than that, and all after the 16th NOTIFY of a call, are
-- announced by their range alone, which the listener reads from the table.
CREATE OR REPLACE FUNCTION announce_events(newest bigint, lines text[]) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  max_bytes CONSTANT int := 7900 - 42; -- two bigints and their separators
  max_notifications CONSTANT int := 16;
  line text;
  line_bytes int;
  place int := 0; -- of the line
  chunk_from int := 1;
  chunk_bytes int := 0;
  sent int := 0;
  notified text;
BEGIN
  FOREACH line IN ARRAY lines LOOP
    place := place + 1;
    line_bytes := octet_length(line) + 1;
    IF chunk_bytes + line_bytes > max_bytes AND chunk_bytes > 0 THEN
      IF sent = max_notifications - 1 THEN
        chunk_bytes := max_bytes + 1;
        EXIT;
      END IF;
      notified := announce_range(newest, chunk_from, place - 1,
        CASE WHEN chunk_bytes <= max_bytes THEN lines[chunk_from:place - 1] END);
      sent := sent + 1;
      chunk_from := place;
      chunk_bytes := 0;
    END IF;
    chunk_bytes := chunk_bytes + line_bytes;
  END LOOP;
  notified := announce_range(newest, chunk_from, cardinality(lines),
    CASE WHEN chunk_bytes <= max_bytes THEN lines[chunk_from:] END);
  RETURN sent + 1;
END
$$;

CREATE OR REPLACE FUNCTION announce_range(newest bigint, first int, last int, lines text[]) RETURNS text
LANGUAGE sql AS $$
  SELECT pg_notify('events',
    concat(newest + first, ' ', newest + last, E'\n' || array_to_string(lines, E'\n')))::text
$$;
