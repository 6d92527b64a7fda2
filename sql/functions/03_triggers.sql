-- State changes become events here, in the transaction of the change: whatever inserts a message, our code,
-- psql or an import, is pushed, and no code path can change state and forget its event.
--
-- A statement trigger also fires when its statement touched no row; array_agg() is then null, and
-- append_events() does nothing.

CREATE OR REPLACE FUNCTION messages_inserted() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  lines text[];
  first bigint;
  newest bigint;
  done text;
BEGIN
  -- In the order of insertion, which is that of the senders' frames and of their positions.
  SELECT array_agg(message_line(ROW(n.*)::messages)), min(n.position) INTO lines, first FROM new_rows AS n;
  IF lines IS NULL THEN
    RETURN NULL;
  END IF;
  IF first IS NULL THEN
    -- Inserted by hand. Positions come last, as the log's lock comes after the discussions'.
    newest := lock_log();
    WITH placed AS (
      UPDATE messages AS m SET position = newest + n.place
      FROM (SELECT discussion_id, seq, row_number() OVER () AS place FROM new_rows) AS n
      WHERE m.discussion_id = n.discussion_id AND m.seq = n.seq
      RETURNING m.*
    )
    SELECT array_agg(message_line(ROW(p.*)::messages) ORDER BY p.position) INTO lines FROM placed AS p;
    first := newest + 1;
  END IF;
  done := announce_events(first - 1, lines);
  -- For send_messages(), which would otherwise have to read them again; not for imports by the million.
  IF cardinality(lines) <= 1000 THEN
    done := set_config('parley.appended', array_to_string(lines, E'\n'), true);
  END IF;
  RETURN NULL;
END
$$;
CREATE OR REPLACE FUNCTION message_line(m messages) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT event_line(m.position, m.discussion_id, NULL, 'message.new', wire_time(m.created_at),
    new_message_data(m))
$$;
CREATE OR REPLACE TRIGGER messages_inserted AFTER INSERT ON messages
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION messages_inserted();

-- The log keeps its positions: where a message was, an event of no content remains. Of a discussion that is
-- being removed, the other events were emptied before.
CREATE OR REPLACE FUNCTION messages_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO events (position, discussion_id, type, data, at)
  SELECT o.position, o.discussion_id, 'event.erased', '{}', o.created_at
  FROM old_rows AS o, log_epoch AS l WHERE o.position > l.pruned_to;
  IF EXISTS (SELECT FROM old_rows AS o WHERE NOT EXISTS (
    SELECT FROM discussion_removals AS r WHERE r.discussion_id = o.discussion_id)) THEN
    UPDATE events AS e SET type = 'event.erased', data = '{}', seq = NULL
    FROM old_rows AS o WHERE (e.discussion_id, e.seq) = (o.discussion_id, o.seq);
  END IF;
  DELETE FROM message_edits AS e USING old_rows AS o
  WHERE (e.discussion_id, e.seq) = (o.discussion_id, o.seq);
  DELETE FROM reactions AS r USING old_rows AS o
  WHERE (r.discussion_id, r.seq) = (o.discussion_id, o.seq);
  RETURN NULL;
END
$$;
CREATE OR REPLACE TRIGGER messages_deleted AFTER DELETE ON messages
  REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION messages_deleted();

-- For messages inserted by hand: the next seq, read under the discussion's lock as send_messages() does.
CREATE OR REPLACE FUNCTION messages_take_seq() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM lock_discussions(ARRAY[NEW.discussion_id]);
  IF NOT EXISTS (SELECT FROM discussions AS d WHERE d.id = NEW.discussion_id) THEN
    RAISE foreign_key_violation USING MESSAGE = 'there is no such discussion';
  END IF;
  NEW.seq := last_seq(NEW.discussion_id) + 1;
  RETURN NEW;
END
$$;
CREATE OR REPLACE TRIGGER messages_take_seq BEFORE INSERT ON messages
  FOR EACH ROW WHEN (NEW.seq IS NULL) EXECUTE FUNCTION messages_take_seq();

