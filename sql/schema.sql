-- Made by `node scripts/dump-schema.ts` from migrations/ and sql/functions/. Not run by anything.

CREATE TABLE attachment_chunks (
  attachment_id uuid NOT NULL,
  first_byte bigint NOT NULL,
  bytes bytea NOT NULL,
  CONSTRAINT attachment_chunks_pkey PRIMARY KEY (attachment_id, first_byte)
);

CREATE TABLE attachment_removals (
  attachment_id uuid NOT NULL,
  storage text NOT NULL,
  due_at timestamp with time zone NOT NULL,
  uploading boolean DEFAULT false NOT NULL,
  CONSTRAINT attachment_removals_pkey PRIMARY KEY (attachment_id)
);

CREATE TABLE attachment_thumbnails (
  attachment_id uuid NOT NULL,
  image bytea NOT NULL,
  CONSTRAINT attachment_thumbnails_attachment_id_fkey FOREIGN KEY (attachment_id) REFERENCES attachments(id) ON DELETE CASCADE,
  CONSTRAINT attachment_thumbnails_pkey PRIMARY KEY (attachment_id)
);

CREATE TABLE attachments (
  id uuid NOT NULL,
  user_id uuid NOT NULL,
  name text NOT NULL,
  media_type text NOT NULL,
  size bigint NOT NULL,
  width integer,
  height integer,
  storage text NOT NULL,
  discussion_id uuid,
  seq bigint,
  created_at timestamp with time zone DEFAULT now() NOT NULL,
  CONSTRAINT attachments_name_length CHECK (((char_length(name) >= 1) AND (char_length(name) <= 255))),
  CONSTRAINT attachments_pkey PRIMARY KEY (id),
  CONSTRAINT attachments_storage_known CHECK ((storage = ANY (ARRAY['database'::text, 'folder'::text, 'bucket'::text]))),
  CONSTRAINT attachments_user_id_fkey FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE
);

CREATE TABLE avatars (
  user_id uuid NOT NULL,
  image bytea NOT NULL,
  CONSTRAINT avatars_pkey PRIMARY KEY (user_id),
  CONSTRAINT avatars_user_id_fkey FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE
);

CREATE TABLE blocks (
  blocker_id uuid NOT NULL,
  blocked_id uuid NOT NULL,
  created_at timestamp with time zone DEFAULT now() NOT NULL,
  CONSTRAINT blocks_blocked_id_fkey FOREIGN KEY (blocked_id) REFERENCES users(id) ON DELETE CASCADE,
  CONSTRAINT blocks_blocker_id_fkey FOREIGN KEY (blocker_id) REFERENCES users(id) ON DELETE CASCADE,
  CONSTRAINT blocks_other CHECK ((blocker_id <> blocked_id)),
  CONSTRAINT blocks_pkey PRIMARY KEY (blocker_id, blocked_id)
);

CREATE TABLE discussion_removals (
  discussion_id uuid NOT NULL,
  erased_to bigint DEFAULT 0 NOT NULL,
  removed_to bigint DEFAULT 0 NOT NULL,
  CONSTRAINT discussion_removals_pkey PRIMARY KEY (discussion_id)
);

CREATE TABLE discussions (
  id uuid DEFAULT uuid7() NOT NULL,
  kind text NOT NULL,
  name text,
  visibility text DEFAULT 'private'::text NOT NULL,
  identity text,
  created_by uuid,
  created_at timestamp with time zone DEFAULT now() NOT NULL,
  CONSTRAINT discussions_created_by_fkey FOREIGN KEY (created_by) REFERENCES users(id) ON DELETE SET NULL,
  CONSTRAINT discussions_direct_plain CHECK (((kind = 'group'::text) OR ((name IS NULL) AND (visibility = 'private'::text)))),
  CONSTRAINT discussions_identity_key UNIQUE (identity),
  CONSTRAINT discussions_kind_known CHECK ((kind = ANY (ARRAY['direct'::text, 'group'::text]))),
  CONSTRAINT discussions_name_length CHECK (((char_length(name) >= 1) AND (char_length(name) <= 100))),
  CONSTRAINT discussions_pkey PRIMARY KEY (id),
  CONSTRAINT discussions_visibility_known CHECK ((visibility = ANY (ARRAY['private'::text, 'public'::text])))
);

CREATE TABLE events (
  position bigint NOT NULL,
  discussion_id uuid,
  user_id uuid,
  type text NOT NULL,
  data text NOT NULL,
  at timestamp with time zone NOT NULL,
  seq bigint,
  CONSTRAINT events_pkey PRIMARY KEY ("position")
) WITH (autovacuum_vacuum_scale_factor=0.02, autovacuum_vacuum_insert_scale_factor=0.05);

CREATE TABLE function_texts (
  only_row boolean NOT NULL,
  hash text NOT NULL,
  CONSTRAINT function_texts_pkey PRIMARY KEY (only_row)
);

CREATE TABLE function_versions (
  hash text NOT NULL,
  place bigint NOT NULL,
  locking text[] NOT NULL,
  CONSTRAINT function_versions_pkey PRIMARY KEY (hash)
);

CREATE TABLE instances (
  id uuid NOT NULL,
  expires_at timestamp with time zone NOT NULL,
  CONSTRAINT instances_pkey PRIMARY KEY (id)
);

CREATE TABLE last_seen (
  user_id uuid NOT NULL,
  at timestamp with time zone NOT NULL,
  CONSTRAINT last_seen_pkey PRIMARY KEY (user_id),
  CONSTRAINT last_seen_user_id_fkey FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE
);

CREATE TABLE log_epoch (
  only_row boolean DEFAULT true NOT NULL,
  epoch text DEFAULT substr(md5((gen_random_uuid())::text), 1, 8) NOT NULL,
  pruned_to bigint DEFAULT 0 NOT NULL,
  CONSTRAINT log_epoch_one_row CHECK (only_row),
  CONSTRAINT log_epoch_pkey PRIMARY KEY (only_row)
);

CREATE TABLE log_home (
  only_row boolean DEFAULT true NOT NULL,
  home text NOT NULL,
  CONSTRAINT log_home_one_row CHECK (only_row),
  CONSTRAINT log_home_pkey PRIMARY KEY (only_row)
);

CREATE TABLE members (
  discussion_id uuid NOT NULL,
  user_id uuid NOT NULL,
  role text DEFAULT 'member'::text NOT NULL,
  joined_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  last_read_seq bigint DEFAULT 0 NOT NULL,
  muted_until timestamp with time zone,
  blocked boolean DEFAULT false NOT NULL,
  CONSTRAINT members_discussion_id_fkey FOREIGN KEY (discussion_id) REFERENCES discussions(id) ON DELETE CASCADE,
  CONSTRAINT members_pkey PRIMARY KEY (discussion_id, user_id),
  CONSTRAINT members_role_known CHECK ((role = ANY (ARRAY['owner'::text, 'admin'::text, 'member'::text]))),
  CONSTRAINT members_user_id_fkey FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE
);

CREATE TABLE message_edits (
  discussion_id uuid NOT NULL,
  seq bigint NOT NULL,
  version integer NOT NULL,
  content text NOT NULL,
  mentions uuid[] NOT NULL,
  created_at timestamp with time zone NOT NULL,
  CONSTRAINT message_edits_pkey PRIMARY KEY (discussion_id, seq, version)
);

CREATE TABLE messages (
  discussion_id uuid NOT NULL,
  seq bigint NOT NULL,
  sender_id uuid NOT NULL,
  content character varying(16000) NOT NULL,
  client_id character varying(64),
  reply_to_seq bigint,
  mentions uuid[] DEFAULT '{}'::uuid[] NOT NULL,
  created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  edited_at timestamp with time zone,
  deleted_at timestamp with time zone,
  position bigint,
  attachment_ids uuid[] DEFAULT '{}'::uuid[] NOT NULL,
  CONSTRAINT messages_pkey PRIMARY KEY (discussion_id, seq)
) WITH (autovacuum_vacuum_insert_scale_factor=0.05);

CREATE UNLOGGED TABLE presences (
  user_id uuid NOT NULL,
  instance_id uuid NOT NULL,
  CONSTRAINT presences_pkey PRIMARY KEY (user_id, instance_id)
);

CREATE UNLOGGED TABLE rate_limits (
  key text NOT NULL,
  points integer NOT NULL,
  expire bigint,
  CONSTRAINT rate_limits_pkey PRIMARY KEY (key)
);

CREATE TABLE reactions (
  discussion_id uuid NOT NULL,
  seq bigint NOT NULL,
  emoji character varying(64) NOT NULL,
  user_id uuid NOT NULL,
  created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT reactions_pkey PRIMARY KEY (discussion_id, seq, emoji, user_id)
);

CREATE TABLE refresh_tokens (
  token_hash bytea NOT NULL,
  session_id uuid NOT NULL,
  expires_at timestamp with time zone NOT NULL,
  used_at timestamp with time zone,
  CONSTRAINT refresh_tokens_pkey PRIMARY KEY (token_hash),
  CONSTRAINT refresh_tokens_session_id_fkey FOREIGN KEY (session_id) REFERENCES sessions(id) ON DELETE CASCADE
);

CREATE TABLE search_documents (
  discussion_id uuid NOT NULL,
  seq bigint NOT NULL,
  position bigint NOT NULL,
  place bigint NOT NULL,
  sender_id uuid NOT NULL,
  words text NOT NULL,
  CONSTRAINT search_documents_pkey PRIMARY KEY (discussion_id, seq)
) WITH (autovacuum_vacuum_insert_scale_factor=0.05);

CREATE TABLE sessions (
  id uuid DEFAULT uuid7() NOT NULL,
  user_id uuid NOT NULL,
  cookie_hash bytea,
  user_agent text DEFAULT ''::text NOT NULL,
  created_at timestamp with time zone DEFAULT now() NOT NULL,
  used_at timestamp with time zone DEFAULT now() NOT NULL,
  expires_at timestamp with time zone NOT NULL,
  revoked_at timestamp with time zone,
  CONSTRAINT sessions_cookie_hash_key UNIQUE (cookie_hash),
  CONSTRAINT sessions_pkey PRIMARY KEY (id),
  CONSTRAINT sessions_user_id_fkey FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE
);

CREATE TABLE tickets (
  ticket_hash bytea NOT NULL,
  session_id uuid NOT NULL,
  expires_at timestamp with time zone NOT NULL,
  CONSTRAINT tickets_pkey PRIMARY KEY (ticket_hash),
  CONSTRAINT tickets_session_id_fkey FOREIGN KEY (session_id) REFERENCES sessions(id) ON DELETE CASCADE
);

CREATE TABLE users (
  id uuid DEFAULT uuid7() NOT NULL,
  username text NOT NULL,
  display_name text NOT NULL,
  email text,
  password_hash text NOT NULL,
  status_text text DEFAULT ''::text NOT NULL,
  created_at timestamp with time zone DEFAULT now() NOT NULL,
  erased_at timestamp with time zone,
  CONSTRAINT users_display_name_length CHECK (((char_length(display_name) >= 1) AND (char_length(display_name) <= 64))),
  CONSTRAINT users_email_length CHECK ((char_length(email) <= 254)),
  CONSTRAINT users_pkey PRIMARY KEY (id),
  CONSTRAINT users_status_text_length CHECK ((char_length(status_text) <= 140)),
  CONSTRAINT users_username_form CHECK ((username ~ '^[a-z0-9_.-]{3,32}$'::text))
);

CREATE INDEX attachment_removals_due_at_idx ON public.attachment_removals USING btree (due_at);

CREATE INDEX attachments_unsent_idx ON public.attachments USING btree (user_id, created_at) WHERE (discussion_id IS NULL);

CREATE INDEX blocks_blocked_id_idx ON public.blocks USING btree (blocked_id);

CREATE INDEX discussions_public_idx ON public.discussions USING btree (id) WHERE (visibility = 'public'::text);

CREATE INDEX events_discussion_id_idx ON public.events USING btree (discussion_id, "position");

CREATE INDEX events_user_id_idx ON public.events USING btree (user_id, "position") WHERE (user_id IS NOT NULL);

CREATE INDEX members_user_id_idx ON public.members USING btree (user_id, discussion_id);

CREATE UNIQUE INDEX messages_client_id_key ON public.messages USING btree (discussion_id, sender_id, client_id) WHERE (client_id IS NOT NULL);

CREATE UNIQUE INDEX messages_position_key ON public.messages USING btree ("position") WHERE ("position" IS NOT NULL);

CREATE INDEX messages_sender_idx ON public.messages USING btree (sender_id, discussion_id, seq) WHERE (seq > 0);

CREATE INDEX presences_instance_id_idx ON public.presences USING btree (instance_id);

CREATE INDEX rate_limits_expire_idx ON public.rate_limits USING btree (expire);

CREATE INDEX refresh_tokens_expires_at_idx ON public.refresh_tokens USING btree (expires_at);

