// The one state of the page, and who wants to know when it changes.

/**
 * @typedef {import("./film.js").Film} Film
 * @typedef {{mode: "off"|"colour"|"contour", source: "ensemble"|number, opacity: number}} Overlay
 */

export const state = {
  /** @type {any} what GET /model says; null until it is known */
  model: null,
  /** @type {Film[]} the images of the study that is open */
  films: [],
  /** @type {(string|null)[]} which film each view shows, by its key */
  views: [null, null, null, null],
  layout: 1,
  active: 0,
  /** @type {string|null} the finding that was picked */
  finding: null,
  /** @type {"image"|"study"} whose findings are listed */
  scope: "image",
  /** @type {Overlay} */
  overlay: { mode: "colour", source: "ensemble", opacity: 0.75 },
  /** whether names and numbers lie over the images */
  words: true,
  /** @type {"window"|"pan"} */
  tool: "window",
};

const listeners = new Set();
let due = false;

/** Call `listener` after every change, once for all changes of one task. */
export function watch(listener) {
  listeners.add(listener);
}

/** Change the state by `change`, if given, and tell all who watch. @param {(all: typeof state) => void} [change] */
export function update(change) {
  change?.(state);
  if (due) return;
  due = true;
  queueMicrotask(() => {
    due = false;
    for (const listener of listeners) listener(state);
  });
}

/** @param {string|null} key @returns {Film|undefined} */
export const filmOf = (key) => state.films.find((film) => film.key === key);

/** The film of the active view. @returns {Film|undefined} */
export const activeFilm = () => filmOf(state.views[state.active]);
