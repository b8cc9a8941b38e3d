// The lines of the cardiothoracic ratio over a view: drawn by two drags, moved by their ends, by mouse, touch and keys.
import { element, svg } from "./dom.js";
import { FINDING, PARTS, lineDrawn, measurementOf, moveEnd, result, startLine } from "./ratio.js";
import { state } from "./store.js";

/** @typedef {import("./ratio.js").Part} Part */
/** @typedef {import("./viewport.js").Viewport} Viewport */

const NAMES = { heart: "Heart", thorax: "Thorax" };
const SIDES = ["first end", "second end"];
/** @type {Record<string, [number, number]>} */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const LARGE_STEP = 10; // CSS pixels, with Shift

/** The lines and their four ends in one view. */
export class Calipers {
  /** @param {Viewport} view */
  constructor(view) {
    this.view = view;
    /** @type {Map<Part, {line: SVGElement, edge: SVGElement}>} */
    this.lines = new Map(
      PARTS.map((part) => [
        part,
        { edge: svg("line", { class: "edge" }), line: svg("line", { "data-part": part }) },
      ]),
    );
    this.ends = PARTS.flatMap((part) => /** @type {(0|1)[]} */ ([0, 1]).map((end) => this.#end(part, end)));
    this.node = element(
      "div",
      { class: "calipers", hidden: true },
      svg(
        "svg",
        { "aria-hidden": "true" },
        ...[...this.lines.values()].flatMap(({ edge, line }) => [edge, line]),
      ),
      ...this.ends.map(({ node }) => node),
    );
    this.#listen();
  }

  /** The radiograph whose lines are shown; null if none are. */
  get radiograph() {
    const { radiograph, geometry } = this.view;
    return state.finding === FINDING && geometry && measurementOf(radiograph) ? radiograph : null;
  }

  /** Place the lines and their ends. */
  draw() {
    const radiograph = this.radiograph;
    const measurement = measurementOf(radiograph);
    this.node.hidden = !radiograph;
    if (!radiograph || !measurement || !this.view.geometry) return;
    const matrix = this.view.geometry.matrix(this.view.size);
    const found = result(radiograph);
    for (const part of PARTS) {
      const { ends, isSet } = measurement[part];
      const [from, to] = ends.map((end) => matrix.transformPoint(new DOMPoint(end.x, end.y)));
      const nodes = this.lines.get(part);
      for (const node of [nodes?.edge, nodes?.line]) {
        for (const [name, value] of Object.entries({ x1: from.x, y1: from.y, x2: to.x, y2: to.y }))
          node?.setAttribute(name, String(value / ratio()));
        node?.setAttribute("data-set", String(isSet));
      }
      const length = found?.[part];
      const said = !isSet ? "not drawn yet" : length ? `${length.toFixed(0)} mm` : "drawn";
      for (const { node, end } of this.ends.filter((each) => each.part === part)) {
        const place = [from, to][end];
        node.style.setProperty("--x", `${place.x / ratio()}px`);
        node.style.setProperty("--y", `${place.y / ratio()}px`);
        node.dataset.set = String(isSet);
        const at = ends[end][measurement.axis];
        node.setAttribute("aria-valuenow", String(Math.round(at)));
        node.setAttribute("aria-valuemax", String(this.#length(measurement.axis)));
        node.setAttribute("aria-valuetext", `pixel ${Math.round(at)}; ${NAMES[part]} ${said}`);
      }
    }
  }

  /** @param {"x"|"y"} axis */
  #length(axis) {
    const { geometry } = this.view;
    return (axis === "x" ? geometry?.width : geometry?.height) ?? 0;
  }

  /** @param {Part} part @param {0|1} end */
  #end(part, end) {
    const node = element("button", {
      type: "button",
      class: "caliper-end",
      role: "slider",
      "data-part": part,
      "aria-label": `${NAMES[part]}, ${SIDES[end]}`,
      "aria-valuemin": "0",
    });
    node.addEventListener("keydown", (event) => {
      const step = ARROWS[event.key];
      if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      event.stopPropagation();
      this.#step(part, end, step, event.shiftKey ? LARGE_STEP : 1);
    });
    node.addEventListener("pointerdown", (event) => {
      node.setPointerCapture(event.pointerId);
      event.stopPropagation();
    });
    node.addEventListener("pointermove", (event) => {
      if (!node.hasPointerCapture(event.pointerId)) return;
      const box = this.node.getBoundingClientRect();
      this.#moveTo(part, end, event.clientX - box.left, event.clientY - box.top);
    });
    return { node, part, end };
  }

  /** @param {Part} part @param {0|1} end @param {[number, number]} step @param {number} size in CSS pixels, at least one of the picture */
  #step(part, end, [dx, dy], size) {
    const { geometry } = this.view;
    const measurement = measurementOf(this.radiograph);
    if (!geometry || !measurement) return;
    const place = measurement[part].ends[end];
    const at = geometry.matrix(this.view.size).transformPoint(new DOMPoint(place.x, place.y));
    const by = Math.max(size * ratio(), geometry.zoom * size);
    this.#moveTo(part, end, (at.x + dx * by) / ratio(), (at.y + dy * by) / ratio());
  }

  /** @param {Part} part @param {0|1} end @param {number} x in CSS pixels of the view @param {number} y */
  #moveTo(part, end, x, y) {
    if (this.radiograph) moveEnd(this.radiograph, part, end, this.#picturePoint(x, y));
  }

  /** @param {number} x @param {number} y */
  #picturePoint(x, y) {
    const { geometry, size } = this.view;
    return geometry?.at(size, x * ratio(), y * ratio()) ?? new DOMPoint();
  }

  /** While a line is to be drawn, the left button draws it, and neither pans nor windows. */
  #listen() {
    /** @type {{part: Part, id: number}|null} */
    let drawing = null;
    const { canvas } = this.view;
    canvas.addEventListener("pointerdown", (event) => {
      const part = measurementOf(this.radiograph)?.next;
      if (!this.radiograph || !part || drawing || event.button !== 0 || event.shiftKey) return;
      event.stopImmediatePropagation();
      canvas.setPointerCapture(event.pointerId);
      drawing = { part, id: event.pointerId };
      startLine(this.radiograph, part, this.#picturePoint(event.offsetX, event.offsetY));
    });
    canvas.addEventListener("pointermove", (event) => {
      if (drawing?.id !== event.pointerId) return;
      event.stopImmediatePropagation();
      this.#moveTo(drawing.part, 1, event.offsetX, event.offsetY);
    });
    for (const type of /** @type {const} */ (["pointerup", "pointercancel"]))
      canvas.addEventListener(type, (event) => {
        if (drawing?.id !== event.pointerId) return;
        event.stopImmediatePropagation();
        drawing = null;
        if (this.radiograph) lineDrawn(this.radiograph);
      });
  }
}

const ratio = () => devicePixelRatio || 1;