-- What is left of a discussion, and it may be very much, is noted to be removed: from this commit on nobody
-- can read it, nor is it told. Under its lock, no message can come in after this and before the commit; those
-- who wait for the lock will find themselves no members. An event that came since it was emptied is a read
-- mark.
CREATE OR REPLACE FUNCTION discussions_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM lock_discussions(array(SELECT id FROM old_rows));
  INSERT INTO discussion_removals (discussion_id)
  SELECT o.id FROM old_rows AS o
  WHERE EXISTS (SELECT FROM messages AS m WHERE m.discussion_id = o.id)
    OR EXISTS (SELECT FROM events AS e
      WHERE e.discussion_id = o.id AND e.user_id IS NULL AND e.type <> 'event.erased')
  ON CONFLICT (discussion_id) DO UPDATE SET erased_to = 0;
  RETURN NULL;
END
$$;
CREATE OR REPLACE TRIGGER discussions_deleted AFTER DELETE ON discussions
  REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION discussions_deleted();

-- A discussion begins, for the log, with its first members: each is enrolled (which only the server hears:
-- it opens the discussion to their streams), then one discussion.created tells all of them.
CREATE OR REPLACE FUNCTION members_inserted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  -- Here, as the insert waits for whoever is erasing the account.
  IF EXISTS (SELECT FROM new_rows AS n JOIN users AS u ON u.id = n.user_id WHERE u.erased_at IS NOT NULL) THEN
    RAISE foreign_key_violation
      USING MESSAGE = 'the account was erased', CONSTRAINT = 'members_user_id_fkey';
  END IF;
  PERFORM append_events((
    WITH begun AS (
      SELECT DISTINCT n.discussion_id FROM new_rows AS n
      WHERE NOT EXISTS (
        SELECT FROM members AS m WHERE m.discussion_id = n.discussion_id
          AND NOT EXISTS (
            SELECT FROM new_rows AS o WHERE (o.discussion_id, o.user_id) = (m.discussion_id, m.user_id))
      )
    ), drafts AS (
      SELECT 1 AS step, n.discussion_id, n.user_id, n.joined_at,
        CASE WHEN b.discussion_id IS NULL THEN 'member.added' ELSE 'member.enrolled' END AS type,
        CASE WHEN b.discussion_id IS NULL
          THEN '{"member":' || member_json(ROW(n.*)::members)::text || '}' ELSE '{}' END AS data
      FROM new_rows AS n LEFT JOIN begun AS b USING (discussion_id)
      UNION ALL
      SELECT 2, d.id, NULL, NULL, 'discussion.created',
        '{"discussion":' || event_discussion_json(d)::text || '}'
      FROM begun AS b JOIN discussions AS d ON d.id = b.discussion_id
    )
    SELECT array_agg(ROW(discussion_id, user_id, type, data, NULL)::event_draft
      ORDER BY discussion_id, step, joined_at, user_id)
    FROM drafts
  ));
  RETURN NULL;
END
$$;
CREATE OR REPLACE TRIGGER members_inserted AFTER INSERT ON members
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION members_inserted();

-- Rows that go because their discussion goes tell each former member, and nobody else, that it was deleted.
-- Under the discussion's lock, what somebody is storing right now is in sight, and its event comes before the
-- removal's.
CREATE OR REPLACE FUNCTION members_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  drafts event_draft[];
BEGIN
  PERFORM lock_discussions(array(SELECT DISTINCT o.discussion_id FROM old_rows AS o));
  SELECT array_agg(
    ROW(o.discussion_id, o.user_id,
      CASE WHEN d.id IS NULL THEN 'discussion.deleted' ELSE 'member.removed' END,
      CASE WHEN d.id IS NULL THEN '{}' ELSE '{"user_id":"' || o.user_id || '"}' END, NULL)::event_draft
    ORDER BY o.discussion_id, o.user_id)
  INTO drafts
  FROM old_rows AS o LEFT JOIN discussions AS d ON d.id = o.discussion_id;
  PERFORM append_events(drafts);
  RETURN NULL;
END
$$;
CREATE OR REPLACE TRIGGER members_deleted AFTER DELETE ON members
  REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION members_deleted();

-- For servers of the version before, which delete a discussion in one go.
CREATE OR REPLACE FUNCTION erase_events(of_discussions uuid[]) RETURNS void LANGUAGE sql AS $$
  UPDATE events AS e SET type = 'event.erased', data = '{}', seq = NULL
  WHERE e.discussion_id = ANY (of_discussions) AND e.user_id IS NULL AND e.type <> 'event.erased'
$$;

