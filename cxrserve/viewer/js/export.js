// What can be taken along: the overlay as PNG, the answer as JSON, the DICOM objects.
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

/** @param {import("./film.js").Film|undefined} film */
export function exportMenu(film) {
  const node = element("div", { class: "with-menu" });
  redraw = () => fill(node, film);
  redraw();
  node.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && open) return toggle(false);
    const items = [...node.querySelectorAll("[role=menuitem]")];
    const at = items.indexOf(document.activeElement) + { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (Number.isNaN(at)) return;
    event.preventDefault();
    event.stopPropagation();
    items[(at + items.length) % items.length]?.focus();
  });
  return node;
}

document.addEventListener("pointerdown", (event) => {
  if (open && !(event.target instanceof Element && event.target.closest(".with-menu"))) toggle(false);
});

export function toggle(to = !open) {
  open = to;
  redraw();
  document.querySelector(open ? ".menu [role=menuitem]:not(:disabled)" : "#export")?.focus();
}

function fill(node, film) {
  const picked = state.finding && film?.answer;
  const isDicom = film?.picture?.header.about.format === "dicom";
  const item = (id, name, note, act, off) =>
    element("button", { id, type: "button", role: "menuitem", tabindex: "-1", disabled: off, onclick: () => finish(act) }, icon("save"), element("span", {}, name, element("small", {}, note)));
  node.replaceChildren(
    element("button", { id: "export", class: "plain", type: "button", "aria-label": "Export", "aria-haspopup": "menu", "aria-expanded": String(open), disabled: !film?.picture, onclick: () => toggle() }, icon("save"), element("span", {}, "Export")),
    open
      ? element(
          "div",
          { class: "menu", role: "menu", "aria-label": "Export" },
          item("export-png", "Picture, PNG", picked ? `${state.finding} over the radiograph, with its scale` : "The radiograph as it is windowed", () => savePng(film), false),
          item("export-json", "Answer, JSON", "Probabilities, scales and all heatmaps", () => saveJson(film), !film?.answer),
          item("export-dicom", "DICOM objects, ZIP", isDicom ? "Report, overlay and what else the service makes" : "Only for images that came as DICOM", () => saveDicom(film), !isDicom || !film?.answer),
        )
      : "",
  );
}

async function finish(act) {
  toggle(false);
  try {
    announce(`Saved ${await act()}`);
  } catch (problem) {
    const said = problem instanceof Problem ? problem : new Problem({ title: "It could not be saved", detail: String(problem), status: -1 });
    const { tell } = await import("./notice.js");
    tell(`${said.title}. ${said.detail}`);
  }
}

async function savePng(film) {
  const blob = await new Promise((resolve) => drawOverlay(film).toBlob(resolve, "image/png"));
  return save(blob, `${state.finding ? slug(state.finding) : "radiograph"}.png`);
}

async function saveJson(film) {
  return save(new Blob([JSON.stringify(film.answer, null, 1)], { type: "application/json" }), "answer.json");
}

async function saveDicom(film) {
  const { body, header } = film.study
    ? await ask(`/studies/${film.study}/results`, { as: "bytes" })
    : await ask("/predict?accept=dicom", { method: "POST", body: film.blob, as: "bytes" });
  const parts = partsOf(new Uint8Array(body), header("Content-Type") ?? "");
  return save(new Blob([zipped(parts.map((bytes, index) => ({ name: `object-${index + 1}.dcm`, bytes })))], { type: "application/zip" }), "dicom-objects.zip");
}

/** File names hold no patient: only what it is. */
function save(blob, what) {
  const name = `cxrserve-${what}`;
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  return name;
}

const slug = (name) => name.toLowerCase().replaceAll(" ", "-");
