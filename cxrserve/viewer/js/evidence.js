// The panel of the heatmap: its style, its source, its opacity, and the colour scale.
import { radioGroup, replaceChildren } from "./radio_group.js";
import { byId, context2d, element, percent, short } from "./dom.js";
import { canvas, colour, CONTOUR_STRENGTHS, drawnStrength, drawnValue, drawScale } from "./heatmap.js";
import { numbered } from "./radiographs.js";
import { activeRadiograph, state, update } from "./store.js";

const place = () => byId("evidence");
let drawn = "";

/** @type {("both"|"colour"|"contour"|"off")[]} */
export const MODES = ["both", "contour", "colour", "off"];

/** Share of the scale below which no contour is drawn. */
const VISIBLE = CONTOUR_STRENGTHS[0];

/** The available maps: the ensemble's, and one for each scale. @returns {("ensemble"|number)[]} */
export function sources() {
  const answer = activeRadiograph()?.answer;
  return ["ensemble", ...(answer?.findings[0].scales.map((scale) => scale.size) ?? [])];
}

/** Redraw the panel if its content has changed. */
export function sync() {
  const radiograph = activeRadiograph();
  const report = radiograph?.answer?.findings.find((each) => each.finding === state.finding);
  place().hidden = !report;
  if (!radiograph || !report) return void (drawn = "");
  const { mode, source, opacity } = state.overlay;
  const map =
    source === "ensemble" ? report.heatmap : report.scales.find((each) => each.size === source)?.heatmap;
  const key = JSON.stringify([
    radiograph.key,
    state.finding,
    mode,
    source,
    map?.max,
    sources(),
    state.radiographs.length,
  ]);
  if (key !== drawn) {
    drawn = key;
    replaceChildren(place(), ...panel(map, radiograph));
  }
  byId("opacity-value").textContent = percent(opacity);
  byId("opacity").value = String(opacity);
  const bar = place().querySelector(".legend canvas");
  if (bar instanceof HTMLCanvasElement && bar.dataset.opacity !== `${mode}${opacity}`) drawLegend(bar);
}

/** @param {import("./types.d.ts").HeatmapReport|null|undefined} map @param {import("./radiograph.js").Radiograph} radiograph */
function panel(map, radiograph) {
  const several = state.radiographs.length > 1;
  const { mode, source } = state.overlay;
  /** @param {Partial<import("./store.js").Overlay>} change */
  const set = (change) => update((all) => Object.assign(all.overlay, change));
  /** @type {{value: "both"|"colour"|"contour"|"off", text: string}[]} */
  const modes = [
    { value: "both", text: "Both" },
    { value: "colour", text: "Colour" },
    { value: "contour", text: "Contours" },
    { value: "off", text: "Off" },
  ];
  const maps = sources().map((value) => ({
    value,
    text: value === "ensemble" ? "All" : String(value),
    title: value === "ensemble" ? "The ensemble’s map" : `The contribution of the ${value}-pixel network`,
    label: value === "ensemble" ? "Ensemble" : `Scale ${value}`,
  }));
  return [
    element(
      "div",
      { class: "head" },
      element("h2", { id: "evidence-title" }, "Heatmap"),
      element(
        "span",
        { class: "note" },
        [several && numbered(radiograph), map ? `largest ${short(map.max)} nats` : "none"]
          .filter(Boolean)
          .join("  ·  "),
      ),
    ),
    element(
      "div",
      { class: "controls" },
      element("span", { class: "label" }, "Show"),
      radioGroup("Show the heatmap as", modes, mode, (value) => set({ mode: value }), "fill"),
      element("span", { class: "label" }, "Of"),
      radioGroup("Source of the map", maps, source, (value) => set({ source: value }), "fill"),
      element("label", { class: "label", for: "opacity" }, "Opacity"),
      opacity(set),
    ),
    map && drawnStrength(map, map.max) < VISIBLE
      ? element(
          "p",
          { class: "faint-map", role: "note" },
          `There is little to be seen: the evidence is weak or spread out. Its strongest place has ${short(map.max)} of the ${short(map.scale)} nats of the full colour.`,
        )
      : null,
    map && mode !== "off" ? legend(map) : null,
  ].filter((node) => node !== null);
}

/** @param {(change: Partial<import("./store.js").Overlay>) => void} set */
function opacity(set) {
  const slider = element("input", {
    id: "opacity",
    type: "range",
    min: "0",
    max: "1",
    step: "0.05",
    value: String(state.overlay.opacity),
  });
  slider.addEventListener("input", () => set({ opacity: Number(slider.value) }));
  return element(
    "span",
    { class: "slider" },
    slider,
    element("output", { id: "opacity-value", for: "opacity" }),
  );
}

/** Ticks are perceptually even. @param {import("./heatmap.js").Scale} map */
function legend(map) {
  const places = state.overlay.mode === "contour" ? CONTOUR_STRENGTHS : [0, 0.25, 0.5, 0.75, 1];
  /** @param {number} at */
  const tick = (at) =>
    element("span", { "--at": `${100 * at}%` }, `${at === 1 ? "≥ " : ""}${short(drawnValue(map, at))}`);
  const bar = canvas(320, 12);
  bar.setAttribute("role", "img");
  bar.setAttribute("aria-label", `Colour scale from 0 to ${short(map.scale)} nats and more`);
  return element(
    "div",
    { class: `legend ${state.overlay.mode}` },
    bar,
    element("div", { class: "ticks" }, ...places.map(tick)),
    element(
      "p",
      { class: "unit" },
      map.curve === "linear"
        ? "Evidence (Grad-CAM) in nats: one scale of this finding for all images. Full colour is the median maximum where it is present."
        : "Evidence (Grad-CAM) in nats: one scale for all findings, scales and images.",
    ),
  );
}

/** @param {HTMLCanvasElement} bar */
function drawLegend(bar) {
  const { mode, opacity: strength } = state.overlay;
  bar.dataset.opacity = `${mode}${strength}`;
  const context = context2d(bar);
  context.clearRect(0, 0, bar.width, bar.height);
  if (mode !== "contour") drawScale(context, 0, 0, bar.width, bar.height, strength);
  if (mode === "colour") return;
  for (const at of CONTOUR_STRENGTHS) {
    context.fillStyle = colour(0.3 + 0.7 * at);
    context.fillRect(at * bar.width - 9, bar.height / 2 - 1.5, 18, 3);
  }
}
