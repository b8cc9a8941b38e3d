// The list of findings: probability and operating point, the most urgent above it first.
import { announce } from "./announce.js";
import { radioGroup } from "./radio_group.js";
import { byId, element, readableDate } from "./dom.js";
import { wake } from "./radiograph.js";
import { bringForward, close, numbered } from "./radiographs.js";
import { activeRadiograph, state, update } from "./store.js";
import { NO_FINDING, counted, ofStudy, sorted, studiesIn, studyFindings } from "./study.js";
import { cautions } from "./cautions.js";
import { prior } from "./priors.js";

const place = () => byId("findings");
let drawn = "";

/** The findings in the order of the list: of the active image, or of the study. @returns {import("./types.d.ts").FindingRow[]} */
export function listed() {
  const known = answers();
  if (state.scope === "study" && known.length > 1 && state.model)
    return sorted(studyFindings(known, state.model), state.order);
  const answer = activeRadiograph()?.answer;
  return answer ? sorted(answer.findings, state.order) : [];
}

/** Select a finding, or none, and show its heatmap. @param {string|null} finding */
export function pick(finding) {
  if (finding === state.finding) return;
  const decisive = decidingImage(listed().find((row) => row.finding === finding));
  if (decisive) bringForward(decisive.key);
  update((all) => {
    all.finding = finding;
    if (finding && all.overlay.mode === "off") all.overlay.mode = "both";
  });
  announce(finding ? `Heatmap of ${finding}` : "No finding selected");
}

/** Select the next or previous finding of the list. @param {number} by 1 or -1 */
export function step(by) {
  const names = listed()
    .filter((row) => row.probability !== null)
    .map((row) => row.finding);
  if (!names.length) return;
  const at = names.indexOf(state.finding ?? "");
  pick(names[at < 0 ? (by > 0 ? 0 : names.length - 1) : (at + by + names.length) % names.length]);
}

/** Redraw the list if its content has changed. */
export function sync() {
  const radiograph = activeRadiograph();
  const rows = listed();
  const several = answers().length > 1;
  const { stage, problem } = radiograph?.prediction ?? {};
  const key = JSON.stringify([
    radiograph?.key,
    stage,
    problem?.detail,
    rows,
    state.finding,
    state.order,
    state.model?.sha256,
    several && state.scope,
    rows.map((row) => prior(radiograph, row.finding)),
  ]);
  if (key === drawn) return;
  drawn = key;
  const focused =
    place().contains(document.activeElement) && document.activeElement?.getAttribute("role") === "option";
  place().replaceChildren(
    head(rows, several),
    ...cautions(radiograph),
    ...(rows.length ? list(rows) : waiting(radiograph)),
  );
  if (focused) place().querySelector("[role=option][tabindex='0']")?.focus();
}

const analysed = () => state.radiographs.filter((radiograph) => radiograph.answer);
const answers = () => analysed().flatMap(({ answer }) => (answer ? [answer] : []));

/** The image that decides a line of the study; none in a list of one image. @param {import("./types.d.ts").FindingRow|undefined} row */
const decidingImage = (row) => analysed()[row?.decidedBy ?? -1];

/** @param {import("./types.d.ts").FindingRow[]} rows @param {boolean} several */
function head(rows, several) {
  /** @type {{value: "image"|"study", text: string}[]} */
  const scopes = [
    { value: "image", text: "Image" },
    { value: "study", text: "Study" },
  ];
  const above = counted(rows).length;
  return element(
    "div",
    { class: "head" },
    element("h2", { id: "findings-title" }, "Findings"),
    rows.length && !several
      ? element(
          "span",
          { class: "note" },
          above ? `${above} above the operating point` : "none above the operating point",
        )
      : null,
    several
      ? radioGroup("Findings of", scopes, state.scope, (scope) => update((all) => (all.scope = scope)))
      : null,
  );
}

/** @param {import("./types.d.ts").FindingRow[]} rows */
function list(rows) {
  const at = Math.max(
    0,
    rows.findIndex((row) => row.finding === state.finding),
  );
  const node = element("div", {
    role: "listbox",
    "aria-labelledby": "findings-title",
  });
  rows.forEach((finding, index) => {
    const divide =
      finding.finding === NO_FINDING || (index > 0 && rows[index - 1].positive && !finding.positive);
    node.append(row(finding, { divide, stop: index === at }));
  });
  node.addEventListener("keydown", (event) => move(event, node));
  const rule = state.scope === "study" && answers().length > 1 && state.model?.study_rule;
  const studies = studiesIn(answers());
  return [
    studies > 1 &&
      element(
        "p",
        { class: "warning" },
        `These images belong to ${studies} different studies. Close the images of the others to see the results of one study.`,
      ),
    node,
    element(
      "p",
      { class: "footnote" },
      element("span", { class: "tick" }),
      rule
        ? `operating point. Over ${answers().length} images, by the bundle’s rule: ${rule}.`
        : "operating point.",
      orderList(),
    ),
  ].filter((node) => node !== false);
}

function orderList() {
  /** @type {[import("./study.js").Order, string][]} */
  const orders = [
    ["urgency", "Most urgent first"],
    ["distance", "Highest above the operating point first"],
    ["name", "A to Z"],
  ];
  const list = element(
    "select",
    { id: "order", "aria-label": "Order of the findings" },
    ...orders.map(([value, text]) => element("option", { value, selected: value === state.order }, text)),
  );
  list.addEventListener("change", () =>
    update((all) => (all.order = /** @type {import("./study.js").Order} */ (list.value))),
  );
  return list;
}

