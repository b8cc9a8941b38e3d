// The list of open images: thumbnail, progress, and the view that shows each.
import { announce } from "./announce.js";
import { byId, context2d, element } from "./dom.js";
import { Radiograph } from "./radiograph.js";
import { Geometry } from "./geometry.js";
import { hangKnown, hangLater, leave } from "./hanging.js";
import { canvas } from "./heatmap.js";
import { icon } from "./icons.js";
import { Painter } from "./painter.js";
import { activeRadiograph, radiographOf, state, update } from "./store.js";
import { counted } from "./study.js";

const place = () => byId("radiographs");
const [WIDTH, HEIGHT] = [96, 112];
const MAX_OPEN = 16;
/** @type {Map<string, {node: HTMLCanvasElement, drawn: number|null}>} */
const thumbnails = new Map();
let drawn = "";
/** @type {Radiograph[]} radiographs for which there is no room yet */
const queue = [];

/** The number of files that wait for room. */
export const queued = () => queue.length;

/** Open files; each in a free view, else in the active one. @param {File[]} files */
export function openFiles(files) {
  open(files.map((file) => new Radiograph(file.name, async () => file)));
}

/** Open radiographs. @param {Radiograph[]} radiographs */
export function open(radiographs) {
  queue.push(...radiographs);
  const added = queue.splice(0, Math.max(0, MAX_OPEN - state.radiographs.length));
  if (queue.length) announce(`${MAX_OPEN} images are open; ${queue.length} more wait until you close some.`);
  if (!added.length) return update();
  update((all) => {
    all.radiographs.push(...added);
    if (all.layout === 1 && added.length > 1 && all.radiographs.length === added.length)
      all.layout = added.length > 2 ? 4 : 2;
    for (const radiograph of added) {
      const freeView = all.views.findIndex((key, index) => index < all.layout && !radiographOf(key));
      if (freeView >= 0) all.views[freeView] = radiograph.key;
    }
    if (!added.some((radiograph) => all.views.slice(0, all.layout).includes(radiograph.key)))
      all.views[all.active] = added[0].key;
    const first = all.views.indexOf(added[0].key);
    if (first >= 0 && first < all.layout) all.active = first;
  });
  hangLater(added);
  for (const radiograph of added) radiograph.start();
}

/** Close the radiographs; all of them by default. */
export function close(radiographs = [...state.radiographs]) {
  if (radiographs.length === state.radiographs.length && radiographs.length > 1) queue.length = 0;
  for (const radiograph of radiographs) {
    radiograph.close();
    thumbnails.delete(radiograph.key);
  }
  update((all) => {
    all.radiographs = all.radiographs.filter((radiograph) => !radiographs.includes(radiograph));
    all.views = all.views.map((key) => (radiographOf(key) ? key : null));
    const unseen = all.radiographs.find((radiograph) => !all.views.includes(radiograph.key));
    if (unseen && !all.views.slice(0, all.layout).some(Boolean)) all.views[all.active] = unseen.key;
    if (unseen && !radiographOf(all.views[all.active])) all.views[all.active] = unseen.key;
    if (!all.radiographs.length) Object.assign(all, { layout: 1, active: 0, finding: null });
  });
  if (queue.length) open([]);
}

/** Show a radiograph in the active view. @param {string} key */
export function show(key) {
  leave();
  update((all) => (all.views[all.active] = key));
}

/** The number of an image among the open ones, and its view position. @param {Radiograph} radiograph */
export function numbered(radiograph) {
  const view = radiograph.picture?.header.about.view_position;
  return `image ${state.radiographs.indexOf(radiograph) + 1}${view ? ` (${view})` : ""}`;
}

/** Make a radiograph the active one: in the view that shows it, else in the active view. @param {string} key */
export function bringForward(key) {
  const shown = state.views.slice(0, state.layout).indexOf(key);
  if (shown >= 0) update((all) => (all.active = shown));
  else show(key);
}

/** Show the next or previous radiograph in the active view. @param {number} by 1 or -1 */
export function next(by) {
  const active = activeRadiograph();
  const at = active ? state.radiographs.indexOf(active) : 0;
  if (state.radiographs.length)
    show(state.radiographs[(at + by + state.radiographs.length) % state.radiographs.length].key);
}

