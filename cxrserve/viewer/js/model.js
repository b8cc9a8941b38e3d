// The page of the model: shows the bundle's contract.
import { Problem, ask, onTokenWanted } from "./api.js";
import { byId, element, percent, whole } from "./dom.js";
import { measuredFigures, siteFigures, watchFigures } from "./figures.js";
import { icon } from "./icons.js";
import { onTheme, theme, toggleTheme } from "./theme.js";
import { askForToken } from "./token.js";

// One hue from coarse to fine, because the scales have an order.
const SHADES = ["#22496f", "#3573ae", "#86bdf2", "#cfe5fb", "#7f8ea0", "#4f5b69"];
const WORDS = new Set(["architecture", "chosen for"]);
/** @typedef {import("./types.d.ts").Model} Model */

/** @param {number} index */
const isPale = (index) => index === 2 || index === 3;

/** @param {number|null|undefined} value */
const figure = (value, digits = 3) => (value === null || value === undefined ? "–" : value.toFixed(digits));

/** @param {string} label @param {string[]} heads @param {[string, ...HTMLElement[]][]} rows */
function table(label, heads, rows) {
  return element(
    "div",
    { class: "scroll-x", tabindex: "0", role: "region", "aria-label": label },
    element(
      "table",
      {},
      element(
        "thead",
        {},
        element(
          "tr",
          {},
          ...heads.map((head) =>
            element("th", { scope: "col", class: WORDS.has(head) ? "words" : null }, head),
          ),
        ),
      ),
      element(
        "tbody",
        {},
        ...rows.map(([name, ...cells]) => element("tr", {}, element("th", { scope: "row" }, name), ...cells)),
      ),
    ),
  );
}

/** @param {string|Node} text @param {Record<string, any>} [attributes] */
const cell = (text, attributes = {}) => element("td", attributes, text);
/** @param {string} name @param {string|Node} value */
const fact = (name, value) => [element("dt", {}, name), element("dd", {}, value)];
/** @param {string} text */
const code = (text) => element("code", {}, text);

/** @param {Model} model */
function head(model) {
  return [
    element("h1", {}, `${model.name} ${model.version}`),
    element("p", { class: "sub" }, model.intended_use),
    element("p", { class: "hash" }, "SHA-256 ", code(model.sha256)),
    element(
      "div",
      { class: "links" },
      model.report
        ? element(
            "a",
            {
              class: "primary",
              href: model.report,
              target: "_blank",
              rel: "noopener",
            },
            "The bundle’s report",
          )
        : null,
      element("a", { class: "plain", href: "/docs" }, "The API"),
    ),
    element(
      "section",
      { class: "limits", "aria-labelledby": "limits-title" },
      element("h2", { id: "limits-title" }, "Limits"),
      element("ul", {}, ...model.limits.map((text) => element("li", {}, text))),
    ),
  ];
}

/** @param {Model} model */
function weights(model) {
  const sizes = model.members.map((member) => member.size);
  const key = element(
    "p",
    { class: "scale-key", "aria-hidden": "true" },
    ...sizes.map((size, index) =>
      element("span", {}, element("i", { "--c": SHADES[index % SHADES.length] }), `${size} px`),
    ),
  );
  const rows = model.findings.flatMap((finding, row) => {
    const description = sizes
      .map((size, index) => `${size} pixels ${percent(model.stack[row][index])}`)
      .join(", ");
    const parts = model.stack[row].map((weight, index) =>
      element(
        "i",
        {
          "--w": `${100 * weight}%`,
          "--c": SHADES[index % SHADES.length],
          "data-dark": isPale(index) ? "true" : null,
        },
        weight >= 0.07 ? percent(weight) : "",
      ),
    );
    const known = !model.unavailable?.includes(finding);
    return [
      element("span", {}, finding),
      known
        ? element(
            "span",
            {
              class: "stackbar",
              role: "img",
              "aria-label": `${finding}: ${description}`,
            },
            ...parts,
          )
        : element("span", { class: "sub" }, "not supported by this model"),
    ];
  });
  return [
    element("h2", {}, "Weights of the scales"),
    element(
      "p",
      { class: "sub" },
      "Learned weights of the stack: a finding’s probability is the sum of each network’s probability times its weight.",
    ),
    key,
    element("div", { class: "weights" }, ...rows),
  ];
}

/** @param {Model} model */
function metrics(model) {
  const measured = model.metrics;
  if (!measured)
    return [
      element("h2", {}, "Measured"),
      element("p", { class: "sub" }, "This bundle contains no figures."),
    ];
  const columns = [...new Set(Object.values(measured.auc).flatMap(Object.keys))];
  const order = [
    ...columns.filter(isSize).sort((a, b) => Number(a) - Number(b)),
    ...columns.filter((column) => !isSize(column)),
  ];
  /** @type {[string, ...HTMLElement[]][]} */
  const rows = Object.entries(measured.auc).map(([finding, auc]) => {
    const best = Math.max(...order.map((column) => auc[column] ?? -1));
    return [
      finding,
      ...order.map((column) =>
        cell(figure(auc[column]), {
          "data-best": String(auc[column] === best),
        }),
      ),
    ];
  });
  const heads = [
    "Finding",
    ...order.map((column) =>
      isSize(column) ? `${column} px` : column === "voting" ? "plain average" : column,
    ),
  ];
  return [
    element("h2", {}, "Measured"),
    element(
      "p",
      { class: "sub" },
      `Area under the ROC curve on ${measured.data}, ${whole(measured.images)} images. The best of each row is highlighted.`,
    ),
    table("Area under the ROC curve", heads, rows),
  ];
}

