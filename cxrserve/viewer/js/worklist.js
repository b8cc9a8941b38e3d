// The worklist of received studies: newest first, live, searched and filtered by the service. Hidden without an archive.
import { NO_FINDING } from "./study.js";
import { Problem, ask } from "./api.js";
import { byId, element, readableDate } from "./dom.js";
import { showMessage } from "./notice.js";
import { quarantineButton, syncButton } from "./quarantine.js";
import { Radiograph } from "./radiograph.js";
import { close, open } from "./radiographs.js";
import { state, update } from "./store.js";
import { readable } from "./viewport.js";

const POLL_MS = 3000;
const LIMIT = 200;
const STATES = ["receiving", "waiting", "working", "done", "failed", "refused"];

/**
 * @type {{
 *   available: boolean, studies: import("./types.d.ts").StudySummary[], problem: string|null, search: string, state: string,
 *   etag: string|null, opened: string|null, changed: number, quarantined: number,
 *   patient: string, priors: import("./types.d.ts").StudySummary[],
 * }}
 */
const list = {
  available: false,
  studies: [],
  problem: null,
  search: "",
  state: "",
  etag: null,
  opened: null,
  changed: 0,
  quarantined: 0,
  patient: "", // of the opened study
  priors: [], // fetched for comparison with it
};
let drawn = "";
let timer = 0;
let searchTimer = 0;

/** Show the worklist if the service has one. */
export async function start() {
  list.available = await isAvailable();
  if (!list.available) return;
  byId("toggle-side").hidden = false;
  byId("toggle-side").addEventListener("click", () => {
    const side = byId("side");
    side.dataset.closed = side.dataset.closed === "true" ? "false" : "true";
    update();
  });
  document.addEventListener("visibilitychange", () => !document.hidden && void poll());
  await poll();
  await openFromAddress();
}

/** Open the study, and select the finding, that the address of the page names: `/?study=UID&finding=Edema`. */
async function openFromAddress() {
  const query = new URLSearchParams(location.search);
  const uid = query.get("study");
  if (!uid) return;
  try {
    await openStudy(uid);
    update((all) => (all.finding = query.get("finding")));
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    showMessage(
      problem.status === 404
        ? "The study in the address of this page is not in the archive of this service. Send it to the DICOM node, or choose another one."
        : `${problem.title}. ${problem.detail}`,
    );
  }
}

/** Ask until the service answers: it may be starting. @returns {Promise<boolean>} */
async function isAvailable() {
  try {
    return (await ask("/viewer/about")).body.worklist;
  } catch {
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    return isAvailable();
  }
}

/** Redraw the list if its content has changed. */
export function sync() {
  const side = byId("side");
  side.hidden = side.dataset.closed === "true" || (!list.available && !state.radiographs.length);
  byId("toggle-side").setAttribute("aria-expanded", String(!side.hidden));
  byId("worklist").hidden = !list.available;
  side.dataset.slim = String(!list.available); // thumbnails only, if space is short
  const key = JSON.stringify([
    list.available,
    list.studies,
    list.problem,
    list.opened,
    list.quarantined,
    list.priors,
  ]);
  if (!list.available || key === drawn) return;
  drawn = key;
  if (!byId("worklist-rows")) byId("worklist").replaceChildren(...frame());
  const focused = /** @type {HTMLElement|null|undefined} */ (document.activeElement?.closest(".study"))
    ?.dataset.study;
  byId("worklist-rows").replaceChildren(...rows());
  byId("worklist-count").textContent = `${list.studies.length}`;
  syncButton(list.quarantined);
  if (focused)
    byId("worklist-rows")
      .querySelector(`[data-study="${CSS.escape(focused)}"]`)
      ?.focus();
}

async function poll() {
  clearTimeout(timer);
  try {
    await fetchStudies();
    list.problem = null;
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    list.problem = `${problem.title}. ${problem.detail}`;
  }
  update();
  if (!document.hidden) timer = setTimeout(poll, POLL_MS);
}

async function fetchStudies() {
  const query = new URLSearchParams({
    search: list.search,
    limit: String(LIMIT),
    ...(list.state ? { state: list.state } : {}),
  });
  /** @type {Record<string, string>} */
  const headers = list.etag ? { "If-None-Match": list.etag } : {};
  const { status, body, header } = await ask(`/studies?${query}`, { headers });
  if (status === 304) return;
  list.studies = body.studies;
  list.quarantined = body.quarantined;
  list.etag = header("ETag");
  await findPriors();
  const opened = list.studies.find((study) => study.study_instance_uid === list.opened);
  if (opened && opened.changed !== list.changed) await openStudy(opened.study_instance_uid); // new images
}

/** Find the priors of the opened study: they stand at the end of the list, which may be cut before them. */
async function findPriors() {
  const query = new URLSearchParams({ search: list.patient.slice(0, 64), limit: String(LIMIT) });
  const whole = list.studies.length < LIMIT && !list.search && !list.state;
  const found = !list.patient ? [] : whole ? list.studies : (await ask(`/studies?${query}`)).body.studies;
  list.priors = found.filter(
    (/** @type {import("./types.d.ts").StudySummary} */ study) =>
      study.prior && study.patient_id === list.patient && study.study_instance_uid !== list.opened,
  );
}

/** Change the search and request the studies again, without the ETag. @param {{search?: string, state?: string}} change */
function searchAgain(change) {
  Object.assign(list, change, { etag: null });
  clearTimeout(searchTimer);
  searchTimer = setTimeout(poll, 200);
}

