import pg from "pg";

/**
 * The schema as text, from the catalogs: tables, indexes, types, functions and triggers, sorted by name. Not
 * by pg_dump, whose output differs between versions, and which the embedded Postgres does not bring.
 */
export async function dumpSchema(url: string): Promise<string> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    const sections: string[] = [];
    for (const statement of statements) {
      const { rows } = await client.query<{ text: string }>(statement);
      sections.push(...rows.map((row) => row.text.trimEnd()));
    }
    return `${header}${sections.join("\n\n")}\n`;
  } finally {
    await client.end();
  }
}

const header =
  "-- Made by `node scripts/dump-schema.ts` from migrations/ and sql/functions/. Not run by anything.\n\n";

const tables = `
  SELECT format(E'CREATE %sTABLE %s (\\n%s\\n)%s;',
    CASE c.relpersistence WHEN 'u' THEN 'UNLOGGED ' ELSE '' END, c.relname,
    (SELECT string_agg(line, E',\\n' ORDER BY kind, place) FROM (
      SELECT 1 AS kind, lpad(a.attnum::text, 4, '0') AS place, format('  %s %s%s%s', a.attname,
        format_type(a.atttypid, a.atttypmod),
        coalesce(' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid), ''),
        CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END) AS line
      FROM pg_attribute AS a LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
      WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
      UNION ALL
      -- From version 18 on, NOT NULL is a constraint too; it stands with its column.
      SELECT 2, k.conname, format('  CONSTRAINT %s %s', k.conname, pg_get_constraintdef(k.oid))
      FROM pg_constraint AS k WHERE k.conrelid = c.oid AND k.contype <> 'n'
    ) AS lines),
    coalesce(' WITH (' || array_to_string(c.reloptions, ', ') || ')', '')) AS text
  FROM pg_class AS c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
    AND c.relname <> 'migrations'
  ORDER BY c.relname`;

const indexes = `
  SELECT pg_get_indexdef(i.indexrelid) || ';' AS text
  FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_class AS t ON t.oid = i.indrelid
  WHERE c.relnamespace = 'public'::regnamespace AND t.relname <> 'migrations'
    AND NOT EXISTS (
      SELECT FROM pg_constraint AS k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u'))
  ORDER BY c.relname`;

const types = `
  SELECT format(E'CREATE TYPE %s AS (\\n%s\\n);', t.typname,
    string_agg(format('  %s %s', a.attname, format_type(a.atttypid, a.atttypmod)), E',\\n'
      ORDER BY a.attnum)) AS text
  FROM pg_type AS t JOIN pg_class AS c ON c.oid = t.typrelid AND c.relkind = 'c'
  JOIN pg_attribute AS a ON a.attrelid = c.oid AND NOT a.attisdropped
  WHERE t.typnamespace = 'public'::regnamespace
  GROUP BY t.typname ORDER BY t.typname`;

const functions = `
  SELECT trim(trailing E'\\n' FROM pg_get_functiondef(p.oid)) || ';' AS text
  FROM pg_proc AS p WHERE p.pronamespace = 'public'::regnamespace ORDER BY p.proname, p.pronargs`;

const triggers = `
  SELECT pg_get_triggerdef(t.oid) || ';' AS text
  FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid
  WHERE NOT t.tgisinternal AND c.relnamespace = 'public'::regnamespace ORDER BY c.relname, t.tgname`;

const statements = [tables, indexes, types, functions, triggers];