CREATE INDEX refresh_tokens_session_id_idx ON public.refresh_tokens USING btree (session_id);

CREATE INDEX search_documents_keys_idx ON public.search_documents USING gin (search_keys((place >> 16), discussion_id, sender_id, words)) WITH (gin_pending_list_limit='512');

CREATE UNIQUE INDEX search_documents_position_key ON public.search_documents USING btree ("position") INCLUDE (place);

CREATE INDEX sessions_expires_at_idx ON public.sessions USING btree (expires_at);

CREATE INDEX sessions_revoked_at_idx ON public.sessions USING btree (revoked_at) WHERE (revoked_at IS NOT NULL);

CREATE INDEX sessions_user_id_idx ON public.sessions USING btree (user_id);

CREATE INDEX tickets_expires_at_idx ON public.tickets USING btree (expires_at);

CREATE INDEX tickets_session_id_idx ON public.tickets USING btree (session_id);

CREATE UNIQUE INDEX users_email_key ON public.users USING btree (lower(email));

CREATE UNIQUE INDEX users_username_key ON public.users USING btree (username text_pattern_ops);

CREATE TYPE discussion_shape AS (
  id uuid,
  kind text,
  name text,
  title text,
  visibility text,
  created_by uuid,
  created_at text,
  member_count bigint,
  members json,
  last_seq bigint,
  last_message json,
  unread_count bigint,
  my_role text,
  muted_until text,
  cursor text
);

CREATE TYPE edit_shape AS (
  version integer,
  content text,
  mentions uuid[],
  created_at text
);

CREATE TYPE event_discussion_shape AS (
  id uuid,
  kind text,
  name text,
  visibility text,
  created_by uuid,
  created_at text,
  member_count bigint,
  members json,
  last_seq bigint
);

CREATE TYPE event_draft AS (
  discussion_id uuid,
  user_id uuid,
  type text,
  data text,
  seq bigint
);

CREATE TYPE me_shape AS (
  id uuid,
  username text,
  display_name text,
  avatar_url text,
  status_text text,
  created_at text,
  email text
);

CREATE TYPE member_presence_shape AS (
  user_id uuid,
  status text,
  last_seen_at text
);

CREATE TYPE member_shape AS (
  user_id uuid,
  role text,
  joined_at text,
  last_read_seq bigint
);

CREATE TYPE presence_shape AS (
  status text,
  last_seen_at text
);

CREATE TYPE session_shape AS (
  id uuid,
  user_agent text,
  created_at text,
  used_at text,
  expires_at text,
  current boolean
);

CREATE TYPE user_shape AS (
  id uuid,
  username text,
  display_name text,
  avatar_url text,
  status_text text,
  created_at text
);

CREATE OR REPLACE FUNCTION public.act_refusal(of_session uuid, actor uuid, of_discussion uuid, of_seq bigint)
 RETURNS text
 LANGUAGE sql
 STABLE
AS $function$
  SELECT CASE
    WHEN NOT is_live(of_session, actor) THEN 'session_revoked'
    WHEN standing(of_discussion, actor) IS NULL THEN 'discussion_not_found'
    WHEN standing(of_discussion, actor) = 'visitor' THEN 'not_a_member'
    WHEN NOT EXISTS (SELECT FROM messages AS m WHERE m.discussion_id = of_discussion AND m.seq = of_seq)
      THEN 'message_not_found'
  END
$function$;

CREATE OR REPLACE FUNCTION public.admission(of_session uuid, of_sender uuid, of_discussion uuid, its_client_id text, its_reply bigint)
 RETURNS TABLE(next_seq bigint)
 LANGUAGE sql
 STABLE
AS $function$
  SELECT 1 + coalesce(
    (SELECT m.seq FROM messages AS m WHERE m.discussion_id = of_discussion ORDER BY m.seq DESC LIMIT 1), 0)
  WHERE (SELECT se.user_id FROM sessions AS se
      WHERE se.id = of_session AND se.revoked_at IS NULL AND se.expires_at > now()) = of_sender
    AND (SELECT NOT me.blocked FROM members AS me
      WHERE me.discussion_id = of_discussion AND me.user_id = of_sender)
    AND (its_client_id IS NULL OR (SELECT m.seq FROM messages AS m
      WHERE m.discussion_id = of_discussion AND m.sender_id = of_sender AND m.client_id = its_client_id
    ) IS NULL)
    AND (its_reply IS NULL OR (SELECT m.seq FROM messages AS m
      WHERE m.discussion_id = of_discussion AND m.seq = its_reply) IS NOT NULL)
$function$;

CREATE OR REPLACE FUNCTION public.announce_events(newest bigint, lines text[])
 RETURNS integer
 LANGUAGE plpgsql
AS $function$
DECLARE
  max_bytes CONSTANT int := 7900 - 42; -- two bigints and their separators
  max_notifications CONSTANT int := 16;
  line text;
  line_bytes int;
  place int := 0; -- of the line
  chunk_from int := 1;
  chunk_bytes int := 0;
  sent int := 0;
  notified text;
BEGIN
  FOREACH line IN ARRAY lines LOOP
    place := place + 1;
    line_bytes := octet_length(line) + 1;
    IF chunk_bytes + line_bytes > max_bytes AND chunk_bytes > 0 THEN
      IF sent = max_notifications - 1 THEN
        chunk_bytes := max_bytes + 1;
        EXIT;
      END IF;
      notified := announce_range(newest, chunk_from, place - 1,
        CASE WHEN chunk_bytes <= max_bytes THEN lines[chunk_from:place - 1] END);
      sent := sent + 1;
      chunk_from := place;
      chunk_bytes := 0;
    END IF;
    chunk_bytes := chunk_bytes + line_bytes;
  END LOOP;
  notified := announce_range(newest, chunk_from, cardinality(lines),
    CASE WHEN chunk_bytes <= max_bytes THEN lines[chunk_from:] END);
  RETURN sent + 1;
END
$function$;

CREATE OR REPLACE FUNCTION public.announce_presences(of_users uuid[], most integer, OUT notifications integer, OUT announced integer)
 RETURNS record
 LANGUAGE plpgsql
AS $function$
DECLARE
  max_bytes CONSTANT int := 7900;
  per_line CONSTANT int := 200; -- ids of 37 bytes
  payload text := '';
  line record;
  done text;
BEGIN
  notifications := 0;
  FOR line IN
    SELECT u.place, concat_ws(' ', 'presence', u.id, s.status, coalesce(wire_time(s.at), '-'),
      string_agg(d.id::text, ' ')) AS text
    FROM unnest(of_users) WITH ORDINALITY AS u (id, place)
    CROSS JOIN LATERAL (
      -- Not presence_of(): whose instance is gone stays online until somebody has seen that, and told it.
      SELECT CASE WHEN EXISTS (SELECT FROM presences AS p WHERE p.user_id = u.id) THEN 'online'
        ELSE 'offline' END AS status, (SELECT l.at FROM last_seen AS l WHERE l.user_id = u.id) AS at
    ) AS s
    CROSS JOIN LATERAL (
      SELECT m.discussion_id AS id, (row_number() OVER () - 1) / per_line AS part
      FROM (
        SELECT m.discussion_id FROM members AS m WHERE m.user_id = u.id
        ORDER BY m.discussion_id DESC LIMIT 1000
      ) AS m
      WHERE shows_presence(m.discussion_id) AND NOT (
        EXISTS (SELECT FROM blocks AS b WHERE b.blocker_id = u.id) AND EXISTS (
          SELECT FROM members AS o
          WHERE o.discussion_id = m.discussion_id AND o.user_id <> u.id AND o.blocked))
    ) AS d
    GROUP BY u.place, u.id, s.status, s.at, d.part
    ORDER BY u.place, d.part
  LOOP
    IF payload <> '' AND octet_length(payload) + 1 + octet_length(line.text) > max_bytes THEN
      done := pg_notify('signals', payload)::text;
      notifications := notifications + 1;
      payload := '';
      IF notifications = most THEN
        announced := line.place - 1;
        RETURN;
      END IF;
    END IF;
    payload := concat_ws(E'\n', nullif(payload, ''), line.text);
  END LOOP;
  IF payload <> '' THEN
    done := pg_notify('signals', payload)::text;
    notifications := notifications + 1;
  END IF;
  announced := cardinality(of_users);
END
$function$;

CREATE OR REPLACE FUNCTION public.announce_range(newest bigint, first integer, last integer, lines text[])
 RETURNS text
 LANGUAGE sql
AS $function$
  SELECT pg_notify('events',
    concat(newest + first, ' ', newest + last, E'\n' || array_to_string(lines, E'\n')))::text
$function$;

CREATE OR REPLACE FUNCTION public.append_events(drafts event_draft[])
 RETURNS integer
 LANGUAGE plpgsql
AS $function$
DECLARE
  newest bigint;
  lines text[];
  happened_at timestamptz;
  at_text text;
BEGIN
  IF coalesce(cardinality(drafts), 0) = 0 THEN
    RETURN 0;
  END IF;
  newest := lock_log();
  happened_at := clock_timestamp();
  at_text := wire_time(happened_at);
  WITH appended AS (
    INSERT INTO events (position, discussion_id, user_id, type, data, seq, at)
    SELECT newest + d.ordinality, d.discussion_id, d.user_id, d.type, d.data, d.seq, happened_at
    FROM unnest(drafts) WITH ORDINALITY AS d
    RETURNING *
  )
  SELECT array_agg(event_line(a.position, a.discussion_id, a.user_id, a.type, at_text,
    event_data(a.type, a.discussion_id, a.seq, a.data)))
  INTO lines FROM appended AS a;
  RETURN announce_events(newest, lines);
END
$function$;

CREATE OR REPLACE FUNCTION public.attachment_json(a attachments)
 RETURNS text
 LANGUAGE sql
 STABLE PARALLEL SAFE
AS $function$
  SELECT concat('{"id":"', a.id, '","name":', to_json(a.name), ',"media_type":', to_json(a.media_type),
    ',"size":', a.size, ',"width":' || a.width || ',"height":' || a.height,
    ',"url":"/api/v1/attachments/', a.id, '"}')
$function$;

CREATE OR REPLACE FUNCTION public.attachments_deleted()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
  INSERT INTO attachment_removals (attachment_id, storage, due_at) SELECT o.id, o.storage, now()
  FROM old_rows AS o ON CONFLICT (attachment_id) DO UPDATE SET due_at = excluded.due_at;
  RETURN NULL;
END
$function$;

CREATE OR REPLACE FUNCTION public.attachments_json(ids uuid[])
 RETURNS text
 LANGUAGE plpgsql
 STABLE PARALLEL SAFE
AS $function$
BEGIN
  RETURN (
    SELECT coalesce('[' || string_agg(attachment_json(a), ',' ORDER BY named.place) || ']', '[]')
    FROM unnest(ids) WITH ORDINALITY AS named (id, place) JOIN attachments AS a ON a.id = named.id
  );
END
$function$;

CREATE OR REPLACE FUNCTION public.attachments_released()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
  IF TG_OP = 'UPDATE' THEN
    PERFORM erase_attachments(OLD.attachment_ids);
  ELSE
    DELETE FROM attachments AS a WHERE a.id = ANY (OLD.attachment_ids);
  END IF;
  RETURN NULL;
END
$function$;

CREATE OR REPLACE FUNCTION public.attachments_user_erased()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
  DELETE FROM avatars AS v WHERE v.user_id = NEW.id;
  PERFORM erase_attachments(array(
    SELECT a.id FROM attachments AS a WHERE a.user_id = NEW.id AND a.discussion_id IS NULL
    FOR UPDATE SKIP LOCKED));
  RETURN NULL;
END
$function$;

CREATE OR REPLACE FUNCTION public.blocks_changed()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
DECLARE
  block blocks := CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
  its_identity text := discussion_identity('direct', NULL, ARRAY[block.blocker_id, block.blocked_id]);
  its_id uuid;
BEGIN
  SELECT d.id INTO its_id FROM discussions AS d WHERE d.identity = its_identity;
  IF its_id IS NOT NULL THEN
    PERFORM lock_discussions(ARRAY[its_id]);
    UPDATE members AS m SET blocked = TG_OP = 'INSERT'
    WHERE m.discussion_id = its_id AND m.user_id = block.blocked_id;
  END IF;
  RETURN NULL;
END
$function$;

CREATE OR REPLACE FUNCTION public.blocks_changing()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
DECLARE
  block blocks := CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
BEGIN
  PERFORM lock_pair(discussion_identity('direct', NULL, ARRAY[block.blocker_id, block.blocked_id]));
  RETURN block;
END
$function$;

CREATE OR REPLACE FUNCTION public.change_presences(of_instance uuid, arrived uuid[], departed uuid[], waiting uuid[], at_once integer, most integer)
 RETURNS TABLE(notifications integer, still_waiting uuid[])
 LANGUAGE plpgsql