/** Open the images of a study that are not open yet, and close those of others. @param {string} uid */
async function openStudy(uid) {
  const { body } = await ask(`/studies/${encodeURIComponent(uid)}`);
  if (list.opened !== uid) close();
  openImages(uid, body);
  Object.assign(list, { opened: uid, changed: body.changed, patient: body.patient_id });
  await findPriors();
  update();
}

/** Open the images of another study of the same patient beside those that are open. @param {string} uid */
async function compareWith(uid) {
  const { body } = await ask(`/studies/${encodeURIComponent(uid)}`);
  const active = state.radiographs.length;
  update((all) => Object.assign(all, { layout: Math.max(all.layout, 2), linked: true }));
  openImages(uid, body);
  if (active) update((all) => (all.active = 0)); // the current image stays the one that is read
}

/** @param {string} uid @param {{images: import("./types.d.ts").StudyImage[]}} body */
function openImages(uid, body) {
  const openImages = new Set(state.radiographs.map((radiograph) => radiograph.image));
  const radiographs = body.images.map((image, index) => archived(uid, image, `Image ${index + 1}`));
  open(radiographs.filter((radiograph) => !openImages.has(radiograph.image)));
}

/** @param {string} uid @param {import("./types.d.ts").StudyImage} image @param {string} name */
const archived = (uid, image, name) =>
  new Radiograph(name, { study: uid, image: image.sop_instance_uid, isDone: image.state === "done" });

function frame() {
  const search = element("input", {
    type: "search",
    id: "worklist-search",
    placeholder: "Name, ID, accession",
    "aria-label": "Search the studies",
  });
  search.addEventListener("input", () => searchAgain({ search: search.value.slice(0, 64) }));
  const states = element(
    "select",
    { "aria-label": "State" },
    element("option", { value: "" }, "All states"),
    ...STATES.map((state) => element("option", { value: state }, state)),
  );
  states.addEventListener("change", () => searchAgain({ state: states.value }));
  return [
    element(
      "div",
      { class: "panel-head" },
      element("h2", { id: "worklist-title" }, "Studies"),
      element("span", { class: "note", id: "worklist-count" }),
    ),
    element("div", { class: "panel-tools" }, search, states, quarantineButton(openStudy)),
    element("ul", { class: "scroll", id: "worklist-rows" }),
  ];
}

function rows() {
  if (list.problem) return [element("li", { class: "empty", role: "alert" }, list.problem)];
  if (!list.studies.length)
    return [
      element(
        "li",
        { class: "empty" },
        list.search || list.state
          ? "No study matches."
          : "No study was received yet. Send one to the DICOM node.",
      ),
    ];
  const patient = list.studies.find((study) => study.study_instance_uid === list.opened)?.patient_id;
  return inOrder().map((study) =>
    element(
      "li",
      { class: "study-row" },
      row(study),
      patient && study.patient_id === patient && study.study_instance_uid !== list.opened
        ? element(
            "button",
            {
              class: "plain compare",
              type: "button",
              title: "Open this study beside the current one, with linked views",
              onclick: () => attempt(compareWith(study.study_instance_uid)),
            },
            "Compare",
          )
        : "",
    ),
  );
}

/** The studies, with the priors of the opened one below it. */
function inOrder() {
  const at = list.studies.findIndex((study) => study.study_instance_uid === list.opened);
  if (at < 0) return list.studies;
  const priors = new Set(list.priors.map((study) => study.study_instance_uid));
  const others = list.studies.filter((study) => !priors.has(study.study_instance_uid));
  return others.flatMap((study) =>
    study.study_instance_uid === list.opened ? [study, ...list.priors] : [study],
  );
}

/** @param {import("./types.d.ts").StudySummary} study */
function row(study) {
  const findings =
    study.positive === null
      ? null
      : study.positive.some((finding) => finding !== NO_FINDING)
        ? study.positive.filter((finding) => finding !== NO_FINDING).join(", ")
        : "none above its operating point";
  const bad = study.state === "failed" || study.state === "refused";
  return element(
    "button",
    {
      class: "study",
      type: "button",
      "data-study": study.study_instance_uid,
      "aria-current": list.opened === study.study_instance_uid ? "true" : null,
      onclick: () => pick(study),
    },
    element(
      "span",
      { class: "line" },
      element("span", { class: "title" }, readable(study.patient_name) || study.patient_id || "No name"),
      study.priority === "stat" ? element("span", { class: "tag", "data-kind": "urgent" }, "stat") : "",
      study.state === "done"
        ? ""
        : element("span", { class: "tag", "data-kind": bad ? "bad" : null }, study.state),
      study.prior
        ? element("span", { class: "tag", title: "Fetched for comparison: no new work" }, "prior")
        : element("span", { class: "time" }, clock(study.received)),
    ),
    element(
      "span",
      { class: "sub" },
      [
        readableDate(study.study_date),
        `${study.images} image${study.images === 1 ? "" : "s"}`,
        study.patient_id,
        study.description || study.modality,
      ]
        .filter(Boolean)
        .join("  ·  "),
    ),
    findings ? element("span", { class: "sub" }, findings) : "",
  );
}

/** @param {import("./types.d.ts").StudySummary} study */
function pick(study) {
  attempt(openStudy(study.study_instance_uid));
}

/** Show the error of an action in the list. @param {Promise<void>} action */
function attempt(action) {
  action.catch((error) => {
    list.problem = error instanceof Problem ? `${error.title}. ${error.detail}` : String(error);
    update();
  });
}

/** The time of day, or the date if it is not today. @param {number} seconds */
function clock(seconds) {
  const then = new Date(1000 * seconds);
  const today = new Date().toDateString() === then.toDateString();
  return today
    ? then.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })
    : then.toLocaleDateString();
}
