// Notices above the findings: the model's purpose, and warnings about this image; always above the findings.
import { element } from "./dom.js";
import { icon } from "./icons.js";
import { state } from "./store.js";

/** Warnings after which the answer may mean nothing at all. */
const SEVERE = new Set([
  "unlike-training",
  "not-a-chest",
  "view-not-covered",
  "body-part-contradiction",
  "several-images",
  "empty-part",
]);

/**
 * Create the statement on the model, and the warnings about an image; severe ones first.
 * @param {import("./radiograph.js").Radiograph|undefined} radiograph @returns {HTMLElement[]}
 */
export function cautions(radiograph) {
  const warnings = radiograph?.answer?.warnings ?? [];
  const severe = warnings.filter(({ code }) => SEVERE.has(code));
  const others = warnings.filter(({ code }) => !SEVERE.has(code));
  return [
    ...(severe.length ? [alarm(severe)] : []),
    ...(state.model ? [about(state.model)] : []),
    ...others.map((warning) => element("p", { class: "warning" }, icon("warning"), ...sentence(warning))),
  ];
}

/** @param {import("./types.d.ts").ImageWarning[]} warnings */
const alarm = (warnings) =>
  element(
    "div",
    { class: "alarm", role: "alert" },
    element("h3", {}, icon("warning"), "Do not rely on this result"),
    ...warnings.map((warning) => element("p", {}, ...sentence(warning))),
  );

/** @param {import("./types.d.ts").ImageWarning} warning */
const sentence = ({ code, message }) => [
  element("span", {}, message, " ", element("code", { title: "Code of this warning" }, code)),
];

/** @param {import("./types.d.ts").Model} model */
const about = (model) =>
  element(
    "p",
    { class: "about-model", title: model.limits.join(" ") },
    element("strong", {}, `${model.name} ${model.version}`),
    `  ·  ${model.intended_use}`,
  );
