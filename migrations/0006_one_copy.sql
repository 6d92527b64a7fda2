-- Up Migration

-- A message is stored once: it carries its position in the log, and the log's event message.new is made of it
-- when read (view log_events). Before, the event was a second copy, with two more index entries. See
-- docs/decisions/0009-one-copy.md.
--
-- Null: its event was pruned before this.
ALTER TABLE messages ADD COLUMN position bigint;

-- All up to here may be missing from the log. Not the oldest position that is there, as messages stay.
ALTER TABLE log_epoch ADD COLUMN pruned_to bigint NOT NULL DEFAULT 0;
UPDATE log_epoch SET pruned_to = coalesce((SELECT min(position) FROM events), 1) - 1;

UPDATE messages AS m SET position = e.position FROM events AS e
WHERE e.type = 'message.new' AND e.discussion_id = m.discussion_id
  AND m.seq = (e.data::json -> 'message' ->> 'seq')::bigint;
DELETE FROM events WHERE type = 'message.new';

CREATE UNIQUE INDEX messages_position_key ON messages (position) WHERE position IS NOT NULL;
