// The open images: a thumbnail each, how far they are, and which view shows them.
import { announce } from "./announce.js";
import { byId, element } from "./dom.js";
import { Film } from "./film.js";
import { Geometry } from "./geometry.js";
import { canvas } from "./heatmap.js";
import { icon } from "./icons.js";
import { Painter } from "./painter.js";
import { activeFilm, filmOf, state, update } from "./store.js";

const place = () => byId("films");
const [WIDTH, HEIGHT] = [96, 112];
const MOST = 16;
const thumbnails = new Map();
let drawn = "";

/** Open files; each is shown in a view that is free, else in the active one. @param {File[]} files */
export function openFiles(files) {
  open(files.map((file) => new Film(file.name, async () => file)));
}

/** @param {Film[]} films */
export function open(films) {
  const room = MOST - state.films.length;
  if (films.length > room) announce(`${MOST} images can be open at once; ${films.length - room} were left out.`);
  const taken = films.slice(0, Math.max(0, room));
  if (!taken.length) return;
  update((all) => {
    all.films.push(...taken);
    if (all.layout === 1 && taken.length > 1 && all.films.length === taken.length) all.layout = taken.length > 2 ? 4 : 2;
    for (const film of taken) {
      const free = all.views.findIndex((key, index) => index < all.layout && !filmOf(key));
      if (free >= 0) all.views[free] = film.key;
    }
    if (!taken.some((film) => all.views.slice(0, all.layout).includes(film.key))) all.views[all.active] = taken[0].key;
    const first = all.views.indexOf(taken[0].key);
    if (first >= 0 && first < all.layout) all.active = first;
  });
  for (const film of taken) film.start();
}

/** Close the films; all of them by default. */
export function close(films = [...state.films]) {
  for (const film of films) {
    film.close();
    thumbnails.delete(film.key);
  }
  update((all) => {
    all.films = all.films.filter((film) => !films.includes(film));
    all.views = all.views.map((key) => (filmOf(key) ? key : null));
    const unseen = all.films.find((film) => !all.views.includes(film.key));
    if (unseen && !all.views.slice(0, all.layout).some(Boolean)) all.views[all.active] = unseen.key;
    if (!all.films.length) Object.assign(all, { layout: 1, active: 0, finding: null });
  });
}

/** Show a film in the active view. @param {string} key */
export function show(key) {
  update((all) => (all.views[all.active] = key));
}

/** Show the next film in the active view. */
export function next(by) {
  const at = state.films.indexOf(activeFilm());
  if (state.films.length) show(state.films[(at + by + state.films.length) % state.films.length].key);
}

export function sync() {
  place().hidden = state.films.length === 0;
  const key = JSON.stringify([state.films.map((film) => [film.key, status(film)]), state.views, state.layout, state.active]);
  if (key !== drawn) {
    drawn = key;
    const focused = place().contains(document.activeElement) ? document.activeElement.dataset.key : null;
    place().replaceChildren(
      element("div", { class: "panel-head" }, element("h2", { id: "films-title" }, "Images"), element("button", { class: "quiet", type: "button", onclick: () => close() }, "Close all")),
      element("ul", { class: "scroll" }, ...state.films.map(row)),
    );
    if (focused) place().querySelector(`[data-key="${focused}"]`)?.focus();
  }
  for (const film of state.films) thumbnail(film);
}

function row(film) {
  const [text, bad] = status(film);
  const shown = state.views.slice(0, state.layout).indexOf(film.key);
  const view = film.picture?.header.about.view_position;
  const title = element("span", { class: "title", title: film.name }, view ? `${view}  ·  ${film.name}` : film.name);
  return element(
    "li",
    { class: "film-row" },
    element(
      "button",
      { class: "film", type: "button", "data-key": film.key, "aria-current": activeFilm() === film ? "true" : null, onclick: () => show(film.key) },
      thumbnailOf(film),
      element("span", {}, title, element("span", { class: `sub${bad ? " bad" : ""}` }, text)),
      state.layout > 1 && shown >= 0 ? element("span", { class: "tag", title: `in view ${shown + 1}` }, String(shown + 1)) : "",
    ),
    element("button", { class: "close", type: "button", "aria-label": `Close ${film.name}`, "data-key": `close-${film.key}`, onclick: () => close([film]) }, icon("close")),
  );
}

function status(film) {
  if (film.problem) return [film.problem.title, true];
  const waits = [film.shown, film.judged].some((each) => each.stage === "waiting");
  if (waits) return ["Waiting for the service", false];
  if (!film.picture) return ["Opening", false];
  if (!film.answer) return ["The networks are looking", false];
  const above = film.answer.findings.filter((each) => each.positive).length;
  return [above ? `${above} above the operating point` : "none above the operating point", false];
}

function thumbnailOf(film) {
  if (!thumbnails.has(film.key)) {
    const node = canvas(WIDTH, HEIGHT);
    node.setAttribute("aria-hidden", "true");
    thumbnails.set(film.key, { node, drawn: null });
  }
  return thumbnails.get(film.key).node;
}

function thumbnail(film) {
  const found = thumbnails.get(film.key);
  if (!found || !film.picture || found.drawn === film.turn) return;
  found.drawn = film.turn;
  const geometry = new Geometry(film.picture.width, film.picture.height, film.picture.header.aspect);
  geometry.turn = film.turn;
  const view = { width: WIDTH, height: HEIGHT };
  geometry.fit(view);
  const context = found.node.getContext("2d");
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, WIDTH, HEIGHT);
  new Painter(film.picture).picturePaint(context, geometry, view, film.look);
}
