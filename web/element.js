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

/** A coloured disc; its colour follows from the id, so that a person looks the same everywhere. */
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

const clock = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
});
const weekday = new Intl.DateTimeFormat(undefined, { weekday: "short" });
const shortDate = new Intl.DateTimeFormat(undefined, {
  day: "numeric",
  month: "short",
});
const longDate = new Intl.DateTimeFormat(undefined, {
  weekday: "long",
  day: "numeric",
  month: "long",
});
const withYear = new Intl.DateTimeFormat(undefined, { dateStyle: "long" });
const exact = new Intl.DateTimeFormat(undefined, {
  dateStyle: "full",
  timeStyle: "medium",
});

export function timeOf(timestamp) {
  const date = new Date(timestamp);
  return h("time", { datetime: timestamp, title: exact.format(date) }, clock.format(date));
}

/** For lists: the time today, the weekday this week, else the date. */
export function shortTimeOf(timestamp) {
  const date = new Date(timestamp);
  const format = daysAgo(date) === 0 ? clock : daysAgo(date) < 7 ? weekday : shortDate;
  return h("time", { datetime: timestamp, title: exact.format(date) }, format.format(date));
}

export function dayOf(timestamp) {
  const date = new Date(timestamp);
  const days = daysAgo(date);
  if (days === 0) return "Today";
  if (days === 1) return "Yesterday";
  return (days < 300 ? longDate : withYear).format(date);
}

function daysAgo(date) {
  const midnight = (day) => new Date(day.getFullYear(), day.getMonth(), day.getDate()).getTime();
  return Math.max(0, Math.round((midnight(new Date()) - midnight(date)) / 86_400_000));
}

const ADDRESS = /https?:\/\/[^\s<>"]+[^\s<>".,;:!?'")\]}]/gu;

/** Text with its web addresses made links. */
export function textWithLinks(text) {
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(ADDRESS)) {
    parts.push(text.slice(end, match.index));
    parts.push(h("a", { href: match[0], target: "_blank", rel: "noopener noreferrer" }, match[0]));
    end = match.index + match[0].length;
  }
  return [...parts, text.slice(end)];
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
