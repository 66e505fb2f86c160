// Where between the socket and the bank does a payment stop? The chain as a picture, torn where it is broken.

import { h } from "./dom.js";
import { badge, linkIcon, tear } from "./icons.js";

const BROKEN = "fail";

/** What is drawn of each link: what nothing gets through to is grey, also where it works by itself. */
function drawn(chain) {
  const first = chain.findIndex((each) => each.status === BROKEN);
  return chain.map((each, at) => {
    const behind = first >= 0 && at > first && each.status !== BROKEN;
    const unseen = each.status === "unknown" || each.status === "skipped";
    const word = !behind || each.status === "skipped" ? each.status : unseen ? "dark" : each.status === "ok" ? "behind" : each.status;
    return { ...each, behind, word, torn: each.status === BROKEN };
  });
}

function verdict(chain, speaks) {
  const names = (status) => chain.filter((each) => each.status === status).map((each) => speaks.say(`link.${each.link}`));
  const told = { fail: "chain.torn", warn: "chain.strained", unknown: "chain.blind" };
  for (const [status, key] of Object.entries(told)) {
    const links = names(status);
    if (links.length) return speaks.say(key, { link: links.join(speaks.say("list")) });
  }
  if (!names("ok").length) return null;
  return speaks.say(names("skipped").length ? "chain.partly" : "chain.well");
}

/** The section; nothing where a report has no chain. */
export function chainSection(report, speaks) {
  const chain = report.chain;
  if (!Array.isArray(chain) || !chain.length) return null;
  const titles = new Map(report.diagnosis.map((each) => [each.cause, each.title]));
  const links = drawn(chain).map((each) => {
    const classes = ["link", `is-${each.status}`, each.behind && "behind", each.torn && "torn"].filter(Boolean).join(" ");
    return h(
      "li",
      { class: classes },
      h("span", { class: "cord", "aria-hidden": "true" }, h("span", { class: "wire" }), each.torn && [tear(), h("span", { class: "wire" })]),
      h("span", { class: "node" }, linkIcon(each.link), badge(each.behind && each.status === "ok" ? "behind" : each.status)),
      h(
        "span",
        { class: "told" },
        h("span", { class: "name" }, speaks.say(`link.${each.link}`)),
        h("span", { class: "state" }, speaks.say(`link.state.${each.word}`)),
        each.torn && each.cause !== report.diagnosis[0]?.cause && titles.has(each.cause) && h("span", { class: "cause" }, titles.get(each.cause)),
      ),
    );
  });
  return h(
    "section",
    { class: "panel", "data-key": "chain", "aria-labelledby": "chain-title" },
    h("div", { class: "head" }, h("h2", { id: "chain-title" }, speaks.say("chain")), h("p", null, verdict(chain, speaks))),
    h("ol", { class: "chain" }, links),
  );
}
