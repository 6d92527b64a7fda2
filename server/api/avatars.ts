import { createHash } from "node:crypto";
import { z } from "zod";
import { findAvatar } from "../../sql/avatars.ts";
import { collect } from "../collect.ts";
import { changeAvatar, removeAvatar } from "../commands/avatars.ts";
import { fail } from "../errors.ts";
import { idSchema } from "../fields.ts";
import { limits } from "../limits.ts";
import { drawAvatar } from "./avatar-drawing.ts";
import type { Parts } from "./parts.ts";
import { noContent, type Route, route } from "./route.ts";
import { readBuffer, serve, servedAnswers, servedRequestHeaders } from "./serving.ts";
import { fileForm, isForm, receiveBody, receiveFile } from "./uploads.ts";

const userParams = z.object({ id: idSchema });

export function avatarRoutes(parts: Parts): Route[] {
  const { attachments, inAvatarPlace, pool } = parts;
  return [
    route({
      method: "GET",
      path: "/api/v1/users/:id/avatar",
      name: "readAvatar",
      summary: "Somebody's picture",
      description: "Until one is uploaded, a drawing of the initials: the same for the same user.",
      tag: "Users",
      access: "session",
      params: userParams,
      headers: servedRequestHeaders,
      answers: servedAnswers(["image/webp", "image/svg+xml"]),
      refusals: ["user_not_found", "range_not_satisfiable"],
      handle: async ({ event, params: { id } }) => {
        const found = (await findAvatar(pool, id)) ?? fail("user_not_found");
        const bytes = found.image ?? Buffer.from(drawAvatar(id, found.display_name));
        return serve(event, {
          media_type: found.image ? "image/webp" : "image/svg+xml",
          size: bytes.length,
          etag: createHash("sha256").update(bytes).digest("base64url").slice(0, 27),
          // The drawing is our own: nothing of it comes from anybody but one or two letters.
          inPlace: true,
          name: found.image ? "avatar.webp" : "avatar.svg",
          read: readBuffer(bytes),
        });
      },
    }),
    route({
      method: "PUT",
      path: "/api/v1/users/me/avatar",
      name: "putAvatar",
      summary: "Upload one's picture",
      description:
        "PNG, JPEG, GIF, WebP or AVIF, at most 5 MiB. Its middle square is kept, and nothing but pixels.",
      tag: "Users",
      access: "session",
      rate: "upload",
      uploads: { "multipart/form-data": fileForm, "image/*": z.file() },
      answers: { 204: null },
      refusals: ["overloaded"],
      handle: async ({ event, caller }) => {
        await inAvatarPlace(caller.user_id, async () => {
          const { avatarBytes } = limits;
          const bytes = isForm(event.req.headers.get("content-type") ?? "")
            ? await receiveFile(event, avatarBytes, (file) => collect(file.bytes))
            : await collect(receiveBody(event, avatarBytes));
          await changeAvatar(attachments, caller, bytes);
        });
        return noContent();
      },
    }),
    route({
      method: "DELETE",
      path: "/api/v1/users/me/avatar",
      name: "deleteAvatar",
      summary: "Go back to the drawn picture",
      tag: "Users",
      access: "session",
      answers: { 204: null },
      refusals: [],
      handle: async ({ caller }) => {
        await removeAvatar(pool, caller.user_id);
        return noContent();
      },
    }),
  ];
}
