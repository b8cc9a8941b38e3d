// The page on paper: the export sheet in its own proportions, and a table of all findings.
import { byId, element } from "./dom.js";
import { drawOverlay } from "./overlay.js";
import { activeRadiograph, state } from "./store.js";
import { sorted } from "./study.js";

/** Fill the sheet before each print; without an image the page prints as it is. */
export function listenToPrint() {
  addEventListener("beforeprint", () => {
    const radiograph = activeRadiograph();
    document.body.dataset.paper = String(Boolean(radiograph?.picture));
    if (radiograph?.picture) byId("paper").replaceChildren(...sheet(radiograph));
  });
  addEventListener("afterprint", () => {
    delete document.body.dataset.paper;
    byId("paper").replaceChildren();
  });
}

/** @param {import("./radiograph.js").Radiograph} radiograph */
function sheet(radiograph) {
  const { answer } = radiograph;
  const parts = [element("h1", {}, radiograph.name), drawOverlay(radiograph)];
  if (!answer) return parts;
  const { name, version, sha256 } = answer.model;
  return [
    ...parts,
    element("p", {}, element("strong", {}, "Research use only. Not for diagnosis.")),
    element(
      "table",
      {},
      element(
        "thead",
        {},
        element(
          "tr",
          {},
          ...["Finding", "Probability", "Operating point", ""].map((text) => element("th", {}, text)),
        ),
      ),
      element("tbody", {}, ...sorted(answer.findings, state.order).map(line)),
    ),
    ...answer.warnings.map(({ message }) => element("p", {}, message)),
    element(
      "p",
      {},
      `Model ${name} ${version}, SHA-256 ${sha256}. ${state.model?.intended_use ?? ""} Printed ${new Date().toLocaleString()}.`,
    ),
  ];
}

/** @param {import("./types.d.ts").FindingReport} report */
const line = ({ finding, probability, threshold, positive }) =>
  element(
    "tr",
    { "data-above": String(positive) },
    element("th", {}, finding),
    element("td", {}, probability === null ? "not supported" : probability.toFixed(3)),
    element("td", {}, threshold === null ? "" : threshold.toFixed(3)),
    element("td", {}, positive ? "above" : ""),
  );
