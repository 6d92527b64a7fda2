-- What becomes of messages after they were sent: editing, deleting, reactions. Each function is one act, with
-- the right to it, under the discussion's lock: a membership that is looked at here cannot end before the
-- act's event. They return JSON, '' where there is nothing to tell, or the code of a refusal.

-- Deletion is final, whoever does it and how: no text and no attachment is left in the row.
CREATE OR REPLACE FUNCTION messages_changing() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF coalesce(OLD.deleted_at, NEW.deleted_at) IS NULL THEN
    NEW.edited_at := clock_timestamp();
  ELSE
    NEW.deleted_at := coalesce(OLD.deleted_at, NEW.deleted_at);
    NEW.content := '';
    NEW.attachment_ids := '{}';
  END IF;
  RETURN NEW;
END
$$;
CREATE OR REPLACE TRIGGER messages_changing BEFORE UPDATE ON messages FOR EACH ROW
  WHEN (NEW.content <> OLD.content OR NEW.deleted_at IS DISTINCT FROM OLD.deleted_at)
  EXECUTE FUNCTION messages_changing();

-- An edited message's earlier version is kept; a deleted one's are gone with it.
CREATE OR REPLACE FUNCTION messages_updated() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO message_edits (discussion_id, seq, version, content, mentions, created_at)
  SELECT o.discussion_id, o.seq, 1 + coalesce((SELECT max(e.version) FROM message_edits AS e
      WHERE e.discussion_id = o.discussion_id AND e.seq = o.seq), 0),
    o.content, o.mentions, coalesce(o.edited_at, o.created_at)
  FROM new_rows AS n JOIN old_rows AS o USING (discussion_id, seq)
  WHERE n.deleted_at IS NULL AND n.content <> o.content;
  DELETE FROM message_edits AS e USING new_rows AS n
  WHERE e.discussion_id = n.discussion_id AND e.seq = n.seq AND n.deleted_at IS NOT NULL;
  PERFORM append_events((
    SELECT array_agg(
      CASE WHEN n.deleted_at IS NULL
        THEN ROW(n.discussion_id, NULL, 'message.updated', reactions_json(n.discussion_id, n.seq),
          n.seq)::event_draft
        ELSE ROW(n.discussion_id, NULL, 'message.deleted',
          '{"seq":' || n.seq || ',"deleted_at":"' || wire_time(n.deleted_at) || '"}', NULL)::event_draft
      END ORDER BY n.discussion_id, n.seq)
    FROM new_rows AS n JOIN old_rows AS o USING (discussion_id, seq)
    WHERE n.content <> o.content OR (n.deleted_at IS NOT NULL AND o.deleted_at IS NULL)
  ));
  RETURN NULL;
END
$$;
CREATE OR REPLACE TRIGGER messages_updated AFTER UPDATE ON messages
  REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
  FOR EACH STATEMENT EXECUTE FUNCTION messages_updated();

CREATE OR REPLACE FUNCTION reaction_drafts(event_type text, changed reactions[]) RETURNS event_draft[]
LANGUAGE sql STABLE AS $$
  SELECT array_agg(
    ROW(r.discussion_id, NULL, event_type, concat('{"seq":', r.seq, ',"user_id":"', r.user_id, '","emoji":',
      to_json(r.emoji), '}'), NULL)::event_draft
    ORDER BY r.discussion_id, r.seq, r.emoji, r.user_id)
  FROM unnest(changed) AS r
$$;
CREATE OR REPLACE FUNCTION reactions_inserted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM append_events(reaction_drafts('reaction.added', array(
    SELECT ROW(n.*)::reactions FROM new_rows AS n)));
  RETURN NULL;
END
$$;
CREATE OR REPLACE TRIGGER reactions_inserted AFTER INSERT ON reactions
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION reactions_inserted();

-- Not of reactions that go because their message goes.
CREATE OR REPLACE FUNCTION reactions_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM append_events(reaction_drafts('reaction.removed', array(
    SELECT ROW(o.*)::reactions FROM old_rows AS o JOIN messages AS m USING (discussion_id, seq))));
  RETURN NULL;
