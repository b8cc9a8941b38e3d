// Window and level: convert stored values to grey levels. DICOM PS3.3 C.11.2.1.2, on the real pixel depth.

/**
 * @typedef {{label: string, table: number|null, centre: number, width: number, function: "LINEAR"|"LINEAR_EXACT"|"SIGMOID", inverted: boolean}} Look
 * `table` is the index of one of the picture's tables; null for a window in the modality's units.
 * @typedef {import("./picture.js").Picture} Picture
 */

/** All presets of a picture, those of its file first. @param {Picture} picture @returns {Look[]} */
export function presets(picture) {
  const { windows, tables, slope, intercept, lowest, highest } = picture.header;
  /** @param {number} stored */
  const value = (stored) => stored * slope + intercept;
  /** @type {Look[]} */
  const looks = windows.map((window, index) => ({
    ...plain(window.centre, window.width),
    function: window.function,
    label: window.label ?? (windows.length > 1 ? `From the file ${index + 1}` : "From the file"),
  }));
  tables.forEach((table, index) => {
    const label = table.kind === "network" ? "As the networks see it" : (table.label ?? "Table of the file");
    looks.push({
      ...plain(value((lowest + highest) / 2), Math.abs(value(highest) - value(lowest)) + 1),
      label,
      table: index,
    });
  });
  /** @param {string} label @param {number} from @param {number} to */
  const between = (label, from, to) => {
    const [a, b] = [value(picture.percentile(from)), value(picture.percentile(to))].sort((x, y) => x - y);
    looks.push({ ...plain((a + b) / 2, Math.max(b - a, 2)), label });
  };
  between("Automatic, 1 to 99 %", 0.01, 0.99);
  // Air is dark. It has the high stored values in MONOCHROME1, and where a negative slope turns them around.
  const airIsHigh = picture.header.white_is_low !== slope < 0;
  const [airFrom, airTo, denseFrom, denseTo] = airIsHigh ? [0.4, 0.99, 0.01, 0.6] : [0.01, 0.6, 0.4, 0.99];
  between("Lungs, the darker part", airFrom, airTo);
  between("Mediastinum, the brighter part", denseFrom, denseTo);
  const [low, high] = [value(lowest), value(highest)].sort((x, y) => x - y);
  looks.push({
    ...plain((low + high) / 2, Math.max(high - low, 2)),
    label: "Full range",
  });
  return looks;
}

/** @param {number} centre @param {number} width @returns {Look} */
const plain = (centre, width) => ({
  label: "",
  table: null,
  centre,
  width,
  function: "LINEAR_EXACT",
  inverted: false,
});

/** The first look of a picture: the file's own, else the full range for 8 bits, else 1 to 99 %. @param {Picture} picture @returns {Look} */
export function firstLook(picture) {
  const all = presets(picture);
  const { windows, tables, sample } = picture.header;
  if (windows.length || tables.some((table) => table.kind === "file")) return all[0];
  const automatic = all.find((look) => look.label.startsWith("Automatic"));
  return sample === "uint8" || !automatic ? all[all.length - 1] : automatic;
}

/**
 * Change the window by shares of the image's range; a table becomes a window.
 * @param {Look} look @param {Picture} picture @param {number} wider
 * @param {number} brighter makes the image brighter, also where low values are white
 * @returns {Look}
 */
export function dragged(look, picture, wider, brighter) {
  const { slope, lowest, highest, white_is_low: whiteIsLow } = picture.header;
  const range = Math.max((highest - lowest) * Math.abs(slope), 1);
  const width = Math.max(look.width + wider * range, range / 512, 1);
  const centre = look.centre + (whiteIsLow !== look.inverted ? brighter : -brighter) * range;
  return {
    ...look,
    table: null,
    label: "Own",
    width: Math.min(width, 4 * range),
    centre,
  };
}

/** The grey value of each sample as an opaque pixel, little endian. @param {Look} look @param {Picture} picture */
export function lookUpTable(look, picture) {
  const { offset, lowest, highest, slope, intercept, white_is_low: whiteIsLow } = picture.header;
  const table = new Uint32Array(highest - offset + 1);
  const grey = look.table === null ? windowed(look) : null;
  const fileTable = look.table === null ? null : picture.tables[look.table];
  const flip = whiteIsLow !== look.inverted;
  for (let stored = lowest; stored <= highest; stored++) {
    const value = grey ? grey(stored * slope + intercept) : (fileTable?.[stored - lowest] ?? 0);
    const shown = flip ? 255 - value : value;
    table[stored - offset] = 0xff000000 | (shown << 16) | (shown << 8) | shown;
  }
  return table;
}

/** @param {Look} look @returns {(value: number) => number} */
function windowed({ centre, width, function: kind }) {
  /** @param {number} share */
  const clipped = (share) => Math.round(Math.min(1, Math.max(0, share)) * 255);
  if (kind === "SIGMOID") return (x) => Math.round(255 / (1 + Math.exp((-4 * (x - centre)) / width)));
  if (kind === "LINEAR_EXACT") return (x) => clipped((x - centre) / width + 0.5);
  return (x) => clipped((x - (centre - 0.5)) / Math.max(width - 1, 1e-6) + 0.5);
}
