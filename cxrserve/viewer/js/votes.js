// How the scales voted: one column for each, as wide as its weight, as high as its probability.
// The columns' area is the ensemble's probability: p = Σ weight · probability.
import { byId, element, percent, svg } from "./dom.js";
import { activeFilm, state } from "./store.js";

const place = () => byId("votes");
const [WIDTH, HEIGHT, LEFT, TOP, BOTTOM] = [320, 132, 26, 8, 20];
let drawn = "";

export function sync() {
  const film = activeFilm();
  const report = film?.answer?.findings.find((each) => each.finding === state.finding);
  place().hidden = !report || report.probability === null;
  if (place().hidden) return void (drawn = "");
  const key = `${film.key}/${report.finding}/${report.probability}`;
  if (key === drawn) return;
  drawn = key;
  place().replaceChildren(
    element(
      "div",
      { class: "head" },
      element("h2", { id: "votes-title" }, "How the scales voted"),
      element("span", { class: "note" }, `${report.finding} ${report.probability.toFixed(2)}`),
    ),
    chart(report),
    table(report),
    element("p", { class: "footnote" }, "Width is weight, height is probability; the area is the ensemble’s probability."),
  );
}

/** Each scale's part of the result, from 0 to 1. */
export function shares({ scales }) {
  const parts = scales.map(({ weight, probability }) => weight * (probability ?? 0));
  const total = parts.reduce((sum, part) => sum + part, 0);
  return parts.map((part) => (total > 0 ? part / total : 0));
}

function chart(report) {
  const across = WIDTH - LEFT;
  const high = HEIGHT - TOP - BOTTOM;
  const y = (probability) => TOP + (1 - probability) * high;
  const most = shares(report).indexOf(Math.max(...shares(report)));
  const parts = [];
  for (const at of [0, 0.5, 1]) {
    parts.push(svg("line", { class: "grid", x1: LEFT, x2: WIDTH, y1: y(at), y2: y(at) }));
    parts.push(svg("text", { x: LEFT - 6, y: y(at) + 4, "text-anchor": "end" }, at === 0.5 ? ".5" : String(at)));
  }
  let x = LEFT;
  report.scales.forEach(({ size, weight, probability }, index) => {
    const width = weight * across;
    parts.push(svg("rect", { class: "frame", x, y: y(1), width, height: high }));
    parts.push(svg("rect", { class: "column", x, y: y(probability ?? 0), width: Math.max(width - 1, 0.75), height: (probability ?? 0) * high, "data-size": size, "data-most": String(index === most) }));
    if (width > 30) parts.push(svg("text", { x: x + width / 2, y: HEIGHT - 5, "text-anchor": "middle" }, String(size)));
    x += width;
  });
  parts.push(svg("line", { class: "line", x1: LEFT, x2: WIDTH, y1: y(report.threshold), y2: y(report.threshold) }));
  const above = y(report.threshold) > TOP + 16;
  parts.push(svg("text", { class: "over", x: WIDTH - 3, y: y(report.threshold) + (above ? -5 : 13), "text-anchor": "end" }, `operating point ${report.threshold.toFixed(2)}`));
  const said = report.scales.map(({ size, weight, probability }) => `${size} pixels: probability ${probability?.toFixed(2) ?? "unknown"}, weight ${percent(weight)}`);
  return svg("svg", { class: "votes-chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `Votes on ${report.finding}. ${said.join("; ")}` }, ...parts);
}

function table(report) {
  const parts = shares(report);
  const rows = report.scales.map(({ size, weight, probability }, index) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, `${size} px`),
      element("td", {}, probability === null ? "not known" : probability.toFixed(2)),
      element("td", {}, percent(weight)),
      element("td", {}, percent(parts[index])),
    ),
  );
  const heads = ["Scale", "says", "weight", "share of result"].map((text) => element("th", { scope: "col" }, text));
  return element("table", { class: "numbers" }, element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...rows));
}
