// A heatmap: raw values over the whole radiograph, on one colour scale for all findings, scales and images.
import { INFERNO } from "./colours.js";
import { contours } from "./contours.js";

/** Shares of the full strength at which contours are drawn: even steps for the eye (value goes with the square). */
export const CONTOUR_STRENGTHS = [0.2, 0.4, 0.6, 0.8];

export class Heatmap {
  /** @param {Uint8Array} greys value = scale · (grey / 255)² */
  constructor(greys, width, height, scale, max) {
    Object.assign(this, { greys, width, height, scale, max });
    this.coloured = null;
    this.lines = null;
  }

  /** Raw value at a place of the radiograph, both coordinates from 0 to 1. */
  at(across, down) {
    const x = Math.min(this.width - 1, Math.max(0, across * this.width - 0.5));
    const y = Math.min(this.height - 1, Math.max(0, down * this.height - 0.5));
    const [x0, y0] = [Math.floor(x), Math.floor(y)];
    const [x1, y1] = [Math.min(x0 + 1, this.width - 1), Math.min(y0 + 1, this.height - 1)];
    const value = (column, row) => this.scale * (this.greys[row * this.width + column] / 255) ** 2;
    const [fx, fy] = [x - x0, y - y0];
    return (
      (value(x0, y0) * (1 - fx) + value(x1, y0) * fx) * (1 - fy) + (value(x0, y1) * (1 - fx) + value(x1, y1) * fx) * fy
    );
  }

  /** True where a value was cut off at `scale`. */
  isCut(value) {
    return value >= this.scale * 0.992;
  }

  /** The colours, the stronger the more opaque; made once. @returns {HTMLCanvasElement} */
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
      this.coloured.getContext("2d").putImageData(image, 0, 0);
    }
    return this.coloured;
  }

  /** One path for each of `CONTOUR_STRENGTHS`, in the map's own pixels. @returns {Path2D[]} */
  get paths() {
    this.lines ??= CONTOUR_STRENGTHS.map((strength) => contours(this.greys, this.width, this.height, strength * 255));
    return this.lines;
  }
}

/** @param {{png: string, width: number, height: number, scale: number, max: number}} report */
export async function readHeatmap({ png, width, height, scale, max }) {
  const bytes = Uint8Array.from(atob(png), (character) => character.charCodeAt(0));
  const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/png" }), { colorSpaceConversion: "none" });
  const context = canvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
  return new Heatmap(Uint8Array.from({ length: width * height }, (_, index) => data[4 * index]), width, height, scale, max);
}

/** The colour of a strength from 0 to 1. */
export function colour(strength) {
  const at = 3 * Math.round(255 * strength);
  return `rgb(${INFERNO[at]} ${INFERNO[at + 1]} ${INFERNO[at + 2]})`;
}

/** The scale as it lies over mid-grey, for the legend and for exports. */
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

export function canvas(width, height) {
  return Object.assign(document.createElement("canvas"), { width, height });
}
