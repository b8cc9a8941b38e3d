// The studies that came by DICOM: newest first, live, searched and filtered by the service. Hidden where there is no archive.
import { Problem, ask } from "./api.js";
import { byId, element } from "./dom.js";
import { Film } from "./film.js";
import { close, open } from "./films.js";
import { state, update } from "./store.js";
import { readable } from "./viewport.js";

const POLL_MS = 3000;
const STATES = ["receiving", "waiting", "working", "done", "failed", "refused"];

const list = { there: false, studies: [], problem: null, search: "", state: "", etag: null, opened: null, changed: 0 };
let drawn = "";
let timer = 0;
let typed = 0;

export async function start() {
  list.there = await isThere();
  if (!list.there) return;
  byId("toggle-side").hidden = false;
  byId("toggle-side").addEventListener("click", () => {
    const side = byId("side");
    side.dataset.closed = side.dataset.closed === "true" ? "false" : "true";
    update();
  });
  document.addEventListener("visibilitychange", () => !document.hidden && void poll());
  await poll();
}

/** Asked until the service answers: it may be starting. */
async function isThere() {
  try {
    return (await ask("/viewer/about")).body.worklist;
  } catch {
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    return isThere();
  }
}

export function sync() {
  const side = byId("side");
  side.hidden = side.dataset.closed === "true" || (!list.there && !state.films.length);
  byId("toggle-side").setAttribute("aria-expanded", String(!side.hidden));
  byId("worklist").hidden = !list.there;
  side.dataset.slim = String(!list.there); // thumbnails are enough where room is short
  const key = JSON.stringify([list.there, list.studies, list.problem, list.opened]);
  if (!list.there || key === drawn) return;
  drawn = key;
  if (!byId("worklist-rows")) byId("worklist").replaceChildren(...frame());
  const focused = document.activeElement?.closest(".study")?.dataset.study;
  byId("worklist-rows").replaceChildren(...rows());
  byId("worklist-count").textContent = `${list.studies.length}`;
  if (focused) byId("worklist-rows").querySelector(`[data-study="${CSS.escape(focused)}"]`)?.focus();
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
  const query = new URLSearchParams({ search: list.search, limit: "200", ...(list.state && { state: list.state }) });
  const headers = list.etag ? { "If-None-Match": list.etag } : {};
  const { status, body, header } = await ask(`/studies?${query}`, { headers });
  if (status === 304) return;
  list.studies = body.studies;
  list.etag = header("ETag");
  const now = body.studies.find((each) => each.study_instance_uid === list.opened);
  if (now && now.changed !== list.changed) await openStudy(list.opened); // more of its images came
}

/** Another search asks anew, whatever the tag says. */
function searchAgain(change) {
  Object.assign(list, change, { etag: null });
  clearTimeout(typed);
  typed = setTimeout(poll, 200);
}

/** Open a study's images; of one that is open already, those that are not. @param {string} uid */
async function openStudy(uid) {
  const { body } = await ask(`/studies/${uid}`);
  if (list.opened !== uid) close();
  const here = new Set(state.films.map((film) => film.image));
  const films = body.images.map((image, index) => archived(uid, image, `Image ${index + 1}`));
  Object.assign(list, { opened: uid, changed: body.changed });
  open(films.filter((film) => !here.has(film.image)));
}

function archived(uid, image, name) {
  const path = `/studies/${uid}/images/${image.sop_instance_uid}`;
  const file = async () => (await ask(path, { as: "blob" })).body;
  const known = async () => {
    if (image.state !== "done") return null;
    return (await ask(`${path}/answer`)).body;
  };
  return Object.assign(new Film(name, file, known, uid), { image: image.sop_instance_uid });
}

function frame() {
  const search = element("input", { type: "search", id: "worklist-search", placeholder: "Name, ID, accession", "aria-label": "Search the studies" });
  search.addEventListener("input", () => searchAgain({ search: search.value.slice(0, 64) }));
  const states = element("select", { "aria-label": "State" }, element("option", { value: "" }, "All states"), ...STATES.map((each) => element("option", { value: each }, each)));
  states.addEventListener("change", () => searchAgain({ state: states.value }));
  return [
    element("div", { class: "panel-head" }, element("h2", { id: "worklist-title" }, "Studies"), element("span", { class: "note", id: "worklist-count" })),
    element("div", { class: "panel-tools" }, search, states),
    element("ul", { class: "scroll", id: "worklist-rows" }),
  ];
}

function rows() {
  if (list.problem) return [element("li", { class: "empty", role: "alert" }, list.problem)];
  if (!list.studies.length) return [element("li", { class: "empty" }, list.search || list.state ? "No study matches." : "No study has come yet. Send one to the DICOM node.")];
  return list.studies.map((study) => element("li", {}, row(study)));
}

function row(study) {
  const findings = study.positive === null ? null : study.positive.length ? study.positive.join(", ") : "none above its operating point";
  const bad = study.state === "failed" || study.state === "refused";
  return element(
    "button",
    { class: "study", type: "button", "data-study": study.study_instance_uid, "aria-current": list.opened === study.study_instance_uid ? "true" : null, onclick: () => pick(study) },
    element(
      "span",
      { class: "line" },
      element("span", { class: "title" }, readable(study.patient_name) || study.patient_id || "No name"),
      study.priority === "stat" ? element("span", { class: "tag", "data-kind": "urgent" }, "stat") : "",
      study.state === "done" ? "" : element("span", { class: "tag", "data-kind": bad ? "bad" : null }, study.state),
      element("span", { class: "time" }, clock(study.received)),
    ),
    element("span", { class: "sub" }, [`${study.images} image${study.images === 1 ? "" : "s"}`, study.patient_id, study.description || study.modality].filter(Boolean).join("  ·  ")),
    findings ? element("span", { class: "sub" }, findings) : "",
  );
}

function pick(study) {
  openStudy(study.study_instance_uid).catch((problem) => {
    list.problem = `${problem.title}. ${problem.detail}`;
    update();
  });
}

/** Today's by their time, others by their day. */
function clock(seconds) {
  const then = new Date(1000 * seconds);
  const today = new Date().toDateString() === then.toDateString();
  return today ? then.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }) : then.toLocaleDateString();
}
