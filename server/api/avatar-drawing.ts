import { createHash } from "node:crypto";

/**
 * An avatar for who has uploaded none, as SVG: initials on a colour that comes from the user's id. The same
 * for the same user and name. Without styles or scripts, so that it is drawn under the strictest policy.
 */
export function drawAvatar(userId: string, displayName: string): string {
  const hue = (createHash("sha256").update(userId).digest().readUInt16BE() * 360) >> 16;
  // Dark enough for white letters on every hue (WCAG: 4.5 to 1).
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 96 96" width="96" height="96">\
<rect width="96" height="96" fill="hsl(${hue}, 50%, 30%)"/>\
<text x="48" y="48" dy=".35em" text-anchor="middle" font-family="system-ui, sans-serif" font-size="40" \
fill="#fff">${initials(displayName)}</text></svg>`;
}

const wordPattern = /[\p{L}\p{N}\p{Extended_Pictographic}](?:[\p{L}\p{N}\p{M}\p{Emoji}]|\u200d)*/gu;

/**
 * The first letters, as people see them, of the first and the last word. Of words only, so that nothing of a
 * name can be markup.
 */
export function initials(displayName: string): string {
  const words = displayName.match(wordPattern) ?? [];
  const ends = words.length > 1 ? [words[0], words.at(-1)] : words;
  const letters = ends.map((word) => firstGrapheme(word ?? "").toLocaleUpperCase("und"));
  return letters.join("") || "?";
}

function firstGrapheme(word: string): string {
  const [first] = new Intl.Segmenter("und", { granularity: "grapheme" }).segment(word);
  // A letter with dozens of accents is one grapheme too.
  return [...(first?.segment ?? "")].slice(0, 8).join("");
}
