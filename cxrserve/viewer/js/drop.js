// Files dropped anywhere on the page.
import { byId } from "./dom.js";

/** @param {(files: File[]) => void} open */
export function listenToDrops(open) {
  const veil = byId("drop-veil");
  let over = 0;
  const shown = () => (veil.hidden = over === 0);
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragenter", (event) => {
    if (hasFiles(event)) over++;
    shown();
  });
  addEventListener("dragleave", (event) => {
    if (hasFiles(event)) over = Math.max(0, over - 1);
    shown();
  });
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    over = 0;
    shown();
    const files = [...(event.dataTransfer?.files ?? [])];
    if (files.length) open(files);
  });
}
