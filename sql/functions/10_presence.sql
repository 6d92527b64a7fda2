-- Signals: typing and presence, told by the channel `signals` and stored nowhere. For the lines of a payload
-- see server/delivery/signals.ts, and docs/decisions/0012-presence.md for the whole.

-- A person's own last message in a discussion, by its seq; 0: none. Typing from before it is over.
CREATE OR REPLACE FUNCTION last_said(of_discussion uuid, of_user uuid) RETURNS bigint
LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT coalesce((SELECT max(m.seq) FROM messages AS m
    WHERE m.discussion_id = of_discussion AND m.sender_id = of_user AND m.seq > 0), 0)
$$;

-- Whether the members of a discussion hear of each other's presence: told in larger ones, it would cost
-- members × members deliveries whenever they come and go.
CREATE OR REPLACE FUNCTION shows_presence(of_discussion uuid) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT count(*) <= 100 FROM (
    SELECT FROM members AS m WHERE m.discussion_id = of_discussion LIMIT 101
  ) AS some_members
$$;

-- Whether a reader may know if somebody is there: not who is blocked.
CREATE OR REPLACE FUNCTION shares_presence(of_user uuid, reader uuid) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT of_user = reader OR EXISTS (
    SELECT FROM members AS mine
    JOIN members AS theirs ON theirs.discussion_id = mine.discussion_id AND theirs.user_id = of_user
    WHERE mine.user_id = reader AND NOT mine.blocked AND shows_presence(mine.discussion_id))
$$;

-- A person's status, and when it became so. Whose instances are all gone went with the last of them, whether
-- or not somebody has seen that yet.
CREATE OR REPLACE FUNCTION presence_of(of_user uuid, OUT status text, OUT at timestamptz)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN max(i.expires_at) > now() THEN 'online' ELSE 'offline' END,
    CASE WHEN max(i.expires_at) <= now() THEN max(i.expires_at)
      ELSE (SELECT l.at FROM last_seen AS l WHERE l.user_id = of_user) END
  FROM presences AS p JOIN instances AS i ON i.id = p.instance_id
  WHERE p.user_id = of_user
$$;

CREATE OR REPLACE FUNCTION presence_lock_key() RETURNS bigint LANGUAGE sql IMMUTABLE AS $$ SELECT 5521864 $$;

-- All that changes presences, or tells of them, goes one after another: so each sees what those before it
-- did, and the last that is told of a person is the truth. It takes milliseconds for a thousand people.
CREATE OR REPLACE FUNCTION lock_presences() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  done text;
BEGIN
  -- All who store messages wait for whoever has NOTIFYed until its commit is done: not also for the disk.
  -- What a crash of Postgres may take away are times of the last second.
  done := set_config('synchronous_commit', 'off', true);
  done := pg_advisory_xact_lock(presence_lock_key())::text;
END
$$;

-- Notes when people came or went; nothing is kept of accounts that are erased.
CREATE OR REPLACE FUNCTION note_seen(of_users uuid[], moment timestamptz) RETURNS void LANGUAGE sql AS $$
  INSERT INTO last_seen (user_id, at)
  SELECT u.id, moment FROM users AS u WHERE u.id = ANY (of_users) AND u.erased_at IS NULL
  ON CONFLICT (user_id) DO UPDATE SET at = greatest(last_seen.at, excluded.at)
$$;

CREATE OR REPLACE FUNCTION users_erased() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM last_seen AS l WHERE l.user_id = NEW.id;
  RETURN NULL;
END
$$;
CREATE OR REPLACE TRIGGER users_erased AFTER UPDATE OF erased_at ON users
  FOR EACH ROW WHEN (NEW.erased_at IS NOT NULL) EXECUTE FUNCTION users_erased();

