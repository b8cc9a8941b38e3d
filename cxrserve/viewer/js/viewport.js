// Views: each is a canvas that shows one radiograph and handles mouse, touch and wheel.
import { Calipers } from "./calipers.js";
import { context2d, element, percent, short } from "./dom.js";
import { edges, Geometry } from "./geometry.js";
import { Painter, paintHeatmap } from "./painter.js";
import { radiographOf, state, update } from "./store.js";
import { dragged } from "./window.js";
import { viewState } from "./viewstate.js";

/** @typedef {{x: number, y: number}} Point in device pixels */

/** @type {Viewport[]} all views */
const viewports = [];

/** One view. */
export class Viewport {
  /** @param {number} index its position among the views */
  constructor(index) {
    this.index = index;
    viewports.push(this);
    /** @type {import("./radiograph.js").Radiograph|null} */
    this.radiograph = null;
    /** @type {Painter|null} */
    this.painter = null;
    /** @type {Geometry|null} */
    this.geometry = null;
    this.pending = false;
    /** @type {Point|null} */
    this.pointer = null;
    this.frames = 0;
    this.canvas = element("canvas", {
      tabindex: "0",
      role: "application",
      "aria-roledescription": "radiograph",
      "aria-label": `View ${index + 1}, empty`,
    });
    this.context = context2d(this.canvas, { alpha: false });
    /** @type {Record<string, HTMLElement>} */
    this.corners = Object.fromEntries(
      ["nw", "ne", "sw", "se"].map((at) => [at, element("div", { class: `corner ${at}` })]),
    );
    /** @type {Record<string, HTMLElement>} */
    this.marks = Object.fromEntries(
      ["top", "right", "bottom", "left"].map((at) => [
        at,
        element("span", { class: "side-mark", "data-at": at }),
      ]),
    );
    this.message = element("div", { class: "view-state", hidden: true });
    this.calipers = new Calipers(this); // before the view's own listeners, which it may forestall
    this.node = element(
      "div",
      { class: "view" },
      this.canvas,
      ...Object.values(this.corners),
      ...Object.values(this.marks),
      this.calipers.node,
      this.message,
    );
    new ResizeObserver(() => this.#resized()).observe(this.node);
    this.#listen();
  }

  /** The canvas in device pixels. */
  get size() {
    return { width: this.canvas.width, height: this.canvas.height };
  }

  /** Update the view from the state. */
  sync() {
    const radiograph = radiographOf(state.views[this.index]) ?? null;
    if (radiograph !== this.radiograph) this.radiograph = radiograph;
    const picture = radiograph?.picture ?? null;
    if (picture !== (this.painter?.picture ?? null)) {
      this.painter = picture && new Painter(picture);
      this.geometry = picture && new Geometry(picture.width, picture.height, picture.header.aspect);
      if (this.geometry && radiograph) {
        this.geometry.turn = radiograph.turn;
        this.geometry.fit(this.size);
      }
    }
    this.node.dataset.active = String(state.active === this.index);
    this.node.dataset.tool = state.tool;
    this.node.hidden = this.index >= state.layout;
    viewState(this.message, radiograph, this.index);
    this.#write();
    this.draw();
  }

  /** Paint with the next frame. */
  draw() {
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => {
      this.pending = false;
      this.#paint();
    });
  }

