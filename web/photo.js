// A camera writes into a photo where it was taken, when, and by which of its kind. None of that leaves this
// device: the pixels are not touched, and what turns them upright is kept.

const START = 0xd8;
const END = 0xd9;
const SCAN = 0xda;
/** APP1: EXIF and XMP. APP13: IPTC. APP2 may be a colour profile, or the index of further pictures behind. */
const EXIF = 0xe1;
const APP2 = 0xe2;
const IPTC = 0xed;
const COMMENT = 0xfe;
const ORIENTATION = 0x0112;

/** The same photo without what its camera told of it; any other file, and what is no JPEG, as it is. */
export async function withoutCameraData(file) {
  if (file.type !== "image/jpeg") return file;
  const parts = cleanJpeg(new Uint8Array(await file.arrayBuffer()));
  return parts ? new File(parts, file.name, { type: file.type, lastModified: file.lastModified }) : file;
}

/** The parts of a JPEG that are kept; null if it is none. What follows its end goes: previews, films. */
export function cleanJpeg(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes[0] !== 0xff || bytes[1] !== START) return null;
  const parts = [bytes.subarray(0, 2)];
  let orientation = 1;
  let at = 2;
  while (at + 4 <= bytes.length && bytes[at] === 0xff && bytes[at + 1] !== SCAN) {
    const marker = bytes[at + 1];
    const end = at + 2 + view.getUint16(at + 2);
    if (end > bytes.length) return null;
    const segment = bytes.subarray(at, end);
    if (marker === EXIF) orientation = orientationIn(segment) ?? orientation;
    if (!tells(marker, segment)) parts.push(segment);
    at = end;
  }
  if (bytes[at] !== 0xff || bytes[at + 1] !== SCAN) return null;
  const end = endOfScans(bytes, view, at);
  if (orientation !== 1) parts.splice(1, 0, exifOf(orientation));
  return [...parts, bytes.subarray(at, end)];
}

function tells(marker, segment) {
  if (marker === APP2) return !startsWith(segment, "ICC_PROFILE");
  return marker === EXIF || marker === IPTC || marker === COMMENT;
}

function startsWith(segment, text) {
  return [...text].every((letter, index) => segment[4 + index] === letter.charCodeAt(0));
}

/** Behind the marker that ends the picture, or where it breaks off. */
function endOfScans(bytes, view, from) {
  for (let at = bytes.indexOf(0xff, from); at >= 0 && at + 1 < bytes.length; at = bytes.indexOf(0xff, at)) {
    const marker = bytes[at + 1];
    if (marker === END) return at + 2;
    // Within a scan 0xff is followed by 0 or a restart, and may be filled up with more of its kind.
    if (marker === 0xff) at += 1;
    else if (marker === 0 || (marker >= 0xd0 && marker <= 0xd7) || at + 4 > bytes.length) at += 2;
    else at += 2 + view.getUint16(at + 2);
  }
  return bytes.length;
}

/** How the camera was held, from its first directory; null if that cannot be read. */
function orientationIn(segment) {
  if (!startsWith(segment, "Exif\0\0")) return null;
  const tiff = new DataView(segment.buffer, segment.byteOffset + 10, segment.byteLength - 10);
  try {
    const little = tiff.getUint16(0) === 0x4949;
    const directory = tiff.getUint32(4, little);
    for (let index = 0; index < tiff.getUint16(directory, little); index++) {
      const field = directory + 2 + index * 12;
      if (tiff.getUint16(field, little) !== ORIENTATION) continue;
      const value = tiff.getUint16(field + 8, little);
      return value >= 1 && value <= 8 ? value : null;
    }
  } catch {
    // It points behind its own end.
  }
  return null;
}

/** A segment that tells nothing else. */
function exifOf(orientation) {
  const head = [0xff, EXIF, 0, 34, ...[..."Exif\0\0MM\0*"].map((letter) => letter.charCodeAt(0)), 0, 0, 0, 8];
  return Uint8Array.from([...head, 0, 1, 0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0, 0, 0, 0, 0]);
}
