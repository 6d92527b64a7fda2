-- Up Migration

-- What becomes of a message after it was sent. None of it costs anything while it is sent: the new columns
-- are empty, and what is said about a message stands in tables of its own.
--
-- The attachments that it carries, in the sender's order.
ALTER TABLE messages ADD COLUMN attachment_ids uuid[] NOT NULL DEFAULT '{}';

-- message.updated is made of its message when read, as message.new is, so that no text stands in the log.
ALTER TABLE events ADD COLUMN seq bigint;

-- Without foreign keys: they go with their message by the triggers of messages, all at once.
CREATE TABLE message_edits (
  discussion_id uuid NOT NULL,
  seq           bigint NOT NULL,
  version       int NOT NULL,
  content       text NOT NULL,
  mentions      uuid[] NOT NULL,
  -- When it was written; the next version's is when it was replaced.
  created_at    timestamptz NOT NULL,
  CONSTRAINT message_edits_pkey PRIMARY KEY (discussion_id, seq, version)
);

CREATE TABLE reactions (
  discussion_id uuid NOT NULL,
  seq           bigint NOT NULL,
  emoji         varchar(64) COLLATE "C" NOT NULL,
  user_id       uuid NOT NULL,
  created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
  CONSTRAINT reactions_pkey PRIMARY KEY (discussion_id, seq, emoji, user_id)
);

CREATE TABLE blocks (
  blocker_id uuid NOT NULL CONSTRAINT blocks_blocker_id_fkey REFERENCES users ON DELETE CASCADE,
  blocked_id uuid NOT NULL CONSTRAINT blocks_blocked_id_fkey REFERENCES users ON DELETE CASCADE,
  created_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT blocks_pkey PRIMARY KEY (blocker_id, blocked_id),
  CONSTRAINT blocks_other CHECK (blocker_id <> blocked_id)
);
CREATE INDEX blocks_blocked_id_idx ON blocks (blocked_id);

-- In a one-to-one discussion: the other has blocked this member. Here, where every send looks anyway.
ALTER TABLE members ADD COLUMN blocked boolean NOT NULL DEFAULT false;

-- Erased accounts keep their row: their messages stay, by "Deleted user".
ALTER TABLE users ADD COLUMN erased_at timestamptz;
