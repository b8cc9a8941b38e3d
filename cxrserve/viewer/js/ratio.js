// The reader's own cardiothoracic ratio: two level lines over a radiograph. Kept in this page alone: it is not
// stored, not sent, not exported, and no answer knows of it.
import { update } from "./store.js";

/** @typedef {import("./radiograph.js").Radiograph} Radiograph */
/** @typedef {"heart"|"thorax"} Part */
/** @typedef {{x: number, y: number}} Point in pixels of the picture */
/** @typedef {{ends: [Point, Point], isSet: boolean}} Line */
/** @typedef {{axis: "x"|"y", heart: Line, thorax: Line, next: Part|null}} Measurement `next` is the line that the next drag draws */

/** @type {Part[]} */
export const PARTS = ["heart", "thorax"];
export const FINDING = "Cardiomegaly";
/** The places of the lines before they are drawn: shares of the picture across, and down. @type {Record<Part, [number, number, number]>} */
const PLACES = { heart: [0.35, 0.65, 0.62], thorax: [0.12, 0.88, 0.72] };
/** Share of the picture's shorter side below which a drag was a click. */
const SHORTEST = 0.02;

/** @type {WeakMap<Radiograph, Measurement>} */
const measurements = new WeakMap();

/** @param {Radiograph|null|undefined} radiograph */
export const measurementOf = (radiograph) => (radiograph && measurements.get(radiograph)) ?? null;

/** Begin a measurement: lines that are level on the screen, as the picture is turned now. @param {Radiograph} radiograph */
export function begin(radiograph) {
  const { picture, turn } = radiograph;
  if (!picture) return;
  const axis = turn % 2 ? "y" : "x";
  const [heart, thorax] = PARTS.map((part) => undrawn(part, axis, picture));
  measurements.set(radiograph, { axis, heart, thorax, next: "heart" });
  update();
}

/**
 * A line that is not drawn yet, where keys may take it up.
 * @param {Part} part @param {"x"|"y"} axis @param {import("./types.d.ts").Size} picture @returns {Line}
 */
function undrawn(part, axis, { width, height }) {
  const [from, to, down] = PLACES[part];
  /** @param {number} at @returns {Point} */
  const point = (at) =>
    axis === "x" ? { x: at * width, y: down * height } : { x: down * width, y: at * height };
  return { ends: [point(from), point(to)], isSet: false };
}

/** The length of a line in pixels. @param {Measurement} measurement @param {Part} part */
const length = ({ axis, ...lines }, part) => Math.abs(lines[part].ends[1][axis] - lines[part].ends[0][axis]);

/** Forget a measurement. @param {Radiograph} radiograph */
export function forget(radiograph) {
  measurements.delete(radiograph);
  update();
}

/**
 * Move an end of a line to a point of the picture. The line stays level: its other end follows across.
 * @param {Radiograph} radiograph @param {Part} part @param {0|1} end @param {Point} to
 */
export function moveEnd(radiograph, part, end, to) {
  const measurement = measurementOf(radiograph);
  const { picture } = radiograph;
  if (!measurement || !picture) return;
  const inside = { x: clamp(to.x, picture.width), y: clamp(to.y, picture.height) };
  const line = measurement[part];
  const cross = measurement.axis === "x" ? "y" : "x";
  line.ends[end] = inside;
  line.ends[1 - end][cross] = inside[cross];
  line.isSet = true;
  update();
}

/** Both ends to one point, where a drag begins. @param {Radiograph} radiograph @param {Part} part @param {Point} at */
export function startLine(radiograph, part, at) {
  moveEnd(radiograph, part, 0, at);
  moveEnd(radiograph, part, 1, at);
}

/** A drag has ended: the next one draws the other line, or none; a click draws nothing. @param {Radiograph} radiograph */
export function lineDrawn(radiograph) {
  const measurement = measurementOf(radiograph);
  const { picture } = radiograph;
  if (!measurement?.next || !picture) return;
  const part = measurement.next;
  if (length(measurement, part) < SHORTEST * Math.min(picture.width, picture.height))
    measurement[part] = undrawn(part, measurement.axis, picture);
  else measurement.next = part === "heart" && !measurement.thorax.isSet ? "thorax" : null;
  update();
}

/**
 * The lengths in millimetres, null where the file gives no spacing, and the ratio, null until both are drawn.
 * @param {Radiograph} radiograph
 */
export function result(radiograph) {
  const measurement = measurementOf(radiograph);
  if (!measurement || !radiograph.picture) return null;
  const { axis } = measurement;
  const spacing = radiograph.picture.header.about.spacing_mm;
  const mm = spacing && spacing[axis === "x" ? 1 : 0];
  /** @param {Part} part */
  const pixels = (part) => (measurement[part].isSet ? length(measurement, part) : null);
  const [heart, thorax] = [pixels("heart"), pixels("thorax")];
  /** @param {number|null} of */
  const inMm = (of) => (mm && of !== null ? of * mm : null);
  return {
    heart: inMm(heart),
    thorax: inMm(thorax),
    ratio: heart !== null && thorax && thorax >= 1 ? heart / thorax : null,
  };
}

/** @param {number} value @param {number} most */
const clamp = (value, most) => Math.min(most, Math.max(0, value));
