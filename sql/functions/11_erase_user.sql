-- Erases an account: nothing remains of the person but messages, reactions and one-to-one discussions, by a
-- user without a name. Groups whose last owner goes get another: the admin, else the member, who is there
-- longest; groups of nobody else go. Under the locks of all the discussions that it leaves. False if the
-- password is not that one any more.
CREATE OR REPLACE FUNCTION erase_user(erased_id uuid, current_hash text) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
  left_ids uuid[];
  deserted_ids uuid[];
  left_id uuid;
BEGIN
  -- Who adds the person somewhere right now waits for this row, then finds it erased.
  PERFORM FROM users AS u
  WHERE u.id = erased_id AND u.password_hash = current_hash AND u.erased_at IS NULL FOR UPDATE;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  DELETE FROM blocks AS b WHERE b.blocker_id = erased_id OR b.blocked_id = erased_id;
  left_ids := array(
    SELECT m.discussion_id FROM members AS m JOIN discussions AS d ON d.id = m.discussion_id
    WHERE m.user_id = erased_id AND (d.kind = 'group' OR NOT has_others(d.id, erased_id)));
  PERFORM lock_discussions(left_ids);
  deserted_ids := array(SELECT id FROM unnest(left_ids) AS id WHERE NOT has_others(id, erased_id));
  UPDATE members AS m SET role = 'owner'
  FROM unnest(left_ids) AS l (id) CROSS JOIN LATERAL (
    SELECT h.user_id FROM members AS h WHERE h.discussion_id = l.id AND h.user_id <> erased_id
    ORDER BY h.role = 'admin' DESC, h.joined_at, h.user_id LIMIT 1
  ) AS heir
  WHERE m.discussion_id = l.id AND m.user_id = heir.user_id AND NOT EXISTS (
    SELECT FROM members AS o WHERE o.discussion_id = l.id AND o.user_id <> erased_id AND o.role = 'owner');
  FOREACH left_id IN ARRAY left_ids LOOP
    PERFORM set_group_identity(d.id, d.name, '{}', ARRAY[erased_id]) FROM discussions AS d
    WHERE d.id = left_id AND d.id <> ALL (deserted_ids);
  END LOOP;
  DELETE FROM messages AS m WHERE m.discussion_id = ANY (deserted_ids);
  PERFORM erase_events(deserted_ids);
  DELETE FROM discussions AS d WHERE d.id = ANY (deserted_ids);
  DELETE FROM members AS m WHERE m.user_id = erased_id AND m.discussion_id = ANY (left_ids);
  UPDATE sessions AS s SET revoked_at = now() WHERE s.user_id = erased_id AND s.revoked_at IS NULL;
  UPDATE users AS u SET username = 'deleted-' || substr(md5(gen_random_uuid()::text), 1, 24),
    display_name = 'Deleted user', email = NULL, password_hash = '', status_text = '', erased_at = now()
  WHERE u.id = erased_id;
  RETURN true;
END
$$;

CREATE OR REPLACE FUNCTION has_others(of_discussion uuid, than_user uuid) RETURNS boolean
LANGUAGE sql STABLE AS $$
  SELECT EXISTS (SELECT FROM members AS m WHERE m.discussion_id = of_discussion AND m.user_id <> than_user)
$$;
