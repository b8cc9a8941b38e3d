// Dark first; light where the system or the user wants it. Loaded before the rest, so that nothing flashes.
const KEY = "cxrserve.theme";
const light = matchMedia("(prefers-color-scheme: light)");

export const theme = () => localStorage.getItem(KEY) ?? (light.matches ? "light" : "dark");

export function toggleTheme() {
  localStorage.setItem(KEY, theme() === "dark" ? "light" : "dark");
  apply();
}

const listeners = new Set();

/** @param {() => void} listener */
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
