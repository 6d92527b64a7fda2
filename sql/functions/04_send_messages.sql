-- The members whom a text names as @username, in the order of their first mention; of the first 50 names. A
-- full stop, hyphen or underscore at the end belongs to the sentence, unless a member's name ends so.
CREATE OR REPLACE FUNCTION mentioned_ids(of_discussion uuid, content text) RETURNS uuid[]
LANGUAGE sql STABLE AS $$
  SELECT coalesce(array_agg(id ORDER BY place), '{}')
  FROM (
    SELECT named.id, min(found.place) AS place
    FROM (
      SELECT lower(match[1]) AS name, min(place) AS place
      FROM regexp_matches(content, '(?<![[:alnum:]_.@-])@([a-zA-Z0-9_.-]{3,64})', 'g')
        WITH ORDINALITY AS matches (match, place)
      GROUP BY lower(match[1]) ORDER BY min(place) LIMIT 50
    ) AS found
    CROSS JOIN LATERAL (
      SELECT u.id FROM users AS u JOIN members AS m ON m.user_id = u.id AND m.discussion_id = of_discussion
      WHERE u.username IN (found.name, rtrim(found.name, '._-'))
      ORDER BY length(u.username) DESC LIMIT 1
    ) AS named
    GROUP BY named.id
  ) AS mentioned
$$;

-- Stores a batch of messages: the one way in for REST and sockets (group commit). One row comes back per
-- send, in order; `code` is 'created', 'stored' (the same client_id again), or why that send was refused.
-- Refusals leave the others alone. No two sends of a batch may have the same sender, discussion and
-- client_id.
--
-- The discussions are locked in the order of their ids by a statement of its own: the next one then sees all
-- that committed before the locks were granted, so seq = last + 1 has neither holes nor collisions.
DROP FUNCTION IF EXISTS send_messages;
CREATE FUNCTION send_messages(
  session_ids uuid[], sender_ids uuid[], discussion_ids uuid[], contents text[], client_ids text[],
  reply_to_seqs bigint[]
) RETURNS TABLE (code text, message text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
  PERFORM 1 FROM discussions AS d WHERE d.id = ANY (discussion_ids) ORDER BY d.id FOR NO KEY UPDATE;
  RETURN QUERY
  WITH sends AS (
    SELECT * FROM unnest(session_ids, sender_ids, discussion_ids, contents, client_ids, reply_to_seqs)
      WITH ORDINALITY AS s (session_id, sender_id, discussion_id, content, client_id, reply_to_seq, ordinal)
  ), judged AS (
    SELECT s.*, stored.seq AS stored_seq, CASE
      WHEN se.id IS NULL THEN 'session_revoked'
      WHEN me.user_id IS NULL AND d.visibility = 'public' THEN 'not_a_member'
      WHEN me.user_id IS NULL THEN 'discussion_not_found'
      WHEN (stored.content, stored.reply_to_seq) IS NOT DISTINCT FROM (s.content, s.reply_to_seq)
        THEN 'stored'
      WHEN stored.seq IS NOT NULL THEN 'client_id_reused'
      WHEN s.reply_to_seq IS NOT NULL AND replied.seq IS NULL THEN 'reply_not_found'
      ELSE 'created'
    END AS code
    FROM sends AS s
    LEFT JOIN sessions AS se ON se.id = s.session_id AND se.user_id = s.sender_id
      AND se.revoked_at IS NULL AND se.expires_at > now()
    LEFT JOIN discussions AS d ON d.id = s.discussion_id
    LEFT JOIN members AS me ON me.discussion_id = s.discussion_id AND me.user_id = s.sender_id
    LEFT JOIN messages AS stored ON stored.discussion_id = s.discussion_id AND stored.sender_id = s.sender_id
      AND stored.client_id = s.client_id
    LEFT JOIN messages AS replied ON replied.discussion_id = s.discussion_id AND replied.seq = s.reply_to_seq
  ), numbered AS (
    SELECT j.*, last_seq(j.discussion_id)
      + row_number() OVER (PARTITION BY j.discussion_id ORDER BY j.ordinal) AS seq
    FROM judged AS j WHERE j.code = 'created'
  ), inserted AS (
    INSERT INTO messages (discussion_id, seq, sender_id, content, client_id, reply_to_seq, mentions)
    SELECT discussion_id, seq, sender_id, content, client_id, reply_to_seq,
      CASE WHEN content LIKE '%@%' THEN mentioned_ids(discussion_id, content) ELSE '{}' END
    FROM numbered ORDER BY ordinal
    RETURNING messages
  )
  SELECT j.code, CASE j.code
    WHEN 'created' THEN message_json((i.messages))::text
    WHEN 'stored' THEN (
      SELECT message_json(m)::text FROM messages AS m
      WHERE m.discussion_id = j.discussion_id AND m.seq = j.stored_seq)
  END
  FROM judged AS j
  LEFT JOIN numbered AS n ON n.ordinal = j.ordinal
  LEFT JOIN inserted AS i ON (i.messages).discussion_id = n.discussion_id AND (i.messages).seq = n.seq
  ORDER BY j.ordinal;
END
$$;
