// How was each probe in the last 24 hours and 30 days? Small pictures that also a screen reader can tell.

import { h } from "./dom.js";

const SLOTS = 96;
const RANK = { fail: 4, warn: 3, unknown: 2, ok: 1, skipped: 0 };
const HEIGHT = { ok: 6, warn: 13, fail: 20, unknown: 6, skipped: 2 };
const TROUBLE = new Set(["warn", "fail"]);

/** The worst status of each quarter of an hour, so that a probe that comes and goes all day stays a small picture. */
function slots(changes, since, until) {
  const length = (until - since) / SLOTS;
  const worst = new Array(SLOTS).fill(null);
  changes.forEach((change, at) => {
    if (change.status === null || !(change.status in RANK)) return;
    const from = Math.max(since, Date.parse(change.at));
    const to = at + 1 < changes.length ? Date.parse(changes[at + 1].at) : until;
    const first = Math.max(0, Math.floor((from - since) / length));
    const last = Math.min(SLOTS - 1, Math.ceil((to - since) / length) - 1);
    for (let slot = first; slot <= last; slot += 1) {
      if (worst[slot] === null || RANK[change.status] > RANK[worst[slot]]) worst[slot] = change.status;
    }
  });
  return worst;
}

function summary(changes, since, until, speaks) {
  let good = 0;
  let seen = 0;
  let troubles = 0;
  changes.forEach((change, at) => {
    const from = Math.max(since, Date.parse(change.at));
    const to = at + 1 < changes.length ? Date.parse(changes[at + 1].at) : until;
    if (change.status === "ok") good += to - from;
    if (change.status === "ok" || TROUBLE.has(change.status)) seen += to - from;
    if (TROUBLE.has(change.status) && !TROUBLE.has(changes[at - 1]?.status)) troubles += 1;
  });
  if (seen <= 0) return speaks.say("past.day.none");
  const count = speaks.say(troubles === 0 ? "past.quiet" : troubles === 1 ? "past.outage" : "past.outages", { count: troubles });
  return speaks.say("past.day", { share: speaks.share(good / seen), count });
}

/** A strip of 24 hours: low and green where well, tall where not, empty where nobody looked. */
export function dayStrip(past, probe, speaks) {
  const changes = past?.probes?.[probe]?.changes ?? [];
  const since = Date.parse(past?.since);
  const until = Date.parse(past?.generated_at);
  if (!changes.length || !(until > since)) return h("span", { class: "strip" });
  const worst = slots(changes, since, until);
  const bars = [];
  for (let from = 0; from < SLOTS; ) {
    let to = from + 1;
    while (to < SLOTS && worst[to] === worst[from]) to += 1;
    const status = worst[from];
    if (status) bars.push(h("rect", { class: `s-${status}`, x: from * 2, y: 22 - HEIGHT[status], width: (to - from) * 2 - 0.01, height: HEIGHT[status] }));
    from = to;
  }
  const told = summary(changes, since, until, speaks);
  const picture = { class: "strip", viewBox: "0 0 192 24", preserveAspectRatio: "none", role: "img", "aria-label": told };
  return h("svg", picture, h("title", null, told), h("rect", { class: "ground", x: 0, y: 22, width: 192, height: 1.5 }), bars);
}

/** 30 days, one bar each: what part of the opening hours was bad hangs from above. */
export function monthBars(past, probe, speaks) {
  const days = (past?.probes?.[probe]?.days ?? []).slice(-30);
  if (!days.length) return h("span", { class: "bars" });
  const good = days.reduce((sum, each) => sum + each.good_s, 0);
  const bad = days.reduce((sum, each) => sum + each.bad_s, 0);
  const told = good + bad > 0 ? speaks.say("past.month", { share: speaks.share(good / (good + bad)) }) : speaks.say("past.month.none");
  const bars = days.map((each, at) => {
    const seen = each.good_s + each.bad_s;
    const x = (30 - days.length + at) * 5;
    const day = speaks.day(each.day);
    if (seen <= 0) {
      return h("g", null, h("title", null, speaks.say("past.no_day", { day })), h("rect", { class: "s-skipped", x, y: 19, width: 4, height: 3 }));
    }
    const share = each.bad_s / seen;
    const tall = share > 0 ? Math.max(5, Math.round(share * 20)) : 0;
    return h(
      "g",
      null,
      h("title", null, speaks.say("past.one_day", { day, share: speaks.share(1 - share) })),
      h("rect", { class: "s-ok", x, y: 2 + tall, width: 4, height: 20 - tall }),
      tall > 0 && h("rect", { class: "s-fail", x, y: 2, width: 4, height: tall }),
    );
  });
  return h(
    "span",
    { class: "month" },
    h("svg", { class: "bars", viewBox: "0 0 149 24", preserveAspectRatio: "none", role: "img", "aria-label": told }, bars),
    h("span", { class: "share", "aria-hidden": "true" }, good + bad > 0 ? speaks.share(good / (good + bad)) : "–"),
  );
}
