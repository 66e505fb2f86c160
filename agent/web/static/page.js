// How is this till now? Asks the agent every few seconds, and says so when nobody answers.

import { morph } from "./dom.js";
import { tabIcon } from "./icons.js";
import { choose, known as knownLanguage, other, preferred, remember, remembered, speaker } from "./language.js";
import { BLIND, spoken, view } from "./view.js";

const ASK_MS = 3000;
const ASK_HIDDEN_MS = 15000;
const PAST_MS = 60000;
const PATIENCE_MS = 5000;
const GONE_MS = 10000;
const REDRAW_MS = 30000; // spans are told in minutes
const CLOCK_SLACK_MS = 2000;
const LAST = "posagent.last";

const known = { report: null, past: null, last: lastVerdict(), answered: 0 };
let language = preferred();
let etag = "";
let failing = false;
let starting = false;
let offset = 0; // of the till's clock against this browser's
let mode = "";
let said = "";
let timer = 0;

function lastVerdict() {
  try {
    return JSON.parse(remembered(LAST));
  } catch {
    return null;
  }
}

const now = () => Date.now() + offset;
const speaking = () => language ?? knownLanguage(known.report?.agent.language);

/** The whole of what is known, as one word. */
function judged() {
  const silent = known.answered === 0 || Date.now() - known.answered > GONE_MS;
  if (failing && silent) return "gone";
  if (starting) return "starting";
  if (!known.report) return "loading";
  if (Date.parse(known.report.valid_until) < now()) return "stale";
  return known.report.verdict.payments;
}

function draw() {
  const speaks = speaker(speaking(), now());
  mode = judged();
  document.documentElement.lang = speaks.language;
  morph(document.getElementById("page"), view({ ...known, answered: known.answered && known.answered + offset }, mode, now(), speaks));
  document.title = `${speaks.say(mode)} · ${known.report?.site.terminal || "posagent"}`;
  const icon = document.querySelector('link[rel="icon"]');
  const sign = tabIcon(BLIND.has(mode) ? "blind" : mode);
  if (icon.href !== sign) icon.href = sign;
  announce(spoken(known, mode, speaks));
}

/** Read aloud only what changed. */
function announce(text) {
  if (mode === "loading" || text === said) return;
  said = text;
  document.getElementById("said").textContent = text;
}

async function ask(path, headers = {}) {
  const query = language ? `?lang=${language}` : "";
  return fetch(`${path}${query}`, { cache: "no-store", headers, signal: AbortSignal.timeout?.(PATIENCE_MS) });
}

function listenToTheClock(response) {
  const told = Date.parse(response.headers.get("Date") ?? "");
  if (Number.isNaN(told)) return;
  const apart = told - Date.now();
  offset = Math.abs(apart) > CLOCK_SLACK_MS ? apart : 0;
}

/** Whether there is something new to show. */
async function askReport() {
  const asked = language;
  const response = await ask("/health.json", etag ? { "If-None-Match": etag } : {});
  if (asked !== language) return false;
  const before = known.report;
  if (response.status === 503) {
    starting = true;
  } else if (response.status !== 304) {
    if (!response.ok) throw new Error(`health.json: ${response.status}`);
    const report = await response.json();
    if (!String(report.schema).startsWith("posagent.report/")) throw new Error("not a report");
    etag = response.headers.get("ETag") ?? "";
    known.report = report;
    known.last = { payments: report.verdict.payments, at: report.generated_at, it: report.site.contacts?.it };
    remember(LAST, JSON.stringify(known.last));
  }
  if (response.status !== 503) starting = false;
  listenToTheClock(response);
  known.answered = Date.now();
  return known.report !== before;
}

async function look() {
  clearTimeout(timer);
  let fresh = false;
  try {
    fresh = await askReport();
    failing = false;
  } catch {
    failing = true;
  }
  if (fresh || judged() !== mode) draw();
  clearTimeout(timer);
  timer = setTimeout(look, document.hidden ? ASK_HIDDEN_MS : ASK_MS);
}

async function lookBack() {
  try {
    const response = await ask("/history.json");
    if (response.ok) {
      known.past = await response.json();
      draw();
    }
  } catch {
    // the page says by itself when nobody answers; what was known of the past stays
  }
}

function switchLanguage() {
  language = other(speaking());
  choose(language);
  etag = "";
  draw();
  look();
  lookBack();
}

document.addEventListener("click", (event) => {
  if (event.target.closest("#switch")) switchLanguage();
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) look().then(draw);
});
setInterval(() => {
  if (!document.hidden) draw();
}, REDRAW_MS);
setInterval(() => {
  if (!document.hidden) lookBack();
}, PAST_MS);
if ("serviceWorker" in navigator && window.isSecureContext) {
  navigator.serviceWorker.register("/static/sw.js", { scope: "/" }).catch(() => {});
}
draw();
look();
lookBack();
