-- What makes a discussion the same as another: see the column discussions.identity. Null for a group of more
-- members than one call can name.
CREATE OR REPLACE FUNCTION discussion_identity(kind text, name text, member_ids uuid[]) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE WHEN cardinality(member_ids) <= 101 THEN kind || ':' || encode(sha256(convert_to(
    (SELECT string_agg(id::text, ',' ORDER BY id) FROM (SELECT DISTINCT unnest(member_ids) AS id) AS ids)
      || E'\n' || coalesce(name, ''), 'UTF8')), 'hex') END
$$;

-- Creates a discussion, or finds the one with the same identity. The unique constraint decides between
-- concurrent creators: the loser's INSERT waits for the winner's commit and then does nothing.
CREATE OR REPLACE FUNCTION open_discussion(
  of_kind text, with_name text, with_visibility text, creator_id uuid, other_ids uuid[]
) RETURNS TABLE (id uuid, created boolean) LANGUAGE plpgsql AS $$
DECLARE
  member_ids uuid[] := array(SELECT DISTINCT unnest(creator_id || other_ids));
  its_identity text := discussion_identity(of_kind, with_name, member_ids);
  its_id uuid;
BEGIN
  IF of_kind = 'direct' THEN
    PERFORM lock_pair(its_identity);
    IF EXISTS (SELECT FROM blocks AS b WHERE b.blocker_id = ANY (other_ids) AND b.blocked_id = creator_id)
      AND NOT EXISTS (SELECT FROM discussions AS d WHERE d.identity = its_identity) THEN
      RAISE check_violation USING MESSAGE = 'blocked by the other', CONSTRAINT = 'discussions_not_blocked';
    END IF;
  END IF;
  FOR attempt IN 1 .. 3 LOOP
    INSERT INTO discussions (kind, name, visibility, identity, created_by)
    VALUES (of_kind, with_name, with_visibility, its_identity, creator_id)
    ON CONFLICT (identity) DO NOTHING RETURNING discussions.id INTO its_id;
    IF its_id IS NOT NULL THEN
      INSERT INTO members (discussion_id, user_id, role, blocked)
      SELECT its_id, m, CASE WHEN m = creator_id AND of_kind = 'group' THEN 'owner' ELSE 'member' END,
        of_kind = 'direct' AND EXISTS (
          SELECT FROM blocks AS b WHERE b.blocker_id = ANY (member_ids) AND b.blocked_id = m)
      FROM unnest(member_ids) AS m ORDER BY m <> creator_id, m;
      RETURN QUERY SELECT its_id, true;
      RETURN;
    END IF;
    RETURN QUERY SELECT d.id, false FROM discussions AS d WHERE d.identity = its_identity;
    IF FOUND THEN
      RETURN;
    END IF;
    -- It was deleted, or became another group, between the two statements: again.
  END LOOP;
  RAISE EXCEPTION 'the discussion changed too often' USING ERRCODE = 'serialization_failure';
END
$$;

-- Gives a group that changes its name or members the identity that it will have; null if another group has
-- it already (two groups may grow alike, but are not made one). Called before the change, while no log lock
-- is held, as it may wait for a concurrent creator.
CREATE OR REPLACE FUNCTION set_group_identity(
  of_discussion uuid, with_name text, added uuid[], removed uuid[]
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  member_ids uuid[] := array(
    SELECT m.user_id FROM members AS m WHERE m.discussion_id = of_discussion AND m.user_id <> ALL (removed)
    UNION SELECT unnest(added)
    LIMIT 102
  );
BEGIN
  UPDATE discussions SET identity = discussion_identity('group', with_name, member_ids)
  WHERE id = of_discussion;
EXCEPTION WHEN unique_violation THEN
  UPDATE discussions SET identity = NULL WHERE id = of_discussion;
END
$$;

-- Until commit nobody else begins a one-to-one discussion of these two, or blocks one for the other: the
-- members' column `blocked` then always says what the table blocks says. Comes before the discussions' locks.
CREATE OR REPLACE FUNCTION lock_pair(its_identity text) RETURNS void LANGUAGE sql AS $$
  SELECT pg_advisory_xact_lock((log_lock_key() + 1)::int, hashtext(its_identity))
$$;

-- Carries a block over to the one-to-one discussion of the two, if there is one. Under its lock, no message
-- that is being stored comes after the block.
CREATE OR REPLACE FUNCTION blocks_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  block blocks := CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
  its_identity text := discussion_identity('direct', NULL, ARRAY[block.blocker_id, block.blocked_id]);
  its_id uuid;
BEGIN
  SELECT d.id INTO its_id FROM discussions AS d WHERE d.identity = its_identity;
  IF its_id IS NOT NULL THEN
    PERFORM lock_discussions(ARRAY[its_id]);
    UPDATE members AS m SET blocked = TG_OP = 'INSERT'
    WHERE m.discussion_id = its_id AND m.user_id = block.blocked_id;
  END IF;
  RETURN NULL;
END
$$;
CREATE OR REPLACE FUNCTION blocks_changing() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  block blocks := CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
BEGIN
  PERFORM lock_pair(discussion_identity('direct', NULL, ARRAY[block.blocker_id, block.blocked_id]));
  RETURN block;
END
$$;
CREATE OR REPLACE TRIGGER blocks_changing BEFORE INSERT OR DELETE ON blocks
  FOR EACH ROW EXECUTE FUNCTION blocks_changing();
CREATE OR REPLACE TRIGGER blocks_changed AFTER INSERT OR DELETE ON blocks
  FOR EACH ROW EXECUTE FUNCTION blocks_changed();
