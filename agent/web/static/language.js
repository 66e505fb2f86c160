// In which language is this read, and how does it write times and spans?

import en from "./words.en.js";
import zh from "./words.zh-CN.js";

const WORDS = { en, "zh-CN": zh };
const KEPT = "posagent.language";

/** What was chosen here before, else what the browser asks for; null: the report's own. */
export function preferred() {
  const kept = remembered(KEPT);
  if (kept in WORDS) return kept;
  for (const tag of navigator.languages ?? [navigator.language]) {
    const primary = tag.toLowerCase().split("-")[0];
    if (primary === "zh") return "zh-CN";
    if (primary === "en") return "en";
  }
  return null;
}

export const known = (language) => (language in WORDS ? language : "en");
export const other = (language) => (language === "en" ? "zh-CN" : "en");
export const choose = (language) => remember(KEPT, language);

/** A browser that may not keep anything forgets; nothing else happens. */
export function remembered(key) {
  try {
    return localStorage.getItem(key) ?? "";
  } catch {
    return "";
  }
}

export function remember(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch {
    // private windows and full disks
  }
}

/** Everything that is written, in one language. `zone` is that of the reader's clock. */
export function speaker(language, now) {
  const words = WORDS[language];
  const formats = new Map();
  const format = (name, options) => {
    if (!formats.has(name)) formats.set(name, new Intl.DateTimeFormat(language, options));
    return formats.get(name);
  };
  const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
  const say = (key, values = {}) => {
    const text = words[key];
    if (text === undefined) return key;
    return Array.isArray(text) ? text.map((each) => fill(each, values)) : fill(text, values);
  };
  const clock = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  return {
    language,
    say,
    has: (key) => key in words,
    /** A moment as the clock on the wall has it, with the day where that is not today. */
    at(stamp, seconds = false) {
      const moment = new Date(stamp);
      if (Number.isNaN(moment.getTime())) return "?";
      const today = moment.toDateString() === new Date(now).toDateString();
      if (today && seconds) return format("seconds", { ...clock, second: "2-digit" }).format(moment);
      if (today) return format("time", clock).format(moment);
      return format("both", { ...clock, day: "numeric", month: "short" }).format(moment);
    },
    day: (text) => format("day", { day: "numeric", month: "short", timeZone: "UTC" }).format(new Date(`${text}T00:00:00Z`)),
    /** How long from one moment to another, in the two largest units. */
    span(from, to = now) {
      const seconds = Math.max(0, Math.round((new Date(to) - new Date(from)) / 1000));
      const minutes = Math.floor(seconds / 60);
      const hours = Math.floor(minutes / 60);
      if (seconds < 60) return say("span.s", { s: seconds });
      if (minutes < 60) return say("span.min", { min: minutes });
      if (hours < 24) return say("span.h", { h: hours, min: minutes % 60 });
      return say("span.d", { d: Math.floor(hours / 24), h: hours % 24 });
    },
    number: (value) => (typeof value === "number" ? new Intl.NumberFormat(language, { maximumFractionDigits: 2 }).format(value) : String(value)),
    /** Never rounded up to 100 %: what was out for a second was out. */
    share(part) {
      const hundredths = part >= 1 ? 10000 : Math.min(9999, Math.floor(part * 10000));
      const digits = hundredths === 10000 || hundredths % 100 === 0 ? 0 : hundredths < 9900 ? 1 : 2;
      return `${(hundredths / 100).toFixed(digits)}${language === "en" ? "\u202f" : ""}%`;
    },
  };
}