/** @param {import("./types.d.ts").FindingRow} line @param {{divide: boolean, stop: boolean}} options */
function row(line, { divide, stop }) {
  const { finding, probability, threshold, positive } = line;
  const decisive = decidingImage(line);
  const was = state.scope === "image" ? prior(activeRadiograph(), finding) : null;
  const known = probability !== null && threshold !== null;
  /** @param {string|false} text */
  const unseen = (text) => known && element("span", { class: "unseen" }, text);
  return element(
    "div",
    {
      role: "option",
      class: `finding${divide ? " divide" : ""}`,
      tabindex: stop ? "0" : "-1",
      "aria-selected": String(finding === state.finding),
      "aria-disabled": known ? null : "true",
      "data-finding": finding,
      "data-above": String(positive),
      "data-unknown": known ? null : "true",
      title: known
        ? [`${finding}: operating point ${threshold.toFixed(3)}`, ...measured(finding), ...earlier(was)].join(
            "; ",
          )
        : "No network of this bundle was trained on this finding",
      onclick: () => known && pick(finding === state.finding ? null : finding),
    },
    element(
      "span",
      { class: "name" },
      finding,
      decisive ? element("small", { class: "decided" }, `from ${numbered(decisive)}`) : null,
    ),
    unseen(", probability "),
    known &&
      element(
        "span",
        {
          class: "bar",
          "--p": `${100 * probability}%`,
          "--t": `${100 * threshold}%`,
        },
        element("i"),
        element("b"),
        was ? element("s", { "--was": `${100 * was.probability}%` }) : null,
      ),
    element("span", { class: "value" }, known ? probability.toFixed(2) : "not supported by this model"),
    was ? unseen(`, was ${was.probability.toFixed(2)}`) : null,
    unseen(known && `, ${positive ? "above" : "below"} the operating point ${threshold.toFixed(2)}`),
  );
}

/** The measurements at the operating point, in words. @param {string} finding */
function measured(finding) {
  const ofImages = state.model?.operating_points[finding];
  const point = state.model && state.scope === "study" ? ofStudy(state.model, finding).point : ofImages;
  const shares = [
    ["sensitivity", point?.sensitivity],
    ["specificity", point?.specificity],
  ];
  return shares.flatMap(([name, value]) =>
    typeof value === "number" ? [`${name} ${value.toFixed(2)}`] : [],
  );
}

/** @param {ReturnType<typeof prior>} was */
const earlier = (was) => (was ? [`${was.probability.toFixed(2)} on ${readableDate(was.date)}`] : []);

/** @param {import("./radiograph.js").Radiograph} radiograph */
const closeButton = (radiograph) =>
  element(
    "button",
    { class: "plain", type: "button", onclick: () => close([radiograph]) },
    "Close this image",
  );

/** @param {KeyboardEvent} event @param {HTMLElement} node */
function move(event, node) {
  const options = /** @type {HTMLElement[]} */ ([...node.children]);
  const at = options.findIndex((option) => option === document.activeElement);
  /** @type {Record<string, number>} */
  const targets = {
    ArrowDown: at + 1,
    ArrowUp: at - 1,
    Home: 0,
    End: options.length - 1,
  };
  const to = targets[event.key];
  if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    event.stopPropagation();
    options[at]?.click();
  } else if (to !== undefined) {
    event.preventDefault();
    event.stopPropagation();
    const next = options[Math.min(options.length - 1, Math.max(0, to))];
    for (const option of options) option.tabIndex = option === next ? 0 : -1;
    next.focus();
    if (next.dataset.unknown !== "true") pick(next.dataset.finding ?? null);
  }
}

/** @type {Record<string, string>} */
const WORDS = {
  idle: "Queued",
  sending: "Sending the image",
  working: "Analysing the image at every scale",
  waiting: "Waiting for the service",
};

/** @param {import("./radiograph.js").Radiograph|undefined} radiograph */
function waiting(radiograph) {
  if (!radiograph) return [element("p", { class: "footnote" }, "Choose an image.")];
  const { stage, problem } = radiograph.prediction;
  if (stage === "failed" && problem) {
    return [
      element(
        "div",
        { class: "problem-box", role: "alert" },
        element("h3", {}, problem.title),
        element("p", {}, problem.detail),
        element(
          "div",
          { class: "row" },
          problem.final
            ? closeButton(radiograph)
            : element(
                "button",
                {
                  class: "plain",
                  type: "button",
                  onclick: () => radiograph.start(),
                },
                "Try again",
              ),
        ),
      ),
    ];
  }
  const now =
    stage === "waiting" &&
    element(
      "button",
      {
        class: "plain",
        type: "button",
        onclick: () => wake.dispatchEvent(new Event("now")),
      },
      "Try now",
    );
  return [
    element(
      "div",
      { class: "waiting" },
      element("p", {}, stage === "waiting" && problem ? `${problem.title}. ${problem.detail}` : WORDS[stage]),
      element("div", { class: "progress", "aria-hidden": "true" }),
      now || null,
    ),
    ...Array.from({ length: 9 }, () => element("div", { class: "skeleton" })),
  ];
}
