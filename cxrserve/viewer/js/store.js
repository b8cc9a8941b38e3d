// The state of the page, and its listeners.

/**
 * @typedef {import("./radiograph.js").Radiograph} Radiograph
 * @typedef {{mode: "off"|"both"|"colour"|"contour", source: "ensemble"|number, opacity: number}} Overlay
 */

/** @typedef {typeof state} State */

export const state = {
  model: /** @type {import("./types.d.ts").Model|null} the answer of GET /model; null until it is known */ (
    null
  ),
  radiographs: /** @type {Radiograph[]} the open radiographs */ ([]),
  views: /** @type {(string|null)[]} the key of the radiograph in each view */ ([null, null, null, null]),
  layout: 1,
  active: 0,
  finding: /** @type {string|null} the selected finding */ (null),
  scope: /** @type {"image"|"study"} of the listed findings */ ("image"),
  order: /** @type {import("./study.js").Order} of the listed findings */ ("urgency"),
  overlay: /** @type {Overlay} */ ({
    mode: "both",
    source: "ensemble",
    opacity: 0.75,
  }),
  /** True to show names and numbers over the images. */
  labels: true,
  /** True if zoom, pan and window act on all views. */
  linked: false,
  /** True while the overlay is hidden by a held key. */
  peeking: false,
  tool: /** @type {"window"|"pan"} */ ("window"),
};

/** @type {Set<(all: State) => void>} */
const listeners = new Set();
let pending = false;

/** Call `listener` once after all changes of a task. @param {(all: State) => void} listener */
export function watch(listener) {
  listeners.add(listener);
}

/** Change the state and call the listeners. @param {(all: State) => void} [change] */
export function update(change) {
  change?.(state);
  if (pending) return;
  pending = true;
  queueMicrotask(() => {
    pending = false;
    for (const listener of listeners) listener(state);
  });
}

/** The radiograph with a key. @param {string|null} key @returns {Radiograph|undefined} */
export const radiographOf = (key) => state.radiographs.find((radiograph) => radiograph.key === key);

/** The radiograph in the active view. @returns {Radiograph|undefined} */
export const activeRadiograph = () => radiographOf(state.views[state.active]);
