// Details of the active image: warnings, preprocessing, and the model that analysed it.
import { byId, element, whole } from "./dom.js";
import { icon } from "./icons.js";
import { activeRadiograph, state } from "./store.js";

const place = () => byId("details");
let drawn = "";

/** Redraw the panel if its content has changed. */
export function sync() {
  const radiograph = activeRadiograph();
  const header = radiograph?.picture?.header;
  place().hidden = !radiograph?.answer && !header;
  const key = `${radiograph?.key}/${Boolean(radiograph?.answer)}/${Boolean(header)}/${Boolean(state.model)}`;
  if (!radiograph || place().hidden || key === drawn) return;
  drawn = key;
  const warnings = [
    ...new Set(
      [...(radiograph.answer?.warnings ?? []), ...(header?.warnings ?? [])].map((warning) => warning.message),
    ),
  ];
  place().replaceChildren(
    element("div", { class: "head" }, element("h2", { id: "details-title" }, "This image")),
    ...warnings.map((text) => element("p", { class: "warning" }, icon("warning"), element("span", {}, text))),
    element("dl", { class: "facts" }, ...facts(radiograph, header)),
  );
}

/** @param {import("./radiograph.js").Radiograph} radiograph @param {import("./types.d.ts").DisplayHeader|undefined} header */
function* facts(radiograph, header) {
  const about = radiograph.answer?.image ?? header?.about;
  if (!about) return;
  yield* fact("File", radiograph.name);
  yield* fact(
    "Format",
    [
      about.format.toUpperCase(),
      about.photometric_interpretation,
      header && `${header.about.bits_stored} bit`,
    ]
      .filter(Boolean)
      .join(", "),
  );
  yield* fact("Size", `${whole(about.columns)} × ${whole(about.rows)} pixels`);
  const answer = radiograph.answer;
  if (!answer) return;
  yield* fact("Profile", answer.image.profile);
  yield* fact(
    "Preprocessing",
    element("ul", { class: "steps" }, ...answer.image.applied.map((step) => element("li", {}, step))),
  );
  yield* fact("Time", `${whole(answer.timing_ms.total)} ms in the service`);
  const { name, version, sha256 } = answer.model;
  yield* fact(
    "Model",
    element(
      "span",
      {},
      `${name} ${version}  `,
      element("a", { href: "/viewer/model.html", target: "_blank", rel: "noopener" }, "about it"),
      state.model?.report ? "  ·  " : "",
      state.model?.report
        ? element("a", { href: state.model?.report, target: "_blank", rel: "noopener" }, "its report")
        : "",
    ),
  );
  yield* fact("SHA-256", element("code", { title: sha256 }, `${sha256.slice(0, 16)}…`));
}

/** @param {string} name @param {string|Node} value */
const fact = (name, value) => [element("dt", {}, name), element("dd", {}, value)];
