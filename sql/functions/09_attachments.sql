-- Attachments go with their message, in its transaction and whatever ends it. So do the bytes that stand in
-- the database, when one message is deleted (100 MiB take 0.1 s). What is larger, or belongs to a whole
-- discussion, may be more than one transaction should carry while it holds locks that others wait for: nobody
-- can reach it any more, and it is removed with what other storages hold (attachment_removals).

CREATE OR REPLACE FUNCTION attachments_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO attachment_removals (attachment_id, storage, due_at) SELECT o.id, o.storage, now()
  FROM old_rows AS o ON CONFLICT (attachment_id) DO UPDATE SET due_at = excluded.due_at;
  RETURN NULL;
END
$$;
CREATE OR REPLACE TRIGGER attachments_deleted AFTER DELETE ON attachments
  REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION attachments_deleted();

CREATE OR REPLACE FUNCTION erase_attachments(ids uuid[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  total_bytes bigint;
BEGIN
  WITH gone AS (DELETE FROM attachments AS a WHERE a.id = ANY (ids) RETURNING a.size)
  SELECT sum(size) INTO total_bytes FROM gone;
  IF total_bytes <= 256 * 1024 * 1024 THEN
    DELETE FROM attachment_chunks AS c WHERE c.attachment_id = ANY (ids);
  END IF;
END
$$;

-- By row, as only rows with attachments need it; rows' triggers come before those of the statement, which
-- take the log's lock.
CREATE OR REPLACE FUNCTION attachments_released() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'UPDATE' THEN
    PERFORM erase_attachments(OLD.attachment_ids);
  ELSE
    DELETE FROM attachments AS a WHERE a.id = ANY (OLD.attachment_ids);
  END IF;
  RETURN NULL;
END
$$;
CREATE OR REPLACE TRIGGER attachments_released_by_update AFTER UPDATE ON messages FOR EACH ROW
  WHEN (OLD.attachment_ids <> '{}' AND NEW.attachment_ids = '{}') EXECUTE FUNCTION attachments_released();
CREATE OR REPLACE TRIGGER attachments_released_by_delete AFTER DELETE ON messages FOR EACH ROW
  WHEN (OLD.attachment_ids <> '{}') EXECUTE FUNCTION attachments_released();

-- Of an erased account stays what its messages carry. What is being sent right now is held by its send, which
-- waits for the log's lock, which we have: it is left alone.
CREATE OR REPLACE FUNCTION attachments_user_erased() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM avatars AS v WHERE v.user_id = NEW.id;
  PERFORM erase_attachments(array(
    SELECT a.id FROM attachments AS a WHERE a.user_id = NEW.id AND a.discussion_id IS NULL
    FOR UPDATE SKIP LOCKED));
  RETURN NULL;
END
$$;
CREATE OR REPLACE TRIGGER attachments_user_erased AFTER UPDATE ON users FOR EACH ROW
  WHEN (NEW.erased_at IS NOT NULL AND OLD.erased_at IS NULL) EXECUTE FUNCTION attachments_user_erased();
