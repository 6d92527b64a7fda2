-- What the servers' role may do, if servers do not connect as the owner of the schema: what their statements
-- need, and nothing else. See docs/database-role.md. First by hand, as the owner:
--
--   psql "$MIGRATE_DATABASE_URL" -1 -v ON_ERROR_STOP=1 -v role=parley_app -f sql/grants.sql
--
-- From then on migrate() does it, for each role that has these rights, in the transaction that replaces the
-- functions: servers that run meanwhile never find a function that they may not call. As older servers run
-- beside newer functions, a right goes one version after the last statement that needs it.
--
-- tests/roles.test.ts knows every right by this file: one that is missing here, or that no statement needs,
-- fails. Triggers' functions need no right of their own, and foreign keys act as the owner.

-- First nothing; also not by PUBLIC, which may make temporary tables by default. Whatever else is in the
-- schema, by another owner or of an extension, is left alone: to revoke what one has no right to is an error.
-- The body of a DO knows no variables, but settings.
SELECT set_config('parley.role', :'role', true);
DO $$
DECLARE
  role text := current_setting('parley.role');
  thing text;
BEGIN
  FOR thing IN
    WITH things AS (
      SELECT 'pg_class'::regclass AS class, oid, format('TABLE %s', oid::regclass) AS name, relowner AS owner
      FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
      UNION ALL
      SELECT 'pg_proc'::regclass, oid, format('ROUTINE %s', oid::regprocedure), proowner
      FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    )
    SELECT t.name FROM things AS t
    WHERE t.owner IN (quote_ident(current_user)::regrole,
        (SELECT relowner FROM pg_class WHERE oid = 'events'::regclass))
      AND NOT EXISTS (
        SELECT FROM pg_depend AS d WHERE d.classid = t.class AND d.objid = t.oid AND d.deptype = 'e')
  LOOP
    EXECUTE format('REVOKE ALL ON %s FROM %I', thing, role);
  END LOOP;
END
$$;
REVOKE ALL ON SCHEMA public FROM :"role";
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
REVOKE ALL ON DATABASE :"DBNAME" FROM :"role";
REVOKE TEMPORARY ON DATABASE :"DBNAME" FROM PUBLIC;

GRANT CONNECT ON DATABASE :"DBNAME" TO :"role";
GRANT USAGE ON SCHEMA public TO :"role";

-- Whether the schema is that of the program, at each start.
GRANT SELECT (name) ON migrations TO :"role";
GRANT SELECT (hash) ON function_texts TO :"role";
GRANT SELECT (hash, place) ON function_versions TO :"role";
-- Whether the log is where it was when it last served.
GRANT SELECT, INSERT ON log_home TO :"role";
GRANT UPDATE (home) ON log_home TO :"role";

-- Columns that are not named are set by defaults and triggers, and never again: nobody gets another id, no
-- message another sender, and no event another position. Accounts are emptied, not deleted.
GRANT SELECT ON users TO :"role";
GRANT INSERT (username, display_name, email, password_hash) ON users TO :"role";
GRANT UPDATE (username, display_name, email, password_hash, status_text, erased_at) ON users TO :"role";

GRANT SELECT, DELETE ON sessions TO :"role";
GRANT INSERT (user_id, cookie_hash, user_agent, expires_at) ON sessions TO :"role";
GRANT UPDATE (used_at, expires_at, revoked_at) ON sessions TO :"role";

GRANT SELECT, DELETE ON refresh_tokens TO :"role";
GRANT INSERT (token_hash, session_id, expires_at) ON refresh_tokens TO :"role";
GRANT UPDATE (used_at) ON refresh_tokens TO :"role";

GRANT SELECT, INSERT, DELETE ON tickets TO :"role";

GRANT SELECT, DELETE ON discussions TO :"role";
GRANT INSERT (kind, name, visibility, identity, created_by) ON discussions TO :"role";
GRANT UPDATE (name, visibility, identity) ON discussions TO :"role";

GRANT SELECT, DELETE ON members TO :"role";
GRANT INSERT (discussion_id, user_id, role, last_read_seq, blocked) ON members TO :"role";
GRANT UPDATE (role, last_read_seq, muted_until, blocked) ON members TO :"role";

GRANT SELECT, DELETE ON messages TO :"role";
GRANT INSERT (
  position, discussion_id, seq, sender_id, content, client_id, reply_to_seq, mentions, attachment_ids
) ON messages TO :"role";
GRANT UPDATE (content, mentions, deleted_at) ON messages TO :"role";

GRANT SELECT, INSERT, DELETE ON message_edits TO :"role";
GRANT SELECT, DELETE ON reactions TO :"role";
GRANT INSERT (discussion_id, seq, emoji, user_id) ON reactions TO :"role";
GRANT SELECT, DELETE ON blocks TO :"role";
GRANT INSERT (blocker_id, blocked_id) ON blocks TO :"role";

