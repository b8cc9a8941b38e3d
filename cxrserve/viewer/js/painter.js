// Paints a picture into a view, at the level that fits the zoom, with its window; and heatmaps over it.
import { context2d } from "./dom.js";
import { CONTOUR_STRENGTHS, canvas, colour } from "./heatmap.js";
import { lookUpTable } from "./window.js";

const WHOLE_PIXELS = 2_200_000; // up to this size a level is converted as a whole, so that panning only moves it
const MARGIN = 0.3; // of a larger level, the visible part is converted with this margin

/** Paints one picture; it caches the converted part. */
export class Painter {
  /** @param {import("./picture.js").Picture} picture */
  constructor(picture) {
    this.picture = picture;
    /** @type {import("./window.js").Look|null} */
    this.look = null;
    this.table = new Uint32Array(0);
    /** @type {ImageData|null} */
    this.image = null;
    this.grey = canvas(1, 1);
    this.context = context2d(this.grey, { alpha: false });
    this.level = -1;
    /** @type {{left: number, top: number, right: number, bottom: number}|null} in pixels of the level */
    this.region = null;
  }

  /**
   * Paint the picture.
   * @param {CanvasRenderingContext2D} context
   * @param {import("./geometry.js").Geometry} geometry
   * @param {{width: number, height: number}} view in device pixels
   * @param {import("./window.js").Look} look
   */
  paint(context, geometry, view, look) {
    if (look !== this.look) {
      this.look = look;
      this.table = lookUpTable(look, this.picture);
      this.region = null;
    }
    const level = this.#levelFor(geometry.zoom);
    const { width, height } = this.picture.levels[level];
    const [across, down] = [width / this.picture.width, height / this.picture.height];
    const visible = scaled(geometry.seen(view), across, down, width, height);
    if (visible.right <= visible.left || visible.bottom <= visible.top) return;
    let region = this.region;
    if (level !== this.level || !region || !contains(region, visible)) {
      const whole = { left: 0, top: 0, right: width, bottom: height };
      const around = () => scaled(geometry.seen(view, MARGIN), across, down, width, height);
      region = this.#convert(level, width * height <= WHOLE_PIXELS ? whole : around());
    }
    context.setTransform(geometry.matrix(view).scale(1 / across, 1 / down));
    context.imageSmoothingEnabled = true;
    context.imageSmoothingQuality = "low"; // the level is at most twice too large
    const { left, top, right, bottom } = region;
    context.drawImage(this.grey, 0, 0, right - left, bottom - top, left, top, right - left, bottom - top);
  }

  /** The smallest level with at least one pixel for each pixel of the view. @param {number} zoom */
  #levelFor(zoom) {
    const level = zoom >= 1 ? 0 : Math.floor(Math.log2(1 / zoom) + 1e-6);
    return Math.min(level, this.picture.levels.length - 1);
  }

  /** @param {number} level @param {import("./types.d.ts").Region} region @returns {import("./types.d.ts").Region} */
  #convert(level, region) {
    const { samples, width: stride } = this.picture.levels[level];
    const [width, height] = [region.right - region.left, region.bottom - region.top];
    let image = this.image;
    if (image?.width !== width || image.height !== height) image = this.image = new ImageData(width, height);
    if (this.grey.width < width || this.grey.height < height) Object.assign(this.grey, { width, height });
    const out = new Uint32Array(image.data.buffer);
    const table = this.table;
    for (let y = 0, to = 0; y < height; y++) {
      let from = (region.top + y) * stride + region.left;
      for (const end = from + width; from < end;) out[to++] = table[samples[from++]];
    }
    this.context.putImageData(image, 0, 0);
    this.level = level;
    this.region = region;
    return region;
  }
}

/**
 * Paint a heatmap over a picture.
 * @param {CanvasRenderingContext2D} context @param {import("./geometry.js").Geometry} geometry
 * @param {import("./types.d.ts").Size} view @param {import("./heatmap.js").Heatmap} heatmap
 * @param {import("./store.js").Overlay} overlay
 */
export function paintHeatmap(context, geometry, view, heatmap, { mode, opacity }) {
  const matrix = geometry
    .matrix(view)
    .scale(geometry.width / heatmap.width, geometry.height / heatmap.height);
  if (mode !== "contour") {
    context.setTransform(matrix);
    context.globalAlpha = opacity;
    context.imageSmoothingQuality = "low";
    context.drawImage(heatmap.canvas, 0, 0);
    context.globalAlpha = 1;
  }
  if (mode === "colour") return;
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.lineJoin = context.lineCap = "round"; // the lines are made of one short piece for each cell
  heatmap.paths.forEach((path, index) => {
    const placed = new Path2D();
    placed.addPath(path, matrix);
    context.globalAlpha = Math.min(1, opacity + 0.25);
    context.lineWidth = 3.5;
    context.strokeStyle = "#000a";
    context.stroke(placed);
    context.lineWidth = 1.5;
    context.strokeStyle = colour(0.3 + 0.7 * CONTOUR_STRENGTHS[index]);
    context.stroke(placed);
  });
  context.globalAlpha = 1;
}

/** @param {import("./types.d.ts").Region} outer @param {import("./types.d.ts").Region} inner */
const contains = (outer, inner) =>
  outer.left <= inner.left &&
  outer.top <= inner.top &&
  outer.right >= inner.right &&
  outer.bottom >= inner.bottom;

/**
 * @param {import("./types.d.ts").Region} region @param {number} across @param {number} down
 * @param {number} width @param {number} height @returns {import("./types.d.ts").Region}
 */
const scaled = ({ left, top, right, bottom }, across, down, width, height) => ({
  left: Math.max(0, Math.floor(left * across)),
  top: Math.max(0, Math.floor(top * down)),
  right: Math.min(width, Math.ceil(right * across) + 1),
  bottom: Math.min(height, Math.ceil(bottom * down) + 1),
});
