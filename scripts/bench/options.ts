import { parseArgs } from "node:util";

export interface Options {
  /** Ids; empty: all. */
  scenarios: string[];
  /** Ids of systems or of variants; empty: all. */
  only: string[];
  /** How often each variant is run; absent: as its scenario says. */
  runs: number | undefined;
  seconds: number;
  tiny: boolean;
  jsonFile: string | undefined;
}

export const usage = `Usage:
npm run bench -- [scenario…] [--only system,…] [--runs 3] [--seconds 5] [--tiny] [--json file]

Scenarios: all but "soak", if none is named. --only: only these systems, or single rows. --tiny: small sizes
and short windows, to see whether all of it works. --json: also write every figure of every run to a file.
With DATABASE_URL set, that server is used, whose user must be allowed to create databases.`;

/** Reads the command line. Throws an Error with one line for what it does not know. */
export function readOptions(args: string[], scenarioIds: string[], variantIds: string[]): Options {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      only: { type: "string" },
      runs: { type: "string" },
      seconds: { type: "string", default: "5" },
      tiny: { type: "boolean", default: false },
      json: { type: "string" },
    },
  });
  const only = values.only?.split(",") ?? [];
  refuseUnknown("scenario", positionals, scenarioIds);
  refuseUnknown("system", only, variantIds);
  return {
    scenarios: positionals,
    only,
    runs: values.tiny ? 1 : values.runs === undefined ? undefined : readNumber("runs", values.runs, 1, 100),
    seconds: readNumber("seconds", values.seconds, 0.1, 3_600),
    tiny: values.tiny,
    jsonFile: values.json,
  };
}

function refuseUnknown(what: string, names: string[], known: string[]): void {
  const unknown = names.find((name) => !known.includes(name));
  if (unknown !== undefined)
    throw new Error(`There is no ${what} "${unknown}", but ${[...new Set(known)].join(", ")}`);
}

function readNumber(name: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (value >= least && value <= most) return value;
  throw new Error(`--${name} must be a number between ${least} and ${most}`);
}
