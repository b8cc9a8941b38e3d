// A view: a canvas that shows one film, and what mouse, touch and wheel do to it.
import { element, percent, short } from "./dom.js";
import { edges, Geometry } from "./geometry.js";
import { Painter, paintHeatmap } from "./painter.js";
import { filmOf, state, update } from "./store.js";
import { dragged } from "./window.js";
import { viewState } from "./viewstate.js";

export class Viewport {
  /** @param {number} index its place among the views */
  constructor(index) {
    this.index = index;
    this.film = null;
    this.painter = null;
    this.geometry = null;
    this.due = false;
    this.pointer = null;
    this.frames = 0;
    this.canvas = element("canvas", { tabindex: "0", role: "application", "aria-roledescription": "radiograph", "aria-label": `View ${index + 1}, empty` });
    this.context = this.canvas.getContext("2d", { alpha: false });
    this.corners = Object.fromEntries(["nw", "ne", "sw", "se"].map((at) => [at, element("div", { class: `corner ${at}` })]));
    this.marks = Object.fromEntries(["top", "right", "bottom", "left"].map((at) => [at, element("span", { class: "side-mark", "data-at": at })]));
    this.message = element("div", { class: "view-state", hidden: true });
    this.node = element("div", { class: "view" }, this.canvas, ...Object.values(this.corners), ...Object.values(this.marks), this.message);
    new ResizeObserver(() => this.#resized()).observe(this.node);
    this.#listen();
  }

  /** The canvas in device pixels. */
  get size() {
    return { width: this.canvas.width, height: this.canvas.height };
  }

  /** Show what the state says. */
  sync() {
    const film = filmOf(state.views[this.index]) ?? null;
    if (film !== this.film) this.film = film;
    const picture = film?.picture ?? null;
    if (picture !== (this.painter?.picture ?? null)) {
      this.painter = picture && new Painter(picture);
      this.geometry = picture && new Geometry(picture.width, picture.height, picture.header.aspect);
      if (this.geometry) {
        this.geometry.turn = film.turn;
        this.geometry.fit(this.size);
      }
    }
    this.node.dataset.active = String(state.active === this.index);
    this.node.dataset.tool = state.tool;
    this.node.hidden = this.index >= state.layout;
    viewState(this.message, film, this.index);
    this.#write();
    this.draw();
  }

  /** Paint with the next frame. */
  draw() {
    if (this.due) return;
    this.due = true;
    requestAnimationFrame(() => {
      this.due = false;
      this.#paint();
    });
  }

  fit() {
    this.geometry?.fit(this.size);
    this.#changed();
  }

  /** One pixel of the picture for each of the screen. */
  actualSize() {
    this.geometry?.zoomTo(this.size, 1);
    this.#changed();
  }

  zoomBy(factor, x, y) {
    if (!this.geometry) return;
    this.geometry.zoomTo(this.size, this.geometry.zoom * factor, x, y);
    this.#changed();
  }

  pan(dx, dy) {
    this.geometry?.pan(dx, dy);
    this.#changed();
  }

  rotate(quarters) {
    if (!this.geometry) return;
    this.film.turn = this.geometry.turn = (this.geometry.turn + quarters + 4) % 4;
    this.geometry.fit(this.size);
    update();
  }

  /** @param {import("./window.js").Look} look */
  setLook(look) {
    if (!this.film?.picture) return;
    this.film.look = look;
    update();
  }

  dragWindow(wider, higher) {
    if (this.film?.picture) this.setLook(dragged(this.film.look, this.film.picture, wider, higher));
  }

  /** The heatmap that lies over the picture, null where there is none. */
  get heatmap() {
    const { mode, source } = state.overlay;
    return mode === "off" || !state.finding ? null : (this.film?.heatmap(state.finding, source) ?? null);
  }

  #changed() {
    update();
  }