AS $function$
DECLARE
  locked text := lock_presences()::text;
  came uuid[];
  went uuid[];
  line uuid[];
  told record;
BEGIN
  PERFORM FROM instances AS i WHERE i.id = of_instance;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  came := array(SELECT id FROM unnest(arrived) AS id
    WHERE NOT EXISTS (SELECT FROM presences AS p WHERE p.user_id = id));
  INSERT INTO presences (user_id, instance_id) SELECT id, of_instance FROM unnest(arrived) AS id
  ON CONFLICT DO NOTHING;
  DELETE FROM presences AS p WHERE p.user_id = ANY (departed) AND p.instance_id = of_instance;
  went := array(SELECT id FROM unnest(departed) AS id
    WHERE NOT EXISTS (SELECT FROM presences AS p WHERE p.user_id = id));
  PERFORM note_seen(came || went, clock_timestamp());
  line := waiting || array(SELECT unnest(came || went) EXCEPT SELECT unnest(waiting));
  told := announce_presences(line[1:at_once], most);
  RETURN QUERY SELECT told.notifications, line[told.announced + 1:];
END
$function$;

CREATE OR REPLACE FUNCTION public.change_reaction(of_session uuid, actor uuid, of_discussion uuid, of_seq bigint, of_emoji text, present boolean, most_kinds integer, most integer)
 RETURNS text
 LANGUAGE plpgsql
AS $function$
DECLARE
  locked text := lock_discussions(ARRAY[of_discussion])::text;
  refused text := act_refusal(of_session, actor, of_discussion, of_seq);
BEGIN
  IF refused IS NOT NULL THEN
    RETURN refused;
  END IF;
  IF is_blocked(of_discussion, actor) THEN
    RETURN 'blocked';
  END IF;
  IF (SELECT m.deleted_at FROM messages AS m
    WHERE m.discussion_id = of_discussion AND m.seq = of_seq) IS NOT NULL THEN
    RETURN 'message_deleted';
  END IF;
  IF NOT present THEN
    DELETE FROM reactions AS r WHERE r.discussion_id = of_discussion AND r.seq = of_seq
      AND r.emoji = of_emoji AND r.user_id = actor;
    RETURN '';
  END IF;
  IF (SELECT count(DISTINCT r.emoji) FROM reactions AS r WHERE r.discussion_id = of_discussion
    AND r.seq = of_seq AND r.emoji <> of_emoji) >= most_kinds
    OR (SELECT count(*) FROM reactions AS r WHERE r.discussion_id = of_discussion
      AND r.seq = of_seq AND (r.emoji, r.user_id) <> (of_emoji, actor)) >= most THEN
    RETURN 'too_many_reactions';
  END IF;
  INSERT INTO reactions (discussion_id, seq, emoji, user_id)
  VALUES (of_discussion, of_seq, of_emoji, actor)
  ON CONFLICT DO NOTHING;
  RETURN '';
END
$function$;

CREATE OR REPLACE FUNCTION public.claim_attachments(count integer)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
BEGIN
  UPDATE attachments AS a SET discussion_id = m.discussion_id, seq = m.seq
  FROM messages AS m
  WHERE m.position > (SELECT max(position) FROM messages) - count AND a.id = ANY (m.attachment_ids);
END
$function$;

CREATE OR REPLACE FUNCTION public.delete_message(of_session uuid, deleter uuid, of_discussion uuid, of_seq bigint)
 RETURNS text
 LANGUAGE plpgsql
AS $function$
DECLARE
  locked text := lock_discussions(ARRAY[of_discussion])::text;
  refused text := act_refusal(of_session, deleter, of_discussion, of_seq);
BEGIN
  IF refused IS NOT NULL THEN
    RETURN refused;
  END IF;
  IF standing(of_discussion, deleter) = 'member' AND NOT EXISTS (SELECT FROM messages AS m
    WHERE m.discussion_id = of_discussion AND m.seq = of_seq AND m.sender_id = deleter) THEN
    RETURN 'forbidden';
  END IF;
  UPDATE messages AS m SET deleted_at = clock_timestamp()
  WHERE m.discussion_id = of_discussion AND m.seq = of_seq AND m.deleted_at IS NULL;
  RETURN '';
END
$function$;

CREATE OR REPLACE FUNCTION public.discussion_identity(kind text, name text, member_ids uuid[])
 RETURNS text
 LANGUAGE sql
 IMMUTABLE
AS $function$
  SELECT CASE WHEN cardinality(member_ids) <= 101 THEN kind || ':' || encode(sha256(convert_to(
    (SELECT string_agg(id::text, ',' ORDER BY id) FROM (SELECT DISTINCT unnest(member_ids) AS id) AS ids)
      || E'\n' || coalesce(name, ''), 'UTF8')), 'hex') END
$function$;

CREATE OR REPLACE FUNCTION public.discussion_json(d discussions, reader uuid)
 RETURNS json
 LANGUAGE sql
 STABLE PARALLEL SAFE
AS $function$
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
$function$;

CREATE OR REPLACE FUNCTION public.discussion_title(d discussions, reader uuid)
 RETURNS text
 LANGUAGE sql
 STABLE PARALLEL SAFE
AS $function$
  SELECT coalesce(
    d.name,
    (SELECT string_agg(u.display_name, ', ' ORDER BY o.joined_at, o.user_id)
      FROM (
        SELECT m.user_id, m.joined_at FROM members AS m
        WHERE m.discussion_id = d.id AND m.user_id <> reader ORDER BY m.joined_at, m.user_id LIMIT 20
      ) AS o JOIN users AS u ON u.id = o.user_id),
    (SELECT u.display_name || ' (you)' FROM users AS u WHERE u.id = reader),
    '')
$function$;

CREATE OR REPLACE FUNCTION public.discussions_deleted()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
  PERFORM lock_discussions(array(SELECT id FROM old_rows));
  INSERT INTO discussion_removals (discussion_id)
  SELECT o.id FROM old_rows AS o
  WHERE EXISTS (SELECT FROM messages AS m WHERE m.discussion_id = o.id)
    OR EXISTS (SELECT FROM events AS e
      WHERE e.discussion_id = o.id AND e.user_id IS NULL AND e.type <> 'event.erased')
  ON CONFLICT (discussion_id) DO UPDATE SET erased_to = 0;
  RETURN NULL;
END
$function$;

CREATE OR REPLACE FUNCTION public.discussions_to_leave(leaver uuid)
 RETURNS SETOF uuid
 LANGUAGE sql
 STABLE
AS $function$
  SELECT m.discussion_id FROM members AS m JOIN discussions AS d ON d.id = m.discussion_id
  WHERE m.user_id = leaver AND (d.kind = 'group' OR NOT has_others(d.id, leaver))
$function$;

CREATE OR REPLACE FUNCTION public.discussions_updated()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
DECLARE
  newest bigint;
BEGIN
  IF NOT EXISTS (
    SELECT FROM new_rows AS n JOIN old_rows AS o USING (id)
    WHERE (n.name, n.visibility) IS DISTINCT FROM (o.name, o.visibility)
  ) THEN
    RETURN NULL;
  END IF;
  newest := lock_log(); -- as for members
  PERFORM append_events((
    SELECT array_agg(
      ROW(n.id, NULL, 'discussion.updated',
        '{"discussion":' || event_discussion_json(ROW(n.*)::discussions)::text || '}', NULL)::event_draft
      ORDER BY n.id)
    FROM new_rows AS n JOIN old_rows AS o USING (id)
    WHERE (n.name, n.visibility) IS DISTINCT FROM (o.name, o.visibility)
  ));
  RETURN NULL;
END
$function$;

CREATE OR REPLACE FUNCTION public.edit_json(e message_edits)
 RETURNS json
 LANGUAGE sql
 STABLE PARALLEL SAFE
AS $function$
  SELECT row_to_json(ROW(e.version, e.content, e.mentions, wire_time(e.created_at))::edit_shape)
$function$;

CREATE OR REPLACE FUNCTION public.edit_message(of_session uuid, editor uuid, of_discussion uuid, of_seq bigint, new_content text)
 RETURNS text
 LANGUAGE plpgsql
AS $function$
DECLARE
  locked text := lock_discussions(ARRAY[of_discussion])::text;
  refused text := act_refusal(of_session, editor, of_discussion, of_seq);
  stored messages;
BEGIN
  IF refused IS NOT NULL THEN
    RETURN refused;
  END IF;
  SELECT * INTO stored FROM messages AS m WHERE m.discussion_id = of_discussion AND m.seq = of_seq;
  CASE
    WHEN stored.sender_id <> editor THEN RETURN 'forbidden';
    WHEN stored.deleted_at IS NOT NULL THEN RETURN 'message_deleted';
    WHEN is_blocked(of_discussion, editor) THEN RETURN 'blocked';
    WHEN new_content = '' AND stored.attachment_ids = '{}' THEN RETURN 'content_required';
    ELSE NULL;
  END CASE;
  UPDATE messages AS m SET content = new_content, mentions = mentioned_ids(of_discussion, new_content)
  WHERE m.discussion_id = of_discussion AND m.seq = of_seq AND m.content <> new_content;
  RETURN (
    SELECT message_json(m) FROM messages AS m WHERE m.discussion_id = of_discussion AND m.seq = of_seq);
END
$function$;

CREATE OR REPLACE FUNCTION public.effective_last_read_seq(m members)
 RETURNS bigint
 LANGUAGE sql
 STABLE PARALLEL SAFE
AS $function$
  SELECT greatest(m.last_read_seq, (
    SELECT max(own.seq) FROM messages AS own
    WHERE own.discussion_id = m.discussion_id AND own.sender_id = m.user_id AND own.seq > 0
  ))
$function$;

CREATE OR REPLACE FUNCTION public.empty_discussion(of_discussion uuid, most integer)
 RETURNS integer
 LANGUAGE plpgsql
AS $function$
DECLARE
  after bigint;
  after_seq bigint;
  emptied int;
  removed int := 0;
BEGIN
  INSERT INTO discussion_removals (discussion_id) VALUES (of_discussion) ON CONFLICT DO NOTHING;
  SELECT r.erased_to, r.removed_to INTO after, after_seq
  FROM discussion_removals AS r WHERE r.discussion_id = of_discussion;
  -- Locked in order, as the pruning of old events deletes them in order.
  WITH next AS (
    SELECT e.position FROM events AS e WHERE e.discussion_id = of_discussion AND e.position > after
    ORDER BY e.position LIMIT most FOR UPDATE
  ), erased AS (
    UPDATE events AS e SET type = 'event.erased', data = '{}', seq = NULL
    FROM next AS n WHERE e.position = n.position AND e.user_id IS NULL AND e.type <> 'event.erased'
  )
  SELECT count(*), max(n.position) INTO emptied, after FROM next AS n;
  IF emptied < most THEN
    -- What comes after the last one is what the messages leave at their positions.
    after := 9223372036854775807;
    WITH gone AS (
      DELETE FROM messages AS m WHERE m.discussion_id = of_discussion AND m.seq IN (
        SELECT x.seq FROM messages AS x WHERE x.discussion_id = of_discussion AND x.seq > after_seq
        ORDER BY x.seq LIMIT most - emptied)
      RETURNING m.seq
    )
    SELECT count(*), max(g.seq) INTO removed, after_seq FROM gone AS g;
  END IF;
  IF emptied + removed < most THEN
    DELETE FROM discussion_removals AS r WHERE r.discussion_id = of_discussion;
  ELSE
    UPDATE discussion_removals AS r
    SET erased_to = after, removed_to = greatest(after_seq, r.removed_to)
    WHERE r.discussion_id = of_discussion;
  END IF;
  RETURN emptied + removed;
END
$function$;

CREATE OR REPLACE FUNCTION public.erase_attachments(ids uuid[])
 RETURNS void
 LANGUAGE plpgsql
AS $function$
DECLARE
  total_bytes bigint;
BEGIN
  WITH gone AS (DELETE FROM attachments AS a WHERE a.id = ANY (ids) RETURNING a.size)
  SELECT sum(size) INTO total_bytes FROM gone;
  IF total_bytes <= 256 * 1024 * 1024 THEN
    DELETE FROM attachment_chunks AS c WHERE c.attachment_id = ANY (ids);
  END IF;
END
$function$;

CREATE OR REPLACE FUNCTION public.erase_events(of_discussions uuid[])
 RETURNS void
 LANGUAGE sql
AS $function$
  UPDATE events AS e SET type = 'event.erased', data = '{}', seq = NULL
  WHERE e.discussion_id = ANY (of_discussions) AND e.user_id IS NULL AND e.type <> 'event.erased'
$function$;

CREATE OR REPLACE FUNCTION public.erase_user(erased_id uuid, current_hash text)
 RETURNS text
 LANGUAGE plpgsql
