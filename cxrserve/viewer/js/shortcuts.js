// Every action by a key. Single keys can be switched off (WCAG 2.1.4).
import { byId, element } from "./dom.js";
import { MODES, sources } from "./evidence.js";
import { toggle as toggleExport } from "./export.js";
import { close, next } from "./films.js";
import { pick, step } from "./findings.js";
import { state, update } from "./store.js";
import { toggleTheme } from "./theme.js";
import { invert, reset, usePreset } from "./toolbar.js";
import { activeFilm } from "./store.js";
import { presets } from "./window.js";

const OFF = "cxrserve.keys-off";
const LAYOUTS = [1, 2, 4];
const STEP = 60;

const cycle = (list, now, by = 1) => list[(list.indexOf(now) + by + list.length) % list.length];
const overlay = (change) => update((all) => Object.assign(all.overlay, change));
const opacity = (by) => overlay({ opacity: Math.round(Math.min(1, Math.max(0, state.overlay.opacity + by)) * 100) / 100 });

function nextPreset(view) {
  const film = activeFilm();
  if (!film?.picture) return;
  const all = presets(film.picture);
  usePreset(view, all[(all.findIndex((each) => each.label === film.look.label) + 1) % all.length]);
}

function nextView() {
  update((all) => (all.active = (all.active + 1) % all.layout));
  document.querySelectorAll(".view canvas")[state.active].focus();
}

/** @type {[string, [keys: string[], words: string, act: (view: any) => void][]][]} */
const ACTIONS = [
  ["Images", [
    [["o"], "Open files", () => byId("file-input").click()],
    [["l"], "One, two or four views", () => update((all) => ((all.layout = cycle(LAYOUTS, all.layout)), (all.active = Math.min(all.active, all.layout - 1))))],
    [["v"], "Next view", nextView],
    [["."], "Next image in this view", () => next(1)],
    [[","], "Previous image in this view", () => next(-1)],
    [["x"], "Close this image", () => activeFilm() && close([activeFilm()])],
  ]],
  ["Looking", [
    [["w"], "Dragging changes the window", () => update((all) => (all.tool = "window"))],
    [["p"], "Dragging moves the image", () => update((all) => (all.tool = "pan"))],
    [["n"], "Next window preset", nextPreset],
    [["]"], "Wider window", (view) => view.dragWindow(0.04, 0)],
    [["["], "Narrower window", (view) => view.dragWindow(-0.04, 0)],
    [["}"], "Higher level", (view) => view.dragWindow(0, 0.02)],
    [["{"], "Lower level", (view) => view.dragWindow(0, -0.02)],
    [["i"], "Invert", invert],
    [["+", "="], "Larger", (view) => view.zoomBy(1.25)],
    [["-"], "Smaller", (view) => view.zoomBy(1 / 1.25)],
    [["f"], "Fit", (view) => view.fit()],
    [["z"], "One to one", (view) => view.actualSize()],
    [["r"], "Turn by 90°", (view) => view.rotate(1)],
    [["R"], "Turn back by 90°", (view) => view.rotate(-1)],
    [["0"], "As it was first shown", reset],
    [["d"], "Names and numbers over the image", () => update((all) => (all.words = !all.words))],
    [["ArrowLeft"], "Move the image", (view) => view.pan(-STEP, 0)],
    [["ArrowRight"], "", (view) => view.pan(STEP, 0)],
    [["ArrowUp"], "", (view) => view.pan(0, -STEP)],
    [["ArrowDown"], "", (view) => view.pan(0, STEP)],
  ]],
  ["Findings and heatmap", [
    [["j"], "Next finding", () => step(1)],
    [["k"], "Previous finding", () => step(-1)],
    [["Escape"], "Pick no finding", () => pick(null)],
    [["h"], "Heatmap in colour, as contours, off", () => overlay({ mode: cycle(MODES, state.overlay.mode) })],
    [["s"], "The ensemble’s map, or the next scale’s", () => overlay({ source: cycle(sources(), state.overlay.source) })],
    [["'"], "More opaque", () => opacity(0.1)],
    [[";"], "Less opaque", () => opacity(-0.1)],
    [["a"], "Findings of the image or of the study", () => update((all) => (all.scope = all.scope === "image" ? "study" : "image"))],
  ]],
  ["The page", [
    [["e"], "Export", () => toggleExport(true)],
    [["b"], "Studies and images at the side", () => byId("toggle-side").click()],
    [["m"], "About the model", () => byId("model-link").click()],
    [["t"], "Light or dark", toggleTheme],
    [["?"], "This list", () => showHelp()],
  ]],
];

const KEY_NAMES = { ArrowLeft: "← ↑ → ↓", Escape: "Esc", "+": "+", "-": "−", R: "Shift R" };

/** @param {() => import("./viewport.js").Viewport} active */
export function listenToKeys(active) {
  const actions = new Map(ACTIONS.flatMap(([, rows]) => rows.flatMap(([keys, , act]) => keys.map((key) => [key, act]))));
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
    const isLetter = event.key.length === 1;
    if (isLetter && localStorage.getItem(OFF) && event.key !== "?") return;
    if (event.key.startsWith("Arrow") && !(event.target instanceof HTMLCanvasElement || event.target === document.body)) return;
    const act = actions.get(event.key) ?? (event.shiftKey ? undefined : actions.get(event.key.toLowerCase()));
    if (!act) return;
    event.preventDefault();
    act(active());
  });
}

const typing = (target) =>
  target instanceof Element && (target.matches("input:not([type=range]), select, textarea") || target.closest("dialog[open], [role=menu]"));

/** The list of keys. */
export function showHelp() {
  const dialog = byId("help");
  const groups = ACTIONS.flatMap(([title, rows]) => [
    element("h3", {}, title),
    ...rows.filter(([, words]) => words).map(([keys, words]) => element("div", {}, element("span", {}, words), element("kbd", {}, KEY_NAMES[keys[0]] ?? keys[0].toUpperCase()))),
  ]);
  const box = element("input", { type: "checkbox", id: "keys-on", checked: !localStorage.getItem(OFF) });
  box.addEventListener("change", () => (box.checked ? localStorage.removeItem(OFF) : localStorage.setItem(OFF, "1")));
  dialog.replaceChildren(
    element("h2", { id: "help-title", tabindex: "-1", autofocus: true }, "Keys and mouse"),
    element("p", { class: "lead" }, "Drag with the left button: window and level, or move, as chosen. With the middle one, or with Shift: move. With the right one, or the wheel: zoom. Double click: fit, or one to one. Research use only, not for diagnosis."),
    element("div", { class: "keys" }, ...groups),
    element("div", { class: "row" }, element("label", { class: "grow" }, box, " Single keys act"), element("button", { class: "primary", type: "button", onclick: () => dialog.close() }, "Close")),
  );
  if (!dialog.open) dialog.showModal();
}
