-- Up Migration

-- Failed sign-ins, counted for all instances together; see docs/decisions/0013-rate-limits.md. The library
-- rate-limiter-flexible demands these names and types. Keys are hashes, so neither names nor addresses of
-- people stand here. Unlogged: after a crash of Postgres counting begins anew, which is worth less than the
-- disk's time.
CREATE UNLOGGED TABLE rate_limits (
  key text NOT NULL,
  points integer NOT NULL,
  -- Milliseconds since 1970.
  expire bigint,
  CONSTRAINT rate_limits_pkey PRIMARY KEY (key)
);

CREATE INDEX rate_limits_expire_idx ON rate_limits (expire);
