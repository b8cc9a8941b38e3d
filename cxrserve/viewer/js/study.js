// The findings of a study: applies the bundle's rule to the open images, as POST /predict/study does.

/** The distance above the operating point. @param {import("./types.d.ts").FindingRow} finding */
const margin = ({ probability, threshold }) =>
  probability === null || threshold === null ? -Infinity : probability - threshold;

/** The answer that nothing was found: shown apart from the other 13, and never counted. */
export const NO_FINDING = "No Finding";

/** The most urgent first, as in the service's `findings.URGENCY_ORDER`. */
const URGENCY = [
  "Pneumothorax",
  "Edema",
  "Pneumonia",
  "Consolidation",
  "Pleural Effusion",
  "Enlarged Cardiomediastinum",
  "Lung Lesion",
  "Fracture",
  "Atelectasis",
  "Lung Opacity",
  "Cardiomegaly",
  "Pleural Other",
  "Support Devices",
  NO_FINDING,
];

/** @typedef {"urgency"|"distance"|"name"} Order */
/** @typedef {import("./types.d.ts").FindingRow} Row */
/** @type {Record<Order, (a: Row, b: Row) => number>} */
const ORDERS = {
  // What is above its operating point first, and the most urgent of it on top.
  urgency: (a, b) =>
    Number(b.positive) - Number(a.positive) || URGENCY.indexOf(a.finding) - URGENCY.indexOf(b.finding),
  distance: (a, b) => margin(b) - margin(a),
  name: (a, b) => a.finding.localeCompare(b.finding),
};

/** The findings above their operating points, without "No Finding". @template {Row} T @param {T[]} findings */
export const counted = (findings) => findings.filter((row) => row.positive && row.finding !== NO_FINDING);

/**
 * Sort findings. Those that the model does not support come last, "No Finding" after them.
 * @template {Row} T
 * @param {T[]} findings @param {Order} order @returns {T[]}
 */
export const sorted = (findings, order) => {
  /** @param {T} row */
  const part = (row) => (row.finding === NO_FINDING ? 2 : row.probability === null ? 1 : 0);
  return [...findings].sort((a, b) => part(a) - part(b) || ORDERS[order](a, b));
};

/**
 * The findings of the study.
 * @param {import("./types.d.ts").Answer[]} answers one for each image @param {"maximum"|"mean"} rule
 * @returns {{finding: string, probability: number|null, threshold: number|null, positive: boolean, decidedBy: number|null}[]}
 */
export function studyFindings(answers, rule) {
  return answers[0].findings.map(({ finding, threshold }, index) => {
    const probabilities = answers.map((answer) => answer.findings[index].probability);
    const known = probabilities.filter((probability) => probability !== null);
    if (known.length < probabilities.length || threshold === null)
      return {
        finding,
        threshold,
        probability: null,
        positive: false,
        decidedBy: null,
      };
    const largest = Math.max(...known);
    const probability =
      rule === "maximum" ? largest : known.reduce((sum, value) => sum + value, 0) / known.length;
    const decidedBy = rule === "maximum" ? known.indexOf(largest) : null;
    return {
      finding,
      threshold,
      probability,
      positive: probability >= threshold,
      decidedBy,
    };
  });
}

/** The number of different studies of the answers, without answers that name none. @param {import("./types.d.ts").Answer[]} answers */
export const studiesIn = (answers) =>
  new Set(answers.map((answer) => answer.image.study_instance_uid).filter(Boolean)).size;
