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

-- Stores a batch of messages: the one way in for REST and sockets (group commit). Refusals leave the others
-- alone. No two sends of a batch may have the same sender, discussion and client_id. Returns one row:
-- `accepted`, a digit per send in order, 1 if it was stored now and else 0; `created`, the `data` of each
-- event message.new that this made, one per line in the same order, from `first_position` on, `at` one time;
-- `refused`, one line for each 0, in order: a message's JSON if the same client_id had stored it before, else
-- the code of the refusal.
--
-- The discussions' locks come first: seq = last + 1 has neither holes nor collisions, and a membership that
-- is looked at here cannot end before the message's event. The log's lock is taken only by the insert's
-- trigger, so that batches of other discussions get so far while this one is being flushed to disk. Each
-- look-up is a sub-select by a whole key, which no statistics can turn into anything but a walk down that
-- index, and the plan is made once per connection: with plans made for each batch, most of the time went into
-- planning.
DROP FUNCTION IF EXISTS send_messages;
CREATE FUNCTION send_messages(
  session_ids uuid[], sender_ids uuid[], discussion_ids uuid[], contents text[], client_ids text[],
  reply_to_seqs bigint[],
  OUT accepted text, OUT first_position bigint, OUT at text, OUT created text, OUT refused text
) LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
  locked text := lock_discussions(discussion_ids)::text;
  stored bigint;
BEGIN
  WITH judged AS MATERIALIZED (
    SELECT s.*,
      (SELECT se.user_id FROM sessions AS se
        WHERE se.id = s.session_id AND se.revoked_at IS NULL AND se.expires_at > now()) = s.sender_id
      AND (SELECT me.role FROM members AS me
        WHERE me.discussion_id = s.discussion_id AND me.user_id = s.sender_id) IS NOT NULL
      AND (SELECT m.seq FROM messages AS m
        WHERE m.discussion_id = s.discussion_id AND m.sender_id = s.sender_id AND m.client_id = s.client_id
      ) IS NULL
      AND (s.reply_to_seq IS NULL OR (SELECT m.seq FROM messages AS m
        WHERE m.discussion_id = s.discussion_id AND m.seq = s.reply_to_seq) IS NOT NULL) AS is_accepted
    FROM unnest(session_ids, sender_ids, discussion_ids, contents, client_ids, reply_to_seqs)
      WITH ORDINALITY AS s (session_id, sender_id, discussion_id, content, client_id, reply_to_seq, ordinal)
  ), inserted AS (
    INSERT INTO messages (discussion_id, seq, sender_id, content, client_id, reply_to_seq, mentions)
    SELECT discussion_id,
      coalesce((SELECT m.seq FROM messages AS m WHERE m.discussion_id = j.discussion_id
        ORDER BY m.seq DESC LIMIT 1), 0) + row_number() OVER (PARTITION BY discussion_id ORDER BY ordinal),
      sender_id, content, client_id, reply_to_seq,
      CASE WHEN content LIKE '%@%' THEN mentioned_ids(discussion_id, content) ELSE '{}' END
    FROM judged AS j WHERE is_accepted ORDER BY ordinal
  )
  SELECT string_agg(CASE WHEN is_accepted THEN '1' ELSE '0' END, '' ORDER BY ordinal),
    count(*) FILTER (WHERE is_accepted)
  INTO accepted, stored FROM judged;
  -- The newest events are ours, as the log is locked since they were appended.
  IF stored > 0 THEN
    SELECT min(e.position), wire_time(min(e.at)), string_agg(e.data, E'\n' ORDER BY e.position)
    INTO first_position, at, created
    FROM events AS e WHERE e.position > (SELECT max(position) FROM events) - stored;
  END IF;
  IF accepted LIKE '%0%' THEN
    SELECT string_agg(refusal(session_id, sender_id, discussion_id, content, client_id, reply_to_seq), E'\n'
      ORDER BY ordinal)
    INTO refused
    FROM unnest(session_ids, sender_ids, discussion_ids, contents, client_ids, reply_to_seqs)
      WITH ORDINALITY AS s (session_id, sender_id, discussion_id, content, client_id, reply_to_seq, ordinal)
    WHERE substr(accepted, ordinal::int, 1) = '0';
  END IF;
END
$$;

-- Why a send is not stored: the JSON of the message that the same client_id had stored before, or a code.
CREATE OR REPLACE FUNCTION refusal(
  of_session uuid, of_sender uuid, of_discussion uuid, its_content text, its_client_id text, its_reply bigint
) RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
  stored messages;
BEGIN
  IF NOT EXISTS (
    SELECT FROM sessions AS se WHERE se.id = of_session AND se.user_id = of_sender
      AND se.revoked_at IS NULL AND se.expires_at > now()
  ) THEN
    RETURN 'session_revoked';
  END IF;
  CASE standing(of_discussion, of_sender)
    WHEN 'owner', 'admin', 'member' THEN NULL;
    WHEN 'visitor' THEN RETURN 'not_a_member';
    ELSE RETURN 'discussion_not_found';
  END CASE;
  SELECT * INTO stored FROM messages AS m
  WHERE m.discussion_id = of_discussion AND m.sender_id = of_sender AND m.client_id = its_client_id;
  RETURN CASE
    WHEN NOT FOUND THEN 'reply_not_found'
    WHEN (stored.content, stored.reply_to_seq) IS NOT DISTINCT FROM (its_content, its_reply)
      THEN message_json(stored)
    ELSE 'client_id_reused'
  END;
END
$$;
