// The figures of the model's page: reliability, decision curves, who is refused, and what a site changed.
import { element, percent, svg, whole } from "./dom.js";

/** @typedef {import("./types.d.ts").Interval} Interval */
/** @typedef {import("./types.d.ts").EvaluatedFinding} EvaluatedFinding */
/** @typedef {import("./types.d.ts").Evaluation} Evaluation */
/** @typedef {import("./types.d.ts").AdoptedSite} AdoptedSite */

// Side of a panel in its own units; SVG grows downwards, a figure upwards.
const SIDE = 100;
/** @param {number} value */
const up = (value) => SIDE * (1 - value);
/** @param {number} value */
const three = (value) => value.toFixed(3);
/** @param {number[]} xs @param {number[]} ys */
const points = (xs, ys) => xs.map((x, index) => `${(SIDE * x).toFixed(2)},${ys[index].toFixed(2)}`).join(" ");

/**
 * A small figure with its name above.
 * @param {string} name @param {string} label what it shows, for those who do not see it @param {...SVGElement|null} parts
 */
const panel = (name, label, ...parts) =>
  element(
    "figure",
    {},
    element("figcaption", {}, name),
    svg("svg", { viewBox: `-2 -2 ${SIDE + 4} ${SIDE + 4}`, role: "img", "aria-label": label }, ...parts),
  );

/** @param {string} title @param {string} words @param {HTMLElement[]} panels */
const multiples = (title, words, panels) =>
  panels.length
    ? [
        element("h2", {}, title),
        element("p", { class: "sub" }, words),
        element("div", { class: "panels" }, ...panels),
      ]
    : [];

/** @param {EvaluatedFinding} finding */
function reliability(finding) {
  const { probability_B: said, frequency_B: seen, count_B: films } = finding.calibration;
  const { low_B: low = seen, high_B: high = seen } = finding.calibration;
  const most = Math.max(...films);
  const spoken = said.map((value, bin) => `at ${percent(value)} ${percent(seen[bin])}`).join(", ");
  return panel(
    finding.name,
    `${finding.name}: ${spoken} of the images show it`,
    svg("line", { class: "ideal", x1: 0, y1: SIDE, x2: SIDE, y2: 0 }),
    ...said.map((value, bin) =>
      svg("line", { class: "band", x1: SIDE * value, x2: SIDE * value, y1: up(low[bin]), y2: up(high[bin]) }),
    ),
    svg("polyline", { class: "curve", points: points(said, seen.map(up)) }),
    ...said.map((value, bin) =>
      svg("circle", { cx: SIDE * value, cy: up(seen[bin]), r: 1.5 + 3 * Math.sqrt(films[bin] / most) }),
    ),
    svg("text", { x: SIDE, y: SIDE - 3, "text-anchor": "end" }, `ECE ${three(finding.calibration.ece)}`),
  );
}

/** @param {EvaluatedFinding} finding */
function decisions(finding) {
  const curve = finding.decisions;
  if (!curve) return [];
  // Net benefits lie between −0.25 and 1 of the panel; what costs more is cut off.
  /** @param {number} value */
  const y = (value) => up((Math.min(1, Math.max(-0.25, value)) + 0.25) / 1.25);
  const { threshold_T: at } = curve;
  const band = `${points(at, curve.high_T.map(y))} ${points([...at].reverse(), [...curve.low_T].reverse().map(y))}`;
  const point = finding.threshold;
  const nearest = at.reduce(
    (best, value, index) =>
      Math.abs(value - (point ?? 0.5)) < Math.abs(at[best] - (point ?? 0.5)) ? index : best,
    0,
  );
  return [
    panel(
      finding.name,
      `${finding.name}: net benefit ${percent(curve.value_T[nearest])} of a perfect model’s at the threshold ${three(at[nearest])}`,
      svg("line", { class: "ideal", x1: 0, x2: SIDE, y1: y(0), y2: y(0) }),
      svg("polyline", { class: "all", points: points(at, curve.all_T.map(y)) }),
      svg("polygon", { class: "band", points: band }),
      svg("polyline", { class: "curve", points: points(at, curve.value_T.map(y)) }),
      point === null || point === undefined
        ? null
        : svg("line", { class: "point", x1: SIDE * point, x2: SIDE * point, y1: 0, y2: SIDE }),
    ),
  ];
}

