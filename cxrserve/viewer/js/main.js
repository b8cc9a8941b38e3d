// The entry point of the viewer: connects the panels to the state.
import { announce } from "./announce.js";
import { Problem, ask, onTokenWanted } from "./api.js";
import * as details from "./details.js";
import { byId } from "./dom.js";
import * as evidence from "./evidence.js";
import * as ratioPanel from "./ratio_panel.js";
import * as radiographs from "./radiographs.js";
import * as findings from "./findings.js";
import { icon } from "./icons.js";
import * as labels from "./labels.js";
import * as notice from "./notice.js";
import { listenToDrops } from "./drop.js";
import { resume, showUser } from "./login.js";
import { listenToPrint } from "./paper.js";
import { listenToKeys, showHelp } from "./shortcuts.js";
import { state, update, watch } from "./store.js";
import { onTheme, theme, toggleTheme } from "./theme.js";
import { askForToken } from "./token.js";
import * as toolbar from "./toolbar.js";
import { Viewport } from "./viewport.js";
import * as contributions from "./contributions.js";
import { welcome } from "./welcome.js";
import { counted } from "./study.js";
import * as whatIf from "./what_if.js";
import * as worklist from "./worklist.js";

const MAX_VIEWS = 4;
const views = Array.from({ length: MAX_VIEWS }, (_, index) => new Viewport(index));
const active = () => views[state.active];
/** @type {Set<import("./radiograph.js").Radiograph>} */
const announced = new Set();

function sync() {
  const empty = state.radiographs.length === 0;
  byId("welcome").hidden = !empty;
  byId("views").hidden = empty;
  byId("reading").hidden = empty;
  byId("views").dataset.layout = String(state.layout);
  byId("views").dataset.labels = String(state.labels);
  for (const view of views) view.sync();
  toolbar.sync(active);
  radiographs.sync();
  findings.sync();
  evidence.sync();
  contributions.sync();
  ratioPanel.sync();
  whatIf.sync();
  labels.sync();
  details.sync();
  notice.sync();
  worklist.sync();
  announceAnswers();
}

/** Announce each answer once to screen readers. */
function announceAnswers() {
  for (const radiograph of state.radiographs) {
    if (announced.has(radiograph) || (!radiograph.answer && !radiograph.problem)) continue;
    announced.add(radiograph);
    const above = counted(radiograph.answer?.findings ?? []).map((row) => row.finding);
    announce(
      radiograph.problem
        ? `${radiograph.name}: ${radiograph.problem.title}. ${radiograph.problem.detail}`
        : `${radiograph.name}: ${above.length ? `above the operating point: ${above.join(", ")}` : "no finding above its operating point"}`,
    );
  }
}

/** Load the description of the model; try again while the service is starting. */
async function loadModel() {
  try {
    const { body } = await ask("/model");
    update((all) => (all.model = body));
  } catch (problem) {
    if (problem instanceof Problem && problem.transient) setTimeout(loadModel, 2000);
  }
}

byId("views").append(...views.map((view) => view.node));
byId("welcome").append(welcome());
byId("help-button").addEventListener("click", showHelp);
byId("theme").addEventListener("click", toggleTheme);
onTheme(() => byId("theme").replaceChildren(icon(theme() === "dark" ? "sun" : "moon")));
byId("open").addEventListener("click", () => byId("file-input").click());
byId("file-input").addEventListener("change", (/** @type {Event & {target: HTMLInputElement}} */ event) => {
  radiographs.openFiles([...(event.target.files ?? [])]);
  event.target.value = "";
});
document.querySelector("a.brand")?.addEventListener("click", (event) => {
  if (state.radiographs.length) event.preventDefault(); // would throw the open images away
});
addEventListener("beforeunload", (event) => {
  if (state.radiographs.some((radiograph) => !radiograph.study)) event.preventDefault();
});
onTokenWanted(askForToken);
listenToDrops(radiographs.openFiles);
listenToKeys(active);
listenToPrint();
watch(sync);
sync();
if (!resume()) {
  void loadModel();
  void worklist.start();
  void showUser();
}

export { views };