AS $function$
BEGIN
  PERFORM FROM users AS u
  WHERE u.id = erased_id AND u.password_hash = current_hash AND u.erased_at IS NULL FOR UPDATE;
  IF NOT FOUND THEN
    RETURN 'wrong';
  END IF;
  IF EXISTS (SELECT FROM discussions_to_leave(erased_id)) THEN
    RETURN 'again';
  END IF;
  UPDATE users AS u SET username = 'deleted-' || substr(md5(gen_random_uuid()::text), 1, 24),
    display_name = 'Deleted user', email = NULL, password_hash = '', status_text = '', erased_at = now()
  WHERE u.id = erased_id;
  UPDATE sessions AS s SET revoked_at = now() WHERE s.user_id = erased_id AND s.revoked_at IS NULL;
  RETURN 'erased';
END
$function$;

CREATE OR REPLACE FUNCTION public.event_data(of_type text, of_discussion uuid, of_seq bigint, data text)
 RETURNS text
 LANGUAGE plpgsql
 STABLE PARALLEL SAFE
AS $function$
BEGIN
  IF of_type <> 'message.updated' THEN
    RETURN data;
  END IF;
  RETURN (SELECT '{"message":' || message_json(m, data) || '}' FROM messages AS m
    WHERE m.discussion_id = of_discussion AND m.seq = of_seq);
END
$function$;

CREATE OR REPLACE FUNCTION public.event_discussion_json(d discussions)
 RETURNS json
 LANGUAGE sql
 STABLE PARALLEL SAFE
AS $function$
  SELECT row_to_json(ROW(
    d.id, d.kind, d.name, d.visibility, d.created_by, wire_time(d.created_at),
    (SELECT count(*) FROM members AS m WHERE m.discussion_id = d.id),
    first_members_json(d.id), last_seq(d.id)
  )::event_discussion_shape)
$function$;

CREATE OR REPLACE FUNCTION public.event_line(of_position bigint, discussion_id uuid, user_id uuid, type text, at text, data text)
 RETURNS text
 LANGUAGE sql
 STABLE
AS $function$
  SELECT concat(of_position, E'\t', discussion_id, E'\t', user_id, E'\t', type, E'\t', at, E'\t', data)
$function$;

CREATE OR REPLACE FUNCTION public.find_mentioned(of_discussion uuid, content text)
 RETURNS uuid[]
 LANGUAGE sql
 STABLE
AS $function$
  SELECT coalesce(array_agg(id ORDER BY place), '{}')
  FROM (
    SELECT named.id, min(found.place) AS place
    FROM (
      SELECT lower(match[1]) AS name, min(place) AS place
      FROM regexp_matches(content, '(?<![[:alnum:]_.@-])@([a-zA-Z0-9_.-]{3,64})', 'g')
        WITH ORDINALITY AS matches (match, place)
      GROUP BY lower(match[1]) ORDER BY min(place) LIMIT 50
    ) AS found
    CROSS JOIN LATERAL (
      SELECT u.id FROM users AS u JOIN members AS m ON m.user_id = u.id AND m.discussion_id = of_discussion
      WHERE u.username IN (found.name, rtrim(found.name, '._-'))
      ORDER BY length(u.username) DESC LIMIT 1
    ) AS named
    GROUP BY named.id
  ) AS mentioned
$function$;

CREATE OR REPLACE FUNCTION public.first_content(m messages)
 RETURNS text
 LANGUAGE sql
 STABLE
AS $function$
  SELECT coalesce((SELECT e.content FROM message_edits AS e
    WHERE e.discussion_id = m.discussion_id AND e.seq = m.seq AND e.version = 1), m.content)
$function$;

CREATE OR REPLACE FUNCTION public.first_members_json(of_discussion uuid)
 RETURNS json
 LANGUAGE sql
 STABLE PARALLEL SAFE
AS $function$
  SELECT coalesce(json_agg(member_json(first_members::members)), '[]'::json)
  FROM (
    SELECT * FROM members AS m WHERE m.discussion_id = of_discussion ORDER BY m.joined_at, m.user_id LIMIT 100
  ) AS first_members
$function$;

CREATE OR REPLACE FUNCTION public.first_seq_after(of_discussion uuid, after bigint)
 RETURNS bigint
 LANGUAGE plpgsql
 STABLE
AS $function$
DECLARE
  gone bigint := coalesce(
    (SELECT r.removed_to FROM discussion_removals AS r WHERE r.discussion_id = of_discussion), 0);
  above bigint := last_seq(of_discussion) + 1; -- comes after the position, or there is none
  below bigint := above - 1; -- is looked at; then: comes before it
  step bigint := 1;
  middle bigint;
BEGIN
  WHILE below > gone AND is_after(of_discussion, below, after) LOOP
    above := below;
    below := below - step;
    step := step * 2;
  END LOOP;
  below := greatest(below, gone);
  WHILE above - below > 1 LOOP
    middle := (above + below) / 2;
    IF is_after(of_discussion, middle, after) THEN
      above := middle;
    ELSE
      below := middle;
    END IF;
  END LOOP;
  RETURN above;
END
$function$;

CREATE OR REPLACE FUNCTION public.has_others(of_discussion uuid, than_user uuid)
 RETURNS boolean
 LANGUAGE sql
 STABLE
AS $function$
  SELECT EXISTS (
    SELECT FROM members AS m JOIN users AS u ON u.id = m.user_id
    WHERE m.discussion_id = of_discussion AND m.user_id <> than_user AND u.erased_at IS NULL)
$function$;

CREATE OR REPLACE FUNCTION public.hold_attachments(sender_ids uuid[], attachment_lists text[])
 RETURNS boolean[]
 LANGUAGE plpgsql
AS $function$
BEGIN
  PERFORM FROM attachments AS a
  WHERE a.id IN (SELECT unnest(list::uuid[]) FROM unnest(attachment_lists) AS list)
    AND a.discussion_id IS NULL
  ORDER BY a.id FOR NO KEY UPDATE;
  RETURN (
    SELECT array_agg(s.list IS NULL OR cardinality(s.list::uuid[]) = (
      SELECT count(*) FROM attachments AS a
      WHERE a.id = ANY (s.list::uuid[]) AND a.user_id = s.sender_id AND a.discussion_id IS NULL
    ) ORDER BY s.ordinal)
    FROM unnest(sender_ids, attachment_lists) WITH ORDINALITY AS s (sender_id, list, ordinal)
  );
END
$function$;

CREATE OR REPLACE FUNCTION public.index_messages(most_messages integer, most_bytes integer)
 RETURNS integer
 LANGUAGE plpgsql
AS $function$
DECLARE
  last search_documents;
  made int;
BEGIN
  IF NOT pg_try_advisory_xact_lock(search_lock_key()) THEN
    RETURN NULL;
  END IF;
  SELECT * INTO last FROM search_documents ORDER BY position DESC LIMIT 1;
  INSERT INTO search_documents (discussion_id, seq, position, place, sender_id, words)
  SELECT n.discussion_id, n.seq, n.position,
    coalesce(last.place, 0) + row_number() OVER (ORDER BY n.position), n.sender_id,
    CASE WHEN n.deleted_at IS NULL AND NOT EXISTS (
        SELECT FROM discussion_removals AS r WHERE r.discussion_id = n.discussion_id)
      THEN search_words(n.content) ELSE '' END
  FROM (
    SELECT m.*,
      sum(octet_length(m.content)) OVER (ORDER BY m.position) - octet_length(m.content) AS bytes_before
    FROM (
      SELECT * FROM messages WHERE position > coalesce(last.position, '-9223372036854775808')
      ORDER BY position LIMIT most_messages
    ) AS m
  ) AS n
  WHERE n.bytes_before <= most_bytes;
  GET DIAGNOSTICS made = ROW_COUNT;
  RETURN made;
END
$function$;

CREATE OR REPLACE FUNCTION public.is_after(of_discussion uuid, of_seq bigint, after bigint)
 RETURNS boolean
 LANGUAGE sql
 STABLE
AS $function$
  SELECT coalesce((SELECT m.position > after FROM messages AS m
    WHERE m.discussion_id = of_discussion AND m.seq <= of_seq ORDER BY m.seq DESC LIMIT 1), false)
$function$;

CREATE OR REPLACE FUNCTION public.is_blocked(of_discussion uuid, of_user uuid)
 RETURNS boolean
 LANGUAGE sql
 STABLE PARALLEL SAFE
AS $function$
  SELECT coalesce((SELECT m.blocked FROM members AS m
    WHERE m.discussion_id = of_discussion AND m.user_id = of_user), false)
$function$;

CREATE OR REPLACE FUNCTION public.is_large(of_discussion uuid)
 RETURNS boolean
 LANGUAGE sql
 STABLE
AS $function$
  SELECT count(*) > 50 FROM (
    SELECT FROM members AS m WHERE m.discussion_id = of_discussion LIMIT 51
  ) AS some_members
$function$;

CREATE OR REPLACE FUNCTION public.is_live(of_session uuid, of_user uuid)
 RETURNS boolean
 LANGUAGE sql
 STABLE PARALLEL SAFE
AS $function$
  SELECT EXISTS (SELECT FROM sessions AS s
    WHERE s.id = of_session AND s.user_id = of_user AND s.revoked_at IS NULL AND s.expires_at > now())
$function$;

CREATE OR REPLACE FUNCTION public.last_said(of_discussion uuid, of_user uuid)
 RETURNS bigint
 LANGUAGE sql
 STABLE PARALLEL SAFE
AS $function$
  SELECT coalesce((SELECT max(m.seq) FROM messages AS m
    WHERE m.discussion_id = of_discussion AND m.sender_id = of_user AND m.seq > 0), 0)
$function$;

CREATE OR REPLACE FUNCTION public.last_seq(of_discussion uuid)
 RETURNS bigint
 LANGUAGE sql
 STABLE PARALLEL SAFE
AS $function$
  SELECT coalesce(max(m.seq), 0) FROM messages AS m WHERE m.discussion_id = of_discussion
$function$;

CREATE OR REPLACE FUNCTION public.leave_discussions(leaver uuid, most integer)
 RETURNS integer
 LANGUAGE plpgsql
AS $function$
DECLARE
  left_ids uuid[] := array(SELECT id FROM discussions_to_leave(leaver) AS id ORDER BY id LIMIT most);
  deserted_ids uuid[];
  deserted_id uuid;
  emptied_most int := 2000; -- as one deletion does: removalStep of server/limits.ts, too
  heirs members[];
BEGIN
  PERFORM FROM discussions AS d WHERE d.id = ANY (left_ids) ORDER BY d.id FOR NO KEY UPDATE;
  PERFORM lock_discussions(left_ids);
  deserted_ids := array(SELECT id FROM unnest(left_ids) AS id WHERE NOT has_others(id, leaver));
  heirs := array(
    SELECT heir FROM unnest(left_ids) AS id CROSS JOIN LATERAL (
      SELECT h FROM members AS h WHERE h.discussion_id = id AND h.user_id <> leaver
      ORDER BY h.role = 'admin' DESC, h.joined_at, h.user_id LIMIT 1
    ) AS first (heir)
    WHERE id <> ALL (deserted_ids) AND NOT EXISTS (
      SELECT FROM members AS o WHERE o.discussion_id = id AND o.user_id <> leaver AND o.role = 'owner'));
  PERFORM FROM members AS m
  WHERE m.discussion_id = ANY (left_ids) AND (m.user_id = leaver
    OR EXISTS (
      SELECT FROM unnest(heirs) AS h WHERE h.discussion_id = m.discussion_id AND h.user_id = m.user_id))
  ORDER BY m.discussion_id, m.user_id FOR UPDATE;
  PERFORM set_group_identity(d.id, d.name, '{}', ARRAY[leaver]) FROM discussions AS d
  WHERE d.id = ANY (left_ids) AND d.id <> ALL (deserted_ids);
  FOR deserted_id IN SELECT id FROM unnest(deserted_ids) AS id ORDER BY last_seq(id) LOOP
    EXIT WHEN emptied_most <= 0;
    emptied_most := emptied_most - empty_discussion(deserted_id, emptied_most);
  END LOOP;

  UPDATE members AS m SET role = 'owner' FROM unnest(heirs) AS h
  WHERE m.discussion_id = h.discussion_id AND m.user_id = h.user_id;
  DELETE FROM discussions AS d WHERE d.id = ANY (deserted_ids);
  DELETE FROM members AS m WHERE m.user_id = leaver AND m.discussion_id = ANY (left_ids);
  RETURN cardinality(left_ids);
END
$function$;

CREATE OR REPLACE FUNCTION public.leave_instance(of_instance uuid, grace_ms integer)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
DECLARE
  locked text := lock_presences()::text;
BEGIN
  DELETE FROM instances AS i WHERE i.id = of_instance
    AND NOT EXISTS (SELECT FROM presences AS p WHERE p.instance_id = of_instance);
  UPDATE instances AS i SET expires_at = clock_timestamp() + grace_ms * interval '1 millisecond'
  WHERE i.id = of_instance;
  IF FOUND THEN
    PERFORM pg_notify('signals', 'leaving');
  END IF;
