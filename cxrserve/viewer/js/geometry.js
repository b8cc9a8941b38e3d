// Where a picture lies in a view: zoom, centre, quarter turns. No mirror: left stays left.

/** Pixels of the picture are measured in columns and rows, those of the view in device pixels. */
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

  /** The zoom at which all of the picture is seen. */
  fitZoom(view) {
    const [w, h] = [this.width, this.height * this.aspect];
    const [across, down] = this.turn % 2 ? [h, w] : [w, h];
    return Math.min(view.width / across, view.height / down);
  }

  fit(view) {
    Object.assign(this, { zoom: this.fitZoom(view), x: this.width / 2, y: this.height / 2, fitted: true });
  }

  /** From the picture to the view. @returns {DOMMatrix} */
  matrix(view) {
    return new DOMMatrix()
      .translate(view.width / 2, view.height / 2)
      .rotate(90 * this.turn)
      .scale(this.zoom, this.zoom * this.aspect)
      .translate(-this.x, -this.y);
  }

  /** The place of the picture under a point of the view. @returns {DOMPoint} */
  at(view, x, y) {
    return this.matrix(view).inverse().transformPoint(new DOMPoint(x, y));
  }

  /** Move the picture by so many pixels of the view. */
  pan(dx, dy) {
    const angle = (-Math.PI / 2) * this.turn;
    const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
    this.x -= (dx * cos - dy * sin) / this.zoom;
    this.y -= (dx * sin + dy * cos) / (this.zoom * this.aspect);
    this.x = Math.min(this.width, Math.max(0, this.x));
    this.y = Math.min(this.height, Math.max(0, this.y));
    this.fitted = false;
  }

  /** Zoom to `zoom`, the place under (x, y) of the view staying there. */
  zoomTo(view, zoom, x = view.width / 2, y = view.height / 2) {
    const before = this.at(view, x, y);
    this.zoom = Math.min(32, Math.max(this.fitZoom(view) / 2, zoom));
    const after = this.at(view, x, y);
    this.x += before.x - after.x;
    this.y += before.y - after.y;
    this.fitted = false;
  }

  /** The part of the picture that is seen, with `margin` of its size around. */
  seen(view, margin = 0) {
    const inverse = this.matrix(view).inverse();
    const corners = [[0, 0], [view.width, 0], [0, view.height], [view.width, view.height]].map(([x, y]) =>
      inverse.transformPoint(new DOMPoint(x, y)),
    );
    const [xs, ys] = [corners.map((each) => each.x), corners.map((each) => each.y)];
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

/** What stands at each edge of a view, from Patient Orientation (PS3.3 C.7.6.1.1.1) and the turns. */
export function edges(orientation, turn) {
  if (!orientation) return null;
  const [across, down] = orientation;
  const around = [opposite(down), across, down, opposite(across)]; // top, right, bottom, left
  const at = (place) => around[(place - turn + 8) % 4];
  return { top: at(0), right: at(1), bottom: at(2), left: at(3) };
}

const OPPOSITE = { A: "P", P: "A", R: "L", L: "R", H: "F", F: "H" };
const opposite = (letters) => [...letters].map((letter) => OPPOSITE[letter]).join("");
