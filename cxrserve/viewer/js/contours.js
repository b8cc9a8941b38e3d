// Contour lines by marching squares, joined cell by cell.

/** @param {Uint8Array} greys @param {number} level @returns {Path2D} in pixels of the map, whose centres lie at halves */
export function contours(greys, width, height, level) {
  const path = new Path2D();
  for (let y = 0; y < height - 1; y++) {
    for (let x = 0, at = y * width; x < width - 1; x++, at++) {
      const a = greys[at];
      const b = greys[at + 1];
      const c = greys[at + width + 1];
      const d = greys[at + width];
      const kind = (a > level) | ((b > level) << 1) | ((c > level) << 2) | ((d > level) << 3);
      if (kind === 0 || kind === 15) continue;
      const share = (from, to) => (level - from) / (to - from);
      const edges = [
        [x + 0.5 + share(a, b), y + 0.5],
        [x + 1.5, y + 0.5 + share(b, c)],
        [x + 0.5 + share(d, c), y + 1.5],
        [x + 0.5, y + 0.5 + share(a, d)],
      ];
      for (const [from, to] of SEGMENTS[kind]) {
        path.moveTo(...edges[from]);
        path.lineTo(...edges[to]);
      }
    }
  }
  return path;
}

// Which edges (0 top, 1 right, 2 bottom, 3 left) the line joins, by the corners above the level.
const SEGMENTS = [
  [], [[3, 0]], [[0, 1]], [[3, 1]], [[1, 2]], [[3, 0], [1, 2]], [[0, 2]], [[3, 2]],
  [[2, 3]], [[0, 2]], [[0, 1], [2, 3]], [[1, 2]], [[1, 3]], [[0, 1]], [[0, 3]], [],
];
