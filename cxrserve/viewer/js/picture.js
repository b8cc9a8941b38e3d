// Pictures: the stored values of a radiograph at full depth, with smaller copies for smaller views.

/**
 * @typedef {Uint8Array|Uint16Array} Samples
 * @typedef {{samples: Samples, width: number, height: number}} Level
 */

const MIN_SIDE = 48;

/** The decoded answer of POST /display. */
export class Picture {
  /** @param {import("./types.d.ts").DisplayHeader} header @param {Level} whole @param {Uint8Array[]} tables grey values by stored value */
  constructor(header, whole, tables) {
    this.header = header;
    this.tables = tables;
    /** @type {Samples|null} samples of a small copy, sorted */
    this.sorted = null;
    /** Each half as wide and high as the previous one. */
    this.levels = [whole];
    for (let last = whole; Math.min(last.width, last.height) >= 2 * MIN_SIDE;)
      this.levels.push((last = halved(last)));
  }

  get width() {
    return this.levels[0].width;
  }

  get height() {
    return this.levels[0].height;
  }

  /** The stored value of a pixel. @param {number} x @param {number} y */
  stored(x, y) {
    return this.levels[0].samples[y * this.width + x] + this.header.offset;
  }

  /** The stored value at a percentile, from a small copy: it only sets a first window. @param {number} share */
  percentile(share) {
    this.sorted ??= this.levels[this.levels.length - 1].samples.slice().sort();
    return (
      this.sorted[Math.min(this.sorted.length - 1, Math.floor(share * this.sorted.length))] +
      this.header.offset
    );
  }
}

/** Decode the answer of POST /display. @param {ArrayBuffer} bytes */
export function readPicture(bytes) {
  const headerBytes = new DataView(bytes).getUint32(0, true);
  /** @type {import("./types.d.ts").DisplayHeader} */
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 4, headerBytes)));
  const { rows, columns } = header.about;
  const Kind = header.sample === "uint16" ? Uint16Array : Uint8Array;
  let start = 4 + headerBytes;
  const samples = new Kind(bytes, start, rows * columns);
  start += samples.byteLength;
  const length = header.highest - header.lowest + 1;
  const tables = header.tables.map((_, index) => new Uint8Array(bytes, start + index * length, length));
  return new Picture(header, { samples, width: columns, height: rows }, tables);
}

/** @param {Level} level @returns {Level} means of 2×2 */
function halved({ samples, width, height }) {
  const w = width >> 1;
  const h = height >> 1;
  const out = samples instanceof Uint16Array ? new Uint16Array(w * h) : new Uint8Array(w * h);
  for (let y = 0, to = 0; y < h; y++) {
    let a = 2 * y * width;
    let b = a + width;
    for (let x = 0; x < w; x++, a += 2, b += 2) {
      out[to++] = (samples[a] + samples[a + 1] + samples[b] + samples[b + 1] + 2) >> 2;
    }
  }
  return { samples: out, width: w, height: h };
}
