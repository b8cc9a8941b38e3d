// Elements without markup: text goes in as text, so nothing a file says can become part of the page.

/**
 * Create an element.
 * @template {keyof HTMLElementTagNameMap} Name
 * @param {Name} name tag name
 * @param {Record<string, any>} [attributes] `class`, `data-…`, `aria-…`; functions under `on…` are listeners; false or null leaves one out
 * @param {...import("./types.d.ts").Child} children
 * @returns {HTMLElementTagNameMap[Name]}
 */
export function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/**
 * Create an SVG element.
 * @param {string} name @param {Record<string, any>} [attributes] @param {...import("./types.d.ts").Child} children
 */
export function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

/**
 * @template {HTMLElement|SVGElement} Kind
 * @param {Kind} node @param {Record<string, any>} attributes @param {import("./types.d.ts").Child[]} children
 * @returns {Kind}
 */
function filled(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key.startsWith("--")) node.style.setProperty(key, value);
    else if (key === "hidden" || key === "disabled" || key === "checked")
      Object.assign(node, { [key]: Boolean(value) });
    else node.setAttribute(key, value === true ? "" : String(value));
  }
  for (const child of children)
    if (child !== null && child !== false && child !== undefined) node.append(child);
  return node;
}

/** @param {string} id @returns {any} */
export const byId = (id) => document.getElementById(id);

/**
 * The drawing context of a canvas.
 * @param {HTMLCanvasElement} canvas @param {CanvasRenderingContext2DSettings} [settings]
 */
export const context2d = (canvas, settings) =>
  /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", settings));

/** A whole number with thin spaces between thousands. @param {number} value */
export const whole = (value) => String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, "\u2009");

/** A number with at most three significant digits, without an exponent. @param {number} value */
export function short(value) {
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size >= 100) return value.toFixed(0);
  if (size >= 10) return value.toFixed(1);
  return size >= 0.01 ? value.toFixed(2) : value.toPrecision(1);
}

/** A share in per cent; small ones with a decimal, so that small weights can be compared. @param {number} share */
export function percent(share) {
  if (share > 0 && share < 0.001) return "< 0.1 %";
  return share > 0 && share < 0.0995 ? `${(100 * share).toFixed(1)} %` : `${Math.round(100 * share)} %`;
}

/** A DICOM date as year-month-day. @param {string} text */
export const readableDate = (text) =>
  /^\d{8}$/.test(text) ? `${text.slice(0, 4)}-${text.slice(4, 6)}-${text.slice(6)}` : text;