-- Tells the status of people to those who share a discussion with them, as lines "presence user status time
-- discussion …" in at most `most` NOTIFYs. Returns how many that took, and of how many people, the first
-- ones given, it could tell. Somebody's are at most the newest thousand discussions, which fill five NOTIFYs.
CREATE OR REPLACE FUNCTION announce_presences(
  of_users uuid[], most int, OUT notifications int, OUT announced int
) LANGUAGE plpgsql AS $$
DECLARE
  max_bytes CONSTANT int := 7900;
  per_line CONSTANT int := 200; -- ids of 37 bytes
  payload text := '';
  line record;
  done text;
BEGIN
  notifications := 0;
  FOR line IN
    SELECT u.place, concat_ws(' ', 'presence', u.id, s.status, coalesce(wire_time(s.at), '-'),
      string_agg(d.id::text, ' ')) AS text
    FROM unnest(of_users) WITH ORDINALITY AS u (id, place)
    CROSS JOIN LATERAL (
      -- Not presence_of(): whose instance is gone stays online until somebody has seen that, and told it.
      SELECT CASE WHEN EXISTS (SELECT FROM presences AS p WHERE p.user_id = u.id) THEN 'online'
        ELSE 'offline' END AS status, (SELECT l.at FROM last_seen AS l WHERE l.user_id = u.id) AS at
    ) AS s
    CROSS JOIN LATERAL (
      SELECT m.discussion_id AS id, (row_number() OVER () - 1) / per_line AS part
      FROM (
        SELECT m.discussion_id FROM members AS m WHERE m.user_id = u.id
        ORDER BY m.discussion_id DESC LIMIT 1000
      ) AS m
      WHERE shows_presence(m.discussion_id) AND NOT (
        EXISTS (SELECT FROM blocks AS b WHERE b.blocker_id = u.id) AND EXISTS (
          SELECT FROM members AS o
          WHERE o.discussion_id = m.discussion_id AND o.user_id <> u.id AND o.blocked))
    ) AS d
    GROUP BY u.place, u.id, s.status, s.at, d.part
    ORDER BY u.place, d.part
  LOOP
    IF payload <> '' AND octet_length(payload) + 1 + octet_length(line.text) > max_bytes THEN
      done := pg_notify('signals', payload)::text;
      notifications := notifications + 1;
      payload := '';
      IF notifications = most THEN
        announced := line.place - 1;
        RETURN;
      END IF;
    END IF;
    payload := concat_ws(E'\n', nullif(payload, ''), line.text);
  END LOOP;
  IF payload <> '' THEN
    done := pg_notify('signals', payload)::text;
    notifications := notifications + 1;
  END IF;
  announced := cardinality(of_users);
END
$$;

-- Stores who came to an instance and who left it, and tells of those who by that came or went over all
-- instances, and of those who wait to be told of: of the first `at_once` people, in at most `most` NOTIFYs.
-- Returns how many NOTIFYs it took and of whom it could not tell yet; no row, having done nothing, if the
-- instance is not known (any more).
CREATE OR REPLACE FUNCTION change_presences(
  of_instance uuid, arrived uuid[], departed uuid[], waiting uuid[], at_once int, most int
) RETURNS TABLE (notifications int, still_waiting uuid[]) LANGUAGE plpgsql AS $$
DECLARE
  locked text := lock_presences()::text;
  came uuid[];
  went uuid[];
  line uuid[];
  told record;
BEGIN
  PERFORM FROM instances AS i WHERE i.id = of_instance;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  came := array(SELECT id FROM unnest(arrived) AS id
    WHERE NOT EXISTS (SELECT FROM presences AS p WHERE p.user_id = id));
  INSERT INTO presences (user_id, instance_id) SELECT id, of_instance FROM unnest(arrived) AS id
  ON CONFLICT DO NOTHING;
  DELETE FROM presences AS p WHERE p.user_id = ANY (departed) AND p.instance_id = of_instance;
  went := array(SELECT id FROM unnest(departed) AS id
    WHERE NOT EXISTS (SELECT FROM presences AS p WHERE p.user_id = id));
  PERFORM note_seen(came || went, clock_timestamp());
  line := waiting || array(SELECT unnest(came || went) EXCEPT SELECT unnest(waiting));
  told := announce_presences(line[1:at_once], most);
  RETURN QUERY SELECT told.notifications, line[told.announced + 1:];