-- What these tell, last_seq and read marks, moves with each message, and sending does not wait for what is
-- told of here. So the log's lock is taken before that is looked at: what comes before in the log is in it,
-- and no event takes back what an earlier one told. A mark that is behind what its reader has sent meanwhile
-- moves nothing.
CREATE OR REPLACE FUNCTION members_updated() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  newest bigint;
BEGIN
  IF NOT EXISTS (
    SELECT FROM new_rows AS n JOIN old_rows AS o USING (discussion_id, user_id)
    WHERE (n.role, n.last_read_seq) <> (o.role, o.last_read_seq)
  ) THEN
    RETURN NULL;
  END IF;
  newest := lock_log();
  PERFORM append_events((
    WITH changed AS (
      SELECT n.discussion_id, n.user_id, n.role <> o.role AS role_changed,
        n.last_read_seq <> o.last_read_seq AND NOT EXISTS (
          SELECT FROM messages AS own WHERE own.discussion_id = n.discussion_id
            AND own.sender_id = n.user_id AND own.seq >= n.last_read_seq AND own.seq > 0
        ) AS read_changed
      FROM new_rows AS n JOIN old_rows AS o USING (discussion_id, user_id)
    ), drafts AS (
      SELECT c.discussion_id, c.user_id, 'member.updated' AS type,
        '{"member":' || member_json(m)::text || '}' AS data
      FROM changed AS c JOIN members AS m USING (discussion_id, user_id) WHERE c.role_changed
      UNION ALL
      SELECT c.discussion_id, CASE WHEN is_large(c.discussion_id) THEN c.user_id END, 'read.updated',
        '{"user_id":"' || c.user_id || '","last_read_seq":' || effective_last_read_seq(m) || '}'
      FROM changed AS c JOIN members AS m USING (discussion_id, user_id) WHERE c.read_changed
    )
    SELECT array_agg(ROW(discussion_id, user_id, type, data, NULL)::event_draft
      ORDER BY discussion_id, type, user_id)
    FROM drafts
  ));
  RETURN NULL;
END
$$;
CREATE OR REPLACE TRIGGER members_updated AFTER UPDATE ON members
  REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
  FOR EACH STATEMENT EXECUTE FUNCTION members_updated();

-- Read marks in discussions of more than 50 members go to their reader alone: told to all, they would cost
-- members × members deliveries for each message.
CREATE OR REPLACE FUNCTION is_large(of_discussion uuid) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT count(*) > 50 FROM (
    SELECT FROM members AS m WHERE m.discussion_id = of_discussion LIMIT 51
  ) AS some_members
$$;

CREATE OR REPLACE FUNCTION discussions_updated() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  newest bigint;
BEGIN
  IF NOT EXISTS (
    SELECT FROM new_rows AS n JOIN old_rows AS o USING (id)
    WHERE (n.name, n.visibility) IS DISTINCT FROM (o.name, o.visibility)
  ) THEN
    RETURN NULL;
  END IF;
  newest := lock_log(); -- as for members
  PERFORM append_events((
    SELECT array_agg(
      ROW(n.id, NULL, 'discussion.updated',
        '{"discussion":' || event_discussion_json(ROW(n.*)::discussions)::text || '}', NULL)::event_draft
      ORDER BY n.id)
    FROM new_rows AS n JOIN old_rows AS o USING (id)
    WHERE (n.name, n.visibility) IS DISTINCT FROM (o.name, o.visibility)
  ));
  RETURN NULL;
END
$$;
CREATE OR REPLACE TRIGGER discussions_updated AFTER UPDATE ON discussions
  REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
  FOR EACH STATEMENT EXECUTE FUNCTION discussions_updated();

-- The end of a session travels through the log too, so that every instance ends its streams, in order and
-- also after its listener was away. Clients are not told of it by an event but by their stream's end.
CREATE OR REPLACE FUNCTION sessions_updated() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM append_events((
    SELECT array_agg(
      ROW(NULL, n.user_id, 'session.revoked', '{"session_id":"' || n.id || '"}', NULL)::event_draft
      ORDER BY n.id)
    FROM new_rows AS n JOIN old_rows AS o USING (id)
    WHERE n.revoked_at IS NOT NULL AND o.revoked_at IS NULL
  ));
  RETURN NULL;
END
$$;
CREATE OR REPLACE TRIGGER sessions_updated AFTER UPDATE ON sessions
  REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
  FOR EACH STATEMENT EXECUTE FUNCTION sessions_updated();