END
$function$;

CREATE OR REPLACE FUNCTION public.lock_discussions(ids uuid[])
 RETURNS void
 LANGUAGE plpgsql
AS $function$
DECLARE
  locked text;
BEGIN
  IF cardinality(ids) = 1 THEN
    locked := pg_advisory_xact_lock(log_lock_key()::int, uuid_hash(ids[1]))::text;
  ELSE
    PERFORM pg_advisory_xact_lock(log_lock_key()::int, key)
    FROM (SELECT DISTINCT uuid_hash(id) AS key FROM unnest(ids) AS id ORDER BY key) AS keys;
  END IF;
END
$function$;

CREATE OR REPLACE FUNCTION public.lock_log()
 RETURNS bigint
 LANGUAGE plpgsql
AS $function$
DECLARE
  locked text := pg_advisory_xact_lock(log_lock_key())::text;
BEGIN
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE invalid_transaction_state USING MESSAGE = 'what is told of by the log needs READ COMMITTED';
  END IF;
  RETURN greatest((SELECT max(position) FROM messages), (SELECT max(position) FROM events), 0);
END
$function$;

CREATE OR REPLACE FUNCTION public.lock_pair(its_identity text)
 RETURNS void
 LANGUAGE sql
AS $function$
  SELECT pg_advisory_xact_lock((log_lock_key() + 1)::int, hashtext(its_identity))
$function$;

CREATE OR REPLACE FUNCTION public.lock_presences()
 RETURNS void
 LANGUAGE plpgsql
AS $function$
DECLARE
  done text;
BEGIN
  -- All who store messages wait for whoever has NOTIFYed until its commit is done: not also for the disk.
  -- What a crash of Postgres may take away are times of the last second.
  done := set_config('synchronous_commit', 'off', true);
  done := pg_advisory_xact_lock(presence_lock_key())::text;
END
$function$;

CREATE OR REPLACE FUNCTION public.log_cursor()
 RETURNS text
 LANGUAGE sql
 STABLE PARALLEL SAFE
AS $function$
  SELECT epoch || '.' || greatest((SELECT max(position) FROM messages), (SELECT max(position) FROM events), 0)
  FROM log_epoch
$function$;

CREATE OR REPLACE FUNCTION public.log_lock_key()
 RETURNS bigint
 LANGUAGE sql
 IMMUTABLE
AS $function$ SELECT 5521862 $function$;

CREATE OR REPLACE FUNCTION public.log_place()
 RETURNS text
 LANGUAGE plpgsql
 STABLE
AS $function$
BEGIN
  RETURN concat_ws('.', (SELECT system_identifier FROM pg_control_system()),
    (SELECT oid FROM pg_database WHERE datname = current_database()), 'log_epoch'::regclass::oid,
    left(pg_walfile_name(pg_current_wal_lsn()), 8));
EXCEPTION WHEN insufficient_privilege OR undefined_function OR feature_not_supported
  OR object_not_in_prerequisite_state THEN
  RETURN '';
END
$function$;

CREATE OR REPLACE FUNCTION public.mark_read(session_ids uuid[], user_ids uuid[], discussion_ids uuid[], seqs bigint[])
 RETURNS TABLE(answer text)
 LANGUAGE plpgsql
AS $function$
#variable_conflict use_column
BEGIN
  PERFORM FROM members AS m
  JOIN unnest(user_ids, discussion_ids) AS g (user_id, discussion_id) USING (user_id, discussion_id)
  ORDER BY m.discussion_id, m.user_id FOR NO KEY UPDATE OF m;
  UPDATE members AS m SET last_read_seq = g.seq
  FROM (
    SELECT g.user_id, g.discussion_id, least(max(g.seq), last_seq(g.discussion_id)) AS seq
    FROM unnest(session_ids, user_ids, discussion_ids, seqs) AS g (session_id, user_id, discussion_id, seq)
    WHERE is_live(g.session_id, g.user_id)
    GROUP BY g.user_id, g.discussion_id
  ) AS g
  WHERE m.user_id = g.user_id AND m.discussion_id = g.discussion_id AND g.seq > effective_last_read_seq(m);
  RETURN QUERY
  SELECT CASE
    WHEN NOT is_live(g.session_id, g.user_id) THEN 'session_revoked'
    WHEN m.user_id IS NOT NULL THEN concat('{"last_read_seq":', effective_last_read_seq(m),
      ',"unread_count":', unread_count(m), '}')
    WHEN standing(g.discussion_id, g.user_id) = 'visitor' THEN 'not_a_member'
    ELSE 'discussion_not_found'
  END
  FROM unnest(session_ids, user_ids, discussion_ids, seqs)
    WITH ORDINALITY AS g (session_id, user_id, discussion_id, seq, place)
  LEFT JOIN members AS m ON m.user_id = g.user_id AND m.discussion_id = g.discussion_id
  ORDER BY g.place;
END
$function$;

CREATE OR REPLACE FUNCTION public.me_json(u users)
 RETURNS json
 LANGUAGE sql
 STABLE PARALLEL SAFE
AS $function$
  SELECT row_to_json(ROW(
    u.id, u.username, u.display_name, '/api/v1/users/' || u.id || '/avatar', u.status_text,
    wire_time(u.created_at), u.email
  )::me_shape)
$function$;

CREATE OR REPLACE FUNCTION public.member_json(m members)
 RETURNS json
 LANGUAGE sql
 STABLE PARALLEL SAFE
AS $function$
  SELECT row_to_json(ROW(m.user_id, m.role, wire_time(m.joined_at), effective_last_read_seq(m))::member_shape)
$function$;

CREATE OR REPLACE FUNCTION public.members_deleted()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
DECLARE
  drafts event_draft[];
BEGIN
  PERFORM lock_discussions(array(SELECT DISTINCT o.discussion_id FROM old_rows AS o));
  SELECT array_agg(
    ROW(o.discussion_id, o.user_id,
      CASE WHEN d.id IS NULL THEN 'discussion.deleted' ELSE 'member.removed' END,
      CASE WHEN d.id IS NULL THEN '{}' ELSE '{"user_id":"' || o.user_id || '"}' END, NULL)::event_draft
    ORDER BY o.discussion_id, o.user_id)
  INTO drafts
  FROM old_rows AS o LEFT JOIN discussions AS d ON d.id = o.discussion_id;
  PERFORM append_events(drafts);
  RETURN NULL;
END
$function$;

CREATE OR REPLACE FUNCTION public.members_inserted()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
  -- Here, as the insert waits for whoever is erasing the account.
  IF EXISTS (SELECT FROM new_rows AS n JOIN users AS u ON u.id = n.user_id WHERE u.erased_at IS NOT NULL) THEN
    RAISE foreign_key_violation
      USING MESSAGE = 'the account was erased', CONSTRAINT = 'members_user_id_fkey';
  END IF;
  PERFORM append_events((
    WITH begun AS (
      SELECT DISTINCT n.discussion_id FROM new_rows AS n
      WHERE NOT EXISTS (
        SELECT FROM members AS m WHERE m.discussion_id = n.discussion_id
          AND NOT EXISTS (
            SELECT FROM new_rows AS o WHERE (o.discussion_id, o.user_id) = (m.discussion_id, m.user_id))
      )
    ), drafts AS (
      SELECT 1 AS step, n.discussion_id, n.user_id, n.joined_at,
        CASE WHEN b.discussion_id IS NULL THEN 'member.added' ELSE 'member.enrolled' END AS type,
        CASE WHEN b.discussion_id IS NULL
          THEN '{"member":' || member_json(ROW(n.*)::members)::text || '}' ELSE '{}' END AS data
      FROM new_rows AS n LEFT JOIN begun AS b USING (discussion_id)
      UNION ALL
      SELECT 2, d.id, NULL, NULL, 'discussion.created',
        '{"discussion":' || event_discussion_json(d)::text || '}'
      FROM begun AS b JOIN discussions AS d ON d.id = b.discussion_id
    )
    SELECT array_agg(ROW(discussion_id, user_id, type, data, NULL)::event_draft
      ORDER BY discussion_id, step, joined_at, user_id)
    FROM drafts
  ));
  RETURN NULL;
END
$function$;

CREATE OR REPLACE FUNCTION public.members_updated()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
DECLARE
  newest bigint;
BEGIN
  IF NOT EXISTS (
    SELECT FROM new_rows AS n JOIN old_rows AS o USING (discussion_id, user_id)
    WHERE (n.role, n.last_read_seq) <> (o.role, o.last_read_seq)
  ) THEN
    RETURN NULL;
  END IF;
  newest := lock_log();
  PERFORM append_events((
    WITH changed AS (
      SELECT n.discussion_id, n.user_id, n.role <> o.role AS role_changed,
        n.last_read_seq <> o.last_read_seq AND NOT EXISTS (
          SELECT FROM messages AS own WHERE own.discussion_id = n.discussion_id
            AND own.sender_id = n.user_id AND own.seq >= n.last_read_seq AND own.seq > 0
        ) AS read_changed
      FROM new_rows AS n JOIN old_rows AS o USING (discussion_id, user_id)
    ), drafts AS (
      SELECT c.discussion_id, c.user_id, 'member.updated' AS type,
        '{"member":' || member_json(m)::text || '}' AS data
      FROM changed AS c JOIN members AS m USING (discussion_id, user_id) WHERE c.role_changed
      UNION ALL
      SELECT c.discussion_id, CASE WHEN is_large(c.discussion_id) THEN c.user_id END, 'read.updated',
        '{"user_id":"' || c.user_id || '","last_read_seq":' || effective_last_read_seq(m) || '}'
      FROM changed AS c JOIN members AS m USING (discussion_id, user_id) WHERE c.read_changed
    )
    SELECT array_agg(ROW(discussion_id, user_id, type, data, NULL)::event_draft
      ORDER BY discussion_id, type, user_id)
    FROM drafts
  ));
  RETURN NULL;
END
$function$;

CREATE OR REPLACE FUNCTION public.mentioned_ids(of_discussion uuid, content text)
 RETURNS uuid[]
 LANGUAGE sql
 STABLE
AS $function$
  SELECT CASE WHEN content LIKE '%@%' THEN find_mentioned(of_discussion, content) ELSE '{}' END
$function$;

CREATE OR REPLACE FUNCTION public.message_json(m messages)
 RETURNS text
 LANGUAGE sql
 STABLE PARALLEL SAFE
AS $function$
  SELECT message_json(m, reactions_json(m.discussion_id, m.seq))
$function$;

CREATE OR REPLACE FUNCTION public.message_json(m messages, reactions text)
 RETURNS text
 LANGUAGE sql
 STABLE PARALLEL SAFE
AS $function$
  SELECT concat(
    '{"discussion_id":"', m.discussion_id, '","seq":', m.seq, ',"sender_id":"', m.sender_id,
    '","content":', to_json(m.content), ',"client_id":', coalesce(to_json(m.client_id)::text, 'null'),
    ',"reply_to_seq":', coalesce(m.reply_to_seq::text, 'null'),
    ',"mentions":', CASE WHEN m.mentions = '{}' THEN '[]' ELSE to_json(m.mentions)::text END,
    ',"attachments":',
    CASE WHEN m.attachment_ids = '{}' THEN '[]' ELSE attachments_json(m.attachment_ids) END,
    ',"reactions":', reactions, ',"created_at":"', wire_time(m.created_at),
    '","edited_at":', coalesce('"' || wire_time(m.edited_at) || '"', 'null'),
    ',"deleted_at":', coalesce('"' || wire_time(m.deleted_at) || '"', 'null'), '}')
$function$;

CREATE OR REPLACE FUNCTION public.message_line(m messages)
 RETURNS text
 LANGUAGE sql
 STABLE
AS $function$
  SELECT event_line(m.position, m.discussion_id, NULL, 'message.new', wire_time(m.created_at),
    new_message_data(m))
$function$;

CREATE OR REPLACE FUNCTION public.messages_changing()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
  IF coalesce(OLD.deleted_at, NEW.deleted_at) IS NULL THEN
    NEW.edited_at := clock_timestamp();
  ELSE
    NEW.deleted_at := coalesce(OLD.deleted_at, NEW.deleted_at);
    NEW.content := '';
    NEW.attachment_ids := '{}';
  END IF;
  RETURN NEW;
END
$function$;

