// The model's page: what the bundle's contract says of itself, and nothing more.
import { ask, onTokenWanted } from "./api.js";
import { byId, element, percent, whole } from "./dom.js";
import { icon } from "./icons.js";
import { onTheme, theme, toggleTheme } from "./theme.js";
import { askForToken } from "./token.js";

// One hue from coarse to fine: the scales have an order.
const SHADES = ["#22496f", "#3573ae", "#86bdf2", "#cfe5fb", "#7f8ea0", "#4f5b69"];
const WORDS = new Set(["architecture", "chosen for"]);
const isPale = (index) => index === 2 || index === 3;

const figure = (value, digits = 3) => (value === null || value === undefined ? "–" : value.toFixed(digits));

function table(label, heads, rows) {
  return element(
    "div",
    { class: "scroll-x", tabindex: "0", role: "region", "aria-label": label },
    element(
      "table",
      {},
      element("thead", {}, element("tr", {}, ...heads.map((head) => element("th", { scope: "col", class: WORDS.has(head) ? "words" : null }, head)))),
      element("tbody", {}, ...rows.map(([name, ...cells]) => element("tr", {}, element("th", { scope: "row" }, name), ...cells))),
    ),
  );
}

const cell = (text, attributes = {}) => element("td", attributes, text);
const fact = (name, value) => [element("dt", {}, name), element("dd", {}, value)];
const code = (text) => element("code", {}, text);

function head(model) {
  return [
    element("h1", {}, `${model.name} ${model.version}`),
    element("p", { class: "sub" }, model.intended_use),
    element("p", { class: "hash" }, "SHA-256 ", code(model.sha256)),
    element(
      "div",
      { class: "links" },
      model.report ? element("a", { class: "primary", href: model.report, target: "_blank", rel: "noopener" }, "The bundle’s report") : null,
      element("a", { class: "plain", href: "/docs" }, "How to ask it"),
    ),
    element("section", { class: "limits", "aria-labelledby": "limits-title" }, element("h2", { id: "limits-title" }, "Limits"), element("ul", {}, ...model.limits.map((text) => element("li", {}, text)))),
  ];
}

function weights(model) {
  const sizes = model.members.map((member) => member.size);
  const key = element("p", { class: "scale-key", "aria-hidden": "true" }, ...sizes.map((size, index) => element("span", {}, element("i", { "--c": SHADES[index % SHADES.length] }), `${size} px`)));
  const rows = model.findings.flatMap((finding, row) => {
    const said = sizes.map((size, index) => `${size} pixels ${percent(model.stack[row][index])}`).join(", ");
    const parts = model.stack[row].map((weight, index) =>
      element("i", { "--w": `${100 * weight}%`, "--c": SHADES[index % SHADES.length], "data-dark": isPale(index) ? "true" : null }, weight >= 0.07 ? percent(weight) : ""),
    );
    const known = !model.unavailable?.includes(finding);
    return [element("span", {}, finding), known ? element("span", { class: "stackbar", role: "img", "aria-label": `${finding}: ${said}` }, ...parts) : element("span", { class: "sub" }, "not known to this model")];
  });
  return [
    element("h2", {}, "How much each scale counts"),
    element("p", { class: "sub" }, "Learned weights of the stack: a finding’s probability is the sum of weight times what each network says."),
    key,
    element("div", { class: "weights" }, ...rows),
  ];
}

function metrics(model) {
  const measured = model.metrics;
  if (!measured) return [element("h2", {}, "Measured"), element("p", { class: "sub" }, "This bundle brings no figures.")];
  const columns = [...new Set(Object.values(measured.auc).flatMap(Object.keys))];
  const order = [...columns.filter((each) => /^\d+$/.test(each)).sort((a, b) => a - b), ...columns.filter((each) => !/^\d+$/.test(each))];
  const rows = Object.entries(measured.auc).map(([finding, auc]) => {
    const best = Math.max(...order.map((each) => auc[each] ?? -1));
    return [finding, ...order.map((each) => cell(figure(auc[each]), { "data-best": String(auc[each] === best) }))];
  });
  const heads = ["Finding", ...order.map((each) => (/^\d+$/.test(each) ? `${each} px` : each === "voting" ? "plain average" : each))];
  return [
    element("h2", {}, "Measured"),
    element("p", { class: "sub" }, `Area under the ROC curve on ${measured.data}, ${whole(measured.images)} images. The best of each row stands out.`),
    table("Area under the ROC curve", heads, rows),
  ];
}

function operatingPoints(model) {
  const rows = Object.entries(model.operating_points).map(([finding, point]) => [
    finding,
    cell(figure(point.threshold)),
    cell(figure(point.sensitivity)),
    cell(figure(point.specificity)),
    cell(`${point.chosen_for}; ${point.data}`, { class: "words" }),
  ]);
  const calibration = model.calibration === "identity" ? "The stack’s probabilities are given as they are; no calibration is put on top." : `Calibration: ${typeof model.calibration === "string" ? model.calibration : JSON.stringify(model.calibration)}.`;
  return [
    element("h2", {}, "Operating points and calibration"),
    element("p", { class: "sub" }, `${calibration} A finding counts as positive at or above its threshold. Over the images of a study the ${model.study_rule} counts.`),
    table("Operating points", ["Finding", "threshold", "sensitivity", "specificity", "chosen for"], rows),
  ];
}

function members(model) {
  const rows = model.members.map((member) => [
    `${member.size} px`,
    cell(member.architecture, { class: "words" }),
    cell(whole(member.parameters)),
    cell(member.normalisation),
    cell((member.variants ?? []).map((variant) => variant.precision).join(", ") || "–"),
    cell(code(member.sha256.slice(0, 16))),
  ]);
  return [element("h2", {}, "The networks"), table("The networks", ["Sees", "architecture", "parameters", "input", "variants", "SHA-256"], rows)];
}

function contract(model) {
  const { lineage, preprocessing, engine } = model;
  const tolerance = Object.entries(model.tolerance).map(([what, most]) => `${what}: ${most.toExponential(1)}`).join("; ");
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
      ...fact("Sizes", `${preprocessing.sizes.join(", ")} pixels; ${preprocessing.fit}, ${preprocessing.filter} filter`),
      ...fact("Heatmap scale", `${model.heatmap_scale} nats at full strength, for all findings and images`),
      ...fact("Engine", `${engine.name} ${engine.version.split("-")[0]}, ${engine.precision}: ${engine.reason}`),
      ...fact("Engines agree", tolerance ? `largest differences: ${tolerance}` : "–"),
    ),
  ];
}

async function start() {
  const place = byId("model");
  try {
    const { body: model } = await ask("/model");
    document.title = `${model.name} ${model.version} · cxrserve`;
    place.replaceChildren(...[head, weights, metrics, operatingPoints, members, contract].flatMap((section) => section(model)));
  } catch (problem) {
    place.replaceChildren(element("h1", {}, problem.title), element("p", { class: "sub", role: "alert" }, problem.detail));
    if (problem.transient) setTimeout(start, 2000);
  }
}

byId("theme").addEventListener("click", toggleTheme);
onTheme(() => byId("theme").replaceChildren(icon(theme() === "dark" ? "sun" : "moon")));
onTokenWanted(askForToken);
void start();