-- Events are appended, emptied when their message goes, and deleted when they are past the retention. Who may
-- append is a server's role: by this, migrate() finds them.
GRANT SELECT, INSERT, DELETE ON events TO :"role";
GRANT UPDATE (type, data, seq) ON events TO :"role";
GRANT SELECT ON log_events TO :"role";
GRANT SELECT ON log_epoch TO :"role";
GRANT UPDATE (epoch, pruned_to) ON log_epoch TO :"role";

GRANT SELECT, DELETE ON discussion_removals TO :"role";
GRANT INSERT (discussion_id) ON discussion_removals TO :"role";
GRANT UPDATE (erased_to, removed_to) ON discussion_removals TO :"role";

GRANT SELECT, INSERT, DELETE ON search_documents TO :"role";
GRANT UPDATE (words) ON search_documents TO :"role";

GRANT SELECT, DELETE ON attachments TO :"role";
GRANT INSERT (id, user_id, name, media_type, size, width, height, storage) ON attachments TO :"role";
GRANT UPDATE (discussion_id, seq) ON attachments TO :"role";
GRANT SELECT, INSERT ON attachment_thumbnails TO :"role";
GRANT SELECT, INSERT, DELETE ON attachment_chunks TO :"role";
GRANT SELECT, INSERT, DELETE ON attachment_removals TO :"role";
GRANT UPDATE (due_at, uploading) ON attachment_removals TO :"role";
GRANT SELECT, INSERT, DELETE ON avatars TO :"role";
GRANT UPDATE (image) ON avatars TO :"role";

GRANT SELECT, INSERT, DELETE ON instances TO :"role";
GRANT UPDATE (expires_at) ON instances TO :"role";
GRANT SELECT, INSERT, DELETE ON presences TO :"role";
GRANT SELECT, INSERT, DELETE ON last_seen TO :"role";
GRANT UPDATE (at) ON last_seen TO :"role";

-- By the library rate-limiter-flexible.
GRANT SELECT, INSERT, DELETE ON rate_limits TO :"role";
GRANT UPDATE (points, expire) ON rate_limits TO :"role";

-- Functions run with the rights of whoever calls them, and so do those that they call.
GRANT EXECUTE ON FUNCTION
  uuid7, wire_time,
  -- 01_shapes
  user_json, attachment_json, attachments_json, message_json(messages), message_json(messages, text),
  reactions_json, new_message_data, event_data, effective_last_read_seq, member_json, first_members_json,
  last_seq, event_discussion_json, log_cursor,
  -- 02_log
  first_seq_after, is_after, log_place, renew_epoch, settle_log, log_lock_key, lock_log, lock_discussions,
  append_events, event_line, announce_events, announce_range,
  -- 03_triggers
  message_line, is_large,
  -- 04_send_messages
  find_mentioned, mentioned_ids, admission, send_messages, hold_attachments, claim_attachments, refusal,
  first_content,
  -- 05_reads
  me_json, session_json, discussion_title, unread_count, discussion_json, standing, is_live, is_blocked,
  -- 06_open_discussion
  discussion_identity, open_discussion, set_group_identity, lock_pair,
  -- 07_changes
  reaction_drafts, act_refusal, edit_message, delete_message, change_reaction, edit_json, mark_read,
  -- 08_search: the index on documents calls search_keys()
  search_words, search_keys, search_lock_key, index_messages, search_patterns, search_rank,
  search_question_keys, search_messages,
  -- 09_attachments
  erase_attachments,
  -- 10_presence
  last_said, shows_presence, shares_presence, presence_of, presence_lock_key, lock_presences, note_seen,
  announce_presences, change_presences, restore_presences, renew_instance, leave_instance,
  -- 11_erase_user
  has_others, discussions_to_leave, leave_discussions, erase_user,
  -- 12_removals
  empty_discussion, remove_deleted
TO :"role";

-- For servers of the version before, which may still run.
GRANT EXECUTE ON FUNCTION erase_events, set_reaction TO :"role";

-- PUBLIC may call every function by default: not those above, nor those of triggers on the tables above.
-- Other functions of the same owner are not ours.
DO $$
DECLARE
  role text := current_setting('parley.role');
  ours regprocedure;
BEGIN
  FOR ours IN
    SELECT p.oid FROM pg_proc AS p
    WHERE p.pronamespace = 'public'::regnamespace
      AND p.proowner IN (quote_ident(current_user)::regrole,
        (SELECT relowner FROM pg_class WHERE oid = 'events'::regclass))
      AND (EXISTS (SELECT FROM aclexplode(p.proacl) AS a WHERE a.grantee = quote_ident(role)::regrole)
        OR EXISTS (
          SELECT FROM pg_trigger AS t
          WHERE t.tgfoid = p.oid AND has_any_column_privilege(role, t.tgrelid, 'SELECT')))
  LOOP
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', ours);
  END LOOP;
END
$$;
