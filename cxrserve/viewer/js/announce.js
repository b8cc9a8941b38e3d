// Announcements for screen readers.
import { byId } from "./dom.js";

/** @param {string} sentence */
export function announce(sentence) {
  byId("announcer").textContent = sentence;
}
