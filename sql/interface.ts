import type pg from "pg";

/**
 * What statements can rely on in a database, as lines sorted by kind and name: functions with their
 * parameters and results, types and views with their fields, columns, and the rules that rows must obey. Of
 * two versions that serve side by side, the older one needs every line that it was made with.
 */
export async function readInterface(client: pg.Client): Promise<string[]> {
  const { rows } = await client.query<{ line: string }>(statement);
  return rows.map(({ line }) => line);
}

const statement = `
  SELECT line FROM (
    SELECT format('function %s(%s) → %s', p.proname, pg_get_function_arguments(p.oid),
      pg_get_function_result(p.oid)) AS line
    FROM pg_proc AS p WHERE p.pronamespace = 'public'::regnamespace AND p.prorettype <> 'trigger'::regtype
    UNION ALL
    SELECT format('%s %s (%s)', CASE c.relkind WHEN 'c' THEN 'type' ELSE 'view' END, c.relname,
      string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum))
    FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('c', 'v')
    GROUP BY c.relkind, c.relname
    UNION ALL
    SELECT format('column %s.%s %s%s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
      CASE WHEN NOT a.attnotnull THEN '' WHEN a.atthasdef OR a.attidentity <> '' THEN ' filled'
        ELSE ' needed' END)
    FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND c.relname <> 'migrations'
    UNION ALL
    SELECT format('rule of %s: %s %s', c.relname, k.conname, pg_get_constraintdef(k.oid))
    FROM pg_constraint AS k JOIN pg_class AS c ON c.oid = k.conrelid
    WHERE k.connamespace = 'public'::regnamespace AND k.contype <> 'n' AND c.relname <> 'migrations'
    UNION ALL
    SELECT format('rule of %s: %s', c.relname, pg_get_indexdef(i.indexrelid))
    FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indrelid
    WHERE c.relnamespace = 'public'::regnamespace AND i.indisunique AND c.relname <> 'migrations'
      AND NOT EXISTS (SELECT FROM pg_constraint AS k WHERE k.conindid = i.indexrelid)
  ) AS lines
  ORDER BY line COLLATE "C"`;
