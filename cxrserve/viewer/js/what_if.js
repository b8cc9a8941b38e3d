// The selected finding's operating point, and what another threshold would have cost on the same data.
// It changes no answer: nothing outside of this panel knows the threshold that is tried here.
import { byId, element, percent, whole } from "./dom.js";
import { listed } from "./findings.js";
import { interval } from "./interval.js";
import { replaceChildren } from "./radio_group.js";
import { activeRadiograph, state, update } from "./store.js";
import { pointOf } from "./study.js";

/** @typedef {import("./types.d.ts").OperatingPoint} OperatingPoint */
/** @typedef {import("./types.d.ts").FindingRow} FindingRow */
/** @typedef {"sensitivity"|"specificity"|"ppv"|"npv"} Share */
/** @typedef {{value: number, low: number, high: number}} Measured */
/** @typedef {OperatingPoint & {curve: import("./types.d.ts").ThresholdCounts}} PointWithCurve */

const place = () => byId("what-if");
let drawn = "";
/** The place on the curve that is tried; null: the operating point itself. @type {number|null} */
let tried = null;

/** @type {[Share, string][]} */
const SHARES = [
  ["sensitivity", "Sensitivity"],
  ["specificity", "Specificity"],
  ["ppv", "PPV"],
  ["npv", "NPV"],
];

/** Redraw the panel if its content has changed. */
export function sync() {
  const row = listed().find((each) => each.finding === state.finding);
  const point =
    row && state.model && pointOf(state.model, row.finding, "decidedBy" in row ? "study" : "image");
  // An answer of another model or site, from the archive, has another threshold: nothing was measured for it.
  const known =
    row && point && hasCurve(point) && row.probability !== null && point.threshold === row.threshold;
  place().hidden = !known;
  if (!known) return void ([drawn, tried] = ["", null]);
  const { finding, probability } = row;
  const key = JSON.stringify([
    activeRadiograph()?.key,
    finding,
    probability,
    state.scope,
    state.model?.sha256,
  ]);
  if (key !== drawn) {
    [drawn, tried] = [key, null];
    replaceChildren(place(), ...panel(point));
  }
  fill(row, point);
}

/** @param {OperatingPoint} point @returns {point is PointWithCurve} */
const hasCurve = (point) => Boolean(point.curve && point.events && point.non_events);
/** @param {PointWithCurve} point */
const placeOf = (point) => point.curve.thresholds.indexOf(point.threshold);

/** The parts that stay while the slider moves, for a slider that is replaced cannot be dragged. @param {PointWithCurve} point */
function panel(point) {
  const present = point.events ?? 0;
  const all = present + (point.non_events ?? 0);
  return [
    element(
      "div",
      { class: "head" },
      element("h2", { id: "what-if-title" }, "Operating point"),
      element("span", { class: "note", id: "what-if-note" }),
    ),
    element("label", { class: "label", for: "what-if-threshold" }, "What if the threshold were"),
    slider(point),
    element("div", { id: "what-if-figures" }),
    element("p", { class: "what-if-verdict", id: "what-if-verdict", role: "status" }),
    element(
      "p",
      { class: "footnote" },
      `95 % intervals in brackets; ${whole(present)} with the finding and ${whole(all - present)} without. PPV and NPV hold where ${percent(present / all)} have it. Data: ${point.data}.`,
    ),
  ];
}

/** @param {PointWithCurve} point */
function slider(point) {
  const own = placeOf(point);
  const input = element("input", {
    id: "what-if-threshold",
    type: "range",
    min: "0",
    max: String(point.curve.thresholds.length - 1),
    step: "1",
    value: String(own),
  });
  /** @param {number} to */
  const go = (to) => {
    tried = to === own ? null : to;
    update();
  };
  input.addEventListener("input", () => go(Number(input.value)));
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || tried === null) return;
    event.preventDefault(); // it would select no finding
    go(own);
  });
  const back = element(
    "button",
    { id: "what-if-back", class: "plain", type: "button", title: "Back to the operating point (Esc)" },
    "Back",
  );
  back.addEventListener("click", () => go(own));
  const output = element("output", { id: "what-if-value", for: "what-if-threshold" });
  return element("div", { class: "what-if-row" }, element("span", { class: "slider" }, input, output), back);
}

/** Write what depends on the threshold that is tried. @param {FindingRow} row @param {PointWithCurve} point */
function fill(row, point) {
  const own = placeOf(point);
  const at = tried ?? own;
  const isOwn = tried === null;
  byId("what-if-note").textContent = isOwn ? written(point, own) : "what if";
  byId("what-if-value").textContent = written(point, at);
  byId("what-if-threshold").value = String(at);
  byId("what-if-threshold").setAttribute(
    "aria-valuetext",
    `${written(point, at)}${isOwn ? ", the operating point" : ", what if"}`,
  );
  byId("what-if-back").setAttribute("aria-disabled", String(isOwn));
  byId("what-if-figures").replaceChildren(figures(point, own, tried));
  byId("what-if-verdict").textContent = isOwn
    ? "Move it to see another threshold. No answer and no export changes."
    : verdict(row, point.curve.thresholds[at]);
}

/** The shares at the operating point, and beside them those at the threshold that is tried. @param {PointWithCurve} point @param {number} own @param {number|null} at */
function figures(point, own, at) {
  const places = at === null ? [own] : [own, at];
  const heads = places.map((each) =>
    element(
      "th",
      { scope: "col" },
      `${each === own ? "operating point" : "what if"} ${written(point, each)}`,
    ),
  );
  const rows = SHARES.map(([share, name]) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, name),
      ...places.map((each) => cell(measured(point, each)[share], each !== own)),
    ),
  );
  return element(
    "table",
    { class: "numbers what-if-numbers" },
    element("thead", {}, element("tr", {}, element("td", {}), ...heads)),
    element("tbody", {}, ...rows),
  );
}

/** @param {Measured|null} share @param {boolean} isTried */
const cell = (share, isTried) =>
  element(
    "td",
    { "data-tried": String(isTried) },
    ...(share
      ? [
          element("strong", {}, share.value.toFixed(2)),
          element("small", {}, ` (${share.low.toFixed(2)}–${share.high.toFixed(2)})`),
        ]
      : ["–"]),
  );

/** @param {FindingRow} row @param {number} threshold */
function verdict({ finding, probability, positive }, threshold) {
  const value = probability ?? 0;
  return `With ${value.toFixed(2)}, ${finding} would be ${value >= threshold ? "above" : "below"} it. The answer stays: ${positive ? "above" : "below"} the operating point.`;
}

/** The shares at a place of the curve; null where none is flagged, or all are. @param {PointWithCurve} point @param {number} at @returns {Record<Share, Measured|null>} */
export function measured(point, at) {
  const [present, absent] = [point.events ?? 0, point.non_events ?? 0];
  const [hits, alarms] = [point.curve.true_positives[at], point.curve.false_positives[at]];
  const [missed, passed] = [present - hits, absent - alarms];
  /** @param {number} count @param {number} total */
  const share = (count, total) => (total ? interval(count, total) : null);
  return {
    sensitivity: share(hits, present),
    specificity: share(passed, absent),
    ppv: share(hits, hits + alarms),
    npv: share(passed, passed + missed),
  };
}

/** A threshold with three digits that count, also near 0 and 1. @param {PointWithCurve} point @param {number} at */
function written(point, at) {
  const threshold = point.curve.thresholds[at];
  const rest = Math.min(threshold, 1 - threshold);
  return threshold.toFixed(rest >= 0.01 || rest === 0 ? 3 : Math.min(7, 1 - Math.floor(Math.log10(rest))));
}
