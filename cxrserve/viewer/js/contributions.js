// The contribution of each scale: a column as wide as its weight and as high as its probability.
// The area of the columns is the score of the ensemble: Σ weight · probability. Its probability is calibrated.
import { byId, element, percent, svg } from "./dom.js";
import { numbered } from "./radiographs.js";
import { activeRadiograph, state } from "./store.js";

const place = () => byId("contributions");
const [WIDTH, HEIGHT, LEFT, TOP, BOTTOM] = [320, 132, 26, 8, 20];
let drawn = "";

/** Redraw the panel if its content has changed. */
export function sync() {
  const radiograph = activeRadiograph();
  const report = radiograph?.answer?.findings.find((row) => row.finding === state.finding);
  place().hidden = !report || report.probability === null;
  if (!radiograph || !report || report.probability === null) return void (drawn = "");
  const key = `${radiograph.key}/${report.finding}/${report.probability}/${state.radiographs.length}`;
  if (key === drawn) return;
  drawn = key;
  place().replaceChildren(
    element(
      "div",
      { class: "head" },
      element("h2", { id: "contributions-title" }, "Contribution of each scale"),
      element(
        "span",
        { class: "note" },
        `${report.finding} ${report.probability.toFixed(2)}${state.radiographs.length > 1 ? `  ·  ${numbered(radiograph)}` : ""}`,
      ),
    ),
    chart(report),
    table(report),
    element(
      "p",
      { class: "footnote" },
      report.calibration && report.calibration !== "identity"
        ? `Width is weight, height is probability; the area is the ensemble’s score, ${report.score?.toFixed(2)} before calibration.`
        : "Width is weight, height is probability; the area is the ensemble’s probability.",
    ),
  );
}

/** The share of each scale in the result, from 0 to 1. @param {import("./types.d.ts").FindingReport} report */
export function shares({ scales }) {
  const parts = scales.map(({ weight, probability }) => weight * (probability ?? 0));
  const total = parts.reduce((sum, part) => sum + part, 0);
  return parts.map((part) => (total > 0 ? part / total : 0));
}

/** @param {import("./types.d.ts").FindingReport} report */
function chart(report) {
  const across = WIDTH - LEFT;
  const high = HEIGHT - TOP - BOTTOM;
  /** @param {number} probability */
  const y = (probability) => TOP + (1 - probability) * high;
  const largest = shares(report).indexOf(Math.max(...shares(report)));
  const parts = [];
  const threshold = report.score_threshold ?? report.threshold ?? 0;
  for (const at of [0, 0.5, 1]) {
    parts.push(svg("line", { class: "grid", x1: LEFT, x2: WIDTH, y1: y(at), y2: y(at) }));
    parts.push(
      svg("text", { x: LEFT - 6, y: y(at) + 4, "text-anchor": "end" }, at === 0.5 ? ".5" : String(at)),
    );
  }
  let x = LEFT;
  report.scales.forEach(({ size, weight, probability }, index) => {
    const width = weight * across;
    parts.push(svg("rect", { class: "frame", x, y: y(1), width, height: high }));
    parts.push(
      svg("rect", {
        class: "column",
        x,
        y: y(probability ?? 0),
        width: Math.max(width - 1, 0.75),
        height: (probability ?? 0) * high,
        "data-size": size,
        "data-largest": String(index === largest),
      }),
    );
    if (width > 30)
      parts.push(svg("text", { x: x + width / 2, y: HEIGHT - 5, "text-anchor": "middle" }, String(size)));
    x += width;
  });
  parts.push(
    svg("line", {
      class: "line",
      x1: LEFT,
      x2: WIDTH,
      y1: y(threshold),
      y2: y(threshold),
    }),
  );
  const above = y(threshold) > TOP + 16;
  parts.push(
    svg(
      "text",
      {
        class: "over",
        x: WIDTH - 3,
        y: y(threshold) + (above ? -5 : 13),
        "text-anchor": "end",
      },
      `operating point ${threshold.toFixed(2)}`,
    ),
  );
  const descriptions = report.scales.map(
    ({ size, weight, probability }) =>
      `${size} pixels: probability ${probability?.toFixed(2) ?? "not supported"}, weight ${percent(weight)}`,
  );
  return svg(
    "svg",
    {
      class: "contributions-chart",
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      role: "img",
      "aria-label": `Contributions to ${report.finding}. ${descriptions.join("; ")}`,
    },
    ...parts,
  );
}

/** @param {import("./types.d.ts").FindingReport} report */
function table(report) {
  const parts = shares(report);
  const rows = report.scales.map(({ size, weight, probability }, index) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, `${size} px`),
      element("td", {}, probability === null ? "not supported" : probability.toFixed(2)),
      element("td", {}, percent(weight)),
      element("td", {}, percent(parts[index])),
    ),
  );
  const heads = ["Scale", "probability", "weight", "share of result"].map((text) =>
    element("th", { scope: "col" }, text),
  );
  return element(
    "table",
    { class: "numbers" },
    element("thead", {}, element("tr", {}, ...heads)),
    element("tbody", {}, ...rows),
  );
}
