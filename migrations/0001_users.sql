-- Up Migration

-- Version 7 UUIDs (RFC 9562, section 5.7): 48 bits of Unix milliseconds, then random bits. Rising ids keep
-- new rows at the right edge of their indexes. Postgres has uuidv7() from version 18 on; 15 to 17 do not.
CREATE FUNCTION uuid7() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE AS $$
  SELECT encode(
    set_byte(
      substring(int8send(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
        || substring(random_bits FROM 7),
      6, 112 | (get_byte(random_bits, 6) & 15)
    ), 'hex')::uuid
  FROM (SELECT uuid_send(gen_random_uuid()) AS random_bits) AS source
$$;

CREATE TABLE users (
  id            uuid PRIMARY KEY DEFAULT uuid7(),
  username      text NOT NULL,
  display_name  text NOT NULL,
  email         text,
  password_hash text NOT NULL,
  status_text   text NOT NULL DEFAULT '',
  created_at    timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT users_username_form CHECK (username ~ '^[a-z0-9_.-]{3,32}$'),
  CONSTRAINT users_display_name_length CHECK (char_length(display_name) BETWEEN 1 AND 64),
  CONSTRAINT users_email_length CHECK (char_length(email) <= 254),
  CONSTRAINT users_status_text_length CHECK (char_length(status_text) <= 140)
);
CREATE UNIQUE INDEX users_username_key ON users (username text_pattern_ops);
CREATE UNIQUE INDEX users_email_key ON users (lower(email));

-- One row per sign-in. Secrets are stored only as SHA-256 hashes: they are random 256-bit values, so a slow
-- hash would add nothing.
CREATE TABLE sessions (
  id          uuid PRIMARY KEY DEFAULT uuid7(),
  user_id     uuid NOT NULL CONSTRAINT sessions_user_id_fkey REFERENCES users ON DELETE CASCADE,
  cookie_hash bytea CONSTRAINT sessions_cookie_hash_key UNIQUE,
  user_agent  text NOT NULL DEFAULT '',
  created_at  timestamptz NOT NULL DEFAULT now(),
  used_at     timestamptz NOT NULL DEFAULT now(),
  expires_at  timestamptz NOT NULL,
  revoked_at  timestamptz
);
CREATE INDEX sessions_user_id_idx ON sessions (user_id);
CREATE INDEX sessions_expires_at_idx ON sessions (expires_at);
CREATE INDEX sessions_revoked_at_idx ON sessions (revoked_at) WHERE revoked_at IS NOT NULL;

-- Every refresh token a session ever had, until it would have expired: a used one that comes back was stolen.
CREATE TABLE refresh_tokens (
  token_hash bytea PRIMARY KEY,
  session_id uuid NOT NULL CONSTRAINT refresh_tokens_session_id_fkey REFERENCES sessions ON DELETE CASCADE,
  expires_at timestamptz NOT NULL,
  used_at    timestamptz
);
CREATE INDEX refresh_tokens_expires_at_idx ON refresh_tokens (expires_at);
CREATE INDEX refresh_tokens_session_id_idx ON refresh_tokens (session_id);

CREATE TABLE tickets (
  ticket_hash bytea PRIMARY KEY,
  session_id  uuid NOT NULL CONSTRAINT tickets_session_id_fkey REFERENCES sessions ON DELETE CASCADE,
  expires_at  timestamptz NOT NULL
);
CREATE INDEX tickets_expires_at_idx ON tickets (expires_at);
CREATE INDEX tickets_session_id_idx ON tickets (session_id);
