-- Search; see migrations/0008_search.sql for what a document is, and docs/search.md for how it all works.

-- Held by whoever makes documents. Those who change a message that has none yet hold it shared, until commit.
CREATE OR REPLACE FUNCTION search_lock_key() RETURNS bigint LANGUAGE sql IMMUTABLE AS $$ SELECT 5521863 $$;

-- Makes documents of the messages that come next in the log, and returns of how many; null: somebody else is
-- at it, or is changing a message that may be among them. Messages are read after the lock is taken, so that
-- a change is either seen here or finds the document.
CREATE OR REPLACE FUNCTION index_messages(most_messages int, most_bytes int) RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
  last search_documents;
  made int;
BEGIN
  IF NOT pg_try_advisory_xact_lock(search_lock_key()) THEN
    RETURN NULL;
  END IF;
  SELECT * INTO last FROM search_documents ORDER BY position DESC LIMIT 1;
  INSERT INTO search_documents (discussion_id, seq, position, place, sender_id, words)
  SELECT n.discussion_id, n.seq, n.position,
    coalesce(last.place, 0) + row_number() OVER (ORDER BY n.position), n.sender_id,
    CASE WHEN n.deleted_at IS NULL AND NOT EXISTS (
        SELECT FROM discussion_removals AS r WHERE r.discussion_id = n.discussion_id)
      THEN search_words(n.content) ELSE '' END
  FROM (
    SELECT m.*,
      sum(octet_length(m.content)) OVER (ORDER BY m.position) - octet_length(m.content) AS bytes_before
    FROM (
      SELECT * FROM messages WHERE position > coalesce(last.position, '-9223372036854775808')
      ORDER BY position LIMIT most_messages
    ) AS m
  ) AS n
  WHERE n.bytes_before <= most_bytes;
  GET DIAGNOSTICS made = ROW_COUNT;
  RETURN made;
END
$$;

-- The words follow the text in the same transaction: what was deleted or said otherwise is found no more.
CREATE OR REPLACE FUNCTION search_message_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  new_words text := CASE WHEN NEW.deleted_at IS NULL THEN search_words(NEW.content) ELSE '' END;
BEGIN
  UPDATE search_documents SET words = new_words WHERE discussion_id = NEW.discussion_id AND seq = NEW.seq;
  IF NOT FOUND THEN
    -- There is none, or somebody is making it of the old text right now: then we wait until that is done.
    PERFORM pg_advisory_xact_lock_shared(search_lock_key());
    UPDATE search_documents SET words = new_words WHERE discussion_id = NEW.discussion_id AND seq = NEW.seq;
  END IF;
  RETURN NULL;
END
$$;
-- A row trigger comes before the triggers of the statement: of these, one takes the log's lock, under which
-- nobody should wait.
CREATE OR REPLACE TRIGGER search_message_changed AFTER UPDATE ON messages FOR EACH ROW
  WHEN ((OLD.content, OLD.deleted_at) IS DISTINCT FROM (NEW.content, NEW.deleted_at))
  EXECUTE FUNCTION search_message_changed();

-- One by one by their keys, however many it are: a plan is kept, and the next deletion may be of one message.
CREATE OR REPLACE FUNCTION search_messages_deleted() RETURNS trigger LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
  found bigint;
BEGIN
  DELETE FROM search_documents AS d USING old_rows AS o
  WHERE d.discussion_id = o.discussion_id AND d.seq = o.seq;
  GET DIAGNOSTICS found = ROW_COUNT;
  IF found < (SELECT count(*) FROM old_rows) THEN
    PERFORM pg_advisory_xact_lock_shared(search_lock_key());
    DELETE FROM search_documents AS d USING old_rows AS o
    WHERE d.discussion_id = o.discussion_id AND d.seq = o.seq;
  END IF;
  RETURN NULL;
END
$$;
CREATE OR REPLACE TRIGGER search_messages_deleted AFTER DELETE ON messages
  REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION search_messages_deleted();

