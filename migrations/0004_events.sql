-- Up Migration

-- The log. A position is given under a lock that is held to commit (append_events), so positions rise in
-- commit order and have no holes.
CREATE TABLE events (
  position      bigint PRIMARY KEY,
  discussion_id uuid,
  -- The one person whom the event concerns by name: whose membership changes (member.*), or who alone hears
  -- it (read.updated in large discussions, discussion.deleted, session.revoked).
  user_id       uuid,
  type          text NOT NULL,
  -- A JSON object as text: it goes to the wire as it is and is never parsed on the way.
  data          text NOT NULL,
  at            timestamptz NOT NULL
);
CREATE INDEX events_discussion_id_idx ON events (discussion_id, position);
CREATE INDEX events_user_id_idx ON events (user_id, position) WHERE user_id IS NOT NULL;

-- Rows are only appended and pruned: freeze and clean in small steps, not rarely and at length.
ALTER TABLE events SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05);
ALTER TABLE messages SET (autovacuum_vacuum_insert_scale_factor = 0.05);

-- Names this history. A new value (npm run new-epoch, or a feed that finds the log changed under it) tells
-- every client that cursors of the old history mean nothing any more.
CREATE TABLE log_epoch (
  only_row boolean PRIMARY KEY DEFAULT true,
  epoch    text NOT NULL DEFAULT substr(md5(gen_random_uuid()::text), 1, 8),
  CONSTRAINT log_epoch_one_row CHECK (only_row)
);
INSERT INTO log_epoch DEFAULT VALUES;
