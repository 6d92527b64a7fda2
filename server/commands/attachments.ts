import type { Logger } from "pino";
import {
  beginUpload,
  countUnsent,
  deleteOrphans,
  endRemoval,
  insertAttachment,
  insertThumbnail,
  keepUpload,
  type StorageName,
  takeRemovals,
} from "../../sql/attachments.ts";
import { type Database, inTransaction, type Pool } from "../../sql/database.ts";
import { findLiveSession } from "../../sql/sessions.ts";
import { lockUser } from "../../sql/users.ts";
import { collect } from "../collect.ts";
import { fail } from "../errors.ts";
import { limits } from "../limits.ts";
import type { Storages } from "../storage/storage.ts";
import type { Images, Picture } from "./images.ts";
import { imageTypes, sniff } from "./media-types.ts";

/** What the commands on attachments work with. `maxBytes` is what one attachment may have. */
export interface AttachmentParts {
  pool: Pool;
  storages: Storages;
  images: Images;
  maxBytes: number;
  log: Logger;
}

/** A file that comes in. Its bytes end in an error if its sender breaks off or sends what is refused. */
export interface IncomingFile {
  name: string;
  bytes: AsyncIterable<Buffer>;
}

/** A file that is stored, and not yet an attachment. */
export interface StoredFile {
  id: string;
  name: string;
  media_type: string;
  size: number;
  storage: StorageName;
}

/**
 * Stores a file while it comes in; hand it to keepAttachment(). Whatever goes wrong here or there, nothing of
 * it stays: at once or, if this process dies, by the maintenance of another. Throws too_many_attachments, and
 * what `file.bytes` throws.
 */
export async function storeFile(
  parts: AttachmentParts,
  caller: { user_id: string; session_id: string },
  file: IncomingFile,
): Promise<StoredFile> {
  // Before the bytes come; what counts is the same look in the transaction that keeps them.
  await requireRoom(parts, parts.pool, caller.user_id, 0);
  const storage = parts.storages.current;
  const id = await beginUpload(parts.pool, storage.name, limits.uploadMinutes);
  try {
    const sniffer = sniff(file.bytes);
    await storage.write(id, sniffer.bytes);
    const media_type = await sniffer.mediaType();
    return { id, name: file.name, media_type, size: sniffer.size(), storage: storage.name };
  } catch (error) {
    await removeBytes(parts, storage.name, id);
    throw error;
  }
}

/**
 * Makes an attachment of a stored file, and gives its JSON text. An image waits until it is its turn to be
 * looked at. Throws too_many_attachments, session_revoked, rate_limited.
 */
export async function keepAttachment(
  parts: AttachmentParts,
  caller: { user_id: string; session_id: string },
  stored: StoredFile,
): Promise<string> {
  try {
    return await keep(parts, caller, stored, await lookAt(parts, caller.user_id, stored));
  } catch (error) {
    await removeBytes(parts, stored.storage, stored.id);
    throw error;
  }
}

/** Null for all that is no image which can be shown. */
async function lookAt(
  { images, storages }: AttachmentParts,
  userId: string,
  { id, media_type, size, storage }: StoredFile,
): Promise<Picture | null> {
  if (!imageTypes.has(media_type) || size > limits.imageBytes) return null;
  return images.look(userId, () => collect(storages.named(storage).read(id, 0, size - 1)));
}

async function keep(
  parts: AttachmentParts,
  caller: { user_id: string; session_id: string },
  stored: StoredFile,
  picture: Picture | null,
): Promise<string> {
  return inTransaction(parts.pool, async (transaction) => {
    await lockUser(transaction, caller.user_id);
    await requireRoom(parts, transaction, caller.user_id, stored.size);
    if (!(await findLiveSession(transaction, caller.session_id, caller.user_id))) fail("session_revoked");
    if (!(await keepUpload(transaction, stored.id))) fail("request_timeout", "The upload took too long");
    const { width, height } = picture ?? { width: null, height: null };
    const json = await insertAttachment(transaction, { ...stored, user_id: caller.user_id, width, height });
    if (picture) await insertThumbnail(transaction, stored.id, picture.thumbnail);
    return json;
  });
}

async function requireRoom(
  { maxBytes }: AttachmentParts,
  db: Database,
  userId: string,
  size: number,
): Promise<void> {
  const { count, bytes } = await countUnsent(db, userId);
  const mostBytes = maxBytes * limits.attachmentsPerMessage;
  if (count < limits.unsentAttachments && bytes + size <= mostBytes) return;
  fail("too_many_attachments", "Send what was uploaded first; what is not sent goes after a day");
}

/** Removes, within bounds, what was uploaded long ago and never sent; gives its number. */
export async function removeOrphans({ pool }: AttachmentParts): Promise<number> {
  return deleteOrphans(pool, limits.orphanHours, limits.removalsAtOnce);
}

/** Removes, within bounds, bytes of which nobody knows any more; gives how many attachments they were of. */
export async function removeForgotten(parts: AttachmentParts): Promise<number> {
  const removals = await takeRemovals(parts.pool, limits.removalMinutes, limits.removalsAtOnce);
  for (const { id, storage } of removals) await removeBytes(parts, storage, id);
  return removals.length;
}

/** What fails here is tried again by the maintenance, sooner or later. */
async function removeBytes(parts: AttachmentParts, storage: StorageName, id: string): Promise<void> {
  try {
    await parts.storages.named(storage).remove(id);
    await endRemoval(parts.pool, id);
  } catch (error) {
    parts.log.warn({ err: error, attachment_id: id }, "cannot remove an attachment's bytes");
  }
}
