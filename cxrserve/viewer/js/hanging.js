// Hanging: frontal images to the left of lateral ones, among images that were opened together.
import { radiographOf, state, update } from "./store.js";

/** @typedef {import("./radiograph.js").Radiograph} Radiograph */

const FRONTAL = new Set(["PA", "AP"]);
const LATERAL = new Set(["LL", "RL", "LATERAL", "LLD", "RLD"]);
/** @type {Radiograph[][]} opened together, not hung yet */
let waiting = [];

/** Images that were opened together: hang them when their views are known. @param {Radiograph[]} together */
export function hangLater(together) {
  if (together.length > 1) waiting.push(together);
}

/** The user has chosen a place: leave all images where they are. */
export function leave() {
  waiting = [];
}

/** Hang those whose view positions are known by now. */
export function hangKnown() {
  const known = waiting.filter((together) =>
    together.every(
      (radiograph) => radiograph.picture || radiograph.problem || !state.radiographs.includes(radiograph),
    ),
  );
  waiting = waiting.filter((together) => !known.includes(together));
  for (const together of known) hang(together);
}

/** Exchange the places of images in views, in the order of their view positions. @param {Radiograph[]} together */
function hang(together) {
  const places = state.views.flatMap((key, place) => {
    const radiograph = radiographOf(key);
    return place < state.layout && radiograph && together.includes(radiograph) ? [place] : [];
  });
  const before = places.map((place) => state.views[place]);
  const after = [...before].sort((a, b) => rank(a) - rank(b));
  if (after.every((key, index) => key === before[index])) return;
  update((all) => {
    const active = all.views[all.active];
    places.forEach((place, index) => (all.views[place] = after[index]));
    all.active = all.views.indexOf(active);
  });
}

/** @param {string|null} key */
function rank(key) {
  const view = radiographOf(key)?.picture?.header.about.view_position ?? "";
  return FRONTAL.has(view) ? 0 : LATERAL.has(view) ? 2 : 1;
}
