// The line below the top bar: the service is away, or something could not be done.
import { byId, element } from "./dom.js";
import { wake } from "./film.js";
import { state } from "./store.js";

let told = "";
let drawn = "";

/** Say a sentence until it is dismissed. @param {string} sentence */
export function tell(sentence) {
  told = sentence;
  sync();
}

export function sync() {
  const tasks = state.films.flatMap((film) => [film.shown, film.judged]).filter((task) => task.stage === "waiting");
  const last = tasks.at(-1);
  const node = byId("connection");
  const key = JSON.stringify([told, last?.problem.title, last?.problem.detail]);
  if (key === drawn) return;
  drawn = key;
  node.hidden = !told && !last;
  const button = (text, act) => element("button", { class: "plain", type: "button", onclick: act }, text);
  node.replaceChildren(
    ...(last
      ? [element("span", {}, `${last.problem.title}. ${last.problem.detail}`), button("Try now", () => wake.dispatchEvent(new Event("now")))]
      : told
        ? [element("span", {}, told), button("Close", () => tell(""))]
        : []),
  );
}
