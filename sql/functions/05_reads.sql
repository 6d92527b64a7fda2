-- Shapes that depend on the reader.

CREATE TYPE me_shape AS (
  id uuid, username text, display_name text, avatar_url text, status_text text, created_at text, email text
);
CREATE OR REPLACE FUNCTION me_json(u users) RETURNS json LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT row_to_json(ROW(
    u.id, u.username, u.display_name, '/api/v1/users/' || u.id || '/avatar', u.status_text,
    wire_time(u.created_at), u.email
  )::me_shape)
$$;

CREATE TYPE session_shape AS (
  id uuid, user_agent text, created_at text, used_at text, expires_at text, current boolean
);
CREATE OR REPLACE FUNCTION session_json(s sessions, current_id uuid) RETURNS json
LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT row_to_json(ROW(
    s.id, s.user_agent, wire_time(s.created_at), wire_time(s.used_at), wire_time(s.expires_at),
    s.id = current_id
  )::session_shape)
$$;

-- A group's name, else the display names of the others, else one's own: "Ann (you)".
CREATE OR REPLACE FUNCTION discussion_title(d discussions, reader uuid) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT coalesce(
    d.name,
    (SELECT string_agg(u.display_name, ', ' ORDER BY o.joined_at, o.user_id)
      FROM (
        SELECT m.user_id, m.joined_at FROM members AS m
        WHERE m.discussion_id = d.id AND m.user_id <> reader ORDER BY m.joined_at, m.user_id LIMIT 20
      ) AS o JOIN users AS u ON u.id = o.user_id),
    (SELECT u.display_name || ' (you)' FROM users AS u WHERE u.id = reader),
    '')
$$;

-- Messages of others above what the member has read, counted up to 1,000.
CREATE OR REPLACE FUNCTION unread_count(m members) RETURNS bigint LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT count(*) FROM (
    SELECT FROM messages AS x
    WHERE x.discussion_id = m.discussion_id AND x.seq > effective_last_read_seq(m)
      AND x.sender_id <> m.user_id AND x.deleted_at IS NULL
    LIMIT 1000
  ) AS unread
$$;

CREATE TYPE discussion_shape AS (
  id uuid, kind text, name text, title text, visibility text, created_by uuid, created_at text,
  member_count bigint, members json, last_seq bigint, last_message json, unread_count bigint, my_role text,
  muted_until text, cursor text
);
-- Who is no member (of a public group) sees it without its messages.
CREATE OR REPLACE FUNCTION discussion_json(d discussions, reader uuid) RETURNS json
LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT row_to_json(ROW(
    d.id, d.kind, d.name, discussion_title(d, reader), d.visibility, d.created_by, wire_time(d.created_at),
    (SELECT count(*) FROM members AS m WHERE m.discussion_id = d.id),
    first_members_json(d.id), last_seq(d.id),
    CASE WHEN me.user_id IS NOT NULL THEN (
      SELECT message_json(m)::json FROM messages AS m WHERE m.discussion_id = d.id
      ORDER BY m.seq DESC LIMIT 1) END,
    CASE WHEN me.user_id IS NULL THEN 0 ELSE unread_count(me) END,
    me.role, wire_time(me.muted_until), log_cursor()
  )::discussion_shape)
  FROM (SELECT) AS one LEFT JOIN members AS me ON me.discussion_id = d.id AND me.user_id = reader
$$;

-- What a user is to a discussion: owner, admin or member; 'visitor' to a public group; null: nothing to see.
CREATE OR REPLACE FUNCTION standing(of_discussion uuid, reader uuid) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT coalesce(
    (SELECT m.role FROM members AS m WHERE m.discussion_id = of_discussion AND m.user_id = reader),
    (SELECT 'visitor' FROM discussions AS d WHERE d.id = of_discussion AND d.visibility = 'public'))
$$;

CREATE OR REPLACE FUNCTION is_live(of_session uuid, of_user uuid) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT EXISTS (SELECT FROM sessions AS s
    WHERE s.id = of_session AND s.user_id = of_user AND s.revoked_at IS NULL AND s.expires_at > now())
$$;

-- Whether this is a one-to-one discussion whose other member has blocked the user.
CREATE OR REPLACE FUNCTION is_blocked(of_discussion uuid, of_user uuid) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT coalesce((SELECT m.blocked FROM members AS m
    WHERE m.discussion_id = of_discussion AND m.user_id = of_user), false)
$$;
