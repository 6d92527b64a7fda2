-- Up Migration

-- What search looks through: the words of each message, written some time after it was sent by
-- index_messages(). How it works: docs/search.md. Why it is so: docs/decisions/0010-search.md.

-- Messages whose events were pruned before they had positions get some before all others, by age, as search
-- goes by positions. For the log nothing changes: they are before its pruned end.
UPDATE messages AS m SET position = -n.place
FROM (
  SELECT discussion_id, seq, row_number() OVER (ORDER BY created_at DESC, discussion_id, seq DESC) AS place
  FROM messages WHERE position IS NULL
) AS n
WHERE m.discussion_id = n.discussion_id AND m.seq = n.seq;

-- A text as it is searched: small letters without accents, words between single spaces, a space at each end.
-- It does not look at the database's locale: every installation finds the same, and an index may rest on it.
-- After a change of this function or of search_keys() all documents must be made anew.
CREATE FUNCTION search_words(content text) RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
  folded text := lower(content COLLATE "C"); -- of ASCII alone
BEGIN
  IF octet_length(folded) > char_length(folded) THEN
    folded := lower(regexp_replace(normalize(content, NFKD), '[\u0300-\u036F]+', '', 'g') COLLATE "C");
    IF folded ~ '[\u00C0-\u058F\u1E9E]' THEN
      folded := replace(translate(folded,
        'ΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩς' || 'АБВГДЕЖЗИКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯЂЄЅІЈЉЊЋЏҐ'
          || 'ԱԲԳԴԵԶԷԸԹԺԻԼԽԾԿՀՁՂՃՄՅՆՇՈՉՊՋՌՍՎՏՐՑՒՓՔՕՖ' || 'ÆŒÞĦŊŦẞÐĐðđØøŁłı',
        'αβγδεζηθικλμνξοπρστυφχψωσ' || 'абвгдежзиклмнопрстуфхцчшщъыьэюяђєѕіјљњћџґ'
          || 'աբգդեզէըթժիլխծկհձղճմյնշոչպջռսվտրցւփքօֆ' || 'æœþħŋŧßddddoolli'),
        'ß', 'ss');
    END IF;
    folded := normalize(folded, NFKC);
  END IF;
  RETURN regexp_replace(' ' || folded || ' ',
    '[^0-9a-z\u00C0-\u1FFF\u2070-\u2DFF\u2E80-\u2FFF\u3005-\u3007\u3021-\U0010FFFF]+', ' ', 'g');
END
$$;

-- What a text is found by. All keys begin with the number of a segment (65,536 documents that were made one
-- after the other), so that one index serves as many, and the newest can be asked first:
--   segment:abc  three letters of a word; "segment: ab" the start of one; "segment: a " a word of one letter;
--   segment:中   a character from U+0E00 on (Thai, Chinese, Japanese, Korean, emoji …), where words are short
--                and often without spaces between; segment:中国 two of them;
--   segment#…    the discussion; segment@… the sender: the ends of their ids.
-- A text that contains another has all of its keys.
CREATE FUNCTION search_keys(segment bigint, discussion_id uuid, sender_id uuid, words text) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT array[segment || '#' || right(discussion_id::text, 12)]
    || array[segment || '@' || right(sender_id::text, 12)]
    || array_agg(segment || ':' || a || b || c)
      FILTER (WHERE a >= ' ' AND b > ' ' AND (c > ' ' OR a = ' ' AND c = ' ')
        AND a < U&'\0E00' AND b < U&'\0E00' AND c < U&'\0E00')
    || array_agg(segment || ':' || a) FILTER (WHERE a >= U&'\0E00')
    || array_agg(segment || ':' || a || b) FILTER (WHERE a >= U&'\0E00' AND b >= U&'\0E00')
  FROM string_to_array(words COLLATE "C", NULL) AS given (letters),
    unnest(letters, letters[2:], letters[3:]) AS place (a, b, c)
$$;

-- One row per message, also of those without words: what is not here came after the last one that is.
CREATE TABLE search_documents (
  discussion_id uuid NOT NULL,
  seq           bigint NOT NULL,
  position      bigint NOT NULL,
  -- 1, 2, 3 … by position; a segment is place / 65,536.
  place         bigint NOT NULL,
  sender_id     uuid NOT NULL,
  -- Empty for a deleted message.
  words         text COLLATE "C" NOT NULL,
  PRIMARY KEY (discussion_id, seq)
);
CREATE UNIQUE INDEX search_documents_position_key ON search_documents (position) INCLUDE (place);
CREATE INDEX search_documents_keys_idx ON search_documents
  USING gin (search_keys(place >> 16, discussion_id, sender_id, words))
  -- In kilobytes: what waits to be sorted in, and every search reads through in each segment. With 4 MB, the
  -- default, searching costs up to 30 ms more; with less than this, indexing costs more.
  WITH (gin_pending_list_limit = 512);
-- ANALYZE would make the keys of thousands of documents again, to learn nothing that is used.
ALTER INDEX search_documents_keys_idx ALTER COLUMN 1 SET STATISTICS 0;
ALTER TABLE search_documents SET (autovacuum_vacuum_insert_scale_factor = 0.05);
