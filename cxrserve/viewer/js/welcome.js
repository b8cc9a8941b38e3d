// The welcome screen.
import { byId, element } from "./dom.js";
import { chest } from "./icons.js";

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
    ),
    element(
      "p",
      { class: "foot" },
      "Files are sent only to this service and are not stored. For demonstrating, checking and debugging a model; not for diagnosis, nor for any decision about a patient.",
    ),
  );
