// The panel of the cardiothoracic ratio, beside the finding that it is about.
import { byId, element } from "./dom.js";
import { FINDING, begin, forget, measurementOf, result } from "./ratio.js";
import { replaceChildren } from "./radio_group.js";
import { activeRadiograph, state } from "./store.js";

const place = () => byId("ratio");
let drawn = "";

/** Redraw the panel if its content has changed. */
export function sync() {
  const radiograph = activeRadiograph();
  place().hidden = state.finding !== FINDING || !radiograph?.picture;
  if (!radiograph || place().hidden) return void (drawn = "");
  const key = JSON.stringify([
    radiograph.key,
    measurementOf(radiograph)?.next,
    result(radiograph),
    radiograph.picture?.header.about.view_position,
  ]);
  if (key === drawn) return;
  drawn = key;
  replaceChildren(place(), ...panel(radiograph));
}

/** @param {import("./radiograph.js").Radiograph} radiograph */
function panel(radiograph) {
  const measurement = measurementOf(radiograph);
  const found = result(radiograph);
  const header = radiograph.picture?.header;
  const value = found?.ratio;
  return [
    element(
      "div",
      { class: "head" },
      element("h2", { id: "ratio-title" }, "Cardiothoracic ratio"),
      element("span", { class: "note" }, "your measurement"),
    ),
    element(
      "p",
      { class: "ratio-value", role: "status" },
      measurement
        ? element(
            "strong",
            { id: "ratio-value" },
            value === null || value === undefined ? "–" : value.toFixed(2),
          )
        : null,
      measurement ? lengths(found) : "Drag across the heart, then across the thorax.",
    ),
    measurement?.next
      ? element(
          "p",
          { class: "ratio-next" },
          `Now drag across the ${measurement.next}, or move the ends with the arrow keys.`,
        )
      : null,
    element(
      "div",
      { class: "label-choices" },
      button("ratio-measure", measurement ? "Measure again" : "Measure", () => measure(radiograph)),
      measurement ? button("ratio-remove", "Remove", () => forget(radiograph)) : null,
    ),
    element(
      "p",
      { class: "footnote" },
      "Made by you, shown here alone: not stored, not sent, not exported, and it changes no answer. ",
      header?.about.spacing_mm
        ? header.is_calibrated
          ? "Millimetres as the file is calibrated. "
          : "Millimetres at the detector, where the heart appears larger than it is. "
        : "The file gives no pixel spacing, so no millimetres. ",
      header?.about.view_position === "AP"
        ? "On an AP view the heart appears larger than on a PA view."
        : null,
    ),
  ].filter((node) => node !== null);
}

/** @param {ReturnType<typeof result>} found */
const lengths = (found) =>
  [
    found?.heart && `heart ${found.heart.toFixed(0)} mm`,
    found?.thorax && `thorax ${found.thorax.toFixed(0)} mm`,
    found?.ratio && found.ratio > 1 && "the heart’s line is longer than the thorax’s",
  ]
    .filter(Boolean)
    .join(", ");

/** Put the lines over the radiograph; the first end gets the focus, for the arrow keys. @param {import("./radiograph.js").Radiograph} radiograph */
function measure(radiograph) {
  begin(radiograph);
  requestAnimationFrame(() =>
    requestAnimationFrame(() =>
      /** @type {HTMLElement|null} */ (document.querySelector(".view[data-active=true] .caliper-end"))?.focus(
        { preventScroll: true },
      ),
    ),
  );
}

/** @param {string} id @param {string} text @param {() => void} act */
const button = (id, text, act) =>
  element("button", { id, class: "plain", type: "button", onclick: act }, text);
