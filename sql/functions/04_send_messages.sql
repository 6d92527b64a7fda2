-- The members whom a text names as @username, in the order of their first mention; of the first 50 names. A
-- full stop, hyphen or underscore at the end belongs to the sentence, unless a member's name ends so.
CREATE OR REPLACE FUNCTION find_mentioned(of_discussion uuid, content text) RETURNS uuid[]
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

-- The same, for less where nobody is mentioned: the planner puts it in place of the call.
CREATE OR REPLACE FUNCTION mentioned_ids(of_discussion uuid, content text) RETURNS uuid[]
LANGUAGE sql STABLE AS $$
  SELECT CASE WHEN content LIKE '%@%' THEN find_mentioned(of_discussion, content) ELSE '{}' END
$$;

-- The seq that a send gets after all that is stored, or no row: it is refused. The planner puts the query in
-- place of the call. Each look-up is a sub-select by a whole key, which no statistics can turn into anything
-- but a walk down that index.
CREATE OR REPLACE FUNCTION admission(
  of_session uuid, of_sender uuid, of_discussion uuid, its_client_id text, its_reply bigint
) RETURNS TABLE (next_seq bigint) LANGUAGE sql STABLE AS $$
  SELECT 1 + coalesce(
    (SELECT m.seq FROM messages AS m WHERE m.discussion_id = of_discussion ORDER BY m.seq DESC LIMIT 1), 0)
  WHERE (SELECT se.user_id FROM sessions AS se
      WHERE se.id = of_session AND se.revoked_at IS NULL AND se.expires_at > now()) = of_sender
    AND (SELECT NOT me.blocked FROM members AS me
      WHERE me.discussion_id = of_discussion AND me.user_id = of_sender)
    AND (its_client_id IS NULL OR (SELECT m.seq FROM messages AS m
      WHERE m.discussion_id = of_discussion AND m.sender_id = of_sender AND m.client_id = its_client_id
    ) IS NULL)
    AND (its_reply IS NULL OR (SELECT m.seq FROM messages AS m
      WHERE m.discussion_id = of_discussion AND m.seq = its_reply) IS NOT NULL)
$$;

-- Stores a batch of messages: the one way in for REST and sockets (group commit). Refusals leave the others
-- alone. No two sends of a batch may have the same sender and either discussion and client_id, or an
-- attachment in common. Attachments come as an array literal per send, or null; all null if no send has any.
-- Returns lines: first a digit per send in order, 1 if it was stored now and else 0; then the event of each
-- 1, as announced; then for each 0 a message's JSON if the same client_id had stored it before, else the code
-- of the refusal.
--
-- The discussions' locks come first: seq = last + 1 has neither holes nor collisions, and a membership that
-- is looked at here cannot end before the message's event. The log's lock is taken only when all has been
-- looked at, so that batches of other discussions get so far while this one is being flushed to disk: a
-- sub-select that needs no row's values is carried out once, when the first row to be inserted needs it. The
-- plans are made once per connection: with plans made for each batch, most of the time went into planning.
-- One message alone has a statement of its own, which is set up for less than half.
CREATE OR REPLACE FUNCTION send_messages(
  session_ids uuid[], sender_ids uuid[], discussion_ids uuid[], contents text[], client_ids text[],
  reply_to_seqs bigint[], attachment_lists text[]
) RETURNS text LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
  locked text := lock_discussions(discussion_ids)::text;
  held boolean[] := CASE WHEN attachment_lists IS NOT NULL
    THEN hold_attachments(sender_ids, attachment_lists) END;
  accepted text;
  answer text;