-- What the words and quoted phrases of a question look like in a text: parts of words, but whole words in a
-- phrase; of one or two letters, the beginning of a word, as they are in nearly every text somewhere. From
-- U+0E00 on a text is searched without regard to where a word begins. What is only punctuation is left out.
CREATE OR REPLACE FUNCTION search_patterns(words text[], phrases text[]) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT coalesce(array_agg(DISTINCT pattern), '{}') FROM (
    SELECT CASE
      WHEN given ~ '^ [\u0021-\u0DFF] $' THEN given
      WHEN given ~ '^ [\u0021-\u0DFF]{1,2} ' THEN rtrim(given)
      ELSE btrim(given) END AS pattern
    FROM unnest(words) AS word, search_words(word) AS given WHERE given <> ' '
    UNION ALL
    SELECT regexp_replace(given, '^ (?=[\u0E00-\U0010FFFF])|(?<=[\u0E00-\U0010FFFF]) $', '', 'g')
    FROM unnest(phrases) AS phrase, search_words(phrase) AS given WHERE given <> ' '
  ) AS made
$$;

-- How well a text matches, from 0 to 1,000: first of all whether the patterns are words in it, begin one, or
-- stand within one; then how much of the text they make up.
CREATE OR REPLACE FUNCTION search_rank(words text, patterns text[]) RETURNS int
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
  pattern text;
  bare text;
  quality int := 0;
  matched int := 0;
BEGIN
  FOREACH pattern IN ARRAY patterns LOOP
    bare := btrim(pattern);
    quality := quality + CASE
      WHEN strpos(words, ' ' || bare || ' ') > 0 THEN 800
      WHEN strpos(words, ' ' || bare) > 0 THEN 500
      ELSE 200 END;
    matched := matched + length(words) - length(replace(words, bare, ''));
  END LOOP;
  RETURN quality / cardinality(patterns) + 200 * least(matched, length(words)) / length(words);
END
$$;

-- Of the keys of a question those to ask the index for, without their segment: what a longer key says is not
-- asked twice, and of very many, some from everywhere are enough, as whatever they find is looked at.
CREATE OR REPLACE FUNCTION search_question_keys(patterns text[]) RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
  WITH keys AS (
    SELECT DISTINCT substr(key, 2) AS key
    FROM unnest(search_keys(0, NULL, NULL, array_to_string(patterns, E'\n'))) AS key WHERE key IS NOT NULL
  ), numbered AS (
    SELECT key, row_number() OVER (ORDER BY key) - 1 AS nth, count(*) OVER () AS total FROM keys AS k
    WHERE length(key) > 2 OR NOT EXISTS (
      SELECT FROM keys AS longer WHERE length(longer.key) > 2 AND strpos(longer.key, substr(k.key, 2)) > 0)
  )
  SELECT array_agg(key) FROM numbered WHERE nth % (1 + total / 24) = 0
$$;

-- The newest messages that match all patterns, at most `most`, newest first, of all the reader's discussions
-- or of one of them, of one sender or of all, and of positions from `oldest` to `newest`:
--
-- 1. what has no document yet, by reading it: the newest `most_unindexed` messages of all, and of the
--    reader's among them the newest megabyte;
-- 2. if the reader may see at most `most_read` documents, by reading these;
-- 3. else by the index, one segment after the other, until enough has been found: a word that is in every
--    fifth message is looked for in the newest segment only.
--
-- With `most_scopes` discussions or fewer the index is asked for each of them, so that what is said elsewhere
-- costs nothing. OFFSET 0 and IS TRUE keep the planner, which does not know how frequent a key is, from any
-- other way than the one that is good for every question.
CREATE OR REPLACE FUNCTION search_messages(
  reader uuid, patterns text[], of_discussion uuid, of_sender uuid, oldest bigint, newest bigint, most int,
  most_read int, most_unindexed int
) RETURNS SETOF search_documents
LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
  most_scopes CONSTANT int := 8;
  most_unindexed_bytes CONSTANT int := 1024 * 1024; -- of long texts some 0.2 s
  likes text[] := array(SELECT '%' || p || '%' FROM unnest(patterns) AS p);
  mine uuid[];
  documents bigint;
  indexed_to bigint;
  keys text[];
  scopes text[];
  segment bigint;
  last_segment bigint;
  found int;
  missing int := most;