  /** This view, or all visible ones while they are linked. */
  get #together() {
    return state.linked ? viewports.filter((view) => view.index < state.layout) : [this];
  }

  /** Show the whole picture. */
  fit() {
    for (const view of this.#together) view.geometry?.fit(view.size);
    this.#changed();
  }

  /** Show one pixel of the picture per pixel of the screen. */
  actualSize() {
    this.geometry?.zoomTo(this.size, 1);
    this.#changed();
  }

  /** Multiply the zoom; the point at (x, y) stays there. @param {number} factor @param {number} [x] @param {number} [y] */
  zoomBy(factor, x, y) {
    if (!this.geometry) return;
    for (const view of this.#together)
      // each by the same factor, so that the zoom stays relative to fit
      view.geometry?.zoomTo(view.size, view.geometry.zoom * factor, x, y);
    this.#changed();
  }

  /** Move the picture by device pixels. @param {number} dx @param {number} dy */
  pan(dx, dy) {
    for (const view of this.#together) view.geometry?.pan(dx, dy);
    this.#changed();
  }

  /** Rotate by quarter turns. @param {number} quarters */
  rotate(quarters) {
    if (!this.geometry || !this.radiograph) return;
    this.radiograph.turn = this.geometry.turn = (this.geometry.turn + quarters + 4) % 4;
    this.geometry.fit(this.size);
    update();
  }

  /** Show the picture with another window. @param {import("./window.js").Look} look */
  setLook(look) {
    if (!this.radiograph?.picture) return;
    this.radiograph.look = look;
    update();
  }

  /** Change window width and brightness by shares of the range. @param {number} wider @param {number} brighter */
  dragWindow(wider, brighter) {
    for (const view of this.#together) {
      const { picture, look } = view.radiograph ?? {};
      if (picture && look) view.setLook(dragged(look, picture, wider, brighter));
    }
  }

  /** The heatmap over the picture; null if there is none. */
  get heatmap() {
    const { mode, source } = state.overlay;
    return mode === "off" || state.peeking || !state.finding
      ? null
      : (this.radiograph?.heatmap(state.finding, source) ?? null);
  }

  #changed() {
    update();
  }

  #paint() {
    const { context } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = "#000";
    context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    if (!this.painter || !this.geometry || !this.radiograph?.look || !this.canvas.width) return;
    this.painter.paint(context, this.geometry, this.size, this.radiograph.look);
    const heatmap = this.heatmap;
    if (heatmap) paintHeatmap(context, this.geometry, this.size, heatmap, state.overlay);
    this.calipers.draw();
    this.frames++;
    this.node.dataset.painted = this.radiograph.key;
  }

  #resized() {
    const ratio = devicePixelRatio || 1;
    const [width, height] = [
      Math.round(this.node.clientWidth * ratio),
      Math.round(this.node.clientHeight * ratio),
    ];
    if (!width || !height || (width === this.canvas.width && height === this.canvas.height)) return;
    Object.assign(this.canvas, { width, height });
    if (this.geometry?.fitted) this.geometry.fit(this.size);
    this.#paint(); // immediately: a resized canvas is empty
    this.#write();
  }

  #write() {
    const { nw, ne, sw } = this.corners;
    const radiograph = this.radiograph;
    const header = radiograph?.picture?.header;
    const geometry = this.geometry;
    this.canvas.setAttribute("aria-label", this.#label());
    for (const corner of [nw, ne, sw]) corner.replaceChildren();
    /** @type {Record<string, string>|null|undefined} */
    const orientation = header && geometry && edges(header.orientation, geometry.turn);
    for (const [at, mark] of Object.entries(this.marks))
      mark.textContent = orientation ? orientation[at] : "";
    this.#writeValue();
    const look = radiograph?.look;
    if (!header || !look || !geometry) return;
    const person = header.patient;
    const lines = [
      person?.name ? element("strong", {}, readable(person.name)) : element("strong", {}, radiograph.name),
      person && (person.id || person.birth_date)
        ? [person.id, date(person.birth_date), person.sex].filter(Boolean).join("  ·  ")
        : null,
      header.study_date || header.study_description
        ? [date(header.study_date), header.study_description].filter(Boolean).join("  ·  ")
        : null,
    ];
    for (const line of lines) if (line) nw.append(element("div", {}, line));
    ne.append(
      ...[header.about.view_position, header.laterality === "U" ? null : header.laterality]
        .filter(Boolean)
        .map((text) => element("div", {}, element("strong", {}, text))),
      element(
        "div",
        { class: "dim" },
        `${header.about.columns} × ${header.about.rows}, ${header.about.bits_stored} bit`,
      ),
      header.orientation ? "" : element("div", { class: "dim keep" }, "no side in the header"),
    );
    sw.append(
      element(
        "div",
        {},
        look.table === null ? `C ${short(look.centre)}  W ${short(look.width)}` : look.label,
      ),
      element(
        "div",
        { class: "dim" },
        `${percent(geometry.zoom)}${look.inverted ? "  ·  inverted" : ""}${geometry.turn ? `  ·  turned ${90 * geometry.turn}°` : ""}`,
      ),
    );
  }

  #label() {
    const radiograph = this.radiograph;
    if (!radiograph) return `View ${this.index + 1}, empty`;
    if (!radiograph.picture) return `View ${this.index + 1}, ${radiograph.name}, no picture yet`;
    const { about, orientation } = radiograph.picture.header;
    const heat = this.heatmap && state.finding ? `, heatmap of ${state.finding}` : "";
    return `View ${this.index + 1}, ${radiograph.name}, ${about.view_position ?? "view not named"}, ${orientation ? "sides marked" : "no side in the header"}${heat}`;
  }

  /** The values under the pointer. */
  #writeValue() {
    const { se } = this.corners;
    se.replaceChildren();
    if (!this.pointer || !this.painter || !this.geometry) return;
    const { picture } = this.painter;
    const place = this.geometry.at(this.size, this.pointer.x, this.pointer.y);
    const [x, y] = [Math.floor(place.x), Math.floor(place.y)];
    if (x < 0 || y < 0 || x >= picture.width || y >= picture.height) return;
    const { slope, intercept } = picture.header;
    const heatmap = this.heatmap;
    if (heatmap) {
      const value = heatmap.at(place.x / picture.width, place.y / picture.height);
      const reading = heatmap.isCut(value) ? `≥ ${short(heatmap.scale)}` : short(value);
      se.append(
        element(
          "div",
          { "data-evidence": String(value) },
          element("strong", {}, `${reading} nats`),
          ` ${state.finding}`,
        ),
      );
    }
    se.append(
      element(
        "div",
        { class: "dim" },
        `x ${x}  y ${y}  value ${short(picture.stored(x, y) * slope + intercept)}`,
      ),
    );
  }

  #listen() {
    const { canvas } = this;
    const ratio = () => devicePixelRatio || 1;
    /** @param {PointerEvent|WheelEvent} event @returns {Point} */
    const at = (event) => ({
      x: event.offsetX * ratio(),
      y: event.offsetY * ratio(),
    });
    /** @type {Map<number, Point>} */
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
    canvas.addEventListener("pointerup", (event) => down.delete(event.pointerId));
    canvas.addEventListener("pointercancel", (event) => down.delete(event.pointerId));
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

  /** @param {PointerEvent} event @param {Point} from @param {Point} to @param {Map<number, Point>} down */
  #dragged(event, from, to, down) {
    const [dx, dy] = [to.x - from.x, to.y - from.y];
    if (down.size === 2) {
      const [other] = [...down].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
      /** @param {Point} place */
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

/** A DICOM person name as "family, given". @param {string} name */
export const readable = (name) =>
  name.split("=")[0].replace(/\^+$/, "").replace("^", ", ").replaceAll("^", " ");

/** @param {string|null} text */
const date = (text) =>
  text && /^\d{8}$/.test(text) ? `${text.slice(0, 4)}-${text.slice(4, 6)}-${text.slice(6)}` : text;
