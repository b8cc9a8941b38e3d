// What a view says instead of a picture, or over it: empty, under way, waiting for the service, refused.
import { wake } from "./film.js";
import { element } from "./dom.js";
import { state } from "./store.js";

const WORDS = { idle: "Waiting for its turn", sending: "Sending", working: "Decoding", waiting: "Waiting for the service" };

/** Fill `node` for `film`. */
export function viewState(node, film, index) {
  const said = words(film, index);
  const key = JSON.stringify(said && [said.kind, said.title, said.text, Math.round((said.share ?? 0) * 20)]);
  node.hidden = !said;
  if (node.dataset.key === key) return;
  node.dataset.key = key;
  node.className = `view-state ${said?.kind ?? ""}`;
  node.replaceChildren(...(said ? children(said, film) : []));
}

function words(film, index) {
  if (!film) return state.films.length ? { kind: "view-empty", text: `View ${index + 1}: choose an image on the left` } : null;
  const { stage, problem, share } = film.shown;
  if (film.picture) return null;
  if (stage === "failed") return { kind: "problem", title: problem.title, text: problem.detail, again: !problem.final };
  if (stage === "waiting") return { kind: "busy", title: problem.title, text: problem.detail, now: true };
  return { kind: "busy", text: WORDS[stage] ?? "", share: stage === "sending" && share > 0 && share < 1 ? share : 0 };
}

function children({ kind, title, text, share, again, now }, film) {
  const bar = kind === "busy" && element("div", { class: "progress", "aria-hidden": "true", "data-share": share ? "" : null, "--share": share ? `${share * 100}%` : null });
  return [
    bar,
    title && element("h3", {}, title),
    element("p", {}, text),
    again && element("button", { class: "plain", type: "button", onclick: () => film.start() }, "Try again"),
    now && element("button", { class: "plain", type: "button", onclick: () => wake.dispatchEvent(new Event("now")) }, "Try now"),
  ].filter(Boolean);
}
