// The page of the watch: what changed in the films, in words first, then as small multiples.
import { Problem, ask, onTokenWanted } from "./api.js";
import { byId, element, percent, svg, whole } from "./dom.js";
import { icon } from "./icons.js";
import { onTheme, theme, toggleTheme } from "./theme.js";
import { askForToken } from "./token.js";

const REFRESH_MS = 60_000;
const DRAFT = "cxrserve site draft BUNDLE FILMS --labels labels.csv --out site.json";

/** @typedef {{name: string, label: string, kind: "number"|"yes-or-no", evidence: number, tenths: number[]}} Stream */
/** @typedef {{finding: string, positives: number, expected: number}} FindingCount */
/**
 * @typedef {object} Group
 * @property {string} station @property {string} view @property {number} films @property {number} films_30_days
 * @property {number} refused_30_days @property {"site"|"first-films"|"gathering"} reference
 * @property {number} reference_films @property {boolean} watched
 * @property {Stream[]} streams @property {FindingCount[]} findings
 */
/** @typedef {{station: string, view: string, stream: string, since: string, evidence: number, text: string}} Change */
/**
 * @typedef {object} Report
 * @property {boolean} alarm @property {number} evidence @property {number} bound @property {string} summary
 * @property {boolean} stored @property {number} films_needed @property {string|null} site
 * @property {Change[]} changes @property {Group[]} groups
 */

/** @param {Report} report */
function head(report) {
  return [
    element("h1", {}, report.alarm ? "The films have changed" : "The watch"),
    element("p", { class: "sub", role: "status" }, report.summary),
    report.changes.length
      ? element("ul", { class: "changes" }, ...report.changes.map((change) => element("li", {}, change.text)))
      : null,
    element(
      "p",
      { class: "sub" },
      `Evidence ${report.evidence.toFixed(2)}, alarm from ${report.bound.toFixed(2)} on (log10): on average at least a year passes until a false alarm, over all stations and streams together.`,
      report.site ? ` Site file: ${report.site}.` : " No site file: the first films are the reference.",
      report.stored ? "" : " CXRSERVE_WATCH is not set: the counts are lost when the service ends.",
    ),
    report.alarm ? command() : null,
  ];
}

function command() {
  const said = element("span", { class: "sub", role: "status" });
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(DRAFT);
      said.textContent = "Copied.";
    } catch {
      said.textContent = "The browser does not allow it: select the text.";
    }
  };
  return element(
    "div",
    { class: "command" },
    element("span", {}, "If the change is meant to stay, make a site file from films after it:"),
    element("code", {}, DRAFT),
    element("button", { class: "plain", type: "button", onclick: copy }, "Copy the command"),
    said,
  );
}

/** @param {Group} group */
function title(group) {
  const view = group.view === "all" || group.view === "other" ? "" : `, ${group.view}`;
  if (group.station === "all") return "All films";
  return `${group.station === "other" ? "Stations without a name" : group.station}${view || ", other views"}`;
}

/** @param {Group} group @param {number} needed */
function source(group, needed) {
  const films = `${whole(group.films_30_days)} films in 30 days, ${whole(group.refused_30_days)} of them refused. `;
  if (group.reference === "gathering")
    return `${films}The reference is being gathered: ${whole(group.reference_films)} of ${whole(needed)} films.`;
  const from = group.reference === "site" ? "the site file" : "the first films";
  const reference = `${films}Reference: ${whole(group.reference_films)} films of ${from}`;
  return group.watched ? `${reference}.` : `${reference}; too few for an alarm.`;
}

/** @param {Stream} stream @param {boolean} changed */
function multiple(stream, changed) {
  const films = stream.tenths.reduce((sum, count) => sum + count, 0);
  const caption = element("figcaption", {}, stream.label);
  if (!films)
    return element("figure", {}, caption, element("p", { class: "none" }, "No films in the last 30 days."));
  if (stream.kind === "yes-or-no")
    return element(
      "figure",
      { "data-changed": String(changed) },
      caption,
      element("p", {}, `${percent(1 - stream.tenths[0] / films)} of the films`),
    );
  const shares = stream.tenths.map((count) => count / films);
  const top = Math.max(0.2, ...shares);
  const bars = shares.map((share, index) =>
    svg("rect", { x: index * 10 + 1, y: 40 - (40 * share) / top, width: 8, height: (40 * share) / top }),
  );
  const even = 40 - (40 * 0.1) / top;
  const label = `${stream.label}: ${shares.map((share) => `${Math.round(100 * share)} %`).join(", ")} of the films in the ten tenths of the reference`;
  return element(
    "figure",
    { "data-changed": String(changed) },
    caption,
    svg(
      "svg",
      { viewBox: "0 0 100 40", preserveAspectRatio: "none", role: "img", "aria-label": label },
      ...bars,
      svg("line", { x1: 0, x2: 100, y1: even, y2: even }),
    ),
  );
}

/** @param {Group} group */
function findings(group) {
  if (!group.findings.length) return null;
  const rows = group.findings.map(({ finding, positives, expected }) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, finding),
      element("td", {}, whole(positives)),
      element("td", {}, expected.toFixed(1)),
    ),
  );
  const heads = ["Finding", "positive films", "sum of probabilities"];
  return element(
    "div",
    { class: "scroll-x", tabindex: "0", role: "region", "aria-label": `Positives: ${title(group)}` },
    element(
      "table",
      {},
      element("thead", {}, element("tr", {}, ...heads.map((name) => element("th", { scope: "col" }, name)))),
      element("tbody", {}, ...rows),
    ),
  );
}

/** @param {Report} report @param {Group} group */
function section(report, group) {
  /** @param {Stream} stream */
  const changed = (stream) =>
    report.changes.some(
      (change) =>
        change.station === group.station && change.view === group.view && change.stream === stream.name,
    );
  return [
    element("h2", {}, title(group)),
    element("p", { class: "sub" }, source(group, report.films_needed)),
    group.streams.length
      ? element(
          "p",
          { class: "sub" },
          "Each bar is the share of the films in one tenth of the reference; the line is where all ten lie if nothing changed.",
        )
      : null,
    element(
      "div",
      { class: "multiples" },
      ...group.streams.map((stream) => multiple(stream, changed(stream))),
    ),
    group.findings.length ? element("h3", {}, "Positives of the last 30 days") : null,
    findings(group),
  ];
}

async function start() {
  const place = byId("watch");
  try {
    const { body: report } = await ask("/watch");
    const parts = [
      head(report),
      ...report.groups.map((/** @type {Group} */ group) => section(report, group)),
    ];
    place.replaceChildren(...parts.flat().filter((part) => part !== null));
    setTimeout(start, REFRESH_MS);
  } catch (error) {
    const problem =
      error instanceof Problem
        ? error
        : new Problem({ title: "This page has an error", detail: String(error), status: -1 });
    place.replaceChildren(
      element("h1", {}, problem.title),
      element("p", { class: "sub", role: "alert" }, problem.detail),
    );
    if (problem.transient) setTimeout(start, 2000);
  }
}

byId("theme").addEventListener("click", toggleTheme);
onTheme(() => byId("theme").replaceChildren(icon(theme() === "dark" ? "sun" : "moon")));
onTokenWanted(askForToken);
void start();
