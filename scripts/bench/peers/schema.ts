/** Messages and nothing else, for the limit of durable writes. */
export const plainSchema = `
  CREATE TABLE messages (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    room       uuid NOT NULL,
    sender     uuid NOT NULL,
    content    text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
  );
`;

/** What the peers keep of a chat: its messages, and who may hear them. */
export const peerSchema = `
  ${plainSchema}
  CREATE TABLE members (room uuid, person uuid, PRIMARY KEY (room, person));
  CREATE INDEX members_person_idx ON members (person);
  CREATE INDEX messages_room_idx ON messages (room, id);
`;

/** The @socket.io/postgres-adapter's own table, as its README has it. */
export const attachmentsSchema = `
  CREATE TABLE socket_io_attachments (
    id bigserial UNIQUE, created_at timestamptz DEFAULT now(), payload bytea
  );
`;

/** Postgres announces every row by itself. */
export const notifySchema = `
  CREATE FUNCTION announce_message() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN
    PERFORM pg_notify('messages', row_to_json(NEW)::text);
    RETURN NULL;
  END
  $$;
  CREATE TRIGGER announce_message AFTER INSERT ON messages FOR EACH ROW EXECUTE FUNCTION announce_message();
`;
