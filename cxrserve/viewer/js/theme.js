// The theme: dark, or light if the system or the user prefers it. Loaded first, to avoid a flash.
const KEY = "cxrserve.theme";
const light = matchMedia("(prefers-color-scheme: light)");

/** The current theme. */
export const theme = () => localStorage.getItem(KEY) ?? (light.matches ? "light" : "dark");

/** Switch between dark and light. */
export function toggleTheme() {
  localStorage.setItem(KEY, theme() === "dark" ? "light" : "dark");
  apply();
}

/** @type {Set<() => void>} */
const listeners = new Set();

/** Call `listener` now and after each change. @param {() => void} listener */
export function onTheme(listener) {
  listeners.add(listener);
  listener();
}

function apply() {
  document.documentElement.dataset.theme = theme();
  for (const listener of listeners) listener();
}

light.addEventListener("change", apply);
apply();
