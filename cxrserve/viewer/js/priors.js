// Priors: earlier images of the same patient among the open ones, and their probabilities.
import { state } from "./store.js";

/** @typedef {import("./radiograph.js").Radiograph} Radiograph */

/** @param {Radiograph} radiograph */
const dateOf = (radiograph) => radiograph.picture?.header.study_date ?? "";
/** @param {Radiograph} radiograph */
const personOf = (radiograph) => radiograph.picture?.header.patient?.id ?? "";

/**
 * The newest earlier probability of a finding: from an open image of the same Patient ID with an earlier Study Date.
 * @param {Radiograph|undefined} radiograph @param {string} finding
 * @returns {{probability: number, date: string}|null}
 */
export function prior(radiograph, finding) {
  if (!radiograph || !personOf(radiograph) || !dateOf(radiograph)) return null;
  const earlier = state.radiographs
    .filter((other) => personOf(other) === personOf(radiograph) && dateOf(other) < dateOf(radiograph))
    .sort((a, b) => dateOf(b).localeCompare(dateOf(a)));
  const newest = earlier.filter((other) => dateOf(other) === dateOf(earlier[0]));
  const known = newest
    .map((other) => other.answer?.findings.find((row) => row.finding === finding)?.probability ?? null)
    .filter((probability) => probability !== null);
  return known.length ? { probability: Math.max(...known), date: dateOf(earlier[0]) } : null;
}
