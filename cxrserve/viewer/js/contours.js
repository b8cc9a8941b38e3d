// Contour lines by marching squares, joined cell by cell.

/**
 * The contour line of a map at one level, in pixels of the map, whose centres lie at halves.
 * @param {Uint8Array} greys @param {number} width @param {number} height @param {number} level @returns {Path2D}
 */
export function contours(greys, width, height, level) {
  const path = new Path2D();
  for (let y = 0; y < height - 1; y++) {
    for (let x = 0, at = y * width; x < width - 1; x++, at++) {
      const a = greys[at];
      const b = greys[at + 1];
      const c = greys[at + width + 1];
      const d = greys[at + width];
      const corners =
        Number(a > level) + 2 * Number(b > level) + 4 * Number(c > level) + 8 * Number(d > level);
      if (corners === 0 || corners === 15) continue;
      /** @param {number} from @param {number} to */
      const share = (from, to) => (level - from) / (to - from);
      /** @type {[number, number][]} */
      const edges = [
        [x + 0.5 + share(a, b), y + 0.5],
        [x + 1.5, y + 0.5 + share(b, c)],
        [x + 0.5 + share(d, c), y + 1.5],
        [x + 0.5, y + 0.5 + share(a, d)],
      ];
      for (const [from, to] of SEGMENTS[corners]) {
        path.moveTo(...edges[from]);
        path.lineTo(...edges[to]);
      }
    }
  }
  return path;
}

// The edges (0 top, 1 right, 2 bottom, 3 left) that the line joins, by the corners above the level.
/** @type {[number, number][][]} */
// prettier-ignore
const SEGMENTS = [
  [], [[3, 0]], [[0, 1]], [[3, 1]], [[1, 2]], [[3, 0], [1, 2]], [[0, 2]], [[3, 2]],
  [[2, 3]], [[0, 2]], [[0, 1], [2, 3]], [[1, 2]], [[1, 3]], [[0, 1]], [[0, 3]], [],
];