CREATE OR REPLACE FUNCTION public.messages_deleted()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
  INSERT INTO events (position, discussion_id, type, data, at)
  SELECT o.position, o.discussion_id, 'event.erased', '{}', o.created_at
  FROM old_rows AS o, log_epoch AS l WHERE o.position > l.pruned_to;
  IF EXISTS (SELECT FROM old_rows AS o WHERE NOT EXISTS (
    SELECT FROM discussion_removals AS r WHERE r.discussion_id = o.discussion_id)) THEN
    UPDATE events AS e SET type = 'event.erased', data = '{}', seq = NULL
    FROM old_rows AS o WHERE (e.discussion_id, e.seq) = (o.discussion_id, o.seq);
  END IF;
  DELETE FROM message_edits AS e USING old_rows AS o
  WHERE (e.discussion_id, e.seq) = (o.discussion_id, o.seq);
  DELETE FROM reactions AS r USING old_rows AS o
  WHERE (r.discussion_id, r.seq) = (o.discussion_id, o.seq);
  RETURN NULL;
END
$function$;

CREATE OR REPLACE FUNCTION public.messages_inserted()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
DECLARE
  lines text[];
  first bigint;
  newest bigint;
  done text;
BEGIN
  -- In the order of insertion, which is that of the senders' frames and of their positions.
  SELECT array_agg(message_line(ROW(n.*)::messages)), min(n.position) INTO lines, first FROM new_rows AS n;
  IF lines IS NULL THEN
    RETURN NULL;
  END IF;
  IF first IS NULL THEN
    -- Inserted by hand. Positions come last, as the log's lock comes after the discussions'.
    newest := lock_log();
    WITH placed AS (
      UPDATE messages AS m SET position = newest + n.place
      FROM (SELECT discussion_id, seq, row_number() OVER () AS place FROM new_rows) AS n
      WHERE m.discussion_id = n.discussion_id AND m.seq = n.seq
      RETURNING m.*
    )
    SELECT array_agg(message_line(ROW(p.*)::messages) ORDER BY p.position) INTO lines FROM placed AS p;
    first := newest + 1;
  END IF;
  done := announce_events(first - 1, lines);
  -- For send_messages(), which would otherwise have to read them again; not for imports by the million.
  IF cardinality(lines) <= 1000 THEN
    done := set_config('parley.appended', array_to_string(lines, E'\n'), true);
  END IF;
  RETURN NULL;
END
$function$;

CREATE OR REPLACE FUNCTION public.messages_take_seq()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
  PERFORM lock_discussions(ARRAY[NEW.discussion_id]);
  IF NOT EXISTS (SELECT FROM discussions AS d WHERE d.id = NEW.discussion_id) THEN
    RAISE foreign_key_violation USING MESSAGE = 'there is no such discussion';
  END IF;
  NEW.seq := last_seq(NEW.discussion_id) + 1;
  RETURN NEW;
END
$function$;

CREATE OR REPLACE FUNCTION public.messages_updated()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
  INSERT INTO message_edits (discussion_id, seq, version, content, mentions, created_at)
  SELECT o.discussion_id, o.seq, 1 + coalesce((SELECT max(e.version) FROM message_edits AS e
      WHERE e.discussion_id = o.discussion_id AND e.seq = o.seq), 0),
    o.content, o.mentions, coalesce(o.edited_at, o.created_at)
  FROM new_rows AS n JOIN old_rows AS o USING (discussion_id, seq)
  WHERE n.deleted_at IS NULL AND n.content <> o.content;
  DELETE FROM message_edits AS e USING new_rows AS n
  WHERE e.discussion_id = n.discussion_id AND e.seq = n.seq AND n.deleted_at IS NOT NULL;
  PERFORM append_events((
    SELECT array_agg(
      CASE WHEN n.deleted_at IS NULL
        THEN ROW(n.discussion_id, NULL, 'message.updated', reactions_json(n.discussion_id, n.seq),
          n.seq)::event_draft
        ELSE ROW(n.discussion_id, NULL, 'message.deleted',
          '{"seq":' || n.seq || ',"deleted_at":"' || wire_time(n.deleted_at) || '"}', NULL)::event_draft
      END ORDER BY n.discussion_id, n.seq)
    FROM new_rows AS n JOIN old_rows AS o USING (discussion_id, seq)
    WHERE n.content <> o.content OR (n.deleted_at IS NOT NULL AND o.deleted_at IS NULL)
  ));
  RETURN NULL;
END
$function$;

CREATE OR REPLACE FUNCTION public.new_message_data(m messages)
 RETURNS text
 LANGUAGE sql
 STABLE PARALLEL SAFE
AS $function$
  SELECT '{"message":' || message_json(m, '[]') || '}'
$function$;

CREATE OR REPLACE FUNCTION public.note_seen(of_users uuid[], moment timestamp with time zone)
 RETURNS void
 LANGUAGE sql
AS $function$
  INSERT INTO last_seen (user_id, at)
  SELECT u.id, moment FROM users AS u WHERE u.id = ANY (of_users) AND u.erased_at IS NULL
  ON CONFLICT (user_id) DO UPDATE SET at = greatest(last_seen.at, excluded.at)
$function$;

CREATE OR REPLACE FUNCTION public.open_discussion(of_kind text, with_name text, with_visibility text, creator_id uuid, other_ids uuid[])
 RETURNS TABLE(id uuid, created boolean)
 LANGUAGE plpgsql
AS $function$
DECLARE
  member_ids uuid[] := array(SELECT DISTINCT unnest(creator_id || other_ids));
  its_identity text := discussion_identity(of_kind, with_name, member_ids);
  its_id uuid;
BEGIN
  IF of_kind = 'direct' THEN
    PERFORM lock_pair(its_identity);
    IF EXISTS (SELECT FROM blocks AS b WHERE b.blocker_id = ANY (other_ids) AND b.blocked_id = creator_id)
      AND NOT EXISTS (SELECT FROM discussions AS d WHERE d.identity = its_identity) THEN
      RAISE check_violation USING MESSAGE = 'blocked by the other', CONSTRAINT = 'discussions_not_blocked';
    END IF;
  END IF;
  FOR attempt IN 1 .. 3 LOOP
    INSERT INTO discussions (kind, name, visibility, identity, created_by)
    VALUES (of_kind, with_name, with_visibility, its_identity, creator_id)
    ON CONFLICT (identity) DO NOTHING RETURNING discussions.id INTO its_id;
    IF its_id IS NOT NULL THEN
      INSERT INTO members (discussion_id, user_id, role, blocked)
      SELECT its_id, m, CASE WHEN m = creator_id AND of_kind = 'group' THEN 'owner' ELSE 'member' END,
        of_kind = 'direct' AND EXISTS (
          SELECT FROM blocks AS b WHERE b.blocker_id = ANY (member_ids) AND b.blocked_id = m)
      FROM unnest(member_ids) AS m ORDER BY m <> creator_id, m;
      RETURN QUERY SELECT its_id, true;
      RETURN;
    END IF;
    RETURN QUERY SELECT d.id, false FROM discussions AS d WHERE d.identity = its_identity;
    IF FOUND THEN
      RETURN;
    END IF;
    -- It was deleted, or became another group, between the two statements: again.
  END LOOP;
  RAISE EXCEPTION 'the discussion changed too often' USING ERRCODE = 'serialization_failure';
END
$function$;

CREATE OR REPLACE FUNCTION public.presence_lock_key()
 RETURNS bigint
 LANGUAGE sql
 IMMUTABLE
AS $function$ SELECT 5521864 $function$;

CREATE OR REPLACE FUNCTION public.presence_of(of_user uuid, OUT status text, OUT at timestamp with time zone)
 RETURNS record
 LANGUAGE sql
 STABLE PARALLEL SAFE
AS $function$
  SELECT CASE WHEN max(i.expires_at) > now() THEN 'online' ELSE 'offline' END,
    CASE WHEN max(i.expires_at) <= now() THEN max(i.expires_at)
      ELSE (SELECT l.at FROM last_seen AS l WHERE l.user_id = of_user) END
  FROM presences AS p JOIN instances AS i ON i.id = p.instance_id
  WHERE p.user_id = of_user
$function$;

CREATE OR REPLACE FUNCTION public.reaction_drafts(event_type text, changed reactions[])
 RETURNS event_draft[]
 LANGUAGE sql
 STABLE
AS $function$
  SELECT array_agg(
    ROW(r.discussion_id, NULL, event_type, concat('{"seq":', r.seq, ',"user_id":"', r.user_id, '","emoji":',
      to_json(r.emoji), '}'), NULL)::event_draft
    ORDER BY r.discussion_id, r.seq, r.emoji, r.user_id)
  FROM unnest(changed) AS r
$function$;

CREATE OR REPLACE FUNCTION public.reactions_deleted()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
  PERFORM append_events(reaction_drafts('reaction.removed', array(
    SELECT ROW(o.*)::reactions FROM old_rows AS o JOIN messages AS m USING (discussion_id, seq))));
  RETURN NULL;
END
$function$;

CREATE OR REPLACE FUNCTION public.reactions_inserted()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
  PERFORM append_events(reaction_drafts('reaction.added', array(
    SELECT ROW(n.*)::reactions FROM new_rows AS n)));
  RETURN NULL;
END
$function$;

CREATE OR REPLACE FUNCTION public.reactions_json(of_discussion uuid, of_seq bigint)
 RETURNS text
 LANGUAGE plpgsql
 STABLE PARALLEL SAFE
AS $function$
BEGIN
  RETURN (
    SELECT coalesce('[' || string_agg(kind.json, ',' ORDER BY kind.began, kind.emoji) || ']', '[]')
    FROM (
      SELECT r.emoji, min(r.created_at) AS began, concat('{"emoji":', to_json(r.emoji), ',"user_ids":',
        json_agg(r.user_id ORDER BY r.created_at, r.user_id), '}') AS json
      FROM reactions AS r WHERE r.discussion_id = of_discussion AND r.seq = of_seq GROUP BY r.emoji
    ) AS kind
  );
END
$function$;

CREATE OR REPLACE FUNCTION public.refusal(of_session uuid, of_sender uuid, of_discussion uuid, its_content text, its_client_id text, its_reply bigint, its_attachments uuid[])
 RETURNS text
 LANGUAGE plpgsql
 STABLE
AS $function$
DECLARE
  stored messages;
BEGIN
  IF NOT is_live(of_session, of_sender) THEN
    RETURN 'session_revoked';
  END IF;
  CASE standing(of_discussion, of_sender)
    WHEN 'owner', 'admin', 'member' THEN NULL;
    WHEN 'visitor' THEN RETURN 'not_a_member';
    ELSE RETURN 'discussion_not_found';
  END CASE;
  SELECT * INTO stored FROM messages AS m
  WHERE m.discussion_id = of_discussion AND m.sender_id = of_sender AND m.client_id = its_client_id;
  RETURN CASE
    WHEN NOT FOUND AND is_blocked(of_discussion, of_sender) THEN 'blocked'
    -- What is in the same batch was not there yet when this one was looked at: if nothing is wrong with its
    -- attachments, that was it.
    WHEN NOT FOUND AND (
      its_reply NOT BETWEEN 1 AND last_seq(of_discussion)
      OR cardinality(its_attachments) = (
        SELECT count(*) FROM attachments AS a
        WHERE a.id = ANY (its_attachments) AND a.user_id = of_sender AND a.discussion_id IS NULL)
    ) THEN 'reply_not_found'
    WHEN NOT FOUND THEN 'attachment_not_found'
    -- What it said is not known any more.
    WHEN stored.deleted_at IS NOT NULL THEN message_json(stored)
    WHEN (first_content(stored), stored.reply_to_seq, stored.attachment_ids)
      IS NOT DISTINCT FROM (its_content, its_reply, its_attachments) THEN message_json(stored)
    ELSE 'client_id_reused'
  END;
END
$function$;

CREATE OR REPLACE FUNCTION public.remove_deleted(most integer)
 RETURNS integer
 LANGUAGE plpgsql
AS $function$
DECLARE
  its_id uuid;
BEGIN
  SELECT r.discussion_id INTO its_id FROM discussion_removals AS r
  ORDER BY random() LIMIT 1 FOR UPDATE SKIP LOCKED;
  IF NOT FOUND THEN
    RETURN 0;
  END IF;
  RETURN greatest(empty_discussion(its_id, most), 1);
END
$function$;

CREATE OR REPLACE FUNCTION public.renew_epoch(of_epoch text)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
BEGIN
  UPDATE log_epoch SET epoch = substr(md5(gen_random_uuid()::text), 1, 8)
  WHERE of_epoch IS NULL OR epoch = of_epoch;
  IF FOUND THEN
    INSERT INTO log_home (home) SELECT place FROM log_place() AS place WHERE place <> ''
    ON CONFLICT (only_row) DO UPDATE SET home = excluded.home;
  END IF;
END
$function$;

CREATE OR REPLACE FUNCTION public.renew_instance(of_instance uuid, lease_ms integer, may_end boolean)
 RETURNS TABLE(is_new boolean, present bigint, ended uuid[], next_end_ms integer)
 LANGUAGE plpgsql
AS $function$
DECLARE
  locked text := lock_presences()::text;
  until timestamptz := clock_timestamp() + lease_ms * interval '1 millisecond';
  gone record;
  theirs uuid[];
