// The export menu: the overlay as PNG, the answer as JSON, the DICOM objects.
import { announce } from "./announce.js";
import { Problem, ask } from "./api.js";
import { element } from "./dom.js";
import { drawOverlay } from "./overlay.js";
import { icon } from "./icons.js";
import { partsOf } from "./multipart.js";
import { state } from "./store.js";
import { zipped } from "./zip.js";

let open = false;
let redraw = () => {};

/** Create the menu. @param {import("./radiograph.js").Radiograph|undefined} radiograph */
export function exportMenu(radiograph) {
  const node = element("div", { class: "with-menu" });
  redraw = () => fill(node, radiograph);
  redraw();
  node.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && open) return toggle(false);
    const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    if (!step) return;
    const items = /** @type {HTMLElement[]} */ ([...node.querySelectorAll("[role=menuitem]")]);
    const at = items.findIndex((item) => item === document.activeElement) + step;
    event.preventDefault();
    event.stopPropagation();
    items[(at + items.length) % items.length]?.focus();
  });
  return node;
}

document.addEventListener("pointerdown", (event) => {
  if (open && !(event.target instanceof Element && event.target.closest(".with-menu"))) toggle(false);
});

/** Open or close the menu. */
export function toggle(to = !open) {
  open = to;
  redraw();
  /** @type {HTMLElement|null} */ (
    document.querySelector(open ? ".menu [role=menuitem]:not(:disabled)" : "#export")
  )?.focus();
}

/** @param {HTMLElement} node @param {import("./radiograph.js").Radiograph|undefined} radiograph */
function fill(node, radiograph) {
  const picked = state.finding && radiograph?.answer;
  /** @typedef {(radiograph: import("./radiograph.js").Radiograph) => Promise<string>} Save */
  const isDicom = radiograph?.picture?.header.about.format === "dicom";
  /** @param {string} id @param {string} name @param {string} note @param {Save} save @param {boolean} off */
  const item = (id, name, note, save, off) =>
    element(
      "button",
      {
        id,
        type: "button",
        role: "menuitem",
        tabindex: "-1",
        disabled: off,
        onclick: () => radiograph && finish(radiograph, save),
      },
      icon("save"),
      element("span", {}, name, element("small", {}, note)),
    );
  node.replaceChildren(
    element(
      "button",
      {
        id: "export",
        class: "plain",
        type: "button",
        "aria-label": "Export",
        "aria-haspopup": "menu",
        "aria-expanded": String(open),
        disabled: !radiograph?.picture,
        onclick: () => toggle(),
      },
      icon("save"),
      element("span", {}, "Export"),
    ),
    open
      ? element(
          "div",
          { class: "menu", role: "menu", "aria-label": "Export" },
          item(
            "export-png",
            "Picture, PNG",
            picked
              ? `${state.finding} over the radiograph, with its scale`
              : "The radiograph as it is windowed",
            savePng,
            false,
          ),
          item(
            "export-json",
            "Answer, JSON",
            "Probabilities, scales and all heatmaps",
            saveJson,
            !radiograph?.answer,
          ),
          item(
            "export-dicom",
            "DICOM objects, ZIP",
            isDicom
              ? "Report, overlay and what else the service makes"
              : "Only for images that came as DICOM",
            saveDicom,
            !isDicom || !radiograph?.answer,
          ),
        )
      : "",
  );
}

/** @param {import("./radiograph.js").Radiograph} radiograph @param {(radiograph: import("./radiograph.js").Radiograph) => Promise<string>} save */
async function finish(radiograph, save) {
  toggle(false);
  try {
    announce(`Saved ${await save(radiograph)}`);
  } catch (error) {
    const problem =
      error instanceof Problem
        ? error
        : new Problem({
            title: "It could not be saved",
            detail: String(error),
            status: -1,
          });
    const { showMessage } = await import("./notice.js");
    showMessage(`${problem.title}. ${problem.detail}`);
  }
}

/** @param {import("./radiograph.js").Radiograph} radiograph */
async function savePng(radiograph) {
  /** @type {Blob|null} */
  const blob = await new Promise((resolve) => drawOverlay(radiograph).toBlob(resolve, "image/png"));
  if (!blob) throw new Error("the browser could not encode the picture.");
  return download(blob, `${state.finding ? slug(state.finding) : "radiograph"}.png`);
}

/** @param {import("./radiograph.js").Radiograph} radiograph */
async function saveJson(radiograph) {
  return download(
    new Blob([JSON.stringify(radiograph.answer, null, 1)], {
      type: "application/json",
    }),
    "answer.json",
  );
}

/** @param {import("./radiograph.js").Radiograph} radiograph */
async function saveDicom(radiograph) {
  const { body, header } = radiograph.study
    ? await ask(`/studies/${radiograph.study}/results`, { as: "bytes" })
    : await ask("/predict?accept=dicom", {
        method: "POST",
        body: radiograph.blob,
        as: "bytes",
      });
  const parts = partsOf(new Uint8Array(body), header("Content-Type") ?? "");
  return download(
    new Blob(
      [
        zipped(
          parts.map((bytes, index) => ({
            name: `object-${index + 1}.dcm`,
            bytes,
          })),
        ),
      ],
      { type: "application/zip" },
    ),
    "dicom-objects.zip",
  );
}

/** Save a file. Its name contains no patient data. @param {Blob} blob @param {string} what */
function download(blob, what) {
  const name = `cxrserve-${what}`;
  const link = element("a", {
    href: URL.createObjectURL(blob),
    download: name,
  });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  return name;
}

/** @param {string} name */
const slug = (name) => name.toLowerCase().replaceAll(" ", "-");
