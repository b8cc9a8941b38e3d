// multipart/related (RFC 2387): the bodies of its parts.

/** @param {Uint8Array} bytes @param {string} contentType @returns {Uint8Array[]} */
export function partsOf(bytes, contentType) {
  const boundary = /boundary="?([^";]+)"?/i.exec(contentType)?.[1];
  if (!boundary) throw new Error("The service did not answer with DICOM objects.");
  const mark = ascii(`--${boundary}`);
  const blank = ascii("\r\n\r\n");
  const parts = [];
  for (let at = find(bytes, mark, 0); at >= 0; ) {
    const start = find(bytes, blank, at);
    const end = find(bytes, mark, at + mark.length);
    if (start < 0 || end < 0 || start > end) break;
    parts.push(bytes.subarray(start + blank.length, end - 2)); // a line break stands before each mark
    at = end;
  }
  return parts;
}

const ascii = (text) => Uint8Array.from(text, (character) => character.charCodeAt(0));

function find(bytes, sought, from) {
  for (let at = bytes.indexOf(sought[0], from); at >= 0; at = bytes.indexOf(sought[0], at + 1)) {
    if (sought.every((byte, index) => bytes[at + index] === byte)) return at;
  }
  return -1;
}
