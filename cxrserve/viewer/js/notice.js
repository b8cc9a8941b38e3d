// The notice below the top bar: the service is unreachable, or an action failed.
import { byId, element } from "./dom.js";
import { wake } from "./radiograph.js";
import { state } from "./store.js";

let message = "";
let drawn = "";

/** Show a sentence until the user closes it. @param {string} sentence */
export function showMessage(sentence) {
  message = sentence;
  sync();
}

/** Redraw the notice if its content has changed. */
export function sync() {
  const tasks = state.radiographs
    .flatMap((radiograph) => [radiograph.display, radiograph.prediction])
    .filter((task) => task.stage === "waiting");
  const last = tasks.at(-1);
  const node = byId("connection");
  const key = JSON.stringify([message, last?.problem?.title, last?.problem?.detail]);
  if (key === drawn) return;
  drawn = key;
  node.hidden = !message && !last;
  /** @param {string} text @param {() => void} act */
  const button = (text, act) => element("button", { class: "plain", type: "button", onclick: act }, text);
  node.replaceChildren(
    ...(last
      ? [
          element("span", {}, `${last.problem?.title}. ${last.problem?.detail}`),
          button("Try now", () => wake.dispatchEvent(new Event("now"))),
        ]
      : message
        ? [element("span", {}, message), button("Close", () => showMessage(""))]
        : []),
  );
}
