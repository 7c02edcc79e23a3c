/* Light or dark: the system's wish unless the user chose; the choice stays in this browser.
 * Neighbours: `dashboard.css` has the colours, `chart.js` draws again when they change. */

import { kept } from "./kept.js";

const choice = kept("theme", "");
const systemDark = matchMedia("(prefers-color-scheme: dark)");
const listeners = new Set();

/** Return "light" or "dark", as it is shown now. */
export function theme() {
  return choice.get() || (systemDark.matches ? "dark" : "light");
}

/** Show the other theme, and remember it. */
export function toggleTheme() {
  choice.set(theme() === "dark" ? "light" : "dark");
  apply();
}

/** Call `listener` whenever other colours are shown; return what ends that. */
export function onTheme(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function apply() {
  document.documentElement.dataset.theme = theme();
  for (const listener of listeners) listener();
}

systemDark.addEventListener("change", apply);
apply();
