// The result as a text, for notes: findings above their operating points, model, disclaimer.
import { announce } from "./announce.js";
import { showMessage } from "./notice.js";
import { activeRadiograph, state } from "./store.js";
import { counted, sorted } from "./study.js";

/** The result of the active image in a few sentences; no patient data. @returns {string|null} */
export function resultText() {
  const answer = activeRadiograph()?.answer;
  if (!answer) return null;
  const above = counted(sorted(answer.findings, state.order)).map(
    ({ finding, probability, threshold }) =>
      `${finding} ${(probability ?? 0).toFixed(2)} (≥ ${(threshold ?? 0).toFixed(2)})`,
  );
  const { name, version } = answer.model;
  return [
    above.length
      ? `Above the operating point: ${above.join(", ")}.`
      : "No finding above its operating point.",
    ...answer.warnings.map(({ message }) => message),
    `${name} ${version}. Research use only, not for diagnosis.`,
  ].join(" ");
}

/** Copy the text, or show it where the page may not write to the clipboard. */
export async function copyResult() {
  const text = resultText();
  if (!text) return;
  try {
    await navigator.clipboard.writeText(text);
    announce("Copied the result");
  } catch {
    showMessage(text); // without https, browsers give pages no clipboard
  }
}
