// The icons: SVG strokes on a grid of 16.
import { svg } from "./dom.js";

const PATHS = {
  window: "M8 2.2a5.8 5.8 0 1 0 0 11.6zM8 2.2a5.8 5.8 0 0 1 0 11.6",
  pan: "M8 2v12M2 8h12M8 2 6.3 3.7M8 2l1.7 1.7M8 14l-1.7-1.7M8 14l1.7-1.7M2 8l1.7-1.7M2 8l1.7 1.7M14 8l-1.7-1.7M14 8l-1.7 1.7",
  invert: "M2.5 2.5h11v11h-11zM2.5 13.5l11-11M9 11h2.5M5 3.8v2.4M3.8 5h2.4",
  rotate: "M13.2 8.5A5.3 5.3 0 1 1 11.5 4.3M11.8 1.8v2.7H9.1",
  fit: "M2.5 6V2.5H6M10 2.5h3.5V6M13.5 10v3.5H10M6 13.5H2.5V10",
  plus: "M8 3.5v9M3.5 8h9",
  minus: "M3.5 8h9",
  one: "M2.5 2.5h11v11h-11z",
  two: "M2.5 2.5h11v11h-11zM8 2.5v11",
  four: "M2.5 2.5h11v11h-11zM8 2.5v11M2.5 8h11",
  link: "M6.5 9.5l3-3M7 4.8l1.5-1.5a2.9 2.9 0 0 1 4.2 4.2L11.2 9M9 11.2l-1.5 1.5a2.9 2.9 0 0 1-4.2-4.2L4.8 7",
  reset: "M2.8 7.5A5.3 5.3 0 1 1 4.5 11.7M2.5 11.9V9.2h2.7",
  save: "M8 2.5v7.5M4.8 7.2 8 10.3l3.2-3.1M2.5 13.5h11",
  close: "M4 4l8 8M12 4l-8 8",
  warning: "M8 2.3 14.3 13.3H1.7zM8 6.5v3.3M8 11.6v.1",
  sun: "M8 5.2a2.8 2.8 0 1 0 0 5.6 2.8 2.8 0 0 0 0-5.6M8 1.5v1.3M8 13.2v1.3M1.5 8h1.3M13.2 8h1.3M3.4 3.4l.9.9M11.7 11.7l.9.9M12.6 3.4l-.9.9M4.3 11.7l-.9.9",
  moon: "M13.3 9.6A5.7 5.7 0 0 1 6.4 2.7a5.7 5.7 0 1 0 6.9 6.9z",
};

/** @typedef {keyof typeof PATHS} IconName */

/** Create an icon. @param {IconName} name */
export const icon = (name) =>
  svg("svg", { class: "icon", viewBox: "0 0 16 16", "aria-hidden": "true" }, svg("path", { d: PATHS[name] }));

/** Create the drawing of a chest for the first screen. */
export const chest = () =>
  svg(
    "svg",
    {
      viewBox: "0 0 92 92",
      "aria-hidden": "true",
      fill: "none",
      stroke: "currentColor",
      "stroke-width": "2.2",
      "stroke-linecap": "round",
      "stroke-linejoin": "round",
    },
    svg("rect", {
      x: "9",
      y: "9",
      width: "74",
      height: "74",
      rx: "12",
      opacity: "0.35",
    }),
    svg("path", { d: "M46 20v19M46 39c-4 3-5 7-5 12M46 39c4 3 5 7 5 12" }),
    svg("path", {
      d: "M37 27c-11 4-17 19-17 33 0 8 3 10 8 8l9-4c3-1 4-3 4-7V35c0-5-1-9-4-8z",
    }),
    svg("path", {
      d: "M55 27c11 4 17 19 17 33 0 8-3 10-8 8l-9-4c-3-1-4-3-4-7V35c0-5 1-9 4-8z",
    }),
    svg("path", { d: "M57 47h9M57 55h11", opacity: "0.5" }),
  );
