-- Up Migration

-- The processes that serve streams. Each renews its lease while it runs; one whose lease ran out is gone, and
-- the first of the others to see it ends its presences. See docs/decisions/0012-presence.md.
CREATE TABLE instances (
  id         uuid PRIMARY KEY,
  expires_at timestamptz NOT NULL
);

-- Who has streams at which instance. Not logged: a crash of Postgres empties it as a whole, which the
-- instances notice, and they write it anew.
CREATE UNLOGGED TABLE presences (
  user_id     uuid NOT NULL,
  instance_id uuid NOT NULL,
  PRIMARY KEY (user_id, instance_id)
);
CREATE INDEX presences_instance_id_idx ON presences (instance_id);

-- When a person last came or went. Not a column of users, whose rows are wider and locked by others.
CREATE TABLE last_seen (
  user_id uuid PRIMARY KEY CONSTRAINT last_seen_user_id_fkey REFERENCES users ON DELETE CASCADE,
  at      timestamptz NOT NULL
);
