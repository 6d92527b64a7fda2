-- Up Migration

-- Sending inserts here and nowhere else but the log: no counter and no "last message" column is updated, as
-- an open snapshot (a backup) would make each update of such a row walk all its dead versions.
--
-- sender_id has no foreign key on purpose: its check would lock, and so write, the sender's row for every
-- message; send_messages checks the membership, which has one.
CREATE TABLE messages (
  discussion_id uuid NOT NULL CONSTRAINT messages_discussion_id_fkey REFERENCES discussions ON DELETE CASCADE,
  seq           bigint NOT NULL,
  sender_id     uuid NOT NULL,
  content       text NOT NULL,
  client_id     text,
  reply_to_seq  bigint,
  mentions      uuid[] NOT NULL DEFAULT '{}',
  created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
  edited_at     timestamptz,
  deleted_at    timestamptz,
  PRIMARY KEY (discussion_id, seq),
  CONSTRAINT messages_seq_positive CHECK (seq > 0),
  CONSTRAINT messages_content_length CHECK (char_length(content) <= 16000),
  CONSTRAINT messages_client_id_length CHECK (char_length(client_id) BETWEEN 1 AND 64)
);
CREATE UNIQUE INDEX messages_client_id_key ON messages (discussion_id, sender_id, client_id)
  WHERE client_id IS NOT NULL;
-- Finds one's own last message (which marks everything before it as read) and one sender's messages.
CREATE INDEX messages_sender_idx ON messages (sender_id, discussion_id, seq);
