// The heatmap's controls: how it is drawn, whose it is, how opaque, and the one colour scale.
import { choice, replaced } from "./choice.js";
import { byId, element, percent, short } from "./dom.js";
import { CONTOUR_STRENGTHS, canvas, colour, drawScale } from "./heatmap.js";
import { activeFilm, state, update } from "./store.js";

const place = () => byId("evidence");
let drawn = "";

export const MODES = ["colour", "contour", "off"];

/** The maps there are: the ensemble's, and one for each scale. @returns {("ensemble"|number)[]} */
export function sources() {
  const answer = activeFilm()?.answer;
  return ["ensemble", ...(answer?.findings[0].scales.map((scale) => scale.size) ?? [])];
}

export function sync() {
  const film = activeFilm();
  const report = film?.answer?.findings.find((each) => each.finding === state.finding);
  place().hidden = !report;
  if (!report) return void (drawn = "");
  const { mode, source, opacity } = state.overlay;
  const map = source === "ensemble" ? report.heatmap : report.scales.find((each) => each.size === source)?.heatmap;
  const key = JSON.stringify([film.key, state.finding, mode, source, map?.max, sources()]);
  if (key !== drawn) {
    drawn = key;
    replaced(place(), ...panel(report, map));
  }
  byId("opacity-value").textContent = percent(opacity);
  byId("opacity").value = String(opacity);
  const bar = place().querySelector(".legend canvas");
  if (bar && bar.dataset.opacity !== `${mode}${opacity}`) drawLegend(bar);
}

function panel(report, map) {
  const { mode, source } = state.overlay;
  const set = (change) => update((all) => Object.assign(all.overlay, change));
  const modes = [
    { value: "colour", text: "Colour" },
    { value: "contour", text: "Contours" },
    { value: "off", text: "Off" },
  ];
  const maps = sources().map((value) => ({ value, text: value === "ensemble" ? "All" : String(value), title: value === "ensemble" ? "The ensemble’s map" : `What the ${value}-pixel network brings to it`, label: value === "ensemble" ? "Ensemble" : `Scale ${value}` }));
  return [
    element("div", { class: "head" }, element("h2", { id: "evidence-title" }, "Heatmap"), element("span", { class: "note" }, map ? `largest ${short(map.max)} nats` : "none")),
    element(
      "div",
      { class: "controls" },
      element("span", { class: "label" }, "Show"),
      choice("Show the heatmap as", modes, mode, (value) => set({ mode: value }), "fill"),
      element("span", { class: "label" }, "Of"),
      choice("Whose map", maps, source, (value) => set({ source: value }), "fill"),
      element("label", { class: "label", for: "opacity" }, "Opacity"),
      opacity(set),
    ),
    map && mode !== "off" ? legend(map.scale) : null,
  ].filter(Boolean);
}

function opacity(set) {
  const slider = element("input", { id: "opacity", type: "range", min: "0", max: "1", step: "0.05", value: String(state.overlay.opacity) });
  slider.addEventListener("input", () => set({ opacity: Number(slider.value) }));
  return element("span", { class: "slider" }, slider, element("output", { id: "opacity-value", for: "opacity" }));
}

/** Ticks stand at even steps for the eye: the value goes with the square of the place. */
function legend(scale) {
  const places = state.overlay.mode === "contour" ? CONTOUR_STRENGTHS : [0, 0.25, 0.5, 0.75, 1];
  const tick = (at) => element("span", { "--at": `${100 * at}%` }, `${at === 1 ? "≥ " : ""}${short(scale * at * at)}`);
  const bar = canvas(320, 12);
  bar.setAttribute("role", "img");
  bar.setAttribute("aria-label", `Colour scale from 0 to ${short(scale)} nats and more`);
  return element(
    "div",
    { class: `legend ${state.overlay.mode}` },
    bar,
    element("div", { class: "ticks" }, ...places.map(tick)),
    element("p", { class: "unit" }, "Evidence (Grad-CAM) in nats: one scale for all findings, scales and images."),
  );
}

function drawLegend(bar) {
  const { mode, opacity: strength } = state.overlay;
  bar.dataset.opacity = `${mode}${strength}`;
  const context = bar.getContext("2d");
  context.clearRect(0, 0, bar.width, bar.height);
  if (mode === "colour") return drawScale(context, 0, 0, bar.width, bar.height, strength);
  for (const at of CONTOUR_STRENGTHS) {
    context.fillStyle = colour(0.3 + 0.7 * at);
    context.fillRect(at * bar.width - 9, bar.height / 2 - 1.5, 18, 3);
  }
}
