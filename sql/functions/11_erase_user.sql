-- Erasing an account, in steps that are a transaction each: it leaves its discussions, some at a time, then
-- it is emptied. Nothing remains of the person but messages, reactions and one-to-one discussions, by a user
-- without a name.

-- Erased accounts do not count: nobody else can read what such a discussion holds.
CREATE OR REPLACE FUNCTION has_others(of_discussion uuid, than_user uuid) RETURNS boolean
LANGUAGE sql STABLE AS $$
  SELECT EXISTS (
    SELECT FROM members AS m JOIN users AS u ON u.id = m.user_id
    WHERE m.discussion_id = of_discussion AND m.user_id <> than_user AND u.erased_at IS NULL)
$$;

-- What a user who goes has to leave: groups, and discussions with nobody else.
CREATE OR REPLACE FUNCTION discussions_to_leave(leaver uuid) RETURNS SETOF uuid LANGUAGE sql STABLE AS $$
  SELECT m.discussion_id FROM members AS m JOIN discussions AS d ON d.id = m.discussion_id
  WHERE m.user_id = leaver AND (d.kind = 'group' OR NOT has_others(d.id, leaver))
$$;

-- Leaves at most so many and gives how many it was. Groups whose last owner goes get another: the admin, else
-- the member, who is there longest; discussions of nobody else go, small ones at once (empty_discussion()).
-- First all that may have to wait for somebody (see lock_log()), then what takes the log's lock.
CREATE OR REPLACE FUNCTION leave_discussions(leaver uuid, most int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  left_ids uuid[] := array(SELECT id FROM discussions_to_leave(leaver) AS id ORDER BY id LIMIT most);
  deserted_ids uuid[];
  deserted_id uuid;
  emptied_most int := 2000; -- as one deletion does: removalStep of server/limits.ts, too
  heirs members[];
BEGIN
  PERFORM FROM discussions AS d WHERE d.id = ANY (left_ids) ORDER BY d.id FOR NO KEY UPDATE;
  PERFORM lock_discussions(left_ids);
  deserted_ids := array(SELECT id FROM unnest(left_ids) AS id WHERE NOT has_others(id, leaver));
  heirs := array(
    SELECT heir FROM unnest(left_ids) AS id CROSS JOIN LATERAL (
      SELECT h FROM members AS h WHERE h.discussion_id = id AND h.user_id <> leaver
      ORDER BY h.role = 'admin' DESC, h.joined_at, h.user_id LIMIT 1
    ) AS first (heir)
    WHERE id <> ALL (deserted_ids) AND NOT EXISTS (
      SELECT FROM members AS o WHERE o.discussion_id = id AND o.user_id <> leaver AND o.role = 'owner'));
  PERFORM FROM members AS m
  WHERE m.discussion_id = ANY (left_ids) AND (m.user_id = leaver
    OR EXISTS (
      SELECT FROM unnest(heirs) AS h WHERE h.discussion_id = m.discussion_id AND h.user_id = m.user_id))
  ORDER BY m.discussion_id, m.user_id FOR UPDATE;
  PERFORM set_group_identity(d.id, d.name, '{}', ARRAY[leaver]) FROM discussions AS d
  WHERE d.id = ANY (left_ids) AND d.id <> ALL (deserted_ids);
  FOR deserted_id IN SELECT id FROM unnest(deserted_ids) AS id ORDER BY last_seq(id) LOOP
    EXIT WHEN emptied_most <= 0;
    emptied_most := emptied_most - empty_discussion(deserted_id, emptied_most);
  END LOOP;

  UPDATE members AS m SET role = 'owner' FROM unnest(heirs) AS h
  WHERE m.discussion_id = h.discussion_id AND m.user_id = h.user_id;
  DELETE FROM discussions AS d WHERE d.id = ANY (deserted_ids);
  DELETE FROM members AS m WHERE m.user_id = leaver AND m.discussion_id = ANY (left_ids);
  RETURN cardinality(left_ids);
END
$$;

-- 'erased'; or 'wrong' if the password is not that one any more, or 'again' if somebody has added the user to
-- a group in the meantime. Whoever does that right now waits for the user's row, then finds it erased.
CREATE OR REPLACE FUNCTION erase_user(erased_id uuid, current_hash text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  PERFORM FROM users AS u
  WHERE u.id = erased_id AND u.password_hash = current_hash AND u.erased_at IS NULL FOR UPDATE;
  IF NOT FOUND THEN
    RETURN 'wrong';
  END IF;
  IF EXISTS (SELECT FROM discussions_to_leave(erased_id)) THEN
    RETURN 'again';
  END IF;
  UPDATE users AS u SET username = 'deleted-' || substr(md5(gen_random_uuid()::text), 1, 24),
    display_name = 'Deleted user', email = NULL, password_hash = '', status_text = '', erased_at = now()
  WHERE u.id = erased_id;
  UPDATE sessions AS s SET revoked_at = now() WHERE s.user_id = erased_id AND s.revoked_at IS NULL;
  RETURN 'erased';
END
$$;