/** Redraw the list if its content has changed. */
export function sync() {
  hangKnown();
  place().hidden = state.radiographs.length === 0;
  const key = JSON.stringify([
    state.radiographs.map((radiograph) => [radiograph.key, status(radiograph)]),
    state.views,
    state.layout,
    state.active,
    queue.length,
  ]);
  if (key !== drawn) {
    drawn = key;
    const focused = place().contains(document.activeElement)
      ? /** @type {HTMLElement} */ (document.activeElement).dataset.key
      : null;
    place().replaceChildren(
      element(
        "div",
        { class: "panel-head" },
        element("h2", { id: "radiographs-title" }, "Images"),
        element("button", { class: "quiet", type: "button", onclick: () => close() }, "Close all"),
      ),
      queue.length
        ? element(
            "p",
            { class: "waiting-files", id: "queued" },
            `${queue.length} more ${queue.length === 1 ? "file waits" : "files wait"}: at most ${MAX_OPEN} images are open at once. Close images to open the next ones.`,
          )
        : "",
      element("ul", { class: "scroll" }, ...state.radiographs.map(row)),
    );
    if (focused) place().querySelector(`[data-key="${focused}"]`)?.focus();
  }
  for (const radiograph of state.radiographs) thumbnail(radiograph);
}

/** @param {Radiograph} radiograph */
function row(radiograph) {
  const [text, bad] = status(radiograph);
  const shown = state.views.slice(0, state.layout).indexOf(radiograph.key);
  const view = radiograph.picture?.header.about.view_position;
  const title = element(
    "span",
    { class: "title", title: radiograph.name },
    view ? `${view}  ·  ${radiograph.name}` : radiograph.name,
  );
  return element(
    "li",
    { class: "radiograph-row" },
    element(
      "button",
      {
        class: "radiograph",
        type: "button",
        "data-key": radiograph.key,
        "aria-current": activeRadiograph() === radiograph ? "true" : null,
        onclick: () => show(radiograph.key),
      },
      thumbnailOf(radiograph),
      element("span", {}, title, element("span", { class: `sub${bad ? " bad" : ""}` }, text)),
      state.layout > 1 && shown >= 0
        ? element("span", { class: "tag", title: `in view ${shown + 1}` }, String(shown + 1))
        : "",
    ),
    element(
      "button",
      {
        class: "close",
        type: "button",
        "aria-label": `Close ${radiograph.name}`,
        "data-key": `close-${radiograph.key}`,
        onclick: () => close([radiograph]),
      },
      icon("close"),
    ),
  );
}

/** The progress in words, and true if it is a problem. @param {Radiograph} radiograph @returns {[string, boolean]} */
function status(radiograph) {
  if (radiograph.problem) return [radiograph.problem.title, true];
  const waits = [radiograph.display, radiograph.prediction].some((task) => task.stage === "waiting");
  if (waits) return ["Waiting for the service", false];
  if (!radiograph.picture) return ["Opening", false];
  if (!radiograph.answer) return ["Analysing", false];
  const above = counted(radiograph.answer.findings).length;
  return [above ? `${above} above the operating point` : "none above the operating point", false];
}

/** @param {Radiograph} radiograph */
function thumbnailOf(radiograph) {
  const known = thumbnails.get(radiograph.key);
  if (known) return known.node;
  const node = canvas(WIDTH, HEIGHT);
  node.setAttribute("aria-hidden", "true");
  thumbnails.set(radiograph.key, { node, drawn: null });
  return node;
}

/** Draw the thumbnail. @param {Radiograph} radiograph */
function thumbnail(radiograph) {
  const entry = thumbnails.get(radiograph.key);
  if (!entry || !radiograph.picture || !radiograph.firstLook || entry.drawn === radiograph.turn) return;
  entry.drawn = radiograph.turn;
  const geometry = new Geometry(
    radiograph.picture.width,
    radiograph.picture.height,
    radiograph.picture.header.aspect,
  );
  geometry.turn = radiograph.turn;
  const view = { width: WIDTH, height: HEIGHT };
  geometry.fit(view);
  const context = context2d(entry.node);
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, WIDTH, HEIGHT);
  new Painter(radiograph.picture).paint(context, geometry, view, radiograph.look ?? radiograph.firstLook);
}