BEGIN
  SELECT array_agg(me.discussion_id), sum(last.seq) INTO mine, documents
  FROM members AS me CROSS JOIN LATERAL (
    SELECT coalesce((SELECT d.seq FROM search_documents AS d WHERE d.discussion_id = me.discussion_id
      ORDER BY d.seq DESC LIMIT 1), 0) AS seq
  ) AS last
  WHERE me.user_id = reader AND (of_discussion IS NULL OR me.discussion_id = of_discussion);
  IF mine IS NULL OR patterns = '{}' THEN
    RETURN;
  END IF;

  indexed_to := coalesce(
    (SELECT position FROM search_documents ORDER BY position DESC LIMIT 1), '-9223372036854775808');
  RETURN QUERY
  SELECT u.discussion_id, u.seq, u.position, NULL::bigint, u.sender_id, u.words COLLATE "C"
  FROM (
    SELECT own.*, search_words(own.content) AS words FROM (
      SELECT m.*, sum(octet_length(m.content)) OVER (ORDER BY m.position DESC) AS bytes FROM (
        SELECT * FROM messages WHERE position > indexed_to AND position BETWEEN oldest AND newest
        ORDER BY position DESC LIMIT most_unindexed
      ) AS m
      WHERE m.discussion_id IN (SELECT unnest(mine)) AND m.deleted_at IS NULL
        AND (of_sender IS NULL OR m.sender_id = of_sender)
    ) AS own
    WHERE own.bytes <= most_unindexed_bytes
    OFFSET 0
  ) AS u
  WHERE u.words LIKE ALL (likes)
  ORDER BY u.position DESC LIMIT missing;
  GET DIAGNOSTICS found = ROW_COUNT;
  missing := missing - found;

  IF documents <= most_read THEN
    RETURN QUERY
    SELECT d.* FROM unnest(mine) AS my (id)
    CROSS JOIN LATERAL (
      SELECT * FROM search_documents AS d WHERE d.discussion_id = my.id OFFSET 0
    ) AS d
    WHERE d.words LIKE ALL (likes) AND d.position BETWEEN oldest AND newest
      AND (of_sender IS NULL OR d.sender_id = of_sender)
    ORDER BY d.position DESC LIMIT missing;
    RETURN;
  END IF;

  keys := search_question_keys(patterns) || ('@' || right(of_sender::text, 12));
  scopes := CASE WHEN cardinality(mine) <= most_scopes
    THEN array(SELECT DISTINCT '#' || right(id::text, 12) FROM unnest(mine) AS id) ELSE array[NULL] END;
  segment := (SELECT place >> 16 FROM search_documents
    WHERE position <= newest ORDER BY position DESC LIMIT 1);
  last_segment := (SELECT place >> 16 FROM search_documents
    WHERE position >= oldest ORDER BY position LIMIT 1);
  WHILE segment >= last_segment AND missing > 0 LOOP
    RETURN QUERY
    SELECT d.* FROM unnest(scopes) AS scope
    CROSS JOIN LATERAL (
      SELECT * FROM search_documents AS d
      WHERE search_keys(d.place >> 16, d.discussion_id, d.sender_id, d.words)
        @> array(SELECT segment || key FROM unnest(keys || scope) AS key WHERE key IS NOT NULL)
      OFFSET 0
    ) AS d
    WHERE (d.discussion_id IN (SELECT unnest(mine))) IS TRUE AND d.position BETWEEN oldest AND newest
      AND (of_sender IS NULL OR d.sender_id = of_sender) AND d.words LIKE ALL (likes)
    ORDER BY d.position DESC LIMIT missing;
    GET DIAGNOSTICS found = ROW_COUNT;
    missing := missing - found;
    segment := segment - 1;
  END LOOP;
END
$$;
