// Keyboard shortcuts for every action. Single keys can be switched off (WCAG 2.1.4).
import { byId, element } from "./dom.js";
import { MODES, sources } from "./evidence.js";
import { toggle as toggleExport } from "./export.js";
import { showQuarantine } from "./quarantine.js";
import { close, next } from "./radiographs.js";
import { pick, step } from "./findings.js";
import { focusLabels } from "./labels.js";
import { copyResult } from "./copy.js";
import { activeRadiograph, state, update } from "./store.js";
import { toggleTheme } from "./theme.js";
import { invert, reset, usePreset } from "./toolbar.js";
import { presets } from "./window.js";

const OFF = "cxrserve.keys-off";
const LAYOUTS = [1, 2, 4];
const STEP = 60;

/** @typedef {import("./viewport.js").Viewport} Viewport */

/** @template T @param {T[]} list @param {T} now @returns {T} */
const cycle = (list, now, by = 1) => list[(list.indexOf(now) + by + list.length) % list.length];
/** @param {Partial<import("./store.js").Overlay>} change */
const overlay = (change) => update((all) => Object.assign(all.overlay, change));
/** @param {number} by */
const opacity = (by) =>
  overlay({
    opacity: Math.round(Math.min(1, Math.max(0, state.overlay.opacity + by)) * 100) / 100,
  });

/** @param {Viewport} view */
function nextPreset(view) {
  const radiograph = activeRadiograph();
  const label = radiograph?.look?.label;
  if (!radiograph?.picture) return;
  const all = presets(radiograph.picture);
  usePreset(view, all[(all.findIndex((preset) => preset.label === label) + 1) % all.length]);
}

function closeActive() {
  const radiograph = activeRadiograph();
  if (radiograph) close([radiograph]);
}

function peek() {
  update((all) => (all.peeking = true));
}

function nextView() {
  update((all) => (all.active = (all.active + 1) % all.layout));
  /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll(".view canvas"))[state.active].focus();
}

/** @type {[string, [keys: string[], description: string, act: (view: Viewport) => void][]][]} */
const ACTIONS = [
  [
    "Images",
    [
      [["o"], "Open files", () => byId("file-input").click()],
      [
        ["l"],
        "One, two or four views",
        () =>
          update(
            (all) => (
              (all.layout = cycle(LAYOUTS, all.layout)),
              (all.active = Math.min(all.active, all.layout - 1))
            ),
          ),
      ],
      [["v"], "Next view", nextView],
      [
        ["y"],
        "Link the views: zoom, pan and window together",
        () => update((all) => (all.linked = !all.linked)),
      ],
      [["."], "Next image in this view", () => next(1)],
      [[","], "Previous image in this view", () => next(-1)],
      [["x"], "Close this image", () => closeActive()],
    ],
  ],
  [
    "Looking",
    [
      [["w"], "Window/level tool", () => update((all) => (all.tool = "window"))],
      [["p"], "Pan tool", () => update((all) => (all.tool = "pan"))],
      [["n"], "Next window preset", nextPreset],
      [["]"], "Wider window", (view) => view.dragWindow(0.04, 0)],
      [["["], "Narrower window", (view) => view.dragWindow(-0.04, 0)],
      [["}"], "Brighter", (view) => view.dragWindow(0, 0.02)],
      [["{"], "Darker", (view) => view.dragWindow(0, -0.02)],
      [["i"], "Invert", invert],
      [["+", "="], "Zoom in", (view) => view.zoomBy(1.25)],
      [["-"], "Zoom out", (view) => view.zoomBy(1 / 1.25)],
      [["f"], "Fit", (view) => view.fit()],
      [["z"], "Actual size", (view) => view.actualSize()],
      [["r"], "Rotate by 90°", (view) => view.rotate(1)],
      [["R"], "Rotate back by 90°", (view) => view.rotate(-1)],
      [["0"], "Reset", reset],
      [["d"], "Names and numbers over the image", () => update((all) => (all.labels = !all.labels))],
      [["ArrowLeft"], "Move the image", (view) => view.pan(-STEP, 0)],
      [["ArrowRight"], "", (view) => view.pan(STEP, 0)],
      [["ArrowUp"], "", (view) => view.pan(0, -STEP)],
      [["ArrowDown"], "", (view) => view.pan(0, STEP)],
    ],
  ],
  [
    "Findings and heatmap",
    [
      [["j"], "Next finding", () => step(1)],
      [["k"], "Previous finding", () => step(-1)],
      [["Escape"], "Select no finding", () => pick(null)],
      [
        ["h"],
        "Heatmap: colour and contours, contours, colour, off",
        () => overlay({ mode: cycle(MODES, state.overlay.mode) }),
      ],
      [
        ["s"],
        "The ensemble’s map, or the next scale’s",
        () => overlay({ source: cycle(sources(), state.overlay.source) }),
      ],
      [["q"], "Hide the heatmap while the key is held", peek],
      [["'"], "More opaque", () => opacity(0.1)],
      [[";"], "Less opaque", () => opacity(-0.1)],
      [
        ["a"],
        "Findings of the image or of the study",
        () => update((all) => (all.scope = all.scope === "image" ? "study" : "image")),
      ],
      [["g"], "Your reading of the selected finding", focusLabels],
    ],
  ],
  [
    "The page",
    [
      [["e"], "Export", () => toggleExport(true)],
      [["c"], "Copy the result as text", () => void copyResult()],
      [["b"], "Studies and images at the side", () => byId("toggle-side").click()],
      [["u"], "Images in quarantine", () => void showQuarantine()],
      [["m"], "About the model", () => byId("model-link").click()],
      [["t"], "Light or dark", toggleTheme],
      [["?"], "This list", () => showHelp()],
    ],
  ],
];