END
$$;

-- Makes the presences of an instance these and no others, and tells nobody: they were lost by Postgres, not
-- by their people.
CREATE OR REPLACE FUNCTION restore_presences(of_instance uuid, of_users uuid[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
  locked text := lock_presences()::text;
BEGIN
  DELETE FROM presences AS p WHERE p.instance_id = of_instance
    AND NOT EXISTS (SELECT FROM unnest(of_users) AS id WHERE id = p.user_id);
  INSERT INTO presences (user_id, instance_id) SELECT id, of_instance FROM unnest(of_users) AS id
  WHERE EXISTS (SELECT FROM instances AS i WHERE i.id = of_instance)
  ON CONFLICT DO NOTHING;
END
$$;

-- An instance's sign of life: its lease runs from now. With `may_end`, also ends the presences of instances
-- whose lease ran out. Returns whether the instance was not known (any more), how many presences it has, who
-- went by the end of another, and in how many milliseconds the next lease of another runs out.
CREATE OR REPLACE FUNCTION renew_instance(of_instance uuid, lease_ms int, may_end boolean)
RETURNS TABLE (is_new boolean, present bigint, ended uuid[], next_end_ms int) LANGUAGE plpgsql AS $$
DECLARE
  locked text := lock_presences()::text;
  until timestamptz := clock_timestamp() + lease_ms * interval '1 millisecond';
  gone record;
  theirs uuid[];
BEGIN
  ended := '{}';
  UPDATE instances AS i SET expires_at = until WHERE i.id = of_instance;
  is_new := NOT FOUND;
  IF is_new THEN
    INSERT INTO instances (id, expires_at) VALUES (of_instance, until);
  END IF;
  FOR gone IN
    DELETE FROM instances AS i WHERE may_end AND i.expires_at < clock_timestamp()
    RETURNING i.id, i.expires_at
  LOOP
    WITH deleted AS (DELETE FROM presences AS p WHERE p.instance_id = gone.id RETURNING p.user_id)
    SELECT array_agg(d.user_id) INTO theirs FROM deleted AS d;
    theirs := array(SELECT id FROM unnest(theirs) AS id
      WHERE NOT EXISTS (SELECT FROM presences AS p WHERE p.user_id = id));
    PERFORM note_seen(theirs, gone.expires_at);
    ended := ended || theirs;
  END LOOP;
  present := (SELECT count(*) FROM presences AS p WHERE p.instance_id = of_instance);
  -- What ended long ago, or would last for weeks, does not fit into an int.
  next_end_ms := (
    SELECT least(greatest(extract(epoch FROM min(i.expires_at) - clock_timestamp()) * 1000, 0), 86400000)
    FROM instances AS i WHERE i.id <> of_instance);
  RETURN NEXT;
END
$$;

-- An instance ends in good order: its presences end, all at once, when those who come back to another one
-- have had the time to. The others are told to look.
CREATE OR REPLACE FUNCTION leave_instance(of_instance uuid, grace_ms int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  locked text := lock_presences()::text;
BEGIN
  DELETE FROM instances AS i WHERE i.id = of_instance
    AND NOT EXISTS (SELECT FROM presences AS p WHERE p.instance_id = of_instance);
  UPDATE instances AS i SET expires_at = clock_timestamp() + grace_ms * interval '1 millisecond'
  WHERE i.id = of_instance;
  IF FOUND THEN
    PERFORM pg_notify('signals', 'leaving');
  END IF;
END
$$;

CREATE TYPE presence_shape AS (status text, last_seen_at text);
CREATE TYPE member_presence_shape AS (user_id uuid, status text, last_seen_at text);
