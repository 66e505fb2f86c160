// What do the links of the chain and the verdicts look like? Lines on a grid of 24 and shapes on one of 48.

import { h } from "./dom.js";

const LINKS = {
  power: ["M9 3v5M15 3v5M6.5 8h11v3.5a5.5 5.5 0 0 1-11 0z", "M12 17v4"],
  terminal: ["M7.5 2.5h9a1.5 1.5 0 0 1 1.5 1.5v16a1.5 1.5 0 0 1-1.5 1.5h-9A1.5 1.5 0 0 1 6 20V4a1.5 1.5 0 0 1 1.5-1.5z", "M9 6h6v3.5H9z", "M9.2 13.2h.01M12 13.2h.01M14.8 13.2h.01M9.2 16.8h.01M12 16.8h.01M14.8 16.8h.01"],
  cable: ["M7.5 3.5h9v7.5l-2 2.5v2h-5v-2l-2-2.5z", "M10 3.5v3.2M12 3.5v3.2M14 3.5v3.2", "M12 15.5v5.5"],
  router: ["M4.5 13.5h15a1.5 1.5 0 0 1 1.5 1.5v4a1.5 1.5 0 0 1-1.5 1.5h-15A1.5 1.5 0 0 1 3 19v-4a1.5 1.5 0 0 1 1.5-1.5z", "M17 13.5V9.5", "M6.8 17h.01M10 17h.01", "M13.8 6.6a4.6 4.6 0 0 1 6.4 0M11.6 4a7.8 7.8 0 0 1 10.8 0"],
  internet: ["M12 3a9 9 0 1 0 0 18a9 9 0 0 0 0-18z", "M3 12h18", "M12 3c2.6 2.5 3.9 5.5 3.9 9s-1.3 6.5-3.9 9c-2.6-2.5-3.9-5.5-3.9-9s1.3-6.5 3.9-9z"],
  firewall: ["M3 5h18v14H3z", "M3 9.7h18M3 14.3h18", "M9 5v4.7M15 5v4.7M6 9.7v4.6M12 9.7v4.6M18 9.7v4.6M9 14.3V19M15 14.3V19"],
  bank: ["M3.5 9.5 12 4l8.5 5.5z", "M5.8 9.5V17M10 9.5V17M14 9.5V17M18.2 9.5V17", "M4 17h16M3 20.2h18"],
  settlement: ["M5.5 3h13v18l-2.2-1.5-2.1 1.5-2.2-1.5-2.2 1.5-2.1-1.5-2.2 1.5z", "M8.8 11.2l2.3 2.3 4.2-4.6"],
};

const BADGES = {
  ok: ["M6.5 12.5l3.7 3.7 7.3-8"],
  behind: ["M6.5 12.5l3.7 3.7 7.3-8"],
  warn: ["M12 6.5v7M12 17.3v.01"],
  fail: ["M7.5 7.5l9 9M16.5 7.5l-9 9"],
  unknown: ["M9 9.2a3.1 3.1 0 1 1 4.4 2.9c-.9.4-1.4 1-1.4 1.9v.3M12 17.6v.01"],
  skipped: ["M7.5 12h9"],
};

/** Shape and sign of each verdict: told apart without colour and from across the shop. */
const VERDICTS = {
  ready: ["M24 3a21 21 0 1 0 0 42a21 21 0 0 0 0-42z", "M14 25l7 7 13.5-15"],
  at_risk: ["M21.4 5.5a3 3 0 0 1 5.2 0l18.5 33a3 3 0 0 1-2.6 4.5H5.5a3 3 0 0 1-2.6-4.5z", "M24 17v12M24 35.8v.02"],
  down: ["M15.3 3h17.4L45 15.3v17.4L32.7 45H15.3L3 32.7V15.3z", "M16 16l16 16M32 16L16 32"],
  unknown: ["M21.9 2.9a3 3 0 0 1 4.2 0l19 19a3 3 0 0 1 0 4.2l-19 19a3 3 0 0 1-4.2 0l-19-19a3 3 0 0 1 0-4.2z", "M18.5 19.2a5.6 5.6 0 1 1 8 5.1c-1.6.8-2.5 1.9-2.5 3.6v.6M24 34.8v.02"],
  blind: ["M24 3a21 21 0 1 0 0 42a21 21 0 0 0 0-42z", "M11.5 24s4.7-8 12.5-8 12.5 8 12.5 8-4.7 8-12.5 8-12.5-8-12.5-8zM24 21a3 3 0 1 0 0 6a3 3 0 0 0 0-6zM13 36L35 12"],
};

const lines = (paths) => paths.map((d) => h("path", { d }));

/** The picture of a link, of 24 by 24. */
export const linkIcon = (name) => h("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true" }, lines(LINKS[name] ?? []));

/** A small round sign of a status. */
export const badge = (status) =>
  h("svg", { class: `badge s-${status}`, viewBox: "0 0 24 24", "aria-hidden": "true" }, h("circle", { cx: 12, cy: 12, r: 12 }), lines(BADGES[status] ?? BADGES.unknown));

/** The large sign of a verdict. */
export function verdictSign(word) {
  const [shape, sign] = VERDICTS[word] ?? VERDICTS.unknown;
  return h("svg", { class: `sign is-${word}`, viewBox: "0 0 48 48", "aria-hidden": "true" }, h("path", { class: "shape", d: shape }), h("path", { class: "glyph", d: sign }));
}

/** A cable whose two ends no longer meet: each frayed into three strands. */
export const tear = () =>
  h(
    "svg",
    { class: "tear", viewBox: "0 0 60 40", "aria-hidden": "true" },
    h("path", { class: "end", d: "M0 20h10" }),
    h("path", { class: "end", d: "M60 20H50" }),
    h("path", { class: "strand", d: "M10 20c5 0 5-7 11-9M10 20h13M10 20c5 0 5 7 10 10" }),
    h("path", { class: "strand", d: "M50 20c-5 0-5-7-10-10M50 20H37M50 20c-5 0-5 7-11 9" }),
    h("path", { class: "bolt", d: "M30 3v6M30 31v6" }),
  );

/** The tab's own little sign, as an address: the verdict is seen without the page. */
export function tabIcon(word) {
  const colours = { ready: "0b7a45", at_risk: "f2b01e", down: "c01823", unknown: "565b82", blind: "3a4046" };
  const [shape, sign] = VERDICTS[word] ?? VERDICTS.unknown;
  const ink = word === "at_risk" ? "1c1400" : "fff";
  return `data:image/svg+xml,${encodeURIComponent(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 48 48"><path d="${shape}" fill="#${colours[word] ?? colours.unknown}"/><path d="${sign}" fill="none" stroke="#${ink}" stroke-width="6" stroke-linecap="round" stroke-linejoin="round"/></svg>`)}`;
}
