// The viewer: puts the parts together, and says who hears of changes.
import { announce } from "./announce.js";
import { ask, onTokenWanted } from "./api.js";
import * as details from "./details.js";
import { byId } from "./dom.js";
import * as evidence from "./evidence.js";
import * as films from "./films.js";
import * as findings from "./findings.js";
import { icon } from "./icons.js";
import * as notice from "./notice.js";
import { listenToDrops } from "./drop.js";
import { listenToKeys, showHelp } from "./shortcuts.js";
import { state, update, watch } from "./store.js";
import { onTheme, theme, toggleTheme } from "./theme.js";
import { askForToken } from "./token.js";
import * as toolbar from "./toolbar.js";
import { Viewport } from "./viewport.js";
import * as votes from "./votes.js";
import { welcome } from "./welcome.js";
import * as worklist from "./worklist.js";

const MOST_VIEWS = 4;
const views = Array.from({ length: MOST_VIEWS }, (_, index) => new Viewport(index));
const active = () => views[state.active];
const told = new Set();

function sync() {
  const empty = state.films.length === 0;
  byId("welcome").hidden = !empty;
  byId("views").hidden = empty;
  byId("reading").hidden = empty;
  byId("views").dataset.layout = String(state.layout);
  byId("views").dataset.words = String(state.words);
  for (const view of views) view.sync();
  toolbar.sync(active);
  films.sync();
  findings.sync();
  evidence.sync();
  votes.sync();
  details.sync();
  notice.sync();
  worklist.sync();
  tellOfAnswers();
}

/** A screen reader hears of each answer once. */
function tellOfAnswers() {
  for (const film of state.films) {
    if (told.has(film) || (!film.answer && !film.problem)) continue;
    told.add(film);
    const above = film.answer?.findings.filter((each) => each.positive).map((each) => each.finding) ?? [];
    announce(film.problem ? `${film.name}: ${film.problem.title}. ${film.problem.detail}` : `${film.name}: ${above.length ? `above the operating point: ${above.join(", ")}` : "no finding above its operating point"}`);
  }
}

/** What the model is does not change while it serves; where it is not ready yet, later. */
async function learnModel() {
  try {
    const { body } = await ask("/model");
    update((all) => (all.model = body));
  } catch (problem) {
    if (problem.transient) setTimeout(learnModel, 2000);
  }
}

byId("views").append(...views.map((view) => view.node));
byId("welcome").append(welcome());
byId("help-button").addEventListener("click", showHelp);
byId("theme").addEventListener("click", toggleTheme);
onTheme(() => byId("theme").replaceChildren(icon(theme() === "dark" ? "sun" : "moon")));
byId("open").addEventListener("click", () => byId("file-input").click());
byId("file-input").addEventListener("change", (event) => {
  films.openFiles([...event.target.files]);
  event.target.value = "";
});
onTokenWanted(askForToken);
listenToDrops(films.openFiles);
listenToKeys(active);
watch(sync);
sync();
void learnModel();
void worklist.start();

export { views };
