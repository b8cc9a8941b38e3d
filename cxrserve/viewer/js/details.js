// What was done to the image, its warnings, and which model judged it.
import { byId, element, whole } from "./dom.js";
import { icon } from "./icons.js";
import { activeFilm, state } from "./store.js";

const place = () => byId("details");
let drawn = "";

export function sync() {
  const film = activeFilm();
  const header = film?.picture?.header;
  place().hidden = !film?.answer && !header;
  const key = `${film?.key}/${Boolean(film?.answer)}/${Boolean(header)}/${Boolean(state.model)}`;
  if (place().hidden || key === drawn) return;
  drawn = key;
  const warnings = [...new Set([...(film.answer?.warnings ?? []), ...(header?.warnings ?? [])])];
  place().replaceChildren(
    element("div", { class: "head" }, element("h2", { id: "details-title" }, "This image")),
    ...warnings.map((text) => element("p", { class: "warning" }, icon("warning"), element("span", {}, text))),
    element("dl", { class: "facts" }, ...facts(film, header)),
  );
}

function* facts(film, header) {
  const about = film.answer?.image ?? header.about;
  yield* fact("File", film.name);
  yield* fact("Format", [about.format.toUpperCase(), about.photometric_interpretation, header && `${header.about.bits_stored} bit`].filter(Boolean).join(", "));
  yield* fact("Size", `${whole(about.columns)} × ${whole(about.rows)} pixels`);
  const answer = film.answer;
  if (!answer) return;
  yield* fact("Profile", answer.image.profile);
  yield* fact("Done to it", element("ul", { class: "steps" }, ...answer.image.applied.map((step) => element("li", {}, step))));
  yield* fact("Time", `${whole(answer.timing_ms.total)} ms in the service`);
  const { name, version, sha256 } = answer.model;
  yield* fact("Model", element("span", {}, `${name} ${version}  `, element("a", { href: "/viewer/model.html" }, "about it"), state.model?.report ? "  ·  " : "", state.model?.report ? element("a", { href: state.model?.report, target: "_blank", rel: "noopener" }, "its report") : ""));
  yield* fact("SHA-256", element("code", { title: sha256 }, `${sha256.slice(0, 16)}…`));
}

const fact = (name, value) => [element("dt", {}, name), element("dd", {}, value)];
