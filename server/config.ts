import { z } from "zod";
import { type StorageTarget, storageTargetSchema } from "./storage/target.ts";

const flag = z.enum(["on", "off"]);
const port = z.coerce.number().int().min(0).max(65_535);
const origin = z
  .url({ protocol: /^https?$/, abort: true })
  .refine((text) => new URL(text).origin === text.replace(/\/$/, ""), {
    error: "must be an origin such as https://chat.example",
  });

const settings = z.object({
  NODE_ENV: z.string().default("development"),
  PORT: port.default(3000),
  HOST: z.string().optional(),
  WEB_CONCURRENCY: z.coerce.number().int().min(1).max(64).default(1),
  DATABASE_URL: z.url({ protocol: /^postgres(ql)?$/ }).optional(),
  LISTEN_DATABASE_URL: z.url({ protocol: /^postgres(ql)?$/ }).optional(),
  MIGRATE_DATABASE_URL: z.url({ protocol: /^postgres(ql)?$/ }).optional(),
  PGSSLMODE: z.enum(["disable", "require", "no-verify", "verify-full"]).optional(),
  DATABASE_POOL_SIZE: z.coerce.number().int().min(2).max(100).default(10),
  DATA_DIR: z.string().min(1).default(".data"),
  JWT_SECRET: z.string().min(32, "must have at least 32 characters").optional(),
  ALLOWED_ORIGINS: z
    .string()
    .default("")
    .transform((text) =>
      text
        .split(",")
        .filter(Boolean)
        .map((part) => part.trim().replace(/\/$/, "")),
    )
    .pipe(z.array(origin)),
  TRUST_PROXY: z
    .union([flag, z.coerce.number().int().min(1).max(9)], 'must be "on", "off" or a number from 1 to 9')
    .default("off")
    .transform((value) => (value === "off" ? 0 : value === "on" ? 1 : value)),
  ATTACHMENTS_URL: storageTargetSchema.optional(),
  ATTACHMENT_MAX_BYTES: z.coerce
    .number()
    .int()
    .min(1)
    .max(1024 ** 3)
    .default(10 * 1024 * 1024),
  EVENT_RETENTION_DAYS: z.coerce.number().positive().max(3650).default(7),
  LOG_LEVEL: z.enum(["trace", "debug", "info", "warn", "error", "fatal", "silent"]).optional(),
  RATE_LIMITS: flag.default("on"),
  METRICS_TOKEN: z.string().min(16, "must have at least 16 characters").optional(),
  PRESENCE: flag.default("on"),
});

/** The variables of the environment that mean something here. */
export const settingNames: readonly string[] = Object.keys(settings.shape);

/** Everything that can be set from outside; frozen. Absent `databaseUrl` means the embedded Postgres. */
export interface Config {
  readonly production: boolean;
  readonly port: number;
  readonly host: string | undefined;
  /** How many processes serve the port; above 1 they are workers of the first one (cluster.ts). */
  readonly webConcurrency: number;
  readonly databaseUrl: string | undefined;
  /** For the listener, which a pooler in transaction mode cannot carry. */
  readonly listenDatabaseUrl: string | undefined;
  /** For migrations, which neither a pooler carries nor a role that owns nothing. */
  readonly migrateDatabaseUrl: string | undefined;
  /** The variable that this comes from. */
  readonly migrateDatabaseSetting: string;
  readonly ssl: { rejectUnauthorized: boolean } | undefined;
  readonly poolSize: number;
  readonly dataDir: string;
  readonly jwtSecret: string | undefined;
  readonly allowedOrigins: readonly string[];
  /** How many proxies in a row stand before us, to be believed about X-Forwarded-For, -Proto and -Host. */
  readonly trustedProxies: number;
  /** Where attachments are stored; absent: in the database. */
  readonly attachmentsTarget: StorageTarget | undefined;
  readonly attachmentMaxBytes: number;
  readonly retentionDays: number;
  readonly logLevel: string;
  readonly rateLimits: boolean;
  /** What a scraper has to show at /metrics; undefined lets everybody read them. */
  readonly metricsToken: string | undefined;
  /** Whether it is kept track of, and told, who is online. */
  readonly presence: boolean;
}

/** A wrong or missing setting; the message is one line that names the variable. */
export class ConfigError extends Error {}

/** Reads the settings. Throws ConfigError. */
export function readConfig(env: NodeJS.ProcessEnv): Config {
  const result = settings.safeParse(withoutEmpty(env));
  if (!result.success) {
    const issue = result.error.issues[0];
    throw new ConfigError(`${String(issue?.path[0] ?? "environment")}: ${issue?.message}`);
  }
  const values = result.data;
  const production = values.NODE_ENV === "production";
  if (production && !values.DATABASE_URL) {
    throw new ConfigError(
      "DATABASE_URL: must be set in production, for example postgres://user:password@host/parley",
    );
  }
  if (production && !values.JWT_SECRET) {
    throw new ConfigError("JWT_SECRET: must be set in production: at least 32 random characters");
  }
  const migrateSetting = values.MIGRATE_DATABASE_URL
    ? "MIGRATE_DATABASE_URL"
    : values.LISTEN_DATABASE_URL
      ? "LISTEN_DATABASE_URL"
      : "DATABASE_URL";
  return Object.freeze({
    production,
    port: values.PORT,
    host: values.HOST,
    webConcurrency: values.WEB_CONCURRENCY,
    databaseUrl: values.DATABASE_URL,
    listenDatabaseUrl: values.LISTEN_DATABASE_URL ?? values.DATABASE_URL,
    migrateDatabaseUrl: values[migrateSetting],
    migrateDatabaseSetting: migrateSetting,
    ssl: sslOptions(values.PGSSLMODE),
    poolSize: values.DATABASE_POOL_SIZE,
    dataDir: values.DATA_DIR,
    jwtSecret: values.JWT_SECRET,
    allowedOrigins: values.ALLOWED_ORIGINS,
    trustedProxies: values.TRUST_PROXY,
    attachmentsTarget: values.ATTACHMENTS_URL,
    attachmentMaxBytes: values.ATTACHMENT_MAX_BYTES,
    retentionDays: values.EVENT_RETENTION_DAYS,
    // On a laptop the address is all that is printed; a line per request is for those who collect them.
    logLevel: values.LOG_LEVEL ?? (production ? "info" : "warn"),
    rateLimits: values.RATE_LIMITS === "on",
    metricsToken: values.METRICS_TOKEN,
    presence: values.PRESENCE === "on",
  });
}

/** `PORT=` in a .env file means "not set". */
function withoutEmpty(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([, value]) => value !== ""));
}

/**
 * Heroku Postgres demands TLS and signs its certificates itself: PGSSLMODE=no-verify there. `require` is read
 * as verify-full, as node-postgres does: encryption without knowing to whom protects against nobody.
 */
function sslOptions(mode: string | undefined): { rejectUnauthorized: boolean } | undefined {
  if (mode === undefined || mode === "disable") return undefined;
  return { rejectUnauthorized: mode !== "no-verify" };
}
