// The welcome screen.
import { ask } from "./api.js";
import { byId, element } from "./dom.js";
import { chest } from "./icons.js";
import { Radiograph } from "./radiograph.js";
import { open } from "./radiographs.js";

// `cxrserve phantoms DIR --count 1`, made smaller; its labels.csv says what is drawn in it.
const PHANTOM = "/viewer/phantom.jpg";
const DRAWN = "Phantom, drawn with: Consolidation, Lung Opacity, Pleural Other, Support Devices";

/** Open the phantom that comes with the viewer. */
function openPhantom() {
  open([new Radiograph(DRAWN, async () => (await ask(PHANTOM, { as: "blob" })).body)]);
}

/** Create the welcome screen. */
export const welcome = () =>
  element(
    "div",
    { class: "target" },
    chest(),
    element("h2", {}, "Drop a chest radiograph here"),
    element(
      "p",
      {},
      "DICOM, JPEG or PNG; several files of one study at once. See the findings of the ensemble, their location, and the contribution of each scale.",
    ),
    element(
      "div",
      { class: "row" },
      element(
        "button",
        {
          class: "primary",
          type: "button",
          onclick: () => byId("file-input").click(),
        },
        "Choose files",
      ),
      element("button", { class: "plain", type: "button", onclick: openPhantom }, "Try a drawn phantom"),
    ),
    element(
      "p",
      { class: "foot" },
      "Files are sent only to this service and are not stored. For demonstrating, checking and debugging a model; not for diagnosis, nor for any decision about a patient.",
    ),
  );
