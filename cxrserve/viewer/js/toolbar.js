// The tools above the images: window, pan, presets, turns, zoom, layout, export.
import { choice, replaced } from "./choice.js";
import { byId, element, percent } from "./dom.js";
import { icon } from "./icons.js";
import { exportMenu } from "./export.js";
import { activeFilm, state, update } from "./store.js";
import { presets } from "./window.js";

const place = () => byId("toolbar");
let drawn = "";

/** @param {() => import("./viewport.js").Viewport} active the view that the tools act on */
export function sync(active) {
  place().hidden = state.films.length === 0;
  const film = activeFilm();
  const key = JSON.stringify([state.tool, state.layout, film?.key, film?.look?.label, film?.look?.inverted, Boolean(film?.picture), Boolean(film?.answer)]);
  if (key !== drawn) {
    drawn = key;
    replaced(place(), ...tools(active, film));
  }
  const zoom = byId("zoom-value");
  if (zoom) zoom.textContent = active().geometry ? percent(active().geometry.zoom) : "";
}

/** Give a film's look a preset's window; whether it is inverted stays. */
export function usePreset(view, preset) {
  if (preset) view.setLook({ ...preset, inverted: view.film.look.inverted });
}

export const invert = (view) => view.film?.look && view.setLook({ ...view.film.look, inverted: !view.film.look.inverted });

/** As the file was first shown: window, zoom, no turn. */
export function reset(view) {
  if (!view.film?.picture) return;
  view.rotate(-view.geometry.turn);
  view.setLook(view.film.firstLook);
  view.fit();
}

function tools(active, film) {
  const off = !film?.picture;
  const button = (name, label, act, pressed) =>
    element("button", { id: `tool-${name}`, class: "quiet icon-only", type: "button", "aria-label": label, title: label, "aria-pressed": pressed === undefined ? null : String(pressed), disabled: off, onclick: act }, icon(name));
  const dragging = [
    { value: "window", text: icon("window"), title: "Drag changes window and level (W)", label: "Window and level" },
    { value: "pan", text: icon("pan"), title: "Drag moves the image (P)", label: "Move" },
  ];
  const layouts = [
    { value: 1, text: icon("one"), title: "One view (L)", label: "One view" },
    { value: 2, text: icon("two"), title: "Two views (L)", label: "Two views" },
    { value: 4, text: icon("four"), title: "Four views (L)", label: "Four views" },
  ];
  return [
    choice("Dragging", dragging, state.tool, (tool) => update((all) => (all.tool = tool))),
    presetList(active, film),
    button("invert", "Invert (I)", () => invert(active()), Boolean(film?.look?.inverted)),
    button("rotate", "Turn by 90° (R)", () => active().rotate(1)),
    rule(),
    button("minus", "Smaller (−)", () => active().zoomBy(1 / 1.25)),
    element("button", { id: "tool-actual", class: "quiet zoom", type: "button", title: "One to one (Z)", disabled: off, onclick: () => active().actualSize() }, element("span", { id: "zoom-value" }), element("span", { class: "unseen" }, ", one to one")),
    button("plus", "Larger (+)", () => active().zoomBy(1.25)),
    button("fit", "Fit (F)", () => active().fit()),
    button("reset", "As it was first shown (0)", () => reset(active())),
    element("span", { class: "grow" }),
    choice("Views", layouts, state.layout, (layout) => update((all) => Object.assign(all, { layout, active: Math.min(all.active, layout - 1) }))),
    rule(),
    exportMenu(film),
  ];
}

const rule = () => element("span", { class: "rule", "aria-hidden": "true" });

function presetList(active, film) {
  const all = film?.picture ? presets(film.picture) : [];
  const options = all.map((preset, index) => element("option", { value: String(index), selected: preset.label === film.look.label }, preset.label));
  if (film?.look?.label === "Own") options.unshift(element("option", { value: "", selected: true, hidden: true }, "Own window"));
  const list = element("select", { id: "presets", "aria-label": "Window preset", title: "Window preset (next: N)", disabled: !film?.picture }, ...options);
  list.addEventListener("change", () => usePreset(active(), all[Number(list.value)]));
  return list;
}
