// Labels of readers: what they say about the selected finding of a study of the archive, kept with who and when.
import { announce } from "./announce.js";
import { Problem, ask } from "./api.js";
import { byId, element } from "./dom.js";
import { replaceChildren } from "./radio_group.js";
import { activeRadiograph, state, update } from "./store.js";

/** @typedef {import("./types.d.ts").StudyLabels} StudyLabels */
/** @typedef {import("./types.d.ts").Label} Label */
/** @typedef {Label["label"]} Value */

const place = () => byId("labels");
let drawn = "";

/** Labels by Study Instance UID; null while they are being loaded. @type {Map<string, StudyLabels|null>} */
const loaded = new Map();
/** @type {string|null} the problem of the last request */
let problem = null;

/** Redraw the panel if its content has changed; hidden for images that are not in the archive. */
export function sync() {
  const study = activeRadiograph()?.study ?? null;
  const finding = state.finding;
  place().hidden = !study || !finding;
  if (!study || !finding) return;
  if (!loaded.has(study)) void load(study);
  const labels = loaded.get(study) ?? null;
  const key = JSON.stringify([study, finding, labels, problem]);
  if (key === drawn) return;
  drawn = key;
  replaceChildren(place(), ...panel(study, finding, labels));
}

/** Move the focus to the first choice. */
export function focusLabels() {
  if (!place().hidden) place().querySelector("button")?.focus();
}

/** @param {string} study @param {string} finding @param {StudyLabels|null} labels */
function panel(study, finding, labels) {
  const head = element("div", { class: "head" }, element("h2", { id: "labels-title" }, "Your reading"));
  if (!labels)
    return [head, problem ? failed(study) : element("p", { class: "footnote" }, "Loading the labels")];
  const current = labels.current.find((label) => label.finding === finding) ?? null;
  const decision = labels.decisions[finding] ?? null;
  const history = labels.history.filter((label) => label.finding === finding);
  return [
    head,
    element(
      "p",
      { class: "verdict" },
      element("strong", {}, finding),
      `, for the whole study: the service says ${decision ?? "nothing"}.`,
    ),
    element(
      "div",
      { class: "label-choices", role: "group", "aria-label": `Your reading of ${finding}` },
      ...choices(decision).map(([value, text]) => choice(study, finding, value, text, current)),
      current &&
        element(
          "button",
          {
            id: "label-withdrawn",
            class: "quiet",
            type: "button",
            onclick: () => give(study, finding, "withdrawn"),
          },
          "Withdraw",
        ),
    ),
    element(
      "p",
      { class: "footnote", id: "label-current" },
      current ? sentence(current) : "Not labelled yet.",
    ),
    ...(problem ? [failed(study)] : []),
    ...(history.length > 1 ? [earlier(history)] : []),
  ];
}

/** Words for each choice: agree and disagree where the service has decided. @param {string|null} decision @returns {[Value, string][]} */
function choices(decision) {
  if (decision === "present")
    return [
      ["present", "Agree: present"],
      ["absent", "Disagree: absent"],
      ["unsure", "Unsure"],
    ];
  if (decision === "absent")
    return [
      ["absent", "Agree: absent"],
      ["present", "Disagree: present"],
      ["unsure", "Unsure"],
    ];
  return [
    ["present", "Present"],
    ["absent", "Absent"],
    ["unsure", "Unsure"],
  ];
}

/** @param {string} study @param {string} finding @param {Value} value @param {string} text @param {Label|null} current */
const choice = (study, finding, value, text, current) =>
  element(
    "button",
    {
      id: `label-${value}`,
      class: "plain",
      type: "button",
      "aria-pressed": String(current?.label === value),
      onclick: () => current?.label !== value && give(study, finding, value),
    },
    text,
  );

/** @param {Label[]} history */
const earlier = (history) =>
  element(
    "details",
    { class: "footnote", id: "label-history" },
    element("summary", {}, `All ${history.length} labels of this finding`),
    element("ol", {}, ...history.map((label) => element("li", {}, sentence(label)))),
  );

/** A label in words. @param {Label} label */
function sentence({ label, verdict, reader, given, decision }) {
  const when = new Date(given * 1000).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
  const said = label === "withdrawn" ? "Withdrawn" : `${label.charAt(0).toUpperCase()}${label.slice(1)}`;
  const against = verdict ? `; ${verdict} with the service, which said ${decision}` : "";
  return `${said}, by ${reader || "a reader without a name"}, ${when}${against}.`;
}

/** @param {string} study */
const failed = (study) =>
  element(
    "div",
    { class: "problem-box", role: "alert" },
    element("p", {}, problem),
    element(
      "div",
      { class: "row" },
      element(
        "button",
        { id: "label-again", class: "plain", type: "button", onclick: () => void load(study) },
        "Load the labels again",
      ),
    ),
  );

/** @param {string} study */
const path = (study) => `/studies/${encodeURIComponent(study)}/labels`;

/** @param {string} study */
function load(study) {
  loaded.set(study, loaded.get(study) ?? null);
  return request(study, {});
}

/** Give a label, and announce what is kept. @param {string} study @param {string} finding @param {Value} label */
async function give(study, finding, label) {
  const body = new Blob([JSON.stringify({ labels: [{ finding, label }] })]);
  const headers = { "Content-Type": "application/json" };
  await request(study, { method: "POST", body, headers });
  if (!problem)
    announce(label === "withdrawn" ? `${finding}: label withdrawn` : `${finding}: ${label}, kept`);
}

/** @param {string} study @param {import("./api.js").Options} options */
async function request(study, options) {
  problem = null;
  try {
    loaded.set(study, (await ask(path(study), options)).body);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    problem = `${error.title}. ${error.detail}`;
  }
  update();
}
