/**
 * The content of every message begins with its marker: `<#SSSSS.NNNNNNNN>`, the sender's number and that
 * sender's message number. It has a fixed width and no character that JSON escapes, so that it is found in
 * whatever a system wraps around it.
 */
export const markerLength = 17;
const contentBytes = 100;
const open = 0x3c;
const hash = 0x23;
const needle = Buffer.from("<#");

/** What readMarker() found; one object for all, as it is called a million times a second. */
export const found = { sender: 0, number: 0 };

export function writeContent(sender: number, number: number): string {
  const marker = `<#${String(sender).padStart(5, "0")}.${String(number).padStart(8, "0")}>`;
  return marker.padEnd(contentBytes, " the quick brown fox jumps over the lazy dog");
}

/**
 * Reads the marker between two offsets into `found` and returns its offset, or -1. `guess` is where it is
 * looked for first.
 */
export function readMarker(data: Buffer, from: number, to: number, guess: number): number {
  const at = data[guess] === open && data[guess + 1] === hash ? guess : data.indexOf(needle, from);
  if (at < from || at + markerLength > to) return -1;
  found.sender = readDigits(data, at + 2, 5);
  found.number = readDigits(data, at + 8, 8);
  return at;
}

function readDigits(data: Buffer, from: number, count: number): number {
  let value = 0;
  for (let at = from; at < from + count; at++) value = value * 10 + ((data[at] ?? 0) - 48);
  return value;
}
