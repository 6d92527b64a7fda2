-- Up Migration

-- Files that came in whole. Nothing here is read when a message without attachments is sent or shown.
CREATE TABLE attachments (
  id            uuid PRIMARY KEY,
  user_id       uuid NOT NULL CONSTRAINT attachments_user_id_fkey REFERENCES users ON DELETE CASCADE,
  name          text NOT NULL,
  -- As its bytes say, not its sender.
  media_type    text NOT NULL,
  size          bigint NOT NULL,
  -- Of images that could be read, as they are seen: turned the way their camera was held.
  width         int,
  height        int,
  -- Where its bytes are: attachment_chunks, or what ATTACHMENTS_URL named when it came.
  storage       text NOT NULL,
  -- The message that carries it; null until it is sent. Without foreign keys: it goes with its message by the
  -- triggers of messages.
  discussion_id uuid,
  seq           bigint,
  created_at    timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT attachments_name_length CHECK (char_length(name) BETWEEN 1 AND 255),
  CONSTRAINT attachments_storage_known CHECK (storage IN ('database', 'folder', 'bucket'))
);
CREATE INDEX attachments_unsent_idx ON attachments (user_id, created_at) WHERE discussion_id IS NULL;

CREATE TABLE attachment_thumbnails (
  attachment_id uuid PRIMARY KEY
    CONSTRAINT attachment_thumbnails_attachment_id_fkey REFERENCES attachments ON DELETE CASCADE,
  -- WebP.
  image         bytea NOT NULL
);

-- Bytes, each row from its first one on. Without a foreign key: they are there before the attachment, and may
-- be gone after it; see attachment_removals.
CREATE TABLE attachment_chunks (
  attachment_id uuid NOT NULL,
  first_byte    bigint NOT NULL,
  bytes         bytea NOT NULL,
  PRIMARY KEY (attachment_id, first_byte)
);
-- Files are compressed already, or not worth it; and of what is not, a part can be read by itself.
ALTER TABLE attachment_chunks ALTER COLUMN bytes SET STORAGE EXTERNAL;

-- Bytes that somebody has to remove from a storage: those of attachments that are gone, at once; those of an
-- upload, some time after its begin, unless it comes to its end.
CREATE TABLE attachment_removals (
  attachment_id uuid PRIMARY KEY,
  storage       text NOT NULL,
  due_at        timestamptz NOT NULL,
  uploading     boolean NOT NULL DEFAULT false
);
CREATE INDEX attachment_removals_due_at_idx ON attachment_removals (due_at);

CREATE TABLE avatars (
  user_id uuid PRIMARY KEY CONSTRAINT avatars_user_id_fkey REFERENCES users ON DELETE CASCADE,
  -- WebP.
  image   bytea NOT NULL
);
