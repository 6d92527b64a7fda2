// Building blocks of the page. Data only ever becomes a text node or an attribute, never markup.

/**
 * `h("button", { type: "button", onclick: act }, "Join")`. Attributes that are false, null or undefined are
 * left out.
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

export function byId(id) {
  return document.getElementById(id);
}

/** A disc with letters; a group's colour follows from its id, so that it looks the same everywhere. */
export function disc(id, content, kind = "person") {
  const element = h("span", { class: `avatar ${kind}`, "aria-hidden": "true" }, content);
  element.style.setProperty("--hue", String(hue(id)));
  return element;
}

function hue(id) {
  let hash = 0;
  for (const character of id) hash = (hash * 31 + character.charCodeAt(0)) >>> 0;
  return hash % 360;
}

let noticeTimer = 0;

/** A passing word at the foot of the page. */
export function notify(text) {
  const notice = byId("notice");
  notice.textContent = text;
  notice.hidden = false;
  clearTimeout(noticeTimer);
  noticeTimer = setTimeout(() => {
    notice.hidden = true;
  }, 6000);
}
