-- Up Migration

CREATE TABLE discussions (
  id           uuid PRIMARY KEY DEFAULT uuid7(),
  kind         text NOT NULL,
  name         text,
  visibility   text NOT NULL DEFAULT 'private',
  -- What must be unique: the pair of a direct discussion; the name and member set of a group. Null for groups
  -- that are too large to be created twice by accident.
  identity     text CONSTRAINT discussions_identity_key UNIQUE,
  created_by   uuid CONSTRAINT discussions_created_by_fkey REFERENCES users ON DELETE SET NULL,
  created_at   timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT discussions_kind_known CHECK (kind IN ('direct', 'group')),
  CONSTRAINT discussions_visibility_known CHECK (visibility IN ('private', 'public')),
  CONSTRAINT discussions_name_length CHECK (char_length(name) BETWEEN 1 AND 100),
  CONSTRAINT discussions_direct_plain CHECK (kind = 'group' OR (name IS NULL AND visibility = 'private'))
);
CREATE INDEX discussions_public_idx ON discussions (id) WHERE visibility = 'public';

CREATE TABLE members (
  discussion_id uuid NOT NULL CONSTRAINT members_discussion_id_fkey REFERENCES discussions ON DELETE CASCADE,
  user_id       uuid NOT NULL CONSTRAINT members_user_id_fkey REFERENCES users ON DELETE CASCADE,
  role          text NOT NULL DEFAULT 'member',
  joined_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
  -- What the member marked as read; one's own messages count as read without being written here.
  last_read_seq bigint NOT NULL DEFAULT 0,
  muted_until   timestamptz,
  PRIMARY KEY (discussion_id, user_id),
  CONSTRAINT members_role_known CHECK (role IN ('owner', 'admin', 'member'))
);
CREATE INDEX members_user_id_idx ON members (user_id, discussion_id);
