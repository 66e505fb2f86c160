// What should whoever stands at the counter do now, and whom do they call?

import { h, sentence } from "./dom.js";
import { badge } from "./icons.js";

const items = (texts) => texts.map((text) => h("li", null, sentence(text)));

/** A contact as somebody wrote it, its number to be dialled by touch: "IT desk, 555-0100", "95516", "a@b.example". */
export function contactParts(text) {
  const mail = text.match(/[^\s,;<>，；：:]+@[^\s,;<>，；]+\.[^\s,;<>，；]+/);
  if (mail) return { before: text.slice(0, mail.index), label: mail[0], href: `mailto:${mail[0]}`, after: text.slice(mail.index + mail[0].length) };
  const digits = (found) => found[0].replace(/\D/g, "").length;
  const numbers = [...text.matchAll(/\+?\(?\d[\d ()./-]*\d/g)].filter((found) => digits(found) >= 3);
  if (!numbers.length) return { before: text, label: "", href: "", after: "" };
  const best = numbers.reduce((one, two) => (digits(two) > digits(one) ? two : one));
  const dialled = best[0].replace(/[^\d+]/g, "");
  return { before: text.slice(0, best.index), label: best[0].trim(), href: `tel:${dialled}`, after: text.slice(best.index + best[0].length) };
}

const tidy = (text) => text.replace(/^[\s,;:，；：·-]+|[\s,;:，；：·-]+$/g, "");

function contact(text) {
  const { before, label, href, after } = contactParts(text);
  const kind = href.startsWith("mailto:") ? "number mail" : "number";
  return [
    tidy(before) && h("p", { class: "whom" }, tidy(before)),
    label && h("p", null, h("a", { class: kind, href }, label)),
    tidy(after) && h("p", { class: "whom" }, tidy(after)),
  ];
}

/** Whoever has taken charge of the incident of this cause. */
function taken(report, cause, speaks) {
  const held = report.incidents.find((each) => each.cause === cause && each.acknowledged)?.acknowledged;
  if (!held) return null;
  const key = held.until ? "call.taken.until" : "call.taken.at";
  return h(
    "div",
    { class: "held" },
    badge("ok"),
    h("p", null, h("strong", null, speaks.say("call.taken", { by: held.by })), " ", h("span", { class: "when" }, speaks.say(key, { at: speaks.at(held.at), until: held.until ? speaks.at(held.until) : "" })), " ", held.note && h("span", { class: "note" }, held.note)),
  );
}

/** Whom to tell that nobody watches this till; nothing where nobody wrote that down. */
const alarmCard = (it, speaks) =>
  it && h("section", { class: "card call", "aria-labelledby": "call-title" }, h("h2", { id: "call-title" }, speaks.say("call")), h("p", { class: "party" }, speaks.say("party.it")), contact(it));

function callCard(report, fault, speaks) {
  const reach = fault.contact
    ? contact(fault.contact)
    : [h("p", { class: "whom" }, speaks.say("call.nobody")), h("p", { class: "aside" }, speaks.say("call.setting", { party: fault.party }))];
  return h(
    "section",
    { class: "card call", "aria-labelledby": "call-title" },
    h("h2", { id: "call-title" }, speaks.say("call")),
    h("p", { class: "party" }, speaks.say(`party.${fault.party}`)),
    reach,
    taken(report, fault.cause, speaks),
  );
}

const doCard = (steps, speaks) =>
  h("section", { class: "card do", "aria-labelledby": "do-title" }, h("h2", { id: "do-title" }, speaks.say("do")), h("ol", { class: "steps" }, items(steps)));

const carefulCard = (fault, speaks) =>
  fault.warnings?.length > 0 && h("section", { class: "card careful", "aria-labelledby": "careful-title" }, h("h2", { id: "careful-title" }, speaks.say("careful")), h("ul", null, items(fault.warnings)));

const worksBand = (fault, speaks) =>
  fault.still_works?.length > 0 && h("section", { class: "card works", "aria-labelledby": "works-title" }, h("h2", { id: "works-title" }, speaks.say("works")), h("ul", null, items(fault.still_works)));

/** The technician's part: folded away from whoever has a queue before them. */
export function reasons(fault, speaks, key) {
  const titles = fault.alternative_titles ?? [];
  const part = (name, content) => content && h("div", null, h("h3", null, speaks.say(name)), content);
  const list = (texts) => texts.length > 0 && h("ul", null, items(texts));
  return h(
    "details",
    { class: "reasons", "data-key": key },
    h("summary", null, speaks.say("why")),
    h(
      "div",
      { class: "reasons-body" },
      part("why.explanation", h("p", null, sentence(fault.explanation))),
      part("why.technician", fault.technician_steps?.length > 0 && h("ol", null, items(fault.technician_steps))),
      part("why.evidence", list(fault.evidence.map((each) => `${each.probe}${speaks.say("colon")}${each.detail}`))),
      part("why.ruled_out", list(fault.ruled_out.map((each) => `${each.title ?? each.cause}${speaks.say("colon")}${each.because}`))),
      part("why.alternatives", list(titles)),
      h("p", { class: "code" }, h("code", null, fault.cause), " · ", speaks.say(`confidence.${fault.confidence}`)),
    ),
  );
}

/** Steps of our own, where no diagnosis brings any. */
function ownSteps(report, mode, speaks) {
  if (mode === "unknown" && !report.diagnosis.length && !report.probes.some((each) => each.status === "unknown" && each.impact === "stop")) return "do.unproven";
  return speaks.has(`do.${mode}`) ? `do.${mode}` : null;
}

/** Everything between the verdict and the chain. */
export function adviceSection({ report, last }, mode, speaks) {
  const blind = mode === "gone" || mode === "stale";
  const fault = report?.diagnosis[0];
  if (blind || !fault) {
    const key = blind ? `do.${mode}` : report && ownSteps(report, mode, speaks);
    const alarm = blind && alarmCard(report ? report.site.contacts?.it : last?.it, speaks);
    return key ? h("div", { class: alarm ? "advice two" : "advice few", "data-key": "advice" }, doCard(speaks.say(key), speaks), alarm) : null;
  }
  return h(
    "div",
    { class: fault.warnings?.length ? "advice" : "advice two", "data-key": "advice" },
    fault.steps.length > 0 && doCard(fault.steps, speaks),
    callCard(report, fault, speaks),
    carefulCard(fault, speaks),
    worksBand(fault, speaks),
  );
}

/** Why the first fault was named; below the chain. */
export const firstReasons = (report, speaks) => report.diagnosis.length > 0 && reasons(report.diagnosis[0], speaks, "reasons");

/** The faults that come second. */
export function otherFaults(report, speaks) {
  const others = report.diagnosis.slice(1);
  if (!others.length) return null;
  return h(
    "section",
    { class: "panel", "data-key": "also", "aria-labelledby": "also-title" },
    h("div", { class: "head" }, h("h2", { id: "also-title" }, speaks.say("also"))),
    h(
      "ul",
      { class: "faults" },
      others.map((fault, at) =>
        h(
          "li",
          { "data-key": `${fault.cause}.${at}` },
          h("h3", null, fault.title),
          h("p", { class: "whom" }, speaks.say("call"), speaks.say("colon"), speaks.say(`party.${fault.party}`), fault.contact && `${speaks.say("comma")}${fault.contact}`),
          h("ol", null, items(fault.steps)),
          reasons(fault, speaks, `reasons.${fault.cause}`),
        ),
      ),
    ),
  );
}
