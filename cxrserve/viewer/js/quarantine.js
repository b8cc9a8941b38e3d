// The quarantine: images that a person has to decide on. What the image says stands beside what the archive says.
import { Problem, ask } from "./api.js";
import { byId, element, readableDate } from "./dom.js";
import { showMessage } from "./notice.js";
import { Radiograph } from "./radiograph.js";
import { open } from "./radiographs.js";
import { update } from "./store.js";
import { readable } from "./viewport.js";

/** @typedef {import("./types.d.ts").QuarantinedObject} Held */
/** @typedef {Held["decisions"][number]} Decision */

/**
 * @type {{
 *   objects: Held[]|null, chosen: {sha256: string, decision: Decision}|null, busy: boolean,
 *   problem: string|null, said: string,
 * }}
 */
const view = { objects: null, chosen: null, busy: false, problem: null, said: "" };

const dialog = () => /** @type {HTMLDialogElement} */ (byId("quarantine"));

/** Opens the images of a stored study. @type {(study: string) => Promise<void>} */
let openStudy = async () => {};

/** The button of the worklist that opens the quarantine. @param {(study: string) => Promise<void>} opensStudy */
export function quarantineButton(opensStudy) {
  openStudy = opensStudy;
  return element("button", {
    id: "open-quarantine",
    class: "plain",
    type: "button",
    "aria-haspopup": "dialog",
    hidden: true,
    onclick: () => void showQuarantine(),
  });
}

/** Show on the button how many images are held; none hides it. @param {number} count */
export function syncButton(count) {
  const button = byId("open-quarantine");
  if (!button) return;
  button.hidden = count === 0;
  button.textContent = `${count} in quarantine: decide`;
}

/** Open the dialog with what is held now; nothing where the service has no worklist. */
export async function showQuarantine() {
  if (!byId("open-quarantine")) return;
  Object.assign(view, { objects: null, chosen: null, problem: null, said: "" });
  draw();
  if (!dialog().open) dialog().showModal();
  await load();
}

async function load() {
  try {
    view.objects = (await ask("/quarantine")).body;
  } catch (error) {
    view.problem = sentenceOf(error);
  }
  draw();
}

/** @param {unknown} error */
function sentenceOf(error) {
  if (!(error instanceof Problem)) throw error;
  return `${error.title}. ${error.detail}`;
}

function draw() {
  const focused = dialog().contains(document.activeElement) ? document.activeElement?.id : "";
  dialog().replaceChildren(
    element("h2", { id: "quarantine-title", tabindex: "-1", autofocus: true }, "Quarantine"),
    element(
      "p",
      { class: "lead" },
      "These images were received and are not analysed before a person decides. Each decision is recorded in the audit trail.",
    ),
    element("p", { id: "quarantine-said", role: "status" }, view.said),
    view.problem
      ? element("div", { class: "problem-box", role: "alert" }, element("p", {}, view.problem))
      : "",
    ...list(),
    element(
      "div",
      { class: "row" },
      element(
        "button",
        { id: "quarantine-close", class: "plain", type: "button", onclick: () => dialog().close() },
        "Close",
      ),
    ),
  );
  (byId(focused || "quarantine-title") ?? byId("quarantine-title")).focus();
}

function list() {
  if (!view.objects) return view.problem ? [] : [element("p", {}, "Loading the quarantine")];
  if (!view.objects.length) return [element("p", {}, "The quarantine is empty.")];
  return view.objects.map(item);
}

/** @param {Held} held */
function item(held) {
  const title = element("h3", { id: `held-${held.sha256}` }, nameOf(held.patient_name, held.patient_id));
  return element(
    "section",
    { class: "held", "aria-labelledby": title.id, "data-held": held.sha256 },
    title,
    element("p", {}, why(held)),
    element("p", { class: "footnote" }, source(held)),
    sides(held),
    view.chosen?.sha256 === held.sha256 ? confirmation(held, view.chosen.decision) : actions(held),
  );
}

/** @param {Held} held */
function why(held) {
  if (held.reason === "other-patient")
    return "The image names another patient than its study in the archive.";
  return "The archive has another image with the same identifier (SOP Instance UID).";
}

/** @param {Held} held */
function source(held) {
  const when = new Date(held.received * 1000).toLocaleString(undefined, {
    dateStyle: "medium",
    timeStyle: "short",
  });
  return `Received ${when}${held.calling_ae ? ` from ${held.calling_ae}` : ""}.`;
}

/** @param {string} name @param {string} id */
const nameOf = (name, id) => readable(name) || id || "No name";

/** Each row: its name, what the image says, what the archive says. @param {Held} held @returns {[string, string, string][]} */
const rowsOf = (held) => [
  ["Name", readable(held.patient_name), readable(held.study_patient_name)],
  ["Patient ID", held.patient_id, held.study_patient_id],
  ["ID issued by", held.patient_id_issuer, held.study_patient_id_issuer],
  ["Born", readableDate(held.birth_date), readableDate(held.study_birth_date)],
  ["Sex", held.sex, held.study_sex],
  ["Accession", held.accession_number, held.study_accession_number],
];