/** @type {Record<string, string>} */
const KEY_NAMES = {
  ArrowLeft: "← ↑ → ↓",
  Escape: "Esc",
  "-": "−",
  R: "Shift R",
};

/** Run the action of each key on the active view. @param {() => Viewport} active */
export function listenToKeys(active) {
  const actions = new Map(
    ACTIONS.flatMap(([, rows]) => rows.flatMap(([keys, , act]) => keys.map((key) => [key, act]))),
  );
  const endPeek = () => state.peeking && update((all) => (all.peeking = false));
  addEventListener("blur", endPeek);
  document.addEventListener("keyup", endPeek);
  document.addEventListener("keydown", (event) => {
    const altGr = event.getModifierState("AltGraph"); // types [ ] { } on many keyboards
    const command = !altGr && (event.ctrlKey || event.metaKey || event.altKey);
    if (event.defaultPrevented || command || typing(event.target)) return;
    const isLetter = event.key.length === 1;
    if (isLetter && localStorage.getItem(OFF) && event.key !== "?") return;
    if (
      event.key.startsWith("Arrow") &&
      !(event.target instanceof HTMLCanvasElement || event.target === document.body)
    )
      return;
    const act = actions.get(event.key) ?? (event.shiftKey ? undefined : actions.get(event.key.toLowerCase()));
    if (!act) return;
    event.preventDefault();
    act(active());
  });
}

/** @param {EventTarget|null} target */
const typing = (target) =>
  target instanceof Element &&
  (target.matches("input:not([type=range]), select, textarea") ||
    target.closest("dialog[open], [role=menu]"));

/** Show the list of keys. */
export function showHelp() {
  const dialog = byId("help");
  const groups = ACTIONS.flatMap(([title, rows]) => [
    element("h3", {}, title),
    ...rows
      .filter(([, description]) => description)
      .map(([keys, description]) =>
        element(
          "div",
          {},
          element("span", {}, description),
          element("kbd", {}, KEY_NAMES[keys[0]] ?? keys[0].toUpperCase()),
        ),
      ),
  ]);
  const box = element("input", {
    type: "checkbox",
    id: "keys-on",
    checked: !localStorage.getItem(OFF),
  });
  box.addEventListener("change", () =>
    box.checked ? localStorage.removeItem(OFF) : localStorage.setItem(OFF, "1"),
  );
  dialog.replaceChildren(
    element("h2", { id: "help-title", tabindex: "-1", autofocus: true }, "Keys and mouse"),
    element(
      "p",
      { class: "lead" },
      "Drag with the left button to change window and level, or to move, as selected in the toolbar. Drag with the middle button, or with Shift, to move. Drag with the right button, or turn the wheel, to zoom. Double-click to fit, or for the actual size. Research use only, not for diagnosis.",
    ),
    element("div", { class: "keys" }, ...groups),
    element(
      "div",
      { class: "row" },
      element("label", { class: "grow" }, box, " Single-key shortcuts"),
      element("button", { class: "primary", type: "button", onclick: () => dialog.close() }, "Close"),
    ),
  );
  if (!dialog.open) dialog.showModal();
}
