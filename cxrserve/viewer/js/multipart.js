// Reads multipart/related bodies (RFC 2387).

/** The contents of the parts. @param {Uint8Array} bytes @param {string} contentType @returns {Uint8Array[]} */
export function partsOf(bytes, contentType) {
  const boundary = /boundary="?([^";]+)"?/i.exec(contentType)?.[1];
  if (!boundary) throw new Error("The service did not answer with DICOM objects.");
  const delimiter = ascii(`--${boundary}`);
  const blank = ascii("\r\n\r\n");
  /** @type {Uint8Array[]} */
  const parts = [];
  for (let at = find(bytes, delimiter, 0); at >= 0;) {
    const start = find(bytes, blank, at);
    const end = find(bytes, delimiter, at + delimiter.length);
    if (start < 0 || end < 0 || start > end) break;
    parts.push(bytes.subarray(start + blank.length, end - 2)); // a line break precedes each delimiter
    at = end;
  }
  return parts;
}

/** @param {string} text */
const ascii = (text) => Uint8Array.from(text, (character) => character.charCodeAt(0));

/** @param {Uint8Array} bytes @param {Uint8Array} pattern @param {number} from */
function find(bytes, pattern, from) {
  for (let at = bytes.indexOf(pattern[0], from); at >= 0; at = bytes.indexOf(pattern[0], at + 1)) {
    if (pattern.every((byte, index) => bytes[at + index] === byte)) return at;
  }
  return -1;
}
