// Heatmaps: raw values over the whole radiograph, with one colour scale of a finding for all scales and images.
import { INFERNO } from "./colours.js";
import { contours } from "./contours.js";
import { context2d } from "./dom.js";

/** Strengths at which contours are drawn, perceptually even. */
export const CONTOUR_STRENGTHS = [0.2, 0.4, 0.6, 0.8];

/** The scale of a heatmap. @typedef {{ scale: number, curve?: import("./types.d.ts").HeatmapCurve }} Scale */

/** The raw value that is drawn at a strength from 0 to 1. @param {Scale} map @param {number} strength */
export function drawnValue({ scale, curve }, strength) {
  return scale * (curve === "linear" ? strength : strength ** 2);
}

/** The strength, from 0 to 1, at which a raw value is drawn. @param {Scale} map @param {number} value */
export function drawnStrength({ scale, curve }, value) {
  const share = Math.min(1, value / scale);
  return curve === "linear" ? share : Math.sqrt(share);
}

/** The decoded heatmap of one finding. */
export class Heatmap {
  /**
   * @param {Uint8Array} greys the drawn strength: value = scale · strength, or · strength² on the square-root curve
   * @param {number} width @param {number} height @param {number} scale @param {number} max
   * @param {import("./types.d.ts").HeatmapCurve} curve
   */
  constructor(greys, width, height, scale, max, curve) {
    this.greys = greys;
    this.width = width;
    this.height = height;
    this.scale = scale;
    this.max = max;
    this.curve = curve;
    /** @type {HTMLCanvasElement|null} */
    this.coloured = null;
    /** @type {Path2D[]|null} */
    this.lines = null;
  }

  /** The raw value at a point of the radiograph; coordinates from 0 to 1. @param {number} across @param {number} down */
  at(across, down) {
    const x = Math.min(this.width - 1, Math.max(0, across * this.width - 0.5));
    const y = Math.min(this.height - 1, Math.max(0, down * this.height - 0.5));
    const [x0, y0] = [Math.floor(x), Math.floor(y)];
    const [x1, y1] = [Math.min(x0 + 1, this.width - 1), Math.min(y0 + 1, this.height - 1)];
    /** @param {number} column @param {number} row */
    const value = (column, row) => drawnValue(this, this.greys[row * this.width + column] / 255);
    const [fx, fy] = [x - x0, y - y0];
    return (
      (value(x0, y0) * (1 - fx) + value(x1, y0) * fx) * (1 - fy) +
      (value(x0, y1) * (1 - fx) + value(x1, y1) * fx) * fy
    );
  }

  /** True if the value was cut off at `scale`. @param {number} value */
  isCut(value) {
    return value >= this.scale * 0.992;
  }

  /** The heatmap in colour; stronger evidence is more opaque. Drawn once. @returns {HTMLCanvasElement} */
  get canvas() {
    if (!this.coloured) {
      this.coloured = canvas(this.width, this.height);
      const image = new ImageData(this.width, this.height);
      for (let i = 0, to = 0; i < this.greys.length; i++, to += 4) {
        const strength = this.greys[i];
        image.data[to] = INFERNO[3 * strength];
        image.data[to + 1] = INFERNO[3 * strength + 1];
        image.data[to + 2] = INFERNO[3 * strength + 2];
        image.data[to + 3] = strength;
      }
      context2d(this.coloured).putImageData(image, 0, 0);
    }
    return this.coloured;
  }

  /** The contours at `CONTOUR_STRENGTHS`, in pixels of the map. @returns {Path2D[]} */
  get paths() {
    this.lines ??= CONTOUR_STRENGTHS.map((strength) =>
      contours(this.greys, this.width, this.height, strength * 255),
    );
    return this.lines;
  }
}

/** Decode a heatmap of an answer. @param {import("./types.d.ts").HeatmapReport} report */
export async function readHeatmap({ png, width, height, scale, max, curve }) {
  const bytes = Uint8Array.from(atob(png), (character) => character.charCodeAt(0));
  const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/png" }), {
    colorSpaceConversion: "none",
  });
  const context = context2d(canvas(width, height), {
    willReadFrequently: true,
  });
  context.drawImage(bitmap, 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
  return new Heatmap(
    Uint8Array.from({ length: width * height }, (_, index) => data[4 * index]),
    width,
    height,
    scale,
    max,
    curve ?? "square-root",
  );
}

/** The colour of a strength from 0 to 1. @param {number} strength */
export function colour(strength) {
  const at = 3 * Math.round(255 * strength);
  return `rgb(${INFERNO[at]} ${INFERNO[at + 1]} ${INFERNO[at + 2]})`;
}

/**
 * Draw the colour scale over mid-grey, for the legend and for exports.
 * @param {CanvasRenderingContext2D} context @param {number} left @param {number} top
 * @param {number} width @param {number} height @param {number} opacity
 */
export function drawScale(context, left, top, width, height, opacity) {
  for (let x = 0; x < width; x++) {
    const strength = x / (width - 1);
    context.globalAlpha = 1;
    context.fillStyle = "#6e6e6e";
    context.fillRect(left + x, top, 1, height);
    context.globalAlpha = strength * opacity;
    context.fillStyle = colour(strength);
    context.fillRect(left + x, top, 1, height);
  }
  context.globalAlpha = 1;
}

/** Create a canvas. @param {number} width @param {number} height */
export function canvas(width, height) {
  return Object.assign(document.createElement("canvas"), { width, height });
}