  #paint() {
    const { context } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = "#000";
    context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    if (!this.painter || !this.canvas.width) return;
    this.painter.picturePaint(context, this.geometry, this.size, this.film.look);
    const heatmap = this.heatmap;
    if (heatmap) paintHeatmap(context, this.geometry, this.size, heatmap, state.overlay);
    this.frames++;
    this.node.dataset.painted = this.film.key;
  }

  #resized() {
    const ratio = devicePixelRatio || 1;
    const [width, height] = [Math.round(this.node.clientWidth * ratio), Math.round(this.node.clientHeight * ratio)];
    if (!width || !height || (width === this.canvas.width && height === this.canvas.height)) return;
    Object.assign(this.canvas, { width, height });
    if (this.geometry?.fitted) this.geometry.fit(this.size);
    this.#paint(); // at once: a resized canvas is empty
    this.#write();
  }

  #write() {
    const { nw, ne, sw } = this.corners;
    const film = this.film;
    const header = film?.picture?.header;
    this.canvas.setAttribute("aria-label", this.#label());
    for (const corner of [nw, ne, sw]) corner.replaceChildren();
    const beside = header && edges(header.orientation, this.geometry.turn);
    for (const [at, mark] of Object.entries(this.marks)) mark.textContent = beside ? beside[at] : "";
    this.#writeValue();
    if (!header) return;
    const person = header.patient;
    const lines = [
      person?.name ? element("strong", {}, readable(person.name)) : element("strong", {}, film.name),
      person?.id || person?.birth_date ? [person.id, date(person.birth_date), person.sex].filter(Boolean).join("  ·  ") : null,
      header.study_date || header.study_description ? [date(header.study_date), header.study_description].filter(Boolean).join("  ·  ") : null,
    ];
    nw.append(...lines.filter(Boolean).map((line) => element("div", {}, line)));
    ne.append(
      ...[header.about.view_position, header.laterality === "U" ? null : header.laterality].filter(Boolean).map((each) => element("div", {}, element("strong", {}, each))),
      element("div", { class: "dim" }, `${header.about.columns} × ${header.about.rows}, ${header.about.bits_stored} bit`),
      header.orientation ? "" : element("div", { class: "dim keep" }, "no side in the header"),
    );
    const look = film.look;
    sw.append(
      element("div", {}, look.table === null ? `C ${short(look.centre)}  W ${short(look.width)}` : look.label),
      element("div", { class: "dim" }, `${percent(this.geometry.zoom)}${look.inverted ? "  ·  inverted" : ""}${this.geometry.turn ? `  ·  turned ${90 * this.geometry.turn}°` : ""}`),
    );
  }

  #label() {
    const film = this.film;
    if (!film) return `View ${this.index + 1}, empty`;
    if (!film.picture) return `View ${this.index + 1}, ${film.name}, no picture yet`;
    const { about, orientation } = film.picture.header;
    const heat = this.heatmap && state.finding ? `, heatmap of ${state.finding}` : "";
    return `View ${this.index + 1}, ${film.name}, ${about.view_position ?? "view not named"}, ${orientation ? "sides marked" : "no side in the header"}${heat}`;
  }

  /** The values under the pointer. */
  #writeValue() {
    const { se } = this.corners;
    se.replaceChildren();
    if (!this.pointer || !this.painter) return;
    const { picture } = this.painter;
    const place = this.geometry.at(this.size, this.pointer.x, this.pointer.y);
    const [x, y] = [Math.floor(place.x), Math.floor(place.y)];
    if (x < 0 || y < 0 || x >= picture.width || y >= picture.height) return;
    const { slope, intercept } = picture.header;
    const heatmap = this.heatmap;
    if (heatmap) {
      const value = heatmap.at(place.x / picture.width, place.y / picture.height);
      const said = heatmap.isCut(value) ? `≥ ${short(heatmap.scale)}` : short(value);
      se.append(element("div", { "data-evidence": String(value) }, element("strong", {}, `${said} nats`), ` ${state.finding}`));
    }
    se.append(element("div", { class: "dim" }, `x ${x}  y ${y}  value ${short(picture.stored(x, y) * slope + intercept)}`));
  }

  #listen() {
    const { canvas } = this;
    const ratio = () => devicePixelRatio || 1;
    const at = (event) => ({ x: event.offsetX * ratio(), y: event.offsetY * ratio() });
    const down = new Map();
    canvas.addEventListener("focus", () => this.#activate());
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("pointerdown", (event) => {
      this.#activate();
      canvas.setPointerCapture(event.pointerId);
      down.set(event.pointerId, at(event));
      if (event.button === 1) event.preventDefault(); // no scrolling by the middle button
    });
    canvas.addEventListener("pointermove", (event) => {
      this.pointer = at(event);
      const before = down.get(event.pointerId);
      if (before && this.geometry) this.#dragged(event, before, this.pointer, down);
      else this.#writeValue();
      if (before) down.set(event.pointerId, this.pointer);
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => down.delete(event.pointerId));
    canvas.addEventListener("pointerleave", () => {
      this.pointer = null;
      this.#writeValue();
    });
    canvas.addEventListener("dblclick", () => (this.geometry?.fitted ? this.actualSize() : this.fit()));
    canvas.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        const { x, y } = at(event);
        this.zoomBy(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0015)), x, y);
      },
      { passive: false },
    );
  }

  #dragged(event, from, to, down) {
    const [dx, dy] = [to.x - from.x, to.y - from.y];
    if (down.size === 2) {
      const [other] = [...down].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
      const distance = (place) => Math.hypot(place.x - other.x, place.y - other.y);
      this.zoomBy(distance(to) / Math.max(distance(from), 1), (to.x + other.x) / 2, (to.y + other.y) / 2);
      return this.pan(dx / 2, dy / 2);
    }
    if (event.buttons & 2) return this.zoomBy(Math.exp(-dy * 0.008));
    if (event.buttons & 4 || event.shiftKey || state.tool === "pan") return this.pan(dx, dy);
    return this.dragWindow((dx / this.canvas.width) * 1.5, (-dy / this.canvas.height) * 1.5);
  }

  #activate() {
    if (state.active !== this.index) update((all) => (all.active = this.index));
  }
}

/** A DICOM person name for reading: family, given. */
export const readable = (name) => name.split("=")[0].replace(/\^+$/, "").replace("^", ", ").replaceAll("^", " ");

const date = (text) => (text && /^\d{8}$/.test(text) ? `${text.slice(0, 4)}-${text.slice(4, 6)}-${text.slice(6)}` : text);
