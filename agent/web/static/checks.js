// What does each probe see, and how was it lately?

import { h } from "./dom.js";
import { dayStrip, monthBars } from "./history.js";
import { badge } from "./icons.js";

const TROUBLE = new Set(["fail", "warn", "unknown"]);

const fact = (name, value) => value && [h("dt", null, name), h("dd", null, value)];

function measured(probe, speaks) {
  const known = Object.entries(probe.measurements ?? {});
  if (!known.length) return null;
  return known.map(([key, value]) => h("code", null, `${key}=${Array.isArray(value) ? value.join(" ") : speaks.number(value)}`));
}

function facts(probe, speaks) {
  const say = speaks.say;
  return h(
    "dl",
    { class: "facts" },
    fact(say("probe.target"), h("code", null, probe.kind, " ", probe.target)),
    fact(say("probe.reason"), h("code", null, probe.reason)),
    fact(say("probe.impact"), say(`impact.${probe.impact}`)),
    fact(say("probe.since"), speaks.at(probe.since)),
    fact(say("probe.checked"), speaks.at(probe.checked_at, true)),
    fact(say("probe.took"), `${speaks.number(Math.round(probe.duration_ms))} ms`),
    fact(say("probe.measured"), measured(probe, speaks)),
    fact(say("probe.evidence"), probe.evidence?.length > 0 && h("ul", null, probe.evidence.map((each) => h("li", null, each)))),
  );
}

function row(probe, past, titles, speaks) {
  const say = speaks.say;
  const asides = [
    TROUBLE.has(probe.status) && !probe.confirmed && say("probe.suspect"),
    probe.flapping && say("probe.flapping"),
    probe.explained_by && titles.has(probe.explained_by) && say("probe.because", { title: titles.get(probe.explained_by) }),
  ].filter(Boolean);
  return h(
    "li",
    { class: `probe is-${probe.status}`, "data-key": probe.name },
    h(
      "details",
      null,
      h(
        "summary",
        null,
        h("span", { class: "status" }, badge(probe.status), h("span", { class: "word" }, say(`status.${probe.status}`)), " "),
        h(
          "span",
          { class: "what" },
          h("span", { class: "label" }, probe.label || probe.name),
          " ",
          h("span", { class: "summary" }, probe.summary),
          " ",
          asides.length > 0 && h("span", { class: "aside" }, asides.join(" · ")),
        ),
        dayStrip(past, probe.name, speaks),
        monthBars(past, probe.name, speaks),
      ),
      facts(probe, speaks),
    ),
  );
}

/** The section of all probes: as the report orders them, trouble first. */
export function checksSection(report, past, speaks) {
  const say = speaks.say;
  const count = report.probes.filter((each) => each.status !== "skipped").length;
  const bad = report.probes.filter((each) => TROUBLE.has(each.status)).length;
  const told = count === 0 ? say("checks.none") : bad ? say("checks.some", { bad, count }) : say("checks.well", { count });
  const titles = new Map(report.diagnosis.map((each) => [each.cause, each.title]));
  const pasts = past?.probes && Object.keys(past.probes).length > 0;
  return h(
    "section",
    { class: "panel", id: "checks", tabindex: "-1", "data-key": "checks", "aria-labelledby": "checks-title" },
    h(
      "div",
      { class: "head checks-head" },
      h("h2", { id: "checks-title" }, say("checks")),
      h("p", null, told),
      pasts && h("span", { class: "axis", "aria-hidden": "true" }, say("checks.day")),
      pasts && h("span", { class: "axis", "aria-hidden": "true" }, say("checks.month")),
    ),
    h("ul", { class: pasts ? "probes" : "probes without-past" }, report.probes.map((each) => row(each, past, titles, speaks))),
  );
}
