// How moments are written.
import { h } from "./element.js";

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

const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });

/** "5 minutes ago", "yesterday" */
export function timeSince(timestamp) {
  const minutes = Math.max(0, Math.round((Date.now() - Date.parse(timestamp)) / 60_000));
  if (minutes < 60) return minutes === 0 ? "a moment ago" : relative.format(-minutes, "minute");
  const hours = Math.round(minutes / 60);
  return hours < 24 ? relative.format(-hours, "hour") : relative.format(-Math.round(hours / 24), "day");
}
