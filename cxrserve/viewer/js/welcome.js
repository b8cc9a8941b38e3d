// The first screen.
import { byId, element } from "./dom.js";
import { chest } from "./icons.js";

export const welcome = () =>
  element(
    "div",
    { class: "target" },
    chest(),
    element("h2", {}, "Drop a chest radiograph here"),
    element("p", {}, "DICOM, JPEG or PNG; several files of one study at once. See what the ensemble thinks, where, and at which scale."),
    element("div", { class: "row" }, element("button", { class: "primary", type: "button", onclick: () => byId("file-input").click() }, "Choose files")),
    element("p", { class: "foot" }, "Files go to this service alone and are not kept. For demonstrating, checking and debugging a model; not for diagnosis and not for any decision about a patient."),
  );