BEGIN
  ended := '{}';
  UPDATE instances AS i SET expires_at = until WHERE i.id = of_instance;
  is_new := NOT FOUND;
  IF is_new THEN
    INSERT INTO instances (id, expires_at) VALUES (of_instance, until);
  END IF;
  FOR gone IN
    DELETE FROM instances AS i WHERE may_end AND i.expires_at < clock_timestamp()
    RETURNING i.id, i.expires_at
  LOOP
    WITH deleted AS (DELETE FROM presences AS p WHERE p.instance_id = gone.id RETURNING p.user_id)
    SELECT array_agg(d.user_id) INTO theirs FROM deleted AS d;
    theirs := array(SELECT id FROM unnest(theirs) AS id
      WHERE NOT EXISTS (SELECT FROM presences AS p WHERE p.user_id = id));
    PERFORM note_seen(theirs, gone.expires_at);
    ended := ended || theirs;
  END LOOP;
  present := (SELECT count(*) FROM presences AS p WHERE p.instance_id = of_instance);
  -- What ended long ago, or would last for weeks, does not fit into an int.
  next_end_ms := (
    SELECT least(greatest(extract(epoch FROM min(i.expires_at) - clock_timestamp()) * 1000, 0), 86400000)
    FROM instances AS i WHERE i.id <> of_instance);
  RETURN NEXT;
END
$function$;

CREATE OR REPLACE FUNCTION public.restore_presences(of_instance uuid, of_users uuid[])
 RETURNS void
 LANGUAGE plpgsql
AS $function$
DECLARE
  locked text := lock_presences()::text;
BEGIN
  DELETE FROM presences AS p WHERE p.instance_id = of_instance
    AND NOT EXISTS (SELECT FROM unnest(of_users) AS id WHERE id = p.user_id);
  INSERT INTO presences (user_id, instance_id) SELECT id, of_instance FROM unnest(of_users) AS id
  WHERE EXISTS (SELECT FROM instances AS i WHERE i.id = of_instance)
  ON CONFLICT DO NOTHING;
END
$function$;

CREATE OR REPLACE FUNCTION public.search_keys(segment bigint, discussion_id uuid, sender_id uuid, words text)
 RETURNS text[]
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
AS $function$
  SELECT array[segment || '#' || right(discussion_id::text, 12)]
    || array[segment || '@' || right(sender_id::text, 12)]
    || array_agg(segment || ':' || a || b || c)
      FILTER (WHERE a >= ' ' AND b > ' ' AND (c > ' ' OR a = ' ' AND c = ' ')
        AND a < U&'\0E00' AND b < U&'\0E00' AND c < U&'\0E00')
    || array_agg(segment || ':' || a) FILTER (WHERE a >= U&'\0E00')
    || array_agg(segment || ':' || a || b) FILTER (WHERE a >= U&'\0E00' AND b >= U&'\0E00')
  FROM string_to_array(words COLLATE "C", NULL) AS given (letters),
    unnest(letters, letters[2:], letters[3:]) AS place (a, b, c)
$function$;

CREATE OR REPLACE FUNCTION public.search_lock_key()
 RETURNS bigint
 LANGUAGE sql
 IMMUTABLE
AS $function$ SELECT 5521863 $function$;

CREATE OR REPLACE FUNCTION public.search_message_changed()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
DECLARE
  new_words text := CASE WHEN NEW.deleted_at IS NULL THEN search_words(NEW.content) ELSE '' END;
BEGIN
  UPDATE search_documents SET words = new_words WHERE discussion_id = NEW.discussion_id AND seq = NEW.seq;
  IF NOT FOUND THEN
    -- There is none, or somebody is making it of the old text right now: then we wait until that is done.
    PERFORM pg_advisory_xact_lock_shared(search_lock_key());
    UPDATE search_documents SET words = new_words WHERE discussion_id = NEW.discussion_id AND seq = NEW.seq;
  END IF;
  RETURN NULL;
END
$function$;

CREATE OR REPLACE FUNCTION public.search_messages(reader uuid, patterns text[], of_discussion uuid, of_sender uuid, oldest bigint, newest bigint, most integer, most_read integer, most_unindexed integer)
 RETURNS SETOF search_documents
 LANGUAGE plpgsql
 STABLE
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
AS $function$
#variable_conflict use_column
DECLARE
  most_scopes CONSTANT int := 8;
  most_unindexed_bytes CONSTANT int := 1024 * 1024; -- of long texts some 0.2 s
  likes text[] := array(SELECT '%' || p || '%' FROM unnest(patterns) AS p);
  mine uuid[];
  documents bigint;
  indexed_to bigint;
  keys text[];
  scopes text[];
  segment bigint;
  last_segment bigint;
  found int;
  missing int := most;
BEGIN
  SELECT array_agg(me.discussion_id), sum(last.seq) INTO mine, documents
  FROM members AS me CROSS JOIN LATERAL (
    SELECT coalesce((SELECT d.seq FROM search_documents AS d WHERE d.discussion_id = me.discussion_id
      ORDER BY d.seq DESC LIMIT 1), 0) AS seq
  ) AS last
  WHERE me.user_id = reader AND (of_discussion IS NULL OR me.discussion_id = of_discussion);
  IF mine IS NULL OR patterns = '{}' THEN
    RETURN;
  END IF;

  indexed_to := coalesce(
    (SELECT position FROM search_documents ORDER BY position DESC LIMIT 1), '-9223372036854775808');
  RETURN QUERY
  SELECT u.discussion_id, u.seq, u.position, NULL::bigint, u.sender_id, u.words COLLATE "C"
  FROM (
    SELECT own.*, search_words(own.content) AS words FROM (
      SELECT m.*, sum(octet_length(m.content)) OVER (ORDER BY m.position DESC) AS bytes FROM (
        SELECT * FROM messages WHERE position > indexed_to AND position BETWEEN oldest AND newest
        ORDER BY position DESC LIMIT most_unindexed
      ) AS m
      WHERE m.discussion_id IN (SELECT unnest(mine)) AND m.deleted_at IS NULL
        AND (of_sender IS NULL OR m.sender_id = of_sender)
    ) AS own
    WHERE own.bytes <= most_unindexed_bytes
    OFFSET 0
  ) AS u
  WHERE u.words LIKE ALL (likes)
  ORDER BY u.position DESC LIMIT missing;
  GET DIAGNOSTICS found = ROW_COUNT;
  missing := missing - found;

  IF documents <= most_read THEN
    RETURN QUERY
    SELECT d.* FROM unnest(mine) AS my (id)
    CROSS JOIN LATERAL (
      SELECT * FROM search_documents AS d WHERE d.discussion_id = my.id OFFSET 0
    ) AS d
    WHERE d.words LIKE ALL (likes) AND d.position BETWEEN oldest AND newest
      AND (of_sender IS NULL OR d.sender_id = of_sender)
    ORDER BY d.position DESC LIMIT missing;
    RETURN;
  END IF;

  keys := search_question_keys(patterns) || ('@' || right(of_sender::text, 12));
  scopes := CASE WHEN cardinality(mine) <= most_scopes
    THEN array(SELECT DISTINCT '#' || right(id::text, 12) FROM unnest(mine) AS id) ELSE array[NULL] END;
  segment := (SELECT place >> 16 FROM search_documents
    WHERE position <= newest ORDER BY position DESC LIMIT 1);
  last_segment := (SELECT place >> 16 FROM search_documents
    WHERE position >= oldest ORDER BY position LIMIT 1);
  WHILE segment >= last_segment AND missing > 0 LOOP
    RETURN QUERY
    SELECT d.* FROM unnest(scopes) AS scope
    CROSS JOIN LATERAL (
      SELECT * FROM search_documents AS d
      WHERE search_keys(d.place >> 16, d.discussion_id, d.sender_id, d.words)
        @> array(SELECT segment || key FROM unnest(keys || scope) AS key WHERE key IS NOT NULL)
      OFFSET 0
    ) AS d
    WHERE (d.discussion_id IN (SELECT unnest(mine))) IS TRUE AND d.position BETWEEN oldest AND newest
      AND (of_sender IS NULL OR d.sender_id = of_sender) AND d.words LIKE ALL (likes)
    ORDER BY d.position DESC LIMIT missing;
    GET DIAGNOSTICS found = ROW_COUNT;
    missing := missing - found;
    segment := segment - 1;
  END LOOP;
END
$function$;

CREATE OR REPLACE FUNCTION public.search_messages_deleted()
 RETURNS trigger
 LANGUAGE plpgsql
 SET enable_seqscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
AS $function$
DECLARE
  found bigint;
BEGIN
  DELETE FROM search_documents AS d USING old_rows AS o
  WHERE d.discussion_id = o.discussion_id AND d.seq = o.seq;
  GET DIAGNOSTICS found = ROW_COUNT;
  IF found < (SELECT count(*) FROM old_rows) THEN
    PERFORM pg_advisory_xact_lock_shared(search_lock_key());
    DELETE FROM search_documents AS d USING old_rows AS o
    WHERE d.discussion_id = o.discussion_id AND d.seq = o.seq;
  END IF;
  RETURN NULL;
END
$function$;

CREATE OR REPLACE FUNCTION public.search_patterns(words text[], phrases text[])
 RETURNS text[]
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
AS $function$
  SELECT coalesce(array_agg(DISTINCT pattern), '{}') FROM (
    SELECT CASE
      WHEN given ~ '^ [\u0021-\u0DFF] $' THEN given
      WHEN given ~ '^ [\u0021-\u0DFF]{1,2} ' THEN rtrim(given)
      ELSE btrim(given) END AS pattern
    FROM unnest(words) AS word, search_words(word) AS given WHERE given <> ' '
    UNION ALL
    SELECT regexp_replace(given, '^ (?=[\u0E00-\U0010FFFF])|(?<=[\u0E00-\U0010FFFF]) $', '', 'g')
    FROM unnest(phrases) AS phrase, search_words(phrase) AS given WHERE given <> ' '
  ) AS made
$function$;

CREATE OR REPLACE FUNCTION public.search_question_keys(patterns text[])
 RETURNS text[]
 LANGUAGE sql
 IMMUTABLE
AS $function$
  WITH keys AS (
    SELECT DISTINCT substr(key, 2) AS key
    FROM unnest(search_keys(0, NULL, NULL, array_to_string(patterns, E'\n'))) AS key WHERE key IS NOT NULL
  ), numbered AS (
    SELECT key, row_number() OVER (ORDER BY key) - 1 AS nth, count(*) OVER () AS total FROM keys AS k
    WHERE length(key) > 2 OR NOT EXISTS (
      SELECT FROM keys AS longer WHERE length(longer.key) > 2 AND strpos(longer.key, substr(k.key, 2)) > 0)
  )
  SELECT array_agg(key) FROM numbered WHERE nth % (1 + total / 24) = 0
$function$;

CREATE OR REPLACE FUNCTION public.search_rank(words text, patterns text[])
 RETURNS integer
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE
AS $function$
DECLARE
  pattern text;
  bare text;
  quality int := 0;
  matched int := 0;
BEGIN
  FOREACH pattern IN ARRAY patterns LOOP
    bare := btrim(pattern);
    quality := quality + CASE
      WHEN strpos(words, ' ' || bare || ' ') > 0 THEN 800
      WHEN strpos(words, ' ' || bare) > 0 THEN 500
      ELSE 200 END;
    matched := matched + length(words) - length(replace(words, bare, ''));
  END LOOP;
  RETURN quality / cardinality(patterns) + 200 * least(matched, length(words)) / length(words);
END
$function$;

CREATE OR REPLACE FUNCTION public.search_words(content text)
 RETURNS text
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE
AS $function$
DECLARE
  folded text := lower(content COLLATE "C"); -- of ASCII alone
BEGIN
  IF octet_length(folded) > char_length(folded) THEN
    folded := lower(regexp_replace(normalize(content, NFKD), '[\u0300-\u036F]+', '', 'g') COLLATE "C");
    IF folded ~ '[\u00C0-\u058F\u1E9E]' THEN
      folded := replace(translate(folded,
        'ΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩς' || 'АБВГДЕЖЗИКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯЂЄЅІЈЉЊЋЏҐ'
          || 'ԱԲԳԴԵԶԷԸԹԺԻԼԽԾԿՀՁՂՃՄՅՆՇՈՉՊՋՌՍՎՏՐՑՒՓՔՕՖ' || 'ÆŒÞĦŊŦẞÐĐðđØøŁłı',
        'αβγδεζηθικλμνξοπρστυφχψωσ' || 'абвгдежзиклмнопрстуфхцчшщъыьэюяђєѕіјљњћџґ'
          || 'աբգդեզէըթժիլխծկհձղճմյնշոչպջռսվտրցւփքօֆ' || 'æœþħŋŧßddddoolli'),
        'ß', 'ss');
    END IF;
    folded := normalize(folded, NFKC);
  END IF;
  RETURN regexp_replace(' ' || folded || ' ',
    '[^0-9a-z\u00C0-\u1FFF\u2070-\u2DFF\u2E80-\u2FFF\u3005-\u3007\u3021-\U0010FFFF]+', ' ', 'g');
