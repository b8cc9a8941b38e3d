// The position of a picture in a view: zoom, centre, quarter turns. It is never mirrored: left stays left.

/** Maps the picture, in columns and rows, to the view, in device pixels. */
export class Geometry {
  /** @param {number} width of the picture @param {number} height @param {number} aspect height of a pixel over its width */
  constructor(width, height, aspect) {
    this.width = width;
    this.height = height;
    this.aspect = aspect;
    this.zoom = 1;
    this.x = width / 2;
    this.y = height / 2;
    this.turn = 0;
    this.fitted = true;
  }

  /** The zoom at which the whole picture is visible. @param {import("./types.d.ts").Size} view */
  fitZoom(view) {
    const [w, h] = [this.width, this.height * this.aspect];
    const [across, down] = this.turn % 2 ? [h, w] : [w, h];
    return Math.min(view.width / across, view.height / down);
  }

  /** Show the whole picture. @param {import("./types.d.ts").Size} view */
  fit(view) {
    Object.assign(this, {
      zoom: this.fitZoom(view),
      x: this.width / 2,
      y: this.height / 2,
      fitted: true,
    });
  }

  /** The transform from the picture to the view. @param {import("./types.d.ts").Size} view @returns {DOMMatrix} */
  matrix(view) {
    return new DOMMatrix()
      .translate(view.width / 2, view.height / 2)
      .rotate(90 * this.turn)
      .scale(this.zoom, this.zoom * this.aspect)
      .translate(-this.x, -this.y);
  }

  /** The point of the picture at a point of the view. @param {import("./types.d.ts").Size} view @param {number} x @param {number} y @returns {DOMPoint} */
  at(view, x, y) {
    return this.matrix(view).inverse().transformPoint(new DOMPoint(x, y));
  }

  /** Move the picture by pixels of the view. @param {number} dx @param {number} dy */
  pan(dx, dy) {
    const angle = (-Math.PI / 2) * this.turn;
    const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
    this.x -= (dx * cos - dy * sin) / this.zoom;
    this.y -= (dx * sin + dy * cos) / (this.zoom * this.aspect);
    this.x = Math.min(this.width, Math.max(0, this.x));
    this.y = Math.min(this.height, Math.max(0, this.y));
    this.fitted = false;
  }

  /** Set the zoom; the point of the picture at (x, y) of the view stays there. @param {import("./types.d.ts").Size} view @param {number} zoom */
  zoomTo(view, zoom, x = view.width / 2, y = view.height / 2) {
    const before = this.at(view, x, y);
    this.zoom = Math.min(32, Math.max(this.fitZoom(view) / 2, zoom));
    const after = this.at(view, x, y);
    this.x += before.x - after.x;
    this.y += before.y - after.y;
    this.fitted = false;
  }

  /** The visible part of the picture, with a margin relative to its size. @param {import("./types.d.ts").Size} view @returns {import("./types.d.ts").Region} */
  seen(view, margin = 0) {
    const inverse = this.matrix(view).inverse();
    const corners = [
      [0, 0],
      [view.width, 0],
      [0, view.height],
      [view.width, view.height],
    ].map(([x, y]) => inverse.transformPoint(new DOMPoint(x, y)));
    const [xs, ys] = [corners.map((corner) => corner.x), corners.map((corner) => corner.y)];
    const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const [mx, my] = [(right - left) * margin, (bottom - top) * margin];
    return {
      left: Math.max(0, Math.floor(left - mx)),
      top: Math.max(0, Math.floor(top - my)),
      right: Math.min(this.width, Math.ceil(right + mx)),
      bottom: Math.min(this.height, Math.ceil(bottom + my)),
    };
  }
}

/**
 * The orientation marks at the edges of a view, from Patient Orientation (PS3.3 C.7.6.1.1.1) and the turns.
 * @param {[string, string]|null} orientation @param {number} turn
 */
export function edges(orientation, turn) {
  if (!orientation) return null;
  const [across, down] = orientation;
  const around = [opposite(down), across, down, opposite(across)]; // top, right, bottom, left
  /** @param {number} side */
  const at = (side) => around[(side - turn + 8) % 4];
  return { top: at(0), right: at(1), bottom: at(2), left: at(3) };
}

/** @type {Record<string, string>} */
const OPPOSITE = { A: "P", P: "A", R: "L", L: "R", H: "F", F: "H" };
/** @param {string} letters */
const opposite = (letters) => [...letters].map((letter) => OPPOSITE[letter]).join("");