BEGIN
  IF cardinality(discussion_ids) = 1 THEN
    INSERT INTO messages (position, discussion_id, seq, sender_id, content, client_id, reply_to_seq, mentions,
      attachment_ids)
    SELECT lock_log() + 1, discussion_ids[1], a.next_seq, sender_ids[1], contents[1], client_ids[1],
      reply_to_seqs[1], mentioned_ids(discussion_ids[1], contents[1]),
      coalesce(attachment_lists[1]::uuid[], '{}')
    FROM admission(session_ids[1], sender_ids[1], discussion_ids[1], client_ids[1], reply_to_seqs[1]) AS a
    WHERE coalesce(held[1], true);
    accepted := CASE WHEN FOUND THEN '1' ELSE '0' END;
  ELSE
    WITH judged AS MATERIALIZED (
      SELECT s.*, a.next_seq
      FROM unnest(session_ids, sender_ids, discussion_ids, contents, client_ids, reply_to_seqs,
          attachment_lists, held)
        WITH ORDINALITY AS s (session_id, sender_id, discussion_id, content, client_id, reply_to_seq,
          attachment_list, is_held, ordinal)
      LEFT JOIN LATERAL admission(session_id, sender_id, discussion_id, client_id, reply_to_seq) AS a
        ON coalesce(is_held, true)
    ), inserted AS (
      INSERT INTO messages
        (position, discussion_id, seq, sender_id, content, client_id, reply_to_seq, mentions, attachment_ids)
      SELECT (SELECT lock_log()) + row_number() OVER (ORDER BY ordinal), discussion_id,
        next_seq - 1 + row_number() OVER (PARTITION BY discussion_id ORDER BY ordinal),
        sender_id, content, client_id, reply_to_seq, mentioned_ids(discussion_id, content),
        coalesce(attachment_list::uuid[], '{}')
      FROM judged WHERE next_seq IS NOT NULL ORDER BY ordinal
    )
    SELECT string_agg(CASE WHEN next_seq IS NULL THEN '0' ELSE '1' END, '' ORDER BY ordinal)
    INTO accepted FROM judged;
  END IF;
  IF attachment_lists IS NOT NULL THEN
    locked := claim_attachments(length(replace(accepted, '0', '')))::text;
  END IF;
  answer := accepted;
  IF accepted LIKE '%1%' THEN
    answer := answer || E'\n' || current_setting('parley.appended');
  END IF;
  IF accepted LIKE '%0%' THEN
    answer := answer || E'\n' || (
      SELECT string_agg(refusal(session_id, sender_id, discussion_id, content, client_id, reply_to_seq,
        coalesce(attachment_list::uuid[], '{}')), E'\n' ORDER BY ordinal)
      FROM unnest(session_ids, sender_ids, discussion_ids, contents, client_ids, reply_to_seqs,
          attachment_lists)
        WITH ORDINALITY AS s (session_id, sender_id, discussion_id, content, client_id, reply_to_seq,
          attachment_list, ordinal)
      WHERE substr(accepted, ordinal::int, 1) = '0');
  END IF;
  RETURN answer;
END
$$;

-- Until commit nobody else sends or removes those of the named attachments that are not sent yet. Tells for
-- each send whether all that it names are so, and its sender's. Comes after the discussions' locks, and
-- before the log's.
CREATE OR REPLACE FUNCTION hold_attachments(sender_ids uuid[], attachment_lists text[]) RETURNS boolean[]
LANGUAGE plpgsql AS $$
BEGIN
  PERFORM FROM attachments AS a
  WHERE a.id IN (SELECT unnest(list::uuid[]) FROM unnest(attachment_lists) AS list)
    AND a.discussion_id IS NULL
  ORDER BY a.id FOR NO KEY UPDATE;
  RETURN (
    SELECT array_agg(s.list IS NULL OR cardinality(s.list::uuid[]) = (
      SELECT count(*) FROM attachments AS a
      WHERE a.id = ANY (s.list::uuid[]) AND a.user_id = s.sender_id AND a.discussion_id IS NULL
    ) ORDER BY s.ordinal)
    FROM unnest(sender_ids, attachment_lists) WITH ORDINALITY AS s (sender_id, list, ordinal)
  );
END
$$;

-- Gives the attachments of the last `count` messages to them. Under the log's lock, those are our own.
CREATE OR REPLACE FUNCTION claim_attachments(count int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  UPDATE attachments AS a SET discussion_id = m.discussion_id, seq = m.seq
  FROM messages AS m
  WHERE m.position > (SELECT max(position) FROM messages) - count AND a.id = ANY (m.attachment_ids);
END
$$;

-- Why a send is not stored: the JSON of the message that the same client_id had stored before, or a code.
CREATE OR REPLACE FUNCTION refusal(
  of_session uuid, of_sender uuid, of_discussion uuid, its_content text, its_client_id text, its_reply bigint,
  its_attachments uuid[]
) RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
  stored messages;
BEGIN
  IF NOT is_live(of_session, of_sender) THEN
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
    WHEN NOT FOUND AND is_blocked(of_discussion, of_sender) THEN 'blocked'
    -- What is in the same batch was not there yet when this one was looked at: if nothing is wrong with its
    -- attachments, that was it.
    WHEN NOT FOUND AND (
      its_reply NOT BETWEEN 1 AND last_seq(of_discussion)
      OR cardinality(its_attachments) = (
        SELECT count(*) FROM attachments AS a
        WHERE a.id = ANY (its_attachments) AND a.user_id = of_sender AND a.discussion_id IS NULL)
    ) THEN 'reply_not_found'
    WHEN NOT FOUND THEN 'attachment_not_found'
    -- What it said is not known any more.
    WHEN stored.deleted_at IS NOT NULL THEN message_json(stored)
    WHEN (first_content(stored), stored.reply_to_seq, stored.attachment_ids)
      IS NOT DISTINCT FROM (its_content, its_reply, its_attachments) THEN message_json(stored)
    ELSE 'client_id_reused'
  END;
END
$$;

-- What a message said when it was sent.
CREATE OR REPLACE FUNCTION first_content(m messages) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT coalesce((SELECT e.content FROM message_edits AS e
    WHERE e.discussion_id = m.discussion_id AND e.seq = m.seq AND e.version = 1), m.content)
$$;
