import { h } from "./element.js";
import { sizeOf } from "./text.js";

const MOST_WIDTH_PX = 320;
const MOST_HEIGHT_PX = 260;

/** The files of a message: images as thumbnails, others with name and size. Each leads to its file. */
export function attachmentList(attachments) {
  return h("ul", { class: "files" }, ...attachments.map((attachment) => h("li", {}, fileLink(attachment))));
}

function fileLink(attachment, isBroken = false) {
  const { name, url, width, size } = attachment;
  const target = { href: url, target: "_blank", rel: "noopener" };
  if (width && !isBroken) return h("a", { ...target, class: "image", title: name }, thumbnail(attachment));
  return h(
    "a",
    { ...target, class: "file", download: name },
    h("span", { class: "file-icon", "aria-hidden": "true" }, extensionOf(name)),
    h("span", { class: "file-name", dir: "auto" }, name),
    h("span", { class: "file-size" }, sizeOf(size)),
  );
}

/** Its place is kept before it has come, so that nothing moves when it does. */
function thumbnail(attachment) {
  const { name, url, width, height } = attachment;
  const scale = Math.min(1, MOST_WIDTH_PX / width, MOST_HEIGHT_PX / height);
  return h("img", {
    src: `${url}?thumbnail=1`,
    alt: name,
    width: Math.max(1, Math.round(width * scale)),
    height: Math.max(1, Math.round(height * scale)),
    loading: "lazy",
    decoding: "async",
    onerror: ({ currentTarget }) => currentTarget.parentElement.replaceWith(fileLink(attachment, true)),
  });
}

/** "report.final.PDF" → "pdf" */
export function extensionOf(name) {
  const extension = /\.([\p{L}\p{N}]{1,4})$/u.exec(name)?.[1];
  return extension?.toLowerCase() ?? "file";
}
