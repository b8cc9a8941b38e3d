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

/** Keeps the logit finite, as the service does. */
const EDGE = Number.EPSILON;

/**
 * The probability of a score; a finding without a calibration keeps its score.
 * @param {number} score @param {import("./types.d.ts").Calibration|undefined} calibration
 */
function calibrated(score, calibration) {
  if (!calibration || calibration.method === "identity") return score;
  const inside = Math.min(Math.max(score, EDGE), 1 - EDGE);
  const { slope, slope_high: high, intercept } = calibration;
  const logit = slope * Math.log(inside) - (high ?? slope) * Math.log1p(-inside) + intercept;
  return 1 / (1 + Math.exp(-logit));
}

/**
 * The bundle's calibration and operating point of a study's finding; those of images where it has no others.
 * @param {import("./types.d.ts").Model} model @param {string} finding
 */
export const ofStudy = (model, finding) => ({
  calibration:
    model.study_calibration?.[finding] ??
    (model.calibration === "identity" ? undefined : model.calibration[finding]),
  point: model.study_operating_points?.[finding] ?? model.operating_points[finding],
});

/**
 * The operating point that a listed finding is compared with.
 * @param {import("./types.d.ts").Model} model @param {string} finding @param {"image"|"study"} scope
 */
export const pointOf = (model, finding, scope) =>
  scope === "study" ? ofStudy(model, finding).point : model.operating_points[finding];

/**
 * The findings of the study: the bundle's rule over the images' scores, calibrated and decided as a study.
 * @param {import("./types.d.ts").Answer[]} answers one for each image @param {import("./types.d.ts").Model} model
 * @returns {{finding: string, probability: number|null, threshold: number|null, positive: boolean, decidedBy: number|null}[]}
 */
export function studyFindings(answers, model) {
  return answers[0].findings.map(({ finding }, index) => {
    const { calibration, point } = ofStudy(model, finding);
    const scores = answers.map((answer) => answer.findings[index].score);
    const known = scores.filter((score) => typeof score === "number");
    if (known.length < scores.length || !point)
      return {
        finding,
        threshold: null,
        probability: null,
        positive: false,
        decidedBy: null,
      };
    const largest = Math.max(...known);
    const byMaximum = model.study_rule === "maximum";
    const score = byMaximum ? largest : known.reduce((sum, value) => sum + value, 0) / known.length;
    const probability = calibrated(score, calibration);
    return {
      finding,
      threshold: point.threshold,
      probability,
      positive: probability >= point.threshold,
      decidedBy: byMaximum ? known.indexOf(largest) : null,
    };
  });
}

/** The number of different studies of the answers, without answers that name none. @param {import("./types.d.ts").Answer[]} answers */
export const studiesIn = (answers) =>
  new Set(answers.map((answer) => answer.image.study_instance_uid).filter(Boolean)).size;
