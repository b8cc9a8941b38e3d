// The message of a view without a picture: empty, in progress, waiting for the service, refused.
import { wake } from "./radiograph.js";
import { element } from "./dom.js";
import { state } from "./store.js";

/** @typedef {{kind: string, text: string, title?: string, again?: boolean, now?: boolean, share?: number}} Message */

/** @type {Record<string, string>} */
const WORDS = {
  idle: "Queued",
  sending: "Sending",
  working: "Decoding",
  waiting: "Waiting for the service",
};

/** Fill `node`. @param {HTMLElement} node @param {import("./radiograph.js").Radiograph|null} radiograph @param {number} index */
export function viewState(node, radiograph, index) {
  const message = messageOf(radiograph, index);
  const key = JSON.stringify(
    message && [message.kind, message.title, message.text, Math.round((message.share ?? 0) * 20)],
  );
  node.hidden = !message;
  if (node.dataset.key === key) return;
  node.dataset.key = key;
  node.className = `view-state ${message?.kind ?? ""}`;
  node.replaceChildren(...(message ? children(message, radiograph) : []));
}

/** @param {import("./radiograph.js").Radiograph|null} radiograph @param {number} index @returns {Message|null} */
function messageOf(radiograph, index) {
  if (!radiograph)
    return state.radiographs.length
      ? {
          kind: "view-empty",
          text: `View ${index + 1}: choose an image on the left`,
        }
      : null;
  const { stage, problem, share } = radiograph.display;
  if (radiograph.picture) return null;
  if (stage === "failed" && problem)
    return {
      kind: "problem",
      title: problem.title,
      text: problem.detail,
      again: !problem.final,
    };
  if (stage === "waiting" && problem)
    return {
      kind: "busy",
      title: problem.title,
      text: problem.detail,
      now: true,
    };
  return {
    kind: "busy",
    text: WORDS[stage] ?? "",
    share: stage === "sending" && share > 0 && share < 1 ? share : 0,
  };
}

/** @param {Message} message @param {import("./radiograph.js").Radiograph|null} radiograph @returns {Node[]} */
function children({ kind, title, text, share, again, now }, radiograph) {
  const bar =
    kind === "busy" &&
    element("div", {
      class: "progress",
      "aria-hidden": "true",
      "data-share": share ? "" : null,
      "--share": share ? `${share * 100}%` : null,
    });
  /** @type {(Node|false|undefined|""|null)[]} */
  const nodes = [
    bar,
    title && element("h3", {}, title),
    element("p", {}, text),
    again &&
      element("button", { class: "plain", type: "button", onclick: () => radiograph?.start() }, "Try again"),
    now &&
      element(
        "button",
        {
          class: "plain",
          type: "button",
          onclick: () => wake.dispatchEvent(new Event("now")),
        },
        "Try now",
      ),
  ];
  return nodes.filter((node) => node instanceof Node);
}