/** The raw values at full strength in words. @param {Model} model */
function heatmapScale(model) {
  const scales = Object.values(model.heatmap_scales ?? {});
  return scales.length
    ? `${Math.min(...scales)} to ${Math.max(...scales)} nats at full strength, linear, one for each finding`
    : `${model.heatmap_scale} nats at full strength, for all findings and images`;
}

/** @param {Model} model */
function operatingPoints(model) {
  /** @type {[string, ...HTMLElement[]][]} */
  const rows = Object.entries(model.operating_points).map(([finding, point]) => [
    finding,
    cell(figure(point.threshold)),
    cell(figure(point.sensitivity)),
    cell(figure(point.specificity)),
    cell(`${point.chosen_for}; ${point.data}`, { class: "words" }),
  ]);
  const calibration =
    model.calibration === "identity"
      ? "The stack’s probabilities are not calibrated further."
      : "Probabilities are calibrated by finding, from the stack’s score: a logistic map with a slope and an intercept, or a beta map with two slopes. Both keep the order of scores.";
  return [
    element("h2", {}, "Operating points and calibration"),
    element(
      "p",
      { class: "sub" },
      `${calibration} A finding counts as positive at or above its threshold. For a study, the ${model.study_rule} over its images counts.`,
    ),
    table("Operating points", ["Finding", "threshold", "sensitivity", "specificity", "chosen for"], rows),
  ];
}

/** @param {Model} model */
function members(model) {
  /** @type {[string, ...HTMLElement[]][]} */
  const rows = model.members.map((member) => [
    `${member.size} px`,
    cell(member.architecture, { class: "words" }),
    cell(whole(member.parameters)),
    cell(member.normalisation),
    cell((member.variants ?? []).map((variant) => variant.precision).join(", ") || "–"),
    cell(code(member.sha256.slice(0, 16))),
  ]);
  return [
    element("h2", {}, "The networks"),
    table("The networks", ["Input size", "architecture", "parameters", "input", "variants", "SHA-256"], rows),
  ];
}

/** @param {Model} model */
function contract(model) {
  const { lineage, preprocessing, engine } = model;
  const tolerance = Object.entries(model.tolerance)
    .map(([name, difference]) => `${name}: ${difference.toExponential(1)}`)
    .join("; ");
  return [
    element("h2", {}, "Contract"),
    element(
      "dl",
      { class: "facts" },
      ...fact("Trained by", `recipe ${lineage.recipe}, code ${lineage.code_version}, ${lineage.created}`),
      ...fact("Trained on", lineage.data),
      ...fact("Data manifest", lineage.data_sha256 ? code(lineage.data_sha256) : "–"),
      ...fact("Split", lineage.split_sha256 ? code(lineage.split_sha256) : "–"),
      ...fact("Grey levels", `profile ${preprocessing.profile}`),
      ...fact(
        "Sizes",
        `${preprocessing.sizes.join(", ")} pixels; ${preprocessing.fit}, ${preprocessing.filter} filter`,
      ),
      ...fact("Heatmap scale", heatmapScale(model)),
      ...fact(
        "Engine",
        `${engine.name} ${engine.version.split("-")[0]}, ${engine.precision}: ${engine.reason}`,
      ),
      ...fact("Agreement of engines", tolerance ? `largest differences: ${tolerance}` : "–"),
    ),
  ];
}

/** @param {string} column */
const isSize = (column) => /^\d+$/.test(column);

/**
 * A part of the page that the service may not have. @param {string} path
 * @returns {Promise<any>}
 */
async function orNothing(path) {
  try {
    return (await ask(path)).body;
  } catch (error) {
    if (error instanceof Problem && error.status === 404) return null;
    throw error;
  }
}

async function start() {
  const place = byId("model");
  try {
    const [{ body: model }, report, watch] = await Promise.all([
      ask("/model"),
      orNothing("/model/report"),
      orNothing("/watch"),
    ]);
    document.title = `${model.name} ${model.version} · cxrserve`;
    place.replaceChildren(
      ...[
        ...head(model),
        ...(report ? measuredFigures(report, model.sha256) : []),
        ...siteFigures(model.site),
        ...watchFigures(watch),
        ...[weights, metrics, operatingPoints, members, contract].flatMap((section) => section(model)),
      ].filter((part) => part !== null),
    );
  } catch (error) {
    const problem =
      error instanceof Problem
        ? error
        : new Problem({
            title: "This page has an error",
            detail: String(error),
            status: -1,
          });
    place.replaceChildren(
      element("h1", {}, problem.title),
      element("p", { class: "sub", role: "alert" }, problem.detail),
    );
    if (problem.transient) setTimeout(start, 2000);
  }
}

byId("theme").addEventListener("click", toggleTheme);
onTheme(() => byId("theme").replaceChildren(icon(theme() === "dark" ? "sun" : "moon")));
onTokenWanted(askForToken);
void start();