/** @param {Evaluation} report */
function refusals(report) {
  const check = report.film_check;
  if (!check) return [];
  const top = Math.max(0.05, ...check.groups.map((group) => group.refused.high ?? group.refused.value));
  const rows = check.groups.flatMap((group) => {
    const { value, low, high } = group.refused;
    const said = `${percent(value)} refused, ${percent(low ?? value)} to ${percent(high ?? value)}`;
    return [
      element("span", {}, group.by === "all" ? "all images" : `${group.by}: ${group.group}`),
      element(
        "span",
        {
          class: "range",
          role: "img",
          "aria-label": `${group.group}: ${said}`,
          "data-uneven": group.uneven ? "true" : null,
          "--low": `${(100 * (low ?? value)) / top}%`,
          "--high": `${(100 * (high ?? value)) / top}%`,
          "--at": `${(100 * value) / top}%`,
        },
        element("i", {}),
        element("b", {}),
      ),
      element("span", { class: "count" }, `${percent(value)} of ${whole(group.images)}`),
    ];
  });
  const uneven = check.groups.filter((group) => group.uneven).map((group) => `${group.by} ${group.group}`);
  return [
    element("h2", {}, "Whom the film check refuses"),
    element(
      "p",
      { class: "sub" },
      `Share of the test images of each group, with its 95 % interval; the axis ends at ${percent(top)}.`,
      uneven.length
        ? ` More than three times as often as the others: ${uneven.join(", ")}.`
        : " No group of 50 images or more is refused more than three times as often as the others.",
    ),
    element("div", { class: "groups" }, ...rows),
  ];
}

/**
 * The figures of the bundle. @param {Evaluation} report @param {string} sha256 of the bundle
 */
export function measuredFigures(report, sha256) {
  const findings = report.findings.filter((finding) => finding.calibration);
  const on = `${whole(report.count)} ${report.unit} of ${report.data}`;
  return [
    report.sha256 === sha256
      ? null
      : element(
          "p",
          { class: "sub alarmed" },
          "The figures below are of an earlier state of this bundle, with the SHA-256 ",
          element("code", {}, `${report.sha256.slice(0, 16)}…`),
          ". `cxrserve evaluate` measures it as it is.",
        ),
    ...multiples(
      "Reliability",
      `How often the finding was there, by the probability that was said: ${on}. On the dotted line probabilities are frequencies. Lines are 95 % intervals, a dot grows with its images.`,
      findings.map(reliability),
    ),
    ...multiples(
      "Decision curves",
      "Net benefit of flagging at each threshold, as a share of a perfect model’s, with its 95 % band. Dashed: flag all images; dotted: the operating point. At 0.2, four false alarms weigh as much as one hit.",
      findings.flatMap(decisions),
    ),
    ...refusals(report),
  ];
}

/**
 * The changes of the site’s own file. @param {AdoptedSite|null|undefined} site
 */
export function siteFigures(site) {
  if (!site)
    return [
      element("h2", {}, "The site’s own numbers"),
      element(
        "p",
        { class: "sub" },
        "No site file is adopted: calibration and operating points are the bundle’s. Films of this hospital may need others; ",
        element("code", {}, "cxrserve site draft"),
        " makes them from labelled films.",
      ),
    ];
  const judged = site.evidence.filter((outcome) => outcome.log_loss_before !== null);
  const top = Math.max(
    0.1,
    ...judged.map((outcome) => Math.max(outcome.log_loss_before ?? 0, outcome.log_loss_after ?? 0)),
  );
  const rows = site.evidence.flatMap((outcome) => {
    const { log_loss_before: before, log_loss_after: after } = outcome;
    const known = before !== null && after !== null;
    return [
      element("span", {}, outcome.finding),
      known
        ? element(
            "span",
            {
              class: "range change",
              role: "img",
              "aria-label": `${outcome.finding}: log loss ${three(before)} before, ${three(after)} after`,
              "data-adopted": String(outcome.adopted),
              "--low": `${(100 * Math.min(before, after)) / top}%`,
              "--high": `${(100 * Math.max(before, after)) / top}%`,
              "--at": `${(100 * after) / top}%`,
            },
            element("i", {}),
            element("b", {}),
          )
        : element("span", { class: "range" }),
      element("span", { class: "count" }, outcome.adopted ? "adopted" : "bundle’s"),
      element("span", { class: "why" }, outcome.why),
    ];
  });
  return [
    element("h2", {}, `Site ${site.name}, version ${site.version}`),
    element(
      "p",
      { class: "sub" },
      `Made on ${site.created}${site.note ? `: ${site.note}` : ""}. `,
      site.previous
        ? `It follows the version with the SHA-256 ${site.previous.slice(0, 16)}….`
        : "It is the site’s first version.",
    ),
    element("p", { class: "hash" }, "SHA-256 ", element("code", {}, site.sha256)),
    site.evidence.length
      ? element(
          "p",
          { class: "sub" },
          `Log loss on the site’s checking films with the bundle’s numbers, and with the site’s (dot); lower is better, the axis ends at ${three(top)}.`,
        )
      : null,
    element("div", { class: "groups outcomes" }, ...rows),
  ];
}

/**
 * One sentence of the watch. @param {{alarm: boolean, summary: string}|null} watch
 */
export const watchFigures = (watch) =>
  watch
    ? [
        element("h2", {}, "The watch"),
        element("p", { class: watch.alarm ? "sub alarmed" : "sub", role: "status" }, watch.summary),
        element(
          "p",
          {},
          element("a", { class: "plain", href: "/viewer/watch.html" }, "What changed, where and since when"),
        ),
      ]
    : [];
