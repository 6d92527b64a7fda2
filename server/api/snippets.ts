const characters = { before: 40, all: 160 };
/** UTF-16 units of a text that are folded. */
const lookedAt = 1_000;
const entities: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

/**
 * The part of a text around the first match, as HTML: the matches stand in <mark>, and everything else is
 * escaped, so that a page may show it as it is and nobody's message can bring along a tag of its own.
 * `patterns` are those of search_patterns(): a space stands for the beginning or end of a word. What folds
 * otherwise here than in Postgres is at worst not marked.
 */
export function createSnippet(content: string, patterns: readonly string[]): string {
  const part = cutAround(content, patterns);
  const source = [...part.text.normalize("NFC")];
  const folded = foldText(source);
  const marks = findMarks(folded, patterns);
  const first = marks[0]?.from ?? 0;
  const from = source.length <= characters.all ? 0 : Math.max(0, first - characters.before);
  const to = Math.min(source.length, from + characters.all);
  let html = from > 0 || part.isCutBefore ? "…" : "";
  let place = from;
  for (const mark of marks) {
    if (mark.from >= to) break;
    const end = Math.min(mark.to, to);
    if (end <= place) continue;
    const start = Math.max(mark.from, place);
    html += escapeHtml(source.slice(place, start));
    html += `<mark>${escapeHtml(source.slice(start, end))}</mark>`;
    place = end;
  }
  return html + escapeHtml(source.slice(place, to)) + (to < source.length || part.isCutAfter ? "…" : "");
}

/**
 * Of a long text only what is around the first place that looks like a match, to be looked at closely: to
 * fold 200 texts of 16,000 characters would take a second, in which everybody else waits.
 */
function cutAround(content: string, patterns: readonly string[]) {
  if (content.length <= lookedAt) return { text: content, isCutBefore: false, isCutAfter: false };
  const lower = content.toLowerCase();
  const places = patterns.map((pattern) => lower.indexOf(pattern.trim())).filter((place) => place >= 0);
  const from = Math.max(0, Math.min(...places, content.length) - lookedAt / 4);
  const start = places.length > 0 ? from : 0;
  const text = content.slice(start, start + lookedAt).toWellFormed();
  return { text, isCutBefore: start > 0, isCutAfter: start + lookedAt < content.length };
}

interface Folded {
  text: string;
  /** Of each UTF-16 unit of the text, the index of the character that it came from. */
  origins: number[];
}

/** The text as search_words() makes it. */
function foldText(source: readonly string[]): Folded {
  let text = " ";
  const origins = [0];
  for (const [index, character] of source.entries()) {
    let piece = foldCharacter(character);
    if (piece.startsWith(" ") && text.endsWith(" ")) piece = piece.slice(1);
    text += piece;
    for (let unit = 0; unit < piece.length; unit++) origins.push(index);
  }
  if (!text.endsWith(" ")) {
    text += " ";
    origins.push(source.length);
  }
  return { text, origins };
}

const separators = /[^0-9a-z\u00C0-\u1FFF\u2070-\u2DFF\u2E80-\u2FFF\u3005-\u3007\u3021-\u{10FFFF}]+/gu;
const others: Readonly<Record<string, string>> = { ß: "ss", ς: "σ", ð: "d", đ: "d", ø: "o", ł: "l", ı: "i" };
/** What characters fold to, as far as they were met: looking it up costs a tenth of folding. */
const known = new Map<string, string>();
const mostKnown = 20_000;

function foldCharacter(character: string): string {
  let folded = known.get(character);
  if (folded === undefined) {
    const bare = character
      .normalize("NFKD")
      .replace(/[\u0300-\u036F]+/g, "")
      .toLowerCase();
    folded = (others[bare] ?? bare).normalize("NFKC").replace(separators, " ");
    if (known.size >= mostKnown) known.clear();
    known.set(character, folded);
  }
  return folded;
}

interface Mark {
  from: number;
  to: number;
}

/** Where the patterns match, in indices of characters, in order and without overlaps. */
function findMarks({ text, origins }: Folded, patterns: readonly string[]): Mark[] {
  const found: Mark[] = [];
  for (const pattern of patterns) {
    const lead = pattern.startsWith(" ") ? 1 : 0;
    const length = pattern.trim().length;
    for (let at = text.indexOf(pattern); at !== -1; at = text.indexOf(pattern, at + lead + length)) {
      const from = origins[at + lead] ?? 0;
      const to = (origins[at + lead + length - 1] ?? from) + 1;
      found.push({ from, to });
    }
  }
  return found.sort((a, b) => a.from - b.from || b.to - a.to);
}

function escapeHtml(source: readonly string[]): string {
  return source.map((character) => entities[character] ?? character).join("");
}
