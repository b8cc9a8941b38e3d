// Opens files and folders that are dropped anywhere on the page.
import { byId } from "./dom.js";
import { showMessage } from "./notice.js";

/** @param {(files: File[]) => void} open */
export function listenToDrops(open) {
  const veil = byId("drop-veil");
  let depth = 0;
  const showVeil = () => (veil.hidden = depth === 0);
  /** @param {DragEvent} event */
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragenter", (event) => {
    if (hasFiles(event)) depth++;
    showVeil();
  });
  addEventListener("dragleave", (event) => {
    if (hasFiles(event)) depth = Math.max(0, depth - 1);
    showVeil();
  });
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    depth = 0;
    showVeil();
    void droppedFiles(event.dataTransfer).then((files) => files.length && open(files));
  });
}

/**
 * The files of a drop, with those in its folders, sorted by path. Hidden files are left out.
 * @param {DataTransfer|null} transfer @returns {Promise<File[]>}
 */
async function droppedFiles(transfer) {
  // The entries are only valid while the event is handled, so they are all taken before the first wait.
  const entries = [...(transfer?.items ?? [])].map((item) => item.webkitGetAsEntry?.() ?? null);
  const files = [...(transfer?.files ?? [])];
  if (!entries.some((entry) => entry?.isDirectory)) return files;
  try {
    const found = (await Promise.all(entries.map((entry) => (entry ? walk(entry) : [])))).flat();
    if (!found.length) showMessage("There is no file in this folder.");
    return found;
  } catch (error) {
    showMessage(`The folder cannot be read: ${error instanceof Error ? error.message : error}`);
    return [];
  }
}

/** The files in an entry. @param {FileSystemEntry} entry @returns {Promise<File[]>} */
async function walk(entry) {
  if (entry.name.startsWith(".")) return [];
  if (entry.isFile) {
    const file = /** @type {FileSystemFileEntry} */ (entry);
    return [await new Promise((resolve, reject) => file.file(resolve, reject))];
  }
  const reader = /** @type {FileSystemDirectoryEntry} */ (entry).createReader();
  /** @type {FileSystemEntry[]} */
  const inside = [];
  for (;;) {
    /** @type {FileSystemEntry[]} */
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)); // at most 100
    if (!some.length) break;
    inside.push(...some);
  }
  inside.sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }));
  return (await Promise.all(inside.map(walk))).flat();
}