END
$$;
CREATE OR REPLACE TRIGGER reactions_deleted AFTER DELETE ON reactions
  REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION reactions_deleted();

-- Why a user may not act on a message; null: nothing speaks against it so far.
CREATE OR REPLACE FUNCTION act_refusal(of_session uuid, actor uuid, of_discussion uuid, of_seq bigint)
RETURNS text LANGUAGE sql STABLE AS $$
  SELECT CASE
    WHEN NOT is_live(of_session, actor) THEN 'session_revoked'
    WHEN standing(of_discussion, actor) IS NULL THEN 'discussion_not_found'
    WHEN standing(of_discussion, actor) = 'visitor' THEN 'not_a_member'
    WHEN NOT EXISTS (SELECT FROM messages AS m WHERE m.discussion_id = of_discussion AND m.seq = of_seq)
      THEN 'message_not_found'
  END
$$;

-- Gives the message as it is then. The same content again changes nothing.
CREATE OR REPLACE FUNCTION edit_message(
  of_session uuid, editor uuid, of_discussion uuid, of_seq bigint, new_content text
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  locked text := lock_discussions(ARRAY[of_discussion])::text;
  refused text := act_refusal(of_session, editor, of_discussion, of_seq);
  stored messages;
BEGIN
  IF refused IS NOT NULL THEN
    RETURN refused;
  END IF;
  SELECT * INTO stored FROM messages AS m WHERE m.discussion_id = of_discussion AND m.seq = of_seq;
  CASE
    WHEN stored.sender_id <> editor THEN RETURN 'forbidden';
    WHEN stored.deleted_at IS NOT NULL THEN RETURN 'message_deleted';
    WHEN is_blocked(of_discussion, editor) THEN RETURN 'blocked';
    WHEN new_content = '' AND stored.attachment_ids = '{}' THEN RETURN 'content_required';
    ELSE NULL;
  END CASE;
  UPDATE messages AS m SET content = new_content, mentions = mentioned_ids(of_discussion, new_content)
  WHERE m.discussion_id = of_discussion AND m.seq = of_seq AND m.content <> new_content;
  RETURN (
    SELECT message_json(m) FROM messages AS m WHERE m.discussion_id = of_discussion AND m.seq = of_seq);
END
$$;

-- For the sender, admins and owners. A message that is deleted already stays so.
CREATE OR REPLACE FUNCTION delete_message(of_session uuid, deleter uuid, of_discussion uuid, of_seq bigint)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  locked text := lock_discussions(ARRAY[of_discussion])::text;
  refused text := act_refusal(of_session, deleter, of_discussion, of_seq);
BEGIN
  IF refused IS NOT NULL THEN
    RETURN refused;
  END IF;
  IF standing(of_discussion, deleter) = 'member' AND NOT EXISTS (SELECT FROM messages AS m
    WHERE m.discussion_id = of_discussion AND m.seq = of_seq AND m.sender_id = deleter) THEN
    RETURN 'forbidden';
  END IF;
  UPDATE messages AS m SET deleted_at = clock_timestamp()
  WHERE m.discussion_id = of_discussion AND m.seq = of_seq AND m.deleted_at IS NULL;
  RETURN '';
END
$$;

-- Adds a reaction, or removes it; what is so already stays so. A message has at most so many reactions, and
-- kinds of them.
CREATE OR REPLACE FUNCTION change_reaction(
  of_session uuid, actor uuid, of_discussion uuid, of_seq bigint, of_emoji text, present boolean,
  most_kinds int, most int
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  locked text := lock_discussions(ARRAY[of_discussion])::text;
  refused text := act_refusal(of_session, actor, of_discussion, of_seq);
BEGIN
  IF refused IS NOT NULL THEN
    RETURN refused;
  END IF;
  IF is_blocked(of_discussion, actor) THEN
    RETURN 'blocked';
  END IF;
  IF (SELECT m.deleted_at FROM messages AS m
    WHERE m.discussion_id = of_discussion AND m.seq = of_seq) IS NOT NULL THEN
    RETURN 'message_deleted';
  END IF;
  IF NOT present THEN
    DELETE FROM reactions AS r WHERE r.discussion_id = of_discussion AND r.seq = of_seq
      AND r.emoji = of_emoji AND r.user_id = actor;
    RETURN '';
  END IF;
  IF (SELECT count(DISTINCT r.emoji) FROM reactions AS r WHERE r.discussion_id = of_discussion
    AND r.seq = of_seq AND r.emoji <> of_emoji) >= most_kinds
    OR (SELECT count(*) FROM reactions AS r WHERE r.discussion_id = of_discussion
      AND r.seq = of_seq AND (r.emoji, r.user_id) <> (of_emoji, actor)) >= most THEN
    RETURN 'too_many_reactions';
  END IF;
  INSERT INTO reactions (discussion_id, seq, emoji, user_id)
  VALUES (of_discussion, of_seq, of_emoji, actor)
  ON CONFLICT DO NOTHING;
  RETURN '';
END
$$;

-- For servers of a version that knew no bound but that on kinds, as long as some run beside this one.
CREATE OR REPLACE FUNCTION set_reaction(
  of_session uuid, actor uuid, of_discussion uuid, of_seq bigint, of_emoji text, present boolean,
  most_kinds int
) RETURNS text LANGUAGE sql AS $$
  SELECT change_reaction(of_session, actor, of_discussion, of_seq, of_emoji, present, most_kinds, NULL)
$$;

CREATE TYPE edit_shape AS (version int, content text, mentions uuid[], created_at text);
CREATE OR REPLACE FUNCTION edit_json(e message_edits) RETURNS json LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT row_to_json(ROW(e.version, e.content, e.mentions, wire_time(e.created_at))::edit_shape)
$$;

-- Moves read marks forward, never back and never beyond the last message. An answer per mark, in order: JSON,
-- or the code of a refusal. Members are locked in the order of their keys, so that batches of several
-- instances do not wait in a circle.
CREATE OR REPLACE FUNCTION mark_read(
  session_ids uuid[], user_ids uuid[], discussion_ids uuid[], seqs bigint[]
) RETURNS TABLE (answer text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
  PERFORM FROM members AS m
  JOIN unnest(user_ids, discussion_ids) AS g (user_id, discussion_id) USING (user_id, discussion_id)
  ORDER BY m.discussion_id, m.user_id FOR NO KEY UPDATE OF m;
  UPDATE members AS m SET last_read_seq = g.seq
  FROM (
    SELECT g.user_id, g.discussion_id, least(max(g.seq), last_seq(g.discussion_id)) AS seq
    FROM unnest(session_ids, user_ids, discussion_ids, seqs) AS g (session_id, user_id, discussion_id, seq)
    WHERE is_live(g.session_id, g.user_id)
    GROUP BY g.user_id, g.discussion_id
  ) AS g
  WHERE m.user_id = g.user_id AND m.discussion_id = g.discussion_id AND g.seq > effective_last_read_seq(m);
  RETURN QUERY
  SELECT CASE
    WHEN NOT is_live(g.session_id, g.user_id) THEN 'session_revoked'
    WHEN m.user_id IS NOT NULL THEN concat('{"last_read_seq":', effective_last_read_seq(m),
      ',"unread_count":', unread_count(m), '}')
    WHEN standing(g.discussion_id, g.user_id) = 'visitor' THEN 'not_a_member'
    ELSE 'discussion_not_found'
  END
  FROM unnest(session_ids, user_ids, discussion_ids, seqs)
    WITH ORDINALITY AS g (session_id, user_id, discussion_id, seq, place)
  LEFT JOIN members AS m ON m.user_id = g.user_id AND m.discussion_id = g.discussion_id
  ORDER BY g.place;
END
$$;
