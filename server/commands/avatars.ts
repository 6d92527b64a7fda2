import { deleteAvatar, putAvatar } from "../../sql/avatars.ts";
import { inTransaction, type Pool } from "../../sql/database.ts";
import { findLiveSession } from "../../sql/sessions.ts";
import { lockUser } from "../../sql/users.ts";
import { fail } from "../errors.ts";
import type { Images } from "./images.ts";
import { detect, imageTypes } from "./media-types.ts";

/**
 * Makes an avatar of an image. Throws unsupported_media_type, invalid_request if the image cannot be read,
 * session_revoked.
 */
export async function changeAvatar(
  { pool, images }: { pool: Pool; images: Images },
  caller: { user_id: string; session_id: string },
  bytes: Buffer,
): Promise<void> {
  const mediaType = await detect(bytes);
  if (mediaType === undefined || !imageTypes.has(mediaType)) {
    fail("unsupported_media_type", "An avatar must be PNG, JPEG, GIF, WebP or AVIF");
  }
  const image = await images.square(caller.user_id, async () => bytes);
  if (!image) return fail("invalid_request", "The image cannot be read, or has too many pixels");
  await inTransaction(pool, async (transaction) => {
    // An erasure of the account was first, and has ended the session; or it waits, and removes this too.
    await lockUser(transaction, caller.user_id);
    if (!(await findLiveSession(transaction, caller.session_id, caller.user_id))) fail("session_revoked");
    await putAvatar(transaction, caller.user_id, image);
  });
}

/** Back to the generated one. */
export async function removeAvatar(pool: Pool, userId: string): Promise<void> {
  await deleteAvatar(pool, userId);
}
