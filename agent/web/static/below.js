// What else is known: incidents, what is not looked at, and how posagent itself is.

import { h, sentence } from "./dom.js";

const QUIET = new Set(["agent.started", "agent.stopped", "reloaded"]);
const DAY_MS = 86_400_000;

function open(incident, speaks) {
  const { say, at } = speaks;
  const held = incident.acknowledged;
  const key = held?.until ? "incident.taken.until" : "incident.taken";
  return h(
    "li",
    { "data-key": incident.id },
    h("p", { class: "title" }, incident.title || incident.cause),
    h("p", null, say("incident.since", { at: at(incident.opened_at), span: speaks.span(incident.opened_at) }), incident.flapping && ` · ${say("incident.flapping")}`, " · ", h("code", null, incident.id)),
    held
      ? h("p", { class: "taken" }, say(key, { by: held.by, at: at(held.at), until: held.until ? at(held.until) : "" }), held.note && ` · ${held.note}`)
      : h("p", { class: "free" }, sentence(say("incident.free", { id: incident.id }))),
    incident.silenced_until && h("p", null, say("incident.silenced", { until: at(incident.silenced_until) })),
  );
}

function over(incident, speaks) {
  const { say, at, span } = speaks;
  const held = incident.acknowledged;
  return h(
    "li",
    { "data-key": `past.${incident.id}` },
    h("span", { class: "title" }, incident.title || incident.cause),
    " · ",
    say("incident.lasted", { at: at(incident.opened_at), span: span(incident.opened_at, incident.resolved_at) }),
    held && ` · ${say("incident.was_taken", { by: held.by })}${held.note ? `${say("colon")}${held.note}` : ""}`,
  );
}

export function incidentsSection(report, past, speaks) {
  const { say } = speaks;
  const gone = past?.incidents ?? [];
  return h(
    "section",
    { class: "panel", "data-key": "incidents", "aria-labelledby": "incidents-title" },
    h("div", { class: "head" }, h("h2", { id: "incidents-title" }, say("incidents")), !report.incidents.length && h("p", null, say("incidents.none"))),
    report.incidents.length > 0 && h("ul", { class: "incidents" }, report.incidents.map((each) => open(each, speaks))),
    gone.length > 0 &&
      h("details", { "data-key": "over" }, h("summary", null, say("incidents.past", { count: gone.length })), h("ul", { class: "over" }, gone.map((each) => over(each, speaks)))),
  );
}

export function uncheckedSection(report, speaks) {
  if (!report.not_checked?.length) return null;
  return h(
    "section",
    { class: "panel", "data-key": "unchecked", "aria-labelledby": "unchecked-title" },
    h("div", { class: "head" }, h("h2", { id: "unchecked-title" }, speaks.say("not_checked"))),
    h("ul", { class: "plain" }, report.not_checked.map((each) => h("li", null, each))),
  );
}

export function agentSection(report, now, speaks) {
  const { say } = speaks;
  const agent = report.agent;
  const events = (agent.events ?? []).filter((each) => !QUIET.has(each.what) && now - Date.parse(each.at) < DAY_MS);
  const waiting = Object.entries(agent.waiting ?? {}).filter(([name, count]) => count > 0 && speaks.has(`agent.waiting.${name}`));
  const list = (title, entries) => entries.length > 0 && [h("h3", null, say(title)), h("ul", { class: "plain" }, entries)];
  return h(
    "section",
    { class: "panel", "data-key": "agent", "aria-labelledby": "agent-title" },
    h("div", { class: "head" }, h("h2", { id: "agent-title" }, say("agent")), agent.healthy && h("p", null, say("agent.well"))),
    list("agent.problems", agent.problems.map((each) => h("li", { class: "problem" }, sentence(each)))),
    waiting.length > 0 && h("ul", { class: "plain" }, waiting.map(([name, count]) => h("li", null, say(`agent.waiting.${name}`, { count: speaks.number(count) })))),
    list("agent.events", [...events].reverse().map((each) => h("li", null, h("span", { class: "when" }, speaks.at(each.at)), " ", each.text))),
  );
}
