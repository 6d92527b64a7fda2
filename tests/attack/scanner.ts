/** Looks for what must not be told: given secrets, in whatever form, and things that look like secrets. */

export interface Secret {
  /** What a finding is called: "a password". */
  kind: string;
  value: string;
}

/** Things whose values nobody knows beforehand, but that look like what they are. */
const shapes: readonly [kind: string, pattern: RegExp][] = [
  ["a JSON Web Token", /eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}/],
  ["a Bearer token", /\bbearer +[\w.~+/-]{8,}/i],
  ["a password hash", /\$argon2(?:id|i|d)\$/],
  // But for the examples in our own words.
  ["a connection string", /\b(?:postgres(?:ql)?|s3|https?):\/\/[^\s/:@"]*:(?!secret@|password@)[^\s/@"]+@/i],
  ["a private key", /-----BEGIN [A-Z ]*PRIVATE KEY-----/],
  ["a cookie", /parley_session=\S/i],
];

/** What a body tells of our insides; of a log it is the purpose. */
const insides: readonly [kind: string, pattern: RegExp][] = [
  ["a stack trace", /\bat (?:async )?[\w.<>[\] ]*\(?(?:file:\/\/|node:|\/)[^\s)]*:\d+/],
  ["a path of a file", /node_modules|file:\/\/|(?:\/[\w.-]+){2,}\.(?:ts|js|sql)\b|\b\w+\.ts:\d+/],
  ["a statement", /\b(?:SELECT|INSERT INTO|UPDATE|DELETE FROM)\s[\s\S]{0,200}\b(?:FROM|SET|VALUES|WHERE)\b/],
  [
    "a word of Postgres",
    /(?:relation|column|constraint|function) \\?"|violates|SQLSTATE|syntax error|pg_|plpgsql/,
  ],
  ["a word of the system", /\bE(?:CONNREFUSED|CONNRESET|NOENT|ACCES|PIPE|ADDRINUSE)\b|127\.0\.0\.1:\d+/],
];

/** What a text has of these secrets or of what looks like one, each with the place where it stands. */
export function findSecrets(text: string, secrets: readonly Secret[]): string[] {
  const given = secrets.flatMap(({ kind, value }) =>
    formsOf(value).flatMap(([form, written]) => placeOf(text, text.indexOf(written), `${kind} (${form})`)),
  );
  return [...given, ...findShapes(text, shapes)];
}

/** What a text tells of how the program is made. */
export function findInsides(text: string): string[] {
  return findShapes(text, insides);
}

function findShapes(text: string, all: readonly [kind: string, pattern: RegExp][]): string[] {
  return all.flatMap(([kind, pattern]) => placeOf(text, text.search(pattern), kind));
}

/** As a secret may be written: in JSON, in an address, in a header, as bytes. */
function formsOf(value: string): [form: string, written: string][] {
  const bytes = Buffer.from(value);
  // Only what cannot depend on the bytes before and after.
  const base64 = bytes.toString("base64").replace(/=+$/, "").slice(0, -1);
  const forms: [string, string][] = [
    ["as it is", value],
    ["in JSON", JSON.stringify(value).slice(1, -1)],
    ["in JSON of JSON", JSON.stringify(JSON.stringify(value)).slice(3, -3)],
    ["in an address", encodeURIComponent(value)],
    ["in a form", new URLSearchParams({ "": value }).toString().slice(1)],
    ["in hexadecimal", bytes.toString("hex")],
    ["in base64", base64],
    ["in base64url", base64.replaceAll("+", "-").replaceAll("/", "_")],
  ];
  const seen = new Set<string>();
  return forms.filter(([, written]) => !seen.has(written) && seen.add(written));
}

function placeOf(text: string, index: number, what: string): string[] {
  if (index < 0) return [];
  return [`${what} in …${text.slice(Math.max(0, index - 200), index + 200)}…`];
}