END
$function$;

CREATE OR REPLACE FUNCTION public.send_messages(session_ids uuid[], sender_ids uuid[], discussion_ids uuid[], contents text[], client_ids text[], reply_to_seqs bigint[], attachment_lists text[])
 RETURNS text
 LANGUAGE plpgsql
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
AS $function$
#variable_conflict use_column
DECLARE
  locked text := lock_discussions(discussion_ids)::text;
  held boolean[] := CASE WHEN attachment_lists IS NOT NULL
    THEN hold_attachments(sender_ids, attachment_lists) END;
  accepted text;
  answer text;
BEGIN
  IF cardinality(discussion_ids) = 1 THEN
    INSERT INTO messages (position, discussion_id, seq, sender_id, content, client_id, reply_to_seq, mentions,
      attachment_ids)
    SELECT lock_log() + 1, discussion_ids[1], a.next_seq, sender_ids[1], contents[1], client_ids[1],
      reply_to_seqs[1], mentioned_ids(discussion_ids[1], contents[1]),
      coalesce(attachment_lists[1]::uuid[], '{}')
    FROM admission(session_ids[1], sender_ids[1], discussion_ids[1], client_ids[1], reply_to_seqs[1]) AS a
    WHERE coalesce(held[1], true);
    accepted := CASE WHEN FOUND THEN '1' ELSE '0' END;
  ELSE
    WITH judged AS MATERIALIZED (
      SELECT s.*, a.next_seq
      FROM unnest(session_ids, sender_ids, discussion_ids, contents, client_ids, reply_to_seqs,
          attachment_lists, held)
        WITH ORDINALITY AS s (session_id, sender_id, discussion_id, content, client_id, reply_to_seq,
          attachment_list, is_held, ordinal)
      LEFT JOIN LATERAL admission(session_id, sender_id, discussion_id, client_id, reply_to_seq) AS a
        ON coalesce(is_held, true)
    ), inserted AS (
      INSERT INTO messages
        (position, discussion_id, seq, sender_id, content, client_id, reply_to_seq, mentions, attachment_ids)
      SELECT (SELECT lock_log()) + row_number() OVER (ORDER BY ordinal), discussion_id,
        next_seq - 1 + row_number() OVER (PARTITION BY discussion_id ORDER BY ordinal),
        sender_id, content, client_id, reply_to_seq, mentioned_ids(discussion_id, content),
        coalesce(attachment_list::uuid[], '{}')
      FROM judged WHERE next_seq IS NOT NULL ORDER BY ordinal
    )
    SELECT string_agg(CASE WHEN next_seq IS NULL THEN '0' ELSE '1' END, '' ORDER BY ordinal)
    INTO accepted FROM judged;
  END IF;
  IF attachment_lists IS NOT NULL THEN
    locked := claim_attachments(length(replace(accepted, '0', '')))::text;
  END IF;
  answer := accepted;
  IF accepted LIKE '%1%' THEN
    answer := answer || E'\n' || current_setting('parley.appended');
  END IF;
  IF accepted LIKE '%0%' THEN
    answer := answer || E'\n' || (
      SELECT string_agg(refusal(session_id, sender_id, discussion_id, content, client_id, reply_to_seq,
        coalesce(attachment_list::uuid[], '{}')), E'\n' ORDER BY ordinal)
      FROM unnest(session_ids, sender_ids, discussion_ids, contents, client_ids, reply_to_seqs,
          attachment_lists)
        WITH ORDINALITY AS s (session_id, sender_id, discussion_id, content, client_id, reply_to_seq,
          attachment_list, ordinal)
      WHERE substr(accepted, ordinal::int, 1) = '0');
  END IF;
  RETURN answer;
END
$function$;

CREATE OR REPLACE FUNCTION public.session_json(s sessions, current_id uuid)
 RETURNS json
 LANGUAGE sql
 STABLE PARALLEL SAFE
AS $function$
  SELECT row_to_json(ROW(
    s.id, s.user_agent, wire_time(s.created_at), wire_time(s.used_at), wire_time(s.expires_at),
    s.id = current_id
  )::session_shape)
$function$;

CREATE OR REPLACE FUNCTION public.sessions_updated()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
  PERFORM append_events((
    SELECT array_agg(
      ROW(NULL, n.user_id, 'session.revoked', '{"session_id":"' || n.id || '"}', NULL)::event_draft
      ORDER BY n.id)
    FROM new_rows AS n JOIN old_rows AS o USING (id)
    WHERE n.revoked_at IS NOT NULL AND o.revoked_at IS NULL
  ));
  RETURN NULL;
END
$function$;

CREATE OR REPLACE FUNCTION public.set_group_identity(of_discussion uuid, with_name text, added uuid[], removed uuid[])
 RETURNS void
 LANGUAGE plpgsql
AS $function$
DECLARE
  member_ids uuid[] := array(
    SELECT m.user_id FROM members AS m WHERE m.discussion_id = of_discussion AND m.user_id <> ALL (removed)
    UNION SELECT unnest(added)
    LIMIT 102
  );
BEGIN
  UPDATE discussions SET identity = discussion_identity('group', with_name, member_ids)
  WHERE id = of_discussion;
EXCEPTION WHEN unique_violation THEN
  UPDATE discussions SET identity = NULL WHERE id = of_discussion;
END
$function$;

CREATE OR REPLACE FUNCTION public.set_reaction(of_session uuid, actor uuid, of_discussion uuid, of_seq bigint, of_emoji text, present boolean, most_kinds integer)
 RETURNS text
 LANGUAGE sql
AS $function$
  SELECT change_reaction(of_session, actor, of_discussion, of_seq, of_emoji, present, most_kinds, NULL)
$function$;

CREATE OR REPLACE FUNCTION public.settle_log()
 RETURNS boolean
 LANGUAGE plpgsql
AS $function$
DECLARE
  here text := log_place();
  known text;
BEGIN
  IF here = '' THEN
    RETURN false;
  END IF;
  INSERT INTO log_home (home) VALUES (here) ON CONFLICT (only_row) DO NOTHING;
  SELECT h.home INTO known FROM log_home AS h FOR UPDATE;
  IF known = here THEN
    RETURN false;
  END IF;
  PERFORM renew_epoch(NULL);
  RETURN true;
END
$function$;

CREATE OR REPLACE FUNCTION public.shares_presence(of_user uuid, reader uuid)
 RETURNS boolean
 LANGUAGE sql
 STABLE PARALLEL SAFE
AS $function$
  SELECT of_user = reader OR EXISTS (
    SELECT FROM members AS mine
    JOIN members AS theirs ON theirs.discussion_id = mine.discussion_id AND theirs.user_id = of_user
    WHERE mine.user_id = reader AND NOT mine.blocked AND shows_presence(mine.discussion_id))
$function$;

CREATE OR REPLACE FUNCTION public.shows_presence(of_discussion uuid)
 RETURNS boolean
 LANGUAGE sql
 STABLE PARALLEL SAFE
AS $function$
  SELECT count(*) <= 100 FROM (
    SELECT FROM members AS m WHERE m.discussion_id = of_discussion LIMIT 101
  ) AS some_members
$function$;

CREATE OR REPLACE FUNCTION public.standing(of_discussion uuid, reader uuid)
 RETURNS text
 LANGUAGE sql
 STABLE PARALLEL SAFE
AS $function$
  SELECT coalesce(
    (SELECT m.role FROM members AS m WHERE m.discussion_id = of_discussion AND m.user_id = reader),
    (SELECT 'visitor' FROM discussions AS d WHERE d.id = of_discussion AND d.visibility = 'public'))
$function$;

CREATE OR REPLACE FUNCTION public.unread_count(m members)
 RETURNS bigint
 LANGUAGE sql
 STABLE PARALLEL SAFE
AS $function$
  SELECT count(*) FROM (
    SELECT FROM messages AS x
    WHERE x.discussion_id = m.discussion_id AND x.seq > effective_last_read_seq(m)
      AND x.sender_id <> m.user_id AND x.deleted_at IS NULL
    LIMIT 1000
  ) AS unread
$function$;

CREATE OR REPLACE FUNCTION public.user_json(u users)
 RETURNS json
 LANGUAGE sql
 STABLE PARALLEL SAFE
AS $function$
  SELECT row_to_json(ROW(
    u.id, u.username, u.display_name, '/api/v1/users/' || u.id || '/avatar', u.status_text,
    wire_time(u.created_at)
  )::user_shape)
$function$;

CREATE OR REPLACE FUNCTION public.users_erased()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
  DELETE FROM last_seen AS l WHERE l.user_id = NEW.id;
  RETURN NULL;
END
$function$;

CREATE OR REPLACE FUNCTION public.uuid7()
 RETURNS uuid
 LANGUAGE sql
 PARALLEL SAFE
AS $function$
  SELECT encode(
    set_byte(
      substring(int8send(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
        || substring(random_bits FROM 7),
      6, 112 | (get_byte(random_bits, 6) & 15)
    ), 'hex')::uuid
  FROM (SELECT uuid_send(gen_random_uuid()) AS random_bits) AS source
$function$;

CREATE OR REPLACE FUNCTION public.wire_time(moment timestamp with time zone)
 RETURNS text
 LANGUAGE sql
 STABLE PARALLEL SAFE
AS $function$
  SELECT to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
$function$;

CREATE TRIGGER attachments_deleted AFTER DELETE ON public.attachments REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION attachments_deleted();

CREATE TRIGGER blocks_changed AFTER INSERT OR DELETE ON public.blocks FOR EACH ROW EXECUTE FUNCTION blocks_changed();

CREATE TRIGGER blocks_changing BEFORE INSERT OR DELETE ON public.blocks FOR EACH ROW EXECUTE FUNCTION blocks_changing();

CREATE TRIGGER discussions_deleted AFTER DELETE ON public.discussions REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION discussions_deleted();

CREATE TRIGGER discussions_updated AFTER UPDATE ON public.discussions REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION discussions_updated();

CREATE TRIGGER members_deleted AFTER DELETE ON public.members REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION members_deleted();

CREATE TRIGGER members_inserted AFTER INSERT ON public.members REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION members_inserted();

CREATE TRIGGER members_updated AFTER UPDATE ON public.members REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION members_updated();

CREATE TRIGGER attachments_released_by_delete AFTER DELETE ON public.messages FOR EACH ROW WHEN ((old.attachment_ids <> '{}'::uuid[])) EXECUTE FUNCTION attachments_released();

CREATE TRIGGER attachments_released_by_update AFTER UPDATE ON public.messages FOR EACH ROW WHEN (((old.attachment_ids <> '{}'::uuid[]) AND (new.attachment_ids = '{}'::uuid[]))) EXECUTE FUNCTION attachments_released();

CREATE TRIGGER messages_changing BEFORE UPDATE ON public.messages FOR EACH ROW WHEN ((((new.content)::text <> (old.content)::text) OR (new.deleted_at IS DISTINCT FROM old.deleted_at))) EXECUTE FUNCTION messages_changing();

CREATE TRIGGER messages_deleted AFTER DELETE ON public.messages REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION messages_deleted();

CREATE TRIGGER messages_inserted AFTER INSERT ON public.messages REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION messages_inserted();

CREATE TRIGGER messages_take_seq BEFORE INSERT ON public.messages FOR EACH ROW WHEN ((new.seq IS NULL)) EXECUTE FUNCTION messages_take_seq();

CREATE TRIGGER messages_updated AFTER UPDATE ON public.messages REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION messages_updated();

CREATE TRIGGER search_message_changed AFTER UPDATE ON public.messages FOR EACH ROW WHEN ((((old.content)::text IS DISTINCT FROM (new.content)::text) OR (old.deleted_at IS DISTINCT FROM new.deleted_at))) EXECUTE FUNCTION search_message_changed();

CREATE TRIGGER search_messages_deleted AFTER DELETE ON public.messages REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION search_messages_deleted();

CREATE TRIGGER reactions_deleted AFTER DELETE ON public.reactions REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION reactions_deleted();

CREATE TRIGGER reactions_inserted AFTER INSERT ON public.reactions REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION reactions_inserted();

CREATE TRIGGER sessions_updated AFTER UPDATE ON public.sessions REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION sessions_updated();

CREATE TRIGGER attachments_user_erased AFTER UPDATE ON public.users FOR EACH ROW WHEN (((new.erased_at IS NOT NULL) AND (old.erased_at IS NULL))) EXECUTE FUNCTION attachments_user_erased();

CREATE TRIGGER users_erased AFTER UPDATE OF erased_at ON public.users FOR EACH ROW WHEN ((new.erased_at IS NOT NULL)) EXECUTE FUNCTION users_erased();
