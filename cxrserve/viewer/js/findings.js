// The findings: probability, a mark at the operating point, those farthest above it first.
import { announce } from "./announce.js";
import { choice } from "./choice.js";
import { byId, element } from "./dom.js";
import { wake } from "./film.js";
import { close } from "./films.js";
import { activeFilm, state, update } from "./store.js";
import { sorted, studiesIn, studyFindings } from "./study.js";

const place = () => byId("findings");
let drawn = "";

/** The findings as they are listed now: of the active image, or of the study. */
export function listed() {
  const answers = answered();
  if (state.scope === "study" && answers.length > 1) return sorted(studyFindings(answers, state.model?.study_rule ?? "maximum"));
  const answer = activeFilm()?.answer;
  return answer ? sorted(answer.findings) : [];
}

/** Pick a finding, or none; its heatmap follows. @param {string|null} finding */
export function pick(finding) {
  if (finding === state.finding) return;
  update((all) => {
    all.finding = finding;
    if (finding && all.overlay.mode === "off") all.overlay.mode = "colour";
  });
  announce(finding ? `Heatmap of ${finding}` : "No finding picked");
}

/** Pick the next finding of the list, or the one before. */
export function step(by) {
  const names = listed().filter((each) => each.probability !== null).map((each) => each.finding);
  if (!names.length) return;
  const at = names.indexOf(state.finding);
  pick(names[at < 0 ? (by > 0 ? 0 : names.length - 1) : (at + by + names.length) % names.length]);
}

export function sync() {
  const film = activeFilm();
  const rows = listed();
  const several = answered().length > 1;
  const { stage, problem } = film?.judged ?? {};
  const key = JSON.stringify([film?.key, stage, problem?.detail, rows, state.finding, several && state.scope]);
  if (key === drawn) return;
  drawn = key;
  const focused = place().contains(document.activeElement) && document.activeElement.getAttribute("role") === "option";
  place().replaceChildren(head(film, rows, several), ...(rows.length ? list(rows) : waiting(film)));
  if (focused) place().querySelector("[role=option][tabindex='0']")?.focus();
}

const answered = () => state.films.filter((film) => film.answer).map((film) => film.answer);

function head(film, rows, several) {
  const scopes = [
    { value: "image", text: "Image" },
    { value: "study", text: "Study" },
  ];
  const above = rows.filter((each) => each.positive).length;
  return element(
    "div",
    { class: "head" },
    element("h2", { id: "findings-title" }, "Findings"),
    rows.length && !several ? element("span", { class: "note" }, above ? `${above} above the operating point` : "none above the operating point") : null,
    several ? choice("Findings of", scopes, state.scope, (scope) => update((all) => (all.scope = scope))) : null,
  );
}

function list(rows) {
  const at = Math.max(0, rows.findIndex((each) => each.finding === state.finding));
  const node = element("div", { role: "listbox", "aria-labelledby": "findings-title" });
  rows.forEach((each, index) => {
    const divide = index > 0 && rows[index - 1].positive && !each.positive;
    node.append(row(each, { divide, stop: index === at }));
  });
  node.addEventListener("keydown", (event) => move(event, node));
  const rule = state.scope === "study" && answered().length > 1;
  const studies = studiesIn(answered());
  return [
    studies > 1 && element("p", { class: "warning" }, `These images belong to ${studies} different studies. Close those of the others before you read the study as a whole.`),
    node,
    element(
      "p",
      { class: "footnote" },
      element("span", { class: "tick" }),
      rule ? `operating point. Over ${answered().length} images, by the bundle’s rule: ${state.model?.study_rule ?? "maximum"}.` : "operating point. Farthest above it first.",
    ),
  ].filter(Boolean);
}

function row({ finding, probability, threshold, positive }, { divide, stop }) {
  const known = probability !== null;
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
      title: known ? `${finding}: operating point ${threshold.toFixed(3)}` : "No network of this bundle was trained on it",
      onclick: () => known && pick(finding === state.finding ? null : finding),
    },
    element("span", { class: "name" }, finding),
    unseen(", probability "),
    known && element("span", { class: "bar", "--p": `${100 * probability}%`, "--t": `${100 * threshold}%` }, element("i"), element("b")),
    element("span", { class: "value" }, known ? probability.toFixed(2) : "not known to this model"),
    unseen(known && `, ${positive ? "above" : "below"} the operating point ${threshold.toFixed(2)}`),
  );
}

const closing = (film) => element("button", { class: "plain", type: "button", onclick: () => close([film]) }, "Close this image");

function move(event, node) {
  const options = [...node.children];
  const at = options.indexOf(document.activeElement);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: options.length - 1 }[event.key];
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
    if (next.dataset.unknown !== "true") pick(next.dataset.finding);
  }
}

const WORDS = {
  idle: "Waiting for its turn",
  sending: "Sending the image",
  working: "The networks are looking at it, at every scale",
  waiting: "Waiting for the service",
};

function waiting(film) {
  if (!film) return [element("p", { class: "footnote" }, "Choose an image.")];
  const { stage, problem } = film.judged;
  if (stage === "failed") {
    return [
      element(
        "div",
        { class: "problem-box", role: "alert" },
        element("h3", {}, problem.title),
        element("p", {}, problem.detail),
        element("div", { class: "row" }, problem.final ? closing(film) : element("button", { class: "plain", type: "button", onclick: () => film.start() }, "Try again")),
      ),
    ];
  }
  const now = stage === "waiting" && element("button", { class: "plain", type: "button", onclick: () => wake.dispatchEvent(new Event("now")) }, "Try now");
  return [
    element(
      "div",
      { class: "waiting" },
      element("p", {}, stage === "waiting" ? `${problem.title}. ${problem.detail}` : WORDS[stage]),
      element("div", { class: "progress", "aria-hidden": "true" }),
      now || null,
    ),
    ...Array.from({ length: 9 }, () => element("div", { class: "skeleton" })),
  ];
}