/** Both sides as a table; a row that differs says so in words. @param {Held} held */
function sides(held) {
  const stored = Boolean(held.study_instance_uid);
  const rows = rowsOf(held)
    .filter(([, image, archive]) => image || archive)
    .map(([name, image, archive]) => {
      const differs = stored && image !== archive;
      return element(
        "tr",
        { "data-differs": String(differs) },
        element("th", { scope: "row" }, name, differs && element("span", { class: "differs" }, "differs")),
        element("td", {}, image || "nothing"),
        element("td", {}, stored ? archive || "nothing" : "no such study"),
      );
    });
  const heads = ["", "The image says", "The archive says"];
  return element(
    "table",
    { class: "sides" },
    element(
      "thead",
      {},
      element(
        "tr",
        {},
        ...heads.map((head) => (head ? element("th", { scope: "col" }, head) : element("td"))),
      ),
    ),
    element("tbody", {}, ...rows),
  );
}

/** @type {Record<Held["reason"], Record<Decision, string>>} */
const LABELS = {
  "other-patient": { release: "The image is right", move: "The archive is right", drop: "Delete the image" },
  "other-content": { release: "Replace the stored image", move: "", drop: "Delete the image" },
};

/** @param {Held} held */
function actions(held) {
  const show = element(
    "button",
    { id: `show-${held.sha256}`, class: "plain", type: "button", onclick: () => void look(held) },
    "Look at the image",
  );
  if (!held.may_decide)
    return element(
      "div",
      { class: "decisions" },
      show,
      element("p", { class: "footnote" }, "To decide, your sign-in or token needs the scope quarantine."),
    );
  return element(
    "div",
    { class: "decisions" },
    show,
    ...held.decisions.map((decision) =>
      element(
        "button",
        {
          id: `${decision}-${held.sha256}`,
          class: "plain",
          type: "button",
          onclick: () => choose({ sha256: held.sha256, decision }),
        },
        LABELS[held.reason][decision],
      ),
    ),
  );
}

/** The effect of a decision, in words, before it is taken. @param {Held} held @param {Decision} decision */
function consequence(held, decision) {
  const image = `${nameOf(held.patient_name, held.patient_id)} (${held.patient_id || "no Patient ID"})`;
  const stored = `${nameOf(held.study_patient_name, held.study_patient_id)} (${held.study_patient_id || "no Patient ID"})`;
  if (decision === "drop") return "The image is deleted for good. Only its sender can bring it back.";
  if (decision === "move") return `The image is taken in under ${stored}, and analysed.`;
  if (held.reason === "other-patient")
    return `The study of this image moves to ${image}. Corrected results are sent to its destinations.`;
  return "This image takes the place of the stored one, and is analysed. Corrected results are sent.";
}

/** @type {Record<Decision, string>} */
const CONFIRM = {
  release: "Yes, the image is right",
  move: "Yes, the archive is right",
  drop: "Delete for good",
};
/** @type {Record<Decision, string>} */
const DONE = {
  release: "The image was released.",
  move: "The image was moved.",
  drop: "The image was deleted.",
};

/** @param {Held} held @param {Decision} decision */
function confirmation(held, decision) {
  return element(
    "div",
    { class: "confirmation", role: "group", "aria-label": "Confirm the decision" },
    element("p", { id: "quarantine-consequence" }, consequence(held, decision)),
    element(
      "div",
      { class: "decisions" },
      element(
        "button",
        {
          id: "quarantine-yes",
          class: decision === "drop" ? "plain danger" : "primary",
          type: "button",
          "aria-describedby": "quarantine-consequence",
          disabled: view.busy,
          onclick: () => void decide(held, decision),
        },
        CONFIRM[decision],
      ),
      element(
        "button",
        { id: "quarantine-no", class: "plain", type: "button", onclick: () => choose(null) },
        "Not now",
      ),
    ),
  );
}

/** @param {{sha256: string, decision: Decision}|null} chosen */
function choose(chosen) {
  const before = view.chosen;
  Object.assign(view, { chosen, problem: null, said: "" });
  draw();
  // The harmless answer has the focus; afterwards the button that asked has it again.
  byId(chosen ? "quarantine-no" : `${before?.decision}-${before?.sha256}`)?.focus();
}

/** @param {Held} held @param {Decision} decision */
async function decide(held, decision) {
  view.busy = true;
  draw();
  try {
    await ask(`/quarantine/${held.sha256}/${decision}`, { method: "POST", as: "blob" });
    view.said = DONE[decision];
  } catch (error) {
    view.problem = sentenceOf(error);
  } finally {
    Object.assign(view, { busy: false, chosen: null });
  }
  await load();
  byId("quarantine-title").focus();
}

/** Open a held image beside the images of its stored study. @param {Held} held */
async function look(held) {
  const file = async () => (await ask(`/quarantine/${held.sha256}`, { as: "blob" })).body;
  dialog().close();
  try {
    if (held.study_instance_uid) await openStudy(held.study_instance_uid);
  } catch (error) {
    showMessage(sentenceOf(error));
  }
  update((all) => (all.layout = Math.max(all.layout, held.study_instance_uid ? 2 : 1)));
  open([new Radiograph("Held in quarantine", file)]);
}
