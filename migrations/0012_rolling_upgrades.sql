-- Up Migration

-- From here on functions are replaced in place while servers use them, and never dropped; see
-- docs/decisions/0017-rolling-upgrades.md. What versions before the last one without this rule left may have
-- other parameters or fields, and goes: the functions are made anew right after this. Nothing goes if the
-- functions are of that last version, whose servers may go on.
DO $$
BEGIN
  IF to_regclass('function_texts') IS NULL THEN
    RETURN;
  END IF;
  IF EXISTS (SELECT FROM function_texts
    WHERE hash = 'a9fd59f5dfbbd385aed4f2250679f43bfafbf4de19aab3165ff89f25dff7a110') THEN
    RETURN;
  END IF;
  DROP VIEW IF EXISTS log_events;
  DROP TYPE IF EXISTS user_shape, member_shape, event_discussion_shape, event_draft, me_shape, session_shape,
    discussion_shape, edit_shape, presence_shape, member_presence_shape CASCADE;
  DROP FUNCTION IF EXISTS message_json(messages), message_json(messages, text);
  DROP FUNCTION IF EXISTS append_events, reaction_drafts, event_line, announce_events, announce_range,
    send_messages, admission, refusal, open_discussion, edit_message, delete_message, set_reaction, mark_read,
    search_messages, announce_presences, change_presences, restore_presences, renew_instance, leave_instance,
    leave_discussions, erase_user;
END
$$;

-- Where the log was when it last served: a copy of the database is elsewhere, and what happens there is
-- another history. Empty until a server starts. A table of its own, so that nothing is locked.
CREATE TABLE log_home (
  only_row boolean PRIMARY KEY DEFAULT true,
  home     text NOT NULL,
  CONSTRAINT log_home_one_row CHECK (only_row)
);
