// Writes ZIP archives without compression (PKWARE APPNOTE 4.3).

const CRC = Uint32Array.from({ length: 256 }, (_, value) => {
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

/** The CRC-32 of bytes. @param {Uint8Array} bytes */
export function crc32(bytes) {
  let crc = -1;
  for (const byte of bytes) crc = CRC[(crc ^ byte) & 255] ^ (crc >>> 8);
  return (crc ^ -1) >>> 0;
}

/** The archive of files. @param {{name: string, bytes: Uint8Array}[]} files names in ASCII @returns {Uint8Array<ArrayBuffer>} */
export function zipped(files) {
  /** @type {Uint8Array[]} */
  const local = [];
  /** @type {Uint8Array[]} */
  const directory = [];
  let offset = 0;
  for (const { name, bytes } of files) {
    const crc = crc32(bytes);
    /** @type {[number, number][]} */
    // prettier-ignore
    const common = [[20, 2], [0, 2], [0, 2], [0, 2], [0x21, 2], [crc, 4], [bytes.length, 4], [bytes.length, 4], [name.length, 2], [0, 2]];
    local.push(record([[0x04034b50, 4], ...common]), ascii(name), bytes);
    directory.push(
      record([[0x02014b50, 4], [20, 2], ...common, [0, 2], [0, 2], [0, 2], [0, 4], [offset, 4]]),
      ascii(name),
    );
    offset += 30 + name.length + bytes.length;
  }
  const size = directory.reduce((sum, chunk) => sum + chunk.length, 0);
  const end = record([
    [0x06054b50, 4],
    [0, 2],
    [0, 2],
    [files.length, 2],
    [files.length, 2],
    [size, 4],
    [offset, 4],
    [0, 2],
  ]);
  return joined([...local, ...directory, end]);
}

/** Numbers in little endian. @param {[number, number][]} fields value and number of bytes */
function record(fields) {
  return Uint8Array.from(
    fields.flatMap(([value, bytes]) =>
      Array.from({ length: bytes }, (_, index) => (value >>> (8 * index)) & 255),
    ),
  );
}

/** @param {string} text */
const ascii = (text) => Uint8Array.from(text, (character) => character.charCodeAt(0));

/** @param {Uint8Array[]} chunks */
function joined(chunks) {
  const all = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    all.set(chunk, at);
    at += chunk.length;
  }
  return all;
}
