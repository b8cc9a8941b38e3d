// The toolbar: window, pan, presets, rotation, zoom, layout, export.
import { radioGroup, replaceChildren } from "./radio_group.js";
import { byId, element, percent } from "./dom.js";
import { icon } from "./icons.js";
import { exportMenu } from "./export.js";
import { activeRadiograph, state, update } from "./store.js";
import { presets } from "./window.js";

const place = () => byId("toolbar");
let drawn = "";

/** Redraw the toolbar if its content has changed. @param {() => import("./viewport.js").Viewport} active the view that the tools act on */
export function sync(active) {
  place().hidden = state.radiographs.length === 0;
  const radiograph = activeRadiograph();
  const key = JSON.stringify([
    state.tool,
    state.layout,
    state.linked,
    radiograph?.key,
    radiograph?.look?.label,
    radiograph?.look?.inverted,
    Boolean(radiograph?.picture),
    Boolean(radiograph?.answer),
  ]);
  if (key !== drawn) {
    drawn = key;
    replaceChildren(place(), ...tools(active, radiograph));
  }
  const zoom = byId("zoom-value");
  const { geometry } = active();
  if (zoom) zoom.textContent = geometry ? percent(geometry.zoom) : "";
}

/**
 * Apply the window of a preset; inversion does not change.
 * @param {import("./viewport.js").Viewport} view @param {import("./window.js").Look|undefined} preset
 */
export function usePreset(view, preset) {
  if (preset)
    view.setLook({
      ...preset,
      inverted: view.radiograph?.look?.inverted ?? false,
    });
}

/** Invert the grey levels. @param {import("./viewport.js").Viewport} view */
export function invert(view) {
  const look = view.radiograph?.look;
  if (look) view.setLook({ ...look, inverted: !look.inverted });
}

/** Show the image as it was first shown: window, zoom, rotation. @param {import("./viewport.js").Viewport} view */
export function reset(view) {
  if (!view.radiograph?.firstLook || !view.geometry) return;
  view.rotate(-view.geometry.turn);
  view.setLook(view.radiograph.firstLook);
  view.fit();
}

/** @param {() => import("./viewport.js").Viewport} active @param {import("./radiograph.js").Radiograph|undefined} radiograph */
function tools(active, radiograph) {
  const off = !radiograph?.picture;
  /** @param {import("./icons.js").IconName} name @param {string} label @param {() => void} act @param {boolean} [pressed] */
  const button = (name, label, act, pressed) =>
    element(
      "button",
      {
        id: `tool-${name}`,
        class: "quiet icon-only",
        type: "button",
        "aria-label": label,
        title: label,
        "aria-pressed": pressed === undefined ? null : String(pressed),
        disabled: off,
        onclick: act,
      },
      icon(name),
    );
  /** @type {{value: "window"|"pan", text: Node, title: string, label: string}[]} */
  const dragging = [
    {
      value: "window",
      text: icon("window"),
      title: "Window/level tool (W)",
      label: "Window/level",
    },
    {
      value: "pan",
      text: icon("pan"),
      title: "Pan tool (P)",
      label: "Pan",
    },
  ];
  const layouts = [
    { value: 1, text: icon("one"), title: "One view (L)", label: "One view" },
    { value: 2, text: icon("two"), title: "Two views (L)", label: "Two views" },
    {
      value: 4,
      text: icon("four"),
      title: "Four views (L)",
      label: "Four views",
    },
  ];
  return [
    radioGroup("Dragging", dragging, state.tool, (tool) => update((all) => (all.tool = tool))),
    presetList(active, radiograph),
    button("invert", "Invert (I)", () => invert(active()), Boolean(radiograph?.look?.inverted)),
    button("rotate", "Rotate by 90° (R)", () => active().rotate(1)),
    rule(),
    button("minus", "Zoom out (−)", () => active().zoomBy(1 / 1.25)),
    element(
      "button",
      {
        id: "tool-actual",
        class: "quiet zoom",
        type: "button",
        title: "Actual size (Z)",
        disabled: off,
        onclick: () => active().actualSize(),
      },
      element("span", { id: "zoom-value" }),
      element("span", { class: "unseen" }, ", actual size"),
    ),
    button("plus", "Zoom in (+)", () => active().zoomBy(1.25)),
    button("fit", "Fit (F)", () => active().fit()),
    button("reset", "Reset (0)", () => reset(active())),
    element("span", { class: "grow" }),
    radioGroup("Views", layouts, state.layout, (layout) =>
      update((all) =>
        Object.assign(all, {
          layout,
          active: Math.min(all.active, layout - 1),
        }),
      ),
    ),
    state.layout > 1
      ? button(
          "link",
          "Link the views: zoom, pan and window together (Y)",
          () => update((all) => (all.linked = !all.linked)),
          state.linked,
        )
      : "",
    rule(),
    exportMenu(radiograph),
  ];
}

const rule = () => element("span", { class: "rule", "aria-hidden": "true" });

/** @param {() => import("./viewport.js").Viewport} active @param {import("./radiograph.js").Radiograph|undefined} radiograph */
function presetList(active, radiograph) {
  const all = radiograph?.picture ? presets(radiograph.picture) : [];
  const options = all.map((preset, index) =>
    element(
      "option",
      {
        value: String(index),
        selected: preset.label === radiograph?.look?.label,
      },
      preset.label,
    ),
  );
  if (radiograph?.look?.label === "Own")
    options.unshift(element("option", { value: "", selected: true, hidden: true }, "Own window"));
  const list = element(
    "select",
    {
      id: "presets",
      "aria-label": "Window preset",
      title: "Window preset (next: N)",
      disabled: !radiograph?.picture,
    },
    ...options,
  );
  list.addEventListener("change", () => usePreset(active(), all[Number(list.value)]));
  return list;
}
