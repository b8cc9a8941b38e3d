// What is said of the open images together: the bundle's rule over them, as POST /predict/study applies it.

/** @param {any} answer @returns {number} by how much a finding lies above its operating point */
const margin = ({ probability, threshold }) => (probability === null ? -Infinity : probability - threshold);

/** Those farthest above their operating point first; what no network knows last. */
export const sorted = (findings) => [...findings].sort((a, b) => margin(b) - margin(a));

/**
 * @param {any[]} answers one for each image @param {"maximum"|"mean"} rule
 * @returns {{finding: string, probability: number|null, threshold: number|null, positive: boolean, decidedBy: number|null}[]}
 */
export function studyFindings(answers, rule) {
  return answers[0].findings.map(({ finding, threshold }, index) => {
    const said = answers.map((answer) => answer.findings[index].probability);
    if (said.some((each) => each === null)) return { finding, threshold, probability: null, positive: false, decidedBy: null };
    const largest = Math.max(...said);
    const probability = rule === "maximum" ? largest : said.reduce((sum, each) => sum + each, 0) / said.length;
    const decidedBy = rule === "maximum" ? said.indexOf(largest) : null;
    return { finding, threshold, probability, positive: probability >= threshold, decidedBy };
  });
}

/** How many different studies the answers name; those that name none belong to any. */
export const studiesIn = (answers) => new Set(answers.map((answer) => answer.image.study_instance_uid).filter(Boolean)).size;
