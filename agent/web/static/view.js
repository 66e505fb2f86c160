// What is on the page? From what is known to a tree; nothing here asks, keeps or waits.

import { adviceSection, firstReasons, otherFaults } from "./advice.js";
import { agentSection, incidentsSection, uncheckedSection } from "./below.js";
import { chainSection } from "./chain.js";
import { checksSection } from "./checks.js";
import { h, sentence } from "./dom.js";
import { verdictSign } from "./icons.js";

export const BLIND = new Set(["gone", "stale", "starting", "loading"]);
const CALM = new Set(["starting", "loading"]);

/** The part of the headline that is not the verdict: it is large enough already. */
function because(report) {
  const headline = report.verdict.headline ?? "";
  const end = headline.search(/\. |。/);
  if (end >= 0) return headline.slice(end + 1).trim();
  const colon = headline.search(/: |：/);
  const rest = headline.slice(colon + 1).trim();
  return rest.charAt(0).toUpperCase() + rest.slice(1);
}

/** What stands below the large words. */
function reason(known, mode, speaks) {
  const { report } = known;
  if (BLIND.has(mode)) return speaks.say(`${mode}.what`, { at: report ? speaks.at(report.generated_at) : "" });
  if (mode === "ready") return speaks.say("ready.what");
  return because(report);
}

function lastKnown(known, speaks) {
  const last = known.report ? { payments: known.report.verdict.payments, at: known.report.generated_at } : known.last;
  if (!last || !speaks.has(last.payments)) return null;
  return h("p", { class: "last" }, speaks.say("last_known", { at: speaks.at(last.at), verdict: speaks.say(last.payments) }));
}

function chip(report, speaks) {
  const word = report.verdict.settlement;
  if (!speaks.has(`settlement.${word}`)) return null;
  return h("p", { class: `chip c-${word}` }, verdictSign(word), h("span", null, speaks.say("settlement"), speaks.say("colon"), h("strong", null, speaks.say(`settlement.${word}`))));
}

/** The large words; what can be read from across the shop. */
function hero(known, mode, speaks) {
  const { report } = known;
  const blind = BLIND.has(mode);
  const since = !blind && report.verdict.since;
  return h(
    "section",
    { class: `hero v-${blind ? "blind" : mode}`, "data-key": "hero", "aria-labelledby": "verdict" },
    h(
      "div",
      { class: "hero-inner" },
      verdictSign(blind ? "blind" : mode),
      h(
        "div",
        { class: "words" },
        h("p", { class: "kicker" }, speaks.say(`${mode}.kicker`)),
        h("h1", { id: "verdict" }, speaks.say(mode)),
        h("p", { class: "reason" }, sentence(reason(known, mode, speaks))),
        (mode === "gone" || mode === "stale") && lastKnown(known, speaks),
        h(
          "div",
          { class: "foot" },
          since && h("p", { class: "since" }, speaks.say("since", { at: speaks.at(since), span: speaks.span(since) })),
          !blind && chip(report, speaks),
        ),
      ),
    ),
  );
}

function till(site, speaks) {
  if (site?.store && site.terminal) return speaks.say("till", site);
  if (site?.store) return speaks.say("till.store", site);
  return site?.terminal ? speaks.say("till.terminal", site) : (site?.host ?? "posagent");
}

function header(known, mode, speaks) {
  const { report } = known;
  const at = known.answered ? speaks.at(known.answered, true) : "";
  const state = mode === "gone" ? (at ? speaks.say("silent", { at }) : speaks.say("silent.never")) : report ? speaks.say("live", { at: speaks.at(report.generated_at, true) }) : "";
  return h(
    "header",
    { class: "bar", "data-key": "bar" },
    h("p", { class: "till" }, till(report?.site, speaks)),
    h("p", { class: BLIND.has(mode) ? "live quiet" : "live" }, state),
    h("button", { type: "button", id: "switch", lang: speaks.language === "en" ? "zh-CN" : "en", "aria-label": speaks.say("switch.label") }, speaks.say("switch")),
  );
}

function silenced(report, now, speaks) {
  const until = report.agent.silenced_until;
  if (!until || Date.parse(until) <= now) return null;
  return h("p", { class: "banner", "data-key": "silenced" }, speaks.say("silenced", { until: speaks.at(until) }));
}

/** The whole page. `known`: report, past, last, answered; `now` is the till's own time. */
export function view(known, mode, now, speaks) {
  const { report, past } = known;
  const below = report && !CALM.has(mode) && [
    chainSection(report, speaks),
    firstReasons(report, speaks),
    otherFaults(report, speaks),
    checksSection(report, past, speaks),
    h("div", { class: "pair", "data-key": "pair" }, incidentsSection(report, past, speaks), uncheckedSection(report, speaks), agentSection(report, now, speaks)),
  ];
  return h(
    "div",
    { id: "page", class: `${mode === "gone" || mode === "stale" ? "old" : ""}` },
    below && h("a", { class: "skip", href: "#checks", "data-key": "skip" }, speaks.say("skip")),
    header(known, mode, speaks),
    h(
      "main",
      { "data-key": "main", "data-mode": mode },
      report && silenced(report, now, speaks),
      hero(known, mode, speaks),
      h("div", { class: "body", "data-key": "body" }, adviceSection(known, mode, speaks), below),
    ),
    h(
      "footer",
      { class: "end", "data-key": "end" },
      h("p", null, speaks.say("version", { version: report?.agent.version ?? "" }).trim()),
      report && !BLIND.has(mode) && h("p", null, h("a", { href: `/health.json?lang=${speaks.language}` }, speaks.say("raw"))),
    ),
  );
}

/** What a screen reader says when it changes. */
export const spoken = (known, mode, speaks) => `${speaks.say(`${mode}.kicker`)}${speaks.say("colon")}${speaks.say(mode)}. ${reason(known, mode, speaks)}`;
